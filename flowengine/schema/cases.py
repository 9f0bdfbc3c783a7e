"""The JSON Schema of a flow's tests, `<flow>.test.json` (R14)."""

from typing import Any

from flowengine.cases.model import CASE_KEYS, FILE_KEYS, LINK_STATES

_DURATION = {"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|s|m|h|d))+$"}
_TIME = {"type": "string", "description": "RFC 3339 in UTC, as 2026-01-01T00:00:00Z."}
_DOC = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_BY_NODE = {"type": "object", "additionalProperties": {"type": "object"}}
_PAYLOAD = {
    "description": 'Any JSON; bytes as {"$bytes": "base64"}. Of an expected one {"$any": true} is '
    'anything, {"$approx": 9.1, "abs": 0.05} a number nearby, and "$partial": true leaves out keys.'
}
_MESSAGE: dict[str, Any] = {
    "at": {**_DURATION, "description": "From the start of the test."},
    "topic": {"type": "string"},
    "key": {"type": "string"},
    "time": _TIME,
    "payload": _PAYLOAD,
    "meta": {"type": "object"},
}


def cases_schema() -> dict[str, Any]:
    """The JSON Schema of a test file."""
    keys: dict[str, Any] = {
        "name": {"type": "string", "description": "What is promised, as a sentence."},
        "doc": _DOC,
        "start": _TIME,
        "params": {"type": "object"},
        "env": _TEXTS,
        "secrets": _TEXTS,
        "state": _BY_NODE,
        "tolerance": _object(
            {"abs": {"type": "number"}, "rel": {"type": "number"}, "time": _DURATION}
        ),
        "input": {"type": "array", "items": _input()},
        "until": {**_DURATION, "description": "The clock runs there; default: last input + 1 h."},
        "expect": {
            "type": "object",
            "description": "By node (a sink: what it was given) or node.output: what must come.",
            "additionalProperties": {"type": "array", "items": _object(_MESSAGE)},
        },
        "expect_state": _BY_NODE,
        "expect_findings": {
            "type": "array",
            "items": _object(
                {
                    "node": {"type": "string"},
                    "slug": {"type": "string"},
                    "count": {"type": "integer", "minimum": 0},
                },
                required=["slug"],
            ),
        },
    }
    case = _object({key: keys[key] for key in CASE_KEYS}, required=["name"])
    top: dict[str, Any] = {
        "$schema": {"type": "string"},
        "format": {"const": 1},
        "doc": _DOC,
        "tests": {"type": "array", "items": case},
    }
    whole = _object({key: top[key] for key in FILE_KEYS}, required=["format", "tests"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tests of a flow of flowengine",
        **whole,
    }


def _input() -> dict[str, Any]:
    """A message to the broker by topic, one to a node, or a change of a connection."""
    state = {
        "at": _MESSAGE["at"],
        "connection": {"type": "string"},
        "state": {"enum": list(LINK_STATES)},
    }
    to_node = {"node": {"type": "string"}, **_MESSAGE}
    return {
        "anyOf": [
            _object(_MESSAGE, required=["topic"]),
            _object(to_node, required=["node"]),
            _object(state, required=["connection", "state"]),
        ]
    }


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    return {**found, "patternProperties": {"^x-": {}}, "additionalProperties": False}
