"""The throttle node never passes more than so many messages of a key in so much time (R24)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.testing import NodeBench, ToldClock

SECOND = 1_000_000_000
WAITS = st.lists(st.integers(0, 7), min_size=1, max_size=60)


@given(WAITS, st.integers(1, 4), st.sampled_from(["drop", "latest"]))
def test_r24_it_never_passes_more_than_count_in_any_stretch(
    waits: list[int], count: int, excess: str
) -> None:
    bench = NodeBench("throttle", {"count": count, "per": "10s", "excess": excess})
    passed: list[int] = []
    start = bench.clock.monotonic()
    for wait in waits:
        for _ in range(wait):
            out = bench.advance("1s")
            passed += [bench.clock.monotonic() - start] * len(out.get("out", []))
        out = bench.send(wait)
        passed += [bench.clock.monotonic() - start] * len(out.get("out", []))
    for at in passed:
        assert sum(at <= other < at + 10 * SECOND for other in passed) <= count
    bench.advance("10s")
    assert bench.unsettled == 0


@given(WAITS, st.integers(1, 4))
def test_r24_it_drops_only_what_is_too_much(waits: list[int], count: int) -> None:
    bench = NodeBench("throttle", {"count": count, "per": "10s"})
    now = 0
    passed: list[int] = []
    for wait in waits:
        bench.advance(wait * SECOND)
        now += wait
        is_free = sum(now - other < 10 for other in passed) < count
        assert ("out" in bench.send(0)) is is_free
        passed += [now] * is_free


def test_r24_the_rest_counts_as_filtered() -> None:
    bench = NodeBench("throttle", {"count": 2, "per": "10s"})
    out = bench.send_many([Message(n, key="a") for n in range(5)])
    assert [m.payload for m in out["out"]] == [0, 1]
    assert (bench.filtered, bench.unsettled) == (3, 0)


def test_r24_the_latest_is_sent_when_it_is_allowed() -> None:
    bench = NodeBench("throttle", {"per": "10s", "excess": "latest"})
    bench.send_many([Message(n, key="a") for n in range(4)])
    assert (bench.unsettled, bench.filtered) == (1, 2)
    assert bench.advance("9s") == {}
    assert [m.payload for m in bench.advance("1s")["out"]] == [3]
    assert bench.send(9, key="a") == {}
    assert [m.payload for m in bench.advance("10s")["out"]] == [9]
    assert bench.unsettled == 0


@pytest.mark.parametrize("down", ["0s", "7s", "1h"])
def test_r24_what_waits_and_what_passed_survive_a_restart(down: str) -> None:
    bench = NodeBench("throttle", {"per": "10s", "excess": "latest"})
    bench.send(1)
    bench.advance("2s")
    bench.send(2)
    bench.context.cancel_timers()
    bench.advance(down)
    bench.restart()
    if down == "0s":
        assert bench.send(3) == {}
        assert bench.advance("7s") == {}
    assert len(bench.advance("1s").get("out", [])) == 1
    assert bench.unacknowledged == 0


def test_f61_a_restart_with_an_earlier_clock_blocks_no_longer_than_per() -> None:
    clock = ToldClock()
    bench = NodeBench("throttle", {"per": "10s"}, clock=clock)
    bench.send(1)
    clock.set_wall(0)
    bench.restart()
    assert bench.send(2) == {}
    bench.advance("10s")
    assert "out" in bench.send(3)


def test_r10_every_key_has_its_own_count() -> None:
    bench = NodeBench("throttle", {"per": "10s"})
    out = bench.send_many([Message(1, key="a"), Message(2, key="b"), Message(3, key="a")])
    assert [m.payload for m in out["out"]] == [1, 2]
