"""A source's messages stamped: event time, arrival time, key (R2, R10, R55).

Arrival time is per message and strictly increasing per source, so that a burst of one device never
becomes one point. A time that is absent, unreadable or too far ahead is no error: the arrival
stands in, `meta.time_quality` says so and it is counted.

    meta.time_quality   what it says of `time`
    (none)              the message's own, or its arrival on a clock that is set
    arrival             the message's own was absent, unreadable or too far ahead
    unsynced            its arrival on a clock that is not set yet; mended once it is (`trust`)
    mended              its arrival, mended
    unchecked           the message's own, which looks far ahead of a clock that is not set
"""

from typing import Any

from flowengine.errors import NodeError
from flowengine.message import Message
from flowengine.moments import parse_time
from flowengine.node import Context, SourceConfig

_ARRIVAL = {"time_quality": "arrival"}
_UNCHECKED = {"time_quality": "unchecked"}
_SECOND = 1_000_000_000


class Stamper:
    """Stamps what one source lets in, as its config says.

    `is_plain`: nothing is to be read from the messages, and their arrival times are right; it may
    change from one read to the next.
    """

    def __init__(self, config: SourceConfig, context: Context) -> None:
        self._context = context
        self._trust = context.clock.trust
        self._format = config.time_format
        self._max_ahead = config.max_ahead
        self._last = 0
        params, now = context.params, context.now
        self._time = config.time.bind(params, now) if config.time is not None else None
        self._key = config.key.bind(params, now) if config.key is not None else None
        self._reads_nothing = self._time is None and self._key is None

    @property
    def is_plain(self) -> bool:
        """Whether `read` has nothing to do."""
        return self._reads_nothing and self._trust.is_synced

    def arrivals(self, number: int) -> int:
        """The arrival time of the first of `number` messages; the others follow 1 ns apart."""
        first = self._context.clock.now()
        since = first - self._last
        if since <= 0 or since > _SECOND:
            first = self._after_pause(first, since)
        self._last = first + number - 1
        return first

    def _after_pause(self, now: int, since: int) -> int:
        """The first time of a read that came long after the last one, or seemingly before it.

        A clock that was set back by more than a second goes on from where it stands: else all
        stamps of the time that comes twice would be one. Whoever keeps event times hears of the
        jump before the messages come (`Node.clock_set`).
        """
        if abs(since) > _SECOND:
            self._trust.look()
            return now
        return self._last + 1

    def stamp(self, messages: list[Message]) -> list[Message]:
        """Give messages their time and key; they come with their default key."""
        at = self.arrivals(len(messages))
        for message in messages:
            message.time = at
            at += 1
        self.read(messages)
        return messages

    def read(self, messages: list[Message]) -> None:
        """Take time and key from messages that bear their arrival time; mark one that is wrong."""
        if self._key is not None:
            for message in messages:
                message.key = self._key_of(message)
        by_arrival = messages
        if self._time is not None:
            by_arrival = [message for message in messages if not self._has_own_time(message)]
        if not self._trust.is_synced:
            self._trust.mark(by_arrival)

    def _key_of(self, message: Message) -> str:
        assert self._key is not None  # noqa: S101  # only called where there is one
        try:
            key = self._key(message)
        except NodeError:
            key = None
        if isinstance(key, str) and key:
            return key
        if isinstance(key, int | float) and not isinstance(key, bool):
            return str(int(key)) if float(key).is_integer() and abs(key) < 1e15 else repr(key)
        self._context.count("no-key")
        return ""

    def _has_own_time(self, message: Message) -> bool:
        """Give the message the time that it tells, if there is one to be believed."""
        assert self._time is not None  # noqa: S101  # only called where there is one
        arrival = message.time
        try:
            value: Any = self._time(message)
            time = parse_time(value, self._format)
        except (NodeError, ValueError, TypeError, OverflowError):
            self._context.count("time-unreadable")
            message.meta = {**message.meta, **_ARRIVAL}
            return False
        if time > arrival + self._max_ahead:
            if self._trust.is_synced:
                self._context.count("time-ahead")
                message.meta = {**message.meta, **_ARRIVAL}
                return False
            # A device knows the time better than a box that does not know it.
            message.meta = {**message.meta, **_UNCHECKED}
        message.time = time
        return True
