"""A wire keeps order and its bounds, and loses nothing uncounted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.clock import ToldClock
from flowengine.engine import wire as wires
from flowengine.engine.delivery import Intake
from flowengine.engine.fates import DROPPED
from flowengine.engine.wire import Wire, estimate_bytes
from flowengine.message import Message


def batch(*payloads: int) -> list[Message]:
    return [Message(payload) for payload in payloads]


def payloads(messages: list[Message]) -> list[int]:
    return [message.payload for message in messages]


def test_messages_leave_in_the_order_they_came() -> None:
    wire = Wire(ToldClock())
    wire.put(batch(1, 2))
    wire.put(batch(3, 4, 5))
    assert payloads(wire.take(3)) == [1, 2, 3]
    assert payloads(wire.take(9)) == [4, 5]
    assert wire.take(9) == []


def test_block_tells_when_full_and_when_half_empty_again() -> None:
    levels: list[bool] = []
    wire = Wire(ToldClock(), capacity=4, on_level=lambda w: levels.append(w.blocked))
    wire.put(batch(1, 2, 3))
    assert levels == []
    wire.put(batch(4, 5))
    assert levels == [True]
    wire.take(2)
    assert levels == [True]
    wire.take(1)
    assert levels == [True, False]


@pytest.mark.parametrize(
    ("policy", "kept"), [("drop-oldest", [3, 4, 5]), ("drop-newest", [1, 2, 3])]
)
def test_dropping_policies_settle_and_count_what_they_drop(policy: str, kept: list[int]) -> None:
    intake = Intake()
    wire = Wire(ToldClock(), capacity=3, when_full=policy)  # type: ignore[arg-type]
    for payload in (1, 2, 3, 4, 5):
        messages = batch(payload)
        intake.let_in(messages, None)
        wire.put(messages)
    assert payloads(wire.take(9)) == kept
    assert wire.dropped == intake.fates[DROPPED] == 2


@pytest.mark.parametrize("bound", ["messages", "bytes"])
def test_f82_a_wire_in_a_loop_drops_and_tells_far_beyond_its_bounds(
    monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(wires, "CAPACITY", 4 if bound == "messages" else 1000)
    monkeypatch.setattr(wires, "MAX_BYTES", 4 * estimate_bytes(Message(0)))
    intake, told = Intake(), list[int]()
    wire = Wire(ToldClock(), capacity=3, max_bytes=800)
    wire.on_refused = told.append
    for payload in range(10):
        messages = batch(payload)
        intake.let_in(messages, None)
        wire.put(messages)
    assert wire.blocked
    assert payloads(wire.take(9)) == list(range(8))
    assert wire.dropped == intake.fates[DROPPED] == 2
    assert told == [1, 1]


def test_a_wire_that_is_in_no_loop_takes_what_is_under_way() -> None:
    wire = Wire(ToldClock(), capacity=4)
    wire.put(batch(*range(20)))
    wire.put(batch(20))
    assert wire.depth == 21


def test_bytes_are_bounded_too() -> None:
    wire = Wire(ToldClock(), capacity=1_000_000, max_bytes=10_000)
    wire.put([Message(b"x" * 2_000)])
    assert not wire.is_full
    for _ in range(5):
        wire.put([Message(b"x" * 2_000)])
    assert wire.blocked


def test_the_oldest_message_has_an_age() -> None:
    clock = ToldClock()
    wire = Wire(clock)
    assert wire.oldest is None
    arrived = clock.monotonic()
    wire.put(batch(1))
    clock.advance(5_000_000_000)
    wire.put(batch(2))
    assert wire.oldest == arrived


def test_what_is_put_back_leaves_first() -> None:
    wire = Wire(ToldClock())
    wire.put(batch(1, 2, 3))
    taken = wire.take(2)
    wire.put_back(taken)
    assert payloads(wire.take(9)) == [1, 2, 3]


@given(
    puts=st.lists(st.integers(0, 9), max_size=30),
    capacity=st.integers(1, 20),
    policy=st.sampled_from(["drop-oldest", "drop-newest"]),
)
def test_every_message_is_kept_or_counted_as_dropped(
    puts: list[int], capacity: int, policy: str
) -> None:
    wire = Wire(ToldClock(), capacity=capacity, when_full=policy)  # type: ignore[arg-type]
    sent = 0
    for number in puts:
        wire.put(batch(*range(sent, sent + number)))
        sent += number
        assert wire.depth <= capacity
    rest = payloads(wire.take(sent + 1))
    assert len(rest) + wire.dropped == sent
    assert rest == sorted(rest)
