"""What was acknowledged is on disk at every moment, wherever in the engine it is (P1)."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from flowengine import Message
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.backlog import Backlog
from flowengine.engine.delivery import Intake
from flowengine.engine.fates import DELIVERED, QUARANTINED
from flowengine.engine.spool import Spool
from flowengine.node import SpoolConfig
from tests.engine.rigs import BINS, TAPS, Rig

Story = Callable[[Rig], Coroutine[Any, Any, None]]
FLOW = {"in": "tap", "g": "gather", "out": "bin"}
WIRES = ["in -> g", "g -> out"]


def lives(folder: Path, *stories: Story) -> None:
    """One story after the other, each on what a kill of the engine in the one before left."""

    async def scene() -> None:
        for life, story in enumerate(stories):
            async with Rig(folder / str(life)) as rig:
                await story(rig)
                shutil.copytree(folder / str(life), folder / str(life + 1))

    asyncio.run(scene())


def test_a_result_on_its_way_when_the_engine_is_killed_leaves_its_state_once_more(
    tmp_path: Path,
) -> None:
    async def first(rig: Rig) -> None:
        await rig.deploy(FLOW, WIRES)
        TAPS["in"].turn(1, 2, 3)
        await rig.pass_time(2 * SECOND)
        assert TAPS["in"].acks == [1, 2, 3]
        BINS["out"].hangs = asyncio.Event()
        await rig.pass_time(610 * SECOND)  # it has left, and is not written

    async def second(rig: Rig) -> None:
        await rig.deploy(FLOW, WIRES)
        await rig.pass_time(700 * SECOND)
        assert BINS["out"].got == [3]
        await rig.pass_time(2 * SECOND)

    async def third(rig: Rig) -> None:
        await rig.deploy(FLOW, WIRES)
        await rig.pass_time(700 * SECOND)
        assert 3 not in BINS["out"].got

    lives(tmp_path, first, second, third)


class Disk:
    """A backlog on disk, and its far side's fate in the test's hands."""

    def __init__(self, folder: Path, clock: ToldClock, **settings: Any) -> None:
        self.refused: list[Message] = []
        config = SpoolConfig.model_validate(settings)
        spool = Spool(folder, max_bytes=config.size, max_age_ns=config.age, now=clock.now)
        self.backlog = Backlog(
            spool,
            config,
            clock,
            None,
            status=lambda *_: None,
            log=lambda *_, **__: None,
            refuse=lambda message, _error: self.refused.append(message),
        )

    def payloads(self) -> list[Any]:
        """What a reader gets."""
        return [message.payload for message in self.backlog.read(99)]


def test_a_record_stays_on_disk_until_the_error_route_has_it(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = ToldClock()
        first = Disk(tmp_path, clock)
        await first.backlog.store([Message(n) for n in range(4)])
        messages = first.backlog.read(99)
        for message in (*messages[:1], *messages[2:]):
            message.receipt.settle(DELIVERED)
        await first.backlog.flush()  # the second was refused, and is not in quarantine yet
        assert Disk(tmp_path, clock).payloads() == [1, 2, 3]
        messages[1].receipt.settle(QUARANTINED)
        await first.backlog.flush()
        assert Disk(tmp_path, clock).payloads() == []

    asyncio.run(scene())


def test_a_record_stays_on_disk_until_every_part_of_its_message_is_settled(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = ToldClock()
        first = Disk(tmp_path, clock)
        await first.backlog.store([Message(1)])
        [message] = first.backlog.read(99)
        message.receipt.take()  # written, and its answer is on its way
        message.receipt.settle(DELIVERED)
        await first.backlog.flush()
        assert Disk(tmp_path, clock).payloads() == [1]
        message.receipt.secure()  # the answer waits in a state that is saved
        await first.backlog.flush()
        assert Disk(tmp_path, clock).payloads() == []

    asyncio.run(scene())


def test_no_more_is_read_behind_a_record_that_is_not_settled_than_may_come_again(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        disk = Disk(tmp_path, ToldClock())
        await disk.backlog.store([Message(n) for n in range(1500)])
        for message in disk.backlog.read(1200)[1:]:
            message.receipt.settle(DELIVERED)
        assert disk.backlog.is_held_up

    asyncio.run(scene())


def test_what_is_given_back_is_read_again_and_what_is_underway_is_not(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = Disk(tmp_path, ToldClock())
        await disk.backlog.store([Message(n) for n in range(6)])
        messages = disk.backlog.read(4)
        messages[0].receipt.settle(DELIVERED)
        disk.backlog.give_back([messages[1], messages[3]])
        assert disk.payloads() == [1, 3, 4, 5]
        assert disk.backlog.open == 5

    asyncio.run(scene())


def test_what_was_done_is_noted_a_second_later_though_nobody_asks(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = ToldClock()
        disk = Disk(tmp_path, clock)
        await disk.backlog.store([Message(n) for n in range(3)])
        for message in disk.backlog.read(2):
            message.receipt.settle(DELIVERED)
        clock.advance(SECOND)
        await asyncio.sleep(0.01)
        assert Disk(tmp_path, clock).payloads() == [2]

    asyncio.run(scene())


def test_a_record_larger_than_the_store_costs_the_others_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = Disk(tmp_path, ToldClock(), size="2kB", when_full="drop-oldest")
        await disk.backlog.store([Message(1), Message("x" * 3000), Message(2)])
        assert [len(m.payload) for m in disk.refused] == [3000]
        assert disk.payloads() == [1, 2]
        assert disk.backlog.dropped == 0

    asyncio.run(scene())


def test_what_is_being_written_is_not_counted_as_dropped(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = Disk(tmp_path, ToldClock(), size="2kB", when_full="drop-oldest")
        await disk.backlog.store([Message("x" * 400) for _ in range(4)])
        messages = disk.backlog.read(2)
        await disk.backlog.store([Message("y" * 400) for _ in range(4)])
        for message in messages:
            message.receipt.settle(DELIVERED)
        left = disk.payloads()
        assert disk.backlog.dropped + len(left) + len(messages) == 8

    asyncio.run(scene())


def test_what_cannot_be_stored_takes_the_error_route(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = Disk(tmp_path, ToldClock())
        left = await disk.backlog.store([Message(1), Message(2**70), Message("\ud800"), Message(2)])
        assert left == []
        assert [m.payload for m in disk.refused] == [2**70, "\ud800"]
        assert disk.payloads() == [1, 2]

    asyncio.run(scene())


def test_a_store_that_is_broken_off_settles_what_reached_the_disk(tmp_path: Path) -> None:
    async def scene() -> None:
        disk = Disk(tmp_path, ToldClock())
        intake, messages = Intake(), [Message(n) for n in range(3)]
        intake.let_in(messages, None)
        assert disk.backlog.append(messages) == []
        assert intake.unacknowledged == 3
        assert disk.backlog.close() == []  # as when its user is cancelled before the fsync
        assert intake.unacknowledged == 0

    asyncio.run(scene())
