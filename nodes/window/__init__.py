"""Window: put the readings of a stretch of time together into one message."""

from collections import Counter
from operator import itemgetter
from typing import Any, Literal, Self

import msgspec
from pydantic import Field, model_validator

from flowengine import (
    KeyedConfig,
    Message,
    Node,
    NodeState,
    Result,
    format_duration,
    node,
    rfc3339,
)
from flowengine.fields import Duration, PathField, fault
from flowengine.nodes.jumps import Jumps
from flowengine.nodes.keyed import NO_MOMENT, key_of
from flowengine.nodes.spans import Span
from flowengine.nodes.window.aggregate import Tally, adder, result
from flowengine.nodes.window.shape import Make, Open, aligned, counted, session

Function = Literal["mean", "min", "max", "sum", "count", "first", "last", "median", "p95", "stddev"]
MOST_PARTS = 1000


class WindowConfig(KeyedConfig):
    """Which stretch of time, or how many messages, make a window, and what is told of it."""

    every: Span | None = Field(
        default=None, description="Length of a window, aligned to 1970-01-01 UTC."
    )
    hop: Span | None = Field(
        default=None, description="From one start to the next; `every` if left out. Divides it."
    )
    count: int | None = Field(default=None, ge=1, description="Messages in a window.")
    session_gap: Span | None = Field(
        default=None, description="A window ends where a key was quiet for so long."
    )
    fields: list[PathField] = Field(min_length=1, description="Where the numbers stand.")
    functions: list[Function] = Field(
        default=["mean"], min_length=1, description="What is told of every field."
    )
    lateness: Duration = Field(
        default="0s", description="How far out of order messages may come and still count."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [self.every, self.count, self.session_gap]
        if sum(value is not None for value in given) != 1:
            raise ValueError('give exactly one of "every", "count" and "session_gap"')
        if self.hop is not None:
            self._check_hop(self.hop)
        return self

    def _check_hop(self, hop: int) -> None:
        if self.every is None:
            raise ValueError('"hop" goes with "every" alone: remove it')
        parts, rest = divmod(self.every, hop)
        if rest or parts > MOST_PARTS:
            raise fault(
                "bad-value",
                f"hop ({format_duration(hop)}) does not divide every "
                f"({format_duration(self.every)}) into at most {MOST_PARTS:,} equal parts.",
                f'Set it to "{format_duration(self.every // 2)}", half of every.',
            )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len(set(self.functions)) < len(self.functions):
            raise ValueError("a function is named twice")
        names = Counter(last_segment(field) for field in self.fields)
        name, times = names.most_common(1)[0]
        if times > 1:
            raise fault(
                "bad-value",
                f'{times} fields end in "{name}", so both would be told as "{name}_…".',
                "Rename one before with compute, or use a second window.",
            )
        return self


def last_segment(field: Any) -> str:
    """The name a path's numbers are told under: what stands last in it."""
    return str(field.parts[-1]) if field.parts else str(field.root)


@node("window", outputs=("out", "late"), optional=("late",), scope="keyed")
class Window(Node[WindowConfig]):
    """Put the messages of a window together: one message per key and window.

    In: anything; what is no finite number at a field is left out of that field's functions.
    Out `out`: `{"start", "end", "count", "<last segment>_<function>", ...}`, a null where a field
    had no number (`stddev`: fewer than two). time = start, topic = the newest member's; by end,
    then key. `median` and `p95` are linear between two values, `stddev` divides by n − 1, `first`
    and `last` go by event time. A session ends `session_gap` after its last member; a window of
    `count` goes from its first to its last member's time.
    Out `late`: a message whose every window has closed, with `meta.late`, how far behind it is.
    State, per key: the open windows; members keep their acknowledgement open until the window left.
    A window closes when newest event time − `lateness` reaches its end; or, so that the last one of
    a silent device comes out, once as much monotonic time has passed since the newest message came,
    and nothing waits in front of the node. So neither an engine that was down, nor a source that
    was stopped, nor an event loop that stood still makes a message late that waited meanwhile.
    When the wall clock is set, windows of messages stamped by arrival move along: they close when
    they would have, out of line with the clock for once, with `meta.time_quality` = "mended".
    """

    class State(NodeState):
        """The open windows, and what the watermark comes from.

        `newest` event time `arrived` at (monotonic); what ends at `high` or before is closed; the
        timer is set for `timer` (monotonic); `windows` counts those made.
        """

        open: list[Open] = msgspec.field(default_factory=list)
        newest: int | None = None
        arrived: int = 0
        high: int = -(1 << 62)
        timer: int = NO_MOMENT
        windows: int = 0
        key: str = ""

    def setup(self) -> None:
        """Bind the fields and choose what a tally must hold."""
        config = self.config
        self._key_of = key_of(config, self.context)
        self._monotonic = self.clock.monotonic
        self._lateness = config.lateness
        self._size = config.count
        self._is_tumbling = config.every is not None and config.hop in {None, config.every}
        # Fields that all stand right below payload, as mostly, are taken without a call.
        plain = all(f.root == "payload" and len(f.parts) == 1 for f in config.fields)
        self._in_payload = [field.parts[0] for field in config.fields] if plain else []
        self._add = adder(config.functions)
        self._names = [
            [(f"{last_segment(field)}_{function}", function) for function in config.functions]
            for field in config.fields
        ]
        self._look: dict[str, Window.State] = {}
        self._due: dict[str, Window.State] = {}
        self._due_since = 0
        self._timer: Any = None
        self._jumps = Jumps(self.context)

    async def close(self) -> None:
        """Take the timer back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- a message comes

    def receive(self, message: Message, state: State) -> Result:
        """Close what the message shows to be over, then count it in."""
        time = message.time
        if self._size is not None:
            return self._fill(message, self._size, state)
        if self._jumps.pending:
            self._follow(message, state)
        newest, arrived, high = state.newest, state.arrived, state.high
        if newest is None:
            state.key = self._key_of(message)
            newest = time - 1
        before = newest
        if time > newest:
            state.newest = newest = time
            state.arrived = self._monotonic()
            if time - self._lateness > high:
                state.high = high = time - self._lateness
        opened, left = state.open, []
        if opened and opened[0].end <= high:
            left = [self._leave(window, state.key) for window in self._over(state)]
            opened = state.open
        if self._is_tumbling and opened and opened[-1].start <= time < opened[-1].end:
            windows = opened[-1:]
        else:
            windows = self._windows(message, state)
            if not windows:
                passed = before + self._monotonic() - arrived - self._lateness
                behind = (max(high, passed) - time) // 1_000_000 * 1_000_000
                return {"out": left, "late": message.with_meta(late=format_duration(behind))}
        self._count_in(message, windows)
        if state.arrived + opened[0].end + self._lateness - newest < state.timer:
            self._look_soon(state.key, state)
        return left or None

    def _fill(self, message: Message, size: int, state: State) -> Message | None:
        """Count a message into the one window, which leaves when it has `size`."""
        if not state.open:
            state.key = self._key_of(message)
        (window,) = counted(state.open, message.time, self._maker(state, message))
        self._count_in(message, [window])
        if window.count < size:
            return None
        return self._leave(state.open.pop(), state.key)

    def _maker(self, state: State, message: Message) -> Make:
        def make(start: int, end: int) -> Open:
            state.windows += 1
            clock = str(message.meta.get("clock", "")).rpartition("/")[0]
            held = f"{state.key}\0{state.windows}"
            return Open(start, end, held, [Tally() for _ in self.config.fields], clock=clock)

        return make

    def _windows(self, message: Message, state: State) -> list[Open]:
        """The open windows that the message belongs to, new ones among them."""
        config, opened, make = self.config, state.open, self._maker(state, message)
        time, high = message.time, state.high
        if config.every is not None:
            every, hop = config.every, config.hop or config.every
            return aligned(opened, time, every=every, hop=hop, high=high, make=make)
        gap = config.session_gap or 0
        return session(opened, time, gap=gap, high=high, make=make, carry=self._carry)

    def _count_in(self, message: Message, windows: list[Open]) -> None:
        time, keep, add, payload = message.time, self.context.keep, self._add, message.payload
        try:
            values = [payload[name] for name in self._in_payload]
        except (KeyError, TypeError, IndexError):
            values = []
        if not values:
            values = [field.get_or(message, None) for field in self.config.fields]
        for window in windows:
            keep(message, window.held)
            window.count += 1
            if time >= window.newest:
                window.newest, window.topic = time, message.topic
            for tally, value in zip(window.fields, values):  # noqa: B905  # both as long as the config
                add(tally, value, time)

    def _carry(self, gone: Open, into: Open) -> None:
        """Two sessions became one: what was kept for one is kept for the other."""
        carrier = self.context.give(Message(), gone.held)
        self.context.keep(carrier, into.held)
        carrier.receipt.settle(0)  # the carrier's own part; the one just kept is open

    # -- a window leaves

    def _over(self, state: State) -> list[Open]:
        """Take out every window that the watermark has passed."""
        number = 0
        while number < len(state.open) and state.open[number].end <= state.high:
            number += 1
        over, state.open = state.open[:number], state.open[number:]
        return over

    def _leave(self, window: Open, key: str) -> Message:
        payload: dict[str, Any] = {
            "start": rfc3339(window.start),
            "end": rfc3339(window.end),
            "count": window.count,
        }
        for tally, names in zip(window.fields, self._names, strict=True):
            for name, function in names:
                payload[name] = result(tally, function)
        # The same window made again after a crash has the same id.
        made = f"{self.context.flow}/{self.context.node}/{key}/{window.start}"
        message = Message(payload, window.topic, window.start, key, id=made)
        if window.clock:
            mark = f"{window.clock}/{window.start}"
            message.meta = {"time_quality": "unsynced", "clock": mark}
        elif window.is_moved:
            message.meta = {"time_quality": "mended"}
        return self.context.give(message, window.held)

    # -- time goes by

    def wake(self, key: str, state: State) -> None:
        """The earliest window of a key may be over."""
        state.timer = NO_MOMENT
        self._look_soon(key, state)

    def resume(self, key: str, state: State) -> None:
        """Let the watermark go on from where it stood."""
        # Monotonic time begins anew with the machine, and none passed for these windows.
        state.timer, state.arrived = NO_MOMENT, self._monotonic()
        if state.open and self._size is None:
            self._look_soon(key, state)

    def _look_soon(self, key: str, state: State) -> None:
        """Look at the key once all timers of this moment have run.

        So that what closes at one moment leaves in order, and a replay, in which every message
        moves the moment of closing, costs one timer a batch and not one a message.
        """
        self._look[key] = state
        if self._timer is None:
            self._timer = self.clock.call_at(self.clock.monotonic(), self._look_now)

    def _look_now(self) -> None:
        """Set the timers of the keys that were noted; close what is due, unless messages wait."""
        self._timer = None
        now = self._monotonic()
        look, self._look = self._look, {}
        if not self._due:
            self._due_since = now
        for key, state in look.items():
            self._await(key, state, now)
        if not self._due:
            return
        wait = self.context.behind(now - self._due_since)
        if wait is not None:
            self._timer = self.clock.call_at(now + wait, self._look_now)
            return
        due, self._due = self._due, {}
        over: list[tuple[int, str, Open]] = []
        for key, state in due.items():
            passed = (state.newest or 0) + now - state.arrived - self._lateness
            ends = [window.end for window in state.open if window.end <= passed]
            state.high = max([state.high, *ends])
            over += [(window.end, key, window) for window in self._over(state)]
            self._await(key, state, now)
        if over:
            over.sort(key=itemgetter(0, 1))
            self.context.emit("out", [self._leave(window, key) for _, key, window in over])

    def _await(self, key: str, state: State, now: int) -> None:
        """Wait for the moment at which the key's first window is over, or note that it is now."""
        if state.newest is None or not state.open:
            return
        due = state.arrived + state.open[0].end + self._lateness - state.newest
        if due <= now:
            self._due[key] = state
        elif due < state.timer:
            state.timer = due
            self.context.wake_at(key, due)

    # -- the wall clock is set

    def clock_set(self, jump: int) -> None:
        """Windows of messages stamped by arrival are to move along."""
        self._jumps.note(jump)

    def _follow(self, message: Message, state: State) -> None:
        """Move the key's windows if its messages are stamped by the clock that was set."""
        if state.newest is None or self._size is not None:
            return
        expected = state.newest + self._monotonic() - state.arrived
        jump = self._jumps.of(state.key, message.time, expected)
        if not jump:
            return
        trust = self.clock.trust
        state.newest += jump
        state.high += jump
        for window in state.open:
            window.move(jump)
            window.clock = "" if trust.is_synced else trust.era
