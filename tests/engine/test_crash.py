"""What was acknowledged is on disk at every moment, wherever in the engine it is (P1)."""

import asyncio
import gc
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from flowengine import Message
from flowengine.clock import SECOND, ToldClock
from flowengine.engine.backlog import Backlog
from flowengine.engine.checkpoint import checkpoint
from flowengine.engine.delivery import DELIVERED, FILTERED, QUARANTINED, Intake
from flowengine.engine.leaving import Leaving
from flowengine.engine.spool import Spool
from flowengine.engine.store import Store
from flowengine.node import SpoolConfig
from flowengine.testing import NodeBench
from tests.engine.rigs import BINS, TAPS, Gather, Rig

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


def test_a_result_on_its_way_when_its_state_is_saved_without_it_survives_a_kill(
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
        await rig.pass_time(SECOND)
        assert BINS["out"].got == [3]
        await rig.pass_time(2 * SECOND)

    async def third(rig: Rig) -> None:
        await rig.deploy(FLOW, WIRES)
        await rig.pass_time(700 * SECOND)
        assert 3 not in BINS["out"].got

    lives(tmp_path, first, second, third)


def test_a_result_on_its_way_from_a_node_that_is_gone_is_quarantined(tmp_path: Path) -> None:
    async def first(rig: Rig) -> None:
        await rig.deploy(FLOW, WIRES)
        TAPS["in"].turn(1)
        await rig.pass_time(2 * SECOND)
        BINS["out"].hangs = asyncio.Event()
        await rig.pass_time(610 * SECOND)

    async def second(rig: Rig) -> None:
        await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
        await rig.pass_time(SECOND)
        rows = rig.engine.folder.store.select("select node from quarantine")
        assert rows == [("g",)]

    lives(tmp_path, first, second)


def test_a_result_that_another_node_keeps_is_saved_with_that_node_alone() -> None:
    leaving = Leaving()
    given = leaving.give("a", [])
    message = Message(1, receipt=given)
    given.left(message, "out")
    rows, gone, done = leaving.collect([given])  # it is in a state of the same checkpoint
    assert (rows, gone) == ([], [])
    done()
    rows, _, done = leaving.collect([])
    assert [(row.number, row.node, row.output) for row in rows] == [(given.number, "a", "out")]
    done()
    given.settle(DELIVERED)
    assert leaving.collect([])[:2] == ([], [given.number])


def test_what_answers_for_a_result_settles_it() -> None:
    leaving, intake = Leaving(), Intake()
    messages = [Message(1)]
    intake.let_in(messages, None)
    inner = leaving.give("a", [messages[0].receipt])
    inner.left(Message(1), "out")
    outer = leaving.give("b", [inner])
    outer.left(Message(2), "out")
    rows, _, done = leaving.collect([])
    assert [row.node for row in rows] == ["b"]  # one of the two is enough
    done()
    assert intake.unacknowledged == 0
    outer.settle(DELIVERED)
    assert (intake.fates[DELIVERED], leaving.open) == (1, {})


def test_a_receipt_kept_while_a_checkpoint_is_written_is_not_taken_for_another() -> None:
    """A receipt that is freed leaves its address to the next one."""

    class SlowStore(Store):
        async def run(self, call: Any) -> Any:
            await asyncio.sleep(0)
            return await super().run(call)

    async def scene() -> None:
        bench = NodeBench(Gather)
        for n in range(200):
            bench.send(n)
        saving = asyncio.create_task(checkpoint(SlowStore(None), "flow", [bench.step]))
        await asyncio.sleep(0)
        bench.step.drop_kept("dev-1", 200)
        gc.collect()
        late = [Message(n) for n in range(400)]
        intake = Intake()
        intake.let_in(late, None)
        for message in late:
            bench.step.keep(message, "dev-1")
            message.receipt.settle(FILTERED)
        await saving
        assert intake.unacknowledged == 400

    asyncio.run(scene())


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
