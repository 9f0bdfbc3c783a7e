"""Filters: let a reading pass, or judge it out of range, an outlier, unchanged or a repeat."""

import hashlib
import math
import sys
from typing import Any, Literal, Self

import msgspec
from pydantic import Field, model_validator

from flowengine import KeyedConfig, Message, Node, NodeConfig, NodeState, finite_number, node
from flowengine.errors import NodeError, describe_value
from flowengine.fields import Duration, ExpressionField, PathField, fault
from flowengine.nodes.keyed import NO_MOMENT, Steady
from flowengine.nodes.robust import mean_and_spread, median_and_spread
from flowengine.nodes.spans import Span

Sorted = dict[str, Message]
_LARGEST = sys.float_info.max
_MISSING: Any = object()


class RangeConfig(NodeConfig):
    """Two limits, of which one may be left out; a reading at a limit passes."""

    field: PathField = Field(default="payload", description="Where the reading stands.")
    min: float | None = Field(default=None, description="Lowest good value, in the reading's unit.")
    max: float | None = Field(
        default=None, description="Highest good value, in the reading's unit."
    )

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError('there is no limit: give "min", "max" or both')
        if self.min is not None and self.max is not None and self.min > self.max:
            raise fault(
                "limits-crossed", f"min ({self.min}) is above max ({self.max}).", "Swap them."
            )
        return self


@node("filter.range", outputs=("passed", "refused"), optional=("refused",))
class Range(Node[RangeConfig]):
    """Let readings within limits pass.

    In: a number at `field`.
    Out `passed`: the message unchanged.
    Out `refused`: the message with `meta.refused = {node, reason, value, limit}`; the reason is
    `below-min`, `above-max`, `missing` or `not-a-number`.
    """

    def setup(self) -> None:
        """Bind the field; a limit left out is the largest number, which infinity exceeds."""
        self._get = self.config.field.getter()
        self._low = -_LARGEST if self.config.min is None else self.config.min
        self._high = _LARGEST if self.config.max is None else self.config.max

    def receive(self, message: Message) -> Sorted:
        """Judge one message."""
        refusal = self._judge(message)
        if refusal is None:
            return {"passed": message}
        return {"refused": message.with_meta(refused=refusal)}

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Judge a whole batch; `_judge` again only where a reading does not plainly pass."""
        get, low, high = self._get, self._low, self._high
        passed: list[Message] = []
        refused: list[Message] = []
        for message in messages:
            try:
                value = get(message)
            except NodeError:
                value = None
            kind = type(value)
            if (kind is float or kind is int) and low <= value <= high:
                passed.append(message)
                continue
            refusal = self._judge(message)
            if refusal is None:
                passed.append(message)
            else:
                refused.append(message.with_meta(refused=refusal))
        return {"passed": passed, "refused": refused}

    def _judge(self, message: Message) -> dict[str, Any] | None:
        value = self.config.field.get_or(message, _MISSING)
        kind = type(value)
        if kind is not int and (kind is not float or not math.isfinite(value)):
            return _no_number(self.context.node, value)
        if self.config.min is not None and value < self.config.min:
            return _refusal(self.context.node, "below-min", value, self.config.min)
        if self.config.max is not None and value > self.config.max:
            return _refusal(self.context.node, "above-max", value, self.config.max)
        return None


def _refusal(node_id: str, reason: str, value: Any, limit: float | None) -> dict[str, Any]:
    return {"node": node_id, "reason": reason, "value": value, "limit": limit}


def _no_number(node_id: str, value: Any) -> dict[str, Any]:
    if value is _MISSING:
        return _refusal(node_id, "missing", None, None)
    # A whole list or map is named, not carried along a second time.
    plain = value is None or isinstance(value, str | bool | int | float)
    return _refusal(node_id, "not-a-number", value if plain else describe_value(value), None)


class OutlierConfig(KeyedConfig):
    """How far a reading may stand from the ones before it."""

    field: PathField = Field(default="payload", description="Where the reading stands.")
    method: Literal["mad", "zscore", "rate"] = Field(
        default="mad",
        description="Distance from the median, from the mean, or change per second.",
    )
    window: int = Field(
        default=20, ge=2, le=10_000, description="Readings before this one that are looked at."
    )
    limit: float | None = Field(
        default=None,
        gt=0,
        description="Spreads from the middle (3.5 for mad, 3 for zscore if left out); "
        "for rate: units per second, required.",
    )
    min_count: int = Field(default=5, ge=1, description="With fewer readings before it, all pass.")
    min_spread: float = Field(
        default=0.0, ge=0, description="Least spread, in the reading's unit, for very quiet series."
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if self.method == "rate" and self.limit is None:
            raise ValueError('"limit" is missing: method "rate" needs it, in units per second')
        if self.method != "rate" and self.min_count > self.window:
            raise fault(
                "limits-crossed",
                f"min_count ({self.min_count}) is above window ({self.window}): nothing would "
                "ever be judged.",
                f"Set min_count to {self.window} or less.",
            )
        return self


@node("filter.outlier", outputs=("passed", "refused"), optional=("refused",), scope="keyed")
class Outlier(Node[OutlierConfig]):
    """Let readings pass that fit the ones before them.

    In: a number at `field`.
    Out `passed`: the message unchanged.
    Out `refused`: the message with `meta.refused = {node, reason, value, limit}`; the reason is
    `outlier`, `too-fast` (method `rate`), `missing` or `not-a-number`.
    State, per key: the last `window` readings, refused ones too, so that a true step is accepted
    after half a window; for `rate` the last passed reading.
    """

    class State(NodeState):
        """The readings before this one, and the last that passed with its event time."""

        values: list[float] = msgspec.field(default_factory=list)
        last: float | None = None
        last_time: int = 0

    def setup(self) -> None:
        """Choose the method and its limit."""
        defaults = {"mad": 3.5, "zscore": 3.0, "rate": 0.0}
        method = self.config.method
        self._limit = defaults[method] if self.config.limit is None else self.config.limit
        self._spread = median_and_spread if method == "mad" else mean_and_spread
        self._is_rate = method == "rate"

    def receive(self, message: Message, state: State) -> Sorted:
        """Judge one reading, then remember it."""
        value = self.config.field.get_or(message, _MISSING)
        number = _as_float(value)
        if number is None:
            return self._refuse(message, _no_number(self.context.node, value))
        if self._is_rate:
            fits, reason = self._is_slow(number, message.time, state), "too-fast"
        else:
            fits, reason = self._is_near(number, state.values), "outlier"
            state.values.append(number)
            if len(state.values) > self.config.window:
                del state.values[0]
        if fits:
            return {"passed": message}
        return self._refuse(message, _refusal(self.context.node, reason, value, self._limit))

    def _refuse(self, message: Message, refusal: dict[str, Any]) -> Sorted:
        return {"refused": message.with_meta(refused=refusal)}

    def _is_near(self, number: float, before: list[float]) -> bool:
        if len(before) < self.config.min_count:
            return True
        try:
            middle, spread = self._spread(before)
        except OverflowError:
            return True  # readings near 1e308 have no spread to compare with
        spread = max(spread, self.config.min_spread)
        return spread == 0 or not abs(number - middle) > self._limit * spread

    def _is_slow(self, number: float, time: int, state: State) -> bool:
        if state.last is not None and number != state.last:
            # In no time, or back in time, any change is too fast.
            seconds = (time - state.last_time) / 1e9
            if abs(number - state.last) > self._limit * seconds:
                return False
        state.last, state.last_time = number, time
        return True


def _as_float(value: Any) -> float | None:
    """A finite int or float as float, None for all else (an int beyond 1e308 too)."""
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            return None
    return None


class DeadbandConfig(KeyedConfig):
    """How large a change must be to be worth telling."""

    field: PathField = Field(default="payload", description="Where the reading stands.")
    absolute: float | None = Field(
        default=None, ge=0, description="Changes above this pass, in the reading's unit."
    )
    percent: float | None = Field(
        default=None, ge=0, description="Changes above this part of the last passed value pass."
    )
    max_silence: Span | None = Field(
        default=None, description="Pass a reading anyway once so much event time went by."
    )

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        if (self.absolute is None) == (self.percent is None):
            raise ValueError('give exactly one of "absolute" and "percent"')
        return self


@node("filter.deadband", outputs=("passed",), scope="keyed")
class Deadband(Node[DeadbandConfig]):
    """Let a reading pass when it differs enough from the last one that passed.

    In: a finite number at `field`.
    Out `passed`: the message unchanged: the first of its key, a change larger than the band (as in
    OPC UA, Part 8 §6.2), or any reading once `max_silence` went by.
    State, per key: the last passed value and its event time.
    Raises: PayloadError if there is no finite number.
    """

    class State(NodeState):
        """The last passed value, None before the first, and its event time."""

        last: float | None = None
        time: int = 0

    def setup(self) -> None:
        """Bind the field and the band."""
        self._get = self.config.field.getter()
        self._absolute = self.config.absolute
        self._share = (self.config.percent or 0.0) / 100
        self._silence = self.config.max_silence or NO_MOMENT

    def receive(self, message: Message, state: State) -> Message | None:
        """Pass the message or hold it back."""
        # as float, for a checkpoint holds integers of 64 bits only
        value = float(finite_number(self._get(message), self.config.field.text))
        last = state.last
        if last is not None:
            band = abs(last) * self._share if self._absolute is None else self._absolute
            if abs(value - last) <= band and message.time - state.time < self._silence:
                return None
        state.last, state.time = value, message.time
        return message


class DuplicateConfig(KeyedConfig):
    """What makes two messages the same, and for how long."""

    by: ExpressionField = Field(default="payload", description="What is compared.")
    within: Duration = Field(
        default="1h", description="A repeat passes again so long after the first one."
    )


@node("filter.duplicate", outputs=("passed",), scope="keyed")
class Duplicate(Node[DuplicateConfig]):
    """Let the first of equal messages pass and hold its repeats back.

    In: anything that `by` can be taken from.
    Out `passed`: the message unchanged. A repeat does not extend the time.
    State, per key: what was seen, at most 100,000 values; the oldest is forgotten first.
    """

    MOST = 100_000

    class State(NodeState):
        """When each value was first seen, and the values from `head` on in that order."""

        seen: dict[str, int] = msgspec.field(default_factory=dict)
        order: list[str] = msgspec.field(default_factory=list)
        head: int = 0

    def setup(self) -> None:
        """Bind the expression."""
        self._by = self.config.by.bind(self.context.params, self.context.now)
        self._steady = Steady(self.context)

    def receive(self, message: Message, state: State) -> Message | None:
        """Pass what was not seen within the time."""
        mark, now = fingerprint(self._by(message)), self._steady.now()
        self._forget(state, now - self.config.within, len(state.seen))
        if mark in state.seen:
            return None
        self._forget(state, now, len(state.seen) + 1 - self.MOST)
        state.seen[mark] = now
        state.order.append(mark)
        return message

    def resume(self, key: str, state: State) -> None:
        """Bring moments of a clock that was ahead back to now."""
        now = self._steady.now()
        state.seen = {mark: min(first, now) for mark, first in state.seen.items()}

    def _forget(self, state: State, until: int, most: int) -> None:
        """Drop the oldest values, seen at `until` or before, but no more than `most`."""
        seen, order, head = state.seen, state.order, state.head
        while most > 0 and seen[order[head]] <= until:
            del seen[order[head]]
            head += 1
            most -= 1
        # Deleting from the front of a list moves the rest: only once half of it is gone.
        if 2 * head > len(order):
            del order[:head]
            head = 0
        state.head = head


def fingerprint(value: Any) -> str:
    """A short text, equal for equal values: 21 and 21.0 are equal, 21 and "21" are not."""
    if isinstance(value, str):
        raw = b"s" + value.encode("utf-8", "surrogatepass")
    elif isinstance(value, bytes):
        raw = b"b" + value
    else:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        raw = b"j" + msgspec.json.encode(value, order="deterministic")
    # 96 bits: among 100,000 values two different ones meet once in 10^19.
    return hashlib.blake2b(raw, digest_size=12).hexdigest()
