"""Aggregates of a window: numbers added one by one, in any order, two parts merged into one.

Pure and plain data, so that a checkpoint can hold them. All but `median` and `p95` take a few
numbers of memory whatever the window holds; those two need every value.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from flowengine.nodes.robust import median, quantile

FUNCTIONS = (
    "mean",
    "min",
    "max",
    "sum",
    "count",
    "first",
    "last",
    "median",
    "p95",
    "stddev",
)
_LARGE = 1 << 53
"""Integers up to here are floats without loss, and their sums fit a checkpoint's 64 bits."""
_MOST = sys.float_info.max


class Tally(msgspec.Struct):
    """What is known of one field in one window; only what the functions need is filled."""

    number: int = 0
    total: float = 0
    low: float = math.inf
    high: float = -math.inf
    first: float = 0
    first_at: int = 1 << 62
    last: float = 0
    last_at: int = -(1 << 62)
    mean: float = 0.0
    squares: float = 0.0
    values: list[float] = []


def number_in(value: Any) -> float | None:
    """A finite number fit to be added (true and false are none), or None."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is not int:
        return None
    if -_LARGE < value < _LARGE:
        return value  # type: ignore[no-any-return]  # its type was just compared
    try:
        return float(value)
    except OverflowError:
        return None


def adder(functions: Sequence[str]) -> Callable[[Tally, Any, int], None]:
    """What adds a value with its event time to a tally, for just these functions.

    A value that is no finite number is left out.
    """
    sums = not {"mean", "sum"}.isdisjoint(functions)
    bounds = not {"min", "max"}.isdisjoint(functions)
    ends = not {"first", "last"}.isdisjoint(functions)
    squares = "stddev" in functions
    all_values = not {"median", "p95"}.isdisjoint(functions)

    def add(tally: Tally, value: Any, time: int) -> None:  # noqa: PLR0912  # one hot loop, no calls
        kind = type(value)
        if kind is float:
            if not -_MOST <= value <= _MOST:
                return
        elif kind is not int or not -_LARGE < value < _LARGE:
            value = number_in(value)
            if value is None:
                return
        tally.number += 1
        if sums:
            tally.total += value
        if bounds:
            # not min() and max(): a call costs three times as much as a comparison
            if value < tally.low:  # noqa: PLR1730
                tally.low = value
            if value > tally.high:  # noqa: PLR1730
                tally.high = value
        if ends:
            if time < tally.first_at:
                tally.first, tally.first_at = value, time
            if time >= tally.last_at:
                tally.last, tally.last_at = value, time
        if squares:
            # Welford's method: no difference of two large sums
            off = value - tally.mean
            tally.mean += off / tally.number
            tally.squares += off * (value - tally.mean)
        if all_values:
            tally.values.append(value)

    return add


def merge(into: Tally, other: Tally) -> None:
    """Add all that `other` holds; of two values of one moment the other's counts as the later."""
    number = into.number + other.number
    if other.number:
        off = other.mean - into.mean
        into.mean += off * other.number / number
        into.squares += other.squares + off * off * into.number * other.number / number
    into.number = number
    into.total += other.total
    into.low = min(into.low, other.low)
    into.high = max(into.high, other.high)
    if other.first_at < into.first_at:
        into.first, into.first_at = other.first, other.first_at
    if other.last_at >= into.last_at:
        into.last, into.last_at = other.last, other.last_at
    into.values += other.values


def result(tally: Tally, function: str) -> float | None:
    """What one function says: None without a number, and where a sum left what a float holds."""
    if function == "count":
        return tally.number
    if not tally.number:
        return None
    value = _RESULTS[function](tally)
    return value if value is not None and math.isfinite(value) else None


def _deviation(tally: Tally) -> float | None:
    """The sample deviation (n − 1), None below two numbers."""
    if tally.number < 2:
        return None
    return math.sqrt(max(0.0, tally.squares) / (tally.number - 1))


_RESULTS: dict[str, Callable[[Tally], float | None]] = {
    "mean": lambda tally: tally.total / tally.number,
    "min": lambda tally: tally.low,
    "max": lambda tally: tally.high,
    "sum": lambda tally: tally.total,
    "first": lambda tally: tally.first,
    "last": lambda tally: tally.last,
    "median": lambda tally: median(sorted(tally.values)),
    "p95": lambda tally: quantile(sorted(tally.values), 0.95),
    "stddev": _deviation,
}
