"""Threshold: say when a reading crosses a limit and when it is over."""

from typing import Self

from pydantic import Field, model_validator

from flowengine import KeyedConfig, Message, Node, NodeState, finite_number, node
from flowengine.fields import Duration, PathField
from flowengine.nodes.jumps import Jumps
from flowengine.nodes.keyed import Steady, bare, key_of

Sorted = dict[str, Message]


class ThresholdConfig(KeyedConfig):
    """A limit above or below which a reading is too high or too low, and how sure to be."""

    field: PathField = Field(default="payload", description="Where the reading stands.")
    above: float | None = Field(default=None, description="Raise above this value.")
    below: float | None = Field(default=None, description="Raise below this value.")
    hysteresis: float = Field(
        default=0.0, ge=0, description="How far back a reading must come to clear, in its unit."
    )
    hold: Duration = Field(default="0s", description="How long it must stay there to raise.")

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError('give exactly one of "above" and "below"')
        return self


@node("threshold", outputs=("raised", "cleared"), optional=("cleared",), scope="keyed")
class Threshold(Node[ThresholdConfig]):
    """Say when a reading crosses a limit, once, and once when it is over.

    In: a finite number at `field`.
    Out `raised`: the reading, payload unchanged, with `meta.active = true`, `meta.limit` and
    `meta.value`, once it was beyond the limit for `hold`.
    Out `cleared`: the reading that came back by `hysteresis`, with `meta.active = false`.
    State, per key: whether it is raised and since when; kept over restarts.
    Raises: PayloadError if there is no finite number; the state stays as it was.
    """

    class State(NodeState):
        """Raised or not, and the event time of the crossing.

        While a hold runs: the last reading, and when the crossing arrived (steady time).
        """

        active: bool = False
        since: int | None = None
        pending: Message | None = None
        arrived: int = 0
        key: str = ""

    def setup(self) -> None:
        """Bind the field; the two directions differ only in a sign."""
        config = self.config
        self._get = config.field.getter()
        self._path = config.field.text
        self._key_of = key_of(config, self.context)
        self._steady = Steady(self.context)
        self._jumps = Jumps(self.context)
        self._hold = config.hold
        self._is_above = config.above is not None
        self._limit = config.above if config.above is not None else config.below or 0.0
        self._over = self._limit + (-config.hysteresis if self._is_above else config.hysteresis)

    def receive(self, message: Message, state: State) -> Sorted | None:
        """Answer a crossing, or nothing while all stays as it is."""
        value = finite_number(self._get(message), self._path)
        if state.active:
            if value > self._over if self._is_above else value < self._over:
                return None
            state.active, state.since = False, None
            return {"cleared": self._said(message, value, active=False)}
        if value > self._limit if self._is_above else value < self._limit:
            return self._beyond(message, value, state)
        if state.since is not None:
            self._end_hold(state)
            state.since = None
        return None

    def _beyond(self, message: Message, value: float, state: State) -> Sorted | None:
        """A reading beyond the limit that is not raised yet."""
        if self._hold:
            now = self._steady.now()
            if state.since is None:
                state.arrived, state.key = now, self._key_of(message)
                self.context.wake_at(state.key, self._steady.monotonic(now + self._hold))
                self._wait(message, message.time, state)
                return None
            if self._jumps.pending:
                expected = state.since + now - state.arrived
                state.since += self._jumps.of(state.key, message.time, expected)
            if message.time < state.since + self._hold and now < state.arrived + self._hold:
                self._end_hold(state)
                self._wait(message, state.since, state)
                return None
            self._end_hold(state)
        state.active = True
        state.since = message.time if state.since is None else state.since
        return {"raised": self._said(message, value, active=True)}

    def _wait(self, message: Message, since: int, state: State) -> None:
        self.context.keep(message, state.key)
        state.pending, state.since = bare(message), since

    def _end_hold(self, state: State) -> None:
        """The reading that waits will not leave: another one does, or none."""
        if state.pending is not None:
            self.context.drop_kept(state.key)
            state.pending = None

    def wake(self, key: str, state: State) -> Sorted | None:
        """The hold has passed: the last reading leaves, unless the hold ended before."""
        message = state.pending
        if message is None:
            return None
        due = state.arrived + self._hold
        if self._steady.now() < due:
            self.context.wake_at(key, self._steady.monotonic(due))
            return None
        state.pending, state.active = None, True
        value = finite_number(self._get(message), self._path)
        return {"raised": self.context.give(self._said(message, value, active=True), key)}

    def resume(self, key: str, state: State) -> None:
        """Go on with a hold that was running."""
        if state.pending is not None:
            state.arrived = min(state.arrived, self._steady.now())
            self.context.wake_at(key, self._steady.monotonic(state.arrived + self._hold))

    def clock_set(self, jump: int) -> None:
        """A hold of readings stamped by arrival goes on: a clock that is set makes it no longer."""
        self._jumps.note(jump)

    def _said(self, message: Message, value: float, *, active: bool) -> Message:
        return message.with_meta(active=active, limit=self._limit, value=value)
