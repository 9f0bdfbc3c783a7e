"""A wire that spills to disk: what does not fit in memory waits in a spool (R24, R41).

    put --> memory --> take        while there is room
    put --> spool  --> take        once full, until all that was spilled has been taken

A spilled message is settled for its source once it is on disk; taken from there it has a receipt of
the spool's own, and its record is given up when that settles. So it survives a crash on its way.
"""

import asyncio
from collections.abc import Callable

from flowengine.clock import Clock
from flowengine.engine.backlog import DISK_RETRY, Backlog
from flowengine.engine.wire import CAPACITY, WhenFull, Wire
from flowengine.message import Message


class SpillWire(Wire):
    """A wire whose policy is `spill`."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        backlog: Backlog,
        *,
        capacity: int,
        max_bytes: int,
        on_data: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(clock, capacity=capacity, max_bytes=max_bytes, on_data=on_data)
        self.name = name
        self.backlog = backlog
        self._waiting: list[Message] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def spilled(self) -> int:
        """Messages that are on disk, or on their way there, and not taken yet."""
        return self.backlog.unread + len(self._waiting)

    @property
    def oldest(self) -> int | None:
        """When the oldest message came; what was spilled is always old enough."""
        return super().oldest if self.depth or not self.backlog.unread else 0

    def put(self, messages: list[Message]) -> None:
        """Keep messages in memory while they fit, else bring them to the disk."""
        if not messages:
            return
        self._sample(messages)
        if not self.spilled and not self.is_full:
            self.hold(messages)
            self.on_data()
            return
        if self.on_refused is not None and len(self._waiting) >= 2 * CAPACITY:
            self.refuse(messages)
            return
        self._waiting += messages
        if len(self._waiting) >= CAPACITY and not self.blocked:
            self.blocked = True  # the disk is slower than what comes, or full
            self.on_level(self)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._spill())

    async def _spill(self) -> None:
        while self._waiting:
            batch = self._waiting
            self._waiting = left = self.backlog.append(batch)
            if self.backlog.unread:
                self.on_data()
            await self.backlog.synced()
            if self.backlog.unread:  # a failing disk gives what it took only now
                self.on_data()
            if left:
                await self.clock.sleep(DISK_RETRY)
            elif self.blocked:
                self.blocked = False
                self.on_level(self)

    def take(self, limit: int) -> list[Message]:
        """The oldest messages: those in memory came before those on disk."""
        if self.depth:
            return super().take(limit)
        return self.backlog.read(limit) if self.backlog.unread else []

    def take_all(self) -> list[Message]:
        """Remove and return everything that waits, what is not on disk yet at the end."""
        taken = super().take_all() + self._waiting
        self._waiting = []
        return taken

    def bound_anew(self, capacity: int, max_bytes: int, when_full: WhenFull) -> None:
        """Take other bounds; what is above them in memory stays there."""
        self.capacity, self.max_bytes = capacity, max_bytes

    async def flush(self) -> None:
        """Wait until what comes to the disk is there."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=2)

    def close(self) -> None:
        """Let the files go; what is left in them is taken after the next start."""
        if self._task is not None:
            self._task.cancel()
        self.backlog.close()
