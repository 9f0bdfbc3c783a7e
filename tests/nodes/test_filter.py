"""The filters let a reading pass or say why not, and leave what passes untouched (R20-R22, R44)."""

import math
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.nodes.filter import Duplicate, fingerprint
from flowengine.testing import NodeBench, ToldClock

SECOND = 1_000_000_000
READINGS = st.lists(
    st.one_of(st.floats(-1e6, 1e6), st.integers(-1000, 1000)), min_size=1, max_size=60
)


def names(config: dict[str, Any], node_type: str) -> list[str]:
    """The slugs that `check` finds in a config."""
    with pytest.raises(FindingsError) as found:
        NodeBench(node_type, config)
    return [finding.slug for finding in found.value.findings]


def judged(bench: NodeBench, *payloads: Any, every: str = "1s") -> list[str]:
    """For each payload the name of the output it left by, `""` for none."""
    found = []
    for payload in payloads:
        out = bench.send(payload)
        found.append(next(iter(out), ""))
        bench.advance(every)
    return found


# -- filter.range (R22)


@pytest.mark.parametrize(
    ("payload", "reason", "limit"),
    [
        (-0.5, "below-min", 0),
        (50.5, "above-max", 50),
        (10**400, "above-max", 50),
        (math.inf, "not-a-number", None),
        (math.nan, "not-a-number", None),
        (True, "not-a-number", None),
        ("21", "not-a-number", None),
        (None, "not-a-number", None),
    ],
    ids=["below", "above", "a huge integer", "infinity", "NaN", "true", "text", "null"],
)
def test_r6_r22_range_refuses_and_says_why(payload: Any, reason: str, limit: Any) -> None:
    out = NodeBench("filter.range", {"min": 0, "max": 50}, node_id="sane").send(payload)
    (refused,) = out["refused"]
    found = refused.meta["refused"]
    assert (found["node"], found["reason"], found["limit"]) == ("sane", reason, limit)
    assert refused.payload is payload


def test_r6_range_refuses_an_absent_field_as_missing() -> None:
    bench = NodeBench("filter.range", {"field": "payload.t", "max": 1})
    (refused,) = bench.send({"u": 1})["refused"]
    assert refused.meta["refused"] == {
        "node": "node",
        "reason": "missing",
        "value": None,
        "limit": None,
    }


@pytest.mark.parametrize("payload", [0, 0.0, 50, 25.5], ids=str)
def test_r22_range_limits_are_inclusive(payload: float) -> None:
    assert "passed" in NodeBench("filter.range", {"min": 0, "max": 50}).send(payload)


def test_r44_range_leaves_the_message_as_it_was() -> None:
    message = Message({"t": 1}, "a/b", 5, "dev-1", {"qos": 1})
    (passed,) = NodeBench("filter.range", {"field": "payload.t", "max": 2}).send_many([message])[
        "passed"
    ]
    assert passed is message
    assert (passed.topic, passed.time, passed.key, passed.meta) == ("a/b", 5, "dev-1", {"qos": 1})


@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())))
def test_range_judges_a_batch_as_it_judges_one(payloads: list[Any]) -> None:
    bench = NodeBench("filter.range", {"min": -5, "max": 5})
    batch = bench.send_many([Message(payload) for payload in payloads])
    alone: dict[str, list[Any]] = {}
    for payload in payloads:
        for name, message in bench.node.receive(Message(payload)).items():
            alone.setdefault(name, []).append(message)
    assert {n: [repr(m.payload) for m in ms] for n, ms in batch.items()} == {
        n: [repr(m.payload) for m in ms] for n, ms in alone.items()
    }
    assert [m.meta["refused"]["reason"] for m in batch.get("refused", [])] == [
        m.meta["refused"]["reason"] for m in alone.get("refused", [])
    ]
    assert bench.unsettled == 0


def test_r22_range_without_a_limit_or_with_crossed_ones_is_a_finding() -> None:
    assert names({}, "filter.range") == ["bad-value"]
    assert names({"min": 2, "max": 1}, "filter.range") == ["limits-crossed"]


# -- filter.outlier (R20)


def fits(before: list[float], value: float, method: str, limit: float, least: float) -> bool:
    """R20 word for word, by the standard library's statistics."""
    if len(before) < 5:
        return True
    if method == "mad":
        middle = statistics.median(before)
        spread = 1.4826 * statistics.median(abs(x - middle) for x in before)
    else:
        middle, spread = statistics.fmean(before), statistics.stdev(before)
    spread = max(spread, least)
    return spread == 0 or abs(value - middle) <= limit * spread


@pytest.mark.parametrize("method", ["mad", "zscore"])
@given(READINGS, st.sampled_from([0.0, 0.5]))
def test_r20_outliers_are_those_of_the_definition(
    method: str, readings: list[float], least: float
) -> None:
    limit = 3.5 if method == "mad" else 3.0
    bench = NodeBench("filter.outlier", {"method": method, "window": 9, "min_spread": least})
    for index, value in enumerate(readings):
        before = [float(x) for x in readings[max(0, index - 9) : index]]
        if before:
            distance = abs(value - statistics.median(before))
            # at the very limit the two may differ by rounding
            edge = [fits(before, value + nudge, method, limit, least) for nudge in (-1e-6, 1e-6)]
            if edge[0] is not edge[1] or distance < 1e-9:
                bench.send(value)
                continue
        expected = "passed" if fits(before, float(value), method, limit, least) else "refused"
        assert list(bench.send(value)) == [expected]


def test_r20_a_true_step_is_accepted_after_half_a_window() -> None:
    bench = NodeBench("filter.outlier", {"window": 20})
    noise = [0.1, -0.1] * 10
    before = judged(bench, *(20 + n for n in noise))
    after = judged(bench, *(30 + n for n in noise))
    assert before == ["passed"] * 20
    assert after[:9] == ["refused"] * 9
    assert after[11:] == ["passed"] * 9


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ([(0, 10), (1, 11), (2, 13.1), (3, 13)], "ppRp"),
        ([(0, 10), (0, 10), (0, 11)], "ppR"),
        ([(5, 10), (4, 10), (4, 9)], "ppR"),
        ([(0, 10), (1, 99), (2, 12)], "pRp"),
    ],
    ids=["two a second", "no time went by", "time went back", "against the last passed one"],
)
def test_r20_rate_is_per_second_of_event_time(
    readings: list[tuple[int, float]], expected: str
) -> None:
    bench = NodeBench("filter.outlier", {"method": "rate", "limit": 2})
    outs = [bench.send(value, time=at * SECOND) for at, value in readings]
    assert "".join("p" if "passed" in out else "R" for out in outs) == expected
    assert all(
        m.meta["refused"]["reason"] == "too-fast" for o in outs for m in o.get("refused", [])
    )


def test_r20_a_quiet_series_is_never_judged_unless_a_least_spread_is_given() -> None:
    assert judged(NodeBench("filter.outlier"), *[5.0] * 6, 500.0)[-1] == "passed"
    assert (
        judged(NodeBench("filter.outlier", {"min_spread": 1}), *[5.0] * 6, 500.0)[-1] == "refused"
    )


def test_r10_r20_every_device_has_readings_of_its_own() -> None:
    bench = NodeBench("filter.outlier", {"min_spread": 0.1})
    for _ in range(6):
        bench.send(5, key="cold")
        bench.send(500, key="hot")
    assert "passed" in bench.send(500, key="hot")
    assert "refused" in bench.send(500, key="cold")


def test_r20_what_is_no_number_is_refused_and_not_remembered() -> None:
    bench = NodeBench("filter.outlier")
    assert judged(bench, "x", None, math.nan, 10**400) == ["refused"] * 4
    assert bench.state("dev-1").values == []


def test_r20_the_readings_survive_a_restart() -> None:
    bench = NodeBench("filter.outlier", {"min_spread": 0.1})
    judged(bench, *[5.0] * 8)
    bench.restart()
    assert judged(bench, 500.0, 5.0) == ["refused", "passed"]


def test_r20_settings_that_judge_nothing_are_findings() -> None:
    assert names({"method": "rate"}, "filter.outlier") == ["bad-value"]
    assert names({"window": 3}, "filter.outlier") == ["limits-crossed"]


# -- filter.deadband (R21)


@given(
    st.lists(st.floats(-100, 100), min_size=1),
    st.floats(0, 20),
    st.sampled_from(["absolute", "percent"]),
)
def test_r21_deadband_passes_just_what_differs_enough_from_the_last_passed(
    readings: list[float], band: float, measure: str
) -> None:
    bench = NodeBench("filter.deadband", {measure: band})
    last: float | None = None
    for value in readings:
        passed = "passed" in bench.send(value)
        width = band if measure == "absolute" else abs(last or 0.0) * (band / 100)
        assert passed is (last is None or abs(value - last) > width)
        last = value if passed else last
    assert bench.unsettled == 0


def test_r21_percent_of_zero_lets_any_change_pass() -> None:
    assert judged(NodeBench("filter.deadband", {"percent": 50}), 0, 0.001, 0) == ["passed"] * 3
    assert judged(NodeBench("filter.deadband", {"percent": 50}), 0, 0) == ["passed", ""]


def test_r21_after_max_silence_of_event_time_a_reading_passes_anyway() -> None:
    bench = NodeBench("filter.deadband", {"absolute": 1, "max_silence": "10s"})
    times = [0, 9, 10, 19, 20]
    outs = [bool(bench.send(5, time=at * SECOND)) for at in times]
    assert outs == [True, False, True, False, True]


def test_r21_held_back_messages_count_as_filtered_and_non_numbers_as_errors() -> None:
    bench = NodeBench("filter.deadband", {"absolute": 1})
    bench.send_many([Message(1, key="a"), Message(1, key="a"), Message("x", key="a")])
    assert bench.filtered == 1
    assert bench.send("x")["error"][0].meta["error"]["slug"] == "not-a-number"


def test_r21_both_or_neither_band_is_a_finding() -> None:
    assert names({}, "filter.deadband") == ["bad-value"]
    assert names({"absolute": 1, "percent": 1}, "filter.deadband") == ["bad-value"]


# -- filter.duplicate (R22)


def test_r22_the_first_passes_and_a_repeat_does_not_extend_the_time() -> None:
    bench = NodeBench("filter.duplicate", {"within": "10s"})
    assert judged(bench, "a", "a", "b", "a", every="4s") == ["passed", "", "passed", "passed"]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5)), max_size=40))
def test_r22_duplicates_are_those_of_the_definition(readings: list[tuple[int, int]]) -> None:
    bench = NodeBench("filter.duplicate", {"within": "10s"})
    first: dict[int, int] = {}
    for wait, value in readings:
        bench.advance(wait * SECOND)
        now = bench.clock.now()
        is_repeat = value in first and now - first[value] < 10 * SECOND
        if not is_repeat:
            first[value] = now
        assert bool(bench.send(value)) is not is_repeat
    state = bench.state("dev-1")
    if state is not None:
        assert list(state.seen) == state.order[state.head :]


def test_r22_at_most_so_many_are_remembered_and_the_oldest_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Duplicate.MOST == 100_000
    monkeypatch.setattr(Duplicate, "MOST", 3)
    bench = NodeBench("filter.duplicate")
    assert judged(bench, 1, 2, 3, 3, 4, 2, 1) == ["passed"] * 3 + ["", "passed", "", "passed"]
    assert len(bench.state("dev-1").seen) == 3


def test_f60_a_jump_of_the_wall_clock_neither_forgets_nor_keeps_longer() -> None:
    clock = ToldClock()
    bench = NodeBench("filter.duplicate", {"within": "10s"}, clock=clock)
    bench.send("a")
    clock.set_wall(0)
    assert judged(bench, "a", every="10s") == [""]
    clock.set_wall(4_000_000_000 * SECOND)
    assert judged(bench, "a") == ["passed"]


def test_r22_what_was_seen_survives_a_restart() -> None:
    bench = NodeBench("filter.duplicate", {"within": "10s"})
    bench.send("a")
    bench.advance("4s")
    bench.restart()
    assert judged(bench, "a", "a", every="6s") == ["", "passed"]


def test_f61_a_restart_with_an_earlier_clock_forgets_within_the_time_all_the_same() -> None:
    clock = ToldClock()
    bench = NodeBench("filter.duplicate", {"within": "10s"}, clock=clock)
    bench.send("a")
    clock.set_wall(0)
    bench.restart()
    assert judged(bench, "a", "a", every="10s") == ["", "passed"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (21, 21.0, True),
        (21, "21", False),
        (1, True, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ([1, 2], [2, 1], False),
        ("x", b"x", False),
        (None, "null", False),
    ],
    ids=["int and float", "number and text", "1 and true", "order", "list", "bytes", "null"],
)
def test_equal_values_have_equal_fingerprints(one: Any, other: Any, same: bool) -> None:
    assert (fingerprint(one) == fingerprint(other)) is same
