"""A journal says after a kill all that was written to it, after a power cut all that was synced."""

import errno
import logging
import random
import struct
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.engine.accounts import BucketNews, Standing
from flowengine.engine.arrivals import Arrival
from flowengine.engine.journal import (
    ROTATE_BYTES,
    Frame,
    Journal,
    pack,
    pack_all,
    unpack,
)
from tests.engine.test_spool import Crash, SimDisk, chances

PATH = Path("/data/journal/hall.log")
U16, U32, I64 = (st.integers(0, 2**n - 1) for n in (16, 32, 63))
ARRIVALS = st.lists(st.builds(Arrival, U16, U32, I64), min_size=1, max_size=5)
NUMBERS = st.lists(st.integers(0, 2**40), max_size=3)
FRAMES = st.builds(
    Frame,
    source=st.text(max_size=5),
    stamp=st.integers(0, 2**40),
    standing=st.builds(Standing, I64, I64, NUMBERS, NUMBERS, I64),
    buckets=st.lists(
        st.builds(BucketNews, U32, st.dictionaries(st.text(max_size=5), U32, max_size=3)),
        max_size=3,
    ),
    ranges=st.lists(st.tuples(I64, st.integers(-1, 2**31)), max_size=3),
    came=st.lists(st.builds(pack, I64, ARRIVALS), max_size=2),
    is_new_session=st.booleans(),
    is_whole=st.booleans(),
    is_cut_bound=st.booleans(),
)


def frame(number: int) -> Frame:
    return Frame("in", number, Standing(number), [BucketNews(1, {"received": 1})], [], [])


def stamps(disk: SimDisk) -> list[int]:
    """What one who opens the journal now reads."""
    return [found.stamp for found in Journal(PATH, disk).read()]


def fails_at(op: str, code: int = errno.EIO) -> Callable[[str, Path | None], OSError | None]:
    return lambda asked, _path: OSError(code, "the disk fails") if asked == op else None


def healthy(_op: str, _path: Path | None) -> None:
    """A disk without faults."""


def sync(journal: Journal) -> None:
    job = journal.sync_job()
    if job is not None:
        job()


def written(*numbers: int) -> SimDisk:
    """A disk with a journal of these, synced."""
    disk = SimDisk()
    journal = Journal(PATH, disk)
    assert journal.begin_anew([])
    for number in numbers:
        assert journal.append([frame(number)])
    journal.close()
    return disk


# ---- what it holds


@given(arrivals=ARRIVALS, first=I64)
def test_arrivals_come_back_as_they_were(arrivals: list[Arrival], first: int) -> None:
    assert unpack(pack(first, arrivals)) == arrivals
    assert pack(first, arrivals).first == first


@given(numbers=st.sets(st.integers(1, 30)), seed=st.integers(0, 9))
def test_numbered_arrivals_are_a_part_for_each_run_of_numbers(numbers: set[int], seed: int) -> None:
    chance = chances(seed)
    numbered = [
        (n, Arrival(chance.randrange(1 << 16), chance.randrange(1 << 32), n))
        for n in sorted(numbers)
    ]
    parts = pack_all(numbered)
    back = [(part.first + n, row) for part in parts for n, row in enumerate(unpack(part))]
    assert back == numbered
    assert all(a.first + len(unpack(a)) < b.first for a, b in pairwise(parts))


@settings(max_examples=50)
@given(batches=st.lists(st.lists(FRAMES, max_size=3), max_size=4))
def test_frames_come_back_as_they_were(batches: list[list[Frame]]) -> None:
    disk = SimDisk()
    journal = Journal(PATH, disk)
    for batch in batches:
        assert journal.append(batch)
    assert journal.read() == Journal(PATH, disk).read() == [f for batch in batches for f in batch]


def test_a_real_file_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "hall.log"
    for number in range(3):
        journal = Journal(path)
        assert journal.append([frame(number)])
        assert journal.size == path.stat().st_size
        journal.close()
        journal.close()
    assert [found.stamp for found in Journal(path).read()] == [0, 1, 2]
    assert Journal(path).begin_anew([frame(9)])
    assert [found.stamp for found in Journal(path).read()] == [9]
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["hall.log"]


def test_what_is_not_there_holds_nothing() -> None:
    assert Journal(PATH, SimDisk()).read() == []


def test_what_cannot_be_read_holds_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    disk = written(1)
    disk.fault = fails_at("read")
    with caplog.at_level(logging.ERROR, "flowengine.engine"):
        assert Journal(PATH, disk).read() == []
    assert f"the journal {PATH} cannot be read" in caplog.text


def test_it_is_due_once_it_has_grown_and_not_when_begun_anew() -> None:
    journal = Journal(PATH, SimDisk())
    big = Frame("x" * (ROTATE_BYTES // 2), 0, Standing(), [], [], [])
    for is_due in (False, True):
        assert journal.append([big])
        assert journal.is_due is is_due
    assert journal.begin_anew([frame(1)])
    assert journal.append([frame(2)])
    assert not journal.is_due


# ---- torn and damaged


def test_a_torn_end_is_passed_over_wherever_it_is_torn_and_what_follows_is_read() -> None:
    whole = bytes(written(1, 2).names[PATH].data)
    start = len(bytes(written(1).names[PATH].data))
    for size in range(start, len(whole)):
        disk = written(1, 2)
        disk.truncate(PATH, size)
        assert stamps(disk) == [1]
        journal = Journal(PATH, disk)
        assert journal.append([frame(3)])
        assert stamps(disk) == [1, 3]
        assert journal.size == len(disk.names[PATH].data)


def test_of_what_follows_a_damaged_frame_nothing_is_believed() -> None:
    """Whole frames only, in the order in which they were written: a gap would be a lie."""
    one, two = (len(bytes(written(*some).names[PATH].data)) for some in ((1,), (1, 2)))
    for place in range(one, two):
        disk = written(1, 2, 3)
        disk.names[PATH].data[place] ^= 0x10
        assert stamps(disk) == [1]


def test_a_frame_of_another_version_is_passed_over() -> None:
    disk = written(1)
    body = b"\x93\x01\x02\x03"
    crc = zlib.crc32(body)
    disk.names[PATH].data += struct.pack("<II", len(body), crc) + body
    assert Journal(PATH, disk).append([frame(2)])
    assert stamps(disk) == [1, 2]


# ---- a disk that is full, or fails


def test_what_does_not_fit_leaves_no_torn_frame_and_it_is_begun_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = written(1)
    journal = Journal(PATH, disk)
    disk.short = True
    with caplog.at_level(logging.WARNING, "flowengine.engine"):
        assert not journal.append([frame(2)])
        assert not journal.append([frame(2)])
    assert len(caplog.records) == 1
    assert "may not be recognised" in caplog.text
    assert len(disk.names[PATH].data) == journal.size
    assert stamps(disk) == [1]
    assert journal.is_due
    disk.short = False
    assert journal.begin_anew([frame(1), frame(2)])
    assert not journal.is_due
    assert journal.append([frame(3)])
    assert stamps(disk) == [1, 2, 3]


@pytest.mark.parametrize("op", ["make_folder", "open", "write", "read"])
def test_a_failed_append_says_so_and_costs_nothing_that_was_there(op: str) -> None:
    disk = written(1)
    journal = Journal(PATH, disk)
    disk.fault = fails_at(op, errno.ENOSPC)
    assert not journal.append([frame(2)])
    assert journal.is_due
    disk.fault = healthy
    assert stamps(disk) == [1]


@pytest.mark.parametrize("op", ["make_folder", "open", "write", "fsync", "rename"])
def test_where_it_cannot_be_begun_anew_the_old_one_stands_and_goes_on(op: str) -> None:
    disk = written(1)
    journal = Journal(PATH, disk)
    assert journal.append([frame(2)])
    disk.fault = fails_at(op)
    assert not journal.begin_anew([frame(9)])
    assert journal.is_due
    disk.fault = healthy
    assert stamps(disk) == [1, 2]
    assert journal.append([frame(3)])
    assert stamps(disk) == [1, 2, 3]


def test_a_name_that_could_not_be_synced_is_tried_again() -> None:
    disk = written(1)
    journal = Journal(PATH, disk)
    disk.fault = fails_at("fsync_dir")
    assert not journal.begin_anew([frame(2)])
    assert journal.is_due
    disk.fault = healthy
    assert journal.begin_anew([frame(2)])
    assert not journal.is_due
    assert stamps(disk.crash()) == [2]


def test_after_a_failed_sync_it_is_begun_anew_as_what_was_written_may_be_gone() -> None:
    """Linux forgets what it could not write, and the next fsync says all is well."""
    disk = written(1)
    journal = Journal(PATH, disk)
    assert journal.append([frame(2)])
    disk.fault = fails_at("settle")
    sync(journal)
    disk.fault = healthy
    assert journal.is_due
    assert journal.sync_job() is not None
    assert journal.begin_anew([frame(1), frame(2)])
    assert stamps(disk.crash()) == [1, 2]


def test_a_file_is_synced_once_for_all_that_was_written() -> None:
    disk = written()
    journal = Journal(PATH, disk)
    assert journal.sync_job() is None
    for number in (1, 2):
        assert journal.append([frame(number)])
    sync(journal)
    assert journal.sync_job() is None
    assert stamps(disk.crash()) == [1, 2]
    assert journal.append([frame(3)])
    journal.close()
    assert stamps(disk.crash()) == [1, 2, 3]


# ---- power cuts


def test_it_is_begun_anew_in_an_order_that_a_power_cut_cannot_break() -> None:
    """Bytes before the name, and the name before anything is appended to the file."""
    disk, asked = written(1), list[str]()
    disk.fault = lambda op, _path: asked.append(op)
    assert Journal(PATH, disk).begin_anew([frame(2)])
    assert [op for op in asked if op != "make_folder"] == [
        "open",
        "write",
        "fsync",
        "rename",
        "fsync_dir",
    ]
    assert stamps(disk.crash()) == [2]


class Life:
    """One journal, and what of it must be, and may be, on the disk after the power went."""

    def __init__(self, disk: SimDisk) -> None:
        self.disk = disk
        self.journal = Journal(PATH, disk)
        self.told: list[int] = []
        """What the file says now; after a kill all of it must be read."""
        self.synced = 0
        """How many of these a power cut leaves."""
        self.half: tuple[list[int], int] | None = None
        """What a cut in the middle of a step may leave as well, and how much of it at the least."""
        self.newest = 0

    def step(self, what: str) -> None:
        """Append, sync or begin anew; nothing is appended while it is due to begin anew."""
        if what == "sync":
            number = len(self.told)
            sync(self.journal)
            if not self.journal.is_due:
                self.synced = number
            return
        self.newest += 1
        if what == "append" and not self.journal.is_due:
            fresh = [*self.told, self.newest]
            self.half = fresh, self.synced
            if self.journal.append([frame(self.newest)]):
                self.told = fresh
        else:
            fresh = [*self.told[-1:], self.newest]
            self.half = fresh, len(fresh)
            if self.journal.begin_anew([frame(number) for number in fresh]):
                self.told, self.synced = fresh, len(fresh)
        self.half = None

    def may_be(self, found: list[int]) -> bool:
        """Whether this may be read after a power cut."""
        files = [(self.told, self.synced), *([self.half] if self.half else [])]
        return any(
            found in [told[:n] for n in range(least, len(told) + 1)] for told, least in files
        )


@settings(max_examples=80)
@given(
    steps=st.lists(st.sampled_from(["append", "append", "sync", "anew"]), max_size=12),
    end=st.integers(0, 60),
    seed=st.integers(0, 2**32),
)
def test_what_was_synced_is_read_after_a_power_cut_at_any_moment(
    steps: list[str], end: int, seed: int
) -> None:
    life = Life(written())
    life.disk.crash_at = life.disk.ops + end
    try:
        for what in steps:
            life.step(what)
            assert stamps(life.disk) == life.told
    except Crash:
        pass
    luck = random.Random(seed)  # noqa: S311  # decides what a test loses
    for chance in (None, luck):
        disk = life.disk.crash(chance)
        found = stamps(disk)
        assert life.may_be(found)
        assert Journal(PATH, disk).append([frame(1000)])
        assert stamps(disk) == [*found, 1000]


@settings(max_examples=80)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["append", "append", "sync", "anew"]),
            st.sampled_from(["", "", "open", "write", "short", "settle", "fsync", "rename"]),
        ),
        max_size=12,
    )
)
def test_what_it_says_was_written_is_read_however_the_disk_fails(
    steps: list[tuple[str, str]],
) -> None:
    life = Life(written())
    for what, fault in steps:
        life.disk.short = fault == "short"
        life.disk.fault = fails_at(fault) if fault else healthy
        life.step(what)
        life.disk.fault = healthy
        assert stamps(life.disk) == life.told
        assert stamps(life.disk.crash())[: life.synced] == life.told[: life.synced]


def test_what_was_synced_of_a_file_that_an_append_made_is_read_after_a_power_cut() -> None:
    """A flow that is new has nothing to begin anew with: its first frames are appended."""
    disk = SimDisk()
    journal = Journal(PATH, disk)
    assert journal.append([frame(1)])
    sync(journal)
    assert stamps(disk.crash()) == [1]


def test_what_is_appended_after_a_failed_sync_of_the_name_is_read() -> None:
    disk = written(1)
    journal = Journal(PATH, disk)
    assert journal.append([frame(2)])
    disk.fault = fails_at("fsync_dir")
    assert not journal.begin_anew([frame(1), frame(2)])
    disk.fault = healthy
    assert journal.append([frame(3)])
    assert stamps(disk) == [1, 2, 3]
