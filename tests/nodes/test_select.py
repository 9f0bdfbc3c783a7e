"""select keeps or drops parts of the payload and touches nothing else."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message, copy_tree
from flowengine.errors import FindingsError
from flowengine.nodes.select import SelectConfig
from flowengine.testing import NodeBench

TREE = {"t": 1, "deep": {"a": 2, "b": {"c": 3, "d": 4}}, "list": [{"x": 5, "y": 6}, {"x": 7}, 8]}


def selected(config: dict[str, Any], payload: Any) -> Any:
    """The payload that leaves by `out`."""
    out = NodeBench("select", config).send(payload)
    assert list(out) == ["out"], out
    return out["out"][0].payload


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (["payload.t"], {"t": 1}),
        (["payload.t", "payload.absent"], {"t": 1}),
        (["payload.absent"], {}),
        (["payload.deep.a"], {"deep": {"a": 2}}),
        (["payload.deep.absent"], {"deep": {}}),
        (["payload.deep.b.c", "payload.t"], {"deep": {"b": {"c": 3}}, "t": 1}),
        (["payload.deep", "payload.deep.a"], {"deep": TREE["deep"]}),
        (["payload.deep.a", "payload.deep"], {"deep": TREE["deep"]}),
        (["payload.t.x"], {}),
        (["payload.list[1]"], {"list": [{"x": 7}]}),
        (["payload.list[-1]", "payload.list[0].y"], {"list": [{"y": 6}, 8]}),
        (["payload.list[2]", "payload.list[-1]"], {"list": [8]}),
        (["payload.list[9]"], {"list": []}),
        (["payload.list[2].x"], {"list": []}),
    ],
)
def test_r46_keep(keep: list[str], expected: Any) -> None:
    assert selected({"keep": keep}, copy_tree(TREE)) == expected


@pytest.mark.parametrize(
    ("drop", "expected"),
    [
        (["payload.t"], {**TREE, "t": None}),
        (["payload.t", "payload.absent"], {**TREE, "t": None}),
        (["payload.deep.b.c"], {**TREE, "deep": {"a": 2, "b": {"d": 4}}}),
        (["payload.deep", "payload.deep.a"], {**TREE, "deep": None}),
        (["payload.t.x.y"], TREE),
        (["payload.list[0]", "payload.list[1]"], {**TREE, "list": [8]}),
        (["payload.list[-1]", "payload.list[2]"], {**TREE, "list": TREE["list"][:2]}),  # type: ignore[index]
        (["payload.list[0].x"], {**TREE, "list": [{"y": 6}, {"x": 7}, 8]}),
        (["payload.list[9]"], TREE),
    ],
)
def test_r46_drop(drop: list[str], expected: dict[str, Any]) -> None:
    wanted = {name: value for name, value in expected.items() if value is not None}
    assert selected({"drop": drop}, copy_tree(TREE)) == wanted


def test_r46_topic_key_time_and_meta_stay() -> None:
    bench = NodeBench("select", {"keep": ["payload.t"]})
    (got,) = bench.send({"t": 1, "u": 2}, topic="a", key="k", time=7, meta={"qos": 1})["out"]
    assert (got.topic, got.key, got.time, got.meta) == ("a", "k", 7, {"qos": 1})


@pytest.mark.parametrize("payload", [21.5, "text", None, b"\x01", True])
def test_keep_needs_a_payload_with_parts(payload: Any) -> None:
    out = NodeBench("select", {"keep": ["payload.t"]}).send(payload)
    assert out["error"][0].meta["error"]["slug"] == "bad-payload"
    assert selected({"drop": ["payload.t"]}, payload) == payload


@pytest.mark.parametrize(
    ("config", "slug"),
    [
        ({}, "bad-value"),
        ({"keep": ["payload.a"], "drop": ["payload.b"]}, "bad-value"),
        ({"keep": []}, "bad-value"),
        ({"keep": ["topic"]}, "bad-path"),
        ({"keep": ["payload"]}, "bad-path"),
        ({"drop": ["meta.x"]}, "bad-path"),
        ({"keep": ["temperature"]}, "bad-path"),
    ],
)
def test_a_config_that_names_no_parts_is_a_finding(config: dict[str, Any], slug: str) -> None:
    with pytest.raises(FindingsError) as caught:
        NodeBench("select", config)
    assert {finding.slug for finding in caught.value.findings} == {slug}


@pytest.mark.parametrize(
    ("config", "writes"),
    [
        ({"keep": ["payload.a.b"]}, "top"),
        ({"drop": ["payload.a"]}, "top"),
        ({"drop": ["payload.a.b"]}, "anything"),
    ],
)
def test_it_says_how_much_it_writes(config: dict[str, Any], writes: str) -> None:
    kind = NodeBench("select", config).type
    assert kind.writes_of(SelectConfig.model_validate(config)) == writes


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers()), max_size=5))
def test_keep_and_drop_of_the_same_names_are_the_whole(payloads: list[dict[str, int]]) -> None:
    names = ["payload.a", "payload.b"]
    kept = NodeBench("select", {"keep": names}).send_many([Message(dict(p)) for p in payloads])
    left = NodeBench("select", {"drop": names}).send_many([Message(dict(p)) for p in payloads])
    for payload, one, other in zip(payloads, kept.get("out", []), left.get("out", []), strict=True):
        assert one.payload | other.payload == payload
        assert not one.payload.keys() & other.payload.keys()
        assert one.payload.keys() <= {"a", "b"}
