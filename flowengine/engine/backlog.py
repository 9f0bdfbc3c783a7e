"""A sink's store on disk: what waits there while the far side is away.

    messages --append--> spool --fsync--> settled as spooled
             <--read----       <-settled-- given back to the disk

A message that was read has a receipt of its own: its record stays on disk until every part of the
message is settled or safe elsewhere, the error route and answers included. Records leave by the
policy of the spool only: done, dropped by age, dropped when full. Each drop is counted.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Literal

from flowengine.clock import SECOND, Clock, Timer
from flowengine.engine.delivery import DROPPED, SPOOLED, settle_all
from flowengine.engine.segment import FRAME_BYTES
from flowengine.engine.spool import Spool, SpoolBroken, SpoolFull
from flowengine.errors import NodeError
from flowengine.message import NO_RECEIPT, Message, Receipt, packer, unpacker
from flowengine.node import SpoolConfig

DISK_RETRY = SECOND
MOST_OPEN = 1_000
"""Records read above which no more should be, while the oldest of them is not settled: so many
would be sent again after a crash (P2)."""
_EXPIRE_EVERY = 60 * SECOND
_READ_BYTES = 8_000_000
_FLUSH_ROWS = 1000
_encoder = packer()
_decoder = unpacker(Message)
_Row = Literal["open", "back", "done"]


class RowReceipt(Receipt):
    """The receipt of a message that was read: its record is kept until this is settled."""

    __slots__ = ("backlog", "parts", "row")

    def __init__(self, backlog: "Backlog", row: int) -> None:
        self.backlog = backlog
        self.row = row
        self.parts = 1

    def take(self, parts: int = 1) -> None:
        """Expect `parts` more settlements."""
        self.parts += parts

    def settle(self, _fate: int) -> None:
        """One part has met its fate; the source heard long ago that it is spooled."""
        self.parts -= 1
        if not self.parts:
            self.backlog.row_done(self.row)

    def secure(self) -> Receipt:
        """One part is safe elsewhere on disk."""
        self.settle(SPOOLED)
        return NO_RECEIPT


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
        refuse: Callable[[Message, Exception], None] | None = None,
    ) -> None:
        self.spool = spool
        self.stored = 0
        self.dropped = 0
        self._settings = settings
        self._clock = clock
        self._disk = disk
        self._status = status
        self._log = log
        self._refuse = refuse or (lambda message, _error: message.receipt.settle(DROPPED))
        self._unsynced: deque[tuple[int, list[Message]]] = deque()
        self._rows: dict[int, _Row] = {}  # read, and not below the cursor yet
        self._order: list[int] = []  # the same as a heap
        self._high = spool.cursor  # behind the last row that was ever read
        self._open = 0
        self._all_settled = asyncio.Event()
        self._all_settled.set()
        self._expire_at = self._flush_at = self._unflushed = 0
        self._timer: Timer | None = None
        self._flushing: asyncio.Future[None] | None = None
        self._is_closed = False
        for line in spool.report:
            log("warning", line)

    @property
    def depth(self) -> int:
        """Records that wait, those that were read and are not settled among them."""
        return self.spool.depth

    @property
    def open(self) -> int:
        """Messages that were read, not given back, and are not settled yet."""
        return self._open

    @property
    def is_held_up(self) -> bool:
        """Whether so many records wait behind one that is not settled that no more should."""
        return self._open > 0 and len(self._rows) >= MOST_OPEN

    # -- in

    async def store(self, messages: list[Message]) -> list[Message]:
        """Store and settle messages; returns those at the end for which there is no room."""
        left = self.append(messages)
        await self.synced()
        return left

    def append(self, messages: list[Message]) -> list[Message]:
        """Write messages, to be settled by `synced`; returns those for which there is no room.

        What cannot be stored at all is refused: it takes the error route.
        """
        self.expire()
        good, records = self._encoded(messages)
        at, size = 0, len(good)
        while at < len(good):
            part = records[at : at + size]
            try:
                upto = self._append(part)
            except SpoolFull as err:
                if size > 1:  # a batch larger than the room left still fits in parts
                    size = max(1, min(size, len(part)) // 2)
                    continue
                if self._settings.when_full == "drop-newest":
                    self.dropped += len(good) - at
                    settle_all(good[at:], DROPPED)
                    return []
                self._status("waiting", f"the store on disk is full: {err.what}")
                return good[at:]
            except (SpoolBroken, OSError) as err:
                self._status("failed", f"the store on disk cannot be written: {err}")
                return good[at:]
            self._unsynced.append((upto, good[at : at + size]))
            at += size
        return []

    def _encoded(self, messages: list[Message]) -> tuple[list[Message], list[bytes]]:
        good: list[Message] = []
        records: list[bytes] = []
        for message in messages:
            try:
                record = _encoder.encode(message)
            except (TypeError, ValueError, OverflowError) as err:
                self._refuse(message, NodeError(f"it cannot be stored: {err}", slug="unstorable"))
                continue
            if len(record) + FRAME_BYTES > self._settings.size:
                what = f"its {len(record)} bytes are more than the store on disk holds"
                self._refuse(message, NodeError(what, slug="too-large"))
                continue
            good.append(message)
            records.append(record)
        return good, records

    def _append(self, records: list[bytes]) -> int:
        """Append, making room as the policy says; SpoolFull when there is none."""
        while True:
            try:
                return self.spool.append(records)
            except SpoolFull:
                if self._settings.when_full != "drop-oldest":
                    raise
                if not self._drop(lambda: self.spool.drop_oldest(len(records)).records):
                    raise

    def _drop(self, drop: Callable[[], int]) -> int:
        """Drop records from the oldest on, count those that are in nobody's hands; how many."""
        before = self.spool.cursor
        gone = drop()
        after = self.spool.cursor
        in_hands = sum(1 for n, how in self._rows.items() if before <= n < after and how != "back")
        self.dropped += max(0, gone - in_hands)
        self._advance()
        return gone

    async def synced(self) -> None:
        """Wait until all that was written is on disk, and settle it."""
        while self._unsynced:
            upto = self._unsynced[-1][0]
            if self.spool.synced < upto:
                try:
                    await self._in_thread(self.spool.sync)
                except (SpoolBroken, OSError) as err:
                    self._status("failed", f"the store on disk cannot be written: {err}")
                    await self._clock.sleep(DISK_RETRY)
            self._settle_synced()

    def _settle_synced(self) -> None:
        while self._unsynced and self._unsynced[0][0] <= self.spool.synced:
            _, messages = self._unsynced.popleft()
            self.stored += len(messages)
            settle_all(messages, SPOOLED)

    # -- out

    def read(self, limit: int) -> list[Message]:
        """The oldest messages that are in nobody's hands; each holds its record until settled."""
        messages: list[Message] = []
        while not messages:
            rows = self.spool.read(limit, _READ_BYTES)
            if not rows:
                break
            for row, encoded in rows:
                if self._rows.get(row, "back") != "back":
                    continue
                if row not in self._rows:
                    heapq.heappush(self._order, row)
                self._rows[row] = "open"
                self._high = max(self._high, row + 1)
                self._open += 1
                receipt = RowReceipt(self, row)
                try:
                    message = _decoder.decode(encoded)
                except ValueError as err:
                    broken = Message(encoded, receipt=receipt)
                    self._refuse(broken, NodeError(f"it cannot be read: {err}", slug="unreadable"))
                    continue
                message.receipt = receipt
                messages.append(message)
        if self._open:
            self._all_settled.clear()
        return messages

    def give_back(self, messages: list[Message]) -> None:
        """These were not written: they are read again, in their order."""
        for message in messages:
            receipt = message.receipt
            if isinstance(receipt, RowReceipt) and self._rows.get(receipt.row) == "open":
                self._rows[receipt.row] = "back"
                self._open -= 1
        self.spool.rewind()
        self._note_settled()

    def row_done(self, row: int) -> None:
        """A message that was read is settled."""
        if self._rows.get(row) == "open":
            self._rows[row] = "done"
            self._open -= 1
            self._unflushed += 1
            if self._timer is None and not self._is_closed:
                self._timer = self._clock.call_at(
                    self._clock.monotonic() + SECOND, self._flush_late
                )
            self._advance()
            self._note_settled()

    def _advance(self) -> None:
        """Commit up to the first record that is not done."""
        rows, order, cursor = self._rows, self._order, self.spool.cursor
        while order and (
            rows[order[0]] == "done" or (order[0] < cursor and rows[order[0]] == "back")
        ):
            del rows[heapq.heappop(order)]
        upto = order[0] if order else self._high
        if upto > cursor:
            self.spool.commit(upto)

    def _note_settled(self) -> None:
        if not self._open:
            self._all_settled.set()

    async def settled(self) -> None:
        """Wait until nothing that was read is open."""
        await self._all_settled.wait()

    def _flush_late(self) -> None:
        """What was settled a second ago is not noted yet: nobody has called `flush` since."""
        self._timer = None
        if self._unflushed and not self._is_closed:
            self._flush_at = 0
            self._flushing = asyncio.ensure_future(self.flush())

    async def flush(self) -> None:
        """Note on disk what is done: at most once a second, and when nothing is left.

        It costs an fsync; what was done since the last one is done again after a crash.
        """
        now = self._clock.monotonic()
        if now < self._flush_at and self._unflushed < _FLUSH_ROWS and self.spool.depth:
            return
        self._flush_at, self._unflushed = now + SECOND, 0
        try:
            await self._in_thread(self.spool.flush_cursor)
        except (SpoolBroken, OSError) as err:
            self._log("warning", f"the store on disk cannot be written: {err}")

    def expire(self) -> None:
        """Drop what is older than the spool's age: once a minute, and not while it is drained."""
        now = self._clock.monotonic()
        if now < self._expire_at or self._open:
            return
        self._expire_at = now + _EXPIRE_EVERY
        gone = self._drop(lambda: self.spool.expire().records)
        if gone:
            self._log("warning", "records past their age were dropped", number=gone)

    def close(self) -> list[Message]:
        """Write the cursor and let the files go; settles what that brought to the disk.

        Returns what a failing disk did not take: it may be there when the spool is opened again.
        """
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.spool.close()
        except Exception as err:  # noqa: BLE001  # said; it must not hide how its user ended
            self._log("error", f"the store on disk cannot be closed: {err}")
        self._settle_synced()
        return [message for _, messages in self._unsynced for message in messages]

    async def _in_thread(self, call: Callable[[], Any]) -> None:
        if self._disk is None:
            call()
        else:
            await asyncio.get_running_loop().run_in_executor(self._disk, call)
