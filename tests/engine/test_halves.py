"""A refused batch costs few tries: all but the bad records are written, in order."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.engine.halves import Halves


def play(
    size: int, bad: set[int], *, has_bad: bool = True, most: int = 10**9
) -> tuple[list[int], list[int], int]:
    """Write until nothing is left: what was written, what was singled out, in how many tries."""
    numbers = list(range(size))
    halves = Halves([Message(n) for n in numbers], numbers)
    written: list[int] = []
    singled: list[int] = []
    tries = 0
    while halves:
        part = halves.take()
        tries += 1
        assert [m.payload for m in part.messages] == part.records
        if bad & set(part.records) or len(part.records) > most:
            if halves.refused(part, has_bad=has_bad):
                singled += part.records
        else:
            halves.written(part)
            written += part.records
    return written, singled, tries


@pytest.mark.parametrize("size", [4, 10, 64, 1000, 1024, 5000])
def test_f44_one_bad_record_wherever_it_lies_costs_2_log2_n_tries_at_most(
    seen: Any, size: int
) -> None:
    most = 0
    for bad in {*range(0, size, max(1, size // 200)), size - 1}:
        written, singled, tries = play(size, {bad})
        assert singled == [bad]
        assert written == [n for n in range(size) if n != bad]
        most = max(most, tries)
    # Three beyond log2(n): the whole, the bad one alone, what is left.
    assert most <= math.ceil(math.log2(size)) + 3
    if size >= 64:
        assert most <= 2 * math.log2(size)
    seen(lost=0, duplicates=0, records=size, most_tries=most)


@given(st.integers(1, 200), st.sets(st.integers(0, 199)))
def test_whatever_is_bad_is_singled_out_and_all_else_is_written_in_order(
    size: int, bad: set[int]
) -> None:
    bad = {n for n in bad if n < size}
    written, singled, tries = play(size, bad)
    assert singled == sorted(bad)
    assert written == [n for n in range(size) if n not in bad]
    assert tries <= 2 * size + math.ceil(math.log2(size)) + 2


def test_a_batch_that_is_only_too_large_is_halved_until_it_fits_and_no_further() -> None:
    written, singled, tries = play(1000, set(), has_bad=False, most=300)
    assert written == list(range(1000))
    assert singled == []
    assert tries == 1 + 2 + 4


@given(st.integers(1, 64), st.sets(st.integers(0, 63)), st.integers(1, 100))
def test_what_is_left_when_the_far_side_goes_is_all_that_was_not_written(
    size: int, bad: set[int], stop: int
) -> None:
    halves = Halves([Message(n) for n in range(size)], list(range(size)))
    done: list[int] = []
    while halves:
        part = halves.take()
        stop -= 1
        if not stop:
            assert done + [m.payload for m in halves.rest(part)] == list(range(size))
            return
        if bad & set(part.records):
            if halves.refused(part, has_bad=True):
                done += part.records
        else:
            halves.written(part)
            done += part.records
    assert done == list(range(size))
