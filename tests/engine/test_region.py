"""A region hands every message to the node behind it, and none of them is lost on the way."""

from typing import Any

import pytest
from pydantic import Field

from flowengine import KeyedConfig, Message, Node, NodeConfig, NodeState, node
from flowengine.clock import ToldClock
from flowengine.engine.fates import DELIVERED, QUARANTINED
from flowengine.engine.outlet import HELD_BACK, Outlet
from flowengine.engine.state import Entries
from flowengine.errors import NodeError
from flowengine.testing import NodeBench


class PickConfig(NodeConfig):
    """What to answer."""

    answer: str = Field(default="same", description="Shape of the answer.")


@node("pick", outputs=("left", "right"))
def pick(message: Message, config: PickConfig) -> Any:
    """Answer in every shape that R63 allows."""
    return {
        "same": message,
        "none": None,
        "list": [message.with_payload(1), message.with_payload(2)],
        "empty": [],
        "map": {"left": message.with_payload("l"), "right": [message.with_payload("r")]},
        "fresh": Message("new"),
        "unknown": {"middle": message},
        "wrong": 42,
    }[config.answer]


@pytest.mark.parametrize(
    ("answer", "left", "right", "errors", "filtered"),
    [
        ("same", [7], [], 0, 0),
        ("none", [], [], 0, 1),
        ("list", [1, 2], [], 0, 0),
        ("empty", [], [], 0, 1),
        ("map", ["l"], ["r"], 0, 0),
        ("fresh", ["new"], [], 0, 0),
        ("unknown", [], [], 1, 0),
        ("wrong", [], [], 1, 0),
    ],
)
def test_r63_answers_of_every_shape(
    answer: str, left: list[Any], right: list[Any], errors: int, filtered: int
) -> None:
    bench = NodeBench(pick, {"answer": answer})
    out = bench.send(7)
    assert [m.payload for m in out.get("left", [])] == left
    assert [m.payload for m in out.get("right", [])] == right
    assert len(out.get("error", [])) == errors
    assert bench.filtered == filtered
    assert bench.unsettled == 0


@node("brittle")
def brittle(message: Message) -> Message:
    """Fail on what is no number."""
    return message.with_payload(message.number() + 1)


def test_r6_one_message_fails_and_the_others_go_on() -> None:
    bench = NodeBench(brittle)
    out = bench.send_many([Message(1), Message("x"), Message(2)])
    assert [m.payload for m in out["out"]] == [2, 3]
    [failed] = out["error"]
    assert failed.payload == "x"
    assert failed.meta["error"] == {
        "node": "node",
        "type": "brittle",
        "slug": "not-a-number",
        "what": "payload is 'x', not a finite number",
        "path": "payload",
    }


@node("broken")
def broken(message: Message) -> Message:
    """Fail with an error that nobody foresaw."""
    empty: dict[str, int] = {}
    return message.with_payload(empty["nothing"])


def test_a_bug_in_a_node_takes_the_error_route_too() -> None:
    out = NodeBench(broken).send(1)
    assert out["error"][0].meta["error"]["slug"] == "failed"
    assert out["error"][0].meta["error"]["what"] == "KeyError: 'nothing'"


class CountState(NodeState):
    """How many came."""

    seen: int = 0


@node("counter", scope="keyed")
class Counter(Node[KeyedConfig]):
    """Count per key."""

    State = CountState

    def receive(self, message: Message, *state: Any) -> Message:
        """The number so far."""
        state[0].seen += 1
        return message.with_payload(state[0].seen)


def test_r10_state_is_kept_apart_by_key() -> None:
    bench = NodeBench(Counter)
    assert [bench.send(key=k)["out"][0].payload for k in "aabab"] == [1, 2, 1, 3, 2]


def test_r10_an_empty_key_constant_means_one_state_for_all() -> None:
    bench = NodeBench(Counter, {"key": "''"})
    assert [bench.send(key=k)["out"][0].payload for k in "ab"] == [1, 2]


@pytest.mark.parametrize(
    ("config", "key", "payload", "slug"),
    [
        ({}, "", 1, "no-key"),
        ({}, "k" * 257, 1, "long-key"),
        ({}, "ü" * 129, 1, "long-key"),
        ({"key": "payload"}, "a", None, "no-key"),
        ({"key": "payload"}, "a", "", "no-key"),
        ({"key": "payload"}, "a", True, "no-key"),
        ({"key": "payload.x"}, "a", {}, "missing"),
    ],
)
def test_r10_a_message_without_a_usable_key_takes_the_error_route(
    config: dict[str, Any], key: str, payload: Any, slug: str
) -> None:
    out = NodeBench(Counter, config).send(payload, key=key)
    assert out["error"][0].meta["error"]["slug"] == slug


@pytest.mark.parametrize(("value", "key"), [(7, "7"), (7.0, "7"), (7.5, "7.5"), ("7", "7")])
def test_r10_a_number_becomes_its_shortest_text(value: Any, key: str) -> None:
    bench = NodeBench(Counter, {"key": "payload"})
    bench.send(value)
    assert bench.state(key).seen == 1


def test_r10_beyond_so_many_keys_the_idlest_are_forgotten() -> None:
    assert Entries(CountState).max_keys == 1_000_000
    entries = Entries(CountState, max_keys=3)
    for now, key in enumerate("abcad"):
        entries.touch(key, now).seen += 1
    assert sorted(entries.keys()) == ["a", "c", "d"]


def test_state_survives_a_restart() -> None:
    bench = NodeBench(Counter)
    bench.send(key="a")
    bench.restart()
    assert bench.send(key="a")["out"][0].payload == 2


@node("halves")
class Halves(Node[NodeConfig]):
    """Answer whole batches: even on, odd held back, text refused."""

    def receive(self, message: Message, *_state: Any) -> Any:
        """One message."""
        return message

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """A batch."""
        for message in messages:
            if isinstance(message.payload, str):
                self.context.fail(message, NodeError("text", slug="not-a-number"))
        numbers = [m for m in messages if not isinstance(m.payload, str)]
        return {
            "out": [m for m in numbers if not m.payload % 2],
            HELD_BACK: [m for m in numbers if m.payload % 2],
        }


def test_a_batch_node_accounts_for_every_message() -> None:
    bench = NodeBench(Halves)
    out = bench.send_many([Message(p) for p in (1, 2, "x", 4)])
    assert [m.payload for m in out["out"]] == [2, 4]
    assert len(out["error"]) == 1
    assert bench.filtered == 1
    assert bench.unsettled == 0


class Bin:
    """A target that keeps what it gets."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def put(self, messages: list[Message]) -> None:
        self.messages += messages


@pytest.mark.parametrize(
    ("writes", "shares_top", "shares_depth"),
    [
        (("nothing", "nothing"), True, True),
        (("nothing", "top"), False, True),
        (("nothing", "anything"), False, False),
        (("top", "top"), False, True),
        (("anything", "anything"), False, False),
    ],
)
def test_fan_out_copies_what_a_branch_may_change_and_no_more(
    writes: tuple[Any, Any], shares_top: bool, shares_depth: bool
) -> None:
    outlet, bins = Outlet("out"), [Bin(), Bin()]
    for target, kind in zip(bins, writes, strict=True):
        outlet.connect(target, kind)
    message = Message({"deep": {"x": 1}})
    outlet.put([message])
    a, b = (target.messages[0].payload for target in bins)
    assert (a is b) == shares_top
    assert (a["deep"] is b["deep"]) == shares_depth
    assert a == b == {"deep": {"x": 1}}


def test_a_branch_that_writes_never_changes_what_its_sibling_reads() -> None:
    from flowengine.engine.delivery import Intake  # noqa: PLC0415

    class Writer(Bin):
        def put(self, messages: list[Message]) -> None:
            for message in messages:
                message.payload["x"] = "changed"

    outlet, reader = Outlet("out"), Bin()
    outlet.connect(Writer(), "top")
    outlet.connect(reader, "nothing")
    outlet.connect(Writer(), "top")
    intake = Intake()
    messages = [Message({"x": 1})]
    intake.let_in(messages, None)
    outlet.put(messages)
    assert reader.messages[0].payload == {"x": 1}
    assert getattr(messages[0].receipt, "parts") == 3  # noqa: B009  # the source's own kind


def test_an_unwired_output_settles_and_counts() -> None:
    bench = NodeBench(pick)
    bench.step.outlets["left"].branches.clear()
    bench.send(1)
    assert bench.step.outlets["left"].unwired == 1
    assert bench.fates["filtered"] == 1


@node("gather", scope="keyed")
class Gather(Node[KeyedConfig]):
    """Hold two messages, answer with their sum; on waking with what there is."""

    class State(NodeState):
        """The first of two."""

        first: int | None = None

    def receive(self, message: Message, *states: Any) -> Message | None:
        """Hold the first, answer for both at the second."""
        [state] = states
        self.context.keep(message, message.key)
        if state.first is None:
            state.first = message.payload
            self.context.wake_at(message.key, self.clock.monotonic() + 60_000_000_000)
            return None
        total, state.first = state.first + message.payload, None
        return self.context.give(Message(total, key=message.key), message.key)

    def wake(self, key: str, state: Any) -> Message | None:
        """Answer with the first alone."""
        if state.first is None:
            return None
        value, state.first = state.first, None
        return self.context.give(Message(value, key=key), key)


def test_a_held_message_is_not_acknowledged_before_its_result() -> None:
    bench = NodeBench(Gather)
    bench.send(1)
    assert (bench.unsettled, bench.unacknowledged, bench.filtered) == (1, 1, 0)
    assert bench.send(2)["out"][0].payload == 3
    assert (bench.unsettled, bench.unacknowledged) == (0, 0)
    assert bench.fates["delivered"] == 2


def test_a_timer_answers_for_what_is_held() -> None:
    bench = NodeBench(Gather)
    bench.send(1)
    assert bench.advance("59s") == {}
    assert bench.advance("1s")["out"][0].payload == 1
    assert bench.unsettled == 0


def test_a_message_held_alone_settles_with_its_own_result() -> None:
    @node("single", scope="keyed")
    class Single(Node[KeyedConfig]):
        """Keep and give at once."""

        State = CountState

        def receive(self, message: Message, *_states: Any) -> Message:
            """The message itself, through keep and give."""
            self.context.keep(message, "k")
            return self.context.give(message.with_payload("given"), "k")

    bench = NodeBench(Single)
    assert bench.send(1)["out"][0].payload == "given"
    assert bench.unsettled == 0


def test_fates_tell_quarantine_from_delivery() -> None:
    bench = NodeBench(brittle, clock=ToldClock())
    bench.send(1)
    bench.send("x")
    assert bench.fates == {
        "filtered": 0,
        "delivered": 2,
        "spooled": 0,
        "dropped": 0,
        "quarantined": 0,
        "missing": 0,
    }
    assert (DELIVERED, QUARANTINED) == (1, 4)
