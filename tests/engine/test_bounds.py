"""A source is let in no further than the flow can follow, and what it waits for is hurried (P6)."""

import asyncio
from pathlib import Path

import pytest

from flowengine.engine import feeder
from tests.engine.rigs import BINS, TAPS, Rig


@pytest.mark.parametrize(
    ("window", "most"), [(20, 500), (400, 800), (None, 1000)], ids=["few", "many", "does not wait"]
)
def test_a_source_that_goes_on_beyond_its_window_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int | None, most: int
) -> None:
    monkeypatch.setattr(feeder, "MOST", 500)

    async def scene() -> None:
        async with Rig(tmp_path) as rig:
            await rig.deploy({"in": "tap", "out": "bin"}, ["in -> out"])
            TAPS["in"].window = window
            BINS["out"].hangs = asyncio.Event()
            TAPS["in"].turn(*range(most - 1))
            await rig.settle()
            assert not TAPS["in"].is_paused
            TAPS["in"].turn(most)
            await rig.settle()
            assert TAPS["in"].is_paused is (window is not None)
            BINS["out"].hangs.set()
            await rig.settle()
            assert not TAPS["in"].is_paused
            assert len(TAPS["in"].acks) == len(BINS["out"].got) == most

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
