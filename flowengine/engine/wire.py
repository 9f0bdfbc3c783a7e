"""Bounded wires: where messages wait in front of a boundary.

A wire holds messages in order, bounded in number and in bytes. When it is full its policy decides:
`block` tells the flow's sources to stop reading (what is under way still fits: one batch over), the
drop policies settle messages as dropped and count them. A wire in a loop cannot wait for what it
leads to itself: far beyond its bounds it drops what comes, counts it as `loop-full`, and says so.
"""

from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from flowengine.clock import Clock
from flowengine.engine.delivery import settle_all
from flowengine.engine.fates import DROPPED, fate_at
from flowengine.message import Message

WhenFull = Literal["block", "drop-oldest", "drop-newest"]
CAPACITY = 10_000
MAX_BYTES = 64_000_000
LOOP_FULL = fate_at(DROPPED, "loop-full")
_SAMPLE_EVERY = 64


class Wire:
    """Messages on their way to one boundary, oldest first."""

    def __init__(
        self,
        clock: Clock,
        *,
        capacity: int = CAPACITY,
        max_bytes: int = MAX_BYTES,
        when_full: WhenFull = "block",
        on_data: Callable[[], None] = lambda: None,
        on_level: Callable[["Wire"], None] = lambda _wire: None,
    ) -> None:
        self.clock = clock
        self.capacity = capacity
        self.max_bytes = max_bytes
        self.when_full = when_full
        self.on_data = on_data
        self.on_level = on_level
        self.depth = 0
        self.dropped = 0
        self.blocked = False
        self.on_refused: Callable[[int], None] | None = None
        """Set where the wire is part of a loop: told how many had no room in it."""
        self._chunks: deque[tuple[int, list[Message]]] = deque()
        self._puts = 0
        self._message_bytes = 0

    @property
    def bytes(self) -> int:
        """About how many bytes wait here, from the size of every 64th batch's first message."""
        return self.depth * self._message_bytes

    @property
    def oldest(self) -> int | None:
        """Monotonic time at which the oldest waiting message arrived, None when empty."""
        return self._chunks[0][0] if self._chunks else None

    @property
    def is_full(self) -> bool:
        """Whether the bound in number or bytes is reached."""
        return self.depth >= self.capacity or self.bytes >= self.max_bytes

    @property
    def is_over(self) -> bool:
        """Whether far more waits than may, as it can in a loop, which is not told to wait.

        Not at a small bound: what only goes round, and is let in by batches, has to find room.
        """
        most = 2 * max(self.capacity, CAPACITY)
        return self.depth >= most or self.bytes >= 2 * max(self.max_bytes, MAX_BYTES)

    def put(self, messages: list[Message]) -> None:
        """Add messages; when full, do as the policy says."""
        self._sample(messages)
        if self.when_full != "block":
            messages = self._make_room(messages)
        elif self.on_refused is not None and self.is_over:
            self.refuse(messages)
            return
        if not messages:
            return
        self.hold(messages)
        if self.when_full == "block" and not self.blocked and self.is_full:
            self.blocked = True
            self.on_level(self)
        self.on_data()

    def refuse(self, messages: list[Message]) -> None:
        """Drop messages that a loop made and has no room for."""
        self.dropped += len(messages)
        settle_all(messages, LOOP_FULL)
        if self.on_refused is not None:
            self.on_refused(len(messages))

    def hold(self, messages: list[Message]) -> None:
        """Keep messages in memory, whatever the bounds."""
        self._chunks.append((self.clock.monotonic(), messages))
        self.depth += len(messages)

    def _sample(self, messages: list[Message]) -> None:
        if self._puts % _SAMPLE_EVERY == 0 and messages:
            self._message_bytes = estimate_bytes(messages[0])
        self._puts += 1

    def take(self, limit: int) -> list[Message]:
        """Remove and return at most `limit` messages, oldest first."""
        taken: list[Message] = []
        chunks = self._chunks
        while chunks and len(taken) < limit:
            arrived, messages = chunks.popleft()
            room = limit - len(taken)
            if len(messages) > room:
                chunks.appendleft((arrived, messages[room:]))
                messages = messages[:room]
            if not taken:
                taken = messages
            else:
                taken += messages
        self.depth -= len(taken)
        if self.blocked and 2 * self.depth <= self.capacity and 2 * self.bytes <= self.max_bytes:
            self.blocked = False
            self.on_level(self)
        return taken

    def take_all(self) -> list[Message]:
        """Remove and return everything that waits, oldest first."""
        taken: list[Message] = []
        while messages := self.take(CAPACITY):
            taken += messages
        return taken

    def bound_anew(self, capacity: int, max_bytes: int, when_full: WhenFull) -> None:
        """Take other settings; what waits stays. The caller then tells the feeders anew."""
        self.capacity, self.max_bytes, self.when_full = capacity, max_bytes, when_full
        self.blocked = when_full == "block" and self.is_full

    def put_back(self, messages: list[Message]) -> None:
        """Return messages that were taken but not handled to the front."""
        if messages:
            self._chunks.appendleft((self.clock.monotonic(), messages))
            self.depth += len(messages)

    def _make_room(self, messages: list[Message]) -> list[Message]:
        room = max(0, self.capacity - self.depth)
        if self._message_bytes:
            room = min(room, max(0, self.max_bytes - self.bytes) // self._message_bytes)
        over = len(messages) - room
        if over <= 0:
            return messages
        if self.when_full == "drop-newest":
            gone, messages = messages[room:], messages[:room]
        else:
            gone = self.take(over)
            if len(gone) < over:
                cut = over - len(gone)
                gone, messages = gone + messages[:cut], messages[cut:]
        self.dropped += len(gone)
        settle_all(gone, fate_at(DROPPED, "wire-full"))
        return messages


def estimate_bytes(message: Message) -> int:
    """About what a message weighs: its payload as bytes, and the struct around it."""
    payload = message.payload
    if isinstance(payload, bytes | str):
        return len(payload) + 200
    try:
        return len(msgspec.msgpack.encode(payload)) * 4 + 200
    except (TypeError, OverflowError, ValueError):
        return 1000
