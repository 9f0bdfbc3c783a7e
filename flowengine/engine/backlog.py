"""A sink's store on disk: what waits there while the far side is away.

    messages --append--> spool --fsync--> settled as spooled
             <--read----       <-settled-- given back to the disk

A message that was read has a receipt of its own: its record stays on disk until every part of the
message is settled or safe elsewhere, the error route and answers included. Records leave by the
policy of the spool only: done, dropped by age, dropped when full. Each drop is counted.
"""

import asyncio
import contextlib
import heapq
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Literal

from flowengine.clock import SECOND, Clock, Timer
from flowengine.engine.delivery import JoinedReceipt, Origins, SourceReceipt, settle_all
from flowengine.engine.fates import DELIVERED, DROPPED, FILTERED, KIND, SPOOLED, fate_at
from flowengine.engine.flowledger import FlowLedger
from flowengine.engine.gate import Gate
from flowengine.engine.origins import decode_message, encode_record, split_record
from flowengine.engine.segment import FRAME_BYTES
from flowengine.engine.spool import Dropped, Spool, SpoolBroken, SpoolFull
from flowengine.errors import NodeError
from flowengine.message import Message
from flowengine.node import SpoolConfig

DISK_RETRY = SECOND
MOST_OPEN = 1_000
"""Records read above which no more should be, while the oldest of them is not settled: so many
would be sent again after a crash (P2)."""
_EXPIRE_EVERY = 60 * SECOND
_READ_BYTES = 8_000_000
_FLUSH_ROWS = 1000
_SCAN_ROWS = 2000
UNSTORABLE = fate_at(DROPPED, "unstorable")
DROPPED_FULL = fate_at(DROPPED, "spool-full")
DROPPED_OLD = fate_at(DROPPED, "spool-age")
_Row = Literal["open", "back", "done"]


class RowReceipt(JoinedReceipt):
    """The receipt of a message that was read: its record is kept until it is safe elsewhere."""

    __slots__ = ("backlog", "row", "sources")

    def __init__(self, backlog: "Backlog", row: int, sources: Origins) -> None:
        super().__init__([])
        self.backlog = backlog
        self.row = row
        self.sources = sources

    def all_secured(self) -> None:
        """Every part is settled or safe elsewhere on disk."""
        self.backlog.row_done(self.row)

    def all_settled(self) -> None:
        """Every part has met its fate; the source heard long ago that it is spooled."""
        self.backlog.row_settled(self.sources, self.fate)

    def origins(self) -> Origins:
        """The source messages that the record answers for."""
        return self.sources

    def identity(self) -> Origins:
        """The record, which is read again after a crash."""
        return {self.backlog.name: [self.row]}


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
        name: str = "",
        ledger: FlowLedger | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`gate` holds back the cursor where what is read changes states behind this spool."""
        self.spool = spool
        self.name = f"\0{name}"
        """What its records are called among the origins of what changes a state."""
        self.stored = 0
        self.dropped = 0
        self._settings = settings
        self._clock = clock
        self._disk = disk
        self._status = status
        self._log = log
        self._refuse = refuse or (
            lambda message, _error: message.receipt.settle(fate_at(DROPPED, "unstorable"))
        )
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
        self._ledger = ledger or FlowLedger()
        self._book, is_new = self._ledger.book(name)
        self.is_scanned = not is_new
        """Whether what it holds from a former run is booked in."""
        self._gate = gate or Gate()
        self._upto = spool.cursor  # all below are done; the cursor may have to wait for a cut
        self._pending: deque[tuple[int, int]] = deque()  # (cut, rows below) to commit once written
        self._told = 0
        self._successor: Backlog | None = None
        self._tell()
        former, self._book.former = self._book.former, None
        if former is not None:
            self._take_up(former)

    def _take_up(self, former: "Backlog") -> None:
        """Another had this spool open before in this run: go on where it was.

        Its cursor may wait for a cut, and what it had read may be on its way still.
        """
        self._rows, self._order, self._open = former._rows, former._order, former._open
        self._high = max(self._high, former._high)
        former._successor = self
        if self._open:
            self._all_settled.clear()
        if former._upto > self._upto:
            self._commit(former._upto)
        self._advance()

    def _tell(self) -> None:
        """Log what the spool has met since: damage, an fsync that failed, what it wrote anew."""
        report = self.spool.report
        while self._told < len(report):
            self._told += 1
            self._log("warning", report[self._told - 1])

    @property
    def depth(self) -> int:
        """Records that wait, those that were read and are not settled among them."""
        return self.spool.depth

    @property
    def unread(self) -> int:
        """Records that were not read, also those of a failing disk, which cannot be now."""
        return self.spool.unread

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
        self._ledger.before_write()
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
                    settle_all(good[at:], DROPPED_FULL)
                    return []
                self._status("waiting", f"the store on disk is full: {err.what}")
                return good[at:]
            except (SpoolBroken, OSError) as err:
                self._status("failed", f"the store on disk cannot be written: {err}")
                return good[at:]
            self._unsynced.append((upto, good[at : at + size]))
            for message in good[at : at + size]:
                self._book_in(message.receipt.origins())  # from now on it may be read
            at += size
        return []

    def _encoded(self, messages: list[Message]) -> tuple[list[Message], list[bytes]]:
        good: list[Message] = []
        records: list[bytes] = []
        for message in messages:
            try:
                record = encode_record(message)
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
                if self._give_up_pending():
                    continue
                if self._settings.when_full != "drop-oldest":
                    raise
                if not self._drop(DROPPED_FULL, partial(self.spool.drop_oldest, len(records))):
                    raise

    def _drop(self, fate: int, drop: Callable[[Callable[[int, bytes], None]], Dropped]) -> int:
        """Drop records from the oldest on, count those that are in nobody's hands; how many."""

        def gone(row: int, record: bytes) -> None:
            if self._rows.get(row, "back") == "back":
                self.dropped += 1
                with contextlib.suppress(ValueError):
                    self.row_settled(split_record(record)[0], fate)

        number = drop(gone).records
        self._upto = max(self._upto, self.spool.cursor)
        self._advance()
        return number

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
            self._tell()

    def _settle_synced(self) -> None:
        while self._unsynced and self._unsynced[0][0] <= self.spool.synced:
            _, messages = self._unsynced.popleft()
            self.stored += len(messages)
            settle_all(messages, SPOOLED)

    def _book_in(self, origins: Origins) -> None:
        for source, numbers in origins.items():
            self._book.add(source, numbers)

    def without_known(self, messages: list[Message]) -> list[Message]:
        """What is not here since a former run; the others count as spooled already.

        Only where nothing else became of a message: of two parts that came here by two ways nobody
        could tell which one the record is.
        """
        new: list[Message] = []
        for message in messages:
            receipt = message.receipt
            if isinstance(receipt, SourceReceipt) and self._has_again(receipt):
                receipt.settle(SPOOLED)
            else:
                new.append(message)
        return new

    def _has_again(self, receipt: SourceReceipt) -> bool:
        group = receipt.group
        if not self.spool.is_settled:
            return False
        is_whole = bool(group.again) and receipt.parts == 1 and receipt.fate & KIND == FILTERED
        return is_whole and self._book.holds(group.intake.ledger.name, receipt.seq)

    async def scan(self) -> None:
        """Book in what the spool holds from a former run: to be called once, before all else.

        Reads every record that waits, some thousands between two turns of the loop.
        """
        while self._scan_some():  # noqa: ASYNC110  # it works, and waits for nothing
            await asyncio.sleep(0)  # it works in between, and waits for nothing
        self._scanned()

    def scan_now(self) -> None:
        """The same at once."""
        while self._scan_some():
            pass
        self._scanned()

    def _scan_some(self) -> bool:
        if self.is_scanned:
            return False
        rows = self.spool.read(_SCAN_ROWS, _READ_BYTES)
        for _, record in rows:
            with contextlib.suppress(ValueError):
                origins, _ = split_record(record)
                self._book_in(origins)
                self._ledger.found_spooled(origins)
        return bool(rows)

    def _scanned(self) -> None:
        self.spool.rewind()
        self.is_scanned = True

    # -- out

    def read(self, limit: int) -> list[Message]:
        """The oldest messages that are in nobody's hands; each holds its record until settled."""
        self.expire()
        messages: list[Message] = []
        while not messages:
            rows = self.spool.read(limit, _READ_BYTES)
            self._tell()
            if not rows:
                break
            for row, encoded in rows:
                if self._rows.get(row, "done" if row < self._upto else "back") != "back":
                    continue
                if row not in self._rows:
                    heapq.heappush(self._order, row)
                self._rows[row] = "open"
                self._high = max(self._high, row + 1)
                self._open += 1
                sources: Origins = {}
                try:
                    sources, inner = split_record(encoded)
                    message = decode_message(inner)
                except ValueError as err:
                    broken = Message(encoded, receipt=RowReceipt(self, row, sources))
                    self._refuse(broken, NodeError(f"it cannot be read: {err}", slug="unreadable"))
                    continue
                message.receipt = RowReceipt(self, row, sources)
                messages.append(message)
        if self._open:
            self._all_settled.clear()
        return messages

    def give_back(self, messages: list[Message]) -> None:
        """These were not written: they are read again, in their order."""
        for message in messages:
            receipt = message.receipt
            if isinstance(receipt, RowReceipt) and self._rows.get(receipt.row) == "open":
                receipt.pass_barrier()
                self._rows[receipt.row] = "back"
                self._open -= 1
        self.spool.rewind()
        self._note_settled()

    def row_settled(self, sources: Origins, fate: int) -> None:
        """Every part of a record has met its fate."""
        if fate & KIND == SPOOLED:
            fate = DELIVERED  # unless another spool has it: the ledger looks
        for source, numbers in sources.items():
            for number in numbers:
                self._book.remove(source, number)
                self._ledger.moved(source, number, fate)

    def row_done(self, row: int) -> None:
        """A message that was read is settled, or safe elsewhere."""
        if self._successor is not None:
            self._successor.row_done(row)
        elif self._rows.get(row) == "open":
            self._rows[row] = "done"
            self._open -= 1
            self._flush_soon()
            self._advance()
            self._note_settled()

    def _advance(self) -> None:
        """Commit up to the first record that is not done, or let the next cut do it."""
        rows, order, cursor = self._rows, self._order, self._upto
        while order and (
            rows[order[0]] == "done" or (order[0] < cursor and rows[order[0]] == "back")
        ):
            del rows[heapq.heappop(order)]
        upto = order[0] if order else self._high
        if upto <= cursor:
            return
        self._commit(upto)

    def _commit(self, upto: int) -> None:
        """All below are done: the cursor may say so, at once or with the next cut."""
        self._upto = upto
        if self._gate.is_open:
            self.spool.commit(upto)
        elif self._pending and self._pending[-1][0] == self._gate.taken:
            self._pending[-1] = (self._gate.taken, upto)
        else:
            self._pending.append((self._gate.taken, upto))

    # -- cuts

    def _give_up_pending(self) -> bool:
        """Without room, do not wait for a cut that may itself wait for room; whether it helped.

        A crash before the next cut may then forget what these records changed in a state.
        """
        if not self._pending:
            return False
        _, upto = self._pending[-1]
        self._pending.clear()
        if upto <= self.spool.cursor:
            return False
        self.spool.commit(upto)
        return True

    @property
    def waits(self) -> bool:
        """Whether the cursor waits for a cut."""
        return bool(self._pending)

    def covered(self) -> None:
        """A cut is on disk: what was done before it will not be needed again."""
        while self._pending and self._gate.covers(self._pending[0][0]):
            _, upto = self._pending.popleft()
            if upto > self.spool.cursor:
                self.spool.commit(upto)
                self._flush_soon()

    def is_done(self, row: int) -> bool:
        """Whether a record will not be read again once the newest cut is on disk."""
        return row < self._upto

    def _note_settled(self) -> None:
        if not self._open:
            self._all_settled.set()

    async def settled(self) -> None:
        """Wait until nothing that was read is open."""
        await self._all_settled.wait()

    def _flush_soon(self) -> None:
        """Something is done that the cursor on disk does not know: it shall, within a second."""
        self._unflushed += 1
        if self._timer is None and not self._is_closed:
            self._timer = self._clock.call_at(self._clock.monotonic() + SECOND, self._flush_late)

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
        self._tell()

    def expire(self) -> None:
        """Drop what is older than the spool's age once it is, and not while it is drained.

        Looked at when the oldest is due, at most once a second, and at least once a minute: the
        wall clock may jump.
        """
        now = self._clock.monotonic()
        if now < self._expire_at or self._open:
            return
        self._expire_at = now + _EXPIRE_EVERY
        try:
            gone = self._drop(DROPPED_OLD, self.spool.expire)
            due = self.spool.expires_in() or _EXPIRE_EVERY
        except SpoolBroken:
            return  # a disk that cannot be read: who reads for a sink says so
        self._expire_at = now + max(SECOND, min(_EXPIRE_EVERY, due))
        if gone:
            self._log("warning", "records past their age were dropped", number=gone)

    def close(self) -> list[Message]:
        """Write the cursor and let the files go; settles what that brought to the disk.

        Returns what a failing disk did not take: it may be there when the spool is opened again.
        """
        self._is_closed = True
        self._book.former = self
        if self._timer is not None:
            self._timer.cancel()
        try:
            self.spool.close()
        except Exception as err:  # noqa: BLE001  # said; it must not hide how its user ended
            self._log("error", f"the store on disk cannot be closed: {err}")
        self._settle_synced()
        left = [message for _, messages in self._unsynced for message in messages]
        for message in left:
            for source, numbers in message.receipt.origins().items():
                for number in numbers:
                    self._book.remove(source, number)
        return left

    async def _in_thread(self, call: Callable[[], Any]) -> None:
        if self._disk is None:
            call()
        else:
            await asyncio.get_running_loop().run_in_executor(self._disk, call)
