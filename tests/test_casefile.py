"""A test file says what goes in and what must come out, and is told every fault of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.cases import bundled_cases, check_cases, load_cases, parse_cases
from flowengine.clock import TOLD_START
from flowengine.flow import cases_path, parse_flow
from flowengine.flow.canonical import canonical_cases

S = 1_000_000_000

EXAMPLE = """{
  "format": 1,
  "tests": [
    {
      "name": "raises once when the room stays warm",
      "doc": "optional",
      "start": "2026-01-02T00:00:00Z",
      "params": {"limit": 8},
      "env": {"SITE": "a"},
      "secrets": {"site-mqtt": "x"},
      "state": {"alarm": {"dev-1": {"active": false, "since": null}}},
      "tolerance": {"abs": 0.01, "time": "5ms"},
      "input": [
        {"at": "150s", "node": "readings", "key": "dev-1", "payload": {"t": 9.2},
         "meta": {"retained": false}},
        {"at": "0s", "topic": "device/dev-1/telemetry", "payload": {"temperature": 9.1}},
        {"at": "3m", "connection": "site", "state": "down"},
        {"at": "0s", "topic": "second", "time": "2026-01-01T00:00:00.5Z"}
      ],
      "until": "10m",
      "expect": {
        "siren": [{"at": "2m", "topic": "site/siren/set", "payload": "ON"}],
        "alarm.cleared": [],
        "alarm.raised": [{"payload": {"t": {"$approx": 9.1, "abs": 0.05}, "b": {"$any": true},
                                      "$partial": true}}]
      },
      "expect_state": {"alarm": {"dev-1": {"active": true}}},
      "expect_findings": [{"node": "readings", "slug": "not-json", "count": 1}, {"slug": "x"}]
    }
  ]
}
"""

FLOW: Any = parse_flow(
    json.dumps(
        {
            "format": 1,
            "params": {"limit": {"type": "number"}},
            "connections": {"site": {"type": "mqtt.broker"}},
            "nodes": {name: {"type": "x"} for name in ("alarm", "readings", "siren")},
        }
    ),
    flow_id="cold-room",
)[0]


def read(source: Any, **given: Any) -> Any:
    return parse_cases(source, **given)


def load(path: Path) -> Any:
    return load_cases(path)


def flow_of(text: str, **given: Any) -> Any:
    return parse_flow(text, **given)


def test_r14_reads_the_example_of_the_page() -> None:
    cases, findings = read(EXAMPLE, file="cold-room.test.json")
    assert findings == []
    (case,) = cases.cases
    assert case.name == "raises once when the room stays warm"
    assert case.start == TOLD_START + 86_400 * S
    assert (case.params, case.env, case.secrets) == (
        {"limit": 8},
        {"SITE": "a"},
        {"site-mqtt": "x"},
    )
    assert case.state == {"alarm": {"dev-1": {"active": False, "since": None}}}
    assert (case.tolerance.abs, case.tolerance.rel, case.tolerance.time) == (0.01, 1e-6, 5_000_000)
    assert [(item.at, item.index) for item in case.inputs] == [
        (0, 1),
        (0, 3),
        (150 * S, 0),
        (180 * S, 2),
    ]
    first, second, third, fourth = case.inputs
    assert (first.topic, first.payload) == ("device/dev-1/telemetry", {"temperature": 9.1})
    assert (first.time, "time" in first.given) == (None, False)
    assert (second.time, "payload" in second.given) == (TOLD_START + S // 2, False)
    assert (third.node, third.key, third.meta) == ("readings", "dev-1", {"retained": False})
    assert (fourth.connection, fourth.state) == ("site", "down")
    assert case.until == 600 * S
    assert list(case.expect) == ["siren", "alarm.cleared", "alarm.raised"]
    assert case.expect["alarm.cleared"] == []
    assert case.expect_state == {"alarm": {"dev-1": {"active": True}}}
    assert [(found.node, found.slug, found.count) for found in case.expect_findings] == [
        ("readings", "not-json", 1),
        (None, "x", None),
    ]
    assert check_cases(cases, FLOW) == []


def test_r14_what_is_left_out_has_the_values_of_the_page() -> None:
    cases, findings = read(
        '{"format": 1, "tests": [{"name": "a", "input": [{"at": "2m", "topic": "x"}]}]}'
    )
    assert findings == []
    (case,) = cases.cases
    assert case.start == TOLD_START
    assert case.until == (120 + 3600) * S
    assert (case.tolerance.abs, case.tolerance.rel, case.tolerance.time) == (1e-6, 1e-6, 1_000_000)
    assert case.expect == {}


FAULTS = {
    "no test": ("7", "bad-value", "tests[0]", "no test"),
    "no name": ("{}", "missing-field", "tests[0].name", "name"),
    "unknown key": ('{"name": "a", "inputs": []}', "unknown-key", "tests[0].inputs", "inputs"),
    "start": ('{"name": "a", "start": "today"}', "bad-value", "tests[0].start", "today"),
    "until": ('{"name": "a", "until": 5}', "bad-duration", "tests[0].until", "unit"),
    "ends too soon": (
        '{"name": "a", "until": "1s", "input": [{"at": "2s", "topic": "x"}]}',
        "bad-value",
        "tests[0].until",
        "before its last input",
    ),
    "at": (
        '{"name": "a", "input": [{"at": "soon", "topic": "x"}]}',
        "bad-duration",
        "tests[0].input[0].at",
        "soon",
    ),
    "input to nowhere": (
        '{"name": "a", "input": [{"at": "1s"}]}',
        "bad-value",
        "tests[0].input[0]",
        "nowhere",
    ),
    "input that is none": (
        '{"name": "a", "input": [1]}',
        "bad-value",
        "tests[0].input[0]",
        "object",
    ),
    "state of a connection": (
        '{"name": "a", "input": [{"connection": "s", "state": "gone"}]}',
        "bad-value",
        "tests[0].input[0].state",
        "gone",
    ),
    "payload of a connection": (
        '{"name": "a", "input": [{"connection": "s", "state": "up", "payload": 1}]}',
        "unknown-key",
        "tests[0].input[0].payload",
        "payload",
    ),
    "bytes": (
        '{"name": "a", "input": [{"topic": "t", "payload": {"$bytes": "?"}}]}',
        "bad-value",
        "tests[0].input[0].payload",
        "base64",
    ),
    "any in an input": (
        '{"name": "a", "input": [{"topic": "t", "payload": {"x": {"$any": true}}}]}',
        "bad-value",
        "tests[0].input[0].payload.x",
        "expected",
    ),
    "expected that is no list": (
        '{"name": "a", "expect": {"b": {}}}',
        "bad-value",
        "tests[0].expect.b",
        "no list",
    ),
    "key of a message": (
        '{"name": "a", "expect": {"b": [{"paylod": 1}]}}',
        "unknown-key",
        "tests[0].expect.b[0].paylod",
        "paylod",
    ),
    "time of a message": (
        '{"name": "a", "expect": {"b": [{"time": 7}]}}',
        "bad-value",
        "tests[0].expect.b[0].time",
        "7",
    ),
    "approx of text": (
        '{"name": "a", "expect": {"b": [{"payload": {"$approx": "9"}}]}}',
        "bad-value",
        "tests[0].expect.b[0].payload",
        "number",
    ),
    "any that is false": (
        '{"name": "a", "expect": {"b": [{"payload": {"$any": false}}]}}',
        "bad-value",
        "tests[0].expect.b[0].payload",
        "$any",
    ),
    "partial of text": (
        '{"name": "a", "expect": {"b": [{"payload": {"$partial": "yes"}}]}}',
        "bad-value",
        "tests[0].expect.b[0].payload",
        "$partial",
    ),
    "tolerance": (
        '{"name": "a", "tolerance": {"abs": -1}}',
        "bad-value",
        "tests[0].tolerance.abs",
        "-1",
    ),
    "env of numbers": ('{"name": "a", "env": {"A": 1}}', "bad-value", "tests[0].env.A", "text"),
    "state by key": ('{"name": "a", "state": {"b": 1}}', "bad-value", "tests[0].state.b", "state"),
    "finding without slug": (
        '{"name": "a", "expect_findings": [{"node": "b"}]}',
        "missing-field",
        "tests[0].expect_findings[0].slug",
        "slug",
    ),
    "count": (
        '{"name": "a", "expect_findings": [{"slug": "b", "count": -1}]}',
        "bad-value",
        "tests[0].expect_findings[0].count",
        "-1",
    ),
    "same name": ('{"name": "a"}, {"name": "a"}', "bad-value", "tests[1].name", "taken"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_r14_names_the_fault_its_place_and_the_mend(name: str) -> None:
    tests, slug, field, what = FAULTS[name]
    _, findings = read('{"format": 1,\n "tests": [\n' + tests + "]}", file="a.test.json")
    assert [(f.slug, f.where.field, f.where.line) for f in findings] == [(slug, field, 3)]
    assert what in findings[0].what
    assert findings[0].mend


def test_r14_names_the_flow_does_not_have() -> None:
    tests = {
        "name": "a",
        "params": {"limt": 1},
        "input": [{"node": "reading"}, {"connection": "sit", "state": "up"}],
        "expect": {"horn": [], "alarm.raised": []},
        "state": {"alrm": {}},
        "expect_state": {"x": {}},
        "expect_findings": [{"slug": "s", "node": "y"}],
    }
    cases, findings = read(json.dumps({"format": 1, "tests": [tests]}, indent=1))
    assert findings == []
    assert [(f.slug, f.where.field) for f in check_cases(cases, FLOW)] == [
        ("bad-reference", "tests[0].params.limt"),
        ("unknown-node", "tests[0].input[0].node"),
        ("bad-reference", "tests[0].input[1].connection"),
        ("unknown-node", "tests[0].expect.horn"),
        ("unknown-node", "tests[0].state.alrm"),
        ("unknown-node", "tests[0].expect_state.x"),
        ("unknown-node", "tests[0].expect_findings[0].node"),
    ]
    assert 'Did you mean "limit"?' in check_cases(cases, FLOW)[0].mend


def test_r14_a_rewrite_changes_what_is_expected_alone() -> None:
    cases, _ = read(EXAMPLE)
    new = {"siren": [{"payload": "OFF"}]}
    raw = cases.with_expect({0: new})
    (test,) = raw["tests"]
    assert test["expect"] == new
    assert {**test, "expect": 1} == {**cases.raw["tests"][0], "expect": 1}
    two = cases.raw["tests"] * 2
    cases.raw["tests"] = two
    assert cases.with_expect({1: new})["tests"] == [two[0], {**two[1], "expect": new}]
    again, findings = read(canonical_cases(raw))
    assert findings == []
    assert again.cases[0].expect == new
    assert again.cases[0].until == cases.cases[0].until


def test_a_file_is_found_beside_its_flow(tmp_path: Path) -> None:
    path = cases_path(tmp_path / "cold-room.json")
    assert path.name == "cold-room.test.json"
    path.write_text(EXAMPLE, encoding="utf-8")
    cases, findings = load(path)
    assert (len(cases.cases), findings, cases.file) == (1, [], str(path))
    path.write_text('{"format": 1, "tests": [}', encoding="utf-8")
    broken, findings = load(path)
    assert broken is None
    assert [(f.slug, f.where.line, f.where.column) for f in findings] == [("not-json", 1, 25)]
    assert [f.slug for f in load_cases(tmp_path / "gone.test.json")[1]] == ["unreadable"]


def test_a_bundle_holds_its_tests() -> None:
    tests = [{"name": "a"}, {"nam": "b"}]
    text = json.dumps({"format": 1, "nodes": {}, "tests": tests}, indent=1)
    flow, _ = flow_of(text, flow_id="room", file="room.json")
    cases, findings = bundled_cases(flow)
    assert [case.name for case in cases.cases] == ["a", "test 2"]
    assert [(f.slug, f.where.field) for f in findings] == [
        ("missing-field", "tests[1].name"),
        ("unknown-key", "tests[1].nam"),
    ]
    line = findings[1].where.line or 0
    assert text.splitlines()[line - 1].strip() == '"nam": "b"'


@given(st.binary(max_size=200))
def test_never_raises_on_any_bytes(raw: Any) -> None:
    cases, findings = read(raw)
    assert cases is not None or findings


KEYS = st.sampled_from(
    [
        "name",
        "start",
        "until",
        "input",
        "expect",
        "state",
        "tolerance",
        "at",
        "topic",
        "node",
        "connection",
        "payload",
        "time",
        "meta",
        "expect_findings",
        "slug",
        "count",
        "$any",
        "$approx",
        "$bytes",
        "$partial",
        "abs",
        "params",
        "env",
    ]
)
WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["5s", "a", "x.y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)


@given(st.lists(WILD, max_size=3))
def test_never_raises_on_any_json(tests: Any) -> None:
    cases, _ = read(json.dumps({"format": 1, "tests": tests}))
    assert cases is not None
    canonical_cases(cases.raw)
