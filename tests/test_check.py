"""`check` finds every fault of a flow at once: what, where and how to mend; it runs nothing."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from flowengine.check import check_flow, check_flows, field_type_of
from flowengine.errors import Finding
from flowengine.flow import load_flow, parse_flow
from tests.sample_types import SAMPLES, documents, flow_of

SITE = {"site": {"type": "link.broker", "config": {"host": "h"}}}
FEED = {"type": "feed", "config": {"broker": "site", "time": "payload.t"}}
OUT = {"type": "out", "config": {"broker": "site"}}


def found(document: dict[str, Any], params: dict[str, Any] | None = None) -> list[Finding]:
    return check_flow(flow_of(document), SAMPLES, params)


def slugs(document: dict[str, Any], params: dict[str, Any] | None = None) -> list[str]:
    return [finding.slug for finding in found(document, params)]


def with_node(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A flow in which everything but the node `it` is right."""
    return {
        "connections": SITE,
        "nodes": {"feed": FEED, "it": spec, "out": OUT},
        "wires": ["feed -> it", "it -> out"],
        **more,
    }


def test_a_right_flow_has_no_findings() -> None:
    assert found(with_node({"type": "limit", "config": {"high": 8}})) == []


CONFIGS: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({}, "missing-field", "config.high", '"high" is missing', 'Add "high"'),
    ({"high": "8"}, "bad-value", "config.high", "'8'", "Give a number"),
    ({"high": True}, "bad-value", "config.high", "True", "Give a number"),
    ({"high": 8, "hihg": 9}, "unknown-key", "config.hihg", '"hihg"', 'Did you mean "high"'),
    ({"high": 8, "hold": 5}, "bad-duration", "config.hold", "5 has no unit", '"5s"'),
    ({"high": 8, "hold": "5"}, "bad-duration", "config.hold", '"5"', "5s"),
    ({"high": 8, "field": "temp"}, "bad-path", "config.field", '"temp"', '"payload.temp"'),
    ({"high": 8, "key": "payload."}, "bad-expression", "config.key", "cannot be read", ""),
    ({"high": 8, "key": "paylod"}, "bad-expression", "config.key", '"paylod"', "payload"),
    ({"high": 8, "low": 9}, "limits-crossed", "config", "low (9.0) is above high (8.0)", "Swap"),
    ({"high": 8, "room": 5}, "bad-value", "config.room", "5", '"10MB"'),
]


@pytest.mark.parametrize(("config", "slug", "field", "what", "mend"), CONFIGS)
def test_r13_a_fault_of_a_config(
    config: dict[str, Any], slug: str, field: str, what: str, mend: str
) -> None:
    (finding,) = found(with_node({"type": "limit", "config": config}))
    assert (finding.slug, finding.severity) == (slug, "error")
    assert (finding.where.node, finding.where.field) == ("it", field)
    assert what in finding.what
    assert mend in finding.mend


def test_r13_all_faults_at_once_and_in_order_of_the_file() -> None:
    config = {"high": "8", "hold": 5, "field": "temp", "no": 1}
    findings = found(with_node({"type": "limit", "config": config}, wires=["feed -> it", "x -> y"]))
    assert [f.slug for f in findings] == [
        *("unconnected", "bad-value", "bad-duration", "bad-path", "unknown-key"),
        *("unknown-node", "unknown-node"),
    ]
    places = [(f.where.line or 0, f.where.column or 0) for f in findings]
    assert places == sorted(places)


def test_r13_a_finding_stands_at_its_value() -> None:
    text = (
        '{"format": 1,\n "nodes": {\n  "it": {"type": "limit",\n'
        '   "config": {"high": 8,\n              "hold": 5}}}}'
    )
    flow, _ = parse_flow(text, flow_id="room", file="room.json")
    assert flow is not None
    where = next(f.where for f in check_flow(flow, SAMPLES) if f.slug == "bad-duration")
    assert (where.file, where.line, where.column, where.flow) == ("room.json", 5, 23, "room")


def test_a_value_of_no_way_of_a_union_is_one_finding() -> None:
    (finding,) = found(with_node({"type": "work", "config": {"name": [1]}}))
    assert finding.where.field == "config.name"
    assert finding.mend == "Give text in quotes, or a whole number."


@pytest.mark.parametrize(
    ("name", "what", "mend"),
    [
        ("limti", 'no node type "limti"', 'Did you mean "limit"?'),
        ("broken.one", 'no module "driver"', ""),
        ("link.broker", "connection type", '"connections"'),
    ],
    ids=["a near typo is guessed", "a broken family says why", "a connection among nodes"],
)
def test_unknown_type(name: str, what: str, mend: str) -> None:
    (finding,) = found(with_node({"type": name}))
    assert (finding.slug, finding.where.field) == ("unknown-type", "type")
    assert what in finding.what
    assert mend in finding.mend


def test_r17_a_node_type_is_no_connection() -> None:
    document = with_node({"type": "work"}, connections={**SITE, "x": {"type": "tick"}})
    (finding,) = found(document)
    assert (finding.slug, finding.where.connection) == ("unknown-type", "x")


def test_connections_that_are_not_there_or_do_not_fit() -> None:
    links = {**SITE, "db": {"type": "link.database", "config": {"host": "h"}}}
    for name, slug, mend in (
        ("sita", "bad-reference", 'Did you mean "site"?'),
        ("db", "wrong-connection-type", 'Use "site".'),
    ):
        spec = {"type": "out", "config": {"broker": name}}
        nodes = {"feed": FEED, "it": spec, "st": {"type": "store", "config": {"database": "db"}}}
        document = {"connections": links, "nodes": nodes, "wires": ["feed -> it", "feed -> st"]}
        (finding,) = found(document)
        assert (finding.slug, finding.where.field) == (slug, "config.broker")
        assert mend in finding.mend


def test_a_literal_secret_is_refused_and_not_told() -> None:
    links = {"site": {"type": "link.broker", "config": {"host": "h", "password": "geheim"}}}
    (finding,) = found(with_node({"type": "work"}, connections=links))
    assert (finding.slug, finding.where.connection) == ("literal-secret", "site")
    assert "geheim" not in str(finding)
    assert "flowengine secrets set" in finding.mend


PARAMS = {"limit": {"type": "number", "default": 8}}


@pytest.mark.parametrize(
    ("spec", "slug", "mend"),
    [
        ({"type": "limit", "config": {"high": {"$param": "limt"}}}, "bad-reference", "limit"),
        (
            {"type": "limit", "config": {"high": 1, "hold": {"$param": "limit"}}},
            "bad-reference",
            "",
        ),
        (
            {"type": "work", "config": {"set": {"payload.a": "params.limitt + 1"}}},
            "bad-expression",
            'Did you mean "params.limit"?',
        ),
        ({"type": "store", "config": {"series": "{params.lmit}"}}, "bad-template", "params.limit"),
    ],
)
def test_r19_params_that_are_not_there_or_do_not_fit(
    spec: dict[str, Any], slug: str, mend: str
) -> None:
    wires = ["feed -> it", "feed -> out" if spec["type"] == "store" else "it -> out"]
    (finding,) = found(with_node(spec, params=PARAMS, wires=wires))
    assert finding.slug == slug
    assert mend in finding.mend


@pytest.mark.parametrize(
    ("field", "reference"),
    [
        ("high", {"$param": "need"}),
        ("high", {"$env": "NOT_SET_ANYWHERE"}),
        ("key", {"$env": "NOT_SET_ANYWHERE"}),
    ],
)
def test_r13_what_a_box_lacks_is_no_finding(field: str, reference: dict[str, Any]) -> None:
    spec = {"type": "limit", "config": {"high": 8, field: reference}}
    assert found(with_node(spec, params={"need": {"type": "number"}})) == []


def test_r13_a_secret_without_value_is_no_finding() -> None:
    links = {"site": {"type": "link.broker", "config": {"host": "h", "password": {"$secret": "p"}}}}
    assert found(with_node({"type": "work"}, connections=links)) == []


def test_r62_a_sites_values_are_what_is_checked() -> None:
    spec = {"type": "limit", "config": {"low": 5, "high": {"$param": "limit"}}}
    document = with_node(spec, params=PARAMS)
    assert slugs(document) == []
    assert slugs(document, {"limit": 1}) == ["limits-crossed"]


def test_the_environment_of_this_box_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIGH", "tall")
    spec = {"type": "limit", "config": {"high": {"$env": "HIGH", "default": 8}}}
    assert found(with_node(spec)) == []


WIRES: list[tuple[str, str, str, str]] = [
    ("it -> otu", "unknown-node", 'no node "otu"', 'Did you mean "out"?'),
    ("it.rased -> out", "unknown-output", 'no output "rased"', 'Did you mean "raised"?'),
    ("it.x -> out", "unknown-output", 'no output "x"', "It has: raised, cleared, error."),
    ("feed.error -> out", "unknown-output", 'no output "error"', "It has: out."),
    ("it -> feed", "no-input", '"feed" (feed) is a source', ""),
    ("it.raised -> out", "duplicate-wire", "twice", "Remove one"),
]


@pytest.mark.parametrize(("wire", "slug", "what", "mend"), WIRES)
def test_r13_a_fault_of_a_wire(wire: str, slug: str, what: str, mend: str) -> None:
    document = with_node({"type": "limit", "config": {"high": 8}})
    document["wires"] = [*document["wires"], wire]
    (finding,) = found(document)
    assert (finding.slug, finding.where.wire, finding.where.field) == (slug, wire, "wires[2]")
    assert what in finding.what
    assert mend in finding.mend


def test_r6_every_node_with_an_input_has_an_error_output() -> None:
    document = with_node({"type": "limit", "config": {"high": 8}})
    document["wires"] = [*document["wires"], "it.error -> out", "out.error -> it"]
    assert slugs(document) == []


def test_a_wire_stands_where_it_is_in_the_file_though_one_before_it_cannot_be_read() -> None:
    text = '{"format": 1, "nodes": {"a": {"type": "tick"}},\n"wires": [\n"nonsense",\n"a -> b"]}'
    flow, _ = parse_flow(text, flow_id="room")
    assert flow is not None
    (finding,) = check_flow(flow, SAMPLES)
    assert (finding.where.line, finding.where.wire) == (4, "a -> b")
    assert finding.where.field == "wires[1]"


def test_outputs_can_depend_on_the_config() -> None:
    document = with_node({"type": "sort", "config": {"to": ["hot", "cold"]}})
    document["wires"] = ["feed -> it", "it.hot -> out", "it.cold -> out", "it.warm -> out"]
    (finding,) = found(document)
    assert (finding.slug, finding.mend) == ("unknown-output", "It has: hot, cold, error.")


def test_outputs_of_a_wrong_config_are_not_judged() -> None:
    document = with_node({"type": "sort", "config": {"to": 5}})
    document["wires"] = ["feed -> it", "it.hot -> out"]
    assert slugs(document) == ["bad-value"]


def test_a_cycle_without_a_boundary_is_refused_with_its_path() -> None:
    nodes = {"feed": FEED, "a": {"type": "work"}, "b": {"type": "work"}}
    wires = ["a -> b", "b -> a", "feed -> a"]
    document: dict[str, Any] = {"connections": SITE, "nodes": nodes, "wires": wires}
    (finding,) = found(document)
    assert (finding.slug, finding.where.wire) == ("cycle", "a -> b")
    assert "a -> b -> a" in finding.what
    nodes["b"] = {"type": "wait"}
    assert slugs(document) == []
    nodes["b"] = {"type": "work"}
    document["wires"] = [{"from": "a", "to": "b", "capacity": 5}, "b -> a", "feed -> a"]
    assert slugs(document) == []


UNCONNECTED: list[tuple[list[str], list[str | None]]] = [
    (["feed -> it"], ["no output"]),
    (["feed -> it", "it.cleared -> out"], ["raised"]),
    (["feed -> it", "it.error -> out"], ["raised"]),
    (["feed -> it", "it -> out"], []),
]


@pytest.mark.parametrize(("wires", "expected"), UNCONNECTED)
def test_r64_unconnected_stands_on_the_node_or_on_each_output(
    wires: list[str], expected: list[str]
) -> None:
    document = with_node({"type": "limit", "config": {"high": 8}}, wires=[*wires, "feed -> out"])
    findings = found(document)
    assert [f.slug for f in findings] == ["unconnected"] * len(expected)
    assert all(f.severity == "warning" and f.where.node == "it" for f in findings)
    assert all(text in f.what for text, f in zip(expected, findings, strict=True))


def test_r53_comments_and_tellers_of_states_take_no_part_in_unconnected() -> None:
    document = {"nodes": {"n": {"type": "note"}, "w": {"type": "watch"}, "h": {"type": "hear"}}}
    assert [(f.slug, f.where.node) for f in found(document)] == [("unconnected", "h")]


def test_a_comment_has_no_input() -> None:
    document = with_node({"type": "note"}, wires=["feed -> it", "feed -> out"])
    assert slugs(document) == ["no-input"]


def test_lists_of_nodes_name_nodes() -> None:
    spec = {"type": "hear", "config": {"nodes": ["out", "otu"]}}
    document = with_node(spec, wires=["it -> out", "feed -> out"])
    (finding,) = found(document)
    assert (finding.slug, finding.where.field) == ("unknown-node", "config.nodes[1]")
    assert finding.mend == 'Did you mean "out"?'


def test_a_connection_that_nobody_uses() -> None:
    document = with_node({"type": "work"}, connections={**SITE, "old": SITE["site"]})
    (finding,) = found(document)
    assert (finding.slug, finding.severity) == ("unused-connection", "warning")
    assert finding.where.connection == "old"


def test_a_connection_that_a_missing_type_may_use_is_used() -> None:
    links = {**SITE, "old": SITE["site"]}
    document = with_node({"type": "none.such", "config": {"x": ["old"]}}, connections=links)
    assert slugs(document) == ["unknown-type"]


def test_r8_a_template_with_two_braces_is_a_warning() -> None:
    spec = {"type": "out", "config": {"broker": "site", "payload": "{{payload.x}}"}}
    document = with_node(spec, wires=["feed -> it", "feed -> out"])
    (finding,) = found(document)
    assert (finding.slug, finding.severity) == ("mustache-template", "warning")
    assert finding.where.field == "config.payload"


STORE = {"type": "store"}
ARRIVAL: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("arrival", {"feed": {"broker": "site"}}, ["feed -> store"], ["time-from-arrival"]),
    ("own time", {"feed": {"broker": "site", "time": "payload.t"}}, ["feed -> store"], []),
    ("never repeated", {"feed": {"broker": "site", "qos": 0}}, ["feed -> store"], []),
    (
        "behind others",
        {"feed": {"broker": "site"}, "work": {}},
        ["feed -> work", "work -> store"],
        ["time-from-arrival"],
    ),
    (
        "set on the way",
        {"feed": {"broker": "site"}, "work": {"set": {"time": "payload.t"}}},
        ["feed -> work", "work -> store"],
        [],
    ),
    ("a clock", {"tick": {}}, ["tick -> store"], []),
    (
        "the store's own",
        {"feed": {"broker": "site"}, "store": {"time": "payload.t"}},
        ["feed -> store"],
        [],
    ),
    ("no store", {"feed": {"broker": "site"}, "out": {"broker": "site"}}, ["feed -> out"], []),
]


@pytest.mark.parametrize(
    ("configs", "wires", "expected"), [case[1:] for case in ARRIVAL], ids=[c[0] for c in ARRIVAL]
)
def test_r56_time_from_arrival(
    configs: dict[str, Any], wires: list[str], expected: list[str]
) -> None:
    specs = {name: {"type": name, "config": config} for name, config in configs.items()}
    end = wires[-1].rpartition(" ")[2]
    nodes = {end: {"type": end}, **specs}
    document: dict[str, Any] = {"nodes": nodes, "wires": wires}
    document["connections"] = SITE if "feed" in nodes else {}
    findings = found(document)
    assert [f.slug for f in findings] == expected
    assert all(f.where.node == "feed" and f.severity == "warning" for f in findings)


def test_a_node_that_nothing_reaches() -> None:
    nodes = {"a": {"type": "work"}, "b": {"type": "work"}, "s": {"type": "store"}}
    document: dict[str, Any] = {"nodes": nodes, "wires": ["a -> b", "b -> s"]}
    assert [(f.slug, f.where.node) for f in found(document)] == [("unreachable", "a")]
    nodes["a"] = {"type": "tick"}
    assert found(document) == []


def test_r40_a_disabled_node_cannot_stop_the_flow() -> None:
    spec = {"type": "limit", "disabled": True, "config": {"high": "8", "hold": {"$param": "no"}}}
    findings = found(with_node(spec))
    assert [f.severity for f in findings] == ["warning", "warning"]


def test_r18_two_flows_of_one_id() -> None:
    one, two = (flow_of({}, "room", f"{folder}/room.json") for folder in "ab")
    (finding,) = check_flows([one, two], SAMPLES, {})
    assert (finding.slug, finding.where.file) == ("bad-id", "b/room.json")
    assert "a/room.json" in finding.what


def test_a_fault_of_a_shared_connection_stands_in_its_file(tmp_path: Path) -> None:
    shared = {"format": 1, "connections": {"site": {"type": "link.broker", "config": {}}}}
    (tmp_path / "connections.json").write_text(json.dumps(shared))
    (tmp_path / "room.json").write_text(
        json.dumps({"format": 1, "nodes": {"feed": FEED, "out": OUT}, "wires": ["feed -> out"]})
    )
    flow, _ = load_flow(tmp_path / "room.json")
    assert flow is not None
    (finding,) = check_flow(flow, SAMPLES)
    assert (finding.slug, finding.where.connection) == ("missing-field", "site")
    assert finding.where.file == str(tmp_path / "connections.json")


def test_the_type_of_a_field_is_known_for_references() -> None:
    field_type = field_type_of(SAMPLES)
    assert field_type("node", "limit", ("high",)) == "number"
    assert field_type("node", "limit", ("hold",)) == "text"
    assert field_type("connection", "link.broker", ("password",)) == "secret"
    assert field_type("node", "limit", ("nothing",)) is None
    assert field_type("node", "none.such", ("high",)) is None


@given(documents)
@settings(max_examples=300)
def test_no_flow_that_can_be_read_makes_it_raise(document: dict[str, Any]) -> None:
    flow, _ = parse_flow(json.dumps({"format": 1, **document}), flow_id="room")
    assert flow is not None
    findings = check_flow(flow, SAMPLES)
    assert all(finding.what and finding.where.line is not None for finding in findings)
    places = [(f.where.line, f.where.column) for f in findings]
    assert places == sorted(places)
    assert check_flow(flow, SAMPLES) == findings


def big_flow(groups: int) -> dict[str, Any]:
    nodes: dict[str, Any] = {}
    wires: list[str] = []
    for i in range(groups):
        nodes[f"feed-{i}"] = FEED
        nodes[f"work-{i}"] = {"type": "work", "config": {"set": {"payload.f": f"payload.t * {i}"}}}
        nodes[f"limit-{i}"] = {"type": "limit", "config": {"high": {"$param": "limit"}}}
        nodes[f"wait-{i}"] = {"type": "wait", "config": {"every": "5s"}}
        nodes[f"out-{i}"] = OUT
        wires += [f"feed-{i} -> work-{i}", f"work-{i} -> limit-{i}"]
        wires += [f"limit-{i} -> wait-{i}", f"wait-{i} -> out-{i}"]
    return {"connections": SITE, "params": PARAMS, "nodes": nodes, "wires": wires}


def test_f80_ten_thousand_nodes_are_checked_in_a_breath() -> None:
    flow = flow_of(big_flow(2000))
    started = time.process_time()
    assert check_flow(flow, SAMPLES) == []
    assert time.process_time() - started < 3  # 0.4 s on a laptop; a loaded machine is slower


def test_f80_thousands_of_faults_are_told_in_time() -> None:
    document = big_flow(400)
    document["wires"] = [f"{wire}x" for wire in document["wires"]]
    flow = flow_of(document)
    started = time.process_time()
    findings = check_flow(flow, SAMPLES)
    assert sum(f.slug == "unknown-node" for f in findings) == 1600
    assert time.process_time() - started < 5
