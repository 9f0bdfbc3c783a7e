"""A source is told to acknowledge once every part of its messages is safe, in order of receipt."""

import random
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.engine.delivery import Intake, JoinedReceipt, settle_all
from flowengine.engine.fates import DELIVERED, DROPPED, FILTERED, QUARANTINED, SPOOLED
from flowengine.engine.ledger import Book, SourceLedger
from flowengine.message import Message


def let_in(
    intake: Intake, number: int, acks: list[str] | None = None, name: str = ""
) -> list[Message]:
    messages = [Message(i) for i in range(number)]
    intake.let_in(messages, None if acks is None else lambda: acks.append(name))
    return messages


def test_a_read_is_acknowledged_when_its_last_message_is_settled() -> None:
    acks: list[str] = []
    intake = Intake()
    messages = let_in(intake, 3, acks, "a")
    settle_all(messages[:2], DELIVERED)
    assert acks == []
    settle_all(messages[2:], FILTERED)
    assert acks == ["a"]
    assert (intake.unacknowledged, intake.in_flight) == (0, 0)


def test_acknowledgements_leave_in_order_of_receipt() -> None:
    acks: list[str] = []
    intake = Intake()
    first, second, third = (let_in(intake, 1, acks, name) for name in "abc")
    settle_all(third, DELIVERED)
    settle_all(second, DELIVERED)
    assert acks == []
    settle_all(first, DELIVERED)
    assert acks == ["a", "b", "c"]


def test_r31_every_branch_must_settle() -> None:
    acks: list[str] = []
    [message] = let_in(Intake(), 1, acks, "a")
    message.receipt.take(2)
    message.receipt.settle(DELIVERED)
    message.receipt.settle(FILTERED)
    assert acks == []
    message.receipt.settle(DELIVERED)
    assert acks == ["a"]


@pytest.mark.parametrize(
    ("fates", "worst"),
    [
        ((FILTERED, DELIVERED), DELIVERED),
        ((DELIVERED, SPOOLED), SPOOLED),
        ((DROPPED, SPOOLED, DELIVERED), DROPPED),
        ((QUARANTINED, DROPPED), QUARANTINED),
        ((FILTERED, FILTERED), FILTERED),
    ],
)
def test_r16_a_message_counts_at_its_worst_fate(fates: tuple[int, ...], worst: int) -> None:
    book = Book()
    book.add("source", [1])  # a spool has it
    intake = Intake(ledger=SourceLedger("source", [book]))
    [message] = let_in(intake, 1)
    message.receipt.take(len(fates) - 1)
    for fate in fates:
        message.receipt.settle(fate)
    assert intake.fates[worst] == 1
    assert sum(intake.fates) == 1


def test_a_joined_message_answers_for_all_its_members() -> None:
    acks: list[str] = []
    intake = Intake()
    members = let_in(intake, 2, acks, "a") + let_in(intake, 1, acks, "b")
    joined = JoinedReceipt([m.receipt for m in members])
    joined.take()
    joined.settle(DELIVERED)
    assert acks == []
    joined.settle(QUARANTINED)
    assert acks == ["a", "b"]
    assert intake.fates[QUARANTINED] == 3


def test_what_is_secured_on_disk_is_acknowledged_before_its_fate_is_known() -> None:
    acks: list[str] = []
    intake = Intake()
    [message] = let_in(intake, 1, acks, "a")
    part = message.receipt.secure()
    assert acks == ["a"]
    assert intake.in_flight == 1
    part.settle(DELIVERED)
    assert intake.fates[DELIVERED] == 1
    assert acks == ["a"]


def test_r31_one_secured_branch_does_not_acknowledge_the_other() -> None:
    acks: list[str] = []
    [message] = let_in(Intake(), 1, acks, "a")
    message.receipt.take()
    part = message.receipt.secure()
    assert acks == []
    message.receipt.settle(DELIVERED)
    assert acks == ["a"]
    part.settle(FILTERED)


def test_an_empty_read_is_acknowledged_at_once() -> None:
    acks: list[str] = []
    let_in(Intake(), 0, acks, "a")
    assert acks == ["a"]


def test_a_source_near_its_window_asks_for_speed() -> None:
    asked: list[bool] = []
    intake = Intake(lambda: asked.append(True))
    intake.window = 10
    messages = let_in(intake, 4)
    intake.press()
    assert asked == []
    let_in(intake, 1)
    intake.press()
    assert asked == [True]
    settle_all(messages, DELIVERED)
    assert not intake.pressed


@given(
    reads=st.lists(st.integers(0, 5), max_size=20),
    branches=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_no_order_of_settling_acknowledges_early_or_twice(
    reads: list[int], branches: int, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  # a test's order
    intake = Intake()
    acks: list[int] = []
    parts: list[tuple[int, Message]] = []
    open_parts = []
    for index, number in enumerate(reads):
        messages = [Message(i) for i in range(number)]
        intake.let_in(messages, partial(acks.append, index))
        for message in messages:
            message.receipt.take(branches - 1)
            parts += [(index, message)] * branches
        open_parts.append(number * branches)
    chance.shuffle(parts)
    for index, message in parts:
        if chance.random() < 0.3:
            message.receipt.secure()
        else:
            message.receipt.settle(DELIVERED)
        open_parts[index] -= 1
        complete = [i for i, left in enumerate(open_parts) if not left]
        in_order = [i for i in complete if all(not left for left in open_parts[:i])]
        assert acks == in_order
    assert acks == list(range(len(reads)))
    assert intake.unacknowledged == 0
