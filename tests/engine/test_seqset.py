"""A set of message numbers is a set like any other, in order, and a bit a number."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from flowengine.engine.seqset import SeqSet

EDGES = [0, 1, 1022, 1023, 1024, 1025, 2047, 2048, 5_000_000, 2**40]
NUMBERS = st.one_of(st.sampled_from(EDGES), st.integers(0, 3000))


@given(steps=st.lists(st.tuples(st.booleans(), NUMBERS), max_size=60), probes=st.sets(NUMBERS))
def test_it_is_what_a_plain_set_is(steps: list[tuple[bool, int]], probes: set[int]) -> None:
    seqs, plain = SeqSet(), set[int]()
    for is_added, number in steps:
        was_there = number in plain
        if is_added:
            plain.add(number)
            assert seqs.add(number) is not was_there
        else:
            plain.discard(number)
            assert seqs.discard(number) is was_there
        assert (number in seqs) is is_added
        assert len(seqs) == len(plain)
        assert bool(seqs) is bool(plain)
    assert list(seqs) == sorted(plain)
    assert {number for number in probes if number in seqs} == probes & plain


@given(numbers=st.lists(NUMBERS))
def test_it_is_made_of_numbers_in_any_order_and_more_than_once(numbers: list[int]) -> None:
    seqs = SeqSet(numbers)
    assert (list(seqs), len(seqs)) == (sorted(set(numbers)), len(set(numbers)))


def test_dense_numbers_weigh_little_and_weigh_nothing_once_discarded() -> None:
    """A million weigh 0.2 MB: two bits and a half each, the block's key and place included."""
    number = 20_000
    tracemalloc.start()
    try:
        seqs = SeqSet()
        start = tracemalloc.get_traced_memory()[0]
        for n in range(number):
            seqs.add(n)
        full = tracemalloc.get_traced_memory()[0] - start
        for n in range(number):
            seqs.discard(n)
        blocks = len(seqs._blocks)
    finally:
        tracemalloc.stop()
    assert full < number * 0.3
    assert (len(seqs), list(seqs), blocks) == (0, [], 0)
