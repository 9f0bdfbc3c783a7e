"""The JSON Schemas take what `check` takes, mark what is wrong, and lead to no other file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from flowengine.check import check_flow
from flowengine.flow import parse_flow
from flowengine.registry import REGISTRY
from flowengine.schema import cases_schema, flow_schema
from tests.sample_types import SAMPLES
from tests.small_schema import faults

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_SCHEMA = flow_schema(SAMPLES)
SCHEMA = flow_schema(REGISTRY)

ROOM: dict[str, Any] = {
    "$schema": "./flow.schema.json",
    "format": 1,
    "title": "Room",
    "doc": ["one", "two"],
    "params": {"limit": {"type": "number", "default": 8.0, "unit": "°C"}},
    "connections": {
        "site": {
            "type": "link.broker",
            "config": {
                "host": {"$env": "HOST", "default": "h"},
                "port": {"$param": "limit"},
                "password": {"$secret": "site"},
            },
        }
    },
    "nodes": {
        "alarm": {"type": "limit", "config": {"high": {"$param": "limit"}, "x-why": {"a": 1}}},
        "feed": {"type": "feed", "config": {"broker": "site", "qos": 0}},
        "work": {"type": "work", "config": {"set": {"payload.a": {"$env": "E"}}, "code": ["a"]}},
        "out": {"type": "out", "config": {"broker": "site", "batch": {"age": "5s"}}},
        "tick": {"type": "tick"},
    },
    "wires": ["feed -> alarm", {"from": "alarm.raised", "to": "out", "capacity": 9}],
    "x-note": 5,
}


def edited(path: str, value: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(ROOM))
    here = found
    *way, last = path.split("/")
    for step in way:
        here = here[step]
    here[last] = value
    return found


def test_a_right_flow_fits() -> None:
    assert list(faults(ROOM, SAMPLE_SCHEMA, SAMPLE_SCHEMA)) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", 2),
        ("titel", "x"),
        ("nodes/alarm/type", "limti"),
        ("nodes/alarm/typ", "limit"),
        ("nodes/alarm/config/high", "8"),
        ("nodes/alarm/config/hihg", 8),
        ("nodes/alarm/config/hold", 5),
        ("nodes/alarm/config", {}),
        ("nodes/alarm", {"type": "limit"}),
        ("nodes/feed/config/qos", 3),
        ("nodes/out/config/batch", {"age": "5 seconds"}),
        ("nodes/Alarm", {"type": "tick"}),
        ("nodes/site", {"type": "link.broker", "config": {"host": "h"}}),
        ("connections/site/config/password", "geheim"),
        ("connections/site/config/password", {"$env": "P"}),
        ("params/limit/default", "8"),
        ("wires", ["a => b"]),
        ("wires", [{"from": "a", "to": "b"}]),
    ],
)
def test_what_is_wrong_is_marked(path: str, value: Any) -> None:
    assert list(faults(edited(path, value), SAMPLE_SCHEMA, SAMPLE_SCHEMA)) != []


POOL: list[Any] = [8, 8.5, -1, True, None, "5s", "90 s", "1MB", "payload", "payload.t", "site"]
POOL += [["a"], [], {"payload.a": "payload"}, {"$param": "limit"}, {"$param": "text"}]
POOL += [{"$env": "V"}, {"$env": "V", "default": 5}, {"$secret": "s"}, "a/+", "{payload.t}", 1]


def keys_of(name: str) -> list[str]:
    return sorted(
        info.alias or key for key, info in SAMPLES.types[name].config.model_fields.items()
    )


@st.composite
def configs(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from([n for n, kind in SAMPLES.types.items() if kind.kind != "note"]))
    keys = [*keys_of(name), "x-note"]
    defaults: dict[str, dict[str, Any]] = {"limit": {"high": 8}, "sort": {"to": ["a"]}}
    needed = defaults.get(name, {})
    given_ = draw(st.dictionaries(st.sampled_from(keys), st.sampled_from(POOL), max_size=2))
    base = {"broker": "site"} if name in {"feed", "out"} else needed
    return name, {**({"host": "h"} if name.startswith("link.") else base), **given_}


@given(configs())
@settings(max_examples=500)
def test_what_check_takes_fits(case: tuple[str, dict[str, Any]]) -> None:
    name, config = case
    home = "connections" if name.startswith("link.") else "nodes"
    document: dict[str, Any] = {
        "format": 1,
        "params": {"limit": {"type": "number"}, "text": {"type": "text"}},
        "nodes": {},
        "connections": {"site": {"type": "link.broker", "config": {"host": "h"}}},
    }
    document[home]["it"] = {"type": name, "config": config}
    flow, findings = parse_flow(json.dumps(document), flow_id="room")
    assert flow is not None
    found = [f for f in (*findings, *check_flow(flow, SAMPLES)) if f.severity == "error"]
    wrong = list(faults(document, SAMPLE_SCHEMA, SAMPLE_SCHEMA))
    event(f"check finds {bool(found)}, the schema {bool(wrong)}")
    if not found:
        assert wrong == []


@pytest.mark.parametrize(
    "file",
    [
        path
        for path in sorted((ROOT / "flows").glob("*.json"))
        if path.name.count(".") == 1 and path.name != "connections.json"
    ],
    ids=lambda path: path.stem,
)
def test_the_shipped_flows_fit(file: Path) -> None:
    assert list(faults(json.loads(file.read_text()), SCHEMA, SCHEMA)) == []


CASES = {
    "format": 1,
    "tests": [
        {
            "name": "raises once when the room stays warm",
            "start": "2026-01-01T00:00:00Z",
            "params": {"limit": 8},
            "state": {"alarm": {"dev-1": {"active": False, "since": None}}},
            "tolerance": {"abs": 0.000001, "time": "1ms"},
            "input": [
                {"at": "0s", "topic": "device/dev-1/telemetry", "payload": {"t": 9.1}},
                {"at": "150s", "node": "readings", "key": "dev-1", "meta": {"retained": False}},
                {"at": "3m", "connection": "site", "state": "down"},
            ],
            "until": "10m",
            "expect": {"siren": [{"at": "2m", "payload": "ON"}], "alarm.cleared": []},
            "expect_findings": [{"node": "readings", "slug": "not-json", "count": 1}],
        }
    ],
}


def test_r14_tests_of_a_flow_fit() -> None:
    schema = cases_schema()
    assert list(faults(CASES, schema, schema)) == []
    for text, wrong in (('"down"', '"dead"'), ('"at": "0s"', '"at": 0'), ('"until"', '"untill"')):
        document = json.loads(json.dumps(CASES).replace(text, wrong))
        assert list(faults(document, schema, schema)) != [], wrong


@pytest.mark.parametrize(
    "file", sorted((ROOT / "flows").glob("*.test.json")), ids=lambda path: path.name
)
def test_the_shipped_tests_fit(file: Path) -> None:
    schema = cases_schema()
    assert list(faults(json.loads(file.read_text()), schema, schema)) == []


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


@pytest.mark.parametrize("schema", [SCHEMA, SAMPLE_SCHEMA], ids=["all types", "samples"])
def test_every_reference_stays_in_the_file(schema: dict[str, Any]) -> None:
    found = set(references(schema))
    assert found
    for reference in found:
        assert re.fullmatch(r"#/\$defs/[^/]+", reference)
        assert reference.removeprefix("#/$defs/") in schema["$defs"]


def test_every_type_is_offered_with_what_it_does() -> None:
    types, _ = REGISTRY.everything()
    node = SCHEMA["$defs"]["flow.node"]["properties"]["type"]
    link = SCHEMA["$defs"]["flow.connection"]["properties"]["type"]
    assert sorted([*node["enum"], *link["enum"]]) == list(types)
    assert len(node["enum"]) == len(node["enumDescriptions"])
