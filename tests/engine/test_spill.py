"""A wire that spills keeps every message in order, in memory, on disk, and over a restart."""

import asyncio
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.clock import ToldClock
from flowengine.engine.backlog import Backlog
from flowengine.engine.delivery import Intake, settle_all
from flowengine.engine.fates import DELIVERED, SPOOLED
from flowengine.engine.flowledger import FlowLedger
from flowengine.engine.spill import SpillWire
from flowengine.engine.spool import Spool
from flowengine.message import Message
from flowengine.node import SpoolConfig


class Rig:
    """A wire over a folder, and the intake of what is put into it."""

    def __init__(self, folder: Path, capacity: int = 3) -> None:
        clock = ToldClock()
        config = SpoolConfig()
        spool = Spool(folder, max_bytes=10_000_000, max_age_ns=None, now=clock.now)
        ledger = FlowLedger()
        backlog = Backlog(spool, config, clock, None, status=print, log=print, ledger=ledger)
        self.told: list[int] = []
        self.wire = SpillWire("a.out-b", clock, backlog, capacity=capacity, max_bytes=10**9)
        self.intake = Intake(ledger=ledger.source("in"))
        self.acked = 0

    def put(self, *payloads: int) -> None:
        """Put one read in."""
        messages = [Message(payload) for payload in payloads]
        number = len(messages)
        self.intake.let_in(messages, lambda: self._ack(number))
        self.wire.put(messages)

    def _ack(self, number: int) -> None:
        self.acked += number

    async def take(self, limit: int = 99, *, settle: bool = True) -> list[Any]:
        """What leaves the wire, settled as delivered."""
        for _ in range(5):
            await asyncio.sleep(0)
        messages = self.wire.take(limit)
        if settle:
            settle_all(messages, DELIVERED)
        return [message.payload for message in messages]


def test_what_fits_stays_in_memory(tmp_path: Path) -> None:
    async def story() -> None:
        rig = Rig(tmp_path)
        rig.put(1, 2)
        assert rig.wire.spilled == 0
        assert await rig.take() == [1, 2]
        assert rig.intake.fates[SPOOLED] == 0

    asyncio.run(story())


def test_what_does_not_fit_is_acknowledged_from_the_disk_and_leaves_in_order(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        rig = Rig(tmp_path)
        for n in range(0, 10, 2):
            rig.put(n, n + 1)
        assert await rig.take(2) == [0, 1]
        assert rig.wire.spilled == 6
        assert rig.intake.fates[SPOOLED] == 6
        rig.put(10)
        got: list[Any] = []
        while len(got) < 9:
            got += await rig.take(4)
        assert got == [2, 3, 4, 5, 6, 7, 8, 9, 10]
        assert rig.acked == 11
        rig.put(11)
        assert rig.wire.spilled == 0
        assert await rig.take() == [11]

    asyncio.run(story())


def test_what_was_taken_from_disk_and_not_settled_comes_again_after_a_crash(tmp_path: Path) -> None:
    async def story() -> None:
        rig = Rig(tmp_path, capacity=1)
        rig.put(0)
        for n in range(1, 5):
            rig.put(n)
        assert await rig.take(1) == [0]
        assert await rig.take(2) == [1, 2]
        assert await rig.take(9, settle=False) == [3, 4]
        rig.wire.backlog.spool.flush_cursor()  # and then the box loses its power

        again = Rig(tmp_path, capacity=1)
        assert again.wire.spilled == 2
        again.put(5)
        got: list[Any] = []
        while len(got) < 3:
            got += await again.take()
        assert got == [3, 4, 5]

    asyncio.run(story())


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=30))
def test_whatever_comes_and_goes_order_holds_and_nothing_is_lost(
    steps: list[tuple[bool, int]], tmp_path_factory: Any
) -> None:
    async def story() -> None:
        rig, sent, got = Rig(tmp_path_factory.mktemp("spill")), 0, []
        for is_put, number in steps:
            if is_put:
                rig.put(*range(sent, sent + number))
                sent += number
            else:
                got += await rig.take(number)
        for _ in range(sent + 2):
            got += await rig.take()
        assert got == list(range(sent))
        assert rig.acked == sent
        rig.wire.close()

    asyncio.run(story())
