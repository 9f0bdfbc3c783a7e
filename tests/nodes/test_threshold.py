"""The threshold node says once when a reading crosses its limit and once when it is over (R1)."""

import math
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.testing import NodeBench, ToldClock

SECOND = 1_000_000_000


def told(bench: NodeBench, *payloads: Any) -> str:
    """R for raised, c for cleared, a dot for nothing, for each payload in turn."""
    letters = ""
    for payload in payloads:
        out = bench.send(payload)
        letters += "R" if "raised" in out else "c" if "cleared" in out else "."
    return letters


@pytest.mark.parametrize(
    ("config", "readings", "expected"),
    [
        ({"above": 8}, (7, 8, 8.1, 9, 8, 8.1), ".." + "R" + "." + "c" + "R"),
        ({"above": 8, "hysteresis": 0.5}, (9, 8, 7.6, 7.5, 8, 8.1), "R..c.R"),
        ({"below": 2}, (3, 2, 1.9, 1, 2), "..R.c"),
        ({"below": 2, "hysteresis": 1}, (1, 2.9, 3, 2.5, 1), "R.c.R"),
        ({"below": -5, "hysteresis": 1}, (-6, -4.5, -4), "R.c"),
    ],
    ids=["above", "above, hysteresis", "below", "below, hysteresis", "below zero"],
)
def test_r1_it_raises_beyond_the_limit_and_clears_behind_the_hysteresis(
    config: dict[str, Any], readings: tuple[float, ...], expected: str
) -> None:
    assert told(NodeBench("threshold", config), *readings) == expected


def test_r1_the_message_that_leaves_is_the_reading_with_what_was_judged_in_meta() -> None:
    bench = NodeBench("threshold", {"field": "payload.t", "above": 8})
    payload = {"t": 9.1, "battery": 3.6}
    (raised,) = bench.send(payload, topic="a/b", meta={"qos": 1}, time=7)["raised"]
    assert raised.payload is payload
    assert (raised.topic, raised.time, raised.key) == ("a/b", 7, "dev-1")
    assert raised.meta == {"qos": 1, "active": True, "limit": 8, "value": 9.1}
    (cleared,) = bench.send({"t": 8})["cleared"]
    assert cleared.meta == {"active": False, "limit": 8, "value": 8}


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(-20, 20)), max_size=60),
    st.sampled_from([{"above": 3}, {"above": 3, "hysteresis": 4}, {"below": -3, "hysteresis": 2}]),
    st.sampled_from(["0s", "2s"]),
)
def test_r1_raised_and_cleared_alternate_for_every_key(
    readings: list[tuple[str, float]], config: dict[str, Any], hold: str
) -> None:
    bench = NodeBench("threshold", {**config, "hold": hold})
    said: dict[str, list[bool]] = {"a": [], "b": []}
    for key, value in readings:
        for out in (bench.send(value, key=key), bench.advance("1s")):
            for messages in out.values():
                for message in messages:
                    said[message.key].append(message.meta["active"])
    for answers in said.values():
        assert [len(list(run)) for _, run in groupby(answers)] == [1] * len(answers)
        assert answers[:1] in ([], [True])
    bench.advance("1m")
    assert bench.unsettled == 0


@pytest.mark.parametrize("payload", [None, "9", True, math.nan, math.inf, {"u": 9}], ids=str)
@pytest.mark.parametrize("hold", ["0s", "1m"])
def test_r1_what_is_no_finite_number_takes_the_error_route_and_changes_no_state(
    payload: Any, hold: str
) -> None:
    bench = NodeBench("threshold", {"field": "payload.t", "above": 8, "hold": hold})
    bench.send({"t": 9})
    before = (bench.state("dev-1").active, bench.state("dev-1").since)
    (failed,) = bench.send(payload if isinstance(payload, dict) else {"t": payload})["error"]
    assert failed.meta["error"]["slug"] in {"missing", "not-a-number"}
    assert (bench.state("dev-1").active, bench.state("dev-1").since) == before
    out = bench.advance("1m")
    assert ("raised" in out) is (hold == "1m")


# -- hold


def test_r1_hold_passes_on_the_monotonic_clock_and_the_last_reading_leaves() -> None:
    clock = ToldClock()
    bench = NodeBench("threshold", {"above": 8, "hold": "2m"}, clock=clock)
    assert told(bench, 9.1) == "."
    bench.advance("100s")
    assert told(bench, 9.3) == "."
    clock.set_wall(0)
    assert bench.advance("19.999s") == {}
    (raised,) = bench.advance("1ms")["raised"]
    assert (raised.payload, raised.meta["active"], raised.meta["value"]) == (9.3, True, 9.3)
    assert bench.filtered == 1
    assert bench.unsettled == 0


def test_r1_hold_passes_in_event_time_at_a_reading() -> None:
    bench = NodeBench("threshold", {"above": 8, "hold": "2m"})
    start = bench.clock.now()
    outs = [bench.send(9 + n, time=start + n * 60 * SECOND) for n in range(3)]
    assert [list(out) for out in outs] == [[], [], ["raised"]]
    assert outs[2]["raised"][0].payload == 11
    assert bench.state("dev-1").since == start
    assert bench.advance("10m") == {}
    assert (bench.filtered, bench.unsettled) == (2, 0)


def test_r1_a_reading_that_is_not_high_restarts_the_hold() -> None:
    bench = NodeBench("threshold", {"above": 8, "hysteresis": 2, "hold": "2m"})
    told(bench, 9)
    bench.advance("119s")
    assert told(bench, 8) == "."
    assert bench.advance("10s") == {}
    assert bench.unsettled == 0
    told(bench, 9)
    assert bench.advance("119s") == {}
    assert "raised" in bench.advance("1s")
    assert told(bench, 6) == "c"


def test_r1_a_reading_that_waits_keeps_its_acknowledgement_open() -> None:
    bench = NodeBench("threshold", {"above": 8, "hold": "2m"})
    told(bench, 9, 10)
    assert (bench.unsettled, bench.filtered) == (1, 1)
    bench.advance("2m")
    assert (bench.unsettled, bench.fates["delivered"], bench.fates["filtered"]) == (0, 1, 1)


@pytest.mark.parametrize("down", ["30s", "10m"])
def test_r1_a_hold_goes_on_after_a_restart(down: str) -> None:
    bench = NodeBench("threshold", {"above": 8, "hold": "2m"})
    told(bench, 9)
    bench.advance("60s")
    bench.context.cancel_timers()
    bench.advance(down)
    bench.restart()
    if down == "30s":
        assert bench.advance("29s") == {}
    assert bench.advance("1s")["raised"][0].payload == 9
    assert bench.unacknowledged == 0


def test_f61_a_restart_with_an_earlier_clock_holds_no_longer_than_the_hold() -> None:
    clock = ToldClock()
    bench = NodeBench("threshold", {"above": 8, "hold": "2m"}, clock=clock)
    told(bench, 9)
    clock.set_wall(0)
    bench.restart()
    assert "raised" in bench.advance("2m")


def test_r1_a_restart_says_nothing_twice() -> None:
    bench = NodeBench("threshold", {"above": 8})
    assert told(bench, 9) == "R"
    bench.restart()
    assert told(bench, 9, 8, 7) == ".c."


def test_r10_devices_and_one_state_for_all() -> None:
    readings = [Message(9, key="a"), Message(9, key="b"), Message(7, key="a")]
    each = NodeBench("threshold", {"above": 8}).send_many([m.copy() for m in readings])
    assert {name: len(out) for name, out in each.items()} == {"raised": 2, "cleared": 1}
    bench = NodeBench("threshold", {"above": 8, "key": "''", "hold": "1s"})
    assert bench.send_many(readings[:2]) == {}
    assert [m.key for m in bench.advance("1s")["raised"]] == ["b"]


def test_r10_a_key_made_by_an_expression_holds_too() -> None:
    bench = NodeBench(
        "threshold", {"field": "payload.t", "above": 8, "hold": "1s", "key": "payload.n"}
    )
    bench.send_many([Message({"t": 9, "n": 7.0}), Message({"t": 9, "n": "x"})])
    assert len(bench.advance("1s")["raised"]) == 2
    assert bench.state("7").active
    assert bench.unsettled == 0


def test_r1_neither_or_both_limits_is_a_finding() -> None:
    for config in ({}, {"above": 1, "below": 2}):
        with pytest.raises(FindingsError, match="exactly one"):
            NodeBench("threshold", config)


@pytest.mark.parametrize("wall", [0, 2_147_483_647, 4_291_747_200])
def test_f60_f61_a_hold_is_no_longer_and_no_shorter_for_a_clock_that_is_set(wall: int) -> None:
    bench = NodeBench("threshold", {"above": 8, "hold": "2m"})
    bench.send(9)
    bench.advance("60s")
    bench.told.trust.listeners[:] = [bench.node.clock_set]
    bench.told.set_wall(wall * 1_000_000_000)
    bench.told.trust.look()
    for _ in range(5):
        assert bench.send(9) == {}
        assert bench.advance("10s") == {}
    assert "raised" in bench.advance("10s")


def test_f60_a_hold_of_times_that_devices_tell_takes_no_notice_of_the_boxs_clock() -> None:
    bench = NodeBench("threshold", {"above": 8, "hold": "2m"})
    start = bench.clock.now()
    bench.send(9, time=start)
    bench.advance("60s")
    bench.told.trust.listeners[:] = [bench.node.clock_set]
    bench.told.set_wall(start + 3600 * 1_000_000_000)
    bench.told.trust.look()
    assert bench.send(9, time=start + 60 * 1_000_000_000) == {}
    assert "raised" in bench.send(9, time=start + 120 * 1_000_000_000)
