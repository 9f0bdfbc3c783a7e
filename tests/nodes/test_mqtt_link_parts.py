"""The parts of an MQTT link keep their promises: windows, subscriptions, and when to come back."""

import asyncio
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.nodes.mqtt.comeback import Comeback
from flowengine.nodes.mqtt.outbox import Limits, LinkDown, Outbox, PublishRefused
from flowengine.nodes.mqtt.reasons import Ending
from flowengine.nodes.mqtt.subscriptions import Subscriptions
from flowengine.nodes.mqtt_wire import PUBACK, PUBCOMP, PUBREC, PUBREL, Ack, Outgoing, PacketReader

LOST = Ending("lost", "gone.")
TAKEN = Ending("taken", "taken over.")


# --- publishing


class Socket:
    """Takes what an outbox writes and reads it as a broker would."""

    def __init__(self) -> None:
        self.reader = PacketReader(version5=True, max_size=1_000_000)
        self.writes = 0
        self.has_room = True
        self.meanwhile: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> bool:
        self.writes += 1
        self.reader.feed(data)
        self.meanwhile()
        return self.has_room

    @property
    def mids(self) -> list[int]:
        return [message.mid for message in self.reader.messages]


def outbox(socket: Socket, limits: Limits, *, ids: int = 65535) -> Outbox:
    return Outbox(
        socket.write,
        version5=True,
        limits=limits,
        mids=itertools.cycle(range(1, ids + 1)),
        name_reason=lambda code, said: f"0x{code:02X} {said}".strip(),
    )


def outgoing(count: int, qos: int = 1) -> list[Outgoing]:
    return [(f"t/{i}", b"x", qos, False, None) for i in range(count)]


def on_a_loop(work: Callable[[], None]) -> None:
    async def run() -> None:
        work()

    asyncio.run(run())


def test_keeps_within_the_window_and_answers_when_all_is_acknowledged() -> None:
    def work() -> None:
        socket = Socket()
        box = outbox(socket, Limits(10))
        done = box.offer(outgoing(25))
        acknowledged = 0
        while acknowledged < 25:
            assert not done.done()
            assert len(socket.mids) - acknowledged <= 10
            box.settle([Ack(PUBACK, socket.mids[acknowledged], 0, "")])
            acknowledged += 1
        assert done.result() is None
        assert [m.topic for m in socket.reader.messages] == [f"t/{i}" for i in range(25)]

    on_a_loop(work)


@given(st.lists(st.integers(0, 2), max_size=40), st.integers(1, 5), st.randoms())
def test_every_message_leaves_once_in_order_whatever_the_broker_does_first(
    levels: list[int],
    window: int,
    chance: "st.random.Random",  # type: ignore[name-defined]
) -> None:
    def work() -> None:
        socket = Socket()
        box = outbox(socket, Limits(window), ids=window + 1)  # so that ids come round
        done = box.offer([(f"t/{i}", b"", qos, False, None) for i, qos in enumerate(levels)])
        open_mids: dict[int, int] = {}
        seen = 0
        while True:
            for message in socket.reader.messages[seen:]:
                assert message.mid not in open_mids
                if message.qos:
                    open_mids[message.mid] = message.qos
            seen = len(socket.reader.messages)
            if not open_mids:
                break
            assert len(open_mids) <= window
            mid = chance.choice(list(open_mids))
            if open_mids[mid] == 2:
                box.settle([Ack(PUBREC, mid, 0, "")])
                assert socket.reader.acks.pop() == Ack(PUBREL, mid, 0, "")
                open_mids[mid] = -2
            else:
                head = PUBACK if open_mids.pop(mid) == 1 else PUBCOMP
                box.settle([Ack(head, mid, 0, "")])
        assert done.result() is None
        assert [m.topic for m in socket.reader.messages] == [f"t/{i}" for i in range(len(levels))]

    on_a_loop(work)


def test_writes_many_messages_at_once() -> None:
    def work() -> None:
        socket = Socket()
        done = outbox(socket, Limits(1000)).offer(outgoing(1000))
        assert socket.writes == 1
        assert not done.done()

    on_a_loop(work)


def test_qos_0_is_done_when_the_socket_has_it() -> None:
    def work() -> None:
        socket = Socket()
        box = outbox(socket, Limits(10))
        assert box.offer(outgoing(5, qos=0)).done()
        socket.has_room = False
        done = box.offer(outgoing(5000, qos=0))
        later = box.offer(outgoing(1, qos=0))
        assert len(socket.reader.messages) == 5 + 2000  # the rest waits for room
        socket.has_room = True
        box.written()
        assert done.done()
        assert later.done()
        assert len(socket.reader.messages) == 5006

    on_a_loop(work)


def test_a_socket_may_say_within_a_write_that_it_has_everything() -> None:
    def work() -> None:
        socket = Socket()
        box = outbox(socket, Limits(10))
        socket.meanwhile = box.written  # as asyncio's TLS transport does
        done = [box.offer(outgoing(3000, qos=0)), box.offer(outgoing(1, qos=0))]
        assert all(batch.done() for batch in done)
        assert len(socket.reader.messages) == 3001

    on_a_loop(work)


def test_names_every_refused_message_once_the_others_are_acknowledged() -> None:
    def work() -> None:
        socket = Socket()
        box = outbox(socket, Limits(10))
        done = box.offer([*outgoing(3), ("a/#", b"", 1, False, None)])
        first, second, third = socket.mids
        box.settle([Ack(PUBACK, second, 0x87, "not yours"), Ack(PUBACK, first, 0x10, "")])
        assert not done.done()
        box.settle([Ack(PUBACK, third, 0, "")])
        error = done.exception()
        assert isinstance(error, PublishRefused)
        assert error.index == 1
        assert error.refused[1] == "0x87 not yours"
        assert "wildcard" in error.refused[3]
        assert '"t/1" was refused: 0x87 not yours (and 1 more).' in str(error)

    on_a_loop(work)


@pytest.mark.parametrize(
    ("limits", "message", "words"),
    [
        (Limits(5, qos=1), ("t", b"", 2, False, None), "QoS 1 at most, not 2"),
        (Limits(5, retain=False), ("t", b"", 0, True, None), "no retained messages"),
        (Limits(5, packet=20), ("t", bytes(20), 0, False, None), "packet limit of 20 bytes"),
    ],
)
def test_refuses_what_the_broker_said_it_will_not_take(
    limits: Limits, message: Outgoing, words: str
) -> None:
    def work() -> None:
        socket = Socket()
        done = outbox(socket, limits).offer([message, ("t", b"ok", 0, False, None)])
        error = done.exception()
        assert isinstance(error, PublishRefused)
        assert list(error.refused) == [0]
        assert words in error.refused[0]
        assert [m.payload for m in socket.reader.messages] == [b"ok"]

    on_a_loop(work)


def test_fails_every_batch_when_the_connection_is_gone() -> None:
    def work() -> None:
        box = outbox(Socket(), Limits(2))
        batches = [box.offer(outgoing(3)), box.offer(outgoing(1))]
        box.fail("the broker went away.")
        for batch in batches:
            assert isinstance(batch.exception(), LinkDown)

    on_a_loop(work)


def test_sends_nothing_more_of_a_batch_that_was_cancelled() -> None:
    def work() -> None:
        socket = Socket()
        box = outbox(socket, Limits(2))
        first, second = box.offer(outgoing(5)), box.offer([("last", b"", 1, False, None)])
        first.cancel()
        box.settle([Ack(PUBACK, mid, 0, "") for mid in socket.mids])
        assert [m.topic for m in socket.reader.messages] == ["t/0", "t/1", "last"]
        assert not second.done()

    on_a_loop(work)


# --- subscribing


def settled(subscriptions: Subscriptions) -> list[tuple[str, int, int]]:
    """Ask for everything and let the broker grant it; what was asked."""
    asked = []
    for mid, filters in enumerate(subscriptions.to_ask(), 1):
        subscriptions.asked(mid, filters)
        subscriptions.answered(mid, [qos for _, qos, _ in filters])
        asked += filters
    return asked


def test_asks_again_only_for_what_the_session_does_not_have() -> None:
    subscriptions = Subscriptions()
    subscriptions.want("a", 1)
    subscriptions.want("b", 1)
    assert not subscriptions.is_settled
    assert settled(subscriptions) == [("a", 1, 0), ("b", 1, 0)]
    assert subscriptions.is_settled
    subscriptions.connected(session_present=True, ask_again=False)
    assert subscriptions.to_ask() == []
    subscriptions.want("b", 2)
    assert subscriptions.to_ask() == [[("b", 2, 0)]]
    subscriptions.connected(session_present=True, ask_again=True)
    assert subscriptions.to_ask() == [[("a", 1, 0), ("b", 2, 0)]]
    settled(subscriptions)
    subscriptions.connected(session_present=False, ask_again=False)
    assert subscriptions.to_ask() == [[("a", 1, 0), ("b", 2, 0)]]


def test_asks_for_eight_filters_at_once() -> None:
    subscriptions = Subscriptions()
    for number in range(20):
        subscriptions.want(f"t/{number}", 1)
    assert [len(filters) for filters in subscriptions.to_ask()] == [8, 8, 4]


def test_asks_for_a_numbered_filter_by_itself_and_again_when_its_number_changes() -> None:
    subscriptions = Subscriptions()
    subscriptions.want("a", 1)
    subscriptions.want("b", 1, 7)
    subscriptions.want("c", 1)
    assert subscriptions.to_ask() == [[("a", 1, 0), ("c", 1, 0)], [("b", 1, 7)]]
    settled(subscriptions)
    subscriptions.want("b", 1, 7)
    assert subscriptions.is_settled
    subscriptions.want("b", 1)
    assert subscriptions.to_ask() == [[("b", 1, 0)]]


def test_leaves_what_is_not_wanted_any_more_and_only_where_the_broker_has_it() -> None:
    subscriptions = Subscriptions()
    subscriptions.want("a", 1)
    settled(subscriptions)
    subscriptions.leave("a")
    subscriptions.leave("never wanted")
    subscriptions.connected(session_present=True, ask_again=False)
    assert subscriptions.to_leave() == ["a"]
    assert subscriptions.to_leave() == []
    subscriptions.want("a", 1)
    subscriptions.leave("a")
    subscriptions.connected(session_present=False, ask_again=False)
    assert subscriptions.to_leave() == []


def test_tells_a_refusal_and_asks_again_on_the_next_connection() -> None:
    subscriptions = Subscriptions()
    subscriptions.want("a", 1)
    subscriptions.want("b", 1)
    (filters,) = subscriptions.to_ask()
    subscriptions.asked(5, filters)
    assert subscriptions.answered(5, [1, 0x87]) == {"b": 0x87}
    assert subscriptions.is_settled
    subscriptions.connected(session_present=True, ask_again=False)
    assert subscriptions.to_ask() == [[("b", 1, 0)]]


@pytest.mark.parametrize(("topic_filter", "qos"), [("a/#/b", 1), ("a", 3)])
def test_refuses_to_want_nonsense(topic_filter: str, qos: int) -> None:
    with pytest.raises(ValueError, match=r"no (topic filter|QoS)"):
        Subscriptions().want(topic_filter, qos)


# --- coming back


def test_waits_twice_as_long_each_time_up_to_a_minute() -> None:
    comeback = Comeback(lambda: 1.0)
    waits = [comeback.wait_after(LOST, now, None)[0] for now in range(9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(st.floats(0, 1))
def test_jitter_takes_away_half_at_most(chance: float) -> None:
    comeback = Comeback(lambda: chance)
    for full in (1, 2, 4):
        wait, _ = comeback.wait_after(LOST, 0.0, None)
        assert full / 2 <= wait <= full


def test_a_connection_that_held_starts_the_waits_anew() -> None:
    comeback = Comeback(lambda: 1.0)
    for now in range(5):
        comeback.wait_after(LOST, now, None)
    assert comeback.wait_after(LOST, 100.0, lived=60.0) == (1.0, False)


@pytest.mark.parametrize(
    ("ending", "apart", "expected"),
    [
        (TAKEN, 5.0, True),
        (TAKEN, 31.0, False),
        (LOST, 5.0, True),
        (Ending("broken", "reset."), 5.0, False),
        (Ending("dead", "silence."), 5.0, False),
        (Ending("refused", "no."), 5.0, False),
    ],
    ids=[
        "taken twice",
        "taken twice, far apart",
        "closed twice at once",
        "reset twice at once",
        "silent twice at once",
        "refused twice",
    ],
)
def test_keeps_apart_from_a_client_with_the_same_id(
    ending: Ending, apart: float, expected: bool
) -> None:
    comeback = Comeback(lambda: 0.0)
    assert comeback.wait_after(ending, 100.0, lived=1.0)[1] is False
    wait, is_shared = comeback.wait_after(ending, 100.0 + apart, lived=1.0)
    assert is_shared is expected
    assert (wait >= 10.0) is expected


def test_f33_a_name_without_an_address_is_asked_for_within_thirty_seconds() -> None:
    """However long it had none: half of that is for the resolver, which may be slow."""
    comeback = Comeback(lambda: 1.0)
    waits = [comeback.wait_after(Ending("unnamed", "who?"), now, None)[0] for now in range(9)]
    assert waits == [1, 2, 4, 8, 15, 15, 15, 15, 15]
