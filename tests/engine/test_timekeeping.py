"""The engine knows how far to believe its clock, and mends what that stamped before it was set."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from flowengine import Message, NodeConfig, Sink, SinkConfig, Source, SourceConfig, Stamper, node
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.timekeeping import NOTE_EVERY, Timekeeper
from flowengine.errors import Unavailable
from flowengine.moments import parse_time
from tests.engine import rigs
from tests.engine.rigs import Rig

NOW = parse_time("2026-11-25T04:00:00Z")
HOUR = 3600 * SECOND
EARLY = 60 * SECOND
READERS: dict[str, "Reader"] = {}
DIARIES: dict[str, "Diary"] = {}


@node("reader")
class Reader(Source[SourceConfig]):
    """A source whose messages are stamped as those of every source are."""

    def setup(self) -> None:
        """Be found by the test."""
        READERS[self.context.node] = self
        self._stamper = Stamper(self.config, self.context)

    def comes(self, *payloads: Any) -> None:
        """Let one read in."""
        self.emit(self._stamper.stamp([Message(payload, "", 0, "k") for payload in payloads]))


@node("diary")
class Diary(Sink[SinkConfig]):
    """A sink that notes payload, time and what is said of the time."""

    batch_age = 0

    def setup(self) -> None:
        """Take over what a former self noted."""
        before = DIARIES.get(self.context.node)
        self.noted: list[tuple[Any, int, Any]] = before.noted if before else []
        self.is_up: bool = before.is_up if before else True
        DIARIES[self.context.node] = self

    async def write(self, records: list[Any]) -> None:
        """Note the messages."""
        if not self.is_up:
            raise Unavailable("the diary is shut")
        self.noted += [(r.payload, r.time, r.meta.get("time_quality")) for r in records]


@node("seer")
def seer(message: Message, config: NodeConfig) -> Message:
    """The time that a node within sees."""
    return message.with_payload(message.time)


@pytest.fixture(autouse=True)
def _own_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rigs, "OWN", [*rigs.OWN, Reader, Diary, seer])
    READERS.clear()
    DIARIES.clear()


def played(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that is a story told to the event loop."""

    @wraps(test)
    def play(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return play


NODES = {"in": "reader", "out": "diary"}
WIRES = ["in -> out"]


def early() -> ToldClock:
    """A box that has just booted, in 1970."""
    clock = ToldClock(EARLY)
    clock.is_synced = False
    return clock


def is_set(clock: ToldClock, now: int = NOW) -> None:
    """A time service sets the clock."""
    clock.set_wall(now)
    clock.is_synced = True


async def spooled(rig: Rig, *payloads: Any) -> None:
    """These come while the sink is away."""
    await rig.deploy(NODES, WIRES)
    DIARIES["out"].is_up = False
    READERS["in"].comes(*payloads)
    await rig.pass_time(2 * SECOND)
    assert DIARIES["out"].noted == []


@played
async def test_f61_what_waits_on_disk_when_the_clock_is_set_leaves_with_its_true_time(
    tmp_path: Path,
) -> None:
    clock = early()
    async with Rig(tmp_path, clock) as rig:
        await spooled(rig, "a", "b")
        await rig.pass_time(2 * HOUR)
        READERS["in"].comes("c")
        is_set(clock)
        READERS["in"].comes("d")
        DIARIES["out"].is_up = True
        await rig.pass_time(120 * SECOND)
    begin = NOW - 2 * HOUR - 2 * SECOND
    assert DIARIES["out"].noted == [
        ("a", begin, "mended"),
        ("b", begin + 1, "mended"),
        ("c", NOW, "mended"),
        ("d", NOW, None),
    ]


@played
async def test_f61_so_it_does_after_a_restart_of_the_engine_in_the_same_boot(
    tmp_path: Path,
) -> None:
    clock = early()
    async with Rig(tmp_path, clock) as rig:
        await spooled(rig, "a")
    clock.boot()  # another process of the same boot
    clock.advance(HOUR)
    is_set(clock)
    DIARIES["out"].is_up = True
    async with Rig(tmp_path, clock) as rig:
        await rig.deploy(NODES, WIRES)
        await rig.pass_time(120 * SECOND)
    assert DIARIES["out"].noted == [("a", NOW - HOUR - 2 * SECOND, "mended")]


@pytest.mark.parametrize("was_set", [True, False], ids=["that was set", "that was never set"])
@played
async def test_f61_in_a_later_boot_what_came_in_one_before_is_mended_if_that_learned_the_time(
    tmp_path: Path, was_set: bool
) -> None:
    clock = early()
    async with Rig(tmp_path, clock) as rig:
        await spooled(rig, "a")
        if was_set:
            is_set(clock)
            await rig.pass_time(2 * SECOND)
    clock.boot("2222eeee")
    is_set(clock, NOW + HOUR)
    DIARIES["out"].is_up = True
    async with Rig(tmp_path, clock) as rig:
        await rig.deploy(NODES, WIRES)
        await rig.pass_time(120 * SECOND)
    mended, unmended = ("a", NOW - 2 * SECOND, "mended"), ("a", EARLY, "unsynced")
    assert DIARIES["out"].noted == [mended if was_set else unmended]


@played
async def test_f61_what_leaves_before_the_clock_is_set_says_so(tmp_path: Path) -> None:
    clock = early()
    async with Rig(tmp_path, clock) as rig:
        await rig.deploy(NODES, WIRES)
        READERS["in"].comes("a")
        await rig.settle()
        is_set(clock)
        await rig.pass_time(SECOND)
        READERS["in"].comes("b")
        await rig.settle()
    assert DIARIES["out"].noted == [("a", EARLY, "unsynced"), ("b", NOW + SECOND, None)]


@played
async def test_f61_what_waits_in_a_wire_is_mended_before_the_node_behind_it_sees_it(
    tmp_path: Path,
) -> None:
    clock = early()
    async with Rig(tmp_path, clock) as rig:
        nodes = {**NODES, "line": "queue", "seer": "seer"}
        await rig.deploy(nodes, ["in -> line", "line -> seer", "seer -> out"])
        READERS["in"].comes("a")
        is_set(clock)
        clock.trust.look()
        await rig.settle()
    assert DIARIES["out"].noted == [(NOW, NOW, "mended")]


@played
async def test_f61_f60_a_window_that_is_open_when_the_clock_is_set_closes_in_its_time_and_is_moved(
    tmp_path: Path,
) -> None:
    clock = early()
    async with Rig(tmp_path, clock) as rig:
        config = {"every": "1m", "fields": ["payload"], "functions": ["sum"]}
        window = {"type": "window", "config": config}
        await rig.deploy({**NODES, "mean": window}, ["in -> mean", "mean -> out"])
        READERS["in"].comes(1)
        await rig.pass_time(20 * SECOND)
        is_set(clock)
        READERS["in"].comes(2)
        await rig.pass_time(39 * SECOND)
        assert DIARIES["out"].noted == []
        await rig.pass_time(SECOND)
    ((payload, start, quality),) = DIARIES["out"].noted
    assert (payload["count"], payload["payload_sum"]) == (2, 3)
    assert payload["start"] == "2026-11-25T03:59:40Z"
    assert (start, quality) == (NOW - 20 * SECOND, "mended")


# -- what is kept


def kept(path: Path) -> dict[str, Any]:
    """What the file holds."""
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_f61_the_truth_of_a_boot_is_on_disk_as_soon_as_it_is_known(tmp_path: Path) -> None:
    clock, path = early(), tmp_path / "clock.json"
    keeper = Timekeeper(clock, path, list)
    keeper.start()
    assert kept(path) == {"truths": {}, "last_seen": 0, "is_marked": True}
    is_set(clock)
    clock.advance(SECOND)
    truth = NOW - 1000 * SECOND
    assert kept(path) == {
        "truths": {"b007b007": truth},
        "last_seen": NOW + SECOND,
        "is_marked": True,
    }
    clock.advance(NOTE_EVERY - 2 * SECOND)
    assert kept(path)["last_seen"] == NOW + SECOND  # not a write a second, for a box with a card
    clock.advance(2 * SECOND)
    assert kept(path)["last_seen"] >= NOW + NOTE_EVERY
    clock.advance(5 * SECOND)
    keeper.stop()
    keeper.stop()
    assert kept(path)["last_seen"] == clock.now()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "found", [b"", b"{", b"[]", b"\xff", b'{"truths": {"a": "b"}}', b'{"last_seen": 1e400}']
)
def test_f54_a_damaged_file_is_begun_anew(
    tmp_path: Path, found: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    clock, path = ToldClock(), tmp_path / "clock.json"
    path.write_bytes(found)
    keeper = Timekeeper(clock, path, list)
    keeper.start()
    keeper.stop()
    assert "begun anew" in caplog.text
    assert kept(path)["truths"]


def test_f50_a_disk_that_takes_nothing_is_no_reason_to_stop(tmp_path: Path) -> None:
    clock = ToldClock()
    keeper = Timekeeper(clock, tmp_path / "absent" / "clock.json", list)
    keeper.start()
    clock.advance(3 * SECOND)
    keeper.stop()
    assert clock.trust.is_synced


def test_f60_every_node_hears_of_a_jump_whatever_the_others_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[int] = []

    class Good:
        def clock_set(self, jump: int) -> None:
            heard.append(jump)

    class Bad:
        def clock_set(self, jump: int) -> None:
            raise RuntimeError("a bug")

    clock = ToldClock()
    keeper = Timekeeper(clock, None, lambda: [Bad(), Good()])
    keeper.start()
    clock.set_wall(clock.now() - HOUR)
    clock.advance(2 * SECOND)
    keeper.stop()
    assert heard == [-HOUR]
    assert "the wall clock was set" in caplog.text
