"""References give way to values, and what has no value here is told apart from what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.errors import UsageError
from flowengine.fields import Secret
from flowengine.flow import parse_flow
from flowengine.flow.params import fit, from_text
from flowengine.flow.references import (
    Absent,
    load_params,
    read_params,
    references,
    resolve,
    schema_field_type,
)

SCHEMA = {
    "properties": {
        "port": {"type": "integer", "default": 1883},
        "limit": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "clean": {"type": "boolean"},
        "host": {"type": "string", "format": "host"},
        "hold": {"type": "string", "format": "duration"},
        "password": {"anyOf": [{"$ref": "#/$defs/S"}, {"type": "null"}], "format": "secret"},
        "either": {"anyOf": [{"type": "number"}, {"type": "string"}]},
        "names": {"type": "array", "items": {"type": "string"}},
        "tags": {"type": "object", "additionalProperties": {"type": "number"}},
        "tls": {"$ref": "#/$defs/Tls"},
    },
    "$defs": {
        "S": {"type": "object", "properties": {"$secret": {"type": "string"}}, "format": "secret"},
        "Tls": {"type": "object", "properties": {"version": {"type": "number"}}},
    },
}
FIELDS = schema_field_type(lambda kind, name: SCHEMA if name == "known" else None)


def parse(text: str, **given: Any) -> Any:
    return parse_flow(text, **given)


def flow_of(config: Any, params: Any = None, kind: Any = "known", **node: Any) -> Any:
    top = {
        "format": 1,
        "params": params or {},
        "nodes": {"a": {"type": kind, "config": config, **node}},
    }
    flow, findings = parse(json.dumps(top), flow_id="room", file="room.json")
    assert findings == []
    return flow


def resolved(
    flow: Any, params: Any = None, env: Any = None, secrets: Any = None, field_type: Any = FIELDS
) -> Any:
    return resolve(
        flow,
        params=params or {},
        env=env or {},
        secrets=(secrets or {}).get,
        field_type=field_type,
    )


def test_r19_puts_values_in_place() -> None:
    flow = flow_of(
        {
            "limit": {"$param": "limit"},
            "host": {"$env": "HOST", "default": "127.0.0.1"},
            "password": {"$secret": "site"},
            "names": ["x", {"$env": "NAME"}, "y"],
            "tags": {"t": {"$param": "limit"}, "u": 1},
            "x-note": {"$param": "whatever"},
        },
        {"limit": {"type": "number", "default": 8}},
    )
    found = resolved(flow, {"limit": 7.5}, {"NAME": "n"}, {"site": "hunter2"})
    assert found.config("node", "a") == {
        "limit": 7.5,
        "host": "127.0.0.1",
        "password": Secret("site", "hunter2"),
        "names": ["x", "n", "y"],
        "tags": {"t": 7.5, "u": 1},
    }
    assert found.params == {"limit": 7.5}
    assert (found.missing, found.findings, found.placeholders) == ([], [], set())
    assert flow.nodes["a"].config["limit"] == {"$param": "limit"}
    assert "hunter2" not in repr(found.config("node", "a"))


def test_a_config_without_references_is_not_copied() -> None:
    flow = flow_of({"tags": {"a": 1}})
    assert resolved(flow).config("node", "a") is flow.nodes["a"].config


def test_connections_are_resolved_too() -> None:
    text = '{"format": 1, "nodes": {}, "connections": {"s": {"type": "x", "config": %s}}}'
    flow, _ = parse(text % '{"port": {"$env": "P"}}', flow_id="a")
    assert resolved(flow, env={"P": "1"}).config("connection", "s") == {"port": "1"}


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("port", "1884", 1884),
        ("port", " 1884 ", 1884),
        ("limit", "8", 8),
        ("limit", "-8.5e1", -85.0),
        ("clean", "true", True),
        ("clean", "False", False),
        ("host", "1884", "1884"),
        ("hold", "5s", "5s"),
        ("either", "1884", "1884"),
        ("unknown", "1884", "1884"),
    ],
)
def test_r19_a_variable_is_read_as_the_type_of_its_field(field: Any, text: str, value: Any) -> None:
    found = resolved(flow_of({field: {"$env": "V"}}), env={"V": text})
    assert repr(found.config("node", "a")) == repr({field: value})
    assert found.findings == []


def test_a_variable_deep_inside_is_read_as_its_type() -> None:
    config = {
        "tls": {"version": {"$env": "V"}},
        "tags": {"t": {"$env": "V"}},
        "names": [{"$env": "V"}],
    }
    found = resolved(flow_of(config), env={"V": "3"})
    assert found.config("node", "a") == {"tls": {"version": 3}, "tags": {"t": 3}, "names": ["3"]}


@pytest.mark.parametrize(
    ("kind", "field_type"), [("unknown", FIELDS), ("known", None)], ids=["type", "no schemas"]
)
def test_without_a_schema_a_variable_stays_text(kind: Any, field_type: Any) -> None:
    found = resolved(
        flow_of({"port": {"$env": "V"}}, kind=kind), env={"V": "1"}, field_type=field_type
    )
    assert found.config("node", "a") == {"port": "1"}


@pytest.mark.parametrize(
    ("field", "text"),
    [("port", "18.5"), ("port", "abc"), ("limit", "nan"), ("limit", "1e999"), ("clean", "2")],
)
def test_r19_a_variable_of_another_type_is_a_finding_that_does_not_show_it(
    field: Any, text: str
) -> None:
    found = resolved(flow_of({field: {"$env": "V"}}), env={"V": text})
    (finding,) = found.findings
    assert (finding.slug, finding.where.node, finding.where.field) == (
        "bad-value",
        "a",
        f"config.{field}",
    )
    assert "V" in finding.what
    assert "V" in finding.mend
    assert text not in finding.what
    assert ("nodes", "a", "config", field) in found.placeholders


def test_r19_the_default_of_a_variable_is_a_literal() -> None:
    flow = flow_of({"port": {"$env": "V", "default": 1}, "limit": {"$env": "W", "default": None}})
    assert resolved(flow).config("node", "a") == {"port": 1, "limit": None}


WRONG = {
    "no such param": ("limit", {"$param": "gone"}, "gone", "Declare"),
    "param of another type": ("limit", {"$param": "word"}, "word", "type"),
    "text for an integer": ("port", {"$param": "word"}, "integer", "type"),
    "number for text": ("host", {"$param": "number"}, "number", "type"),
    "list for a map": ("tags", {"$param": "list"}, "list", "type"),
    "param for a secret": ("password", {"$param": "word"}, "secret", "secrets set"),
    "variable for a secret": ("password", {"$env": "V"}, "secret", "secrets set"),
    "secret for text": ("host", {"$secret": "site"}, "site", "field for secrets"),
    "secret for a number": ("port", {"$secret": "site"}, "site", "field for secrets"),
}
PARAMS = {
    "word": {"type": "text", "default": "x"},
    "number": {"type": "number", "default": 1},
    "list": {"type": "list", "default": []},
    "hold": {"type": "duration", "default": "5s"},
}


@pytest.mark.parametrize("name", WRONG)
def test_r19_a_wrong_reference_is_a_finding(name: str) -> None:
    field, value, what, mend = WRONG[name]
    found = resolved(flow_of({field: value}, PARAMS), env={"V": "x"}, secrets={"site": "y"})
    (finding,) = found.findings
    assert finding.slug == "bad-reference"
    assert (finding.where.field, finding.where.line) == (f"config.{field}", 1)
    assert what in finding.what
    assert mend in finding.mend
    assert found.placeholders == {("nodes", "a", "config", field)}
    assert found.missing == []


@pytest.mark.parametrize(
    ("field", "param"), [("hold", "hold"), ("host", "word"), ("port", "number"), ("either", "list")]
)
def test_what_depends_on_the_value_is_left_to_validation(field: Any, param: Any) -> None:
    assert resolved(flow_of({field: {"$param": param}}, PARAMS)).findings == []


def test_r13_r19_what_has_no_value_is_missing_and_no_finding() -> None:
    flow = flow_of(
        {
            "limit": {"$param": "limit"},
            "host": {"$env": "HOST"},
            "names": ["a", {"$env": "NAME"}],
            "password": {"$secret": "site"},
        },
        {"limit": {"type": "number"}},
    )
    found = resolved(flow)
    assert [(kind, name, where.field) for kind, name, where in found.missing] == [
        ("param", "limit", "params.limit"),
        ("env", "HOST", "config.host"),
        ("env", "NAME", "config.names[1]"),
        ("secret", "site", "config.password"),
    ]
    assert found.findings == []
    top = ("nodes", "a", "config")
    assert found.placeholders == {(*top, "limit"), (*top, "host"), (*top, "names", 1)}
    config = found.config("node", "a")
    assert isinstance(config["host"], Absent)
    assert config["password"] == Secret("site", None)
    assert found.params == {}


def test_what_a_disabled_node_lacks_is_not_missed() -> None:
    flow = flow_of({"host": {"$env": "H"}, "password": {"$secret": "s"}}, disabled=True)
    asked: list[str] = []
    found = resolve(flow, params={}, env={}, secrets=asked.append, field_type=FIELDS)
    assert found.missing == []
    assert asked == []
    assert found.placeholders == {("nodes", "a", "config", "host")}


@pytest.mark.parametrize(("named", "missed"), [("site", ["HOST"]), ("other", [])])
def test_what_a_shared_connection_lacks_is_missed_if_a_node_names_it(
    named: Any, missed: Any
) -> None:
    text = '{"format": 1, "nodes": {}, "connections": {"site": {"type": "x", "config": {"h": %s}}}}'
    shared, _ = parse(text % '{"$env": "HOST"}', flow_id="x")
    top = {"format": 1, "nodes": {"a": {"type": "mqtt.in", "config": {"broker": named}}}}
    flow, _ = parse(json.dumps(top), flow_id="a", shared=shared.connections)
    assert [name for _, name, _ in resolved(flow).missing] == missed


def test_a_given_value_that_does_not_fit_is_a_finding() -> None:
    flow = flow_of({}, {"limit": {"type": "number", "default": 8}})
    found = resolved(flow, {"limit": "7", "other": 1})
    assert [(f.slug, f.where.field) for f in found.findings] == [("bad-value", "params.limit")]


def test_references_lists_what_a_box_needs() -> None:
    flow = flow_of({"a": {"$env": "A"}, "b": [{"$secret": "s"}, {"x": {"$param": "p"}}], "c": 1})
    top = ("nodes", "a", "config")
    assert list(references(flow)) == [
        ("env", "A", (*top, "a")),
        ("secret", "s", (*top, "b", 0)),
        ("param", "p", (*top, "b", 1, "x")),
    ]


# -- values from the command line ----------------------------------------------------------------


def flow_named(name: str, **params: Any) -> Any:
    top = {
        "format": 1,
        "nodes": {},
        "params": {key: {"type": kind} for key, kind in params.items()},
    }
    return parse(json.dumps(top), flow_id=name)[0]


ROOMS = [
    flow_named("cold-room", limit="number", hold="duration", names="list"),
    flow_named("hall", limit="number", on="boolean"),
]


@pytest.mark.parametrize(
    ("file_values", "options", "expected"),
    [
        ({}, [], [{}, {}]),
        ({"limit": 7}, [], [{"limit": 7}, {"limit": 7}]),
        ({"cold-room": {"limit": 7}}, [], [{"limit": 7}, {}]),
        ({"limit": 7, "hall": {"limit": 8}}, [], [{"limit": 7}, {"limit": 8}]),
        ({"hall": {"limit": 8}, "limit": 7}, [], [{"limit": 7}, {"limit": 7}]),
        ({"limit": 7}, ["limit=9", "hall.limit=1.5"], [{"limit": 9}, {"limit": 1.5}]),
        ({}, ["hold=5s", "names=[1, 2]"], [{"hold": "5s", "names": [1, 2]}, {}]),
        ({}, ["on=true"], [{}, {"on": True}]),
        ({}, ["hold=1m", "hold=2m"], [{"hold": "2m"}, {}]),
    ],
)
def test_r19_values_of_file_and_options_by_flow(
    file_values: Any, options: Any, expected: Any
) -> None:
    assert read_params(file_values, options, ROOMS) == dict(
        zip(["cold-room", "hall"], expected, strict=True)
    )


@pytest.mark.parametrize(
    ("file_values", "options", "said"),
    [
        ({"lmit": 7}, [], '"lmit"'),
        ({"hall": {"hold": "1s"}}, [], '"hall.hold"'),
        ({}, ["hall.hold=1s"], '"hall.hold"'),
        ({}, ["attic.limit=1"], '"attic"'),
        ({}, ["limit"], 'no "="'),
        ({}, ["limit=warm"], "no number"),
        ({}, ["limit=inf"], "no number"),
        ({}, ["on=1"], "neither true nor false"),
        ({}, ["hold=5"], "no duration"),
        ({}, ["names={}"], "no list"),
        ({}, ["names=[1,"], "no JSON list"),
        ({"limit": "7"}, [], "no number"),
        ({"limit": True}, [], "no number"),
    ],
)
def test_r19_a_name_no_flow_has_or_a_value_that_does_not_fit_is_wrong_usage(
    file_values: Any, options: Any, said: Any
) -> None:
    with pytest.raises(UsageError) as caught:
        read_params(file_values, options, ROOMS)
    assert said in caught.value.what
    assert caught.value.mend


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"a": 1,}', ":1:8: a comma"), ("[1]", "no object"), ("", "empty"), (None, "cannot be read")],
)
def test_a_broken_params_file_is_wrong_usage(tmp_path: Path, text: str, said: Any) -> None:
    path = tmp_path / "site.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_params(path)
    assert said in caught.value.what


def test_reads_a_params_file(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    path.write_text('{"limit": 7}', encoding="utf-8")
    assert load_params(path) == {"limit": 7}


@given(st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_is_read_from_its_text(number: Any) -> None:
    assert repr(from_text(repr(number), "number")) == repr(number)


@given(st.text())
def test_text_is_never_read_as_a_number_by_chance(text: str) -> None:
    try:
        value = from_text(text, "number")
    except ValueError:
        return
    assert float(fit(value, "number")) == float(text)
