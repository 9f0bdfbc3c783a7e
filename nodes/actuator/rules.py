"""What actuators may do and when: rules without a clock or I/O. Times are ns of one clock."""

from collections.abc import Callable
from typing import Any

import msgspec

from flowengine import Context, Message
from flowengine.errors import NodeError, describe_value
from flowengine.nodes.keyed import key_of

_ON = frozenset({"on", "ON"})
_OFF = frozenset({"off", "OFF"})


def as_state(value: Any) -> bool:
    """The state that a value asks for (R1): `true, 1, "on", "ON"`, or `false, 0, "off", "OFF"`."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if value in _ON:
            return True
        if value in _OFF:
            return False
    elif isinstance(value, int | float) and value in {0, 1}:
        return value == 1
    raise NodeError(
        f"{describe_value(value)} is neither on nor off.",
        slug="not-a-state",
        mend='Send true, 1 or "ON"; false, 0 or "OFF"; or say by "value" where the state stands.',
    )


def device_key(config: Any, context: Context) -> Callable[[Message], str]:
    """Which device a message is for: its key, or what the config's `key` gives; NodeError if none.

    The constant `''` is one device for all messages.
    """
    is_one = config.key is not None and config.key.text.strip() in {"''", '""'}
    evaluate = key_of(config, context)

    def key(message: Message) -> str:
        found = evaluate(message)
        if not found and not is_one:
            raise NodeError(
                "the key is empty",
                slug="no-key",
                path="key",
                mend="Set the source's key, or this node's key to '' for one device.",
            )
        return found

    return key


def clamped(level: float, low: float | None, high: float | None) -> float:
    """The level within its limits."""
    if low is not None and level < low:
        return low
    if high is not None and level > high:
        return high
    return level


def toward(level: float, target: float, most: float) -> float:
    """The next level on the way to `target`, at most `most` away from this one."""
    if abs(target - level) <= most:
        return target
    return level + most if target > level else level - most


class Pace(msgspec.Struct, kw_only=True, frozen=True):
    """How long a switch stays on or off at least, and `count` changes in any `per` at most."""

    min_on: int = 0
    min_off: int = 0
    count: int = 0
    per: int = 0


class Past(msgspec.Struct, kw_only=True):
    """What a switch did: its state (None: unknown), since when, and its last `count` changes."""

    on: bool | None = None
    since: int = 0
    changes: list[int] = []

    def allowed_at(self, on: bool, pace: Pace) -> int:
        """The earliest time to ask for a state; only the rate holds back one that it has."""
        earliest = 0
        if self.on is not None and on is not self.on:
            earliest = self.since + (pace.min_on if self.on else pace.min_off)
        if pace.count and len(self.changes) >= pace.count:
            earliest = max(earliest, self.changes[-pace.count] + pace.per)
        return earliest

    def done(self, on: bool, now: int, pace: Pace) -> None:
        """Note that a state was asked for."""
        if on is not self.on:
            self.on, self.since = on, now
        if pace.count:
            self.changes = [*self.changes, now][-pace.count :]

    def copy(self) -> "Past":
        """Another one with the same past."""
        return Past(on=self.on, since=self.since, changes=list(self.changes))
