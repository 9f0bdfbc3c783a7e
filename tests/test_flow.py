"""Loading a flow gives it as plain data, and every structural fault at once with its place."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

import flowengine
from flowengine.errors import UsageError
from flowengine.flow import (
    ConnectionSpec,
    NodeSpec,
    Param,
    Shared,
    Wire,
    field_path,
    find_flows,
    find_same_ids,
    layout_path,
    load_flow,
    load_layout,
    load_shared,
    parse_flow,
    slug_of,
)

EXAMPLE = """{
  "$schema": "./flow.schema.json",
  "format": 1,
  "title": "Cold room",
  "doc": ["Keep below **8 °C**;", "tell the site when it is not."],
  "params": {
    "limit": {"type": "number", "default": 8.0, "unit": "°C"}
  },
  "connections": {
    "site": {
      "type": "mqtt.broker",
      "config": {"host": {"$env": "MQTT_HOST", "default": "127.0.0.1"}}
    }
  },
  "nodes": {
    "alarm": {
      "type": "threshold",
      "config": {"field": "payload.temperature", "above": {"$param": "limit"}},
      "x-note": {"by": "me"}
    },
    "readings": {"type": "mqtt.in", "title": "Room", "disabled": true}
  },
  "wires": [
    "alarm.raised -> siren",
    {"from": "readings", "to": "alarm", "capacity": 10, "bytes": "1KB", "when_full": "block"}
  ],
  "x-team": "cooling"
}
"""


def parse(source: Any, **given: Any) -> Any:
    return parse_flow(source, **{"flow_id": "room", "file": "flows/room.json", **given})


def flow_with(**parts: Any) -> Any:
    return json.dumps({"format": 1, "nodes": {}, **parts}, indent=2)


def test_gives_each_part_as_it_is_written() -> None:
    flow, findings = parse(EXAMPLE)
    assert findings == []
    assert (flow.id, flow.file, flow.format, flow.title) == (
        "room",
        "flows/room.json",
        1,
        "Cold room",
    )
    assert flow.schema == "./flow.schema.json"
    assert flow.doc == "Keep below **8 °C**;\ntell the site when it is not."
    assert flow.params == {"limit": Param(type="number", default=8.0, unit="°C")}
    assert flow.connections == {
        "site": ConnectionSpec(
            type="mqtt.broker", config={"host": {"$env": "MQTT_HOST", "default": "127.0.0.1"}}
        )
    }
    assert list(flow.nodes) == ["alarm", "readings"]
    assert flow.nodes["alarm"].config["above"] == {"$param": "limit"}
    assert flow.nodes["alarm"].extra == {"x-note": {"by": "me"}}
    assert flow.nodes["readings"] == NodeSpec(type="mqtt.in", title="Room", disabled=True)
    assert flow.wires == [
        Wire(source="alarm", output="raised", target="siren"),
        Wire(source="readings", target="alarm", capacity=10, bytes="1KB", when_full="block"),
    ]
    assert flow.extra == {"x-team": "cooling"}
    assert flow.whole


def test_r19_a_param_without_default_is_told_from_null() -> None:
    params = {"a": {"type": "list"}, "b": {"type": "text", "default": ""}}
    flow, _ = parse(flow_with(params=params))
    assert flow.params["a"].default is UNSET
    assert flow.params["b"].default == ""


def test_flows_share_no_map() -> None:
    one, _ = parse(flow_with())
    two, _ = parse(flow_with())
    one.params["a"] = Param(type="text")
    one.shared.add("a")
    assert two.params == {}
    assert two.shared == set()


@pytest.mark.parametrize(
    ("path", "place", "named"),
    [
        (("nodes", "alarm", "config", "above"), (18, 59), ("alarm", None, None, "config.above")),
        (("nodes", "alarm", "type"), (17, 15), ("alarm", None, None, "type")),
        (("nodes", "alarm"), (16, 14), ("alarm", None, None, None)),
        (("connections", "site", "config", "host"), (12, 26), (None, "site", None, "config.host")),
        (("wires", 0), (24, 5), (None, None, "alarm.raised -> siren", "wires[0]")),
        (
            ("wires", 1, "capacity"),
            (25, 53),
            (None, None, "readings -> alarm", "wires[1].capacity"),
        ),
        (("params", "limit", "default"), (7, 44), (None, None, None, "params.limit.default")),
    ],
)
def test_says_where_each_part_stands(path: Any, place: Any, named: Any) -> None:
    flow, _ = parse(EXAMPLE)
    where = flow.where(path)
    assert flow.position(path) == (where.line, where.column) == place
    assert (where.node, where.connection, where.wire, where.field) == named
    assert (where.file, where.flow) == ("flows/room.json", "room")


def test_field_paths_quote_odd_keys() -> None:
    assert field_path(("config", "rules", 1, "when")) == "config.rules[1].when"
    assert field_path(("config", "set", "payload.a")) == 'config.set["payload.a"]'


STRUCTURE = {
    # name: (text, slug, line, column, word of what, word of mend)
    "newer format": ('{"format": 2,\n "nodes": {}}', "newer-format", 1, 12, "newer", "Update"),
    "no format": ('{"nodes": {}}', "missing-field", 1, 1, '"format"', '"format": 1'),
    "format as text": ('{"format": "1", "nodes": {}}', "bad-value", 1, 12, "'1'", "Write 1"),
    "no nodes": ('{"format": 1}', "missing-field", 1, 1, '"nodes"', '"nodes": {}'),
    "a Node-RED file": ('[{"id": "a", "type": "tab"}]', "node-red", 1, 1, "Node-RED", "editor"),
    "a list": ("[1, 2]", "bad-value", 1, 1, "a list", "format"),
    "a number": ("7", "bad-value", 1, 1, "7", "format"),
    "unknown key": (
        '{"format": 1, "nodes": {},\n "wire": []}',
        "unknown-key",
        2,
        2,
        '"wire"',
        '"wires"',
    ),
    "unknown key of a node": (
        '{"format": 1, "nodes": {"a": {"type": "x", "name": "b"}}}',
        "unknown-key",
        1,
        44,
        '"name"',
        '"x-"',
    ),
    "bad node id": (
        '{"format": 1, "nodes": {"My Node": {"type": "x"}}}',
        "bad-id",
        1,
        25,
        "My Node",
        '"my-node"',
    ),
    "bad connection id": (
        '{"format": 1, "nodes": {}, "connections": {"9": {"type": "x"}}}',
        "bad-id",
        1,
        44,
        "'9'",
        "small letters",
    ),
    "bad param name": (
        '{"format": 1, "nodes": {}, "params": {"a.b": {"type": "text"}}}',
        "bad-id",
        1,
        39,
        "a.b",
        "letters",
    ),
    "node without type": (
        '{"format": 1, "nodes": {"a": {}}}',
        "missing-field",
        1,
        30,
        '"type"',
        "mqtt.in",
    ),
    "type as number": (
        '{"format": 1, "nodes": {"a": {"type": 7}}}',
        "bad-value",
        1,
        39,
        "7",
        "Write",
    ),
    "config as list": (
        '{"format": 1, "nodes": {"a": {"type": "x", "config": []}}}',
        "bad-value",
        1,
        54,
        "no object",
        "config",
    ),
    "nodes as list": ('{"format": 1, "nodes": []}', "bad-value", 1, 24, "no object", "nodes"),
    "node as text": ('{"format": 1, "nodes": {"a": "x"}}', "bad-value", 1, 30, "'x'", "type"),
    "title as number": (
        '{"format": 1, "nodes": {}, "title": 1}',
        "bad-value",
        1,
        37,
        "1",
        "quotes",
    ),
    "disabled as text": (
        '{"format": 1, "nodes": {"a": {"type": "x", "disabled": "no"}}}',
        "bad-value",
        1,
        56,
        "'no'",
        "true",
    ),
    "unknown param type": (
        '{"format": 1, "nodes": {}, "params": {"a": {"type": "float"}}}',
        "bad-value",
        1,
        53,
        "float",
        "Write one of number",
    ),
    "default of another type": (
        '{"format": 1, "nodes": {}, "params": {"a": {"type": "number", "default": "8"}}}',
        "bad-value",
        1,
        74,
        "no number",
        "type",
    ),
    "default that is no duration": (
        '{"format": 1, "nodes": {}, "params": {"a": {"type": "duration", "default": "5"}}}',
        "bad-value",
        1,
        76,
        "no duration",
        "type",
    ),
    "wire of nothing": (
        '{"format": 1, "nodes": {}, "wires": ["a => b"]}',
        "bad-value",
        1,
        38,
        "a => b",
        "->",
    ),
    "wire into a named input": (
        '{"format": 1, "nodes": {}, "wires": ["a -> b.in"]}',
        "bad-value",
        1,
        38,
        "b.in",
        "one input",
    ),
    "wire as number": ('{"format": 1, "nodes": {}, "wires": [7]}', "bad-value", 1, 38, "7", "->"),
    "needless wire object": (
        '{"format": 1, "nodes": {}, "wires": [{"from": "a.out", "to": "b"}]}',
        "bad-value",
        1,
        38,
        "needless",
        '"a.out -> b"',
    ),
    "wire object without to": (
        '{"format": 1, "nodes": {}, "wires": [{"from": "a", "capacity": 1}]}',
        "missing-field",
        1,
        38,
        '"to"',
        "from",
    ),
    "capacity of none": (
        '{"format": 1, "nodes": {}, "wires": [{"from": "a", "to": "b", "capacity": 0}]}',
        "bad-value",
        1,
        75,
        "0",
        "1 or more",
    ),
    "unknown when_full": (
        '{"format": 1, "nodes": {}, "wires": [{"from": "a", "to": "b", "when_full": "drop"}]}',
        "bad-value",
        1,
        76,
        "drop",
        "drop-",
    ),
    "bytes without unit": (
        '{"format": 1, "nodes": {}, "wires": [{"from": "a", "to": "b", "bytes": 64}]}',
        "bad-value",
        1,
        72,
        "unit",
        "",
    ),
    "bad place in a bundle": (
        '{"format": 1, "nodes": {}, "layout": {"a": [1.5, 2]}}',
        "bad-value",
        1,
        44,
        "no place",
        "[40, 120]",
    ),
}


@pytest.mark.parametrize("name", STRUCTURE)
def test_r18_r41_names_the_fault_its_place_and_the_mend(name: str) -> None:
    text, slug, line, column, what, mend = STRUCTURE[name]
    _, findings = parse(text)
    finding = next(f for f in findings if f.slug == slug)
    assert (finding.where.line, finding.where.column) == (line, column)
    assert what in finding.what
    assert mend in finding.mend or not mend
    assert finding.severity == "error"
    assert len(findings) == 1


def in_config(value: Any) -> Any:
    return flow_with(nodes={"a": {"type": "x", "config": {"f": value}}})


REFERENCES = {
    "no name": ({"$param": 7}, "config.f.$param", "no name"),
    "a name that is no variable": ({"$env": "A B"}, "config.f.$env", "no name"),
    "a secret that leads out of a folder": ({"$secret": "../a"}, "config.f.$secret", "no name"),
    "default of a secret": ({"$secret": "a", "default": "b"}, "config.f.default", "no place"),
    "two at once": ({"$param": "a", "$env": "A"}, "config.f.$env", "no place"),
    "one inside another": ({"$param": {"$env": "A"}}, "config.f.$param", "do not nest"),
    "one as a default": ({"$env": "A", "default": {"$param": "a"}}, "config.f.default", "literal"),
    "a typing slip": ({"$parm": "a"}, "config.f.$parm", '"$parm"'),
    "in a list": ([1, {"$env": 7}], "config.f[1].$env", "no name"),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_r19_refuses_a_reference_of_the_wrong_shape(name: str) -> None:
    value, field, what = REFERENCES[name]
    _, findings = parse(in_config(value))
    assert [(f.slug, f.where.node, f.where.field) for f in findings] == [
        ("bad-reference", "a", field)
    ]
    assert what in findings[0].what
    assert findings[0].mend


def test_r19_refuses_a_reference_as_a_whole_config() -> None:
    _, findings = parse(flow_with(nodes={"a": {"type": "x", "config": {"$param": "a"}}}))
    assert [(f.slug, f.where.field) for f in findings] == [("bad-reference", "config")]


@pytest.mark.parametrize(
    "value",
    [{"$ref": "#/a", "$defs": {}}, {"$bytes": "AQID"}, {"$schema": "x"}, {"$id": "x", "type": "y"}],
)
def test_leaves_other_keys_with_a_dollar_alone(value: Any) -> None:
    assert parse(in_config(value))[1] == []


@pytest.mark.parametrize(
    "url",
    ["mqtt://me:hunter2@host", "https://a:hunter2@h/p?q=1", "postgresql+x://u:hunter2@[::1]/db"],
)
@pytest.mark.parametrize(
    "shape", [lambda u: u, lambda u: [u], lambda u: {"$env": "A", "default": u}]
)
def test_refuses_a_url_with_a_password_and_does_not_show_it(url: Any, shape: Any) -> None:
    _, findings = parse(in_config(shape(url)))
    assert [f.slug for f in findings] == ["literal-secret"]
    assert "flowengine secrets set" in findings[0].mend
    assert "hunter2" not in str(findings[0])


@pytest.mark.parametrize(
    "url",
    ["mqtt://host:1883", "http://me@host/a:b@c", "http://h/?t=12:30@x", "coap://u:{params.p}@h"],
)
def test_lets_a_url_without_password_be(url: Any) -> None:
    assert parse(in_config(url))[1] == []


def test_finds_all_faults_in_order_of_the_file() -> None:
    text = """{
  "format": 1,
  "titel": "x",
  "nodes": {
    "A": {"type": "x"},
    "b": {"config": {"f": NaN}},
    "b": {"type": "y",},
  },
  "wires": ["a > b"]
}"""
    flow, findings = parse(text)
    assert [(f.slug, f.where.line) for f in findings] == [
        ("unknown-key", 3),
        ("bad-id", 5),
        ("not-json", 6),
        ("duplicate-key", 7),
        ("not-json", 7),
        ("not-json", 7),
        ("bad-value", 9),
    ]
    assert findings[3].where.node == "b"
    assert flow is not None
    assert not flow.whole


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ({"titel": "x"}, True),
        ({"nodes": {"A b": {"type": "x"}}}, True),
        ({"nodes": {"a": {"type": 7}}}, False),
        ({"wires": ["a > b"]}, False),
        ({"wires": [{"from": "a", "to": "b"}]}, True),
        ({"wires": [{"from": "a", "to": "b", "capacity": "10"}]}, False),
        ({"layout": {"a": 1}}, False),
    ],
)
def test_knows_whether_something_would_get_lost(parts: Any, whole: Any) -> None:
    flow, findings = parse(flow_with(**parts))
    assert findings
    assert flow.whole is whole


@pytest.mark.parametrize(
    "parts",
    [{"wires": ["a->b", "  a.out  ->   b "]}, {"wires": [{"from": "a", "to": "b", "doc": "why"}]}],
)
def test_reads_wires_with_any_space(parts: Any) -> None:
    flow, findings = parse(flow_with(**parts))
    assert findings == []
    assert {(wire.source, wire.target) for wire in flow.wires} == {("a", "b")}
    assert not any(wire.is_boundary for wire in flow.wires)


def test_too_many_nodes_are_told() -> None:
    nodes = {f"n-{index}": {"type": "x"} for index in range(50_001)}
    flow, findings = parse(json.dumps({"format": 1, "nodes": nodes}))
    assert [f.slug for f in findings] == ["too-large"]
    assert "50,001" in findings[0].what
    assert len(flow.nodes) == 50_001


def test_reads_a_bundle() -> None:
    flow, findings = parse(flow_with(layout={"a": [40, 120]}, tests=[{"name": "x"}]))
    assert findings == []
    assert flow.layout == {"a": (40, 120)}
    assert flow.tests == [{"name": "x"}]


# -- files ---------------------------------------------------------------------------------------


def load(path: Path) -> Any:
    return load_flow(path)


def write(path: Any, text: str = "", **parts: Any) -> Any:
    path.write_text(text or flow_with(**parts), encoding="utf-8")
    return path


def test_r18_takes_the_id_from_the_file(tmp_path: Path) -> None:
    flow, findings = load(write(tmp_path / "cold-room.json"))
    assert (flow.id, findings) == ("cold-room", [])


def test_r18_refuses_a_file_name_that_is_no_slug(tmp_path: Path) -> None:
    flow, findings = load(write(tmp_path / "Cold Room.json"))
    assert [f.slug for f in findings] == ["bad-id"]
    assert '"cold-room.json"' in findings[0].mend
    assert flow.id == "Cold Room"


@pytest.mark.parametrize(
    ("make", "slug"),
    [
        (lambda path: None, "unreadable"),
        (lambda path: path.mkdir(), "unreadable"),
        (os.mkfifo, "unreadable"),
        (lambda path: path.write_bytes(b" " * 10_000_001), "too-large"),
    ],
    ids=["absent", "folder", "pipe", "huge"],
)
def test_says_why_a_file_is_not_read(tmp_path: Path, make: Any, slug: str) -> None:
    path = tmp_path / "a.json"
    make(path)
    flow, findings = load(path)
    assert flow is None
    assert [(f.slug, f.where.file) for f in findings] == [(slug, str(path))]


def test_r18_shared_connections_come_in_and_the_own_one_wins(tmp_path: Path) -> None:
    connections = {"site": {"type": "mqtt.broker"}, "db": {"type": "influxdb.server"}}
    write(
        tmp_path / "connections.json",
        json.dumps({"format": 1, "connections": connections}, indent=2),
    )
    own = {"site": {"type": "http.listen"}}
    flow, findings = load(write(tmp_path / "a.json", connections=own))
    assert {name: spec.type for name, spec in flow.connections.items()} == {
        "site": "http.listen",
        "db": "influxdb.server",
    }
    assert flow.shared == {"db"}
    assert [(f.slug, f.severity, f.where.connection) for f in findings] == [
        ("shadowed-connection", "warning", "site")
    ]
    assert findings[0].where.line == 5
    where = flow.where(("connections", "db", "type"))
    assert (where.file, where.line) == (str(tmp_path / "connections.json"), 8)


def test_faults_of_shared_connections_are_equal_for_every_flow(tmp_path: Path) -> None:
    write(tmp_path / "connections.json", '{"format": 1, "conections": {}}')
    _, first = load(write(tmp_path / "a.json"))
    _, second = load(write(tmp_path / "b.json"))
    assert first == second
    assert {f.slug for f in first} == {"unknown-key", "missing-field"}
    assert load_shared(tmp_path / "gone") == (Shared(), [])


def test_a_fault_of_a_layout_is_a_warning(tmp_path: Path) -> None:
    path = layout_path(tmp_path / "a.json")
    assert path.name == "a.layout.json"
    assert load_layout(path) == ({}, [])
    write(path, '{"format": 1, "nodes": {"a": [1, 2], "b": [1]}}')
    layout, findings = load_layout(path)
    assert layout == {"a": (1, 2)}
    assert [(f.slug, f.severity) for f in findings] == [("bad-value", "warning")]
    write(path, "{")
    assert [f.severity for f in load_layout(path)[1]] == ["warning"]


def test_r18_a_folder_gives_its_flows_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "a.layout.json", "a.test.json", "connections.json"):
        write(tmp_path / name)
    write(tmp_path / "sites.json", '{"format": 1, "rows": []}')
    write(tmp_path / "list.json", "[1]")
    write(tmp_path / "note.txt", "x")
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "c.json")
    assert [path.name for path in find_flows([tmp_path])] == ["a.json", "b.json"]


@pytest.mark.parametrize(
    "text",
    [b'{"format": 1, "nodes": {},}', b'\xef\xbb\xbf{"format": 1, "nodes": {}}', b'{"nodes": \xff'],
)
def test_a_broken_flow_of_a_folder_is_not_passed_over(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.json").write_bytes(text)
    (tmp_path / "rows.json").write_bytes(b'{"rows": [1,]}')
    assert [path.name for path in find_flows([tmp_path])] == ["a.json"]


def test_an_emptied_flow_is_known_by_what_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"")
    write(tmp_path / "a.layout.json", "{}")
    (tmp_path / "b.json").write_bytes(b"")
    assert [path.name for path in find_flows([tmp_path])] == ["a.json"]


def test_r18_a_file_by_name_is_always_taken_and_only_once(tmp_path: Path) -> None:
    path = write(tmp_path / "list.json", "[1]")
    flow = write(tmp_path / "a.json")
    assert find_flows([path, tmp_path, flow]) == [path, flow]


def test_r18_r50_a_path_without_flow_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no flow in"):
        find_flows([tmp_path])
    with pytest.raises(UsageError, match=r"there is no .*gone"):
        find_flows([tmp_path / "gone"])


def test_r18_two_flows_of_one_id_are_told() -> None:
    one, _ = parse(flow_with())
    two, _ = parse(flow_with(), file="other/room.json")
    assert find_same_ids([one]) == []
    findings = find_same_ids([one, two])
    assert [(f.slug, f.where.file) for f in findings] == [("bad-id", "other/room.json")]
    assert "flows/room.json" in findings[0].what


@pytest.mark.parametrize(
    ("title", "slug"),
    [("Cold room", "cold-room"), ("  1st Floor!", "st-floor"), ("°C", "c"), ("…", "flow")],
)
def test_makes_an_id_of_a_title(title: Any, slug: str) -> None:
    assert slug_of(title) == slug


def test_loading_needs_neither_pydantic_nor_networkx() -> None:
    # the package's own __init__ is left out: what counts is what these modules ask for themselves
    code = """
import sys, types
package = types.ModuleType("flowengine")
package.__path__ = [sys.argv[1]]
sys.modules["flowengine"] = package
import flowengine.flow, flowengine.flow.references, flowengine.secrets
import flowengine.flow.canonical, flowengine.cases
heavy = ("pydantic", "networkx", "cryptography", "flowengine.fields", "flowengine.node")
print([name for name in heavy if name in sys.modules])
"""
    folder = str(Path(flowengine.__file__).parent)
    command = [sys.executable, "-c", code, folder]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


# -- laws ----------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_never_raises_on_any_bytes(raw: Any) -> None:
    flow, findings = parse(raw)
    assert flow is not None or findings


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(["a -> b", "$param", "mqtt.in", "5s", "", "x"])
)
KEYS = st.sampled_from(
    [
        "format",
        "nodes",
        "wires",
        "params",
        "connections",
        "layout",
        "tests",
        "type",
        "config",
        "title",
        "doc",
        "disabled",
        "from",
        "to",
        "capacity",
        "bytes",
        "when_full",
        "default",
        "$param",
        "$env",
        "$secret",
        "x-a",
        "a",
        "b-1",
        "A",
        "unit",
    ]
)
WILD = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)


@given(st.dictionaries(KEYS, WILD, max_size=6))
def test_never_raises_on_any_json(top: Any) -> None:
    for source in (top, {**top, "format": 1}):
        flow, findings = parse(json.dumps(source, default=str))
        assert flow is not None or findings
        for finding in findings:
            assert finding.what
            assert finding.where.line
