"""Drafts are kept on the server, each revision once, apart from what is deployed."""

import json
from pathlib import Path
from typing import Any

import pytest

from flowengine.web.drafts import KEPT_REVISIONS, Draft, Drafts
from tests.web.box import API, TICKS, Box


def with_config(node: str, **config: Any) -> dict[str, Any]:
    """The ticking flow with settings of one node changed."""
    copy: dict[str, Any] = json.loads(json.dumps(TICKS))
    copy["nodes"][node].setdefault("config", {}).update(config)
    return copy


def put(client: Any, etag: str, document: dict[str, Any], flow: str = "ticks") -> Any:
    """Change a draft."""
    return client.put(
        f"{API}/flows/{flow}", json={"document": document}, headers={"If-Match": etag}
    )


def test_a_change_is_kept_and_nothing_is_deployed(box: Box) -> None:
    file = (box.folder / "ticks.json").read_text()
    with box.client("ed") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        answer = put(client, etag, with_config("hot", above=9))
        state = answer.json()["state"]
        assert (state["changes"], state["draft"]["by"]) == (1, "ed")
        assert state["draft"]["changed"] is True
        assert answer.headers["etag"] == state["draft"]["etag"] != etag
        whole = client.get(f"{API}/flows/ticks").json()
        assert whole["document"]["nodes"]["hot"]["config"]["above"] == 9
    assert (box.folder / "ticks.json").read_text() == file
    assert box.engine.flows["ticks"].plan.nodes["hot"].config.above == 8  # type: ignore[union-attr]


def test_a_draft_survives_the_server(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.put_flow("ticks", TICKS)
    with box, box.client("ed") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        put(client, etag, with_config("hot", above=9))
    with Box(tmp_path) as again, again.client("vera") as client:
        whole = client.get(f"{API}/flows/ticks").json()
    assert whole["document"]["nodes"]["hot"]["config"]["above"] == 9
    assert whole["state"]["draft"]["by"] == "ed"


def test_a_draft_may_be_unfinished(box: Box) -> None:
    document = with_config("hot", above="eight")
    document["nodes"]["more"] = {"type": "no.such", "config": {"a": [1, {"b": None}]}}
    with box.client("ed") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        answer = put(client, etag, document)
        assert answer.status_code == 200
        slugs = {found["slug"] for found in answer.json()["check"]["findings"]}
        assert {"bad-value", "unknown-type"} <= slugs
        kept = client.get(f"{API}/flows/ticks").json()["document"]["nodes"]["more"]
    assert kept == document["nodes"]["more"]


@pytest.mark.parametrize(
    "document",
    [{}, {"format": 1}, {"format": 2, "nodes": {}}, {"format": 1, "nodes": []}],
    ids=["empty", "no nodes", "newer", "nodes are a list"],
)
def test_what_is_no_flow_is_not_kept(box: Box, document: dict[str, Any]) -> None:
    with box.client("ed") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        answer = put(client, etag, document)
        assert (answer.status_code, answer.json()["slug"]) == (422, "bad-flow")
        assert answer.json()["findings"]
        assert client.get(f"{API}/flows/ticks").headers["etag"] == etag


def test_a_change_needs_the_version_it_was_made_on(box: Box) -> None:
    with box.client("ed") as client:
        answer = client.put(f"{API}/flows/ticks", json={"document": TICKS})
    assert (answer.status_code, answer.json()["slug"]) == (428, "need-etag")


def test_the_later_of_two_gets_both_sides_and_the_merge(box: Box) -> None:
    with box.client("ed") as ed, box.client("dora") as dora:
        etag = ed.get(f"{API}/flows/ticks").headers["etag"]
        assert put(ed, etag, with_config("hot", above=9)).status_code == 200
        answer = put(dora, etag, with_config("tick", every="1s"))
        told = answer.json()
        assert (answer.status_code, told["slug"], told["by"]) == (412, "draft-changed", "ed")
        assert told["base"]["nodes"]["hot"]["config"]["above"] == 8
        assert told["theirs"]["nodes"]["hot"]["config"]["above"] == 9
        assert told["mine"]["nodes"]["tick"]["config"]["every"] == "1s"
        assert told["changes"]["mine"]["changes"][0]["id"] == "tick"
        assert told["conflicts"] == []
        assert put(dora, told["etag"], told["merged"]).status_code == 200
        nodes = ed.get(f"{API}/flows/ticks").json()["document"]["nodes"]
    assert (nodes["hot"]["config"]["above"], nodes["tick"]["config"]["every"]) == (9, "1s")


def test_two_changes_of_one_property_are_a_conflict(box: Box) -> None:
    with box.client("ed") as ed, box.client("dora") as dora:
        etag = ed.get(f"{API}/flows/ticks").headers["etag"]
        put(ed, etag, with_config("hot", above=9))
        told = put(dora, etag, with_config("hot", above=10)).json()
    assert [each["path"] for each in told["conflicts"]] == ["nodes.hot.config.above"]


def test_the_same_change_twice_is_one_revision(box: Box) -> None:
    with box.client("ed") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        first = put(client, etag, with_config("hot", above=9)).headers["etag"]
        again = put(client, first, with_config("hot", above=9))
    assert (again.status_code, again.headers["etag"]) == (200, first)


def test_discard_makes_the_draft_what_is_deployed(box: Box) -> None:
    with box.client("ed") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        put(client, etag, with_config("hot", above=9))
        whole = client.post(f"{API}/flows/ticks/discard", json={}).json()
    assert whole["document"]["nodes"]["hot"]["config"]["above"] == 8
    assert whole["state"]["draft"]["changed"] is False


def test_an_unchanged_draft_follows_its_file_and_a_changed_one_says_so(box: Box) -> None:
    with box.client("ed") as client:
        client.get(f"{API}/flows/ticks")
        box.put_flow("ticks", with_config("hot", above=10))
        whole = client.get(f"{API}/flows/ticks").json()
        assert whole["document"]["nodes"]["hot"]["config"]["above"] == 10
        put(client, whole["state"]["draft"]["etag"], with_config("hot", above=11))
        box.put_flow("ticks", with_config("hot", above=120))
        whole = client.get(f"{API}/flows/ticks").json()
    assert whole["document"]["nodes"]["hot"]["config"]["above"] == 11
    assert whole["state"]["file_changed"] is True


def test_layout_is_kept_apart_and_written_where_nothing_is_to_be_deployed(box: Box) -> None:
    path = f"{API}/flows/ticks/layout"
    with box.client("ed") as client:
        before = client.get(f"{API}/flows/ticks").headers["etag"]
        etag = client.get(path).headers["etag"]
        body = {"nodes": {"tick": [10, 20], "gone": [1, 1]}}
        answer = client.put(path, json=body, headers={"If-Match": etag})
        assert answer.json()["nodes"] == {"tick": [10, 20]}
        stale = client.put(path, json=body, headers={"If-Match": etag})
        assert stale.status_code == 412
        assert client.get(f"{API}/flows/ticks").headers["etag"] == before
        written = json.loads((box.folder / "ticks.layout.json").read_text())
        assert written == {"format": 1, "nodes": {"tick": [10, 20]}}
        put(client, before, with_config("hot", above=9))
        body = {"nodes": {"tick": [30, 40]}}
        assert client.put(path, json=body, headers={"If-Match": "*"}).status_code == 200
        assert client.get(path).json()["nodes"] == {"tick": [30, 40]}
    assert json.loads((box.folder / "ticks.layout.json").read_text()) == written


@pytest.mark.parametrize("name", ["..", "a/b", "Ticks", "connections", "%2e%2e", "a" * 101, "x.y"])
def test_no_id_leads_out_of_the_folder(box: Box, name: str) -> None:
    with box.client("ada") as client:
        assert client.get(f"{API}/flows/{name}").status_code in {404, 303}
        made = client.post(f"{API}/flows", json={"id": name})
        assert made.status_code in {409, 422}


def test_a_new_flow_is_named_after_its_title_and_does_not_take_anothers_place(empty: Box) -> None:
    with empty.client("ed") as client:
        ids = [
            client.post(f"{API}/flows", json=body).json()["state"]["id"]
            for body in ({"title": "My Pump!"}, {"title": "my pump"}, {"example": "cold-room"}, {})
        ]
        assert ids == ["my-pump", "my-pump-2", "cold-room", "new-flow"]
        taken = client.post(f"{API}/flows", json={"id": "my-pump"})
        assert (taken.status_code, taken.json()["slug"]) == (409, "exists")
        whole = client.get(f"{API}/flows/cold-room").json()
    assert whole["check"]["errors"] == 0
    assert whole["layout"]
    assert whole["state"]["deployed"] is None
    assert empty.engine.flows == {}


def test_old_revisions_go_and_numbers_only_grow(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    for number in range(KEPT_REVISIONS + 5):
        made = drafts.put("x", f"text {number}", base="", file="")
    assert made.rev == KEPT_REVISIONS + 5
    assert drafts.revision("x", 5) is None
    first = drafts.revision("x", 6)
    assert first is not None
    assert first.text == "text 5"
    assert drafts.by_etag("x", first.etag) == first
    assert drafts.by_etag("x", '"6-00000000"') is None
    assert drafts.by_etag("x", "*") is None
    drafts.forget("x")
    assert drafts.newest("x") is None
    drafts.close()


def test_the_tag_tells_texts_apart() -> None:
    one = Draft(flow="x", rev=1, text="a", base="", file="")
    other = Draft(flow="x", rev=1, text="b", base="", file="")
    assert one.etag != other.etag
