"""The live view tells each client what it listens to, and never more than it can take."""

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from flowengine.message import Message
from flowengine.web.keyed import Keyed
from flowengine.web.listener import QUEUE, Listener, read_frame
from flowengine.web.preview import MOST, kind_of, sample_json, short
from flowengine.web.redact import Redactor
from flowengine.web.rights import Caller
from flowengine.web.taps import KEPT, LastValue, Tap
from tests.web.box import API, Box
from tests.web.test_drafts import put, with_config

NOBODY = Caller(name="vera", role="viewer", rights=frozenset({"view"}))


def test_a_socket_without_login_is_told_to_log_in(box: Box) -> None:
    uri = box.url.replace("http", "ws", 1) + f"{API}/live"
    with connect(uri, proxy=None) as socket, pytest.raises(ConnectionClosed) as closed:
        socket.recv(5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_a_socket_closes_at_logout(box: Box) -> None:
    with box.live("vera") as tab, box.client("vera") as client:
        tab.next("hello")
        listener = next(iter(box.services.hub.listeners.values()))
        client.cookies.set("flowengine_session", listener.caller.session)
        from flowengine.web.people import csrf_of  # noqa: PLC0415

        client.headers["X-CSRF-Token"] = csrf_of(listener.caller.session)
        assert client.delete(f"{API}/session").status_code == 204
        with pytest.raises(ConnectionClosed) as closed:
            tab.next("never", timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401


def test_metrics_come_whole_and_then_as_changes(box: Box) -> None:
    topic = "flow/ticks/metrics"
    with box.live("vera") as tab:
        tab.sub(topic)
        first = tab.next(topic)["d"]
        assert first["full"] is True
        assert set(first["nodes"]) == {"tick", "hot", "show"}
        later = tab.until(topic, lambda data: data["nodes"].get("tick", {}).get("rate"))
    assert later["full"] is False
    assert later["nodes"]["tick"]["out"]["out"] > 0
    assert 5 < later["nodes"]["tick"]["rate"]["out"] < 200
    assert later["nodes"]["hot"]["in"] > 0


def test_states_values_and_samples_are_told(box: Box) -> None:
    with box.live("vera") as tab:
        for kind in ("status", "values", "tap/tick -> hot"):
            tab.sub(f"flow/ticks/{kind}")
        status = tab.next("flow/ticks/status")["d"]
        assert status["nodes"]["tick"]["state"] == "running"
        assert status["state"]["id"] == "ticks"
        values = tab.until("flow/ticks/values", lambda data: "tick.out" in data["values"])
        told = values["values"]["tick.out"]
        assert (told["text"], told["kind"], told["key"]) == ('{"t":21.5}', "map", "tick")
        taken = tab.until("flow/ticks/tap/tick -> hot", lambda data: bool(data["samples"]))
        assert taken["samples"][0]["message"]["payload"] == {"t": 21.5}
        assert taken["passed"] >= len(taken["samples"])


def test_debug_shows_what_was_shown_and_then_what_is_new(box: Box) -> None:
    topic = "flow/ticks/debug"
    with box.live("vera") as tab:
        tab.sub(topic)
        tab.next(topic)
        items = tab.until(topic, lambda data: bool(data["items"]))["items"]
        more = tab.until(topic, lambda data: bool(data["items"]))["items"]
    assert items[0]["node"] == "show"
    assert items[0]["message"]["payload"] == {"t": 21.5}
    assert more[0]["n"] > items[-1]["n"]


def test_a_deploy_is_seen_and_taps_go_on(box: Box) -> None:
    with box.live("vera") as tab, box.client("dora") as client:
        tab.sub("status")
        assert tab.next("status")["d"]["full"] is True
        tab.sub("flow/ticks/tap/tick")
        tab.until("flow/ticks/tap/tick", lambda data: bool(data["samples"]))
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        etag = put(client, etag, with_config("tick", payload={"t": 3})).headers["etag"]
        assert client.post(f"{API}/flows/ticks/deploy", json={"etag": etag}).status_code == 200
        tab.until(
            "flow/ticks/tap/tick",
            lambda data: any(s["message"]["payload"] == {"t": 3} for s in data["samples"]),
        )
        told = [frame["d"] for frame in tab.seen if frame["t"] == "status"]
        while not any(each["flows"] and not each["full"] for each in told):
            told.append(tab.next("status")["d"])
    changed = next(each for each in told if each["flows"] and not each["full"])
    assert changed["flows"][0]["id"] == "ticks"


def test_nobody_looking_costs_no_tap(box: Box) -> None:
    outlets = box.engine.flows["ticks"].nodes["tick"].step.outlets  # type: ignore[union-attr]
    with box.live("vera") as tab:
        tab.sub("flow/ticks/values")
        tab.sub("flow/ticks/tap/tick")
        tab.until("flow/ticks/tap/tick", lambda data: bool(data["samples"]))
        assert len(outlets["out"].taps) == 2
        tab.send(op="unsub", topic="flow/ticks/tap/tick")
        tab.send(op="unsub", topic="flow/ticks/values")
        tab.sub("flow/ticks/metrics")
        for _ in range(20):
            tab.next("flow/ticks/metrics")
            if not outlets["out"].taps:
                break
    assert outlets["out"].taps == []


@pytest.mark.parametrize(
    ("frame", "slug"),
    [
        ({"op": "sub", "topic": "flow/none/metrics"}, "not-found"),
        ({"op": "sub", "topic": "flow/ticks/tap/none"}, "not-found"),
        ({"op": "sub", "topic": "flow/ticks/what"}, "not-found"),
        ({"op": "sub", "topic": "flow/../x/metrics"}, "not-found"),
        ({"op": "sub", "topic": "flow/ticks/paused"}, "not-yet"),
        ({"op": "sub", "topic": "x"}, "not-found"),
        ({"op": "sub"}, "bad-request"),
        ({"op": "what", "topic": "x"}, "bad-request"),
        ({"op": "edit", "topic": "flow/ticks/ops"}, "bad-request"),
        ({"no": 1}, "bad-request"),
    ],
)
def test_what_cannot_be_asked_is_an_error(box: Box, frame: dict[str, Any], slug: str) -> None:
    with box.live("vera") as tab:
        tab.send(**frame)
        while (found := tab.any())["t"] != "error":
            pass
    assert found["slug"] == slug


def test_a_slow_client_holds_a_fixed_number_of_frames_and_hears_of_the_rest() -> None:
    listener = Listener("x", NOBODY)
    listener.listen("log")
    for number in range(1_000):
        listener.push("log", number)
    assert listener.waiting == QUEUE
    frames = list(listener.frames())
    assert f'"n":{1_000 - QUEUE}' in frames[0]
    assert len(frames) == QUEUE + 1
    assert frames[-1].endswith('"d":999}')


def test_a_slow_client_gets_the_newest_of_a_keyed_topic_once() -> None:
    keyed, listener = Keyed(), Listener("x", NOBODY)
    keyed.renew({"a": 1})
    listener.listen_keyed("k", lambda seen: (keyed.tick, keyed.since(seen)))
    assert [frame for frame in listener.frames() if '"a":1' in frame]
    for number in range(100):
        keyed.renew({"a": number, "b": 0})
        listener.renewed("k")
    frames = list(listener.frames())
    assert len(frames) == 1
    assert '"a":99' in frames[0]
    assert '"b":0' in frames[0]


def test_a_client_that_reads_no_operations_is_sent_away() -> None:
    listener = Listener("x", NOBODY)
    for number in range(600):
        listener.tell({"t": "flow/x/ops", "d": number})
    assert listener.close_code == 1013
    assert listener.waiting < 600


@given(
    st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)), max_size=12), st.data()
)
def test_changes_taken_at_any_tick_add_up_to_the_whole(
    tables: list[dict[str, int]], data: st.DataObject
) -> None:
    keyed, held, seen = Keyed(), dict[str, int](), 0
    for table in tables:
        keyed.renew(table)
        if data.draw(st.booleans()):
            changed = keyed.since(seen)
            for name in keyed.gone_since(seen):
                held.pop(name, None)
            held |= changed
            seen = keyed.tick
            assert held == table


def test_a_tap_takes_ten_samples_a_second_and_counts_the_rest() -> None:
    tap = Tap(Redactor())
    taken = 0
    for _ in range(40):  # ten seconds of quarters
        for _ in range(50):
            tap([Message({"n": 1}), Message({"n": 2})])
        fresh, passed = tap.tick()
        assert passed == 100
        taken += len(fresh)
    assert 95 <= taken <= 112
    assert tap.passed == 4_000
    assert len(tap.ring) == KEPT


def test_a_sample_is_what_left_and_not_what_became_of_it() -> None:
    tap, payload = Tap(Redactor()), {"t": 1}
    tap([Message(payload)])
    payload["t"] = 2
    assert b'"t":1' in tap.ring[0].json
    assert tap.ring[0].message.payload == {"t": 1}


def test_the_last_value_is_copied_once_between_two_looks() -> None:
    value = LastValue(Redactor())
    value([Message(1)])
    value([Message(2)])
    first = value.look()
    assert first is not None
    assert first["text"] == "1"
    assert value.look() is None
    value([Message(3)])
    later = value.look()
    assert later is not None
    assert later["text"] == "3"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_a_sample_is_json_and_small_whatever_it_is_of(payload: Any) -> None:
    import msgspec  # noqa: PLC0415

    raw = sample_json(Message(payload, "topic"), 300)
    found = msgspec.json.decode(raw)
    assert "payload" in found or "preview" in found
    assert len(raw) <= 300 or "preview" in found
    assert len(short(payload, 80)) <= 80
    assert kind_of(payload)


def test_a_huge_payload_is_cut_without_being_read_to_its_end() -> None:
    huge = {"rows": [{"x": number} for number in range(200_000)]}
    started = time.thread_time()
    for _ in range(20):
        raw = sample_json(Message(huge))
    took = time.thread_time() - started
    assert len(raw) <= MOST
    assert took < 1.0  # encoding all of it would take more than 20 times as long


@pytest.mark.parametrize("text", ["", "[]", "1", "{", '{"op": 1}', "\ud800"])
def test_a_frame_is_an_object_with_an_op(text: str) -> None:
    assert read_frame(text) is None


def test_too_many_topics_are_refused(tmp_path: Path) -> None:
    box = Box(tmp_path)
    quiet = {"format": 1, "nodes": {"show": {"type": "debug"}}}
    for number in range(22):
        box.put_flow(f"f-{number}", quiet)
    with box, box.live("vera") as tab:
        for number in range(22):
            for kind in ("metrics", "values", "debug"):
                tab.sub(f"flow/f-{number}/{kind}")
        while (found := tab.any())["t"] != "error":
            pass
    assert found["slug"] == "too-many"
