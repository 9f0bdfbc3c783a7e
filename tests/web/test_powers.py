"""What reaches beyond a flow, into files and programs, needs a right of its own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowengine import Message, NodeConfig, node
from flowengine.node import MARK
from flowengine.registry import REGISTRY
from flowengine.web.rights import powered, powers_of, touched_powers
from tests.web.box import API, TICKS, Box

WRITES: dict[str, Any] = {
    "format": 1,
    "nodes": {
        "tick": {"type": "timer.tick", "config": {"every": "1s"}},
        "keep": {"type": "file.append", "config": {"path": "a.jsonl"}},
        "show": {"type": "debug"},
    },
    "wires": ["tick -> keep"],
}


class RunConfig(NodeConfig):
    """Nothing."""


@node("exec.run")
def run_program(message: Message, _config: RunConfig) -> Message:
    """Stand for a node that runs a program."""
    return message


@pytest.fixture
def _exec() -> Iterator[None]:
    """A family that runs programs, as another package would bring it."""
    REGISTRY._families["exec"] = {"exec.run": getattr(run_program, MARK)}
    yield
    REGISTRY._families.pop("exec", None)


RUNS: dict[str, Any] = {
    "format": 1,
    "nodes": {
        "tick": {"type": "timer.tick", "config": {"every": "1s"}},
        "go": {"type": "exec.run"},
        "show": {"type": "debug"},
    },
    "wires": ["tick -> go", "go -> show"],
}


def changed(document: dict[str, Any], **config: Any) -> dict[str, Any]:
    """The flow with one setting of its powered node changed."""
    copy: dict[str, Any] = json.loads(json.dumps(document))
    copy["nodes"]["keep"]["config"].update(config)
    return copy


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Box]:
    """An editor over a flow that writes a file."""
    box = Box(tmp_path)
    box.put_flow("writes", WRITES)
    with box:
        yield box


@pytest.mark.parametrize("who", ["ed", "dora"])
def test_s05_changing_one_property_needs_the_right(files: Box, who: str) -> None:
    with files.client(who) as client:
        etag = client.get(f"{API}/flows/writes").headers["etag"]
        body = {"document": changed(WRITES, path="b.jsonl")}
        answer = client.put(f"{API}/flows/writes", json=body, headers={"If-Match": etag})
        assert (answer.status_code, answer.json()["right"]) == (403, "powers")
        assert answer.json()["nodes"] == ["keep"]
        body["document"] = {**WRITES, "title": "Another title"}
        answer = client.put(f"{API}/flows/writes", json=body, headers={"If-Match": etag})
        assert answer.status_code == 200, answer.text


def test_s05_leading_something_else_into_it_needs_the_right(files: Box) -> None:
    with files.client("dora") as client:
        etag = client.get(f"{API}/flows/writes").headers["etag"]
        body = {"document": {**WRITES, "wires": []}}
        answer = client.put(f"{API}/flows/writes", json=body, headers={"If-Match": etag})
        assert (answer.status_code, answer.json()["right"]) == (403, "powers")


def test_s05_who_has_the_right_may_and_who_has_not_cannot_deploy_it(files: Box) -> None:
    files.services.people.add("paul", "deployer", powers=True)
    with files.client("paul") as paul, files.client("dora") as dora:
        etag = paul.get(f"{API}/flows/writes").headers["etag"]
        body = {"document": changed(WRITES, path="b.jsonl")}
        put = paul.put(f"{API}/flows/writes", json=body, headers={"If-Match": etag})
        assert put.status_code == 200
        deploy = {"etag": put.headers["etag"]}
        answer = dora.post(f"{API}/flows/writes/deploy", json=deploy)
        assert (answer.status_code, answer.json()["right"]) == (403, "powers")
        assert paul.post(f"{API}/flows/writes/deploy", json=deploy).status_code == 200


@pytest.mark.usefixtures("_exec")
def test_s20_code_stays_off_until_a_setting_names_it(empty: Box) -> None:
    with empty.client("ada") as client:
        text = json.dumps(RUNS)
        told = client.post(f"{API}/import?dry_run=1", json={"text": text, "id": "runs"})
        assert told.json()["powers"] == [
            {"node": "go", "type": "exec.run", "powers": ["exec"], "allowed": False}
        ]
        answer = client.post(f"{API}/import", json={"text": text, "id": "runs"})
        assert (answer.status_code, answer.json()["slug"]) == (422, "refused")
        assert answer.json()["powers"][0]["node"] == "go"
        assert client.get(f"{API}/flows").json()["flows"] == []
        made = client.post(f"{API}/flows", json={"id": "runs", "document": RUNS})
        etag = made.headers["etag"]
        deploy = client.post(f"{API}/flows/runs/deploy", json={"etag": etag})
        assert (deploy.status_code, deploy.json()["slug"]) == (422, "refused")
        tests = client.post(f"{API}/flows/runs/tests/run", json={})
        assert (tests.status_code, tests.json()["slug"]) == (422, "refused")
    assert empty.engine.flows == {}


@pytest.mark.usefixtures("_exec")
def test_s20_code_runs_where_a_setting_names_it(tmp_path: Path) -> None:
    with Box(tmp_path, powers=frozenset({"exec"})) as box, box.client("ada") as client:
        made = client.post(f"{API}/import", json={"text": json.dumps(RUNS), "id": "runs"})
        assert made.status_code == 201
        etag = made.headers["etag"]
        deploy = client.post(f"{API}/flows/runs/deploy", json={"etag": etag})
        assert deploy.status_code == 200, deploy.text


def test_most_types_have_no_powers() -> None:
    assert powers_of("mqtt.out") == powers_of("threshold") == ()
    assert powers_of("file.append") == ("file",)
    assert TICKS["nodes"]["tick"]["type"] == "timer.tick"


def test_a_flow_without_powers_touches_none() -> None:
    from flowengine.flow import parse_flow  # noqa: PLC0415

    plain, _ = parse_flow(json.dumps(TICKS), flow_id="ticks")
    writes, _ = parse_flow(json.dumps(WRITES), flow_id="writes")
    assert plain is not None
    assert writes is not None
    assert touched_powers(None, plain) == []
    assert touched_powers(plain, writes) == ["keep"]
    assert touched_powers(writes, plain) == ["keep"]
    assert touched_powers(writes, writes) == []
    assert powered(plain) == []
