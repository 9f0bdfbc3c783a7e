"""A secret goes in by the editor and never comes out, whichever way one looks."""

import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.secrets import SecretStore
from flowengine.web.app import ENTRIES
from flowengine.web.redact import SHOWN, Redactor
from tests.web.box import API, Box
from tests.web.test_access import called

LITERAL = "hunter2"
PLANTED = [f'pl4nted-"{n:02d}"-ü' for n in range(50)]

HOLDS: dict[str, Any] = {
    "format": 1,
    "connections": {
        "site": {
            "type": "mqtt.broker",
            "config": {"host": "127.0.0.1", "port": 1, "password": {"$secret": "s-00"}},
        }
    },
    "nodes": {
        "tick": {"type": "timer.tick", "config": {"every": "20ms", "payload": PLANTED[0]}},
        "out": {"type": "mqtt.out", "config": {"broker": "site", "topic": "x"}},
        "show": {"type": "debug"},
    },
    "wires": ["tick -> out", "tick -> show"],
}
"""A flow in which a device happens to send the very secret of its broker."""


@pytest.fixture
def holds(tmp_path: Path) -> Any:
    """An editor over that flow, with fifty secrets stored."""
    box = Box(tmp_path)
    store = SecretStore(box.data)
    for number, value in enumerate(PLANTED):
        store.set(f"s-{number:02d}", value)
    box.put_flow("holds", HOLDS)
    with box:
        yield box


def leaks(raw: str) -> list[str]:
    """The planted secrets in a text, also as JSON would write them."""
    forms = set(PLANTED) | {json.dumps(value)[1:-1] for value in PLANTED}
    return [form for form in forms if form in raw]


def test_s50_no_export_holds_a_value(holds: Box) -> None:
    clean = json.loads(json.dumps(HOLDS))
    clean["nodes"]["tick"]["config"]["payload"] = "x"
    with holds.client("ada") as client:
        etag = client.get(f"{API}/flows/holds").headers["etag"]
        client.put(f"{API}/flows/holds", json={"document": clean}, headers={"If-Match": etag})
        for path in ("export", "export?bundle=1"):
            text = client.get(f"{API}/flows/holds/{path}").text
            assert leaks(text) == []
            assert '"$secret": "s-00"' in text


@pytest.mark.parametrize("place", ["password", "username-in-url"])
def test_s50_a_literal_secret_is_not_kept(holds: Box, place: str) -> None:
    literal = json.loads(json.dumps(HOLDS))
    if place == "password":
        literal["connections"]["site"]["config"]["password"] = LITERAL
    else:
        literal["connections"]["db"] = {
            "type": "influxdb.server",
            "config": {"url": "http://me:hunter2@127.0.0.1:8086", "token": {"$secret": "s-01"}},
        }
    with holds.client("ada") as client:
        etag = client.get(f"{API}/flows/holds").headers["etag"]
        answer = client.put(
            f"{API}/flows/holds", json={"document": literal}, headers={"If-Match": etag}
        )
        assert (answer.status_code, answer.json()["slug"]) == (422, "bad-flow")
        assert answer.json()["findings"][0]["slug"] == "literal-secret"
        made = client.post(f"{API}/flows", json={"id": "new", "document": literal})
        assert made.status_code == 422
    stored = b"".join(p.read_bytes() for p in holds.data.glob("editor.db*"))
    assert b"hunter2" not in stored


def test_s51_no_log_sample_value_or_debug_shows_one(holds: Box) -> None:
    seen: list[str] = []
    with holds.client("ada") as client, holds.live() as tab:
        for kind in ("values", "debug", "tap/tick", "metrics", "status"):
            tab.sub(f"flow/holds/{kind}")
        tab.sub("log")
        tab.until("flow/holds/debug", lambda data: bool(data["items"]))
        tab.until("flow/holds/values", lambda data: "tick.out" in data["values"])
        tab.until("flow/holds/tap/tick", lambda data: bool(data["samples"]))
        facts = {"flow": "holds", "password": PLANTED[0], "mend": f"not {PLANTED[0]}"}
        logging.getLogger("flowengine.test").error("it sent %s", PLANTED[0], extra={"facts": facts})
        tab.until("log", lambda data: any("it sent" in x["what"] for x in data["lines"]))
        seen += [msgspec.json.encode(frame).decode() for frame in tab.seen]
        seen.append(client.get(f"{API}/flows/holds/wires/tick/samples").text)
        seen.append(client.get(f"{API}/log").text)
        seen.append(client.get(f"{API}/flows/holds/metrics").text)
    assert any(SHOWN in text for text in seen)
    assert [found for text in seen for found in leaks(text)] == []


def test_s52_no_route_gives_a_value_back(holds: Box) -> None:
    clean = json.loads(json.dumps(HOLDS))
    clean["nodes"]["tick"]["config"]["payload"] = "x"
    with holds.client("ada") as client:
        etag = client.get(f"{API}/flows/holds").headers["etag"]
        put = client.put(f"{API}/flows/holds", json={"document": clean}, headers={"If-Match": etag})
        client.post(f"{API}/flows/holds/deploy", json={"etag": put.headers["etag"]})
        listed = client.get(f"{API}/secrets").json()["secrets"]
        assert [each["name"] for each in listed] == [f"s-{n:02d}" for n in range(50)]
        assert listed[0]["used_by"] == [
            {"flow": "holds", "connection": "site", "field": "config.password"}
        ]
        for entry in ENTRIES:
            if entry.path != "/api/v1/session":
                assert leaks(called(client, entry).text) == [], entry.path
        assert client.get(f"{API}/secrets/s-00").status_code == 405


def test_s52_storing_one_says_nothing_but_that_it_is_there(holds: Box) -> None:
    with holds.client("dora") as client:
        answer = client.put(f"{API}/secrets/new", json={"value": "x" * 20})
        assert (answer.status_code, answer.content) == (204, b"")
        bad = client.put(f"{API}/secrets/Not A Name", json={"value": "planted value"})
        assert bad.status_code == 422
        assert "planted value" not in bad.text
        extra = client.put(f"{API}/secrets/new", json={"value": "planted value", "x": 1})
        assert "planted value" not in extra.text
        assert client.delete(f"{API}/secrets/new").status_code == 204
        assert client.delete(f"{API}/secrets/new").status_code == 404


def test_s53_the_store_rotates_beside_the_running_editor(holds: Box) -> None:
    before = (holds.data / "secrets.json").read_text()
    assert holds.services.secrets.rotate() == 50
    assert (holds.data / "secrets.json").read_text() != before
    assert holds.services.secrets.get("s-07") == PLANTED[7]
    with holds.client("ada") as client:
        etag = client.get(f"{API}/flows/holds").headers["etag"]
        plan = client.post(f"{API}/flows/holds/deploy?dry_run=1", json={"etag": etag}).json()
    assert plan["missing"] == []


@given(st.text(min_size=4).filter(lambda text: len(text.strip()) >= 4), st.text(), st.text())
def test_s51_a_known_value_never_stands_in_cleaned_text(value: str, left: str, right: str) -> None:
    redactor = Redactor([value])
    assert value not in redactor.clean(f"{left}{value}{right}").replace(SHOWN, "\0")
    raw = redactor.clean_bytes(msgspec.json.encode({"a": f"{left}{value}{right}"}))
    assert json.dumps(value, ensure_ascii=False).encode() not in raw
