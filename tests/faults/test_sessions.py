"""What the broker refuses, forgets, repeats or sends by the hundred thousand is coped with."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults.name_server import NameServer
from tests.faults.proxy import FaultProxy
from tests.faults.raw_broker import RawBroker
from tests.faults.record import Seen
from tests.faults.traffic import (
    START,
    Collector,
    compare,
    connected,
    from_site,
    link,
    metrics,
    reading,
    to_far,
    to_file,
    until_all,
    written,
)
from tests.flow_process import FlowProcess, flowengine, write_flow
from tests.system.brokers import MakeMosquitto
from tests.system.publisher import Publisher, packet, text
from tests.system.real import LOOPBACK, free_port, need, until

PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


# --- F-27: the broker refuses


@pytest.mark.parametrize("protocol", ["5", pytest.param("3.1.1", marks=pytest.mark.long)])
def test_f27_a_wrong_password_is_said_and_tried_again_ever_more_seldom(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, protocol: str
) -> None:
    """Until it is mended at the broker: then the link comes up by itself."""
    broker = make_mosquitto(password={"box": "another", "device": "d"}, acl=None)
    with FaultProxy(broker.port) as line:
        password = {"$secret": "box-password"}
        to_file(tmp_path, line.port, protocol=protocol, username="box", password=password)
        secret = {"FLOWENGINE_SECRET_BOX_PASSWORD": "the-password"}
        with FlowProcess(tmp_path, "--ready-after", "1s", env=secret) as engine:
            engine.until_said("failed", "refused the connection", "not authorized")
            engine.until_said("Correct username and password")
            until(lambda: len(line.connects) == 3, 15)
            gaps = [after - before for before, after in pairwise(line.connects)]
            assert gaps[0] >= 0.5
            assert gaps[1] >= 1.0
            assert "the-password" not in engine.said
            right = make_mosquitto(password={"box": "the-password", "device": "d"})
            line.target = LOOPBACK, right.port
            began = time.monotonic()
            engine.until_said("running: connected")
            recovery = time.monotonic() - began
            until(lambda: "SUBACK" in right.log_text())
            with Publisher(right.port, user="device", password="d") as publisher:  # noqa: S106
                publisher.publish(map(reading, range(10)))
            lost, twice = until_all(engine, set(range(10)))
    seen(lost=lost, duplicates=twice, recovery=recovery, attempts=len(line.connects))
    assert recovery <= 8


def test_f27_a_message_to_a_forbidden_topic_is_named_and_the_others_go_on(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen
) -> None:
    near = make_mosquitto()
    # Without a limit, mosquitto 2.0.11 hangs up after refusing, at times before it has said so.
    rules = "".join(f"topic readwrite up/dev-{device}\n" for device in range(10) if device != 3)
    far = make_mosquitto(acl=rules + "topic read up/#\n", extra="max_queued_messages 1000")
    to_far(tmp_path, near.port, far.port)
    with Collector(far.port) as there, FlowProcess(tmp_path) as engine:
        engine.until_ready()
        with Publisher(near.port) as publisher:
            publisher.publish(map(reading, range(100)))
        allowed = {number for number in range(100) if number % 10 != 3}
        lost, twice = there.until_all(allowed)
        said = engine.until_said("up/dev-3", "not authorized (0x87)")
        assert said.count("not authorized") == 1
        quarantined = until(lambda: listed(engine) if len(listed(engine)) == 10 else [])
        assert {entry["number"] for entry in quarantined} == set(range(100)) - allowed
    seen(lost=lost, duplicates=twice, refused=len(quarantined))
    assert not set(there.numbers) - allowed


def listed(engine: FlowProcess) -> list[dict[str, Any]]:
    """The payloads in quarantine."""
    ran = flowengine("quarantine", "list", "--json", "--data", engine.data)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(row)["message"]["payload"] for row in ran.stdout.splitlines()]


@PROTOCOLS
def test_f27_a_subscription_that_is_refused_is_named_and_the_others_stand(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, protocol: str
) -> None:
    """SUBACK 0x87, or 0x80, which is all that MQTT 3.1.1 can say."""
    plugin = need("mosquitto_dynamic_security.so", "/usr/lib/*/mosquitto_dynamic_security.so")
    may = {"acltype": "subscribePattern", "topic": "device/#", "priority": 0, "allow": True}
    rules = {
        "defaultACLAccess": {
            "publishClientSend": True,
            "publishClientReceive": True,
            "subscribe": False,
            "unsubscribe": True,
        },
        "roles": [{"rolename": "all", "acls": [may]}],
        "groups": [{"groupname": "all", "roles": [{"rolename": "all"}], "clients": []}],
        "anonymousGroup": "all",
        "clients": [],
    }
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    broker = make_mosquitto(
        extra=f"plugin {plugin}\nplugin_opt_config_file {tmp_path / 'rules.json'}"
    )
    to_file(tmp_path / "flows", broker.port, protocol=protocol)
    path = tmp_path / "flows" / "file.json"
    topics = '"topic": ["device/+/telemetry", "secret/#"]'
    path.write_text(path.read_text().replace('"topic": "device/+/telemetry"', topics))
    with FlowProcess(tmp_path / "flows") as engine:
        engine.until_ready()
        code = "not authorized (0x87)" if protocol == "5" else "(0x80)"
        engine.until_said("failed", '"secret/#"', code)
        with Publisher(broker.port) as publisher:
            publisher.publish(map(reading, range(10)))
        lost, twice = until_all(engine, set(range(10)))
        assert connected(broker.log_text()) == 1
    seen(lost=lost, duplicates=twice)


# --- F-28: another client has our id


class Thief:
    """A client that takes an id, and takes it back the moment it is taken away."""

    def __init__(self, port: int, client_id: str) -> None:
        self.took = 0
        self._port, self._id, self._end = port, client_id, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Thief":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            with Publisher(self._port, self._id) as session:
                self.took += 1
                session.link.settimeout(0.1)
                while not self._end.is_set():
                    try:
                        if not session.link.recv(100):
                            break
                    except TimeoutError:
                        continue
                    except OSError:
                        break


@pytest.mark.parametrize(
    ("protocol", "steals"),
    [("5", 0), pytest.param("3.1.1", 3, marks=[pytest.mark.long, pytest.mark.timeout(180)])],
)
def test_f28_a_client_with_our_id_is_suspected_and_met_every_ten_seconds_at_most(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, protocol: str, steals: int
) -> None:
    """Once it has gone, all is well again."""
    broker = make_mosquitto()
    with FaultProxy(broker.port) as line:
        to_file(tmp_path, line.port, client_id="site-1", protocol=protocol)
        with FlowProcess(tmp_path) as engine:
            engine.until_ready()
            with Thief(broker.port, "site-1") as thief:
                said = engine.until_said("failed", 'does another client use the client_id "site-1"')
                assert "Give each client its own client_id" in said
                alone = len(line.connects)
                until(lambda: len(line.connects) >= alone + steals, 20 * steals + 1)
                assert thief.took >= steals
            until(lambda: len(line.connects) > alone + steals, 20, "it tries again")
            gaps = [after - before for before, after in pairwise(line.connects[alone - 1 :])]
            assert min(gaps) >= 10

            def stands() -> bool:
                log = broker.log_text()
                return log.rfind("Sending SUBACK to site-1") > log.rfind(" as site-1 ")

            until(stands, 40, "a subscription that lasts")
            with Publisher(broker.port) as publisher:
                publisher.publish(map(reading, range(10)))
            lost, twice = until_all(engine, set(range(10)), 40)
    seen(lost=lost, duplicates=twice, connects=len(line.connects), apart_s=round(min(gaps), 1))


# --- F-29: the broker has lost the session


@PROTOCOLS
def test_f29_a_lost_session_is_said_and_subscribed_anew(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, protocol: str
) -> None:
    broker = make_mosquitto(persistence=True)
    to_file(tmp_path, broker.port, protocol=protocol)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        with Publisher(broker.port) as publisher:
            publisher.publish(map(reading, range(100)))
        until_all(engine, set(range(100)))
        broker.stop()
        (broker.folder / "mosquitto.db").unlink()
        broker.start()
        began = time.monotonic()
        engine.until_said(
            "WARNING", "had lost the session", "messages sent meanwhile may be missing"
        )
        recovery = time.monotonic() - began
        until(lambda: broker.log_text().count("Sending SUBACK to flowengine-") == 2)
        with Publisher(broker.port) as publisher:
            publisher.publish(map(reading, range(100, 200)))
        lost, twice = until_all(engine, set(range(200)))
    seen(lost=lost, duplicates=twice, recovery=recovery)
    assert twice == 0


# --- F-31: messages come again


@contextmanager
def both_sinks(folder: Path, broker: RawBroker, protocol: str) -> Iterator[FlowProcess]:
    """A flow from the broker by hand to a file and to the series store."""
    series = {
        "type": "series.write",
        "series": "room",
        "field": {"number": "payload.number"},
        "tags": {"device": "key"},
        "retention": "3650d",
        "batch": {"age": "10ms"},
    }
    out = {"type": "file.append", "path": "readings.jsonl", "batch": {"age": "10ms"}}
    nodes = {"in": from_site(), "out": out, "series": series}
    site = link(broker.port, protocol=protocol)
    write_flow(folder, "both", nodes, ["in -> out", "in -> series"], {"site": site})
    with FlowProcess(folder) as engine:
        engine.until_ready()
        yield engine


def rows(engine: FlowProcess) -> list[int]:
    """The numbers in the series store."""
    ran = flowengine("series", "export", "room", "--json", "--data", engine.data)
    assert ran.returncode == 0, ran.stderr
    return [int(json.loads(line)["value"]) for line in ran.stdout.splitlines()]


AGAIN = pytest.mark.parametrize(
    ("dup", "shift"),
    [(True, 0), (False, 0), (True, 500), (False, 500)],
    ids=["dup, same id", "no dup, same id", "dup, new id", "no dup, new id"],
)


@PROTOCOLS
@AGAIN
def test_f31_what_comes_again_on_a_new_connection_is_acknowledged_and_one_row(
    tmp_path: Path, seen: Seen, protocol: str, dup: bool, shift: int
) -> None:
    """The broker never got the first acknowledgements: it sends all again."""
    number = 20
    with RawBroker() as broker, both_sinks(tmp_path, broker, protocol) as engine:
        first = broker.client()
        for mid in range(1, number + 1):
            first.publish(*reading(mid), mid=mid)
        first.until_acknowledged(*range(1, number + 1))
        broker.session_present = True
        first.close()
        again = broker.client()
        assert not again.clean_start
        assert again.client_id == first.client_id
        for mid in range(1, number + 1):
            again.publish(*reading(mid), mid=mid + shift, dup=dup)
        again.publish(*reading(number + 1), mid=number + 1 + shift)
        again.until_acknowledged(*range(1 + shift, number + 2 + shift))
        assert again.acknowledged == sorted(again.acknowledged)
        sent = set(range(1, number + 2))
        lost, twice = until_all(engine, sent)
        assert sorted(rows(engine)) == sorted(sent)
        assert len(broker.links) == 2
        assert engine.stop() < 5
    seen(lost=lost, duplicates=twice, dup=dup, new_ids=bool(shift), rows=len(sent))
    assert twice <= number


@PROTOCOLS
def test_f31_what_comes_again_on_the_same_connection_is_acknowledged_and_one_row(
    tmp_path: Path, seen: Seen, protocol: str
) -> None:
    """MQTT 3.1.1 brokers that lose patience do it; MQTT 5 forbids it, and some do it still."""
    ways = {100: (True, 0), 200: (False, 0), 300: (True, 500), 400: (False, 500)}
    sent, wanted = set(), Counter[int]()
    with RawBroker() as broker, both_sinks(tmp_path, broker, protocol) as engine:
        there = broker.client()
        for first, (dup, shift) in ways.items():
            for mid in range(first, first + 10):
                there.publish(*reading(mid), mid=mid)
                there.publish(*reading(mid), mid=mid + shift, dup=dup)
                wanted.update((mid, mid + shift))
                sent.add(mid)
        for mid, times in wanted.items():
            there.until_acknowledged(mid, times=times)
        lost, twice = until_all(engine, sent)
        assert sorted(rows(engine)) == sorted(sent)
        assert len(broker.links) == 1
        assert engine.stop() < 5
    seen(runs=len(ways), lost=lost, duplicates=twice, rows=len(sent))
    assert twice <= len(sent)


@PROTOCOLS
def test_f31_a_packet_id_that_is_used_anew_is_another_message(
    tmp_path: Path, seen: Seen, protocol: str
) -> None:
    """Acknowledged ids are free (§2.2.1): another payload under one is no repeat, DUP or not."""
    with RawBroker() as broker, both_sinks(tmp_path, broker, protocol) as engine:
        there = broker.client()
        for number in range(1, 11):
            there.publish(*reading(number), mid=7)
            there.until_acknowledged(7, times=number)
        broker.session_present = True
        there.close()
        again = broker.client()
        for number in range(11, 21):
            again.publish(*reading(number), mid=7, dup=number % 2 == 1)
            again.until_acknowledged(7, times=number - 10)
        lost, twice = until_all(engine, set(range(1, 21)))
        assert written(engine) == list(range(1, 21))
    seen(lost=lost, duplicates=twice)


def test_f31_a_repeat_of_what_waits_for_its_sink_is_acknowledged_with_it(
    tmp_path: Path, seen: Seen
) -> None:
    """The connection dies while the engine has not committed; the broker sends all again."""
    number, closed = 50, free_port()
    with RawBroker() as broker:
        # Nothing is stored while the store cannot take a single message: the window stays full.
        to_far(
            tmp_path,
            broker.port,
            closed,
            spool={"size": "1KB"},
            retry={"first": "100ms", "max": "100ms"},
        )
        with FlowProcess(tmp_path, "--ready-after", "1s") as engine, RawBroker() as far:
            first = broker.client()
            for mid in range(1, number + 1):
                first.publish(*reading(mid), mid=mid)
            engine.until_said("up", "waiting")
            acknowledged = len(first.acknowledged)
            broker.session_present = True
            first.close()
            again = broker.client()
            left = range(1 + acknowledged, number + 1)
            for mid in left:
                again.publish(*reading(mid), mid=mid, dup=True)
            with FaultProxy(far.port, port=closed):
                again.until_acknowledged(*left)
                there = far.links[0]
                sent = set(range(1, number + 1))

                def came() -> list[int]:
                    return [json.loads(payload)["number"] for _, payload, _ in there.published]

                until(lambda: not compare(sent, came())[0], 20, "all at the far broker")
                lost, twice = compare(sent, came())
    seen(lost=len(lost), duplicates=twice, acknowledged_before=acknowledged)
    assert twice <= number


# --- F-32: a flood of retained messages


@pytest.mark.parametrize(
    "number",
    [20_000, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(240)])],
)
def test_f32_a_flood_of_retained_messages_is_taken_in_bounded_memory(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, number: int
) -> None:
    """The counters show how far it is; a live message behind the flood arrives too."""
    broker, address = make_mosquitto(), f"{LOOPBACK}:{free_port()}"
    broker.argv.remove("-v")
    broker.restart()
    with Publisher(broker.port) as publisher:
        publisher.link.sendall(b"".join(retained(each) for each in range(number)))
        publisher.publish([reading(0)])
    to_file(tmp_path, broker.port)
    path = tmp_path / "file.json"
    path.write_text(path.read_text().replace("device/+/telemetry", "device/#"))
    with FlowProcess(tmp_path, "--metrics", address) as engine:
        began = time.monotonic()

        def taken() -> float:
            return metrics(address).get("flowengine_source_acknowledged_total in", 0)

        shown = {0.0}

        def all_taken() -> bool:
            shown.add(taken())
            return max(shown) >= number

        until(all_taken, 100, "all retained messages taken in")
        took = time.monotonic() - began
        engine.until_ready()
        with Publisher(broker.port) as publisher:
            publisher.publish([reading(number)])
        lost, twice = until_all(engine, set(range(number + 1)), 60)
        high = engine.memory()["VmHWM"] / 1e6
        assert engine.stop() < 5
    seen(lost=lost, duplicates=twice, took_s=round(took, 1), high_mb=round(high), shown=len(shown))
    assert len(shown) >= 3
    assert high < 150


def retained(number: int) -> bytes:
    """A retained message on a topic of its own, at QoS 0 to be quick."""
    payload = json.dumps({"number": number, "timestamp": START + number}).encode()
    return packet(0x31, text(f"device/dev-{number}/state") + payload)


# --- F-33: names


@pytest.mark.parametrize(
    "failure",
    [
        "failing",
        pytest.param("unknown", marks=pytest.mark.long),
        pytest.param("silent", marks=pytest.mark.long),
    ],
)
def test_f33_a_broker_whose_name_fails_and_then_has_another_address_is_found(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, failure: str
) -> None:
    old = make_mosquitto()
    new = make_mosquitto(extra=f"listener {old.port} 127.0.0.2")
    with NameServer() as names:
        before = names.asked_by(tmp_path)
        names.address = failure
        to_file(tmp_path / "flows", old.port, host="broker.example", keepalive="1s")
        with FlowProcess(tmp_path / "flows", "--ready-after", "1s") as engine:
            engine.kill()
            engine.argv[:0] = before
            engine.start()
            engine.until_said("connecting", "the host of broker.example", "is not known")
            names.address = LOOPBACK
            engine.until_said("running: connected to broker.example")
            until(lambda: "Sending SUBACK" in old.log_text())
            with Publisher(old.port) as publisher:
                publisher.publish(map(reading, range(10)))
            until_all(engine, set(range(10)))
            names.address = failure
            old.kill()
            gone = names.asked
            until(lambda: names.asked > gone, 20, "a question for the name")
            names.address = "127.0.0.2"
            began = time.monotonic()
            engine.until_said("running: connected to broker.example", times=2, timeout=40)
            recovery = time.monotonic() - began
            until(lambda: "Sending SUBACK" in new.log_text())
            with Publisher(new.port) as publisher:
                publisher.publish(map(reading, range(10, 20)))
            lost, twice = until_all(engine, set(range(20)))
    seen(lost=lost, duplicates=twice, recovery=recovery, failure=failure)
    assert recovery < 30
