"""route sends a message once to each output with a rule that holds; copies share no payload."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.message import Receipt
from flowengine.nodes.route import RouteConfig, outputs
from flowengine.testing import NodeBench

WARM = {"to": "warm", "when": "payload > 8"}
HOT = {"to": "hot", "when": "payload > 20"}
ODD = {"to": "odd", "when": "payload % 2 == 1"}


def routed(config: dict[str, Any], *payloads: Any) -> dict[str, list[Any]]:
    """The payloads that left, by output, of a batch and of the same messages one by one."""
    bench, single = NodeBench("route", config), NodeBench("route", config)
    out = bench.send_many([Message(payload) for payload in payloads])
    got = {name: [message.payload for message in messages] for name, messages in out.items()}
    alone: dict[str, list[Any]] = {}
    for payload in payloads:
        for name, messages in single.send(payload).items():
            alone.setdefault(name, []).extend(message.payload for message in messages)
    assert got == alone
    assert bench.unsettled == single.unsettled == 0
    assert bench.filtered == single.filtered
    return got


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"rules": [WARM]}, {"warm": [9, 21]}),
        ({"rules": [WARM], "otherwise": "cold"}, {"warm": [9, 21], "cold": [2]}),
        ({"rules": [WARM, HOT]}, {"warm": [9, 21], "hot": [21]}),
        ({"rules": [HOT, WARM], "first_only": True}, {"hot": [21], "warm": [9]}),
        (
            {"rules": [HOT, WARM], "first_only": True, "otherwise": "rest"},
            {"hot": [21], "warm": [9], "rest": [2]},
        ),
        ({"rules": [WARM, ODD], "otherwise": "warm"}, {"warm": [2, 9, 21], "odd": [9, 21]}),
        ({"rules": [WARM], "otherwise": "warm"}, {"warm": [2, 9, 21]}),
        (
            {"rules": [WARM, {"to": "warm", "when": "payload > 20"}]},
            {"warm": [9, 21]},
        ),
    ],
    ids=[
        "held back",
        "otherwise",
        "every rule",
        "first only",
        "first only, otherwise",
        "otherwise is also a rule's",
        "all by one output",
        "once to each output",
    ],
)
def test_r23_where_it_goes(config: dict[str, Any], expected: dict[str, list[int]]) -> None:
    assert routed(config, 2, 9, 21) == expected


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"rules": [HOT, WARM]}, ("hot", "warm")),
        ({"rules": [HOT, WARM, HOT], "otherwise": "cold"}, ("hot", "warm", "cold")),
        ({"rules": [HOT, WARM], "otherwise": "hot"}, ("hot", "warm")),
    ],
)
def test_r23_outputs_are_the_names_in_order(config: dict[str, Any], names: tuple[str, ...]) -> None:
    assert outputs(RouteConfig.model_validate(config)) == names


@pytest.mark.parametrize("when", ["payload.absent > 1", "payload", "payload + 1", "payload > 'x'"])
@pytest.mark.parametrize("before", [[], [{"to": "all", "when": "true"}]])
def test_r23_a_failing_condition_takes_the_error_route_for_the_whole_message(
    when: str, before: list[dict[str, str]]
) -> None:
    got = routed({"rules": [*before, {"to": "x", "when": when}], "otherwise": "y"}, 1, 2)
    assert got == {"error": [1, 2]}


def test_r23_first_only_asks_no_further() -> None:
    rules = [WARM, {"to": "x", "when": "payload.absent"}]
    assert routed({"rules": rules, "first_only": True}, 9) == {"warm": [9]}


def test_copies_are_independent_and_keep_everything_else() -> None:
    bench = NodeBench(
        "route", {"rules": [{"to": "a", "when": "true"}, {"to": "b", "when": "true"}]}
    )
    out = bench.send({"v": [1]}, key="k", topic="t", time=5, meta={"qos": 1})
    (first,), (second,) = out["a"], out["b"]
    first.payload["v"].append(2)
    assert second.payload == {"v": [1]}
    assert (second.key, second.topic, second.time, second.meta) == ("k", "t", 5, {"qos": 1})


class Counting(Receipt):
    """A receipt that counts what it expects."""

    def __init__(self) -> None:
        self.parts = 1

    def take(self, parts: int = 1) -> None:
        self.parts += parts


@pytest.mark.parametrize(("payload", "parts"), [(2, 1), (10, 1), (21, 3)])
def test_a_message_owes_its_source_one_answer_for_each_copy(payload: int, parts: int) -> None:
    bench = NodeBench("route", {"rules": [WARM, HOT, ODD]})
    receipt = Counting()
    out = bench.node.receive_batch([Message(payload, receipt=receipt)])
    assert receipt.parts == parts == sum(len(messages) for messages in out.values())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"rules": []}, "rules"),
        ({}, '"rules" is missing'),
        ({"rules": [{"to": "error", "when": "true"}]}, "every node's own"),
        ({"rules": [{"to": "Too Warm", "when": "true"}]}, 'Write "too-warm"'),
        ({"rules": [{"to": "1st", "when": "true"}]}, "no name"),
        ({"rules": [{"to": "a.b", "when": "true"}]}, 'Write "a-b"'),
        ({"rules": [{"to": "", "when": "true"}]}, "no name"),
        ({"rules": [WARM], "otherwise": "error"}, "every node's own"),
        ({"rules": [{"to": "a", "when": "payload >"}]}, "rules[0].when"),
    ],
)
def test_r23_a_config_without_usable_outputs_is_a_finding(
    config: dict[str, Any], words: str
) -> None:
    with pytest.raises(FindingsError) as caught:
        NodeBench("route", config)
    assert words in str(caught.value)


@given(
    payloads=st.lists(st.integers(-30, 30) | st.text(max_size=2), max_size=8),
    rules=st.lists(st.sampled_from([WARM, HOT, ODD]), min_size=1, max_size=4),
    otherwise=st.none() | st.sampled_from(["warm", "rest"]),
    first_only=st.booleans(),
)
def test_r23_every_message_is_accounted_for(
    payloads: list[Any], rules: list[dict[str, str]], otherwise: str | None, first_only: bool
) -> None:
    config = {"rules": rules, "otherwise": otherwise, "first_only": first_only}
    bench = NodeBench("route", config)
    out = bench.send_many([Message(p, "", 0, str(at)) for at, p in enumerate(payloads)])
    seen = {message.key for messages in out.values() for message in messages}
    assert len(seen) + bench.filtered == len(payloads)
    assert bench.unsettled == 0
    for messages in out.values():
        assert len({message.key for message in messages}) == len(messages)
