"""The spool keeps every record that was appended and synced, through crashes and bad disks."""

import errno
import itertools
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.engine.disk import OsDisk
from flowengine.engine.segment import (
    CURSOR,
    CURSOR_APART,
    FRAME_BYTES,
    HEADER_BYTES,
    decode_cursor,
    encode_cursor,
    encode_header,
    segment_name,
)
from flowengine.engine.spool import Spool, SpoolBroken, SpoolFull

FOLDER = Path("/spool")
SECOND = 10**9


def chances(seed: int) -> random.Random:
    """Return luck that is the same each time."""
    return random.Random(seed)  # noqa: S311  # decides what a test loses, guards nothing


class Crash(Exception):
    """The power went."""


class _File:
    """Bytes as programs see them, bytes on the medium, and the stretches between the two."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.safe = bytes(data)
        self.dirty: list[tuple[int, bytes]] = []

    def flush(self, dirty: list[tuple[int, bytes]]) -> bytes:
        """Return the medium's bytes once these stretches have reached it."""
        safe = bytearray(self.safe[: len(self.data)].ljust(len(self.data), b"\0"))
        for offset, part in dirty:
            safe[offset : offset + len(part)] = part
        return bytes(safe[: len(self.data)])


class SimDisk:
    """A disk in memory that loses what was not fsynced, and fails when told.

    A failed fsync forgets what it had to write, as Linux does: the next one succeeds without it.
    """

    def __init__(self, names: dict[Path, _File] | None = None) -> None:
        self.names = dict(names or {})
        self.past = [dict(self.names)]  # what the folder was since its last fsync, oldest first
        self.handles: dict[int, _File] = {}
        self.ops = 0
        self.crash_at: int | None = None
        self.is_dead = False
        self.free = 10**9
        self.fault: Callable[[str, Path | None], OSError | None] = lambda _op, _path: None
        self.short = False

    def _tick(self, op: str, path: Path | None = None) -> None:
        if self.is_dead or self.ops == self.crash_at:
            self.is_dead = True
            raise Crash
        self.ops += 1
        if (err := self.fault(op, path)) is not None:
            raise err

    def _file(self, path: Path) -> _File:
        if path not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return self.names[path]

    def crash(self, chance: random.Random | None = None) -> "SimDisk":
        """Return the disk after a power cut; with chance, some of what was not fsynced is there."""
        names = chance.choice(self.past) if chance else self.past[0]
        after: dict[Path, _File] = {}
        for path, file in names.items():
            some = [d for d in file.dirty if chance.random() < 0.7] if chance else []
            data = file.flush(some) if chance and chance.random() < 0.8 else file.safe
            after[path] = _File(
                data[: chance.randint(len(file.safe), len(data))]
                if chance and len(data) > len(file.safe)
                else data
            )
        return SimDisk(after)

    def copy(self) -> "SimDisk":
        """Return the same files on another disk."""
        return SimDisk({path: _File(bytes(file.data)) for path, file in self.names.items()})

    def make_folder(self, path: Path) -> None:
        self._tick("make_folder", path)

    def listdir(self, path: Path) -> list[str]:
        if (err := self.fault("listdir", path)) is not None:
            raise err
        return [name.name for name in self.names if name.parent == path]

    def open(self, path: Path) -> int:
        self._tick("open", path)
        self.names[path] = _File()
        self.past.append(dict(self.names))
        self.handles[len(self.handles) + 3] = self.names[path]
        return len(self.handles) + 2

    def append_to(self, path: Path) -> int:
        if path not in self.names:
            return self.open(path)
        self._tick("open", path)
        self.handles[len(self.handles) + 3] = self.names[path]
        return len(self.handles) + 2

    def write(self, handle: int, data: bytes) -> int:
        file = self.handles[handle]
        try:
            self._tick("write")
        except Crash:
            data = data[: len(data) // 2]  # the power goes in the middle of it
            file.dirty.append((len(file.data), data))
            file.data += data
            raise
        if self.short:
            data = data[: max(1, len(data) // 2)]
        file.dirty.append((len(file.data), bytes(data)))
        file.data += data
        return len(data)

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        file = self._file(path)
        if len(file.data) < offset + len(data):
            raise OSError(errno.ENOSPC, "too short")
        file.data[offset : offset + len(data)] = data
        file.dirty.append((offset, bytes(data)))
        self._sync("overwrite", file, path)

    def truncate(self, path: Path, size: int) -> None:
        self._tick("truncate", path)
        file = self._file(path)
        del file.data[size:]
        file.dirty = [(at, part[: max(0, size - at)]) for at, part in file.dirty]

    def _sync(self, op: str, file: _File, path: Path | None) -> None:
        try:
            self._tick(op, path)
        except OSError:
            file.safe = file.flush([])
            file.dirty = []
            raise
        file.safe, file.dirty = file.flush(file.dirty), []

    def fsync(self, handle: int) -> None:
        self._sync("fsync", self.handles[handle], None)

    def settle(self, path: Path) -> None:
        self._sync("settle", self._file(path), path)

    def close(self, handle: int) -> None:
        assert handle in self.handles

    def fsync_dir(self, path: Path) -> None:
        self._tick("fsync_dir", path)
        self.past = [dict(self.names)]

    def rename(self, old: Path, new: Path) -> None:
        self._tick("rename", old)
        self._file(old)
        self.names[new] = self.names.pop(old)
        self.past.append(dict(self.names))

    def unlink(self, path: Path) -> None:
        self._tick("unlink", path)
        self._file(path)
        del self.names[path]
        self.past.append(dict(self.names))

    def read(
        self, path: Path, offset: int = 0, size: int | None = None, *, fresh: bool = False
    ) -> bytes:
        if (err := self.fault("read", path)) is not None:
            raise err
        file = self._file(path)
        data = file.flush(file.dirty) if fresh else bytes(file.data)
        return data[offset:] if size is None else data[offset : offset + size]

    def disk_free(self, path: Path) -> int:
        assert path == FOLDER
        return self.free


def opened(disk: SimDisk, **settings: int) -> Spool:
    settings = {"segment_bytes": 310, "max_bytes": 10**6, **settings}
    return Spool(FOLDER, disk=disk, now=lambda: 5 * SECOND, **settings)


def record(number: int, size: int = 10) -> bytes:
    return f"r{number:06d}".encode().ljust(size, b".")


def everything(spool: Spool) -> list[tuple[int, bytes]]:
    spool.rewind()
    return spool.read(10**9, 10**9)


def filled(count: int = 20) -> SimDisk:
    """Return a disk with records 0 to count-1, seven to a segment, all durable."""
    disk = SimDisk()
    spool = opened(disk)
    for number in range(count):
        spool.append([record(number)])
    spool.close()
    return disk


def parts(disk: SimDisk) -> list[Path]:
    return sorted(path for path in disk.names if path.suffix == ".seg")


def numbers(spans: list[range]) -> list[int]:
    return [number for span in spans for number in span]


# ---- as a queue


def test_records_come_out_in_order_with_their_numbers_on_a_real_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a" / "b", segment_bytes=5000, now=lambda: 7)
    assert spool.append([record(n, 200) for n in range(50)]) == 50
    assert spool.append([b"", b"x" * 400_000]) == 52
    assert spool.sync() == spool.synced == spool.appended == 52
    rows = spool.read(51, 10**9)
    assert rows == [*((n, record(n, 200)) for n in range(50)), (50, b"")]
    spool.commit(40)
    spool.close()
    spool.close()
    again = Spool(tmp_path / "a" / "b", segment_bytes=5000, now=lambda: 9)
    assert (again.report, again.cursor, again.depth, again.oldest_ns) == ([], 40, 12, 7)
    assert again.read(1000, 10**9) == [*rows[40:], (51, b"x" * 400_000)]
    again.commit(52)
    assert (again.depth, again.bytes, again.oldest_ns) == (0, 0, None)
    again.close()
    assert sorted(os.listdir(tmp_path / "a" / "b")) == ["cursor"]


def test_a_read_keeps_to_its_limits_but_returns_at_least_one() -> None:
    spool = opened(filled())
    assert [len(spool.read(3, 10**9)), len(spool.read(9, 35)), len(spool.read(9, 1))] == [3, 3, 1]
    assert spool.read(1, 10**9) == [(7, record(7))]
    assert spool.read(0, 10**9) == []
    spool.rewind()
    assert spool.read(1, 0) == [(0, record(0))]


def test_a_segment_is_deleted_whole_and_only_after_the_cursor_is_written() -> None:
    disk = filled()
    spool = opened(disk)
    spool.commit(9)
    assert len(parts(disk)) == 3
    spool.sync()
    assert [path.name for path in parts(disk)] == [segment_name(n) for n in (7, 14)]
    assert opened(disk.crash()).cursor == 9


def test_f57_appends_go_on_while_an_fsync_takes_long(tmp_path: Path) -> None:
    class Slow(OsDisk):
        asked, may_end = threading.Event(), threading.Event()

        def fsync(self, handle: int) -> None:
            self.asked.set()
            assert self.may_end.wait(30)
            super().fsync(handle)

    disk = Slow()
    spool = Spool(tmp_path, disk=disk, now=lambda: 0)
    spool.append([record(0)])
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(spool.sync()))
    thread.start()
    assert disk.asked.wait(30)
    assert spool.append([record(1)]) == 2  # returns although the fsync has not
    assert (spool.synced, spool.read(9, 999)) == (0, [(0, record(0)), (1, record(1))])
    disk.may_end.set()
    thread.join()
    assert got == [1]
    assert spool.sync() == 2
    spool.close()


def test_f57_append_waits_once_too_many_files_are_not_durable() -> None:
    spool = opened(SimDisk())
    for number in range(2000):
        spool.append([record(number)])
        assert len(spool._dirty) <= 17
    assert spool.synced > 1800


def test_one_thread_syncs_while_another_appends_reads_and_commits(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment_bytes=4096, now=lambda: 0)
    is_over = threading.Event()
    seen: list[int] = []

    def syncing() -> None:
        while not is_over.is_set():
            seen.append(spool.sync())

    thread = threading.Thread(target=syncing)
    thread.start()
    got: list[tuple[int, bytes]] = []
    for number in range(0, 6000, 3):
        spool.append([record(number + n, 30) for n in range(3)])
        if number % 60 == 0:
            got += spool.read(50, 10**9)
            spool.commit(got[-1][0] + 1)
    is_over.set()
    thread.join()
    spool.close()
    again = Spool(tmp_path, segment_bytes=4096, now=lambda: 0)
    assert again.cursor == len(got)
    assert [*got, *again.read(10**9, 10**9)] == [(n, record(n, 30)) for n in range(6000)]
    assert seen == sorted(seen)
    assert again.report == []


STEPS = st.one_of(
    st.tuples(st.just("append"), st.lists(st.integers(0, 90), max_size=9)),
    st.tuples(st.sampled_from(["read", "commit", "drop", "expire"]), st.integers(0, 12)),
    st.tuples(st.sampled_from(["sync", "flush", "rewind", "reopen"]), st.just(0)),
)


class Listed:
    """A spool and a plain list side by side; each step is done to both and compared."""

    limit = 900

    def __init__(self) -> None:
        self.disk, self.clock = SimDisk(), 0
        self.rows: list[tuple[int, int, bytes]] = []  # number, time, payload; all there ever were
        self.done = self.seen = 0
        self.spool = self.opened()

    def opened(self) -> Spool:
        return Spool(
            FOLDER,
            disk=self.disk,
            now=lambda: self.clock,
            segment_bytes=200,
            max_bytes=self.limit,
            max_age_ns=20,
        )

    def waiting(self) -> list[tuple[int, int, bytes]]:
        return self.rows[self.done :]

    def append(self, sizes: list[int]) -> None:
        count = len(self.rows)
        new = [record(count + n, 8 + size) for n, size in enumerate(sizes)]
        used = sum(len(p) + FRAME_BYTES for p in [*new, *(p for *_, p in self.waiting())])
        if new and used > self.limit:
            with pytest.raises(SpoolFull):
                self.spool.append(new)
            return
        self.rows += [(count + n, self.clock, payload) for n, payload in enumerate(new)]
        assert self.spool.append(new) == len(self.rows)

    def read(self, most: int) -> None:
        start = max(self.seen, self.done)
        wanted = [(seq, payload) for seq, _, payload in self.rows[start : start + most]]
        assert self.spool.read(most, 10**9) == wanted
        self.seen = start + len(wanted)

    def commit(self, more: int) -> None:
        self.done = min(len(self.rows), self.done + more)
        self.spool.commit(self.done)

    def drop(self, most: int) -> None:
        gone = self.waiting()[:most]
        assert self.spool.drop_oldest(most) == (len(gone), sum(len(p) for *_, p in gone))
        self.done += len(gone)

    def expire(self, later: int) -> None:
        self.clock += later
        gone = list(itertools.takewhile(lambda row: row[1] < self.clock - 20, self.waiting()))
        assert self.spool.expire() == (len(gone), sum(len(p) for *_, p in gone))
        self.done += len(gone)

    def sync(self, _: int) -> None:
        assert self.spool.sync() == len(self.rows)
        # The disk holds what waits and at most a segment of what is done (one batch may be more).
        size = sum(len(self.disk.names[path].data) - HEADER_BYTES for path in parts(self.disk))
        assert size <= self.spool.bytes + max(200, 9 * (98 + FRAME_BYTES))

    def flush(self, _: int) -> None:
        self.spool.flush_cursor()

    def rewind(self, _: int) -> None:
        self.spool.rewind()
        self.seen = self.done

    def reopen(self, _: int) -> None:
        self.spool.close()
        self.spool, self.seen = self.opened(), self.done

    def compare(self) -> None:
        spool, waiting = self.spool, self.waiting()
        assert (spool.appended, spool.cursor) == (len(self.rows), self.done)
        assert spool.depth == len(waiting)
        assert spool.bytes == sum(len(p) + FRAME_BYTES for *_, p in waiting)
        assert spool.oldest_ns == (waiting[0][1] if waiting else None)
        assert (spool.report, spool.lost) == ([], [])


@given(st.lists(STEPS, max_size=40))
def test_it_behaves_as_a_list_does(steps: list[tuple[str, list[int] | int]]) -> None:
    both = Listed()
    for step, argument in steps:
        getattr(both, step)(argument)
        both.compare()


# ---- bounds


def test_f50_beyond_its_bytes_nothing_is_written_and_room_comes_back() -> None:
    disk = SimDisk()
    spool = opened(disk, max_bytes=1000, segment_bytes=10**6)
    for number in range(29):
        spool.append([record(number)])
    before = disk.copy()
    with pytest.raises(SpoolFull, match="986 bytes wait, 34 more do not fit in 1000"):
        spool.append([record(29)])
    assert before.names[parts(disk)[0]].data == disk.names[parts(disk)[0]].data
    assert spool.drop_oldest(2) == (2, 20)
    assert spool.append([record(29)]) == 30
    assert [seq for seq, _ in everything(spool)] == list(range(2, 30))
    spool.commit(30)
    assert spool.append([record(n) for n in range(29)]) == 59  # the active segment was all done


def test_f50_a_full_disk_pushes_back_and_goes_on_when_freed() -> None:
    disk = filled()
    spool = opened(disk)
    disk.free = 65_000
    with pytest.raises(SpoolFull, match="no space left"):
        spool.append([record(20)])
    disk.free = 10**9
    assert spool.append([record(20)]) == 21
    assert len(everything(spool)) == 21


def test_f50_on_a_full_disk_done_segments_go_even_if_the_cursor_cannot_be_written_first() -> None:
    disk = filled()
    spool = opened(disk)
    spool.commit(15)

    def full(op: str, _path: Path | None) -> OSError | None:
        crowded = len(parts(disk)) > 2
        return OSError(errno.ENOSPC, "no space left") if op == "write" and crowded else None

    disk.fault = full
    assert spool.append([record(20)]) == 21
    assert spool.sync() == 21
    assert [seq for seq, _ in everything(opened(disk.crash()))] == list(range(15, 21))


def full_disk(disk: SimDisk) -> None:
    """From now on no file can be made, and none grows; what is there can be written over."""
    disk.fault = lambda op, _path: (
        OSError(errno.ENOSPC, "no space left") if op in ("open", "write") else None
    )


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_f50_what_was_done_on_a_full_disk_is_not_missed_after_a_power_cut(
    seed: int | None,
) -> None:
    disk = filled()
    spool = opened(disk)
    full_disk(disk)
    spool.commit(15)
    spool.flush_cursor()
    assert [path.name for path in parts(disk)] == [segment_name(14)]
    again = opened(disk.crash(chances(seed) if seed else None))
    assert (again.report, again.lost, again.cursor) == ([], [], 15)
    assert [seq for seq, _ in everything(again)] == list(range(15, 20))


def test_f50_a_power_cut_at_any_operation_on_a_full_disk_loses_nothing_and_misses_nothing() -> None:
    for crash_at in range(40):
        disk = filled()
        spool = opened(disk)
        full_disk(disk)
        disk.crash_at = disk.ops + crash_at
        done = 0
        try:
            for upto in (3, 8, 15, 20):
                spool.commit(upto)
                spool.flush_cursor()
                done = upto
        except Crash:
            pass
        again = opened(disk.crash(chances(crash_at)))
        assert again.lost == [], crash_at
        there = [seq for seq, _ in everything(again)]
        assert there == list(range(again.cursor, 20)), crash_at
        assert again.cursor >= done


def test_f50_once_there_is_room_again_the_cursor_is_a_file_of_its_own_again() -> None:
    disk = filled()
    spool = opened(disk)
    full_disk(disk)
    spool.commit(9)
    spool.flush_cursor()
    disk.fault = lambda _op, _path: None
    spool.commit(10)
    spool.flush_cursor()
    cursor = bytes(disk.names[FOLDER / CURSOR].data)
    assert cursor == encode_cursor(10, 20)
    assert spool.report == []


@pytest.mark.parametrize("at", [0, 9, 31, CURSOR_APART, CURSOR_APART + 31])
def test_f54_either_copy_of_the_cursor_is_enough(at: int) -> None:
    data = bytearray(encode_cursor(7, 20))
    data[at] ^= 1
    assert decode_cursor(bytes(data)) == (7, 20)
    assert decode_cursor(encode_cursor(7, 20)[:32]) == (7, 20)  # as earlier versions wrote it
    data[at ^ CURSOR_APART] ^= 1
    assert decode_cursor(bytes(data)) is None


def test_f50_a_full_disk_gives_back_the_segment_in_use_once_all_in_it_is_done() -> None:
    disk = SimDisk()
    spool = opened(disk)
    spool.append([record(n) for n in range(6)])
    spool.commit(6)
    disk.fault = lambda op, path: (
        OSError(errno.ENOSPC, "no space left")
        if op == "open" and path != FOLDER / "cursor.new" and parts(disk)
        else None
    )
    assert spool.append([record(6), record(7)]) == 8
    assert [path.name for path in parts(disk)] == [segment_name(6)]


def test_f59_what_is_older_than_its_age_is_dropped_and_counted() -> None:
    disk, clock = SimDisk(), [0]
    spool = Spool(FOLDER, disk=disk, now=lambda: clock[0], segment_bytes=300,
                  max_age_ns=7 * 86_400 * SECOND)  # fmt: skip
    for day in range(30):
        clock[0] = day * 86_400 * SECOND
        spool.append([record(day)])
    assert spool.expire() == (22, 220)
    assert (spool.depth, spool.cursor, spool.oldest_ns) == (8, 22, 22 * 86_400 * SECOND)
    clock[0] += 365 * 86_400 * SECOND
    assert spool.expire() == (8, 80)
    assert spool.expire() == (0, 0)


def test_f61_records_stamped_before_the_clock_was_set_are_not_dropped_for_their_age() -> None:
    clock = [60 * SECOND]  # 1970, as on a box without a clock chip
    spool = Spool(FOLDER, disk=SimDisk(), now=lambda: clock[0], max_age_ns=86_400 * SECOND)
    spool.append([record(0)])
    clock[0] = 1_800_000_000 * SECOND
    assert spool.expire() == (0, 0)
    assert spool.depth == 1


def test_f59_it_says_when_the_oldest_will_be_too_old() -> None:
    clock = [100 * SECOND]
    spool = Spool(FOLDER, disk=SimDisk(), now=lambda: clock[0], max_age_ns=60 * SECOND)
    assert spool.expires_in() is None
    spool.append([record(0)])
    clock[0] += 20 * SECOND
    spool.append([record(1)])
    due = spool.expires_in()
    assert due == 40 * SECOND + 1
    clock[0] += due - 1
    assert spool.expire() == (0, 0)
    clock[0] += 1
    assert (spool.expires_in(), spool.expire().records) == (0, 1)
    assert spool.expires_in() == 20 * SECOND
    clock[0] = 1_800_000_000 * SECOND  # the clock was not set when they came
    assert spool.expires_in() is None


def test_without_an_age_nothing_expires() -> None:
    assert opened(filled()).expire() == (0, 0)


def test_committing_beyond_the_last_record_is_refused() -> None:
    with pytest.raises(ValueError, match=r"commit\(21\) is beyond the last record, 19"):
        opened(filled()).commit(21)


# ---- crashes


class Life:
    """A spool in use, and what may be relied on: checked after each crash."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.given: dict[int, set[bytes]] = {}
        self.gone: set[int] = set()
        self.count = self.synced = self.done = self.written = 0
        self.spool = opened(disk)

    def step(self, what: str, size: int) -> None:
        spool = self.spool
        try:
            if what == "append":
                new = [record(self.count + n, 7 + 9 * size) for n in range(size)]
                self.count += size
                for number, payload in enumerate(new, spool.appended):
                    self.given.setdefault(number, set()).add(payload)
                spool.append(new)
            elif what == "sync":
                self.synced = max(self.synced, spool.sync())
            elif what == "flush":
                spool.flush_cursor()
                self.written = spool.cursor
            elif what == "read":
                rows = spool.read(size, 10**9)
                self.check(rows)
            elif what == "commit":
                self.done = max(self.done, min(spool.appended, spool.cursor + size))
                spool.commit(self.done)
            else:
                spool.drop_oldest(size)
                self.done = max(self.done, spool.cursor)
        except (SpoolFull, SpoolBroken):
            pass
        self.synced = max(self.synced, spool.synced)

    def check(self, rows: list[tuple[int, bytes]]) -> None:
        assert [seq for seq, _ in rows] == sorted({seq for seq, _ in rows})
        for seq, payload in rows:
            assert payload in self.given[seq], "nothing is invented"

    def power_cut(self, chance: random.Random | None, again: int = 99) -> None:
        """Cut the power; `again`: and once more at that operation of the repair."""
        self.disk = self.disk.crash(chance)
        self.disk.crash_at = again
        try:
            self.spool = opened(self.disk)
        except Crash:
            self.disk = self.disk.crash(chance)
            self.spool = opened(self.disk)
        self.disk.crash_at = None
        rows = everything(self.spool)
        self.check(rows)
        there = {seq for seq, _ in rows}
        assert set(range(self.done, self.synced)) - self.gone <= there, self.spool.report
        assert all(seq >= self.written for seq in there), "done stays done once it is written"
        # What was never synced may be there in part, and nobody was told that it is safe.
        lost = set(numbers(self.spool.lost))
        # What was done may be said to be missing where the cursor that knew it was not written.
        at_stake = {seq for seq in lost - self.gone if seq >= self.done}
        assert all(seq >= self.synced for seq in at_stake), self.spool.report
        assert chance is not None or not lost - self.gone, self.spool.report
        self.gone |= lost
        assert self.spool.depth == len(there)
        self.done, self.synced = self.spool.cursor, self.spool.synced
        self.spool.rewind()


SCRIPT = [
    *[("append", 2), ("append", 3), ("sync", 0), ("append", 5), ("append", 4), ("read", 6)],
    *[("commit", 6), ("sync", 0), ("append", 1), ("append", 6), ("flush", 0), ("read", 9)],
    *[("commit", 7), ("append", 3), ("sync", 0), ("drop", 2), ("sync", 0), ("append", 2)],
    *[("commit", 99), ("flush", 0), ("append", 3), ("sync", 0)],
]


def lived(fault: Callable[[str, int], OSError | None], crash_at: int | None) -> Life:
    """Run the script, with faults and a power cut where told."""
    disk = SimDisk()
    counts: dict[str, int] = {}

    def failing(op: str, _path: Path | None) -> OSError | None:
        counts[op] = counts.get(op, 0) + 1
        return fault(op, counts[op])

    life = Life(disk)
    disk.fault, disk.crash_at = failing, crash_at
    try:
        for what, size in SCRIPT:
            life.step(what, size)
    except Crash:
        assert crash_at is not None
    return life


def cuts(fault: Callable[[str, int], OSError | None]) -> Iterator[Life]:
    for crash_at in range(1, lived(fault, None).disk.ops):
        yield lived(fault, crash_at)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_f01_f02_a_power_cut_at_any_operation_loses_nothing_synced(seed: int | None) -> None:
    for life in cuts(lambda _op, _n: None):
        life.power_cut(chances(seed) if seed else None)
        for what, size in [*SCRIPT[:6], ("commit", 3), ("flush", 0)]:
            life.step(what, size)
        life.power_cut(chances(seed) if seed else None)


@pytest.mark.parametrize("seed", [None, 4])
@pytest.mark.parametrize("bad", range(1, 9))
@pytest.mark.parametrize("op", ["fsync", "fsync_dir"])
def test_f51_a_power_cut_after_a_failed_fsync_loses_nothing_synced(
    op: str, bad: int, seed: int | None
) -> None:
    def eio(this: str, n: int) -> OSError | None:
        return OSError(errno.EIO, "input/output error") if (this, n) == (op, bad) else None

    for life in cuts(eio):
        life.power_cut(chances(seed) if seed else None)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["append", "append", "sync", "flush", "read", "commit", "drop"]),
            st.integers(0, 6),
        ),
        max_size=25,
    ),
    st.sets(st.integers(0, 60), max_size=6),
    st.integers(0, 120),
    st.integers(0, 8),
    st.integers(0, 2**32),
)
def test_f51_any_mix_of_faults_and_a_power_cut_loses_nothing_synced(
    steps: list[tuple[str, int]], bad: set[int], crash_at: int, again: int, seed: int
) -> None:
    chance = chances(seed)
    life = Life(SimDisk())
    for _ in range(2):
        disk = life.disk
        disk.fault = lambda op, _path, disk=disk: (  # type: ignore[misc]
            OSError(errno.EIO, "input/output error")
            if disk.ops in bad and op not in ("read", "listdir")
            else None
        )
        disk.crash_at = disk.ops + crash_at
        try:
            for what, size in steps:
                life.step(what, size)
        except Crash:
            pass
        life.power_cut(chance, again)


def test_f01_what_a_killed_process_left_in_the_page_cache_is_made_durable_on_opening() -> None:
    disk = SimDisk()
    opened(disk).append([record(0), record(1)])
    assert opened(disk).synced == 2
    assert len(everything(opened(disk.crash()))) == 2


# ---- faults of the disk


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("bad", range(1, 13))
def test_f51_a_write_that_fails_leaves_the_file_as_it_was(bad: int, code: int) -> None:
    disk = SimDisk()
    disk.short = True  # each write takes half, so that the failing one comes behind a part
    spool = opened(disk)
    writes = itertools.count(1)
    disk.fault = lambda op, _path: (
        OSError(code, os.strerror(code)) if op == "write" and next(writes) == bad else None
    )
    kept: list[bytes] = []
    for number in range(12):
        before = {path: bytes(file.data) for path, file in disk.names.items()}
        try:
            spool.append([record(number), record(number + 100)])
            kept += [record(number), record(number + 100)]
        except SpoolFull:
            assert {path: bytes(file.data) for path, file in disk.names.items()} == before
    assert len(kept) == 22
    assert spool.sync() == 22
    assert everything(opened(disk.crash())) == list(enumerate(kept))


def test_f51_after_a_write_error_records_go_to_another_file() -> None:
    disk = SimDisk()
    spool = opened(disk)
    spool.append([record(0)])
    bad = iter([OSError(errno.EIO, "bad sector")])
    disk.fault = lambda op, _path: next(bad, None) if op == "write" else None
    with pytest.raises(SpoolFull, match="bad sector"):
        spool.append([record(1)])
    spool.append([record(1)])
    assert [path.name for path in parts(disk)] == [segment_name(0), segment_name(1)]


def test_f51_after_a_failed_fsync_the_tail_is_written_to_a_new_file() -> None:
    disk = SimDisk()
    spool = opened(disk, segment_bytes=10**6)
    spool.append([record(0), record(1)])
    spool.sync()
    spool.append([record(2)])
    bad = iter([OSError(errno.EIO, "input/output error")])
    disk.fault = lambda op, _path: next(bad, None) if op == "fsync" else None
    assert spool.sync() == 3
    assert [path.name for path in parts(disk)] == [segment_name(0), segment_name(2)]
    assert "records 2 to 2 were written to a new file" in spool.report[-1]
    spool.append([record(3)])
    spool.sync()
    assert everything(spool) == [(n, record(n)) for n in range(4)]
    assert everything(opened(disk.crash())) == [(n, record(n)) for n in range(4)]


def test_f51_a_disk_that_stays_bad_is_refused_and_taken_again_when_it_works() -> None:
    disk = SimDisk()
    spool = opened(disk)
    spool.append([record(0)])
    spool.sync()
    spool.append([record(1)])
    disk.fault = lambda op, _path: OSError(errno.EIO, "bad disk") if op == "fsync" else None
    for _ in range(3):
        with pytest.raises(SpoolBroken, match="records from 1 on are not safe"):
            spool.sync()
        with pytest.raises(SpoolBroken, match="bad disk"):
            spool.append([record(9)])
    assert spool.synced == 1
    assert everything(spool) == [(0, record(0))]
    disk.fault = lambda _op, _path: None
    assert spool.append([record(2)]) == 3
    assert spool.sync() == 3
    assert everything(opened(disk.crash())) == [(n, record(n)) for n in range(3)]


def test_f51_a_reader_passes_over_nothing_while_the_disk_fails() -> None:
    disk = SimDisk()
    spool = opened(disk)
    for number in range(20):  # several segments, none of them durable
        spool.append([record(number)])
    disk.fault = lambda op, _path: OSError(errno.EIO, "failing") if op == "fsync" else None
    with pytest.raises(SpoolBroken):
        spool.sync()
    assert spool.read(99, 10**6) == []  # they are in memory alone
    disk.fault = lambda _op, _path: None
    spool.sync()
    assert [number for number, _ in spool.read(99, 10**6)] == list(range(20))


def test_f51_what_is_only_in_memory_after_a_failed_fsync_does_not_grow_old() -> None:
    disk = SimDisk()
    spool = opened(disk, max_age_ns=SECOND)
    for number in range(9):
        spool.append([record(number)])
    disk.fault = lambda op, _path: OSError(errno.EIO, "failing") if op == "fsync" else None
    with pytest.raises(SpoolBroken):
        spool.sync()
    assert spool.expire().records == 0
    assert spool.drop_oldest(3).records == 0
    disk.fault = lambda _op, _path: None
    spool.sync()
    assert [data for _, data in everything(spool)] == [record(number) for number in range(9)]


def test_f51_a_file_that_was_done_and_deleted_is_not_missed_when_an_fsync_fails() -> None:
    disk = SimDisk()
    spool = opened(disk)
    spool.append([record(0)])
    spool.sync()
    for number in range(1, 9):  # fills the first file, which no fsync covers again, and a second
        spool.append([record(number)])
    spool.commit(7)
    spool.flush_cursor()
    assert [path.name for path in parts(disk)] == [segment_name(7)]
    bad = iter([OSError(errno.EIO, "input/output error")])
    disk.fault = lambda op, _path: next(bad, None) if op == "fsync" else None
    assert spool.sync() == 9
    assert everything(spool) == [(n, record(n)) for n in (7, 8)]
    assert everything(opened(disk.crash())) == [(n, record(n)) for n in (7, 8)]


def test_f51_durable_records_that_changed_under_a_failed_fsync_are_not_vouched_for() -> None:
    disk = SimDisk()
    spool = opened(disk, segment_bytes=10**6)
    spool.append([record(0)])
    spool.sync()
    spool.append([record(1)])
    file = disk.names[parts(disk)[0]]
    file.safe = file.safe[:70] + bytes([file.safe[70] ^ 1]) + file.safe[71:]
    bad = iter([OSError(errno.EIO, "input/output error")])
    disk.fault = lambda op, _path: next(bad, None) if op == "fsync" else None
    with pytest.raises(SpoolBroken, match="no longer reads as it was written"):
        spool.sync()


def test_f51_the_record_behind_a_tail_that_could_not_be_cut_off_is_the_right_one() -> None:
    disk = SimDisk()
    disk.short = True
    spool = opened(disk)
    spool.append([record(0)])
    writes = itertools.count()
    disk.fault = lambda op, _path: (
        OSError(errno.EIO, "no")
        if op == "truncate" or (op == "write" and next(writes) == 2)
        else None
    )
    with pytest.raises(SpoolFull):
        spool.append([record(77), record(78)])
    disk.fault = lambda _op, _path: None
    spool.append([record(1)])
    spool.sync()
    again = opened(disk.crash())
    assert everything(again) == [(0, record(0)), (1, record(1))]
    assert again.lost == []


def test_f51_a_new_file_that_failed_and_stays_does_not_outrank_what_comes_after() -> None:
    disk = SimDisk()
    disk.short = True
    spool = opened(disk)
    spool.append([record(0), record(1)])
    spool.sync()
    writes = itertools.count()
    disk.fault = lambda op, _path: (
        OSError(errno.EIO, "no")
        if op == "unlink" or (op == "write" and next(writes) == 3)
        else None
    )
    with pytest.raises(SpoolFull):
        spool.append([record(n) for n in range(70, 79)])  # too long for the segment in use
    assert len(parts(disk)) == 2
    disk.fault = lambda _op, _path: None
    spool.append([record(2)])
    spool.append([record(3)])
    spool.sync()
    again = opened(disk.crash())
    assert everything(again) == [(n, record(n)) for n in range(4)]
    assert again.lost == []


def test_f51_a_segment_given_up_does_not_take_the_new_file_of_its_name_with_it() -> None:
    disk = SimDisk()
    spool = opened(disk)
    spool.append([record(n) for n in range(7)])
    spool.sync()
    spool.append([record(7)])
    disk.fault = lambda op, _path: OSError(errno.EIO, "no") if op in ("fsync", "open") else None
    with pytest.raises(SpoolBroken):
        spool.sync()
    disk.fault = lambda _op, _path: None
    spool.commit(7)
    assert spool.sync() == 8
    spool.append([record(8)])
    spool.sync()
    assert everything(opened(disk.crash())) == [(7, record(7)), (8, record(8))]


def test_f52_a_read_only_disk_is_read_from_and_pushes_back() -> None:
    disk = filled()
    file = disk.names[parts(disk)[1]]
    file.data[200] ^= 1  # there is something to repair, too
    disk.names[FOLDER / "x.seg"] = _File(encode_header(7, 0, version=9))
    reading = ("listdir", "read", "settle", "fsync_dir")
    disk.fault = lambda op, _path: None if op in reading else OSError(errno.EROFS, "read-only")
    spool = opened(disk)
    assert len(everything(spool)) == 19
    with pytest.raises(SpoolFull, match="read-only"):
        spool.append([record(20)])
    spool.commit(10)
    assert spool.sync() == 20
    with pytest.raises(SpoolBroken, match="the cursor cannot be written: read-only"):
        spool.flush_cursor()
    disk.fault = lambda _op, _path: None
    assert spool.append([record(20)]) == 21
    spool.close()
    assert opened(disk.crash()).cursor == 10


def test_f58_a_folder_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SpoolBroken, match=r"file: the spool cannot be opened: .*\. Make the"):
        Spool(tmp_path / "file", now=lambda: 0)
    disk = SimDisk()
    disk.fault = lambda op, _path: PermissionError(13, "denied") if op == "listdir" else None
    with pytest.raises(SpoolBroken, match="denied"):
        opened(disk)


def test_a_read_error_gives_nothing_up_for_lost() -> None:
    disk = filled()
    spool = opened(disk)
    disk.fault = lambda op, _path: OSError(errno.EIO, "bad sector") if op == "read" else None
    with pytest.raises(SpoolBroken, match="bad sector"):
        spool.read(9, 10**9)
    disk.fault = lambda _op, _path: None
    assert len(spool.read(99, 10**9)) == 20
    assert spool.lost == []


def test_f55_a_file_that_cannot_be_read_on_opening_is_set_aside() -> None:
    disk = filled()
    bad = parts(disk)[1]
    disk.fault = lambda op, path: (
        OSError(errno.EIO, "bad sector") if op == "read" and path == bad else None
    )
    spool = opened(disk)
    assert numbers(spool.lost) == list(range(7, 14))
    assert FOLDER / "aside" / f"1-{bad.name}" in disk.names


# ---- damaged files


def hit(offset: int) -> int | None:
    """Return which of a segment's records, of 34 bytes, holds a byte; None for the header."""
    at = offset - HEADER_BYTES
    return None if at < 0 else at // (FRAME_BYTES + 10)


def test_f53_cut_at_every_byte_of_the_last_two_segments() -> None:
    whole = filled()
    for path in parts(whole)[-2:]:
        first = int(path.stem)
        is_last = path == parts(whole)[-1]
        for cut in range(len(whole.names[path].data)):
            disk = whole.copy()
            del disk.names[path].data[cut:]
            spool = opened(disk)
            left = first + max(0, cut - HEADER_BYTES) // (FRAME_BYTES + 10)
            gone = set(range(left, 20 if is_last else first + 7))
            assert dict(everything(spool)) == {n: record(n) for n in range(20) if n not in gone}, (
                path,
                cut,
            )
            assert set(numbers(spool.lost)) == gone
            assert spool.append([b"new"]) == spool.appended == 21
            spool.close()
            again = opened(disk)
            assert everything(again)[-1] == (20, b"new")
            assert set(numbers(again.lost)) == gone


def test_f54_one_bit_at_every_97th_byte_costs_one_record_at_most() -> None:
    whole = filled(40)
    for path in parts(whole):
        for offset in range(0, len(whole.names[path].data), 97):
            disk = whole.copy()
            disk.names[path].data[offset] ^= 1 << offset % 8
            spool = opened(disk)
            at = hit(offset)
            gone = [] if at is None else [int(path.stem) + at]
            assert [n for n, _ in everything(spool)] == [n for n in range(40) if n not in gone]
            assert numbers(spool.lost) == gone
            assert bool(spool.report) == bool(gone)
            assert spool.depth == 40 - len(gone)


@pytest.mark.parametrize("start", range(0, 97, 7))
def test_f54_all_of_every_97th_byte_at_once_costs_those_records_only(start: int) -> None:
    disk = filled(40)
    gone: set[int] = set()
    for path in parts(disk):
        data = disk.names[path].data
        for offset in range(start, len(data), 97):
            data[offset] ^= 0x10
            if (at := hit(offset)) is not None:
                gone.add(int(path.stem) + at)
    spool = opened(disk)
    assert dict(everything(spool)) == {n: record(n) for n in range(40) if n not in gone}
    assert set(numbers(spool.lost)) == gone
    spool.commit(20)
    assert spool.depth == len([n for n in range(20, 40) if n not in gone])


def test_f54_damage_that_comes_while_it_runs_costs_the_same() -> None:
    disk = filled()
    spool = opened(disk)
    disk.names[parts(disk)[1]].data[HEADER_BYTES + 40] ^= 4
    assert [n for n, _ in spool.read(99, 10**9)] == [n for n in range(20) if n != 8]
    assert (numbers(spool.lost), spool.depth) == ([8], 19)
    assert "records 8 to 8 are damaged" in spool.report[0]
    spool.commit(20)
    assert (spool.depth, spool.bytes, spool.lost) == (0, 0, [])


@given(st.binary(min_size=1, max_size=120), st.data())
def test_f54_any_bytes_over_a_segment_lose_only_what_they_touch(
    junk: bytes, data: st.DataObject
) -> None:
    disk = filled()
    path = parts(disk)[data.draw(st.integers(0, 2))]
    body = disk.names[path].data
    offset = data.draw(st.integers(HEADER_BYTES, len(body) - 1))
    before = bytes(body)
    body[offset : offset + len(junk)] = junk[: len(body) - offset]
    touched = {
        int(path.stem) + (at - HEADER_BYTES) // (FRAME_BYTES + 10)
        for at in range(offset, len(body))
        if body[at] != before[at]
    }
    spool = opened(disk)
    assert dict(everything(spool)) == {n: record(n) for n in range(20) if n not in touched}
    assert set(numbers(spool.lost)) == touched


def test_f54_a_record_that_holds_a_copy_of_a_segment_does_not_bring_it_to_life() -> None:
    inner = bytes(filled().names[FOLDER / segment_name(14)].data)
    disk = SimDisk()
    spool = opened(disk, segment_bytes=10**6)
    spool.append([record(0), inner, record(2)])
    spool.close()
    disk.names[parts(disk)[0]].data[HEADER_BYTES + 34 + 8] ^= 1  # the length of the middle one
    again = opened(disk)
    assert everything(again) == [(0, record(0)), (2, record(2))]
    assert numbers(again.lost) == [1]


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("how", ["deleted", "emptied", "foreign version", "zeroed"])
def test_f55_a_segment_that_is_gone_is_reported_with_its_exact_numbers(
    which: int, how: str
) -> None:
    disk = filled()
    path = parts(disk)[which]
    size = len(disk.names[path].data)
    if how == "deleted":
        del disk.names[path]
    else:
        disk.names[path] = _File(
            {
                "emptied": b"",
                "foreign version": encode_header(7 * which, 0, version=2) + b"?" * 99,
                "zeroed": b"\0" * size,
            }[how]
        )
    spool = opened(disk)
    gone = list(range(7 * which, min(20, 7 * which + 7)))
    assert [n for n, _ in everything(spool)] == [n for n in range(20) if n not in gone]
    assert numbers(spool.lost) == gone
    assert any(f"records {gone[0]}-{gone[-1]} are missing" in line for line in spool.report)
    aside = [name for name in disk.names if name.parent.name == "aside"]
    assert len(aside) == (how in ("foreign version", "zeroed"))
    assert spool.append([b"on"]) == 21  # it never asks for a person, and gives no number twice


@pytest.mark.parametrize(
    "names",
    [
        {1: "00000000000000000099.seg"},
        {0: "backup-of-a-segment"},
        {0: segment_name(14), 2: segment_name(0)},
        {0: segment_name(7), 1: segment_name(14), 2: segment_name(0)},
    ],
    ids=["renamed", "renamed beyond recognition", "swapped", "turned round"],
)
def test_f55_renamed_and_swapped_segments_find_home(names: dict[int, str]) -> None:
    disk = filled()
    files = parts(disk)
    moved = {FOLDER / name: disk.names.pop(files[at]) for at, name in names.items()}
    disk.names.update(moved)
    spool = opened(disk)
    assert everything(spool) == [(n, record(n)) for n in range(20)]
    assert (spool.lost, parts(disk)) == ([], files)
    assert len(spool.report) == len(names)


@pytest.mark.parametrize("size", [1, 64, 5000])
def test_f55_nonsense_under_a_far_number_is_no_loss(size: int) -> None:
    disk = filled()
    disk.names[FOLDER / segment_name(10**12)] = _File(b"\xff" * size)
    spool = opened(disk)
    assert (spool.lost, spool.appended) == ([], 20)
    assert everything(spool) == [(n, record(n)) for n in range(20)]
    assert spool.append([b"on"]) == 21


@pytest.mark.parametrize("which", [0, 1, 2])
def test_f55_a_header_gone_altogether_is_made_good_from_the_name(which: int) -> None:
    disk = filled()
    disk.names[parts(disk)[which]].data[:HEADER_BYTES] = b"\0" * HEADER_BYTES
    assert everything(opened(disk)) == [(n, record(n)) for n in range(20)]


def test_f55_either_of_its_two_headers_tells_where_a_renamed_segment_belongs() -> None:
    for offset in (0, 20, 40, 60):
        disk = filled()
        disk.names[FOLDER / "lost-and-found"] = disk.names.pop(parts(disk)[1])
        disk.names[FOLDER / "lost-and-found"].data[offset] ^= 1
        assert everything(opened(disk)) == [(n, record(n)) for n in range(20)]


def test_f55_a_file_that_could_not_be_set_aside_is_not_written_over() -> None:
    disk = filled()
    path = FOLDER / segment_name(20)
    disk.names[path] = _File(b"cannot be read now")
    disk.fault = lambda op, at: (
        OSError(errno.EACCES, "no") if op == "rename" or (op == "read" and at == path) else None
    )
    spool = opened(disk)
    spool.append([record(20)])
    assert disk.names[path].data == b"cannot be read now"
    assert [payload for _, payload in everything(spool)] == [record(n) for n in range(21)]


def test_f53_a_torn_tail_is_cut_off_once() -> None:
    disk = filled()
    del disk.names[parts(disk)[-1]].data[-1:]
    spool = opened(disk)
    assert "the last 33 bytes, behind record 18, are no whole record" in spool.report[0]
    spool.sync()
    assert not any("whole record" in line for line in opened(disk).report)


def test_f55_of_two_copies_the_better_one_counts() -> None:
    disk = filled()
    good = bytes(disk.names[parts(disk)[1]].data)
    disk.names[parts(disk)[1]].data[100] ^= 1
    disk.names[FOLDER / "copy.seg"] = _File(good)
    spool = opened(disk)
    assert everything(spool) == [(n, record(n)) for n in range(20)]
    assert "a poorer copy" in spool.report[0]


def test_f55_what_is_set_aside_is_bounded() -> None:
    disk = SimDisk()
    for _ in range(40):
        disk.names[FOLDER / segment_name(5)] = _File(b"nonsense" * 40)
        opened(disk)
    assert len([name for name in disk.names if name.parent.name == "aside"]) == 16


def test_files_of_others_are_left_alone() -> None:
    disk = filled()
    disk.names[FOLDER / "notes.txt"] = _File(b"mine")
    assert opened(disk).report == []
    assert disk.names[FOLDER / "notes.txt"].data == b"mine"


# ---- the cursor


def with_cursor(done: int) -> tuple[SimDisk, bytes]:
    disk = filled()
    spool = opened(disk)
    spool.commit(done)
    spool.flush_cursor()
    return disk, bytes(disk.names[FOLDER / "cursor"].data)


@pytest.mark.parametrize("cursor", [None, b"", b"junk", b"\0" * 32])
def test_f56_without_a_good_cursor_all_that_is_there_is_sent_again(cursor: bytes | None) -> None:
    disk, _ = with_cursor(9)
    del disk.names[FOLDER / "cursor"]
    if cursor is not None:
        disk.names[FOLDER / "cursor"] = _File(cursor)
    spool = opened(disk)
    assert [n for n, _ in everything(spool)] == list(range(7, 20))
    assert (spool.cursor, spool.lost) == (7, [])
    assert any("no cursor" in line for line in spool.report)
    spool.sync()
    assert opened(disk).report == []


def test_f56_an_older_cursor_sends_again_and_says_what_is_no_longer_there() -> None:
    disk, _ = with_cursor(9)
    disk.names[FOLDER / "cursor"] = _File(with_cursor(5)[1])
    spool = opened(disk)
    assert [n for n, _ in everything(spool)] == list(range(7, 20))
    assert numbers(spool.lost) == [5, 6]


def test_f56_a_newer_cursor_sends_nothing_and_new_records_are_safe_from_it() -> None:
    disk, _ = with_cursor(3)
    disk.names[FOLDER / "cursor"] = _File(with_cursor(20)[1])
    for path in parts(disk)[1:]:
        del disk.names[path]
    spool = opened(disk)
    assert (everything(spool), spool.depth) == ([], 0)
    assert "the cursor (20) is beyond the data (7)" in spool.report[0]
    spool.append([b"new"])
    spool.sync()
    # Had the numbers begun again at 7, the cursor of 20 would now count this one as done.
    assert [payload for _, payload in everything(opened(disk.crash()))] == [b"new"]


def test_f56_numbers_go_on_where_everything_was_done_and_deleted() -> None:
    disk = filled()
    spool = opened(disk)
    spool.commit(20)
    spool.close()
    assert parts(disk) == []
    again = opened(disk)
    assert (again.appended, again.cursor, again.report) == (20, 20, [])
