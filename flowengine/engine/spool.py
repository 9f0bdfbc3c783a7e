"""The spool: an append-only, checksummed, crash-safe queue of records on disk, with one reader.

`append` writes at once and `sync` makes durable, so one fsync covers all that came since the last
(group commit); only records below the number that `sync` returns may be acknowledged. `read` hands
records out in order, `commit` says up to where they are done; the rest comes again after a restart.

    append -> [ segment | segment | segment ] -> read -> commit
               deleted whole once done       ^cursor, written by rename

Records are numbered from 0 for the life of the folder. A full or refusing disk makes `append` raise
SpoolFull with the folder as it was: push back and try again. After a failed fsync nothing in the
page cache is believed: what was not yet durable is kept in memory until it is, and is written again
to a new file ("PostgreSQL's fsync() surprise", lwn.net/Articles/752063). One thread may call `sync`
or `flush_cursor` while another calls the rest.

It costs disk: `max_bytes` of waiting records, up to one segment of done ones, and what was
committed since the last sync; and memory: the records since the last sync, about 32 MiB at most.
"""

import contextlib
import errno
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from flowengine.engine.cursorfile import NO_SPACE, CursorFile
from flowengine.engine.disk import Disk, OsDisk, SpoolBroken, SpoolFull, shut, write_all
from flowengine.engine.frames import Frames
from flowengine.engine.opening import open_folder
from flowengine.engine.rewrite import Batch, verify, write_anew
from flowengine.engine.segment import (
    FRAME_BYTES,
    HEADER_BYTES,
    Segment,
    encode,
    encode_header,
    segment_name,
)

__all__ = ["Disk", "Dropped", "OsDisk", "Spool", "SpoolBroken", "SpoolFull"]

SEGMENT_BYTES = 8 * 2**20
_MAX_RECORD = 2**31
_MAX_UNSYNCED_BYTES = 32 * 2**20
_MAX_UNSYNCED_FILES = 16
_DISK_RESERVE = 512 * 2**10
# Left free: for the cursor, and for `state.db`, without which no engine starts to empty this.
_TRUST_FREE = 2**20  # bytes written between two looks at the free space
# A box without a clock chip stamps records 1970 until it learns the time; they are not 50 years
# old then, and not dropped for it.
_BELIEVABLE_AGE_NS = 10 * 365 * 86_400 * 10**9
_MAX_REPORT = 200
_OS_DISK = OsDisk()


Gone = Callable[[int, bytes], None]
"""Is shown the number and the bytes of a record that is dropped."""


class Dropped(NamedTuple):
    """What a policy dropped, to be counted: records, and bytes of their payload."""

    records: int
    bytes: int


def _union(spans: Sequence[range]) -> list[range]:
    """Return the same numbers as ranges in order that do not touch."""
    out: list[range] = []
    for span in sorted(spans, key=lambda s: s.start):
        if not span:
            continue
        if out and span.start <= out[-1].stop:
            out[-1] = range(out[-1].start, max(out[-1].stop, span.stop))
        else:
            out.append(span)
    return out


class Spool:
    """One folder of records.

    Opening verifies and repairs; `report` then says in words what was found and done, and `lost`
    holds the numbers of undone records that are gone. Both grow if damage is met later.
    Raises SpoolBroken if the folder cannot be made or read at all.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 10**9,
        max_age_ns: int | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        disk: Disk = _OS_DISK,
        now: Callable[[], int],
    ) -> None:
        self._folder, self._disk, self._now = folder, disk, now
        self._max_bytes, self._max_age_ns = max_bytes, max_age_ns
        # A segment is the smallest thing that frees space, so a small spool has small ones.
        self._segment_bytes = min(segment_bytes, max(max_bytes // 8, 4096))
        try:
            found = open_folder(folder, disk)
        except OSError as err:
            raise SpoolBroken(
                f"{folder}: the spool cannot be opened: {err.strerror or err}.",
                "Make the folder readable and writable for the user that runs the engine.",
            ) from err
        self.report: list[str] = [f"{folder}: {note}" for note in found.notes]
        self.lost: list[range] = found.lost
        self.is_settled = found.is_settled
        """Whether what an earlier run left was brought to the disk."""
        self.appended = self.synced = found.appended
        self.cursor = found.cursor
        # _lock guards the numbers and lists below and is never held during a good fsync;
        # _sync_lock is held by whoever syncs. Where both are taken, _sync_lock is first.
        self._lock, self._sync_lock = threading.Lock(), threading.Lock()
        self._segments = found.segments  # not wholly done, oldest first
        self._done: list[Segment] = []  # wholly done, not yet deleted
        self._active: Segment | None = None  # the last one, if it takes more
        self._dirty: list[Segment] = []  # hold what no fsync has covered
        self._pending: deque[Batch] = deque()
        self._pending_bytes = 0
        self._new_names = False  # the folder itself wants an fsync
        self._broken: tuple[str, str] | None = None
        self._is_closed = False
        self._free = 0  # bytes the disk is trusted to have left
        self._head_offset = HEADER_BYTES  # of the cursor, in the first segment
        self._read = self.cursor
        self._read_at: tuple[Segment, int] | None = None
        self._marks: deque[tuple[int, Segment, int]] = deque()  # where reads ended
        self._frames = Frames(disk, self._note_lost)
        self._cursor_file = CursorFile(folder, disk)
        self._oldest: tuple[int, int] | None = None  # cursor, time
        self._bytes = sum(s.size - HEADER_BYTES for s in self._segments)
        self._saved_cursor = (-1, -1)
        self._wants_cursor = bool(found.notes)
        self._cursor_trouble = False
        self._advance(self.cursor)
        self._rewind()

    # ---- what there is

    @property
    def unread(self) -> int:
        """Records behind the place where `read` goes on."""
        return self.appended - self._read

    @property
    def depth(self) -> int:
        """Records appended and not done, without those known to be lost."""
        with self._lock:
            return self.appended - self.cursor - sum(map(len, self.lost))

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest record not done was appended, or None if there is none."""
        with self._lock:
            if self._oldest is None or self._oldest[0] != self.cursor:
                self._oldest = None
                for segment in self._segments:
                    offset = self._head_offset if segment is self._segments[0] else HEADER_BYTES
                    frame = next(self._frames.of(segment, self.cursor, offset), None)
                    if frame is not None:
                        self._oldest = (self.cursor, frame[1])
                        break
            return self._oldest[1] if self._oldest else None

    # ---- in

    def append(self, records: Sequence[bytes]) -> int:
        """Write records; return the number after the last: durable once `synced` has reached it.

        All are written or none. Raises SpoolFull if they exceed `max_bytes` or the disk refuses;
        SpoolBroken if an earlier fsync failed and a new try fails too. Waits for an fsync only
        then, or if a slow disk is far behind (32 MiB or 16 files).
        """
        behind = self._pending_bytes > _MAX_UNSYNCED_BYTES
        if behind or len(self._dirty) > _MAX_UNSYNCED_FILES or self._broken is not None:
            self.sync()
        try:
            try:
                return self._append(records)
            except OSError:
                if not self._done:
                    raise
                self._save_cursor()  # deletes what is done, and so may make room
                return self._append(records)
        except OSError as err:
            raise SpoolFull(
                f"{self._folder}: the disk takes no more: {err.strerror or err}.",
                "Free space on it, or mend it; nothing was written.",
            ) from err

    def _append(self, records: Sequence[bytes]) -> int:
        payload = sum(map(len, records))
        size = payload + FRAME_BYTES * len(records)
        with self._lock:
            if self._is_closed:
                raise SpoolBroken(f"{self._folder}: the spool is closed.", "Open it anew.")
            if self._broken is not None:
                raise SpoolBroken(*self._broken)
            if not records:
                return self.appended
            if self._bytes + size > self._max_bytes or size > _MAX_RECORD:
                raise SpoolFull(
                    f"{self._folder}: full: {self._bytes} bytes wait, {size} more do not fit in "
                    f"{self._max_bytes}.",
                    "Bring the far side back, or give the spool a greater size, or drop-oldest.",
                )
            self._check_free(size + HEADER_BYTES)
            time = self._now()
            segment = self._active
            if segment is None or segment.size + size > self._segment_bytes:
                segment = self._begin(self.appended, time, records)
            else:
                data = encode(segment.first, self.appended, time, records)
                try:
                    write_all(self._disk, segment.handle, data)
                except OSError as err:
                    self._take_back(segment, err)
                    raise
            if not self._dirty or self._dirty[-1] is not segment:
                self._dirty.append(segment)
            segment.grow(len(records), payload, size, time)
            self._bytes += size
            self._free -= size
            self._pending.append(Batch(self.appended, time, records))
            self._pending_bytes += payload
            self.appended = segment.end
            return self.appended

    def _check_free(self, size: int) -> None:
        if self._free < size:
            free = self._disk.disk_free(self._folder) - _DISK_RESERVE
            if free < size:
                self._free = 0
                raise OSError(errno.ENOSPC, "no space left on the device")
            self._free = max(size, min(free, _TRUST_FREE))

    def _begin(self, first: int, time: int, records: Sequence[bytes]) -> Segment:
        """Start a segment with records in it, which are not yet counted."""
        # Retired before anything is tried: if the new file fails and cannot be removed, it would
        # outrank what went on in the old one. As it is, the next try overwrites it.
        self._retire()
        path = self._folder / segment_name(first)
        handle = self._disk.open(path)
        try:
            data = encode_header(first, time) + encode(first, first, time, records)
            write_all(self._disk, handle, data)
        except OSError:
            shut(self._disk, handle)
            with contextlib.suppress(OSError):
                self._disk.unlink(path)
            raise
        segment = Segment(path, first, first, handle=handle, durable_end=first)
        self._segments.append(segment)
        self._active = segment
        self._new_names = self._wants_cursor = True
        return segment

    def _retire(self) -> None:
        """Let the active segment take no more; its handle stays until an fsync covers it."""
        old, self._active = self._active, None
        if old is not None and old not in self._dirty:
            self._close_segment(old)
        self._skip_done()

    def _take_back(self, segment: Segment, why: OSError) -> None:
        """Cut off what a failed write left. If even that fails, write no more behind it."""
        self._free = 0
        try:
            self._disk.truncate(segment.path, segment.size)
        except OSError:
            self._retire()
        else:
            if why.errno not in NO_SPACE:
                self._retire()  # another file may lie on better ground

    def _close_segment(self, segment: Segment) -> None:
        handle, segment.handle = segment.handle, None
        if handle is not None:
            shut(self._disk, handle)

    # ---- made durable

    def sync(self) -> int:
        """Make durable what was appended; return the number below which everything is.

        Also writes the cursor if it moved, and deletes segments that are wholly done. After a
        failed fsync it writes what is not durable to a new file; SpoolBroken if that fails too.
        It may then be called again, and appends are taken again once it succeeds.
        """
        with self._sync_lock:
            with self._lock:
                goal, names, self._new_names = self.appended, self._new_names, False
                work = [(s, s.handle, s.size, s.end) for s in self._dirty]
                is_broken = self._broken is not None
            try:
                if not is_broken:
                    for _, handle, _, _ in work:
                        if handle is not None:
                            self._disk.fsync(handle)
                    if names:
                        self._disk.fsync_dir(self._folder)
            except OSError as err:
                with self._lock:
                    self._rewrite(f"fsync failed: {err.strerror or err}")
            else:
                with self._lock:
                    if is_broken:
                        self._rewrite("the disk failed before")
                    else:
                        self._note_durable(goal, work)
        self._save_cursor()
        return self.synced

    def _note_durable(self, goal: int, work: list[tuple[Segment, int | None, int, int]]) -> None:
        for segment, _, size, end in work:
            segment.durable_size, segment.durable_end = size, end
            if segment.size == size:
                self._dirty.remove(segment)
                if segment is not self._active:
                    self._close_segment(segment)
        self._forget_pending(goal)

    def _forget_pending(self, goal: int) -> None:
        self.synced = goal
        pending = self._pending
        while pending and pending[0].seq < goal:
            self._pending_bytes -= sum(map(len, pending.popleft().records))

    def _rewrite(self, why: str) -> None:
        """Write everything not durable to a new segment, from memory; trust no page of the old.

        Appends wait meanwhile. The new file gets its name only when it is durable, and the old
        ones are gone by then, so a crash at any point leaves one copy or none, never a mixture.
        """
        self._retire()
        try:
            for segment in self._dirty:
                self._close_segment(segment)
                verify(self._disk, segment)
            stale = [s for s in self._dirty if s.end == s.first]
            if self._pending:  # also what is done: the cursor on disk may not say so yet
                fresh = write_anew(self._disk, self._folder, self._pending, stale)
                self._segments = [*(s for s in self._segments if s not in stale), fresh]
            else:
                self._disk.fsync_dir(self._folder)
        except OSError as err:
            self._broken = (
                f"{self._folder}: {why}, and writing again failed too: {err.strerror or err}; "
                f"records from {self.synced} on are not safe and must not be acknowledged.",
                "Check the disk (kernel log, free space); it is tried again.",
            )
            raise SpoolBroken(*self._broken) from err
        finally:
            self._count_again()
        self._broken = None
        self._dirty.clear()
        # Their files are gone already, and one name may be the new file's by now.
        self._done = [s for s in self._done if s not in stale]
        self._say(
            f"{why}; records {self.synced} to {self.appended - 1} were written to a new file."
        )
        self._forget_pending(self.appended)

    def _count_again(self) -> None:
        """Put numbers and places right after segments changed under them."""
        self._marks.clear()
        self._frames.forget()
        self._read_at = None
        self._head_offset = HEADER_BYTES
        self._bytes = sum(s.size - HEADER_BYTES for s in self._segments)
        self._advance(self.cursor)

    # ---- out

    def read(self, limit_records: int, limit_bytes: int) -> list[tuple[int, bytes]]:
        """Return the next records with their numbers; at least one, however long, if there is one.

        The position moves on; `rewind` puts it back. Records need not be durable to be read.
        """
        out: list[tuple[int, bytes]] = []
        room = limit_bytes
        with self._lock:
            while len(out) < limit_records and (place := self._place()) is not None:
                segment, offset = place
                for seq, _, payload, end in self._frames.of(segment, self._read, offset):
                    if out and room < len(payload):
                        limit_records = 0
                        break
                    out.append((seq, payload))
                    room -= len(payload)
                    self._read, self._read_at = seq + 1, (segment, end)
                    if len(out) >= limit_records:
                        break
                else:
                    self._read, self._read_at = segment.end, (segment, segment.size)
            if out and self._read_at is not None:
                self._marks.append((self._read, *self._read_at))
        return out

    def rewind(self) -> None:
        """Read again from the cursor on."""
        with self._lock:
            self._rewind()

    def _rewind(self) -> None:
        self._marks.clear()
        self._read, self._read_at = self.cursor, None
        if self._segments:
            self._read_at = (self._segments[0], self._head_offset)

    def _place(self) -> tuple[Segment, int] | None:
        """Return the segment that has the next record to read, and the offset to look from."""
        seq, segments = self._read, self._segments
        if self._broken is not None and seq >= self.synced:
            return None  # only in memory until they can be written again: not to be passed over
        at = max(0, bisect_right(segments, seq, key=lambda s: s.first) - 1)
        if at < len(segments) and segments[at].end <= seq:
            at += 1
        if at >= len(segments):
            return None
        segment = segments[at]
        if self._read_at is not None and self._read_at[0] is segment:
            return self._read_at
        if seq <= segment.first:
            return segment, HEADER_BYTES
        return segment, self._find(segment, seq, HEADER_BYTES)

    def _find(self, segment: Segment, seq: int, offset: int) -> int:
        """Return the offset of the first record from `seq` on, looking from `offset`."""
        if seq >= segment.end:
            return segment.size
        for at, _, _, end in self._frames.of(segment, segment.first, offset):
            if at >= seq:
                break
            offset = end
        return offset

    def _note_lost(self, segment: Segment, span: range) -> None:
        known = sum(map(len, self.lost))
        self.lost[:] = _union([*self.lost, range(max(span.start, self.cursor), span.stop)])
        if count := sum(map(len, self.lost)) - known:
            segment.records -= count
            self._say(f"{segment.path.name}: records {span.start} to {span.stop - 1} are damaged.")

    # ---- done

    def commit(self, upto: int) -> None:
        """Say that records below `upto` are done. Cheap: `sync` writes the cursor and deletes."""
        with self._lock:
            if upto > self.appended:
                raise ValueError(f"commit({upto}) is beyond the last record, {self.appended - 1}")
            if upto > self.cursor:
                self._advance(upto)

    def expire(self, gone: Gone | None = None) -> Dropped:
        """Drop records older than `max_age_ns`, oldest first; return how much, to be counted.

        Records read and not committed are dropped like the rest, so settle those first.
        """
        if self._max_age_ns is None:
            return Dropped(0, 0)
        now = self._now()
        low, high = now - _BELIEVABLE_AGE_NS, now - self._max_age_ns
        return self._drop(
            lambda segment, _: low < segment.oldest and segment.newest < high,
            lambda time, _: low < time < high,
            gone,
        )

    def expires_in(self) -> int | None:
        """How long until the oldest record is past its age (ns), 0 if it is; None for never."""
        oldest = self.oldest_ns
        if self._max_age_ns is None or oldest is None:
            return None
        age = self._now() - oldest
        return None if age >= _BELIEVABLE_AGE_NS else max(0, self._max_age_ns + 1 - age)

    def drop_oldest(self, n: int, gone: Gone | None = None) -> Dropped:
        """Drop the `n` oldest records, or all if there are fewer; return how much, to be counted.

        Records read and not committed are dropped like the rest, so settle those first.
        """
        return self._drop(
            lambda segment, count: count + segment.records <= n,
            lambda _, count: count < n,
            gone,
        )

    def _drop(
        self,
        whole: Callable[[Segment, int], bool],
        single: Callable[[int, int], bool],
        gone: Gone | None,
    ) -> Dropped:
        """Drop from the cursor on while told so, of a segment or of a record's time.

        With `gone`, each record is read once more and shown before it goes.
        """
        count = size = 0
        with self._lock:
            # On a disk that failed some are in memory alone, and their files look empty.
            for segment in [] if self._broken is not None else list(self._segments):
                is_begun = self._head_offset != HEADER_BYTES
                if gone is None and not is_begun and whole(segment, count):
                    count, size = count + segment.records, size + segment.payload
                    self._advance(segment.end, segment.size)
                    continue
                upto, offset, goes_on = self.cursor, self._head_offset, True
                for seq, time, payload, end in self._frames.of(segment, upto, offset):
                    if not single(time, count):
                        goes_on = False
                        break
                    if gone is not None:
                        gone(seq, payload)
                    count, size = count + 1, size + len(payload)
                    upto, offset = seq + 1, end
                if not goes_on:
                    self._advance(upto, offset)
                    break
                self._advance(segment.end, segment.size)
        return Dropped(count, size)

    def _advance(self, upto: int, offset: int | None = None) -> None:
        """Move the cursor, and what follows from it; `offset` is its place in its segment."""
        if upto != self.cursor:
            self._wants_cursor = True
        self.cursor = upto
        self._skip_done()
        mark: tuple[int, Segment, int] | None = None
        while self._marks and self._marks[0][0] <= upto:
            mark = self._marks.popleft()
        head = self._segments[0] if self._segments else None
        if head is not None and upto > head.first:
            if offset is None:
                offset = mark[2] if mark is not None and mark[1] is head else self._head_offset
                if mark is None or mark[0] != upto or mark[1] is not head:
                    with contextlib.suppress(SpoolBroken):  # then counted from an earlier place
                        offset = self._find(head, upto, offset)
            self._bytes -= offset - self._head_offset
            self._head_offset = offset
        if self._read < upto:
            self._rewind()
        while self.lost and self.lost[0].start < upto:
            span = self.lost.pop(0)
            if span.stop > upto:
                self.lost.insert(0, range(upto, span.stop))
                break

    def _skip_done(self) -> None:
        """Take segments that are wholly done out of the list; their files go later."""
        segments = self._segments
        while segments and segments[0].end <= self.cursor and segments[0] is not self._active:
            segment = segments.pop(0)
            self._bytes -= segment.size - self._head_offset
            self._head_offset = HEADER_BYTES
            self._done.append(segment)
            self._wants_cursor = True

    def flush_cursor(self) -> None:
        """Write the cursor now, and delete what is wholly done; SpoolBroken if the disk refuses."""
        with self._lock:
            self._wants_cursor = True
        if (err := self._save_cursor()) is not None:
            raise SpoolBroken(
                f"{self._folder}: the cursor cannot be written: {err.strerror or err}; what was "
                "done since it last was is sent again after a crash.",
                "Free space on the disk, or mend it.",
            ) from err

    def _save_cursor(self) -> OSError | None:
        """Write the cursor if it moved, then delete segments below it; return what went wrong."""
        with self._sync_lock:
            with self._lock:
                wanted, done = (self.cursor, self.synced), list(self._done)
                is_due = self._wants_cursor and wanted != self._saved_cursor
                self._wants_cursor = False
            trouble: OSError | None = None
            if is_due:
                try:
                    self._cursor_file.write(*wanted)
                except OSError as err:
                    trouble = err
            if trouble is not None and trouble.errno in NO_SPACE:
                trouble = self._cursor_file.overwrite(*wanted)
            if trouble is not None and done and trouble.errno in NO_SPACE:
                # On a disk that writes every change to a new place, the cursor needs the very
                # space that it would free. After a power cut now, what is done counts as missing.
                self._delete(done)
                try:
                    self._cursor_file.write(*wanted)
                    trouble = None
                except OSError as err:
                    trouble = err
            elif trouble is None:
                self._delete(done)
            with self._lock:
                if trouble is not None:
                    self._wants_cursor = True
                    if not self._cursor_trouble:
                        text = trouble.strerror or trouble
                        self._say(f"the cursor cannot be written: {text}; tried again.")
                elif is_due:
                    self._saved_cursor = wanted
                self._cursor_trouble = trouble is not None
        return trouble

    def _delete(self, done: Sequence[Segment]) -> None:
        gone: list[Segment] = []
        for segment in done:
            try:
                self._disk.unlink(segment.path)
            except FileNotFoundError:
                pass
            except OSError:
                break
            gone.append(segment)
        with self._lock:
            self._done = [s for s in self._done if s not in gone]
            for segment in gone:
                if segment in self._dirty:  # nothing is left of it to sync, or to write again
                    self._dirty.remove(segment)
                    self._close_segment(segment)
            self._free = 0

    def close(self) -> None:
        """Sync, write the cursor, give the files back. A second time does nothing.

        Raises SpoolBroken if not everything could be made durable; the files are closed all the
        same.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._wants_cursor = True
        try:
            self.sync()
        finally:
            with self._sync_lock, self._lock:
                for segment in {*self._dirty, *self._segments, *self._done}:
                    self._close_segment(segment)
                self._active = None
                self._frames.forget()

    @property
    def bytes(self) -> int:
        """Bytes on disk of the records not done: payload and 24 bytes each."""
        with self._lock:
            return self._bytes

    def _say(self, text: str) -> None:
        if len(self.report) < _MAX_REPORT:
            self.report.append(f"{self._folder}: {text}")
