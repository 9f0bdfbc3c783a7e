"""A source is let in no further than the flow can follow, and what it waits for is hurried (P6)."""

import asyncio
from pathlib import Path

import pytest

from flowengine.engine.feeder import MOST
from tests.engine.rigs import BINS, TAPS, Rig


@pytest.mark.parametrize("window", [20, 1000, None])
def test_a_source_that_goes_on_beyond_its_window_is_stopped(
    tmp_path: Path, window: int | None
) -> None:
    async def scene() -> None:
        async with Rig(tmp_path) as rig:
            await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
            TAPS["in"].window = window
            BINS["out"].hangs = asyncio.Event()
            TAPS["in"].turn(*range(MOST - 1))
            await rig.settle()
            assert not TAPS["in"].is_paused
            TAPS["in"].turn(MOST)
            await rig.settle()
            assert TAPS["in"].is_paused is (window is not None)
            BINS["out"].hangs.set()
            await rig.settle()
            assert not TAPS["in"].is_paused
            assert len(TAPS["in"].acks) == len(BINS["out"].got) == MOST

    asyncio.run(scene())


def test_what_a_stalled_source_waits_for_is_written_at_once(tmp_path: Path) -> None:
    """However long the flow took to work it off, and whatever the age of a batch."""

    async def scene() -> None:
        async with Rig(tmp_path) as rig:
            slow = {"type": "bin", "config": {"batch": {"age": "1h"}}}
            await rig.deploy(
                {"in": "tap", "total": "total", "out": slow}, ["in -> total", "total -> out"]
            )
            TAPS["in"].window = 20
            TAPS["in"].turn(*([1] * 20_001))
            for _ in range(20):
                await rig.settle()
            assert len(TAPS["in"].acks) == len(BINS["out"].got) == 20_001

    asyncio.run(scene())
