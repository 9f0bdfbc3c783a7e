"""A backlog is written no faster than it was said, and never sooner than the far side asked."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.clock import SECOND, ToldClock
from flowengine.engine.pace import Pace
from flowengine.node import SpoolConfig
from tests.engine.test_sink import Rig, play


class Timed(Rig):
    """Notes when its far side is asked to write how many."""

    def __init__(self, config: dict[str, Any], folder: Path | None) -> None:
        super().__init__(config, folder)
        self.tries: list[tuple[float, int]] = []
        plain = self.shelf.write

        async def write(records: list[Any]) -> None:
            self.tries.append((self.clock.monotonic() / SECOND, len(records)))
            await plain(records)

        self.shelf.write = write  # type: ignore[method-assign]


def gone(rig: Timed, number: int) -> Any:
    """Store so many records while the far side is away, then let it come back."""

    async def story(_: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(*range(number))
        await rig.settle()
        rig.shelf.is_up = True
        rig.tries.clear()
        await rig.pass_time(600 * SECOND)

    return story


@pytest.mark.parametrize(
    ("rate", "size", "batches"),
    [(100, 5000, 100), (100, 25, 25), (1, 5000, 1), (5000, 100, 100)],
)
def test_f22_a_backlog_drains_at_the_set_rate(
    tmp_path: Path, rate: int, size: int, batches: int
) -> None:
    number = 300
    spool = {"drain_rate": rate}
    rig = Timed({"batch": {"age": "0s", "size": size}, "spool": spool}, tmp_path)
    play(rig, gone(rig, number))
    assert rig.shelf.stored == list(range(number))
    assert {size for _, size in rig.tries} == {batches}
    first, last = rig.tries[0][0], rig.tries[-1][0]
    assert last - first == pytest.approx((number - batches) / rate, abs=0.001)


def test_f22_without_a_rate_a_backlog_drains_as_fast_as_it_is_taken(tmp_path: Path) -> None:
    rig = Timed({"batch": {"age": "0s", "size": 100}}, tmp_path)

    async def story(_: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(*range(10_000))
        await rig.settle()
        rig.shelf.is_up = True
        while not rig.shelf.stored:
            rig.clock.step(rig.clock.monotonic() + SECOND)
            await rig.settle()
        back = rig.clock.monotonic()
        for __ in range(100):
            await rig.settle()
        assert rig.shelf.stored == list(range(10_000))
        assert rig.clock.monotonic() == back

    play(rig, story)


def test_live_data_is_not_held_up_by_the_rate_where_it_goes_first(tmp_path: Path) -> None:
    settings = {"batch": {"age": "0s"}, "spool": {"drain_rate": 1}, "order": "live-first"}
    rig = Timed(settings, tmp_path)

    async def story(_: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(*range(60))
        await rig.settle()
        rig.shelf.is_up = True
        await rig.pass_time(5 * SECOND)
        rig.put("live")
        await rig.settle()
        assert rig.shelf.stored[-1] == "live"
        assert 1 <= len(rig.shelf.stored) <= 6
        await rig.pass_time(60 * SECOND)
        assert len(rig.shelf.stored) == 61

    play(rig, story)


def test_a_stop_does_not_wait_for_the_rate(tmp_path: Path) -> None:
    rig = Timed({"batch": {"age": "0s"}, "spool": {"drain_rate": 1}}, tmp_path)

    async def story(_: Rig) -> None:
        rig.shelf.is_up = False
        rig.put(*range(1000))
        await rig.settle()
        rig.shelf.is_up = True
        await rig.pass_time(3 * SECOND)

    play(rig, story)  # fails if the runner has not ended when told
    assert 0 < len(rig.shelf.stored) < 10
    assert rig.acked == 1000


@given(
    st.integers(1, 1000),
    st.integers(1, 1000),
    st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(1, 1000)), max_size=30),
)
def test_no_second_sees_more_than_the_rate_and_one_batch(
    rate: int, size: int, steps: list[tuple[int, int]]
) -> None:
    clock = ToldClock()
    pace = Pace(rate, size, clock)
    spent: list[tuple[int, int]] = []
    for rest, wanted in steps:
        clock.advance(rest)
        clock.advance(pace.pause())
        records = min(wanted, pace.batch)
        spent.append((clock.monotonic(), records))
        pace.spend(records)
    for index, (start, _) in enumerate(spent):
        within = [records for at, records in spent[index:] if at < start + SECOND]
        assert sum(within) <= rate + pace.batch


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "10"])
def test_a_rate_is_a_whole_number_of_records(wrong: Any) -> None:
    with pytest.raises(ValueError, match="drain_rate"):
        SpoolConfig.model_validate({"drain_rate": wrong})


# --- when to try again


@pytest.mark.parametrize("has_store", [True, False], ids=["stored", "held"])
@pytest.mark.parametrize("asked", [1.0, 30.0, 3600.0])
def test_f43_never_sooner_than_asked_and_not_all_at_once(
    tmp_path: Path, has_store: bool, asked: float
) -> None:
    waits: list[float] = []
    for seed in range(20):
        folder = tmp_path / str(seed) if has_store else None
        rig = Timed({"batch": {"age": "0s"}, "retry": {"first": "2s"}}, folder)
        rig.clock.random.seed(seed)

        async def story(_: Rig, rig: Timed = rig) -> None:
            rig.shelf.is_up, rig.shelf.retry_after = False, asked
            rig.put(1)
            await rig.pass_time(int((asked + 3) * SECOND))

        play(rig, story)
        waits.append(rig.tries[1][0] - rig.tries[0][0])
    assert min(waits) >= asked
    assert max(waits) <= asked + 2
    assert len({round(wait, 3) for wait in waits}) > 10


def test_f43_a_far_side_that_asks_for_no_wait_is_not_stormed(tmp_path: Path) -> None:
    rig = Timed({"batch": {"age": "0s"}}, tmp_path)

    async def story(_: Rig) -> None:
        rig.shelf.is_up, rig.shelf.retry_after = False, 0.0
        rig.put(1)
        await asyncio.wait_for(rig.pass_time(60 * SECOND), 20)

    play(rig, story)
    assert 3 < len(rig.tries) < 10
