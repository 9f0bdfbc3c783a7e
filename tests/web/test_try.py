"""What is typed into a form is tried on the last message that passed, by the engine's own parts."""

import time
from typing import Any

import pytest

from flowengine.message import Message
from flowengine.web.api_try import tried
from flowengine.web.taps import Sample
from tests.system.real import until
from tests.web.box import API, TICKS, Box

SAMPLE = Sample(
    1,
    0,
    b"",
    Message({"t": 21.5, "name": "boiler", "deep": [1, {"x": None}]}, "device/b7", 0, "b7"),
)


@pytest.mark.parametrize(
    ("kind", "text", "value", "sort"),
    [
        ("expression", "payload.t * 2", "43.0", "number"),
        ("expression", "payload.t > params.limit", "true", "boolean"),
        ("expression", "payload", '{"t":21.5,"name":"boiler","deep":[1,{"x":null}]}', "map"),
        ("path", "payload.deep[1].x", "null", "null"),
        ("path", "topic", "device/b7", "text"),
        ("template", "{payload.t:.2f} °C\nfrom {key}", "21.50 °C\nfrom b7", "text"),
        ("topic-template", "site/{key}/set", "site/b7/set", "text"),
    ],
)
def test_a_text_gives_its_value(kind: str, text: str, value: str, sort: str) -> None:
    found = tried(kind, text, {"limit": 8}, SAMPLE)
    assert found == {"value": value, "kind": sort, "problem": None}


@pytest.mark.parametrize(
    ("kind", "text", "what", "place"),
    [
        ("expression", "paylod.t", "paylod", (1, 1)),
        ("expression", "payload.t >", "cannot be read", (1, 1)),
        ("expression", "params.limt", "limt", (1, 1)),
        ("expression", "payload.name / 2", "", (None, None)),
        ("path", "payload.none", "none", (None, None)),
        ("path", "nothing", "nothing", (None, None)),
        ("template", "one\ntwo {paylod}", "paylod", (2, 5)),
        ("topic-template", "a/#", "#", None),
    ],
)
def test_a_fault_is_told_with_its_place(
    kind: str, text: str, what: str, place: tuple[int | None, int | None] | None
) -> None:
    found = tried(kind, text, {"limit": 8}, SAMPLE)
    assert found["value"] is None
    assert what in found["problem"]["what"]
    if place is not None:
        assert (found["problem"]["line"], found["problem"]["column"]) == place


def test_without_a_message_a_text_is_read_all_the_same() -> None:
    assert tried("expression", "payload.t", {}, None)["problem"] is None
    assert tried("expression", "payload.t >", {}, None)["problem"] is not None


def test_a_long_value_is_cut_and_a_bomb_is_refused() -> None:
    sample = Sample(1, 0, b"", Message("x" * 3_000, "", 0, ""))
    assert len(tried("path", "payload", {}, sample)["value"]) <= 300
    began = time.process_time()
    assert tried("expression", '"a" * 10 ** 9', {}, sample)["problem"] is not None
    assert time.process_time() - began < 2  # of a processor


def test_the_last_message_of_a_running_flow_is_taken(box: Box) -> None:
    box.put_flow("ticks", TICKS)
    with box.client("ed") as ed:
        body: dict[str, Any] = {
            "kind": "expression",
            "text": "payload.t + 1",
            "outputs": ["tick.out"],
        }
        found = ed.post(f"{API}/flows/ticks/try", json=body).json()
        assert (found["wire"], found["value"]) == (None, None), "it does not run yet"
        etag = ed.get(f"{API}/flows/ticks").headers["etag"]
        with box.client("dora") as dora:
            done = dora.post(f"{API}/flows/ticks/deploy", json={"etag": etag})
            assert done.status_code == 200, done.text

        def tried() -> dict[str, Any] | None:
            answer: dict[str, Any] = ed.post(f"{API}/flows/ticks/try", json=body).json()
            return answer if answer["value"] is not None else None

        found = until(tried, 10, "a message came")
        assert found is not None
        assert (found["wire"], found["value"], found["kind"]) == ("tick.out", "22.5", "number")
        strange = ed.post(f"{API}/flows/ticks/try", json=body | {"outputs": ["no.out"]}).json()
        assert strange["wire"] is None


def test_trying_needs_the_right_to_edit(box: Box) -> None:
    box.put_flow("ticks", TICKS)
    with box.client("vera") as vera:
        body = {"kind": "path", "text": "payload"}
        assert vera.post(f"{API}/flows/ticks/try", json=body).status_code == 403
