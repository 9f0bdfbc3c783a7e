"""Aggregates equal a plain recomputation, in any order and however they are merged (R3)."""

import math
import statistics
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.nodes.robust import mean_and_spread, median_and_spread
from flowengine.nodes.window.aggregate import FUNCTIONS, Tally, adder, merge, number_in, result

POINTS = st.lists(
    st.tuples(st.integers(0, 10**9), st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6))),
    max_size=50,
    unique_by=lambda point: point[0],
)


def naive(points: list[tuple[int, float]], function: str) -> float | None:
    """Each function of R3 by the standard library."""
    values = [value for _, value in sorted(points)]
    if function == "count":
        return len(values)
    if not values or (function == "stddev" and len(values) < 2):
        return None
    by_hand: dict[str, Any] = {
        "mean": statistics.fmean,
        "min": min,
        "max": max,
        "sum": math.fsum,
        "first": lambda v: v[0],
        "last": lambda v: v[-1],
        "median": statistics.median,
        "p95": _p95,
        "stddev": statistics.stdev,
    }
    return float(by_hand[function](values))


def _p95(values: list[float]) -> float:
    """numpy.percentile(values, 95), from its definition."""
    ordered = sorted(values)
    whole, part = divmod(95 * (len(ordered) - 1), 100)
    if not part:
        return ordered[whole]
    return ordered[whole] + (ordered[whole + 1] - ordered[whole]) * part / 100


def tallied(points: list[tuple[int, float]], functions: tuple[str, ...] = FUNCTIONS) -> Tally:
    """The tally of some points."""
    tally, add = Tally(), adder(functions)
    for time, value in points:
        add(tally, value, time)
    return tally


def agrees(tally: Tally, points: list[tuple[int, float]], function: str) -> bool:
    """Whether a function says what a plain recomputation says."""
    got, wanted = result(tally, function), naive(points, function)
    if got is None or wanted is None:
        return got is wanted
    return math.isclose(got, wanted, rel_tol=1e-9, abs_tol=1e-6)


@given(POINTS, st.sampled_from(FUNCTIONS))
def test_r3_one_by_one(points: list[tuple[int, float]], function: str) -> None:
    assert agrees(tallied(points, (function,)), points, function)


@given(POINTS, st.integers(0, 50))
def test_r3_two_parts_merged_are_the_whole(points: list[tuple[int, float]], cut: int) -> None:
    left, right = tallied(points[:cut]), tallied(points[cut:])
    merge(left, right)
    assert all(agrees(left, points, function) for function in FUNCTIONS)


@given(POINTS)
def test_r3_a_checkpoint_holds_it(points: list[tuple[int, float]]) -> None:
    tally = tallied(points)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(tally), type=Tally)
    assert [result(again, f) for f in FUNCTIONS] == [result(tally, f) for f in FUNCTIONS]


def test_r3_the_memory_of_all_but_median_and_p95_is_bounded() -> None:
    bounded = tuple(f for f in FUNCTIONS if f not in {"median", "p95"})
    small, large = (tallied([(n, n) for n in range(size)], bounded) for size in (10, 10_000))
    sizes = [len(msgspec.msgpack.encode(tally)) for tally in (small, large)]
    assert sizes[1] < sizes[0] + 40
    assert len(tallied([(n, n) for n in range(100)], ("p95",)).values) == 100


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1),
        (1.5, 1.5),
        (2**60, float(2**60)),
        (True, None),
        ("1", None),
        (None, None),
        (math.nan, None),
        (-math.inf, None),
        (10**400, None),
        ({}, None),
    ],
    ids=repr,
)
def test_r3_what_is_no_finite_number_is_left_out(value: Any, number: float | None) -> None:
    assert number_in(value) == number
    tally = tallied([(0, value)], ("sum",))
    assert result(tally, "sum") == number
    assert result(tally, "count") == (number is not None)


def test_integers_stay_integers_where_they_can() -> None:
    tally = tallied([(0, 3), (1, 4)])
    assert [repr(result(tally, f)) for f in ("sum", "min", "max", "last")] == ["7", "3", "4", "4"]


def test_what_left_the_range_of_floats_is_null_not_infinity() -> None:
    tally = tallied([(0, 1e308), (1, 1e308)])
    assert result(tally, "sum") is None
    assert result(tally, "max") == 1e308


def test_f63_of_equal_times_the_first_and_the_last_to_come_count() -> None:
    tally = tallied([(5, 1), (5, 2), (4, 9), (5, 3)])
    assert (result(tally, "first"), result(tally, "last")) == (9, 3)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_r20_middle_and_spread_are_the_textbook_ones(values: list[float]) -> None:
    middle, spread = median_and_spread(values)
    assert math.isclose(middle, statistics.median(values), abs_tol=1e-6)
    distances = [abs(value - middle) for value in values]
    assert math.isclose(spread, 1.4826 * statistics.median(distances), abs_tol=1e-6)
    mean, deviation = mean_and_spread(values)
    assert math.isclose(mean, statistics.fmean(values), abs_tol=1e-6)
    assert math.isclose(deviation, statistics.stdev(values), rel_tol=1e-6, abs_tol=1e-6)
