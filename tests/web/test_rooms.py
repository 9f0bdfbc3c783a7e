"""Two people edit one flow: what does not meet goes through, what meets is told."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.web.ops import BadOp, apply_ops, marks, meetings, read_ops, wire_text
from tests.web.box import API, TICKS, Box
from tests.web.test_drafts import put, with_config

OPS = "flow/ticks/ops"
ABOVE = ["nodes", "hot", "config", "above"]


def put_op(path: list[Any], **value: Any) -> dict[str, Any]:
    """A `put`."""
    return {"op": "put", "path": path, **value}


def apply(*ops: dict[str, Any], document: Any = None, places: Any = None) -> Any:
    """The document and places after operations."""
    return apply_ops(document or TICKS, places or {"tick": (0, 0)}, read_ops(list(ops)))


def test_values_are_set_and_removed_and_maps_are_made_on_the_way() -> None:
    found, _ = apply(
        put_op(ABOVE, value=9),
        put_op(["nodes", "show", "config", "to"]),
        put_op(["nodes", "hot", "x-note", "by"], value="ed"),
        put_op(["title"]),
    )
    assert found["nodes"]["hot"]["config"]["above"] == 9
    assert found["nodes"]["hot"]["x-note"] == {"by": "ed"}
    assert "to" not in found["nodes"]["show"]["config"]
    assert "title" not in found
    assert TICKS["title"] == "Ticks"


def test_wires_come_and_go_by_their_text() -> None:
    spec = {"id": "hot.raised -> show", "from": "hot", "output": "raised", "to": "show"}
    found, _ = apply(
        {"op": "wire", "wire": {**spec, "settings": {"capacity": 5}}},
        {"op": "unwire", "id": "tick -> show"},
    )
    assert [wire_text(wire) for wire in found["wires"]] == ["tick -> hot", "hot.raised -> show"]
    assert found["wires"][1] == {"from": "hot.raised", "to": "show", "capacity": 5}
    again, _ = apply({"op": "wire", "wire": {**spec, "settings": {}}}, document=found)
    assert again["wires"] == ["tick -> hot", "hot.raised -> show"]


def test_a_renamed_node_is_renamed_in_all_that_names_it() -> None:
    document = copy.deepcopy(TICKS)
    document["nodes"]["fails"] = {"type": "catch", "config": {"nodes": ["hot", "show"]}}
    document["x-groups"] = {"g": {"title": "G", "nodes": ["hot"]}}
    document["wires"] = ["tick -> hot", {"from": "hot.raised", "to": "show", "capacity": 3}]
    found, places = apply(
        {"op": "rename", "from": "hot", "to": "warm"}, document=document, places={"hot": (1, 2)}
    )
    assert list(found["nodes"]) == ["tick", "warm", "show", "fails"]
    assert found["wires"] == [
        "tick -> warm", {"from": "warm.raised", "to": "show", "capacity": 3},
    ]  # fmt: skip
    assert found["nodes"]["fails"]["config"]["nodes"] == ["warm", "show"]
    assert found["x-groups"]["g"]["nodes"] == ["warm"]
    assert places == {"warm": (1, 2)}


def test_nodes_are_moved_and_lose_their_place() -> None:
    _, places = apply({"op": "move", "at": {"hot": [10.4, 20], "tick": None}})
    assert places == {"hot": (10, 20)}


@pytest.mark.parametrize(
    "op",
    [
        {},
        {"op": "what"},
        {"op": "put", "path": []},
        {"op": "put", "path": ["nodes", "none", "config"], "value": 1},
        {"op": "put", "path": ["nodes", "hot"]},
        {"op": "put", "path": ["wires", 9], "value": 1},
        {"op": "rename", "from": "none", "to": "x"},
        {"op": "rename", "from": "hot", "to": "tick"},
        {"op": "rename", "from": "hot", "to": "No Id"},
        {"op": "move", "at": {"hot": [1]}},
        {"op": "put", "path": ["title"], "value": 1, "__proto__": 1},
        {"op": "wire", "wire": {"id": "", "from": "x", "output": "", "to": "hot", "settings": {}}},
    ],
)
def test_an_operation_that_cannot_be_is_refused(op: dict[str, Any]) -> None:
    with pytest.raises(BadOp):
        apply(op)


def test_proto_is_a_key_like_any_other() -> None:
    found, _ = apply(put_op(["nodes", "hot", "config", "__proto__"], value={"x": 1}))
    assert json.loads(json.dumps(found))["nodes"]["hot"]["config"]["__proto__"] == {"x": 1}


PATHS = st.lists(st.sampled_from(["nodes", "a", "b", "config"]), min_size=1, max_size=4)


@given(st.lists(PATHS, min_size=1, max_size=3), st.lists(PATHS, min_size=1, max_size=3))
def test_edits_that_do_not_meet_give_the_same_in_any_order(
    mine: list[list[Any]], theirs: list[list[Any]]
) -> None:
    one = read_ops([put_op(path, value=1) for path in mine])
    other = read_ops([put_op(path, value=2) for path in theirs])
    if meetings(marks(one), marks(other)):
        return
    base: Any = {"nodes": {"a": {"config": {}}, "b": {"config": {}}}}
    try:
        first = apply_ops(*apply_ops(base, {}, one), other)
        second = apply_ops(*apply_ops(base, {}, other), one)
    except BadOp:
        return
    assert first == second


def test_edits_go_to_everyone_in_order(box: Box) -> None:
    with box.live("ed") as ed, box.live("dora") as dora:
        for tab in (ed, dora):
            tab.sub(OPS)
            rev = tab.next(OPS, kind="hello")["d"]["rev"]
        ed.send(op="edit", topic=OPS, id="k1", rev=rev, label="Limit", ops=[put_op(ABOVE, value=9)])
        mine, theirs = ed.next(OPS, kind="edit")["d"], dora.next(OPS, kind="edit")["d"]
        assert mine == theirs
        assert (mine["rev"], mine["by"], mine["id"]) == (rev + 1, "ed", "k1")
        title = put_op(["title"], value="Other")
        dora.send(op="edit", topic=OPS, id="k2", rev=rev, label="", ops=[title])
        assert ed.next(OPS, kind="edit")["d"]["rev"] == rev + 2
        assert ed.next(OPS, kind="check")["d"]["check"]["errors"] == 0
    with box.client("vera") as client:
        whole = client.get(f"{API}/flows/ticks").json()
    assert whole["document"]["title"] == "Other"
    assert whole["document"]["nodes"]["hot"]["config"]["above"] == 9
    assert whole["state"]["draft"]["rev"] == rev + 2


def test_the_later_of_two_on_one_property_is_told(box: Box) -> None:
    with box.live("ed") as ed, box.live("dora") as dora:
        for tab in (ed, dora):
            tab.sub(OPS)
            rev = tab.next(OPS, kind="hello")["d"]["rev"]
        ed.send(op="edit", topic=OPS, id="k1", rev=rev, ops=[put_op(ABOVE, value=9)])
        dora.next(OPS, kind="edit")
        dora.send(op="edit", topic=OPS, id="k2", rev=rev, ops=[put_op(ABOVE, value=10)])
        told = dora.next(OPS, kind="conflict")["d"]
        assert (told["id"], told["paths"], told["rev"]) == ("k2", [ABOVE], rev + 1)
        assert told["since"][0]["id"] == "k1"
        dora.send(op="edit", topic=OPS, id="k3", rev=rev + 1, ops=[put_op(ABOVE, value=10)])
        assert dora.next(OPS, kind="edit")["d"]["rev"] == rev + 2


def test_ones_own_edits_may_follow_without_waiting(box: Box) -> None:
    with box.live("ed") as ed:
        ed.sub(OPS)
        rev = ed.next(OPS, kind="hello")["d"]["rev"]
        for number in range(5):
            edit = put_op(ABOVE, value=number)
            ed.send(op="edit", topic=OPS, id=f"k{number}", rev=rev, ops=[edit])
        revs = [ed.next(OPS, kind="edit")["d"]["rev"] for _ in range(5)]
    assert revs == [rev + 1 + number for number in range(5)]


def test_a_move_is_shared_and_is_no_revision(box: Box) -> None:
    with box.live("ed") as ed, box.live("dora") as dora:
        for tab in (ed, dora):
            tab.sub(OPS)
            rev = tab.next(OPS, kind="hello")["d"]["rev"]
        ed.send(op="edit", topic=OPS, id="m", rev=rev, ops=[{"op": "move", "at": {"hot": [5, 6]}}])
        assert dora.next(OPS, kind="edit")["d"]["rev"] == rev
    assert json.loads((box.folder / "ticks.layout.json").read_text())["nodes"] == {"hot": [5, 6]}


@pytest.mark.parametrize(
    ("who", "ops", "slug"),
    [
        ("vera", [put_op(ABOVE, value=9)], "not-allowed"),
        ("ed", [put_op(["nodes", "none", "title"], value="x")], "bad-op"),
        ("ed", [put_op(["what"], value=1)], "unknown-key"),
        ("ed", [], "bad-op"),
    ],
)
def test_what_may_not_be_is_refused_and_changes_nothing(
    box: Box, who: str, ops: list[Any], slug: str
) -> None:
    with box.live(who) as tab:
        tab.sub(OPS)
        rev = tab.next(OPS, kind="hello")["d"]["rev"]
        tab.send(op="edit", topic=OPS, id="k", rev=rev, ops=ops)
        assert tab.next(OPS, kind="refused")["d"]["slug"] == slug
    with box.client("vera") as client:
        assert client.get(f"{API}/flows/ticks").json()["state"]["draft"]["rev"] == rev


def test_a_draft_put_as_a_whole_is_to_be_read_again(box: Box) -> None:
    with box.live("ed") as tab, box.client("dora") as client:
        tab.sub(OPS)
        rev = tab.next(OPS, kind="hello")["d"]["rev"]
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        put(client, etag, with_config("hot", above=9))
        told = tab.next(OPS, kind="reload")["d"]
        assert (told["rev"], told["by"], told["why"]) == (rev + 1, "dora", "put")
        tab.send(op="edit", topic=OPS, id="k", rev=rev, ops=[put_op(["title"], value="x")])
        assert tab.next(OPS, kind="reload")["d"]["why"] == "behind"


def test_everyone_sees_who_is_here_and_what_they_select(box: Box) -> None:
    with box.live("ed") as ed:
        ed.sub(OPS)
        ed.next(OPS, kind="hello")
        with box.live("dora") as dora:
            dora.sub(OPS)
            people = ed.next(OPS, kind="presence")["d"]["people"]
            assert [each["user"] for each in people] == ["ed", "dora"]
            dora.send(op="here", topic=OPS, selection=["hot"], doing="typing")
            people = ed.next(OPS, kind="presence")["d"]["people"]
            assert people[1]["selection"] == ["hot"]
        people = ed.next(OPS, kind="presence")["d"]["people"]
        assert [each["user"] for each in people] == ["ed"]
