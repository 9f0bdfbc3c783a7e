"""The debounce node passes the newest message of a key once it has been quiet (R24)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.testing import NodeBench, ToldClock

SECOND = 1_000_000_000


def test_r24_the_newest_leaves_after_the_quiet_and_the_others_are_filtered() -> None:
    bench = NodeBench("debounce", {"for": "5s"})
    for value in (1, 2, 3):
        assert bench.send(value) == {}
        assert bench.advance("4s") == {}
    (out,) = bench.advance("1s")["out"]
    assert (out.payload, bench.filtered, bench.unsettled) == (3, 2, 0)
    assert bench.advance("1h") == {}


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from("ab")), max_size=40))
def test_r24_what_leaves_is_what_was_followed_by_quiet(sent: list[tuple[int, str]]) -> None:
    bench = NodeBench("debounce", {"for": "5s"})
    at, moments = 0, []
    left: list[tuple[str, int]] = []
    for wait, key in sent:
        left += [(m.key, m.payload) for m in bench.advance(wait * SECOND).get("out", [])]
        at += wait
        bench.send(at, key=key)
        moments.append((at, key))
    left += [(m.key, m.payload) for m in bench.advance("5s").get("out", [])]
    expected = [
        (key, at)
        for index, (at, key) in enumerate(moments)
        if not any(at <= later < at + 5 and other == key for later, other in moments[index + 1 :])
    ]
    assert sorted(left) == sorted(expected)
    assert bench.unsettled == 0


def test_f60_event_time_and_the_wall_clock_have_no_part_in_it() -> None:
    clock = ToldClock()
    bench = NodeBench("debounce", {"for": "5s"}, clock=clock)
    bench.send(1, time=0)
    clock.set_wall(4_000_000_000 * SECOND)
    assert bench.advance("4s") == {}
    assert [m.time for m in bench.advance("1s")["out"]] == [0]


def test_r24_a_message_that_waits_keeps_its_acknowledgement_open() -> None:
    bench = NodeBench("debounce", {"for": "5s"})
    bench.send(1)
    bench.send(2)
    assert (bench.unsettled, bench.unacknowledged) == (1, 1)


@pytest.mark.parametrize(("down", "rest"), [("0s", "3s"), ("2s", "1s"), ("1h", "0s")])
def test_r24_a_message_that_waits_survives_a_restart(down: str, rest: str) -> None:
    bench = NodeBench("debounce", {"for": "5s"})
    bench.send({"a": [1, b"x"]}, topic="t", meta={"qos": 1})
    bench.advance("2s")
    bench.context.cancel_timers()
    bench.advance(down)
    bench.restart()
    (out,) = bench.advance(rest)["out"]
    assert (out.payload, out.topic, out.meta) == ({"a": [1, b"x"]}, "t", {"qos": 1})
    assert bench.unacknowledged == 0


def test_f61_a_restart_with_an_earlier_clock_waits_no_longer_than_the_time() -> None:
    clock = ToldClock()
    bench = NodeBench("debounce", {"for": "5s"}, clock=clock)
    bench.send(1)
    clock.set_wall(0)
    bench.restart()
    assert [m.payload for m in bench.advance("5s")["out"]] == [1]


def test_r24_a_message_that_is_due_leaves_though_the_timer_comes_after_the_next_one() -> None:
    bench = NodeBench("debounce", {"for": "5s"})
    bench.send(1)
    bench.context.cancel_timers()  # a busy loop that takes messages before timers
    bench.advance("5s")
    assert [m.payload for m in bench.send(2)["out"]] == [1]
    assert (bench.unsettled, bench.filtered) == (1, 0)


def test_r10_every_key_waits_for_itself() -> None:
    bench = NodeBench("debounce", {"for": "5s"})
    bench.send_many([Message(1, key="a"), Message(2, key="b")])
    bench.advance("3s")
    bench.send(3, key="a")
    assert [m.payload for m in bench.advance("2s")["out"]] == [2]
    assert [m.payload for m in bench.advance("3s")["out"]] == [3]


def test_no_time_at_all_is_a_finding() -> None:
    with pytest.raises(FindingsError) as found:
        NodeBench("debounce", {"for": "0s"})
    assert found.value.findings[0].slug == "bad-duration"
