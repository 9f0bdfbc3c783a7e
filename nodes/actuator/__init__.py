"""Actuators: bring things outside to the state that messages ask for, gently and surely."""

import asyncio
from typing import Any

import msgspec

from flowengine import Message, NodeState, Result, Sink, format_duration, node
from flowengine.errors import FlowengineError, RecordRefused, Unavailable
from flowengine.nodes.actuator.config import SwitchConfig
from flowengine.nodes.actuator.confirm import Confirmations
from flowengine.nodes.actuator.level import LevelSink
from flowengine.nodes.actuator.rules import Pace, Past, as_state, device_key
from flowengine.nodes.actuator.ways import WAYS, Way
from flowengine.nodes.keyed import Steady, bare

MINUTE = 60_000_000_000
STOP_WITHIN = 1.5


class Asked:
    """A record: what one message asks of one switch."""

    __slots__ = ("kept", "key", "message", "on", "sent")

    def __init__(self, key: str, on: bool, message: Message, sent: Any, kept: int) -> None:
        self.key = key
        self.on = on
        self.message = message
        self.sent = sent
        self.kept = kept


@node(
    "actuator.switch",
    outputs=("confirmed", "failed"),
    optional=("confirmed", "failed"),
    scope="keyed",
)
class Switch(Sink[SwitchConfig]):
    """Bring a switch to the state that messages ask for.

    In: `true, 1, "on", "ON"` or `false, 0, "off", "OFF"` in `meta.active` (as `threshold` gives it)
    or else in the payload; anything else takes the error route. Only a change is sent, the first
    message of a switch since the start always. A change within `min_on`, `min_off` or `max_rate` is
    kept and made as soon as it may; the newest wish wins. When the device was away, it is brought
    to the newest state alone: what it missed is not made up for.
    Out `confirmed`: the message that asked for a state which is reached, with `meta.state`: `on` or
    `off`. Reached means: the broker has it, the device answered 2.xx, or, with `confirm`, the
    device told that state itself; by then the message is committed.
    Out `failed`: the same for a state that was not confirmed within `confirm.timeout`.
    State, per key: what was sent, what waits to be sent, what waits to be confirmed; kept over
    restarts, so that a change that waits is not lost. What the device does is not known from it:
    the broker keeps the last command (`retain`), and the first message after a start is sent again.
    At a stop the `safe` state is sent. If the flow is back within a minute (a deploy, an update),
    the state from before is asked for again; later, the switch stays safe until it is asked. For a
    box that is lost without a goodbye, give the broker connection a `will`.
    """

    batch_size = 2000
    batch_age = 0

    class State(NodeState):
        """What was sent last and what is under way.

        Times are of `Steady`. `pending` has not been sent yet, and is the `number`th that was kept;
        `asked` was sent at `asked_at` and is not confirmed; `safed` is when the flow's stop put the
        switch into its safe state (0: it did not), `before` the state it had.
        """

        on: bool | None = None
        since: int = 0
        changes: list[int] = msgspec.field(default_factory=list)
        last: Message | None = None
        pending: Message | None = None
        pending_on: bool = False
        number: int = 0
        asked: Message | None = None
        asked_on: bool = False
        asked_at: int = 0
        safed: int = 0
        before: bool = False

    def setup(self) -> None:
        """Bind the expressions and choose the way."""
        config, context = self.config, self.context
        params, now = context.params, context.now
        self._value = config.value.bind(params, now) if config.value is not None else None
        self._key = device_key(config, context)
        rate = config.max_rate
        self._pace = Pace(
            min_on=config.min_on,
            min_off=config.min_off,
            count=rate.count if rate else 0,
            per=rate.per if rate else 0,
        )
        self._way: Way = WAYS[config.through](config, context)
        self._steady = Steady(context)
        self._confirmations = (
            Confirmations(config, context, self._told) if config.confirm is not None else None
        )
        self._timeout = config.confirm.timeout if config.confirm is not None else 0
        self._sent: set[str] = set()
        self._requeued: dict[str, int] = {}
        self._is_open = self._was_away = False

    async def open(self) -> None:
        """Listen for confirmations."""
        self._is_open = True
        if self._confirmations is not None:
            self._confirmations.open()

    async def close(self) -> None:
        """Leave every switch in its safe state."""
        if not self._is_open:
            return
        self._is_open = False
        if self._confirmations is not None:
            self._confirmations.close()
        if self.config.safe != "keep":
            await self._make_safe(self.config.safe == "on")

    def feed(self, topic: str, payload: bytes, meta: dict[str, Any]) -> bool:
        """A flow test published this."""
        return self._confirmations is not None and self._confirmations.feed(topic, payload)

    # -- what a message asks

    def prepare(self, message: Message) -> Asked:
        """The state that a message asks for, and what would be sent; NodeError for neither."""
        if self._value is not None:
            on = as_state(self._value(message))
        else:
            meta = message.meta
            on = as_state(meta.get("active", message.payload))
        key = self._key(message)
        sent = self._way.record(message, self.config.on if on else self.config.off)
        if self._confirmations is not None:
            self._confirmations.topic(message)  # a topic that cannot be filled in is an error now
        return Asked(key, on, message, sent, message.meta.get("kept", 0))

    async def write(self, records: list[Asked]) -> list[Result]:
        """Send what is a change and may be made now; keep what may not."""
        newest = {record.key: index for index, record in enumerate(records)}
        now = self._steady.now()
        pasts: dict[str, Past] = {}
        waiting: dict[str, Asked | None] = {}
        sent: dict[int, Asked] = {}
        for index, record in enumerate(records):
            key = record.key
            if self._was_away and newest[key] != index:
                continue
            state: Switch.State = self.context.state(key)
            if key not in pasts:
                pasts[key] = Past(on=state.on, since=state.since, changes=state.changes).copy()
            is_newest = state.pending is not None and record.kept == state.number
            if record.kept and (not is_newest or key in waiting):
                continue  # a newer wish came while this one was on its way back here
            past = pasts[key]
            if record.on is past.on and key in self._sent:
                waiting[key] = None
            elif past.allowed_at(record.on, self._pace) <= now:
                waiting[key] = None
                past.done(record.on, now, self._pace)
                self._sent.add(key)
                sent[index] = record
            else:
                waiting[key] = record
        refused = await self._send(sent)
        unknown = {records[index].key for index in refused}
        self._sent -= unknown
        results: list[Result] = [None] * len(records)
        for index, record in sent.items():
            if record.key not in unknown:
                results[index] = self._done(record, pasts[record.key], now)
        for key, record_or_none in waiting.items():
            if key not in unknown:
                self._wait(key, record_or_none)
        if refused:
            raise RecordRefused(next(iter(refused.values())), refused=refused)
        return results

    async def _send(self, sent: dict[int, Asked]) -> dict[int, str]:
        """Send; returns why which were refused. Raises what the engine must know, and forgets."""
        if not sent:
            return {}
        try:
            await self._way.send([record.sent for record in sent.values()])
        except RecordRefused as err:
            if not err.refused:
                self._sent.difference_update(record.key for record in sent.values())
                raise
            places = list(sent)
            return {places[index]: why for index, why in err.refused.items()}
        except Unavailable:
            self._sent.difference_update(record.key for record in sent.values())
            self._was_away = True
            raise
        self._was_away = False
        return {}

    def _done(self, record: Asked, past: Past, now: int) -> Result:
        """A state was asked for: remember it, and answer, or wait for the device's word."""
        key, message = record.key, record.message
        if record.kept:
            message = message.copy()
            message.meta = {name: value for name, value in message.meta.items() if name != "kept"}
        state: Switch.State = self.context.state(key)
        if record.kept:
            self._requeued.pop(key, None)
            state.pending = None
        state.on, state.since, state.changes = past.on, past.since, past.changes
        state.last, state.safed = bare(message), 0
        if state.asked is not None:  # the device was asked for something newer since
            self.context.drop_kept(f"{key}\0asked")
            state.asked = None
        if self._confirmations is None:
            return {"confirmed": message.with_meta(state=_word(record.on))}
        self.context.keep(message, f"{key}\0asked")
        state.asked, state.asked_on, state.asked_at = bare(message), record.on, now
        self._confirmations.expect(key, message)
        self._set_timer(key, state)
        return None

    def _wait(self, key: str, record: Asked | None) -> None:
        """Keep the newest wish until it may be done; None: there is none any more."""
        state: Switch.State = self.context.state(key)
        if record is not None and record.kept:
            self._requeued.pop(key, None)  # it may not be done yet after all
            self.context.keep(record.message, key)
            self._set_timer(key, state)
            return
        if state.pending is not None:
            self._requeued.pop(key, None)
            state.pending = None
            self.context.drop_kept(key)
        if record is not None:
            self.context.keep(record.message, key)
            state.pending, state.pending_on = bare(record.message), record.on
            state.number += 1
            self._set_timer(key, state)

    # -- time goes by

    def _due(self, state: "Switch.State") -> int:
        past = Past(on=state.on, since=state.since, changes=state.changes)
        return past.allowed_at(state.pending_on, self._pace)

    def _set_timer(self, key: str, state: "Switch.State") -> None:
        """Wake up for what comes first: a change that may be made, or a confirmation too late."""
        due = []
        if state.pending is not None and self._requeued.get(key) != state.number:
            due.append(self._due(state))
        if state.asked is not None:
            due.append(state.asked_at + self._timeout)
        if due:
            self.context.wake_at(key, self._steady.monotonic(min(due)))

    def wake(self, key: str, state: "Switch.State") -> Result:
        """A kept change may be made now, or the device has not confirmed in time."""
        now = self._steady.now()
        failed: Result = None
        if state.asked is not None and now >= state.asked_at + self._timeout:
            said = f"not confirmed within {format_duration(self._timeout)}"
            failed = {"failed": self._answer(key, state, failed=said)}
        pending = state.pending
        is_on_its_way = self._requeued.get(key) == state.number
        if pending is not None and not is_on_its_way and now >= self._due(state):
            self._requeued[key] = state.number
            kept = bare(pending).with_meta(kept=state.number)
            self.context.again(self.context.give(kept, key))
        self._set_timer(key, state)
        return failed

    def resume(self, key: str, state: "Switch.State") -> None:
        """Go on after a restart or deploy with what was under way."""
        now = self._steady.now()
        state.since, state.asked_at = min(state.since, now), min(state.asked_at, now)
        state.changes = [min(at, now) for at in state.changes]
        if state.safed:
            self._after_stop(state, now)
        if state.asked is not None and self._confirmations is None:
            state.asked = None
        if state.asked is not None and self._confirmations is not None:
            self._confirmations.expect(key, state.asked)
        self._set_timer(key, state)

    def _after_stop(self, state: "Switch.State", now: int) -> None:
        """The flow's stop made the switch safe: what was asked before it counts for a minute."""
        is_back_soon = now - state.safed <= MINUTE
        state.safed = 0
        if not is_back_soon:
            state.pending = None
        elif state.pending is None and state.last is not None:
            state.pending, state.pending_on = state.last, state.before
            state.number += 1

    # -- what the device tells, and the end

    def _told(self, key: str, on: bool) -> None:
        """The device tells its state."""
        state: Switch.State = self.context.state(key)
        if state.asked is not None and state.asked_on is on:
            self.context.emit("confirmed", [self._answer(key, state)])

    def _answer(self, key: str, state: "Switch.State", **facts: Any) -> Message:
        message, state.asked = state.asked or Message(), None
        answer = bare(message).with_meta(state=_word(state.asked_on), **facts)
        return self.context.give(answer, f"{key}\0asked")

    async def _make_safe(self, on: bool) -> None:
        """Send the safe state to every switch that is not known to have it."""
        found = [
            (key, state)
            for key in self.context.keys()  # noqa: SIM118  # a context is no map
            if (state := self.context.state(key)).last is not None and state.on is not on
        ]
        if not found:
            return
        content = self.config.on if on else self.config.off
        try:
            records = [self._way.record(state.last, content) for _, state in found]
            async with asyncio.timeout(STOP_WITHIN):
                await self._way.send(records)
        except (FlowengineError, TimeoutError) as err:
            why = str(err) or "no answer"
            self.context.log("error", f"the safe state {_word(on)} was not sent: {why}")
            return
        now = self._steady.now()
        for _, state in found:
            state.before, state.safed = bool(state.on), now
            state.on, state.since = on, now


def _word(on: bool) -> str:
    return "on" if on else "off"


@node("actuator.level", outputs=("confirmed",), optional=("confirmed",), scope="keyed")
class Level(LevelSink):
    """Bring a valve, a dimmer or a speed to the level that messages ask for.

    In: a finite number at `value`, else the error route; one beyond `min` and `max` counts as the
    limit. Only a change larger than `deadband` is sent, the first message of a device since the
    start always. With `slew` a larger change is made in steps, one each `step`; the newest wish
    wins at any time. The first level after the device was unknown is sent as it is.
    Out `confirmed`: the message whose level is reached, with `meta.level`; it is committed by then:
    the broker has it, the device answered 2.xx.
    State, per key: the level that was sent and the one that is still to be reached; a slow change
    goes on after a restart. At a stop the `safe` level is sent at once. If the flow is back within
    a minute, it goes back to the level from before; later, it stays safe until it is asked.
    """
