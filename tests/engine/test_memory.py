"""The guard over the engine's memory holds the sources before the cap is met, and lets them go."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from flowengine.clock import SECOND, ToldClock
from flowengine.engine import memory
from flowengine.engine.memory import MemoryGuard, group_limit

MB = 1_000_000


class Box:
    """A process of 1,000 MB whose memory is told in tens of MB: in percent."""

    def __init__(self, *, gives_back: int = 0, cap: int = 1000 * MB, idle: int = 300 * MB) -> None:
        self.clock = ToldClock()
        self.rss = idle
        self.waits = True
        self.gives_back = gives_back
        self.held: list[bool] = []
        self.trims = 0
        self.looks = 0
        self.guard = MemoryGuard(
            self.clock,
            cap,
            self.held.append,
            lambda: self.waits,
            read=self._read,
            give_back=self._trim,
        )
        self.guard.start()

    def _read(self) -> int:
        self.looks += 1
        return self.rss

    def _trim(self) -> None:
        self.trims += 1
        self.rss -= self.gives_back

    def be(self, rss: float, seconds: float = 0.25) -> None:
        self.rss = int(rss * 10 * MB)
        self.clock.advance(int(seconds * SECOND))

    @property
    def last(self) -> bool:
        return self.held[-1] if self.held else False


@pytest.fixture(autouse=True)
def _no_libc(monkeypatch: pytest.MonkeyPatch) -> None:
    """How malloc keeps large blocks is the whole test run's."""
    monkeypatch.setattr(memory, "give_back_large", lambda: None)


def test_sources_are_held_at_80_percent_and_go_on_below_70() -> None:
    box = Box()
    told = []
    for rss in (79, 79.9, 80, 90, 75, 70.1, 70, 79, 81):
        box.be(rss)
        told.append(box.last)
    assert told == [False, False, True, True, True, True, False, False, True]
    assert box.guard.pauses == 2


def test_what_malloc_can_give_back_holds_nobody() -> None:
    box = Box(gives_back=200 * MB)
    box.be(85)
    assert box.held == []
    assert box.trims == 1


def test_the_nearer_to_the_mark_the_sooner_it_looks_again() -> None:
    """A flood of 1 GB a second does not fill what is left before the next look."""
    box = Box()
    box.looks = 0
    box.be(10, 2)
    assert 8 <= box.looks <= 9
    box.be(76)
    box.looks = 0
    box.be(76, 1)  # 40 MB are left
    assert 24 <= box.looks <= 26
    box.be(79.9)
    box.looks = 0
    box.be(79.9, 1)
    assert 195 <= box.looks <= 201


@pytest.mark.parametrize(
    ("cap", "pause_at", "resume_at"),
    [(128, 84, 71.2), (250, 200, 175), (64, 32, 25.6)],
)
def test_a_small_cap_leaves_room_for_what_is_on_its_way(
    cap: int, pause_at: float, resume_at: float
) -> None:
    box = Box(cap=cap * MB, idle=20 * MB)
    told = []
    for rss in (pause_at - 0.1, pause_at, resume_at + 0.1, resume_at):
        box.be(rss / 10)
        told.append(box.last)
    assert told == [False, True, True, False]


def test_a_source_that_a_deploy_brings_is_held_too() -> None:
    box = Box()
    box.be(85, 2)
    assert box.held
    assert all(box.held)
    assert len(box.held) > 5


def test_it_is_told_once_a_minute_with_numbers(caplog: pytest.LogCaptureFixture) -> None:
    box = Box()
    with caplog.at_level(logging.INFO, "flowengine.engine"):
        for _ in range(5):
            box.be(85)
            box.be(60)
    assert caplog.messages == [
        "memory is at 850 MB of 1000 MB: sources are paused until it is below 700 MB",
        "memory is at 600 MB after 0.0 s: sources read on",
    ]
    caplog.clear()
    box.be(60, 60)
    box.be(85)
    assert [x.startswith("memory is at 850 MB of") for x in caplog.messages] == [True]


def test_what_stays_for_good_does_not_stop_the_sources_for_good(
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = Box()
    box.be(82, 29)
    assert box.last
    box.be(82, 2)
    assert not box.last
    assert "though nothing is read: reading on to 870 MB" in caplog.text
    box.be(86)
    assert not box.last
    box.be(88)
    assert box.last
    box.be(88, 31)  # reads on once more, up to nine tenths
    assert not box.last
    box.be(91, 61)  # and no further
    assert box.last
    assert "sources stay paused" in caplog.text
    box.be(60)
    assert not box.last
    box.be(80.5)  # the first mark holds again
    assert box.last


def test_where_nothing_drains_the_sources_read_on_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else a flow that weighs much by itself would never read again."""
    box = Box()
    box.be(82)
    box.waits = False
    box.be(82)
    assert not box.last
    assert "reading on to 870 MB" in caplog.text
    box.waits = True
    box.be(86)
    assert not box.last
    box.be(87)
    assert box.last
    box.waits = False
    box.be(95)  # a cap below what the engine weighs idle: told, and no standstill
    assert not box.last


def test_memory_that_falls_is_waited_for() -> None:
    box = Box()
    for rss in range(99, 70, -2):
        box.be(rss, 10)
        assert box.last


def test_it_stops_with_the_engine() -> None:
    box = Box()
    box.guard.stop()
    box.be(99, 5)
    assert box.held == []
    assert box.clock.next_timer() is None


@pytest.mark.parametrize("look", [memory.resident])
def test_resident_memory_is_this_process_s(look: Callable[[], int]) -> None:
    before = look()
    block = bytearray(b"x" * 50 * MB)
    assert look() - before > 45 * MB
    del block


def group(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


@pytest.mark.parametrize(
    ("lines", "files", "limit"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "134217728\n"}, 134217728),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "500\n"}, 500),
        ("0::/a/b\n", {"a/b/memory.max": "700\n", "a/memory.max": "500\n"}, 500),
        ("0::/\n", {"memory.max": "900\n"}, 900),
        ("0::/not/there\n", {"memory.max": "900\n"}, 900),
        ("0::/a\n", {"a/memory.max": "max\n"}, 0),
        ("4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "800\n"}, 800),
        ("4:cpu,memory:/a\n", {"memory/memory.limit_in_bytes": "600\n"}, 600),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, 0),
        ("0::/a\n", {"unified/a/memory.max": "300\n"}, 300),
        ("0::/a\n", {}, 0),
    ],
)
def test_the_limit_of_the_control_group_is_found(
    tmp_path: Path, lines: str, files: dict[str, str], limit: int
) -> None:
    (tmp_path / "cgroup").write_text(lines)
    for name, text in files.items():
        group(tmp_path / "fs", name, text)
    assert group_limit(tmp_path / "cgroup", tmp_path / "fs") == limit


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert group_limit(tmp_path / "none", tmp_path) == 0
