"""A sink's store on disk: what waits there while the far side is away.

    messages --store--> spool, fsynced: settled as spooled
             <--read---       --commit--> given back to the disk

Records leave by the policy of the spool only: drained, dropped by age, dropped when full. Each drop
is counted.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from flowengine.clock import SECOND, Clock
from flowengine.engine.delivery import DROPPED, SPOOLED, settle_all
from flowengine.engine.spool import Spool, SpoolBroken, SpoolFull
from flowengine.message import Message, packer, unpacker
from flowengine.node import SpoolConfig

DISK_RETRY = SECOND
_EXPIRE_EVERY = 60 * SECOND
_READ_BYTES = 8_000_000
_encoder = packer()
_decoder = unpacker(Message)


class Backlog:
    """The spool of one sink."""

    def __init__(
        self,
        spool: Spool,
        settings: SpoolConfig,
        clock: Clock,
        disk: Executor | None,
        *,
        status: Callable[[str, str], None],
        log: Callable[..., None],
    ) -> None:
        self.spool = spool
        self.stored = 0
        self.dropped = 0
        self._when_full = settings.when_full
        self._clock = clock
        self._disk = disk
        self._status = status
        self._log = log
        self._reading: list[tuple[int, bytes]] = []
        self._expire_at = self._free_at = 0
        for line in spool.report:
            log("warning", line)

    @property
    def depth(self) -> int:
        """Records that wait."""
        return self.spool.depth

    async def store(self, messages: list[Message]) -> list[Message]:
        """Store and settle messages; returns those at the end for which there is no room."""
        self.expire()
        try:
            upto = self._append([_encoder.encode(message) for message in messages])
        except SpoolFull as err:
            if self._when_full == "drop-newest":
                self.dropped += len(messages)
                settle_all(messages, DROPPED)
                return []
            if len(messages) > 1:  # a batch larger than the room left still fits in parts
                half = len(messages) // 2
                left = await self.store(messages[:half])
                return left + messages[half:] if left else await self.store(messages[half:])
            self._status("waiting", f"the store on disk is full: {err.what}")
            return messages
        except (SpoolBroken, OSError) as err:
            self._status("failed", f"the store on disk cannot be written: {err}")
            return messages
        await self._synced(upto)
        self.stored += len(messages)
        settle_all(messages, SPOOLED)
        return []

    def _append(self, records: list[bytes]) -> int:
        """Append, making room as the policy says; SpoolFull when there is none."""
        while True:
            try:
                return self.spool.append(records)
            except SpoolFull:
                if self._when_full != "drop-oldest":
                    raise
                gone = self.spool.drop_oldest(len(records))
                if not gone.records:
                    raise
                self.dropped += gone.records

    async def _synced(self, upto: int) -> None:
        """Wait until the spool is on disk up to here; its records stay its own meanwhile."""
        while self.spool.synced < upto:
            try:
                await self._in_thread(self.spool.sync)
            except (SpoolBroken, OSError) as err:
                self._status("failed", f"the store on disk cannot be written: {err}")
                await self._clock.sleep(DISK_RETRY)

    def read(self, limit: int) -> list[Message]:
        """The oldest messages, to be written; `done` says how many of them were."""
        self.spool.rewind()
        self._reading = self.spool.read(limit, _READ_BYTES)
        return [_decoder.decode(encoded) for _, encoded in self._reading]

    async def done(self, number: int) -> None:
        """The first `number` of the messages last read are done with."""
        rows, self._reading = self._reading, []
        if number:
            self.spool.commit(rows[number - 1][0] + 1)
        now = self._clock.monotonic()
        if now < self._free_at and self.spool.depth:
            return
        self._free_at = now + SECOND  # an fsync to write the cursor and free whole segments
        try:
            await self._in_thread(self.spool.flush_cursor)
        except (SpoolBroken, OSError) as err:
            self._log("warning", f"the store on disk cannot be written: {err}")

    def expire(self) -> None:
        """Drop what is older than the spool's age: once a minute, and not while it is drained."""
        now = self._clock.monotonic()
        if now < self._expire_at or self._reading:
            return
        self._expire_at = now + _EXPIRE_EVERY
        gone = self.spool.expire()
        if gone.records:
            self.dropped += gone.records
            self._log("warning", "records past their age were dropped", number=gone.records)

    def close(self) -> None:
        """Write the cursor and let the files go."""
        self.spool.close()

    async def _in_thread(self, call: Callable[[], Any]) -> None:
        if self._disk is None:
            call()
        else:
            await asyncio.get_running_loop().run_in_executor(self._disk, call)
