"""Messages are put into what runs, seen as they pass, and made into tests."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flowengine.web.topics import matches
from tests.system.real import until
from tests.web.box import API, TICKS, Box

ECHO: dict[str, Any] = {
    "format": 1,
    "nodes": {
        "never": {"type": "timer.tick", "config": {"every": "1d", "at_start": False, "payload": 7}},
        "twice": {"type": "compute", "config": {"set": {"payload": "payload * 2"}}},
        "show": {"type": "debug", "config": {"to": ["panel"]}},
    },
    "wires": ["never -> twice", "twice -> show"],
}


@pytest.fixture
def echo(empty: Box) -> Box:
    """An editor over a flow that does nothing until something is put into it."""
    with empty.client("ada") as client:
        made = client.post(f"{API}/flows", json={"id": "echo", "document": ECHO})
        etag = made.headers["etag"]
        assert client.post(f"{API}/flows/echo/deploy", json={"etag": etag}).status_code == 200
    return empty


def test_a_message_goes_into_a_node_out_of_a_source_or_out_of_an_output(echo: Box) -> None:
    path = f"{API}/flows/echo/nodes"
    with echo.client("dora") as client, echo.live("vera") as tab:
        tab.sub("flow/echo/tap/twice")
        tab.sub("flow/echo/metrics")
        tab.next("flow/echo/metrics")
        for node, body in (
            ("twice", {"payload": 4}),
            ("never", {}),
            ("never", {"payload": 5, "key": "dev-1", "time": "2026-01-01T00:00:00Z"}),
            ("twice", {"payload": 1, "output": "out"}),
        ):
            answer = client.post(f"{path}/{node}/inject", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["id"]
        seen: list[Any] = []
        while len(seen) < 4:
            seen += tab.next("flow/echo/tap/twice")["d"]["samples"]
    assert sorted(s["message"]["payload"] for s in seen) == [1, 8, 10, 14]
    dated = next(s["message"] for s in seen if s["message"]["payload"] == 10)
    assert (dated["key"], dated["time"]) == ("dev-1", "2026-01-01T00:00:00Z")
    assert dated["meta"]["injected"] is True


@pytest.mark.parametrize(
    ("node", "body", "status"),
    [
        ("none", {}, 404),
        ("twice", {"output": "none"}, 404),
        ("twice", {"time": "yesterday"}, 422),
        ("twice", {"payload": {"$bytes": "***"}}, 422),
    ],
)
def test_what_cannot_be_put_in_is_told(
    echo: Box, node: str, body: dict[str, Any], status: int
) -> None:
    with echo.client("dora") as client:
        answer = client.post(f"{API}/flows/echo/nodes/{node}/inject", json=body)
    assert answer.status_code == status


def test_samples_are_kept_from_the_first_question_on_and_replayed(echo: Box) -> None:
    path = f"{API}/flows/echo/wires/twice -> show"
    with echo.client("dora") as client:
        first = client.get(f"{path}/samples").json()
        assert (first["output"], first["samples"], first["watched"]) == ("twice.out", [], True)
        for number in range(3):
            client.post(f"{API}/flows/echo/nodes/twice/inject", json={"payload": number})
        samples = client.get(f"{path}/samples?last=20").json()["samples"]
        assert [s["message"]["payload"] for s in samples] == [0, 2, 4]
        number = samples[0]["n"]
        assert client.post(f"{path}/replay", json={"n": number}).status_code == 200
        assert client.post(f"{path}/replay", json={"n": 999}).status_code == 404
        nodes = client.get(f"{API}/flows/echo/metrics").json()["nodes"]
    assert nodes["twice"]["out"]["out"] == 4


def test_a_flow_that_does_not_run_has_nothing_to_show(empty: Box) -> None:
    with empty.client("ada") as client:
        client.post(f"{API}/flows", json={"id": "idle"})
        for path in ("metrics", "wires/tick/samples"):
            answer = client.get(f"{API}/flows/idle/{path}")
            assert (answer.status_code, answer.json()["slug"]) == (409, "not-running")
            assert client.get(f"{API}/flows/none/{path}").status_code == 404


def test_prometheus_text_names_the_flow(box: Box) -> None:
    with box.client("vera") as client:
        text = client.get("/metrics").text
    assert 'flowengine_messages_total{flow="ticks",node="tick",output="out"}' in text


CASES: dict[str, Any] = {
    "format": 1,
    "tests": [
        {
            "name": "doubles",
            "input": [{"at": "0s", "node": "never", "payload": 4}],
            "expect": {"show": [{"payload": 8}]},
        }
    ],
}


def test_tests_are_written_and_run_on_the_draft(echo: Box) -> None:
    path = f"{API}/flows/echo/tests"
    with echo.client("ed") as client:
        first = client.get(path)
        assert first.json()["document"] is None
        tag = first.headers["etag"]
        kept = client.put(path, json={"document": CASES}, headers={"If-Match": tag})
        assert kept.status_code == 200
        late = client.put(path, json={"document": CASES}, headers={"If-Match": tag})
        assert late.status_code == 412
        ran = client.post(f"{path}/run", json={}).json()
        assert (ran["passed"], ran["failed"]) == (1, 0)
        other = json.loads(json.dumps(ECHO))
        other["nodes"]["twice"]["config"]["set"]["payload"] = "payload * 3"
        ran = client.post(f"{path}/run", json={"document": other}).json()
        assert (ran["passed"], ran["failed"]) == (0, 1)
        assert "12" in ran["results"][0]["differences"][0]
        none = client.post(f"{path}/run", json={"names": []}).json()
        assert none["results"] == []
        bad = client.put(path, json={"document": {"format": 1}}, headers={"If-Match": "*"})
        assert bad.status_code == 422
    assert json.loads((echo.folder / "echo.test.json").read_text())["tests"] == CASES["tests"]


HEARS: dict[str, Any] = {
    **TICKS,
    "connections": {"site": {"type": "mqtt.broker", "config": {"host": "127.0.0.1", "port": 1}}},
    "nodes": {
        **TICKS["nodes"],
        "heard": {"type": "mqtt.in", "config": {"broker": "site", "topic": "a/+"}},
    },
    "wires": [*TICKS["wires"], "heard -> hot"],
}
"""Besides its timer it hears a broker, which is not there."""


def test_what_passes_becomes_a_test_that_passes(empty: Box) -> None:
    path = f"{API}/flows/hears"
    with empty.client("ada") as client, ThreadPoolExecutor() as pool:
        made = client.post(f"{API}/flows", json={"id": "hears", "document": HEARS})
        client.post(f"{path}/deploy", json={"etag": made.headers["etag"]})
        body = {"name": "as it was", "seconds": 0.5, "outputs": ["hot.raised"]}
        capture = pool.submit(client.post, f"{path}/tests/capture", json=body)
        outlet = empty.engine.flows["hears"].nodes["heard"].step.outlets["out"]  # type: ignore[union-attr]
        until(lambda: outlet.taps, 5, "the capture listens")
        put_in = {"payload": {"t": 30}, "key": "dev-1"}
        client.post(f"{path}/nodes/heard/inject", json=put_in)
        test = capture.result(20).json()["test"]
        assert [(each["node"], each["payload"]) for each in test["input"]] == [("heard", {"t": 30})]
        assert len(test["expect"]["hot.raised"]) == 2, "of the timer's key and of the device"
        document = {"format": 1, "tests": [test]}
        client.put(f"{path}/tests", json={"document": document}, headers={"If-Match": "*"})
        ran = client.post(f"{path}/tests/run", json={}).json()
    assert (ran["passed"], ran["failed"]) == (1, 0), ran


def test_a_bundle_goes_out_and_comes_in(echo: Box) -> None:
    with echo.client("ed") as client:
        client.put(f"{API}/flows/echo/tests", json={"document": CASES}, headers={"If-Match": "*"})
        client.put(
            f"{API}/flows/echo/layout", json={"nodes": {"show": [9, 9]}}, headers={"If-Match": "*"}
        )
        text = client.get(f"{API}/flows/echo/export?bundle=1").text
        told = client.post(f"{API}/import?dry_run=1", json={"text": text, "id": "copy"}).json()
        assert (told["tests"], told["missing_types"], told["secrets"]) == (1, [], [])
        assert told["check"]["ok"] is True
        made = client.post(f"{API}/import", json={"text": text, "id": "copy"})
        assert made.status_code == 201
        assert made.json()["layout"] == {"show": [9, 9]}
        assert client.post(f"{API}/flows/copy/tests/run", json={}).json()["passed"] == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '[{"id": "a", "type": "tab"}]', "{}"])
def test_what_is_no_flow_is_not_imported(empty: Box, text: str) -> None:
    with empty.client("ed") as client:
        answer = client.post(f"{API}/import", json={"text": text})
        assert answer.status_code == 422
        assert answer.json()["findings"]
        if "tab" in text:
            assert "Node-RED" in answer.text


def test_every_example_can_be_begun_with(empty: Box) -> None:
    with empty.client("ada") as client:
        shown = client.get(f"{API}/examples").json()["examples"]
        assert len(shown) >= 35
        assert sum(each["offline"] for each in shown) >= 6
        for each in shown:
            made = client.post(f"{API}/flows", json={"example": each["name"]})
            assert made.status_code == 201, each
            assert made.json()["check"]["errors"] == 0, each
            assert set(made.json()["layout"]) == set(made.json()["document"]["nodes"])
        assert client.get(f"{API}/examples/none").status_code == 404


@pytest.mark.parametrize(
    ("wanted", "topic", "fits"),
    [
        ("#", "a/b", True),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a", True),
        ("#", "$SYS/x", False),
        ("a", "b", False),
    ],
)
def test_topics_fit_filters(wanted: str, topic: str, fits: bool) -> None:
    assert matches(wanted, topic) is fits


def test_topics_of_a_broker_are_told_without_secrets(tmp_path: Any) -> None:
    seen = {"device/a": (b'{"t": 1}', 1e9), "other": (b"hunter2hunter2", 1e9)}
    with Box(tmp_path, topics=lambda: seen) as box, box.client("vera") as client:
        box.services.redactor.learn("hunter2hunter2")
        found = client.get(f"{API}/topics").json()
        assert [each["topic"] for each in found["topics"]] == ["device/a", "other"]
        assert found["topics"][0]["last"] == '{"t":1}'
        assert "hunter2" not in str(found)
        one = client.get(f"{API}/topics?filter=device/%2B").json()["topics"]
    assert [each["topic"] for each in one] == ["device/a"]


def test_series_are_read(tmp_path: Any) -> None:
    def reader(what: str, asked: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"series": "t", **asked}] if what == "points" else [{"series": "t", "tags": {}}]

    with Box(tmp_path, series=reader) as box, box.client("vera") as client:
        assert client.get(f"{API}/series").json()["series"] == [{"series": "t", "tags": {}}]
        points = client.get(f"{API}/series/points?name=t&since=2h").json()["points"]
    assert points == [{"series": "t", "name": "t", "since": "2h", "last": 500}]
    assert TICKS["title"] == "Ticks"
