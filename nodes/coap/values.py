"""The newest payload of every observable path, and who wants to know when it changes."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

MOST_PATHS = 10_000
MOST_BYTES = 16_000_000
MOST_OBSERVERS = 1000


class Value:
    """A payload as it came.

    Attributes:
        payload: the bytes.
        format: its Content-Format, None if the sender gave none.
        etag: eight bytes that change with it (RFC 7252 §5.10.6).
    """

    __slots__ = ("etag", "format", "payload")

    def __init__(self, payload: bytes, content_format: int | None) -> None:
        self.payload = payload
        self.format = content_format
        self.etag = hashlib.sha256(b"%d " % (content_format or 0) + payload).digest()[:8]


class Values:
    """Values by path; the path that was not written for longest makes room."""

    def __init__(self) -> None:
        self._values: OrderedDict[str, Value] = OrderedDict()
        self._bytes = 0
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._observers = 0
        self._number = 0

    def get(self, path: str) -> Value | None:
        """The newest value, None if there is none."""
        return self._values.get(path)

    def paths(self) -> list[str]:
        """All paths that have a value."""
        return list(self._values)

    def put(self, path: str, value: Value) -> None:
        """A newer value; whoever watches is told."""
        self._drop(path)
        self._values[path] = value
        self._bytes += len(value.payload)
        while len(self._values) > MOST_PATHS or (
            self._bytes > MOST_BYTES and len(self._values) > 1
        ):
            self._drop(next(iter(self._values)))
        self._tell(path)

    def remove(self, path: str) -> None:
        """There is no value any more."""
        self._drop(path)
        self._tell(path)

    def _drop(self, path: str) -> None:
        old = self._values.pop(path, None)
        if old is not None:
            self._bytes -= len(old.payload)

    def _tell(self, path: str) -> None:
        for changed in self._watchers.get(path, ()):
            changed.set()

    @property
    def has_room(self) -> bool:
        """Whether one more observer can be taken; RFC 7641 §4.1 lets a server answer without."""
        return self._observers < MOST_OBSERVERS

    @contextmanager
    def watch(self, path: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the path changes."""
        changed = asyncio.Event()
        self._watchers.setdefault(path, set()).add(changed)
        self._observers += 1
        try:
            yield changed
        finally:
            self._observers -= 1
            watchers = self._watchers[path]
            watchers.discard(changed)
            if not watchers:
                del self._watchers[path]

    def next_number(self) -> int:
        """The sequence number of a notification: 24 bits, growing (RFC 7641 §4.4)."""
        self._number = (self._number + 1) & 0xFFFFFF
        return self._number
