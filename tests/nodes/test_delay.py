"""The delay node passes every message so much later, in order, and loses none (R24)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.testing import NodeBench, ToldClock

SECOND = 1_000_000_000


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from("ab")), max_size=40))
def test_r24_every_message_leaves_after_its_time(sent: list[tuple[int, str]]) -> None:
    bench = NodeBench("delay", {"for": "5s"})
    left: list[tuple[int, int]] = []
    at = 0

    def pass_seconds(number: int) -> None:
        nonlocal at
        for _ in range(number):
            at += 1
            left.extend((at, m.payload) for m in bench.advance("1s").get("out", []))

    for wait, key in sent:
        pass_seconds(wait)
        bench.send(at, key=key)
    pass_seconds(5)
    assert sorted(came + 5 for came in [payload for _, payload in left]) == [a for a, _ in left]
    assert len(left) == len(sent)
    assert (bench.unsettled, bench.filtered) == (0, 0)


def test_r24_order_is_kept_and_the_message_is_untouched() -> None:
    bench = NodeBench("delay", {"for": "5s"})
    bench.send_many([Message({"n": n}, "t", n, "a", {"qos": n}) for n in range(5)])
    out = bench.advance("5s")["out"]
    assert [(m.payload, m.topic, m.time, m.meta) for m in out] == [
        ({"n": n}, "t", n, {"qos": n}) for n in range(5)
    ]


def test_r24_each_acknowledgement_waits_for_its_own_message() -> None:
    bench = NodeBench("delay", {"for": "5s"})
    bench.send(1)
    bench.advance("3s")
    bench.send(2)
    assert bench.unsettled == 2
    bench.advance("2s")
    assert (bench.unsettled, bench.fates["delivered"]) == (1, 1)


@pytest.mark.parametrize("down", ["0s", "2s", "1h"])
def test_r24_messages_that_wait_survive_a_restart(down: str) -> None:
    bench = NodeBench("delay", {"for": "5s"})
    bench.send(1)
    bench.advance("1s")
    bench.send(2)
    bench.advance("1s")
    bench.context.cancel_timers()
    bench.advance(down)
    bench.restart()
    assert [m.payload for m in bench.advance("4s")["out"]] == [1, 2]
    assert bench.unacknowledged == 0


def test_f61_a_restart_with_an_earlier_clock_waits_no_longer_than_the_time() -> None:
    clock = ToldClock()
    bench = NodeBench("delay", {"for": "5s"}, clock=clock)
    bench.send(1)
    clock.set_wall(0)
    bench.restart()
    assert [m.payload for m in bench.advance("5s")["out"]] == [1]


def test_f82_more_than_capacity_takes_the_error_route() -> None:
    bench = NodeBench("delay", {"for": "5s", "capacity": 3})
    out = bench.send_many([Message(n, key=str(n)) for n in range(5)])
    assert [m.meta["error"]["slug"] for m in out["error"]] == ["full", "full"]
    assert len(bench.advance("5s")["out"]) == 3
    assert bench.send(9) == {}


def test_f81_it_is_a_boundary_so_a_loop_may_lead_through_it() -> None:
    assert NodeBench("delay", {"for": "1s"}).type.boundary
