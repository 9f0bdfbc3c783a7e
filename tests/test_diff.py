"""`diff` tells what changed in meaning, what moved, and what a deploy restarts."""

import copy
import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.check.types import book_of
from flowengine.diff import FlowDiff, as_json, compare_flows
from flowengine.diff.text import diff_text, mermaid
from flowengine.flow import Flow, parse_flow
from flowengine.flow.canonical import canonical
from tests.sample_types import SAMPLES, documents, flow_of

ROOM: dict[str, Any] = {
    "title": "Room",
    "params": {"limit": {"type": "number", "default": 8.0}},
    "connections": {"site": {"type": "link.broker", "config": {"host": "h"}}},
    "nodes": {
        "alarm": {"type": "limit", "config": {"high": 8.0, "hold": "60s", "room": "1MB"}},
        "feed": {"type": "feed", "config": {"broker": "site", "topic": "a/+"}},
        "siren": {"type": "out", "config": {"broker": "site", "payload": "ON"}},
    },
    "wires": ["alarm.raised -> siren", "feed -> alarm"],
}


def changed(*edits: tuple[str, Any], base: dict[str, Any] = ROOM) -> dict[str, Any]:
    """The document with values set by slash-separated paths; None removes."""
    found = copy.deepcopy(base)
    for path, value in edits:
        here = found
        *way, last = path.split("/")
        for step in way:
            here = here.setdefault(step, {})
        if value is None:
            del here[last]
        else:
            here[last] = value
    return found


def compare(old: dict[str, Any], new: dict[str, Any]) -> FlowDiff:
    return compare_flows(flow_of(old), flow_of(new), SAMPLES)


def told(diff: FlowDiff) -> list[tuple[Any, ...]]:
    keys = ("op", "kind", "id", "path", "from", "to")
    return [tuple(change[key] for key in keys) for change in as_json(diff)["changes"]]


SAME: list[tuple[str, list[tuple[str, Any]]]] = [
    ("a duration in another unit", [("nodes/alarm/config/hold", "1m")]),
    ("a size in another unit", [("nodes/alarm/config/room", "1000KB")]),
    ("a number spelled otherwise", [("nodes/alarm/config/high", 8)]),
    ("a first output left out", [("wires", ["alarm -> siren", "feed.out -> alarm"])]),
    ("another order of wires", [("wires", ["feed -> alarm", "alarm.raised -> siren"])]),
    ("a template in lines", [("nodes/siren/config/payload", ["ON"])]),
    ("a param's number", [("params/limit/default", 8)]),
]


@pytest.mark.parametrize("edits", [case[1] for case in SAME], ids=[case[0] for case in SAME])
def test_r39_no_difference(edits: list[tuple[str, Any]]) -> None:
    diff = compare(ROOM, changed(*edits))
    assert told(diff) == []
    assert (diff.restarts, diff.kept) == ([], ["alarm", "feed", "siren"])
    assert diff_text(diff) == ""


LIMIT = {"$param": "limit"}
CHANGES: list[tuple[str, list[tuple[str, Any]], list[tuple[Any, ...]], list[str]]] = [
    (
        "a value by a reference",
        [("nodes/alarm/config/high", LIMIT)],
        [("change", "node", "alarm", "config.high", 8.0, LIMIT)],
        ["alarm"],
    ),
    (
        "a default written out",
        [("nodes/feed/config/qos", 1)],
        [("add", "node", "feed", "config.qos", None, 1)],
        ["feed"],
    ),
    (
        "the kind of a number where it matters",
        [("nodes/alarm/config/count", 2)],
        [("add", "node", "alarm", "config.count", None, 2)],
        ["alarm"],
    ),
    (
        "a title restarts nothing",
        [("title", "Hall"), ("nodes/alarm/title", "Alarm")],
        [
            ("change", "title", "room", None, "Room", "Hall"),
            ("add", "node", "alarm", "title", None, "Alarm"),
        ],
        [],
    ),
    (
        "notes are meaning and restart nothing",
        [("x-owner", "me"), ("nodes/alarm/config/x-why", "cold")],
        [
            ("add", "doc", "room", "x-owner", None, "me"),
            ("add", "node", "alarm", "config.x-why", None, "cold"),
        ],
        [],
    ),
    (
        "a new node with its wire",
        [
            ("nodes/horn", {"type": "out", "config": {"broker": "site"}}),
            ("wires", [*ROOM["wires"], "alarm -> horn"]),
        ],
        [
            ("add", "node", "horn", None, None, {"type": "out", "config": {"broker": "site"}}),
            ("add", "wire", "alarm -> horn", None, None, {}),
        ],
        ["horn"],
    ),
    (
        "a connection restarts its nodes",
        [("connections/site/config/host", "i")],
        [("change", "connection", "site", "config.host", "h", "i")],
        ["feed", "siren"],
    ),
    (
        "a param restarts all",
        [("params/limit/default", 9.0)],
        [("change", "param", "limit", "default", 8.0, 9.0)],
        ["alarm", "feed", "siren"],
    ),
    (
        "a param's unit restarts nothing",
        [("params/limit/unit", "K")],
        [("add", "param", "limit", "unit", None, "K")],
        [],
    ),
    (
        "room in a wire",
        [("wires", [{"from": "alarm.raised", "to": "siren", "capacity": 9}, "feed -> alarm"])],
        [("add", "wire", "alarm.raised -> siren", "capacity", None, 9)],
        [],
    ),
    (
        "another type",
        [("nodes/siren", {"type": "work", "config": {}})],
        [
            ("change", "node", "siren", "type", "out", "work"),
            ("remove", "node", "siren", "config.broker", "site", None),
            ("remove", "node", "siren", "config.payload", "ON", None),
        ],
        ["siren"],
    ),
]


@pytest.mark.parametrize(
    ("edits", "expected", "restarts"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_r39_a_difference(
    edits: list[tuple[str, Any]], expected: list[tuple[Any, ...]], restarts: list[str]
) -> None:
    old, new = ROOM, changed(*edits)
    diff = compare(old, new)
    assert told(diff) == expected
    assert diff.restarts == restarts
    assert set(diff.restarts) | set(diff.kept) == set(new["nodes"])
    mirrored = {"add": "remove", "remove": "add", "change": "change"}
    back = [(mirrored[op], *rest[:3], b, a) for op, *rest, a, b in expected]
    assert sorted(map(repr, told(compare(new, old)))) == sorted(map(repr, back))


def test_r34_r39_an_integer_field_tells_8_from_8_0() -> None:
    one = changed(("nodes/alarm/config/count", 8))
    assert told(compare(one, changed(("nodes/alarm/config/count", 8.0)))) != []


def test_a_disabled_node_stops_and_is_neither_restarted_nor_kept() -> None:
    diff = compare(ROOM, changed(("nodes/siren/disabled", True)))
    assert told(diff) == [("add", "node", "siren", "disabled", None, True)]
    assert (diff.restarts, diff.kept) == ([], ["alarm", "feed"])


def test_r39_a_changed_id_is_a_rename() -> None:
    new = changed(
        ("nodes/horn", ROOM["nodes"]["siren"]),
        ("nodes/siren", None),
        ("wires", ["alarm -> horn", "feed -> alarm"]),
    )
    diff = compare(ROOM, new)
    assert told(diff) == [("rename", "node", "horn", None, "siren", "horn")]
    assert diff.restarts == ["horn"]
    assert "> horn  was siren" in diff_text(diff)


def test_two_neighbours_renamed_at_once_are_two_renames() -> None:
    text = json.dumps(ROOM).replace("siren", "horn").replace("alarm", "guard")
    assert [change[:3] for change in told(compare(ROOM, json.loads(text)))] == [
        ("rename", "node", "guard"),
        ("rename", "node", "horn"),
    ]


@pytest.mark.parametrize(
    "edit", [("nodes/horn/config/payload", "OFF"), ("wires", ["feed -> alarm"])]
)
def test_a_node_that_changed_beside_its_id_is_another_one(edit: tuple[str, Any]) -> None:
    text = json.dumps(ROOM).replace("siren", "horn")
    diff = compare(ROOM, changed(edit, base=json.loads(text)))
    assert {(c[0], c[2]) for c in told(diff) if c[1] == "node"} == {
        ("add", "horn"),
        ("remove", "siren"),
    }


def test_new_ids_with_crossed_wires_are_no_renames() -> None:
    def doc(a: str, b: str, c: str, d: str, wires: list[str]) -> dict[str, Any]:
        ends = {c: {"type": "limit", "config": {"high": 1}}, d: {"type": "store"}}
        starts = {a: {"type": "tick"}, b: {"type": "tick", "config": {"every": "9s"}}}
        return {"nodes": {**starts, **ends}, "wires": wires}

    old = doc("a", "b", "c", "d", ["a -> c", "b -> d"])
    straight = doc("p", "q", "r", "s", ["p -> r", "q -> s"])
    crossed = doc("p", "q", "r", "s", ["p -> s", "q -> r"])
    assert {change[0] for change in told(compare(old, straight))} == {"rename"}
    assert {change[0] for change in told(compare(old, crossed))} == {"add", "remove"}


def test_a_flow_that_is_new_or_gone() -> None:
    flow = flow_of(ROOM)
    assert {change.op for change in compare_flows(None, flow, SAMPLES).changes} == {"add"}
    gone = compare_flows(flow, None, SAMPLES)
    assert {change.op for change in gone.changes} == {"remove"}
    assert (gone.restarts, gone.kept) == ([], [])


def test_the_text_is_the_one_that_people_review() -> None:
    new = changed(
        ("nodes/alarm/config/high", LIMIT),
        ("nodes/horn", {"type": "work"}),
        ("wires", [*ROOM["wires"], "alarm.raised -> horn"]),
    )
    flows = [
        msgspec.structs.replace(flow_of(ROOM), layout={"alarm": (0, 0), "feed": (0, 0)}),
        msgspec.structs.replace(flow_of(new), layout={"alarm": (9, 0), "feed": (0, 0)}),
    ]
    assert diff_text(compare_flows(flows[0], flows[1], SAMPLES)) == (
        "room\n"
        '  ~ alarm  config.high: 8.0 -> {"$param": "limit"}\n'
        "  + horn   work\n"
        "  + wire   alarm.raised -> horn\n"
        "  = layout  1 node moved\n"
        "Restarts on deploy: alarm, horn.  Kept: feed, siren.\n"
    )


def test_changed_code_shows_its_lines() -> None:
    def doc(*lines: str) -> dict[str, Any]:
        return {"nodes": {"w": {"type": "work", "config": {"code": list(lines)}}}}

    text = diff_text(compare(doc("a = 1", "b = 2", "c"), doc("a = 1", "b = 3", "c")))
    assert [line.strip() for line in text.splitlines()[1:6]] == [
        "~ w  config.code:",
        "a = 1",
        "- b = 2",
        "+ b = 3",
        "c",
    ]


def test_mermaid_signs_what_differs_beside_its_colour() -> None:
    new = changed(("nodes/alarm/config/high", 9), ("nodes/b-ad", {"type": 'x"<b>'}))
    flows = flow_of(ROOM), flow_of(new)
    text = mermaid(compare_flows(*flows, SAMPLES), *flows)
    assert text.startswith("flowchart LR\n")
    assert '["~ alarm<br/>limit"]:::changed' in text
    assert '["+ b-ad<br/>x&quot;&lt;b>"]:::added' in text


def flow_from(document: dict[str, Any]) -> Flow:
    flow, _ = parse_flow(json.dumps({"format": 1, **document}), flow_id="room")
    assert flow is not None
    return flow


@given(documents)
def test_a_flow_does_not_differ_from_itself(document: dict[str, Any]) -> None:
    diff = compare_flows(flow_from(document), flow_from(document), SAMPLES)
    assert (diff.changes, diff.restarts) == ([], [])


@given(documents, st.randoms(use_true_random=False))
def test_order_carries_no_meaning(document: dict[str, Any], chance: random.Random) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            pairs = [(key, shuffled(item)) for key, item in value.items()]
            chance.shuffle(pairs)
            return dict(pairs)
        return value

    other = shuffled(document)
    other["wires"] = chance.sample(document["wires"], len(document["wires"]))
    assert compare_flows(flow_from(document), flow_from(other), SAMPLES).changes == []


@given(documents)
def test_formatting_never_changes_the_meaning(document: dict[str, Any]) -> None:
    flow = flow_from(document)
    if not flow.whole:
        return
    book = book_of(SAMPLES)
    text = canonical(flow, model_order=book.schema, first_output=book.first_output)
    again, _ = parse_flow(text, flow_id="room")
    assert again is not None
    assert compare_flows(flow, again, SAMPLES).changes == []


@given(
    documents, st.dictionaries(st.sampled_from(["a", "b"]), st.tuples(st.integers(), st.integers()))
)
def test_r39_a_moved_box_is_no_difference_of_logic(
    document: dict[str, Any], places: dict[str, tuple[int, int]]
) -> None:
    flow = flow_from(document)
    old = msgspec.structs.replace(
        flow, layout={name: (x + 1, y) for name, (x, y) in places.items()}
    )
    diff = compare_flows(old, msgspec.structs.replace(flow, layout=places), SAMPLES)
    assert diff.same
    assert diff.layout == len(places)
    assert diff.restarts == []


@given(documents, documents)
def test_two_flows_compare_and_what_is_told_can_be_written(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    flows = flow_from(one), flow_from(other)
    diff = compare_flows(*flows, SAMPLES)
    json.dumps(as_json(diff))
    diff_text(diff)
    mermaid(diff, *flows)
    back = compare_flows(flows[1], flows[0], SAMPLES)
    assert len(back.changes) == len(diff.changes)
    assert not set(diff.restarts) & set(diff.kept)
