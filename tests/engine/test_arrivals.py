"""What a broker may send again is recognised, and nothing else is taken for it."""

from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.clock import ToldClock
from flowengine.engine import arrivals as module
from flowengine.engine.arrivals import Arrival, Arrivals
from flowengine.engine.flowaccounts import FlowAccounts
from flowengine.engine.ledger import SourceLedger
from flowengine.node import Known

SMALL = 4
"""In place of the 4,096 that are remembered otherwise."""


class Link:
    """A source whose messages may come again, and what it let in."""

    def __init__(self) -> None:
        self.account = SourceLedger("in")
        self.lost = 0
        self.arrivals = Arrivals(self.account, self._session_lost)

    def _session_lost(self) -> None:
        self.lost += 1

    def come(self, *came: tuple[int, int]) -> int:
        """New messages (packet id, checksum) in one read; the number of the first."""
        _, first = self.account.let_in(len(came), 0)
        self.arrivals.note([(packet, mark, 1000 + mark) for packet, mark in came], first)
        return first

    def acknowledge(self, upto: int, again: list[int] | None = None) -> None:
        """All up to a number are done with; `again` are those of a former run."""
        self.account.acknowledge(self.account.bucket_of(upto), 1, upto, again or [])

    def find(self, packet: int, mark: int, *, is_marked: bool = True) -> int | None:
        """The number of the first copy."""
        known = self.arrivals.find(packet, mark, is_marked=is_marked)
        return None if known is None else known.number


@pytest.mark.parametrize(
    ("packet", "mark", "is_marked", "is_done", "is_known"),
    [
        (7, 1, True, False, True),
        (7, 1, True, True, True),  # its acknowledgement was lost
        (7, 1, False, False, True),  # the id is not free yet: some brokers forget the flag
        (7, 1, False, True, False),  # the same again, as a sensor that stands still sends
        (7, 2, True, False, False),  # another message
        (7, 2, True, True, False),
        (8, 1, True, False, False),
        (8, 1, False, True, False),
    ],
)
def test_a_copy_has_packet_id_and_content_and_the_flag_or_an_id_that_is_not_free(
    packet: int, mark: int, is_marked: bool, is_done: bool, is_known: bool
) -> None:
    link = Link()
    number = link.come((7, 1))
    if is_done:
        link.acknowledge(number)
    assert link.arrivals.is_done(number) is is_done
    found = link.arrivals.find(packet, mark, is_marked=is_marked)
    assert found == (Known(1, number, 1001) if is_known else None)


def test_a_packet_id_belongs_to_the_newest_message_that_came_with_it() -> None:
    link = Link()
    first = link.come((7, 1))
    link.acknowledge(first)
    second = link.come((7, 2))
    assert (link.find(7, 1), link.find(7, 2)) == (None, second)
    assert link.arrivals.all() == [(second, Arrival(7, 2, 1002))]


def test_a_packet_id_that_was_given_anew_is_not_forgotten_with_its_former_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", SMALL)
    link = Link()
    link.acknowledge(link.come((7, 1)))
    for n in range(100, 103):
        link.acknowledge(link.come((n, n)))
    number = link.come((7, 2))
    for n in range(103, 106):
        link.come((n, n))
    assert (len(link.arrivals._order), link.find(7, 2)) == (8, number)
    link.acknowledge(number)
    link.arrivals.trim()
    assert link.find(7, 2) == number


def test_what_has_no_packet_id_is_not_remembered() -> None:
    link = Link()
    first = link.come((0, 1), (7, 2), (0, 1))
    assert link.find(0, 1) is None
    assert link.arrivals.all() == [(first + 1, Arrival(7, 2, 1002))]


def test_a_lost_session_is_told_to_the_account() -> None:
    link = Link()
    link.arrivals.session_lost()
    assert link.lost == 1


def test_once_the_session_is_gone_packet_ids_begin_anew() -> None:
    link = Link()
    link.come((7, 1), (8, 2))
    link.arrivals.forget()
    assert (link.find(7, 1), link.find(8, 2, is_marked=False)) == (None, None)
    assert (link.arrivals.all(), len(link.arrivals._order)) == ([], 0)
    again = link.come((7, 1))
    assert link.find(7, 1) == again


def test_what_a_former_run_left_open_is_let_in_once() -> None:
    link = Link()
    first = link.come((7, 1), (8, 2), (9, 3))
    link.account.restore(link.account.buckets(), link.account.new_ranges[:])
    link.account.former = {first, first + 1}
    former = [link.arrivals.is_former(first + n) for n in range(3)]
    assert former == [True, True, False]
    link.arrivals.came_back([first])
    assert not link.arrivals.is_former(first)  # on its way here: not once more
    assert link.arrivals.is_former(first + 1)
    assert not link.arrivals.is_done(first)
    link.acknowledge(0, [first])
    assert link.arrivals.is_done(first)
    link.arrivals.came_back([first + 1])
    assert link.arrivals.back == {first + 1}  # of what is done with nothing is kept
    assert link.find(7, 1) == first  # its acknowledgement may be lost, too


def test_of_what_a_former_run_left_open_nothing_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", SMALL)
    link = Link()
    first = link.come(*((n, n) for n in range(1, 6)))
    link.account.former = set(range(first, first + 5))
    link.account.done_upto = first + 4
    for n in range(100, 200):
        link.acknowledge(link.come((n, n)))
    link.arrivals.trim()
    assert [link.find(n, n, is_marked=False) for n in range(1, 6)] == list(range(first, first + 5))


@settings(max_examples=60)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=60))
def test_what_may_come_again_is_known_and_older_things_are_let_go_of(
    steps: list[tuple[bool, int]],
) -> None:
    """All that is not acknowledged, and as much behind it as acknowledgements can be lost."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REMEMBERED", SMALL)
        link, packet, most, widest = Link(), 0, 0, 0
        waiting: deque[int] = deque()
        came: dict[int, tuple[int, int]] = {}
        for is_new, number in steps:
            if is_new:
                new = [((packet + n) % 65_535 + 1, packet + n) for n in range(number)]
                packet += number
                first = link.come(*new)
                came |= {first + n: what for n, what in enumerate(new)}
                waiting += range(first, first + number)
                most, widest = max(most, len(waiting)), max(widest, number)
            elif waiting:
                last = [waiting.popleft() for _ in range(min(number, len(waiting)))][-1]
                link.acknowledge(last)
        known = [number for number, _ in link.arrivals.all()]
        assert known == list(came)[len(came) - len(known) :]  # the newest, in order
        assert set(waiting) <= set(known)
        assert len(known) >= min(len(came), SMALL + len(waiting) + 1 - widest)
        assert len(known) <= SMALL + most
        for number in known:
            assert link.find(*came[number]) == number
            assert (link.find(*came[number], is_marked=False) == number) is (number in waiting)
        for number in set(came) - set(known):
            assert link.find(*came[number]) is None


def test_what_came_back_is_on_its_way_though_sessions_are_lost() -> None:
    link = Link()
    link.account.former = {1, 2}
    link.arrivals.came_back([1])
    for _ in range(2):
        link.arrivals.forget()
        link.account.give_up_former(7, link.arrivals.back)
        assert link.account.former == {1}


def test_after_a_kill_all_is_known_of_which_the_acknowledgement_may_be_lost(
    tmp_path: Path,
) -> None:
    """A broker that sends far beyond the window, all of it acknowledged at once, then a kill."""
    many = 5 * module.REMEMBERED
    accounts = FlowAccounts("flow", ToldClock(), tmp_path / "flow.log")
    arrivals, account = accounts.arrivals_of("in"), accounts.source("in")
    accounts.restore({})
    bucket, first = account.let_in(many, 0)
    accounts.note("in", [(1 + i, i, 0) for i in range(many)], first)
    accounts.write()
    account.acknowledge(bucket, many, first + many - 1)
    accounts.write()
    for _ in range(2):  # and a second kill before anything came again
        accounts = FlowAccounts("flow", ToldClock(), tmp_path / "flow.log")
        accounts.restore({})
        arrivals = accounts.arrivals_of("in")
        known = [arrivals.find(1 + i, i, is_marked=True) for i in range(many)]
        assert [found.number for found in known if found] == list(range(first, first + many))


def test_after_a_start_it_remembers_no_more_than_before_one() -> None:
    """Numbers go on behind a gap, in which none is on its way (a million, and 50 bytes each)."""
    account = SourceLedger("in")
    account.newest = account.done_upto = 5
    account.restore([], [])
    arrivals = Arrivals(account)
    for read in range(1000):
        bucket, first = account.let_in(100, 0)
        arrivals.note([(1 + (read * 100 + i) % 60_000, i, 0) for i in range(100)], first)
        account.acknowledge(bucket, 100, first + 99)
    assert len(arrivals.all()) <= module.REMEMBERED + 200
