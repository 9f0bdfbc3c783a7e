"""A source's messages stamped: event time, arrival time, key (R2, R10, R55).

Arrival time is per message and strictly increasing per source, so that a burst of one device never
becomes one point. A time that is absent, unreadable or too far ahead is no error: the arrival
stands in, `meta.time_quality` says so and it is counted.
"""

from typing import Any

from flowengine.errors import NodeError
from flowengine.message import Message
from flowengine.moments import parse_time
from flowengine.node import Context, SourceConfig

_ARRIVAL = {"time_quality": "arrival"}


class Stamper:
    """Stamps what one source lets in, as its config says."""

    def __init__(self, config: SourceConfig, context: Context) -> None:
        self._context = context
        self._format = config.time_format
        self._max_ahead = config.max_ahead
        self._last = 0
        params, now = context.params, context.now
        self._time = config.time.bind(params, now) if config.time is not None else None
        self._key = config.key.bind(params, now) if config.key is not None else None
        self.is_plain = self._time is None and self._key is None

    def arrivals(self, number: int) -> int:
        """The arrival time of the first of `number` messages; the others follow 1 ns apart."""
        first = max(self._context.clock.now(), self._last + 1)
        self._last = first + number - 1
        return first

    def stamp(self, messages: list[Message]) -> list[Message]:
        """Give messages their time and key; they come with their default key."""
        at = self.arrivals(len(messages))
        for message in messages:
            message.time = at
            at += 1
        self.read(messages)
        return messages

    def read(self, messages: list[Message]) -> None:
        """Take time and key from messages that bear their arrival time."""
        if self._key is not None:
            for message in messages:
                message.key = self._key_of(message)
        if self._time is not None:
            for message in messages:
                self._set_time(message)

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

    def _set_time(self, message: Message) -> None:
        assert self._time is not None  # noqa: S101  # only called where there is one
        arrival = message.time
        try:
            value: Any = self._time(message)
            time = parse_time(value, self._format)
        except (NodeError, ValueError, TypeError, OverflowError):
            self._context.count("time-unreadable")
            message.meta = {**message.meta, **_ARRIVAL}
            return
        if time > arrival + self._max_ahead:
            self._context.count("time-ahead")
            message.meta = {**message.meta, **_ARRIVAL}
            return
        message.time = time
