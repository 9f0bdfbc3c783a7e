"""json.decode reads JSON or sends the message on by `refused`; json.encode writes it."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.nodes.json import JsonDecode
from flowengine.nodes.onefield import FieldConfig
from flowengine.testing import NodeBench

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False)
TREES = st.recursive(
    SCALARS.filter(lambda x: x not in {math.inf, -math.inf})
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=10,
)


@pytest.mark.parametrize("field", ["payload", "payload.raw", "payload.a.raw", "meta.raw"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"t": 21.5}', {"t": 21.5}),
        (b'{"t": 21.5}', {"t": 21.5}),
        ("21", 21),
        ('"ON"', "ON"),
        ("null", None),
        ({"t": 1}, {"t": 1}),
        (21.5, 21.5),
        (True, True),
        (None, None),
    ],
)
def test_r33_a_value_stands_where_its_text_stood(field: str, content: Any, expected: Any) -> None:
    def placed(value: Any) -> dict[str, Any]:
        whole = {
            "payload": {"payload": value},
            "payload.raw": {"payload": {"raw": value, "x": 1}},
            "payload.a.raw": {"payload": {"a": {"raw": value}}},
            "meta.raw": {"payload": 7, "meta": {"raw": value}},
        }
        return whole[field]

    out = NodeBench("json.decode", {"field": field}).send(**placed(content))
    assert list(out) == ["out"]
    wanted = placed(expected)
    assert out["out"][0].payload == wanted["payload"]
    assert out["out"][0].meta == wanted.get("meta", {})


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        ("ON", "not-json", "not JSON"),
        ("", "not-json", "not JSON"),
        ('{"a":1,"a":2}', "not-json", "'a' stands twice"),
        ("NaN", "not-json", "not JSON"),
        ("1e400", "not-json", ""),
        ("[" * 65 + "]" * 65, "not-json", "64 levels"),
        (b"[" * 100_000, "not-json", "64 levels"),
        ("18446744073709551616", "not-json", "64 bits"),
        (b"1" * 10_000, "not-json", ""),
        (b"\xff", "not-utf8", "UTF-8"),
        (b'"\xff"', "not-utf8", "UTF-8"),
        (b" " * (16 * 1024 * 1024) + b"1", "not-json", "16 MiB"),
    ],
    ids=lambda value: repr(value)[:24],
)
@pytest.mark.parametrize("is_deep", [False, True])
def test_r33_what_is_no_json_is_refused_unchanged(
    content: Any, reason: str, words: str, is_deep: bool
) -> None:
    bench = NodeBench("json.decode", {"field": "payload.raw"} if is_deep else {}, node_id="parse")
    payload = {"raw": content} if is_deep else content
    out = bench.send(payload, meta={"qos": 1})
    assert list(out) == ["refused"]
    (got,) = out["refused"]
    assert got.payload is payload
    refused = got.meta["refused"]
    assert (refused["node"], refused["reason"]) == ("parse", reason)
    assert words in refused["limit"]
    assert len(refused["value"]) <= 110
    assert len(refused["limit"]) <= 300
    assert got.meta["qos"] == 1


def test_r33_an_absent_field_is_refused() -> None:
    out = NodeBench("json.decode", {"field": "payload.raw"}).send({"x": 1})
    refused = out["refused"][0].meta["refused"]
    assert (refused["reason"], refused["value"]) == ("missing", None)


def test_a_shared_meta_is_left_alone() -> None:
    meta: dict[str, Any] = {}
    bench = NodeBench("json.decode")
    bench.send_many([Message("x", "", 0, "a", meta), Message("1", "", 0, "b", meta)])
    assert meta == {}


@given(st.lists(TREES.map(json.dumps) | st.text() | st.binary(), max_size=6))
def test_every_message_leaves_once_and_in_order(contents: list[Any]) -> None:
    bench = NodeBench("json.decode")
    out = bench.send_many([Message(c, "", 0, str(at)) for at, c in enumerate(contents)])
    assert set(out) <= {"out", "refused"}
    keys = [int(message.key) for messages in out.values() for message in messages]
    assert sorted(keys) == list(range(len(contents)))
    for messages in out.values():
        assert [int(m.key) for m in messages] == sorted(int(m.key) for m in messages)
    assert bench.unsettled == 0


@given(TREES)
def test_what_is_encoded_decodes_to_the_same(tree: Any) -> None:
    text = NodeBench("json.encode").send(tree)["out"][0].payload
    assert isinstance(text, str)
    assert NodeBench("json.decode").send(text)["out"][0].payload == tree


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1.0, None, True]}, '{"b":1,"a":[1.0,null,true]}'),
        ("ON", '"ON"'),
        ("°C", '"°C"'),
        ({"raw": b"\x01\x02"}, '{"raw":"AQI="}'),
    ],
)
def test_r11_encode_is_compact_and_in_order(value: Any, text: str) -> None:
    assert NodeBench("json.encode").send(value)["out"][0].payload == text
    deep = NodeBench("json.encode", {"field": "payload.v"}).send({"v": value})
    assert deep["out"][0].payload == {"v": text}


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"a": {"b": -math.inf}}])
def test_encode_sends_nan_by_the_error_route(value: Any) -> None:
    out = NodeBench("json.encode").send(value)
    assert out["error"][0].meta["error"]["slug"] == "not-a-number"
    assert out["error"][0].payload is value


def test_only_a_deep_field_writes_below_the_top() -> None:
    kind = NodeBench("json.decode").type
    assert kind.target is JsonDecode
    for field, writes in (("payload", "top"), ("payload.a", "top"), ("payload.a.b", "anything")):
        assert kind.writes_of(FieldConfig.model_validate({"field": field})) == writes


# -- schema ----------------------------------------------------------------------------------------

READING = {
    "type": "object",
    "required": ["t"],
    "properties": {"t": {"type": "number", "maximum": 100}, "id": {"pattern": "^dev-"}},
    "patternProperties": {"^x_": {"type": "string"}},
}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"t": 21.5, "id": "dev-1", "x_a": "y"}', None),
        ({"t": 21.5}, None),
        ('{"u": 1}', "it: 't' is a required property"),
        ('{"t": "warm"}', "t: 'warm' is not of type 'number'"),
        ('{"t": 101}', "t: 101 is greater than the maximum of 100"),
        ('{"t": 1, "id": "x"}', "id: 'x' does not match '^dev-'"),
        ('{"t": 1, "x_a": 5}', "x_a: 5 is not of type 'string'"),
        ({"t": True}, "t: True is not of type 'number'"),
        ("[]", "it: [] is not of type 'object'"),
    ],
)
def test_r33_a_schema_judges_the_value(content: Any, words: str | None) -> None:
    pytest.importorskip("jsonschema", reason="the extra schema is not installed")
    out = NodeBench("json.decode", {"schema": READING}).send(content)
    if words is None:
        assert list(out) == ["out"]
    else:
        refused = out["refused"][0].meta["refused"]
        assert (refused["reason"], refused["limit"]) == ("schema", words)
        assert out["refused"][0].payload is content


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "nubmer"}, "at type"),
        ({"properties": {"t": {"minimum": "1"}}}, "at properties/t/minimum"),
        ({"pattern": "(?=a)"}, "(?=a)"),
        ({"allOf": [{"properties": {"a": {"pattern": "(a)\\1"}}}]}, "(a)\\1"),
        ({"patternProperties": {"(?!x)": {}}}, "(?!x)"),
        ({"$ref": "https://example.org/x.json"}, "example.org"),
        ({"$ref": "#/$defs/absent"}, "absent"),
        ({"items": {"$ref": "#/allOf/1"}, "allOf": [{}]}, "#/allOf/1"),
    ],
)
def test_a_schema_that_cannot_be_used_is_a_finding(schema: dict[str, Any], words: str) -> None:
    pytest.importorskip("jsonschema", reason="the extra schema is not installed")
    with pytest.raises(FindingsError) as caught:
        NodeBench("json.decode", {"schema": schema})
    (finding,) = caught.value.findings
    assert (finding.slug, finding.where.field) == ("bad-value", "config.schema")
    assert words in finding.what


def test_a_schema_may_lead_to_its_own_parts() -> None:
    pytest.importorskip("jsonschema", reason="the extra schema is not installed")
    tree = {"$defs": {"a/b": {"type": "array", "items": {"$ref": "#/$defs/a~1b"}}}}
    bench = NodeBench("json.decode", {"schema": {**tree, "$ref": "#/$defs/a~1b"}})
    assert list(bench.send("[[],[[]]]")) == ["out"]
    assert list(bench.send("[[],[1]]")) == ["refused"]
    data = {"const": {"pattern": "(?=a)"}}
    assert list(NodeBench("json.decode", {"schema": data}).send('{"pattern":"(?=a)"}')) == ["out"]


def test_a_schema_that_leads_in_a_circle_takes_the_error_route() -> None:
    pytest.importorskip("jsonschema", reason="the extra schema is not installed")
    out = NodeBench("json.decode", {"schema": {"$ref": "#"}}).send("1")
    assert list(out) == ["error"]
    assert "without end" in out["error"][0].meta["error"]["what"]


def test_patterns_take_linear_time() -> None:
    pytest.importorskip("jsonschema", reason="the extra schema is not installed")
    out = NodeBench("json.decode", {"schema": {"pattern": "^(a+)+$"}}).send(
        json.dumps("a" * 50_000 + "!")
    )
    assert list(out) == ["refused"]


def test_without_the_package_a_schema_is_a_finding_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jsonschema", None)
    with pytest.raises(FindingsError, match=r"flowengine\[schema\]"):
        NodeBench("json.decode", {"schema": {}})
