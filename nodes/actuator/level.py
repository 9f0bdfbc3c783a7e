"""Levels: the work of `actuator.level`, which is marked in its family's module."""

import asyncio
from typing import Any

from flowengine import Message, NodeState, Result, Sink, finite_number
from flowengine.errors import FlowengineError, RecordRefused
from flowengine.nodes.actuator.config import LevelConfig
from flowengine.nodes.actuator.rules import clamped, device_key, toward
from flowengine.nodes.actuator.ways import WAYS, Way
from flowengine.nodes.keyed import Steady, bare

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
STOP_WITHIN = 1.5


class LevelSink(Sink[LevelConfig]):
    """Sends levels, the newest of each device, in steps where they may not jump.

    A step that is still to come waits as `pending` in the state; when it is due, its message goes
    into the sink's own wire once more, so that retries and the store on disk are the engine's.
    """

    batch_size = 2000
    batch_age = 0

    class State(NodeState):
        """The level that was sent, when (steady time), and what is still to be reached.

        `pending` is the `number`th message that waits; `last` is the last one that was sent, or
        waited when the flow's stop sent the safe level, at `safed` (0: it did not).
        """

        level: float | None = None
        at: int = 0
        last: Message | None = None
        pending: Message | None = None
        number: int = 0
        safed: int = 0

    def setup(self) -> None:
        """Bind the expressions and choose the way."""
        config, context = self.config, self.context
        self._value = config.value.bind(context.params, context.now)
        self._key = device_key(config, context)
        self._way: Way = WAYS[config.through](config, context)
        self._steady = Steady(context)
        self._most = config.slew * config.step / SECOND if config.slew is not None else None
        self._sent: set[str] = set()
        self._requeued: dict[str, int] = {}
        self._is_open = False

    async def open(self) -> None:
        """Begin."""
        self._is_open = True

    async def close(self) -> None:
        """Leave every device at its safe level."""
        if self._is_open and self.config.safe is not None:
            await self._make_safe(self.config.safe)
        self._is_open = False

    def prepare(self, message: Message) -> tuple[str, float, Message, int]:
        """(key, level, message, which kept one it is); NodeError for what cannot be sent."""
        level = float(finite_number(self._value(message), self.config.value.text))
        level = clamped(level, self.config.min, self.config.max)
        self._way.record(message, content(level))
        return self._key(message), level, message, message.meta.get("kept", 0)

    async def write(self, records: list[Any]) -> list[Result]:
        """Send the next level of each device; what is not reached by it goes on later."""
        newest = {record[0]: index for index, record in enumerate(records)}
        now = self._steady.now()
        sent: dict[int, float] = {}
        results: list[Result] = [None] * len(records)
        for key, index in newest.items():
            _, level, message, kept = records[index]
            state: LevelSink.State = self.context.state(key)
            if kept and (state.pending is None or kept != state.number):
                continue
            following = self._next(state, level, now)
            if following is not None and self._is_worth(key, state, following, level):
                sent[index] = following
            elif following is None:
                self._wait(key, state, message, kept)
            else:
                self._forget_pending(key, state, kept)
        refused = await self._send(records, sent)
        for index, following in sent.items():
            if index not in refused:
                results[index] = self._done(records[index], following, now)
        if refused:
            raise RecordRefused(next(iter(refused.values())), refused=refused)
        return results

    def _next(self, state: "LevelSink.State", level: float, now: int) -> float | None:
        """The level to send now; None where the next step is not due yet."""
        if self._most is None or state.level is None:
            return level
        if now < state.at + self.config.step and level != state.level:
            return None
        return toward(state.level, level, self._most)

    def _is_worth(self, key: str, state: "LevelSink.State", following: float, level: float) -> bool:
        if key not in self._sent or state.level is None:
            return True
        return following != level or abs(level - state.level) > self.config.deadband

    async def _send(self, records: list[Any], sent: dict[int, float]) -> dict[int, str]:
        """Send; returns why which were refused."""
        if not sent:
            return {}
        ways = [self._way.record(records[i][2], content(level)) for i, level in sent.items()]
        try:
            await self._way.send(ways)
        except RecordRefused as err:
            if not err.refused:
                raise
            places = list(sent)
            return {places[index]: why for index, why in err.refused.items()}
        return {}

    def _done(self, record: Any, following: float, now: int) -> Result:
        key, level, message, kept = record
        state: LevelSink.State = self.context.state(key)
        state.level, state.at, state.safed = following, now, 0
        self._sent.add(key)
        if kept:
            message = message.copy()
            message.meta = {name: value for name, value in message.meta.items() if name != "kept"}
        state.last = bare(message)
        if following != level:
            self._wait(key, state, message, kept)
            return None
        self._forget_pending(key, state, kept)
        return {"confirmed": message.with_meta(level=level)}

    # -- what is still to be reached

    def _wait(self, key: str, state: "LevelSink.State", message: Message, kept: int) -> None:
        """Come back to this message when the next step is due."""
        self._forget_pending(key, state, kept)
        self.context.keep(message, key)
        pending = bare(message)
        pending.meta = {name: value for name, value in pending.meta.items() if name != "kept"}
        state.pending = pending
        state.number += 1
        self._set_timer(key, state)

    def _forget_pending(self, key: str, state: "LevelSink.State", kept: int) -> None:
        if state.pending is None:
            return
        state.pending = None
        if not kept:  # one that came back by the wire has its receipt with it
            self.context.drop_kept(key)

    def _set_timer(self, key: str, state: "LevelSink.State") -> None:
        due = max(state.at + self.config.step, self._steady.now())
        self.context.wake_at(key, self._steady.monotonic(due))

    def wake(self, key: str, state: "LevelSink.State") -> None:
        """The next step is due."""
        if state.pending is None or self._requeued.get(key) == state.number:
            return
        self._requeued[key] = state.number
        kept = state.pending.with_meta(kept=state.number)
        self.context.again(self.context.give(kept, key))

    def resume(self, key: str, state: "LevelSink.State") -> None:
        """Go on after a restart or deploy with what was under way."""
        now = self._steady.now()
        state.at = min(state.at, now)
        if state.safed:
            is_back_soon = now - state.safed <= MINUTE
            state.safed = 0
            state.pending = state.last if is_back_soon else None
            state.number += 1
        if state.pending is not None:
            self._set_timer(key, state)

    async def _make_safe(self, level: float) -> None:
        found = [
            state
            for key in self.context.keys()  # noqa: SIM118  # a context is no map
            if (state := self.context.state(key)).last is not None and state.level != level
        ]
        if not found:
            return
        try:
            records = [self._way.record(state.last, content(level)) for state in found]
            async with asyncio.timeout(STOP_WITHIN):
                await self._way.send(records)
        except (FlowengineError, TimeoutError) as err:
            why = str(err) or "no answer"
            self.context.log("error", f"the safe level {content(level)} was not sent: {why}")
            return
        now = self._steady.now()
        for state in found:
            state.last = state.pending or state.last
            state.pending = None
            state.level, state.at, state.safed = level, now, now


def content(level: float) -> str:
    """A level as it is sent: the shortest number, at most nine digits behind the point."""
    rounded = round(level, 9)
    return str(int(rounded)) if rounded.is_integer() and abs(rounded) < 1e15 else repr(rounded)
