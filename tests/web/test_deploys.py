"""A deploy says first what it does, restarts only what changed, and may fail."""

import json
from typing import Any

import pytest

from tests.web.box import API, TICKS, Box
from tests.web.test_drafts import put, with_config

DEPLOY = f"{API}/flows/ticks/deploy"


def test_a_dry_run_says_what_restarts_and_why_and_changes_nothing(box: Box) -> None:
    with box.client("vera") as vera, box.client("ed") as ed:
        etag = ed.get(f"{API}/flows/ticks").headers["etag"]
        document = with_config("hot", above=9)
        del document["nodes"]["show"]
        document["nodes"]["count"] = {"type": "debug"}
        document["wires"] = ["tick -> hot", "tick -> count"]
        etag = put(ed, etag, document).headers["etag"]
        plan = vera.post(f"{DEPLOY}?dry_run=1", json={"etag": etag}).json()
    assert (plan["start"], plan["restart"], plan["stop"]) == (["count"], ["hot"], ["show"])
    assert plan["keep"] == ["tick"]
    assert plan["reasons"] == {
        "count": "new", "hot": "config.above changed", "show": "removed",
    }  # fmt: skip
    assert plan["can"] is True
    assert "~ hot" in plan["diff"]["text"]
    assert set(box.engine.flows["ticks"].nodes) == {"tick", "hot", "show"}


def test_a_deploy_runs_the_draft_and_writes_it(box: Box) -> None:
    with box.client("dora") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        client.put(
            f"{API}/flows/ticks/layout",
            json={"nodes": {"tick": [10, 20]}},
            headers={"If-Match": "*"},
        )
        etag = put(client, etag, with_config("hot", above=9)).headers["etag"]
        kept = box.engine.flows["ticks"].nodes["tick"].thing
        done = client.post(DEPLOY, json={"etag": etag, "note": "warmer"}).json()
        assert done["plan"]["restart"] == ["hot"]
        assert done["entry"] == 1
        assert done["state"]["draft"] == {**done["state"]["draft"], "etag": etag, "changed": False}
        assert done["state"]["deployed"]["by"] == "dora"
        entries = client.get(f"{API}/flows/ticks/history").json()["entries"]
    assert entries[0]["note"] == "warmer"
    assert box.engine.flows["ticks"].nodes["tick"].thing is kept
    assert (
        json.loads((box.folder / "ticks.json").read_text())["nodes"]["hot"]["config"]["above"] == 9
    )
    assert json.loads((box.folder / "ticks.layout.json").read_text())["nodes"] == {"tick": [10, 20]}


@pytest.mark.parametrize(
    "config", [{"above": "x"}, {"above": {"$secret": "no"}}, {"below": 3}], ids=["a", "b", "c"]
)
def test_a_draft_with_faults_is_refused_and_the_old_one_runs_on(
    box: Box, config: dict[str, Any]
) -> None:
    with box.client("dora") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        etag = put(client, etag, with_config("hot", **config)).headers["etag"]
        answer = client.post(DEPLOY, json={"etag": etag})
        assert (answer.status_code, answer.json()["slug"]) == (422, "refused")
        assert answer.json()["findings"]
    assert box.engine.flows["ticks"].plan.nodes["hot"].config.above == 8  # type: ignore[union-attr]
    assert json.loads((box.folder / "ticks.json").read_text()) == TICKS


def test_a_secret_without_a_value_is_named_and_can_be_given(box: Box) -> None:
    document = with_config("hot")
    document["connections"] = {
        "site": {
            "type": "mqtt.broker",
            "config": {"host": "127.0.0.1", "port": 1, "password": {"$secret": "site-mqtt"}},
        }
    }
    document["nodes"]["out"] = {"type": "mqtt.out", "config": {"broker": "site", "topic": "x"}}
    document["wires"] = [*document["wires"], "hot.raised -> out"]
    with box.client("dora") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        etag = put(client, etag, document).headers["etag"]
        answer = client.post(DEPLOY, json={"etag": etag})
        assert answer.status_code == 422
        assert answer.json()["missing"][0]["name"] == "site-mqtt"
        value = {"value": "planted secret 42"}
        assert client.put(f"{API}/secrets/site-mqtt", json=value).status_code == 204
        assert client.post(DEPLOY, json={"etag": etag}).status_code == 200


def test_a_node_that_cannot_be_built_leaves_the_old_version_running(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flowengine.nodes.threshold import Threshold  # noqa: PLC0415

    def broken(self: Any) -> None:
        raise OSError("no such device")

    with box.client("dora") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        etag = put(client, etag, with_config("hot", above=9)).headers["etag"]
        monkeypatch.setattr(Threshold, "setup", broken)
        answer = client.post(DEPLOY, json={"etag": etag})
        monkeypatch.undo()
        assert (answer.status_code, answer.json()["slug"]) == (422, "refused")
        assert "no such device" in answer.json()["detail"]
        assert box.engine.flows["ticks"].nodes["hot"].state == "running"
        assert json.loads((box.folder / "ticks.json").read_text()) == TICKS
        assert client.post(DEPLOY, json={"etag": etag}).status_code == 200


def test_a_draft_that_changed_since_it_was_looked_at_is_not_deployed(box: Box) -> None:
    with box.client("dora") as client:
        old = client.get(f"{API}/flows/ticks").headers["etag"]
        put(client, old, with_config("hot", above=9))
        answer = client.post(DEPLOY, json={"etag": old})
    assert (answer.status_code, answer.json()["slug"]) == (409, "deploy-conflict")


def test_a_file_that_changed_behind_the_draft_is_not_overwritten_unasked(box: Box) -> None:
    with box.client("dora") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        etag = put(client, etag, with_config("hot", above=9)).headers["etag"]
        box.put_flow("ticks", with_config("tick", every="1500ms"))
        answer = client.post(DEPLOY, json={"etag": etag})
        assert (answer.status_code, answer.json()["slug"]) == (409, "deploy-conflict")
        assert answer.json()["diff"]["changes"][0]["id"] == "tick"
        over = client.post(DEPLOY, json={"etag": etag, "over": True})
        assert over.status_code == 200


def test_history_is_compared_and_returned_to(box: Box) -> None:
    with box.client("dora") as client:
        for above in (9, 10):
            etag = client.get(f"{API}/flows/ticks").headers["etag"]
            etag = put(client, etag, with_config("hot", above=above)).headers["etag"]
            client.post(DEPLOY, json={"etag": etag})
        diff = client.get(f"{API}/flows/ticks/diff?from=1&to=deployed").json()
        assert diff["changes"][0]["from"] == 9
        assert diff["restarts"] == ["hot"]
        entry = client.get(f"{API}/flows/ticks/history/1").json()
        assert entry["document"]["nodes"]["hot"]["config"]["above"] == 9
        whole = client.post(f"{API}/flows/ticks/history/1/return", json={}).json()
        assert whole["document"]["nodes"]["hot"]["config"]["above"] == 9
        assert whole["state"]["draft"]["changed"] is True
        assert client.get(f"{API}/flows/ticks/history/99").status_code == 404
        assert client.get(f"{API}/flows/ticks/diff?from=draft&to=nope").status_code == 422


def test_a_new_flow_is_deployed_and_removed_and_its_files_are_kept_aside(empty: Box) -> None:
    with empty.client("dora") as client:
        made = client.post(f"{API}/flows", json={"id": "first"})
        etag = made.headers["etag"]
        assert client.post(f"{API}/flows/first/deploy", json={"etag": etag}).status_code == 200
        assert set(empty.engine.flows) == {"first"}
        assert client.delete(f"{API}/flows/first").status_code == 204
        assert client.get(f"{API}/flows/first").status_code == 404
    assert empty.engine.flows == {}
    assert not (empty.folder / "first.json").exists()
    assert len(list((empty.folder / ".removed").glob("*-first.json"))) == 1


def test_check_finds_what_the_command_finds(box: Box) -> None:
    with box.client("vera") as client:
        draft = client.post(f"{API}/flows/ticks/check", json={}).json()
        bad = with_config("hot", above="x")
        found = client.post(f"{API}/flows/ticks/check", json={"document": bad}).json()
    assert draft["ok"] is True
    assert found["ok"] is False
    where = next(f["where"] for f in found["findings"] if f["severity"] == "error")
    assert (where["node"], where["field"]) == ("hot", "config.above")
