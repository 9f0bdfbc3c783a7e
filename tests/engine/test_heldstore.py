"""Which messages a state answers for is known after a crash, and each of them is counted once."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.engine.accounts import SCHEMA, HeldPart, read_held, write_held
from flowengine.engine.delivery import Intake, JoinedReceipt
from flowengine.engine.fates import DELIVERED, DROPPED, FILTERED, QUARANTINED, SPOOLED
from flowengine.engine.flowledger import FlowLedger
from flowengine.engine.heldstore import FormerReceipts, held_parts
from flowengine.engine.leaving import Leaving
from flowengine.engine.ledger import Bucket, SourceLedger
from flowengine.engine.state import Entries
from flowengine.engine.step import Step
from flowengine.message import Message, Receipt
from flowengine.node import MARK
from tests.engine.rigs import Gather

KEYS = ("a", "b", "b\0late")


def a_step(node: str = "gather") -> Step:
    """A node's step that has states."""
    step = Step(node, getattr(Gather, MARK), None, None)
    step.entries, step.leaving = Entries(Gather.State), Leaving()
    return step


class Box:
    """A flow's ledger with one source, and the database into which its cuts are written."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.db.executescript(SCHEMA)
        self.ledger = FlowLedger()
        self.book, _ = self.ledger.book("spool")
        self.intake = Intake(ledger=self.ledger.source("in"))

    def come(self, number: int = 1) -> list[Message]:
        """Messages, as they reach a state."""
        messages = [Message(n) for n in range(number)]
        self.intake.let_in(messages, None)
        return messages

    def cut(self, *steps: Step) -> list[HeldPart]:
        """Write what steps hold; what was written of it."""
        held: list[HeldPart] = []
        let_go: list[tuple[str, str]] = []
        for step in steps:
            for name in step.touched:
                held_parts(step, name, held, let_go, self.ledger)
            step.touched = set()
        write_held("flow", held, let_go, {})(self.db)
        return held

    def read(self, node: str = "gather") -> dict[str, list[list[int]]]:
        """By name, for which of the source's messages each receipt answers, in order."""
        found: dict[str, list[list[int]]] = {}
        for part in read_held(self.db, "flow", node):
            found.setdefault(part.name, []).extend(o["in"] for o in part.origins)
        return found


@pytest.fixture
def box() -> Iterator[Box]:
    with closing(sqlite3.connect(":memory:")) as db:
        yield Box(db)


def held_by(step: Step) -> dict[str, list[list[int]]]:
    return {
        name: [receipt.origins()["in"] for receipt in receipts]
        for name, receipts in step.held.items()
    }


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["keep", "keep", "keep", "give", "drop", "drop oldest", "cut"]),
            st.sampled_from(KEYS),
            st.integers(1, 3),
        ),
        max_size=40,
    ),
    is_again=st.booleans(),
)
def test_what_was_held_at_the_last_cut_is_read_back_in_order(
    steps: list[tuple[str, str, int]], is_again: bool
) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        box, step = Box(db), a_step()
        expected: dict[str, list[list[int]]] = {}
        for what, key, number in steps:
            if what == "keep":
                for message in box.come(number):
                    step.keep(message, key)
            elif what == "give":
                step.give(Message(), key)
            elif what.startswith("drop"):
                step.drop_kept(key, number, oldest=what == "drop oldest")
            else:
                box.cut(step)
                expected = held_by(step)
                assert box.read() == expected
                if is_again:  # a run that takes it up goes on with it
                    step = a_step()
                    FormerReceipts(box.ledger).restore(step, read_held(db, "flow", step.id))
                    assert held_by(step) == expected
        assert box.read() == expected


def test_only_what_came_since_the_last_cut_is_written(box: Box) -> None:
    step = a_step()
    for number in (3, 2, 0):
        for message in box.come(number):
            step.keep(message, "a")
        written = [len(part.origins) for part in box.cut(step)]
        assert written == ([number] if number else [])
    assert [part.part for part in read_held(box.db, "flow", "gather")] == [0, 1]


# ---- restored


def restored(
    received: int, parts: list[HeldPart], *, former: set[int] | None = None, spooled: int = 0
) -> tuple[SourceLedger, FormerReceipts, dict[str, Step]]:
    """A run that takes up one minute, all of it acknowledged but `former`, and what states hold."""
    ledger = FlowLedger()
    book, _ = ledger.book("spool")
    account, bucket = ledger.source("in"), Bucket(7)
    bucket.received = received
    if spooled:
        bucket.fates[SPOOLED] = spooled
    account.newest = account.done_upto = received
    account.former = former or set()
    account.restore([bucket], [(1, 7)])
    book.add("in", account.former)
    receipts, steps = FormerReceipts(ledger), dict[str, Step]()
    for part in parts:
        step = steps.setdefault(part.node, a_step(part.node))
        receipts.restore(step, [part])
    account.explain_open(receipts.open("in"), DROPPED)
    return account, receipts, steps


def fates(account: SourceLedger) -> dict[int, int]:
    [bucket] = account.buckets()
    return {fate: n for fate, n in bucket.fates.items() if n}


def settle(step: Step, name: str, fate: int) -> None:
    """What the state made of all that it held under a name met a fate."""
    for receipt in step.held.pop(name):
        receipt.settle(fate)


def test_a_window_still_answers_for_its_members() -> None:
    parts = [
        HeldPart("w", "a", 0, [{"in": [1]}, {"in": [2]}]),
        HeldPart("w", "a", 1, [{"in": [3]}]),
    ]
    account, receipts, steps = restored(4, parts)
    assert receipts.open("in") == [1, 2, 3]
    assert fates(account) == {DROPPED: 1}  # the fourth was in no state
    settle(steps["w"], "a", QUARANTINED)
    assert fates(account) == {DROPPED: 1, QUARANTINED: 3}
    assert account.open == 0


@pytest.mark.parametrize(
    ("first", "second", "worst"),
    [
        (DELIVERED, FILTERED, DELIVERED),
        (FILTERED, DELIVERED, DELIVERED),
        (QUARANTINED, DELIVERED, QUARANTINED),
        (DELIVERED, QUARANTINED, QUARANTINED),
    ],
)
def test_r16_what_two_states_hold_is_counted_once_at_the_worst_fate(
    first: int, second: int, worst: int
) -> None:
    parts = [HeldPart(node, "a", 0, [{"in": [1]}]) for node in ("v", "w")]
    account, _, steps = restored(1, parts)
    settle(steps["v"], "a", first)
    assert fates(account) == {}
    settle(steps["w"], "a", second)
    assert fates(account) == {worst: 1}


def test_what_the_source_sends_again_counts_then_and_not_by_the_state() -> None:
    account, receipts, steps = restored(2, [HeldPart("w", "a", 0, [{"in": [1]}])], former={1, 2})
    assert receipts.open("in") == []
    settle(steps["w"], "a", DELIVERED)
    assert fates(account) == {}
    assert account.former == {1, 2}


def test_what_came_by_a_spool_is_told_apart_and_moves_when_it_is_written(box: Box) -> None:
    step, [spooled, straight] = a_step(), box.come(2)
    for message in (spooled, straight):
        step.keep(message, "a")
    box.book.add("in", [1])
    box.ledger.source("in").waiting.add(1)
    box.cut(step)
    parts = read_held(box.db, "flow", "gather")
    account, receipts, steps = restored(2, parts, spooled=1)
    assert receipts.open("in") == [2]
    assert list(account.waiting) == [1]
    assert held_by(steps["gather"]) == {"a": [[1], [2]]}
    settle(steps["gather"], "a", DELIVERED)
    assert fates(account) == {DELIVERED: 2}
    assert not account.waiting


def test_one_receipt_for_several_messages_settles_each_of_them_once(box: Box) -> None:
    """A state may hold the result of another one."""
    step, members = a_step(), box.come(3)
    result = Message(receipt=JoinedReceipt([m.receipt for m in members[:2]]))
    step.keep(result, "a")
    step.keep(members[2], "a")
    box.cut(step)
    account, receipts, steps = restored(3, read_held(box.db, "flow", "gather"))
    assert held_by(steps["gather"]) == {"a": [[1, 2], [3]]}
    assert receipts.open("in") == [1, 2, 3]
    several = steps["gather"].held["a"][0]
    several.take()
    several.settle(QUARANTINED)
    assert fates(account) == {}
    settle(steps["gather"], "a", DELIVERED)
    assert fates(account) == {QUARANTINED: 2, DELIVERED: 1}


def test_what_was_on_its_way_into_a_state_shares_the_receipt_of_the_state_that_has_it() -> None:
    account, receipts, steps = restored(1, [HeldPart("w", "a", 0, [{"in": [1]}])])
    on_its_way: list[Receipt] = receipts.receipts({"in": [1]})
    assert on_its_way == steps["w"].held["a"]
    settle(steps["w"], "a", FILTERED)
    assert fates(account) == {}
    on_its_way[0].settle(DELIVERED)
    assert fates(account) == {DELIVERED: 1}
