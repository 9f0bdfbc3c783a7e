"""An account counts each message once, at its worst fate, in the minute in which it came."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowengine.clock import ToldClock
from flowengine.engine.accounts import (
    BucketNews,
    Standing,
    bucket_from,
    bucket_news,
    standing_of,
)
from flowengine.engine.delivery import Intake
from flowengine.engine.fates import (
    DELIVERED,
    DROPPED,
    FILTERED,
    KIND,
    MISSING,
    QUARANTINED,
    SPOOLED,
    fate_at,
)
from flowengine.engine.flowaccounts import FlowAccounts
from flowengine.engine.flowledger import FlowLedger
from flowengine.engine.gate import Gate
from flowengine.engine.ledger import GAP, MINUTE, NOWHERE, Book, Bucket, SourceLedger
from flowengine.message import Message, Receipt

CRASH = fate_at(DROPPED, "crash")
LOST = fate_at(DROPPED, "session-lost")
LAST = (DELIVERED, fate_at(FILTERED, "range"), fate_at(DROPPED, "wire-full"), QUARANTINED)
CRASHES = ("kill", "power cut", "lost session")
STEPS = (
    *("come", "come", "settle", "settle", "spool", "spool", "synced", "done", "done", "pass on"),
    *("minute", "clock back", "cut", "write", "come again", *CRASHES),
)


def fates(bucket: Bucket) -> dict[int, int]:
    """What is not zero."""
    return {fate: n for fate, n in bucket.fates.items() if n}


class Saved:
    """What is on disk of one account: absolute numbers by minute, ranges, where numbers stand."""

    def __init__(self) -> None:
        self.buckets: dict[int, BucketNews] = {}
        self.ranges: dict[int, int] = {}
        self.standing = Standing()
        self.open: set[int] = set()
        """What was not acknowledged: the journal has its packet ids."""

    def write(self, account: SourceLedger, known: set[int]) -> None:
        """Take what changed, as a cut does that is on disk at once."""
        self.open = known
        account.settle_stale()
        dirty, account.dirty = account.dirty, set()
        self.buckets |= {bucket.minute: bucket_news(bucket) for bucket in dirty}
        self.ranges |= dict(account.new_ranges)
        account.new_ranges = []
        self.standing = standing_of(account)
        for first in account.forget_closed(dirty):
            self.ranges.pop(first, None)

    def note_what_came(self, account: SourceLedger, known: set[int]) -> None:
        """Take what a journal has between two cuts."""
        self.open = known
        self.standing.newest = account.newest
        self.ranges |= dict(account.new_ranges)
        for bucket in account.dirty:
            told = self.buckets.setdefault(bucket.minute, BucketNews(bucket.minute, {}))
            told.items["received"] = bucket.received

    def look_up(self, minute: int) -> Bucket | None:
        """A minute that was let go of."""
        found = self.buckets.get(minute)
        return bucket_from(found) if found is not None else None

    def restore(self, account: SourceLedger, now: int) -> None:
        """Let a new run take it up."""
        account.look_up = self.look_up
        account.newest, account.done_upto = self.standing.newest, self.standing.done_upto
        account.aside = set(self.standing.aside)
        account.gone_upto = self.standing.gone_upto
        former = {number for number in self.open if number > account.done_upto}
        former |= set(self.standing.former)
        account.former = {number for number in former if number > account.gone_upto}
        minutes = sorted(set(self.ranges.values()))
        buckets = [self.look_up(minute) or Bucket(minute) for minute in minutes]
        account.restore(buckets, self.ranges.items(), now)


class Life:
    """A source with its intake and two spools, through kills and power cuts.

    With an identity (as MQTT with QoS 1) a message that was not acknowledged comes again.
    """

    def __init__(self, *, has_identity: bool, has_states: bool) -> None:
        NOWHERE.fates.clear()
        self.has_identity = has_identity
        self.gate = Gate()
        self.gate.is_open = not has_states
        self.saved = Saved()
        self.now = 1_000 * MINUTE
        self.rows: list[dict[int, int]] = [{}, {}]
        """In each spool, rows with the source message that each holds."""
        self.done: list[dict[int, int]] = [{}, {}]
        """What was done with since the cursor was written: a power cut brings it again."""
        self.next_row = 0
        self.worse: set[int] = set()
        """Messages of which a part met a fate worse than being spooled."""
        self._start()

    def _start(self, choice: int = 0, lost: int | None = 0) -> None:
        self.ledger = FlowLedger()
        self.account = self.ledger.source("in")
        self.books = [self.ledger.book(name)[0] for name in ("one", "two")]
        self.intake = Intake(ledger=self.account, gate=self.gate)
        self.parts: list[Receipt] = []
        self.unsynced: list[Receipt] = []
        self.back = set[int]()
        self.saved.restore(self.account, self.now)
        calls: list[Callable[[], Any]] = [
            self._scan,
            lambda: self.account.explain_open(
                [], MISSING if self.has_identity else CRASH, LOST if self.has_identity else None
            ),
        ]
        for call in calls if choice % 2 else reversed(calls):  # a wire's spool is read first
            call()
            self.check()
        self.account.explain_spooled(lost)
        self.is_known = lost is not None
        self.check()

    def _scan(self) -> None:
        for book, rows in zip(self.books, self.rows, strict=True):
            for number in rows.values():
                book.add("in", [number])
                self.ledger.found_spooled({"in": [number]})

    def step(self, what: str, choice: int) -> None:
        """Let something happen."""
        getattr(self, "_" + what.replace(" ", "_"))(choice)

    def _take_in(self, messages: list[Message], again: dict[int, int], choice: int) -> None:
        self.intake.let_in(messages, None, self.now, again)
        for message in messages:
            branches = choice % 3 + 1
            message.receipt.take(branches - 1)
            self.parts += [message.receipt] * branches

    def _come(self, choice: int) -> None:
        self._take_in([Message(n) for n in range(choice % 4 + 1)], {}, choice)

    def _come_again(self, choice: int) -> None:
        rest = sorted(self.account.former - self.back)
        if rest:
            number = rest[choice % len(rest)]
            self.back.add(number)
            self._take_in([Message(), Message()], {0: number}, choice)
        elif choice % 2:
            self.account.count_redelivered(choice, self.now)

    def _lost_session(self, _choice: int) -> None:
        if self.has_identity:
            self.account.give_up_former(LOST, self.back)
            self.account.gone_upto = self.account.newest

    def _settle(self, choice: int) -> None:
        if self.parts:
            receipt = self.parts.pop(choice % len(self.parts))
            self._meet(self._number(receipt), LAST[choice % len(LAST)])
            receipt.settle(LAST[choice % len(LAST)])

    def _meet(self, number: int, fate: int) -> None:
        if fate & KIND > SPOOLED:
            self.worse.add(number)

    def _number(self, receipt: Receipt) -> int:
        return receipt.origins()["in"][0]

    def _append(self, spool: int, number: int) -> None:
        self.rows[spool][self.next_row] = number
        self.next_row += 1
        self.books[spool].add("in", [number])

    def _spool(self, choice: int) -> None:
        """A record is written, and counts once it is synced; it may be read before."""
        if self.parts:
            receipt = self.parts.pop(choice % len(self.parts))
            self._append(choice % 2, self._number(receipt))
            self.unsynced.append(receipt)

    def _synced(self, _choice: int) -> None:
        for receipt in self.unsynced:
            receipt.settle(SPOOLED)
        self.unsynced = []

    def _finish(self, choice: int, fate: int) -> None:
        spool = choice % 2
        rows = list(self.rows[spool])
        if rows:
            row = rows[choice % len(rows)]
            number = self.done[spool][row] = self.rows[spool].pop(row)
            if fate == SPOOLED:
                self._append(1 - spool, number)
            self._meet(number, fate)
            self.books[spool].remove("in", number)
            self.ledger.moved("in", number, fate)

    def _done(self, choice: int) -> None:
        self._finish(choice, LAST[choice // 2 % len(LAST)])

    def _pass_on(self, choice: int) -> None:
        self._finish(choice, SPOOLED)

    def _minute(self, _choice: int) -> None:
        self.now += MINUTE

    def _clock_back(self, choice: int) -> None:
        self.now -= choice % 3 * MINUTE

    def _cut(self, _choice: int) -> None:
        self.gate.taken += 1
        self.gate.covering = self.gate.taken
        self.intake.cover()
        self.saved.write(self.account, self._known())
        self.intake.covered()

    def _write(self, _choice: int) -> None:
        if self.gate.is_open:
            self.saved.write(self.account, self._known())
            self.done = [{}, {}]

    def _kill(self, choice: int) -> None:
        """A kill: the journal has all that came, and of a flow without states what became of it."""
        if self.gate.is_open:
            self._write(0)
        elif self.has_identity:
            self.saved.note_what_came(self.account, self._known())
        self._start(choice)

    def _known(self) -> set[int]:
        if not self.has_identity:
            return set()
        return self.account.former | {
            number
            for group in (*self.intake._groups, *self.intake._covered)
            for number in group.again or range(group.last - group.size + 1, group.last + 1)
        }

    def _power_cut(self, choice: int) -> None:
        """What was written last counts, and the spools' cursors are behind."""
        for rows, done in zip(self.rows, self.done, strict=True):
            rows |= {row: number for row, number in done.items() if (row + choice) % 3}
            if choice % 4 == 3 and rows:
                del rows[max(rows)]
        self.done = [{}, {}]
        self._start(choice, None if choice % 5 == 0 else choice % 3)

    def settle_everything(self) -> None:
        """All that is on its way comes to its end, and every spool runs empty."""
        for number in sorted(self.account.former - self.back):
            self.back.add(number)
            self._take_in([Message()], {0: number}, 0)
        self._synced(0)
        while self.parts:
            self._settle(0)
        for choice in 0, 1:
            while self.rows[choice]:
                self._finish(choice, DELIVERED)
        self._cut(0)
        self._cut(0)
        self.check()

    def open_fates(self) -> set[int]:
        """Fates that still count in the end, and are none of the last; that of no fate is -1."""
        open_ones = {b for b in self.account.buckets() if not b.is_closed}
        found = {fate for bucket in open_ones for fate in fates(bucket) if fate == SPOOLED}
        return found | {-1 for b in open_ones if sum(b.fates.values()) < b.received}

    def check(self) -> None:
        """No count is negative, and nothing is counted twice."""
        for bucket in self.account.buckets():
            assert min(bucket.fates.values(), default=0) >= 0, fates(bucket)
            assert sum(bucket.fates.values()) <= bucket.received, fates(bucket)
            assert 0 <= bucket.acknowledged <= bucket.received
        assert not NOWHERE.received
        assert not fates(NOWHERE)


@settings(max_examples=250)
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 59)), max_size=50),
    has_identity=st.booleans(),
    has_states=st.booleans(),
)
def test_fates_never_exceed_what_came_and_in_the_end_are_as_many(
    steps: list[tuple[str, int]], has_identity: bool, has_states: bool
) -> None:
    life = Life(has_identity=has_identity, has_states=has_states)
    for what, choice in steps:
        life.step(what, choice)
        life.check()
    life.settle_everything()
    assert life.open_fates() <= (set() if life.is_known else {SPOOLED})


@given(
    steps=st.lists(
        st.tuples(st.sampled_from([s for s in STEPS if s not in CRASHES]), st.integers(0, 59)),
        max_size=50,
    ),
    has_states=st.booleans(),
)
def test_r16_a_message_counts_as_worse_than_spooled_if_a_part_of_it_is(
    steps: list[tuple[str, int]], has_states: bool
) -> None:
    life = Life(has_identity=True, has_states=has_states)
    for what, choice in steps:
        life.step(what, choice)
    came = life.account.newest - life.account.newest // GAP * GAP
    life.settle_everything()
    totals = life.account.totals()
    assert sum(totals) == came
    assert totals[DROPPED] + totals[QUARANTINED] == len(life.worse)
    assert totals[SPOOLED] == totals[MISSING] == 0


# ---- minutes and numbers


@given(reads=st.lists(st.tuples(st.integers(1, 3), st.integers(-3, 2), st.booleans()), max_size=30))
def test_a_message_belongs_to_the_minute_in_which_it_came(
    reads: list[tuple[int, int, bool]],
) -> None:
    """Whichever way the clock goes, and whatever was let go of in between."""
    account, saved, minute = SourceLedger("in"), Saved(), 100
    account.look_up = saved.look_up
    open_ones: dict[int, int] = {}
    came: Counter[int] = Counter()
    for number, step, is_done in reads:
        minute += step
        bucket, first = account.let_in(number, minute * MINUTE + 59 * MINUTE // 60)
        came[minute] += number
        if is_done:
            bucket.fates[DELIVERED] += number
        else:
            open_ones |= dict.fromkeys(range(first, first + number), minute)
        account.acknowledge(bucket, number, first + number - 1)
        saved.write(account, set())
        assert {n: account.bucket_of(n).minute for n in open_ones} == open_ones
        assert account.open == len(open_ones)
        assert account.totals()[DELIVERED] == sum(came.values()) - len(open_ones)
    received = {minute: news.items.get("received", 0) for minute, news in saved.buckets.items()}
    assert received == came
    assert account.newest == sum(came.values())


def account_of(*reads: int) -> SourceLedger:
    """An account into which these came, a read a minute from minute 1 on; nothing is written."""
    account = SourceLedger("in")
    for minute, number in enumerate(reads, 1):
        account.let_in(number, minute * MINUTE)
    return account


def settled(account: SourceLedger, number: int, fate: int = DELIVERED) -> Bucket:
    """So many of the oldest minute met a fate, and are acknowledged."""
    bucket = next(iter(account.buckets()))
    bucket.fates[fate] += number
    account.acknowledge(bucket, number, account.done_upto + number)
    return bucket


def test_a_minute_is_let_go_of_once_it_is_closed_and_written_and_not_the_newest() -> None:
    account = account_of(2, 1)
    bucket = settled(account, 2)
    assert account.forget_closed() == []  # not written
    account.dirty = set()
    assert account.forget_closed({bucket}) == []  # about to be
    assert account.forget_closed() == [1]
    assert account.bucket_of(1) is NOWHERE
    assert account.bucket_of(3).minute == 2
    assert account.totals()[DELIVERED] == 2
    bucket = settled(account, 1)
    account.dirty = set()
    assert account.forget_closed() == []
    assert list(account.buckets()) == [bucket]


def test_a_minute_with_something_in_a_spool_is_kept() -> None:
    account = account_of(2, 1)
    settled(account, 2, SPOOLED)
    account.dirty = set()
    assert account.forget_closed() == []


def test_a_clock_that_is_set_back_goes_on_with_a_minute_as_it_was_written() -> None:
    account = account_of(2, 1)
    settled(account, 2)
    account.dirty = set()
    account.forget_closed()
    written_one = Bucket(1)
    written_one.received, written_one.fates[DELIVERED] = 2, 2
    account.look_up = {1: written_one}.get
    bucket, first = account.let_in(1, MINUTE)
    assert (bucket, first, bucket.received) == (written_one, 4, 3)
    assert account.totals()[DELIVERED] == 2  # and not twice
    assert (account.open, account.bucket_of(4), account.bucket_of(3).minute) == (2, bucket, 2)


def test_messages_that_come_once_more_count_as_redelivered_only() -> None:
    account = account_of(1)
    account.count_redelivered(2, 2 * MINUTE)
    account.let_in(1, 3 * MINUTE)
    assert [(b.received, b.redelivered) for b in account.buckets()] == [(1, 0), (0, 2), (1, 0)]
    assert (account.newest, account.bucket_of(2).minute) == (2, 3)


def test_numbers_go_on_after_a_gap_that_belongs_nowhere() -> None:
    """A former run may have given numbers of which a power cut left nothing."""
    account = SourceLedger("in")
    account.newest = 5
    account.restore([Bucket(7)], [(3, 7)])
    _, first = account.let_in(1, 9 * MINUTE)
    assert first == 5 + GAP + 1
    assert [account.bucket_of(n).minute for n in (2, 3, 5, 6, first - 1, first)] == [
        -1,
        7,
        7,
        -1,
        -1,
        9,
    ]
    assert account.is_done(5)


# ---- what a spool has


@given(
    steps=st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.integers(0, 3)), max_size=40)
)
def test_a_book_holds_a_message_as_long_as_one_record_does(
    steps: list[tuple[bool, str, int]],
) -> None:
    book, records = Book(), Counter[tuple[str, int]]()
    for is_new, source, number in steps:
        if is_new:
            book.add(source, [number])
            records[source, number] += 1
        elif records[source, number]:
            book.remove(source, number)
            records[source, number] -= 1
        held = {key for key, n in records.items() if n}
        assert {(s, n) for s in "ab" for n in range(4) if book.holds(s, n)} == held
        assert sorted((s, n) for s in "ab" for n in book.numbers(s)) == sorted(held)


@pytest.mark.parametrize("is_early", [False, True])
@pytest.mark.parametrize(
    ("ends", "counted"),
    [
        ([DELIVERED], DELIVERED),
        ([SPOOLED], DELIVERED),  # written by the last of several spools
        ([LAST[1]], LAST[1]),
        ([LAST[2]], LAST[2]),
        ([QUARANTINED], QUARANTINED),
        ([DELIVERED, DELIVERED], DELIVERED),
        ([DELIVERED, QUARANTINED], QUARANTINED),
        ([QUARANTINED, DELIVERED], QUARANTINED),
    ],
)
def test_a_spooled_message_meets_its_fate_with_the_last_record_or_the_first_bad_one(
    ends: list[int], counted: int, is_early: bool
) -> None:
    """Also where it is written before the source could be told that it is spooled."""
    ledger = FlowLedger()
    account, intake = ledger.source("in"), Intake(ledger=ledger.source("in"))
    book, _ = ledger.book("spool")
    [message] = messages = [Message()]
    intake.let_in(messages, None)
    for _ in ends:
        book.add("in", [1])
    if not is_early:
        message.receipt.settle(SPOOLED)
        assert fates(account.bucket_of(1)) == {SPOOLED: 1}
    for fate in ends:
        book.remove("in", 1)
        ledger.moved("in", 1, fate)
    if is_early:
        message.receipt.settle(SPOOLED)
        counted = counted if counted & KIND > SPOOLED else DELIVERED
    assert fates(account.bucket_of(1)) == {counted: 1}
    assert not account.waiting
    assert not account.aside


def test_what_is_written_before_it_is_acknowledged_moves_with_the_acknowledgement() -> None:
    """Else a minute would have fewer spooled than none."""
    ledger = FlowLedger()
    account, intake = ledger.source("in"), Intake(ledger=ledger.source("in"))
    book, _ = ledger.book("spool")
    messages = [Message(), Message()]
    intake.let_in(messages, None)
    book.add("in", [1])
    messages[0].receipt.settle(SPOOLED)
    book.remove("in", 1)
    ledger.moved("in", 1, LAST[2])
    assert fates(account.bucket_of(1)) == {}
    messages[1].receipt.settle(DELIVERED)
    assert fates(account.bucket_of(1)) == {LAST[2]: 1, DELIVERED: 1}


# ---- after a crash


def restored(
    received: int, met: dict[int, int], former: set[int] | None = None, spooled: int = 0
) -> SourceLedger:
    """An account that takes up one minute, 7, with the numbers 1 to `received`.

    As many as met a fate, `spooled` ones among them, were acknowledged.
    """
    account = SourceLedger("in", [Book()])
    bucket = Bucket(7)
    bucket.received = received
    bucket.fates.update(met | ({SPOOLED: spooled} if spooled else {}))
    account.newest, account.former = received, former or set()
    account.done_upto = sum(bucket.fates.values())
    account.restore([bucket], [(1, 7)], 8 * MINUTE)
    return account


def in_spool(account: SourceLedger, *numbers: int) -> None:
    account.books[0].add("in", numbers)
    account.found_spooled(numbers)


@pytest.mark.parametrize(
    ("met", "former", "held", "gone", "expected"),
    [
        ({DELIVERED: 5}, set(), [], 0, {DELIVERED: 5}),
        ({DELIVERED: 2}, set(), [], 3, {DELIVERED: 2, CRASH: 3}),
        ({DELIVERED: 2}, {3}, [], 2, {DELIVERED: 2, CRASH: 2}),
        ({DELIVERED: 2}, {3}, [4], 1, {DELIVERED: 2, CRASH: 1}),
        ({DELIVERED: 2}, {3}, [3], 2, {DELIVERED: 2, CRASH: 2}),  # it comes again, and enters
        ({}, {1, 2, 3, 4, 5}, [], 0, {}),
        ({DELIVERED: 4, QUARANTINED: 3}, set(), [], 0, {DELIVERED: 2, QUARANTINED: 3}),
        ({DELIVERED: 1, QUARANTINED: 7}, set(), [], 0, {QUARANTINED: 5}),
        ({DELIVERED: 5}, set(), [2], 0, {DELIVERED: 5}),  # counted already
    ],
)
def test_what_neither_comes_again_nor_is_held_by_a_state_is_explained(
    met: dict[int, int], former: set[int], held: list[int], gone: int, expected: dict[int, int]
) -> None:
    account = restored(5, met, former)
    assert account.explain_open(held, CRASH) == gone
    [bucket] = account.buckets()
    assert fates(bucket) == expected


def test_what_came_before_the_session_was_lost_is_not_missing_but_lost_with_it() -> None:
    account = SourceLedger("in")
    buckets = [Bucket(7), Bucket(8)]
    for bucket in buckets:
        bucket.received = 2
    account.newest, account.gone_upto = 4, 2
    account.restore(buckets, [(1, 7), (3, 8)])
    assert account.explain_open([], MISSING, LOST) == 4
    assert [fates(bucket) for bucket in buckets] == [{LOST: 2}, {MISSING: 2}]


def test_what_a_state_held_counts_when_it_leaves_it_and_once() -> None:
    account = restored(2, {DELIVERED: 1})
    assert account.explain_open([2], CRASH) == 0
    account.settle_former(2, LAST[1])
    [bucket] = account.buckets()
    assert fates(bucket) == {DELIVERED: 1, LAST[1]: 1}


def test_what_a_state_holds_and_was_counted_already_does_not_count_again() -> None:
    account = restored(2, {DELIVERED: 2})
    account.explain_open([2], CRASH)
    account.settle_former(2, QUARANTINED)
    [bucket] = account.buckets()
    assert fates(bucket) == {DELIVERED: 2}


def test_what_left_a_state_for_a_spool_is_spooled_and_moves_when_it_is_written() -> None:
    account = restored(1, {})
    account.explain_open([1], CRASH)
    [bucket] = account.buckets()
    account.books[0].add("in", [1])
    account.settle_former(1, SPOOLED)
    assert fates(bucket) == {SPOOLED: 1}
    account.books[0].remove("in", 1)
    account.moved(1, DELIVERED)
    assert fates(bucket) == {DELIVERED: 1}


@pytest.mark.parametrize("is_first", [True, False])
def test_what_a_spool_has_is_not_lost_in_whichever_order_they_are_looked_at(
    is_first: bool,
) -> None:
    account = restored(3, {})
    if is_first:
        in_spool(account, 1, 2)
    account.explain_open([], CRASH)
    if not is_first:
        in_spool(account, 1, 2)
    [bucket] = account.buckets()
    assert fates(bucket) == {SPOOLED: 2, CRASH: 1}


@pytest.mark.parametrize(
    ("spooled", "there", "lost", "gone", "expected"),
    [
        (2, [1, 2], 0, 0, {SPOOLED: 2}),
        (2, [1], 0, 0, {SPOOLED: 1, DELIVERED: 1}),  # its cursor says so, and nothing else
        (2, [], 1, 1, {DELIVERED: 1, MISSING: 1}),
        (2, [], 5, 2, {MISSING: 2}),
        (2, [1], None, 0, {SPOOLED: 2}),
    ],
)
def test_what_is_in_no_spool_was_written_or_is_missing(
    spooled: int, there: list[int], lost: int | None, gone: int, expected: dict[int, int]
) -> None:
    account = restored(2, {}, spooled=spooled)
    in_spool(account, *there)
    account.explain_open([], CRASH)
    assert account.explain_spooled(lost) == gone
    [bucket] = account.buckets()
    assert fates(bucket) == expected


def test_what_a_spool_has_again_as_its_cursor_was_behind_does_not_count_once_more() -> None:
    account = restored(2, {DELIVERED: 2})
    in_spool(account, 1, 2)
    account.explain_open([], CRASH)
    account.explain_spooled(0)
    for number in (1, 2):
        account.books[0].remove("in", number)
        account.moved(number, QUARANTINED)
    [bucket] = account.buckets()
    assert fates(bucket) == {DELIVERED: 2}


def test_what_came_before_the_session_was_lost_is_given_up_but_for_what_is_here_again() -> None:
    account = restored(4, {}, former={1, 2, 3})
    account.explain_open([4], CRASH)
    account.books[0].add("in", [2])
    assert account.give_up_former(LOST, {3}) == 1
    [bucket] = account.buckets()
    assert fates(bucket) == {LOST: 1, SPOOLED: 1}
    assert account.former == {3}
    assert sorted(account.done_again) == [1, 2]
    account.acknowledge(bucket, 1, 0, [3])
    assert account.is_done(3)
    assert sorted(account.done_again) == [1, 2, 3]


def test_what_counts_as_spooled_while_no_spool_or_state_has_anything_was_written() -> None:
    account = restored(2, {}, spooled=2)
    in_spool(account, 1, 2)
    account.explain_open([], CRASH)
    account.settle_stale()
    [bucket] = account.buckets()
    assert fates(bucket) == {SPOOLED: 2}
    for number in (1, 2):
        account.books[0].remove("in", number)
    account.settle_stale()
    assert fates(bucket) == {DELIVERED: 2}


def test_what_a_cut_waits_for_is_noted_for_it_with_what_it_moves() -> None:
    account = restored(2, {}, spooled=1)
    in_spool(account, 1)
    account.explain_open([2], CRASH)
    account.books[0].remove("in", 1)
    account.late = {}
    account.moved(1, DELIVERED)
    account.settle_former(2, QUARANTINED)
    assert account.late == {(7, SPOOLED): -1, (7, DELIVERED): 1, (7, QUARANTINED): 1}


def test_no_total_is_negative_after_a_start() -> None:
    account = restored(1, {}, spooled=1)
    in_spool(account, 1)
    account.explain_open([], CRASH)
    account.explain_spooled(0)
    account.books[0].remove("in", 1)
    account.moved(1, DELIVERED)
    assert min(account.totals()) >= 0


def test_of_a_minute_that_is_looked_up_again_there_is_one_count() -> None:
    account, saved = SourceLedger("in"), Saved()
    account.look_up = saved.look_up
    intake = Intake(ledger=account)
    intake.let_in(messages := [Message()], None, 9 * MINUTE)
    intake.let_in([], None, 7 * MINUTE)  # behind the first, as acknowledgements keep their order
    saved.write(account, set())
    intake.let_in([Message()], None, 8 * MINUTE)
    saved.write(account, set())
    intake.let_in([Message()], None, 7 * MINUTE)
    messages[0].receipt.settle(DELIVERED)
    minutes = [bucket.minute for bucket in account.dirty]
    assert len(minutes) == len(set(minutes))


def test_a_number_keeps_its_minute_where_nothing_came_in_a_later_one(tmp_path: Path) -> None:
    """Copies only came in minute 9; then the clock was set back, and the engine killed."""

    def started() -> FlowAccounts:
        accounts = FlowAccounts("flow", ToldClock(), tmp_path / "flow.log")
        accounts.arrivals_of("in")
        accounts.restore({})
        return accounts

    accounts = started()
    account = accounts.source("in")
    account.count_redelivered(1, 9 * MINUTE)
    _, first = account.let_in(1, 4 * MINUTE)
    accounts.note("in", [(7, 1, 0)], first)
    accounts.close()
    assert account.bucket_of(first).minute == 4
    account = started().source("in")
    assert account.former == {first}
    assert account.bucket_of(first).minute == 4


@pytest.mark.parametrize("has_journal", [True, False])
def test_a_source_without_identity_weighs_the_same_after_a_month(
    tmp_path: Path, has_journal: bool
) -> None:
    accounts = FlowAccounts("flow", ToldClock(), tmp_path / "flow.log" if has_journal else None)
    account = accounts.source("tick")
    for minute in range(100):
        bucket, first = account.let_in(1, minute * MINUTE)
        bucket.fates[DELIVERED] += 1
        account.acknowledge(bucket, 1, first)
        accounts.write()
        accounts.news()
    assert len(list(account.buckets())) < 5
    assert len(account.unwritten) < 5
