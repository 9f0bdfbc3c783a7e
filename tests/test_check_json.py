"""`check --json` has one slug for each fault, the keys of the contract, and the order of the files.

Its text for people and its exit codes stand in `tests/test_cli.py`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowengine import cli

Ask = Callable[..., tuple[int, dict[str, Any]]]

SITE = {"site": {"type": "mqtt.broker", "config": {"host": "127.0.0.1"}}}
TICK = {"type": "timer.tick", "config": {"every": "5s"}}
LOG = {"type": "debug"}
FEED = {"type": "mqtt.in", "config": {"broker": "site", "topic": "a/+", "time": "payload.t"}}


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Call `check --json` in an empty folder; gives the exit code and the object."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = cli.main(["check", "--json", *arguments])
        return code, json.loads(capsys.readouterr().out)

    return run


def flow(it: Any = None, wires: Any = ("tick -> it", "it -> log"), **more: Any) -> dict[str, Any]:
    """A flow in which everything but the node `it` is right."""
    nodes = {"it": it or {"type": "throttle", "config": {"per": "1s"}}, "log": LOG, "tick": TICK}
    return {"format": 1, "nodes": nodes, "wires": list(wires), **more}


def with_site(it: Any, wires: Any = ("feed -> it", "it -> log"), **more: Any) -> dict[str, Any]:
    """The same behind a broker."""
    nodes = {"feed": FEED, "it": it, "log": LOG}
    return {"format": 1, "connections": SITE, "nodes": nodes, "wires": list(wires), **more}


def threshold(**config: Any) -> dict[str, Any]:
    return {"type": "threshold", "config": {"above": 8, **config}}


DEEP: Any = 1
for _ in range(70):
    DEEP = [DEEP]

# slug: (document or text, field, what the place names)
SLUGS: dict[str, tuple[Any, str | None, dict[str, str]]] = {
    "not-json": ('{"format": 1, "nodes": {},}', None, {}),
    "duplicate-key": ('{"format": 1, "nodes": {}, "nodes": {}}', "nodes", {}),
    "newer-format": ({"format": 2, "nodes": {}}, "format", {}),
    "bad-encoding": (b'{"format": 1, "nodes": {}, "title": "\xff"}', None, {}),
    "too-large": (b" " * 10_000_001, None, {}),
    "too-deep": (json.dumps({"format": 1, "nodes": {}, "x-deep": DEEP}), "x-deep" + "[0]" * 63, {}),
    "unknown-key": (flow(titel="x"), "titel", {}),
    "bad-id": (flow(params={"a.b": {"type": "text"}}), 'params["a.b"]', {}),
    "unknown-type": (flow({"type": "treshold"}), "type", {"node": "it"}),
    "missing-field": (flow({"type": "throttle"}), "config.per", {"node": "it"}),
    "bad-value": (flow(threshold(above="8")), "config.above", {"node": "it"}),
    "bad-duration": (flow(threshold(hold=5)), "config.hold", {"node": "it"}),
    "bad-expression": (
        flow(
            {
                "type": "route",
                "config": {"rules": [{"to": "a", "when": "true"}, {"to": "a", "when": "paylod"}]},
            }
        ),
        "config.rules[1].when",
        {"node": "it"},
    ),
    "bad-path": (flow(threshold(field="temperature")), "config.field", {"node": "it"}),
    "bad-template": (
        flow({"type": "template", "config": {"text": "{payload"}}),
        "config.text",
        {"node": "it"},
    ),
    "bad-reference": (flow(threshold(above={"$param": "limt"})), "config.above", {"node": "it"}),
    "literal-secret": (
        with_site(
            threshold(),
            connections={
                "site": {"type": "mqtt.broker", "config": {"host": "h", "password": "geheim"}}
            },
        ),
        "config.password",
        {"connection": "site"},
    ),
    "wrong-connection-type": (
        with_site(
            {"type": "mqtt.out", "config": {"broker": "peer", "topic": "t"}},
            ("feed -> it", "feed -> log", "feed -> ask"),
            connections={**SITE, "peer": {"type": "coap.peer", "config": {"host": "127.0.0.1"}}},
            nodes={
                "feed": FEED,
                "it": {"type": "mqtt.out", "config": {"broker": "peer", "topic": "t"}},
                "ask": {"type": "coap.request", "config": {"peer": "peer", "path": "/v"}},
                "log": LOG,
            },
        ),
        "config.broker",
        {"node": "it"},
    ),
    "unknown-node": (
        flow(wires=["tick -> it", "it -> log", "tick -> lgo"]),
        "wires[2]",
        {"wire": "tick -> lgo"},
    ),
    "unknown-output": (
        flow(wires=["tick -> it", "it -> log", "it.rest -> log"]),
        "wires[2]",
        {"wire": "it.rest -> log"},
    ),
    "no-input": (
        flow(wires=["tick -> it", "it -> log", "it -> tick"]),
        "wires[2]",
        {"wire": "it -> tick"},
    ),
    "duplicate-wire": (
        flow(wires=["tick -> it", "it -> log", "it.out -> log"]),
        "wires[2]",
        {"wire": "it.out -> log"},
    ),
    "cycle": (
        flow(wires=["tick -> it", "it -> log", "it -> it"]),
        "wires[2]",
        {"wire": "it -> it"},
    ),
    "limits-crossed": (
        flow({"type": "filter.range", "config": {"min": 9, "max": 8}}),
        "config",
        {"node": "it"},
    ),
    "unconnected": (flow(wires=["tick -> it", "tick -> log"]), None, {"node": "it"}),
    "unused-connection": (flow(connections=SITE), None, {"connection": "site"}),
    "mustache-template": (
        flow({"type": "template", "config": {"text": "{{payload.x}}"}}),
        "config.text",
        {"node": "it"},
    ),
    "time-from-arrival": (
        with_site(
            threshold(),
            ("feed -> keep",),
            nodes={
                "feed": {"type": "mqtt.in", "config": {"broker": "site", "topic": "a"}},
                "keep": {"type": "series.write", "config": {"series": "t"}},
            },
        ),
        None,
        {"node": "feed"},
    ),
}
WARNINGS = {"unconnected", "unused-connection", "mustache-template", "time-from-arrival"}
PLACE = ("file", "line", "column", "flow", "node", "connection", "wire", "field")


def write(name: str, document: Any) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(document, bytes):
        path.write_bytes(document)
    else:
        path.write_text(document if isinstance(document, str) else json.dumps(document))


@pytest.mark.parametrize("slug", SLUGS)
def test_r13_every_slug_is_that_of_its_fault_alone_and_stands_at_its_place(
    ask: Ask, slug: str
) -> None:
    document, field, named = SLUGS[slug]
    write("room.json", document)
    code, told = ask("room.json")
    (finding,) = told["findings"]
    is_warning = slug in WARNINGS
    assert finding["slug"] == slug
    assert finding["severity"] == ("warning" if is_warning else "error")
    assert finding["what"]
    assert finding["mend"]
    where = finding["where"]
    assert tuple(where) == PLACE
    assert (where["file"], where["flow"]) == ("room.json", "room")
    assert {key: where[key] for key in ("node", "connection", "wire") if where[key]} == named
    assert where["field"] == field
    assert (where["line"] is None) is (where["column"] is None)
    assert (told["errors"], told["warnings"]) == ((0, 1) if is_warning else (1, 0))
    assert (code, told["ok"]) == ((0, True) if is_warning else (1, False))
    assert (ask("--strict", "room.json")[0]) == 1


def test_r13_the_keys_stand_in_the_order_of_the_page(ask: Ask) -> None:
    write("flows/room.json", flow(threshold(hold=5)))
    code, told = ask("flows")
    assert code == 1
    assert list(told) == ["ok", "errors", "warnings", "files", "findings"]
    assert told["files"] == ["flows/room.json"]
    assert list(told["findings"][0]) == ["slug", "severity", "what", "mend", "where"]


def test_r13_a_fault_within_a_param_stands_there(ask: Ask) -> None:
    params = {"limit": {"type": "number", "default": "8"}}
    write("room.json", flow(threshold(above={"$param": "limit"}), params=params))
    (finding,) = ask("room.json")[1]["findings"]
    assert (finding["slug"], finding["where"]["field"]) == ("bad-value", "params.limit.default")


def test_r13_findings_come_by_file_and_then_by_place(ask: Ask) -> None:
    wires = ["tick -> it", "it -> log", "x -> log", "y -> log"]
    for name in ("b.json", "a.json"):
        write(name, json.dumps(flow(threshold(hold=5, above="8"), wires), indent=1))
    findings = ask("b.json", "a.json")[1]["findings"]
    places = [(f["where"]["file"], f["where"]["line"], f["where"]["column"]) for f in findings]
    assert [file for file, _, _ in places] == ["b.json"] * 4 + ["a.json"] * 4
    assert places[:4] == sorted(places[:4])
    assert places[4:] == sorted(places[4:])


def test_r13_what_another_box_has_is_no_finding(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SITE_HOST", raising=False)
    config = {"host": {"$env": "SITE_HOST"}, "username": "u", "password": {"$secret": "nowhere"}}
    link = {"site": {"type": "mqtt.broker", "config": config}}
    write("room.json", with_site(threshold(), connections=link))
    code, told = ask("--strict", "room.json")
    assert (code, told["findings"]) == (0, [])


@pytest.mark.parametrize(
    ("given", "slugs"),
    [
        ([], []),
        (["--set", "limit=1"], ["limits-crossed"]),
        (["--set", "room.limit=1"], ["limits-crossed"]),
        (["--params", "all.json"], ["limits-crossed"]),
        (["--params", "one.json"], ["limits-crossed"]),
        (["--params", "all.json", "--set", "limit=9"], []),
        (["--set", "limit=1", "--params", "nine.json"], ["limits-crossed"]),
        (["--set", "limit=1", "--set", "limit=9"], []),
    ],
)
@pytest.mark.parametrize("default", [{}, {"default": 8}], ids=["required", "with a default"])
def test_r19_r62_a_sites_values_are_what_is_checked(
    ask: Ask, given: list[str], slugs: list[str], default: dict[str, Any]
) -> None:
    it = {"type": "filter.range", "config": {"min": 5, "max": {"$param": "limit"}}}
    write("room.json", flow(it, params={"limit": {"type": "number", **default}}))
    for name, values in (
        ("all.json", {"limit": 1}),
        ("one.json", {"room": {"limit": 1}}),
        ("nine.json", {"limit": 9}),
    ):
        write(name, values)
    code, told = ask("room.json", *given)
    assert [finding["slug"] for finding in told["findings"]] == slugs
    assert code == bool(slugs)


def test_r18_two_flows_of_one_id_are_a_finding(ask: Ask) -> None:
    write("a/room.json", flow(threshold()))
    write("b/room.json", flow(threshold()))
    code, told = ask("a", "b")
    assert code == 1
    assert [(f["slug"], f["where"]["file"]) for f in told["findings"]] == [
        ("bad-id", "b/room.json")
    ]


def test_r18_the_flows_own_connection_wins_with_a_warning(ask: Ask) -> None:
    write("f/connections.json", {"format": 1, "connections": SITE})
    write("f/room.json", with_site(threshold()))
    code, told = ask("f")
    assert code == 0
    assert [(f["severity"], f["where"]["connection"]) for f in told["findings"]] == [
        ("warning", "site")
    ]


def test_r60_a_node_red_file_has_a_finding_of_its_own(ask: Ask) -> None:
    write("room.json", [{"id": "1", "type": "tab"}])
    code, told = ask("room.json")
    (finding,) = told["findings"]
    assert (code, finding["slug"]) == (1, "node-red")
    assert "this is a Node-RED flow" in finding["what"]
    assert "not supported yet" in finding["mend"]
