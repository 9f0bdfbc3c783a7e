"""Median, median deviation and the usual mean and deviation of a few readings.

Pure, without numpy: windows hold tens of readings, and a box may be small.
"""

import math
from collections.abc import Sequence

SIGMA = 1.4826
"""Median deviation to standard deviation for normal noise: 1 / Φ⁻¹(3/4)."""


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value at `share` of an ascending, non-empty sequence, linear between two (numpy)."""
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    part = position - below
    low = ordered[below]
    return low + part * (ordered[below + 1] - low) if part else low


def median(ordered: Sequence[float]) -> float:
    """The middle of an ascending, non-empty sequence; between two, their mean."""
    half, odd = divmod(len(ordered), 2)
    if odd:
        return ordered[half]
    return ordered[half - 1] + (ordered[half] - ordered[half - 1]) / 2


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The median, and 1.4826 × the median of the distances to it."""
    middle = median(sorted(values))
    return middle, SIGMA * median(sorted([abs(value - middle) for value in values]))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the sample deviation (n − 1; 0 below two values)."""
    number = len(values)
    mean = math.fsum(values) / number
    if number < 2:
        return mean, 0.0
    return mean, math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / (number - 1))
