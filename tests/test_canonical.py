"""The canonical form has the same bytes for flows that say the same, and loses nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.flow import parse_flow
from flowengine.flow.canonical import canonical, canonical_cases, canonical_layout, document
from flowengine.flow.json_lines import to_lines
from tests.flow_texts import FLOW_TEXTS

EXAMPLE = """{"wires": ["readings -> alarm", "alarm.raised -> siren"],
 "nodes": {
  "siren": {"config": {"payload": "ON", "topic": "site/siren/set", "broker": "site"},
            "type": "mqtt.out"},
  "readings": {"title": "Room readings", "type": "mqtt.in",
               "config": {"topic": "device/+/telemetry", "qos": 1, "broker": "site"}},
  "alarm": {"type": "threshold", "config": {"hold": "2m", "hysteresis": 0.50,
            "above": {"$param": "limit"}, "field": "payload.temperature"}}},
 "format": 1, "title": "Cold room", "$schema": "./flow.schema.json",
 "params": {"limit": {"unit": "\\u00b0C", "type": "number", "default": 8.00}},
 "doc": "Keep below **8 °C**; tell the site when it is not.",
 "connections": {"site": {"type": "mqtt.broker", "config": {"password": {"$secret": "site-mqtt"},
                 "host": {"default": "127.0.0.1", "$env": "MQTT_HOST"}}}}
}"""

CANONICAL = """{
  "$schema": "./flow.schema.json",
  "format": 1,
  "title": "Cold room",
  "doc": "Keep below **8 °C**; tell the site when it is not.",
  "params": {
    "limit": {
      "type": "number",
      "default": 8.0,
      "unit": "°C"
    }
  },
  "connections": {
    "site": {
      "type": "mqtt.broker",
      "config": {
        "host": {"$env": "MQTT_HOST", "default": "127.0.0.1"},
        "password": {"$secret": "site-mqtt"}
      }
    }
  },
  "nodes": {
    "alarm": {
      "type": "threshold",
      "config": {
        "field": "payload.temperature",
        "above": {"$param": "limit"},
        "hysteresis": 0.5,
        "hold": "2m"
      }
    },
    "readings": {
      "type": "mqtt.in",
      "title": "Room readings",
      "config": {
        "broker": "site",
        "topic": "device/+/telemetry",
        "qos": 1
      }
    },
    "siren": {
      "type": "mqtt.out",
      "config": {
        "broker": "site",
        "topic": "site/siren/set",
        "payload": "ON"
      }
    }
  },
  "wires": [
    "alarm.raised -> siren",
    "readings -> alarm"
  ]
}
"""

ORDERS = {
    "mqtt.broker": ["host", "port", "username", "password"],
    "mqtt.in": ["broker", "topic", "qos"],
    "mqtt.out": ["broker", "topic", "payload", "qos"],
    "threshold": ["field", "above", "below", "hysteresis", "hold", "key"],
}

COMPUTE = {
    "properties": {
        "set": {"type": "object", "additionalProperties": {"type": "string"}},
        "delete": {"type": "array", "items": {"type": "string"}},
        "rules": {"type": "array", "items": {"$ref": "#/$defs/Rule"}},
        "batch": {"anyOf": [{"$ref": "#/$defs/Batch"}, {"type": "null"}]},
        "payload": {},
    },
    "$defs": {
        "Rule": {"properties": {"to": {"type": "string"}, "when": {"type": "string"}}},
        "Batch": {"properties": {"size": {"type": "integer"}, "age": {"type": "string"}}},
    },
}


def read(text: str, **given: Any) -> Any:
    return parse_flow(text, **given)


def load(text: str) -> Any:
    flow, findings = read(text, flow_id="room")
    assert findings == []
    return flow


def formatted(node: Any = None, **parts: Any) -> Any:
    top = {"format": 1, "nodes": {"a": node} if node else {}, **parts}
    return canonical(load(json.dumps(top)))


def test_the_example_of_the_format_page() -> None:
    text = canonical(load(EXAMPLE), model_order=ORDERS.get, first_output=lambda _: "raised")
    assert text == CANONICAL
    assert canonical(load(text), model_order=ORDERS.get) == text


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("8", "8"),
        ("8.00", "8.0"),
        ("1e3", "1000.0"),
        ("1E-7", "1e-07"),
        ("1e22", "1e+22"),
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("9007199254740993", "9007199254740993"),
        ("0.1000000000000000055511151231257827", "0.1"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
    ],
)
def test_r34_numbers(written: Any, kept: Any) -> None:
    text = '{"format": 1, "nodes": {"a": {"type": "x", "config": {"n": ' + written + "}}}}"
    assert f'"n": {kept}\n' in canonical(load(text))


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ([1, 2.5, 3], ["[1, 2.5, 3]"]),
        (list(range(9)), ["[", *(f"  {n}," for n in range(8)), "  8", "]"]),
        ([], ["[]"]),
        ({}, ["{}"]),
        (["a", "b"], ["[", '  "a",', '  "b"', "]"]),
        ([{"to": "a", "when": "x"}], ["[", '  {"to": "a", "when": "x"}', "]"]),
        ([[1, 2], ["a"]], ["[", "  [1, 2],", '  ["a"]', "]"]),
        ([{"a": {"b": 1}}], ["[", "  {", '    "a": {', '      "b": 1', "    }", "  }", "]"]),
        ([{"a": {"$param": "b"}}], ["[", '  {"a": {"$param": "b"}}', "]"]),
        ({"$env": "A", "default": [1, 2]}, ['{"$env": "A", "default": [1, 2]}']),
    ],
)
def test_r34_shapes_of_values(value: Any, lines: Any) -> None:
    text = formatted({"type": "x", "config": {"v": value}})
    shown = text.split('"v": ')[1].split("\n      }\n")[0]
    assert shown == "\n        ".join(lines)


def test_r34_keys_of_nodes_stand_in_a_fixed_order() -> None:
    node = {
        "x-b": 1,
        "config": {"f": 1},
        "disabled": True,
        "x-a": {"z": 1, "b": 2},
        "doc": "one\ntwo",
        "title": "T",
        "type": "no.such",
    }
    text = formatted(node)
    loaded = json.loads(text)["nodes"]["a"]
    assert list(loaded) == ["type", "title", "doc", "disabled", "config", "x-a", "x-b"]
    assert loaded["doc"] == ["one", "two"]
    assert list(loaded["x-a"]) == ["z", "b"]


def test_only_what_was_set_is_written() -> None:
    node = {"type": "x", "config": {}, "disabled": False}
    text = formatted(node, params={}, connections={}, wires=[])
    assert json.loads(text) == {"format": 1, "nodes": {"a": {"type": "x"}}}


def test_r34_an_unknown_type_is_kept_word_for_word() -> None:
    config = {"z": 1, "x-n": 2, "a": {"z": [{"q": 1, "b": 2}], "b": 2}}
    text = canonical(
        load(json.dumps({"format": 1, "nodes": {"a": {"type": "no.such", "config": config}}})),
        model_order=ORDERS.get,
    )
    assert json.dumps(json.loads(text)["nodes"]["a"]["config"]) == json.dumps(config)


def test_a_schema_orders_maps_inside_and_leaves_payloads_alone() -> None:
    config = {
        "x-z": 1,
        "x-a": 2,
        "payload": {"z": 1, "a": 2},
        "batch": {"age": "1s", "size": 2},
        "odd": 1,
        "rules": [{"when": "x", "to": "a"}],
        "set": {"payload.b": "1", "payload.a": "2"},
    }
    flow = load(json.dumps({"format": 1, "nodes": {"a": {"type": "c", "config": config}}}))
    written = document(flow, model_order=lambda _: COMPUTE)["nodes"]["a"]["config"]
    assert json.dumps(written) == json.dumps(
        {
            "set": {"payload.a": "2", "payload.b": "1"},
            "rules": [{"to": "a", "when": "x"}],
            "batch": {"size": 2, "age": "1s"},
            "payload": {"z": 1, "a": 2},
            "odd": 1,
            "x-a": 2,
            "x-z": 1,
        }
    )


def test_r34_wires_sort_by_their_ends_and_lose_a_first_out() -> None:
    nodes = {"a": {"type": "one"}, "b": {"type": "two"}, "a-b": {"type": "unknown"}}
    wires = [
        "b.out->a",
        {"when_full": "block", "to": "b", "from": "a.out", "capacity": 5, "x-why": "y"},
        "a-b.out -> a",
        "a.raised -> b",
    ]
    flow = load(json.dumps({"format": 1, "nodes": nodes, "wires": wires}))
    first = {"one": "out", "two": "raised"}.get
    assert canonical(flow, first_output=first).split('"wires": [\n')[1] == (
        '    {"from": "a", "to": "b", "capacity": 5, "when_full": "block", "x-why": "y"},\n'
        '    "a-b.out -> a",\n'
        '    "a.raised -> b",\n'
        '    "b.out -> a"\n'
        "  ]\n}\n"
    )


def test_shared_connections_are_not_written() -> None:
    shared = load('{"format": 1, "nodes": {}, "connections": {"s": {"type": "x"}}}').connections
    flow, _ = read('{"format": 1, "nodes": {}}', flow_id="a", shared=shared)
    assert "s" in flow.connections
    assert json.loads(canonical(flow)) == {"format": 1, "nodes": {}}


def test_refuses_to_write_what_was_not_read_whole() -> None:
    flow, _ = read('{"format": 1, "nodes": {"a": {"type": 7}}}', flow_id="a")
    with pytest.raises(ValueError, match="would lose"):
        canonical(flow)


def test_unknown_keys_are_not_lost() -> None:
    flow, findings = read('{"format": 1, "titel": "x", "nodes": {}}', flow_id="a")
    assert findings
    assert json.loads(canonical(flow))["titel"] == "x"


def test_r51_a_layout_has_one_node_a_line() -> None:
    layout = {"b": (1, -2), "a": (40, 120), "gone": (0, 0)}
    assert canonical_layout(layout, {"a", "b"}) == (
        '{\n  "format": 1,\n  "nodes": {\n    "a": [40, 120],\n    "b": [1, -2]\n  }\n}\n'
    )
    assert '"gone"' in canonical_layout(layout)


def test_a_test_file_has_one_message_a_line() -> None:
    case = {
        "expect": {"b": [], "a": [{"payload": {"z": 1, "a": [1, {"b": 2}]}, "at": "2m"}]},
        "input": [{"payload": {"t": 9.10}, "topic": "x", "at": "0s"}],
        "params": {"z": 1, "a": 2},
        "name": "raises",
    }
    text = canonical_cases({"tests": [case], "format": 1})
    assert text == (
        '{\n  "format": 1,\n  "tests": [\n    {\n      "name": "raises",\n'
        '      "params": {\n        "a": 2,\n        "z": 1\n      },\n'
        '      "input": [\n        {"at": "0s", "topic": "x", "payload": {"t": 9.1}}\n      ],\n'
        '      "expect": {\n'
        '        "a": [\n          {"at": "2m", "payload": {"z": 1, "a": [1, {"b": 2}]}}\n'
        '        ],\n        "b": []\n      }\n    }\n  ]\n}\n'
    )
    assert canonical_cases(json.loads(text)) == text


@given(FLOW_TEXTS)
def test_formatting_twice_changes_nothing(text: str) -> None:
    first = lambda name: "out" if name == "compute" else None  # noqa: E731
    orders = {"threshold": ["below", "above"], "compute": COMPUTE}.get
    without: dict[str, Any] = {}
    for types in (without, {"model_order": orders, "first_output": first}):
        once = canonical(load(text), **types)
        assert canonical(load(once), **types) == once
        assert once.endswith("}\n")
        assert "\r" not in once


def _plain(top: Any) -> Any:
    """A flow document with what formatting may change taken out of it."""
    top = dict(top)
    for key in ("params", "connections", "layout"):
        if not top.get(key, True):
            del top[key]
    for key in ("params", "connections", "nodes"):
        top[key] = {name: _part(part) for name, part in top.get(key, {}).items()}
    wires = [wire if isinstance(wire, str) else _doc(wire) for wire in top.get("wires", [])]
    top["wires"] = sorted(json.dumps(wire, sort_keys=True) for wire in wires)
    return json.dumps(_doc(top), sort_keys=True)


def _part(part: Any) -> Any:
    part = _doc(part)
    if not part.get("config", True):
        del part["config"]
    if not part.get("disabled", True):
        del part["disabled"]
    return part


def _doc(part: Any) -> Any:
    if isinstance(part.get("doc"), list):
        return {**part, "doc": "\n".join(part["doc"])}
    return dict(part)


@given(FLOW_TEXTS)
def test_nothing_that_was_said_is_lost(text: str) -> None:
    assert _plain(json.loads(canonical(load(text)))) == _plain(json.loads(text))


@given(FLOW_TEXTS, st.randoms())
def test_the_order_of_keys_and_wires_carries_no_meaning(text: str, chance: Any) -> None:
    def shuffled(value: Any, path: Any = ()) -> Any:
        if not isinstance(value, dict) or (path and (path[-1] == "config" or path[-1][:2] == "x-")):
            return value
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], (*path, key)) for key in keys}

    top = shuffled(json.loads(text))
    ends = [wire for wire in top.get("wires", []) if isinstance(wire, str)]
    if len(ends) == len(top.get("wires", [])):
        chance.shuffle(top.get("wires", []))
    assert canonical(load(json.dumps(top))) == canonical(load(text))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_every_json_value_comes_back(value: Any) -> None:
    assert repr(json.loads(to_lines(value))) == repr(value)
