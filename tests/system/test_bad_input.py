"""Bad input is told in one clear line, counted and kept, and the flow beside it does not notice.

Two flows run in one process: `bad` gets what is wrong, `good` counts on.
"""

import hashlib
import json
import re
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.flow_process import FlowProcess, flowengine, write_flow
from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.publisher import Publisher, packet, publish_packet, text
from tests.system.real import LOOPBACK, free_port, need, until
from tests.system.stores import InfluxFront
from tests.system.test_pipeline import influx, scraped

LARGE = 100_000_000
LIMIT = {"type": "threshold", "field": "payload.temperature", "above": 8}
BAD = {"type": "mqtt.in", "broker": "site", "topic": "bad/+"}
CAUGHT = {"caught": {"type": "catch"}, "kept": {"type": "file.append", "path": "caught.jsonl"}}


def site(port: int, **more: Any) -> dict[str, Any]:
    return {"site": {"type": "mqtt.broker", "host": LOOPBACK, "port": port, **more}}


class Beside:
    """A running engine with the flow `good` in it, of which each `still_runs` asks for a sign."""

    def __init__(self, folder: Path, broker: Mosquitto, **secrets: str) -> None:
        """Write the flow; with the secret `good` it is the user `good` to the broker."""
        self.address = f"{LOOPBACK}:{free_port()}"
        self.engine = FlowProcess(
            *(folder, "--metrics", self.address, "--ready-after", "2s"),
            env={f"FLOWENGINE_SECRET_{name.upper()}": value for name, value in secrets.items()},
        )
        self._broker, self._number = broker, 0
        self._login = {"user": "good", "password": secrets["good"]} if "good" in secrets else {}
        user = {"username": "good", "password": {"$secret": "good"}} if self._login else {}
        write_flow(
            folder,
            "good",
            {
                "in": {"type": "mqtt.in", "broker": "site", "topic": "good"},
                "out": {"type": "file.append", "path": "good.jsonl"},
            },
            ["in -> out"],
            site(broker.port, **user),
        )

    def publish(self, topic: bytes | str, payload: bytes) -> None:
        """Publish at QoS 1, once its flow listens, and wait for the broker's acknowledgement.

        On a machine with other work an engine may be ready before its links are.
        """
        flow = "good" if topic == "good" else "bad"
        self.engine.until_said(f" {flow}/site: running: connected")
        with Publisher(self._broker.port, **self._login) as publisher:
            publisher.publish([(topic, payload)])

    def lines(self, name: str) -> list[Any]:
        """What a file of the engine holds."""
        path = self.engine.data / "files" / name
        return [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []

    def still_runs(self) -> None:
        """The good flow takes one more message, and has taken each before just once."""
        self._number += 1
        self.publish("good", b"%d" % self._number)
        expected = list(range(1, self._number + 1))
        until(lambda: self.lines("good.jsonl") == expected, what="the good flow goes on")
        assert " good/" not in re.sub(r".* INFO .*", "", self.engine.said)

    def counted(self, name: str) -> float:
        """A counter of the bad flow, `name node`; `good` counts no failure."""
        found = scraped(self.address)
        assert found["flowengine_failed_total out"] == 0
        return found.get(name, 0)

    def set_aside(self) -> list[dict[str, Any]]:
        """What stands in quarantine."""
        ran = flowengine("quarantine", "list", "--json", "--data", self.engine.data)
        return [json.loads(line) for line in ran.stdout.splitlines()]


PAYLOADS = {
    "no JSON": (b"21.5 degrees", "not-json", ["21.5 degrees"]),
    "cut short": (b'{"temperature": 21', "not-json", ['{"temperature": 21']),
    "nested 100,000 deep": (b"[" * 100_000 + b"]" * 100_000, "too-deep", ["64 levels"]),
    "NaN": (b'{"temperature": NaN}', "not-json", ["NaN"]),
    "1e400": (b'{"temperature": 1e400}', "not-json", ["1e400"]),
    "10,000 digits": (b'{"temperature": ' + b"9" * 10_000 + b"}", "not-json", ["9999999999"]),
    "no UTF-8": (b'{"temperature": "\xff"}', "not-utf8", ["UTF-8", "byte 17"]),
    "a terminal's commands": (b'"\x1b[31m\x07', "not-json", [r"\x1b[31m\x07"]),
    "two of one key": (b'{"a": 1, "a": 2}', "", []),
    "nothing": (b"", "not-json", ["JSON"]),
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_that_cannot_be_read_is_told_counted_and_kept(
    mosquitto: Mosquitto, tmp_path: Path, name: str
) -> None:
    payload, slug, words = PAYLOADS[name]
    beside = Beside(tmp_path, mosquitto)
    wires = ["in -> limit", "limit -> out", "caught -> kept"]
    out = {"type": "debug"}
    nodes = {"in": {**BAD, "decode": "json"}, "limit": LIMIT, "out": out, **CAUGHT}
    write_flow(tmp_path, "bad", nodes, wires, site(mosquitto.port))
    with beside.engine as engine:
        engine.until_ready()
        beside.publish("bad/dev-1", payload)
        beside.still_runs()
        if not slug:  # JSON leaves it open (RFC 8259 §4); then the limit lacks its field
            engine.until_said("WARNING bad/limit: ", "payload.temperature", "(topic bad/dev-1)")
            return
        line = engine.until_said("WARNING bad/in: ", "(topic bad/dev-1)")
        assert [word for word in words if word not in line] == []
        assert len(line) < 300
        assert line.isprintable()
        until(lambda: beside.counted("flowengine_failed_total in") == 1)
        until(lambda: len(beside.lines("caught.jsonl")) == 1)
        assert beside.set_aside() == []
        beside.still_runs()


def test_a_reading_that_is_none_is_told_with_its_field_and_set_aside(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """As a broker sees it most: no `decode`, no `catch`."""
    beside = Beside(tmp_path, mosquitto)
    nodes = {"in": BAD, "limit": LIMIT, "out": {"type": "debug"}}
    write_flow(tmp_path, "bad", nodes, ["in -> limit", "limit -> out"], site(mosquitto.port))
    sent = {
        "text": b"hello",
        "null": b'{"temperature": null}',
        "words": b'{"temperature": "warm"}',
        "true": b'{"temperature": true}',
        "nan": b'{"temperature": NaN}',
        "bytes": b"\xff\xfe\x00",
    }
    with beside.engine as engine:
        engine.until_ready()
        for name, payload in sent.items():
            beside.publish(f"bad/{name}", payload)
            said = engine.until_said("WARNING bad/limit: ", f"(topic bad/{name})")
            assert "payload.temperature" in said
        beside.still_runs()
        until(lambda: len(beside.set_aside()) == len(sent))
        found = beside.set_aside()
        assert [entry["message"]["topic"] for entry in found] == [f"bad/{name}" for name in sent]
        assert found[0]["message"]["payload"] == "hello"
        assert found[5]["message"]["payload"] == {"$bytes": "//4A"}
        assert {(entry["flow"], entry["node"]) for entry in found} == {("bad", "limit")}
        assert beside.counted("flowengine_failed_total limit") == len(sent)


def test_a_refused_reading_leaves_where_refused_leads(mosquitto: Mosquitto, tmp_path: Path) -> None:
    beside = Beside(tmp_path, mosquitto)
    within = {"type": "filter.range", "field": "payload", "min": -40, "max": 85}
    nodes = {"in": BAD, "within": within, "out": {"type": "debug"}}
    nodes["kept"] = {"type": "file.append", "path": "refused.jsonl", "content": "message"}
    wires = ["in -> within", "within -> out", "within.refused -> kept"]
    write_flow(tmp_path, "bad", nodes, wires, site(mosquitto.port))
    with beside.engine as engine:
        engine.until_ready()
        for payload in (b"21.5", b"850", b"warm", b"1e400"):
            beside.publish("bad/dev-1", payload)
        until(lambda: len(beside.lines("refused.jsonl")) == 3)
        reasons = [line["meta"]["refused"]["reason"] for line in beside.lines("refused.jsonl")]
        assert reasons == ["above-max", "not-a-number", "not-a-number"]
        beside.still_runs()
        assert beside.counted("flowengine_failed_total within") == 0
        assert beside.set_aside() == []


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_f71_100_mb_are_told_and_not_held(
    mosquitto: Mosquitto, tmp_path: Path, protocol: str
) -> None:
    """The broker gets its acknowledgement, else it would send it again and again."""
    mosquitto.argv.remove("-v")
    mosquitto.restart()
    beside = Beside(tmp_path, mosquitto)
    nodes = {"in": BAD, "limit": LIMIT, "out": {"type": "debug"}, **CAUGHT}
    nodes["caught"] = {"type": "catch", "nodes": ["in"]}
    wires = ["in -> limit", "limit -> out", "caught -> kept"]
    write_flow(tmp_path, "bad", nodes, wires, site(mosquitto.port, protocol=protocol))
    with beside.engine as engine:
        engine.until_ready()
        beside.still_runs()
        before = engine.memory()["VmHWM"]
        beside.publish("bad/dev-1", b"x" * LARGE)
        beside.publish("bad/dev-1", b'{"temperature": "behind it"}')
        line = engine.until_said("WARNING bad/in: ", "(topic bad/dev-1)")
        assert "100,000,0" in line
        engine.until_said("WARNING bad/limit: ", "behind it")
        until(lambda: beside.lines("caught.jsonl") == [None])
        assert beside.counted("flowengine_failed_total in") == 1
        beside.still_runs()
        grown = engine.memory()["VmHWM"] - before
        print(f"\n{protocol}: {LARGE / 1e6:.0f} MB came, memory grew by {grown / 1e6:.1f} MB")
        assert grown < 2 * 16_000_000
        assert engine.said.count("bad/site: running: connected") == 1


@contextmanager
def sends_anything(*packets: bytes) -> Iterator[int]:
    """A broker that takes in whoever comes and sends these packets, right or wrong."""
    with socket.create_server((LOOPBACK, 0)) as server:
        server.settimeout(30)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    link, _ = server.accept()
                    threading.Thread(target=talk, args=(link,), daemon=True).start()

        def talk(link: socket.socket) -> None:
            with link, suppress(OSError):
                link.recv(1000)
                link.sendall(b"\x20\x02\0\0")  # CONNACK
                asked = link.recv(1000)
                link.sendall(b"\x90\x03" + asked[2:4] + b"\x01" + b"".join(packets))
                while link.recv(1000):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (publish_packet(b"bad/\xff\xfe", b"1", 1), "a topic is not UTF-8"),
        (publish_packet(b"bad/+", b"1", 1), "wildcard"),
        (publish_packet(b"bad/\0", b"1", 1), "NUL"),
        (packet(0x32, text("bad/1")), "malformed"),
        (b"\x32\xff\xff\xff\xff\x01", "more than four bytes"),
    ],
    ids=["a topic without UTF-8", "a wildcard", "NUL", "cut short", "a length of five bytes"],
)
def test_f75_a_broker_that_breaks_the_protocol_is_told_and_left(
    mosquitto: Mosquitto, tmp_path: Path, sent: bytes, words: str
) -> None:
    beside = Beside(tmp_path, mosquitto)
    with sends_anything(publish_packet("bad/before", b"{}", 7), sent) as port:
        nodes = {"in": BAD, "kept": {"type": "file.append", "path": "before.jsonl"}}
        write_flow(tmp_path, "bad", nodes, ["in -> kept"], site(port, protocol="3.1.1"))
        with beside.engine as engine:
            engine.until_ready()
            line = engine.until_said("WARNING bad/site: failed: ", words)
            assert line.isprintable()
            assert f"{LOOPBACK}:{port}" in line
            until(lambda: {} in beside.lines("before.jsonl"))
            beside.still_runs()
            assert engine.stop() < 5


def test_f75_a_device_that_publishes_to_no_topic_is_put_out_by_the_broker(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """mosquitto's part: the engine never hears of it."""
    beside = Beside(tmp_path, mosquitto)
    write_flow(
        tmp_path, "bad", {"in": BAD, "out": {"type": "debug"}}, ["in -> out"], site(mosquitto.port)
    )
    with beside.engine as engine:
        engine.until_ready()
        for topic in (b"bad/\xff", b"bad/+", b"bad/#"):
            with pytest.raises(OSError, match=r"closed|reset"):
                beside.publish(topic, b"1")
        beside.still_runs()
        assert "WARNING" not in engine.said


def test_a_line_that_influxdb_refuses_is_told_and_the_others_are_written(
    mosquitto: Mosquitto, influx_front: InfluxFront, tmp_path: Path
) -> None:
    """A text where numbers are: a field type conflict."""
    beside = Beside(tmp_path, mosquitto, token=influx_front.token)
    write = {
        "type": "influxdb.write",
        "server": "influx",
        "measurement": "room",
        "tags": {"device": "key"},
        "fields": {"temperature": "payload.temperature"},
        "batch": {"age": "300ms"},
    }
    connections = {**site(mosquitto.port), "influx": influx(influx_front, "token")}
    nodes = {"in": BAD, "write": write, **CAUGHT}
    write_flow(tmp_path, "bad", nodes, ["in -> write", "caught -> kept"], connections)
    with beside.engine as engine:
        engine.until_ready()

        def written() -> int:
            rows = influx_front.query("SELECT count(temperature) AS n FROM room")
            return int(rows[0]["n"]) if rows else 0

        beside.publish("bad/first", b'{"temperature": 21.5}')
        until(lambda: written() == 1)
        with Publisher(mosquitto.port) as publisher:
            publisher.publish(
                (f"bad/dev-{n}", b'{"temperature": "warm"}' if n == 5 else b'{"temperature": 21}')
                for n in range(10)
            )
        line = engine.until_said("WARNING bad/write: ", "(topic bad/dev-5)")
        assert "temperature" in line
        assert "conflict" in line
        until(lambda: written() == 10, what="the nine others")
        until(lambda: beside.lines("caught.jsonl") == [{"temperature": "warm"}])
        assert beside.counted("flowengine_failed_total write") == 1
        assert engine.said.count("WARNING bad/write") == 1
        beside.still_runs()


# --- brokers that do not want us (F-27)


def test_an_absent_broker_is_told(mosquitto: Mosquitto, tmp_path: Path) -> None:
    beside, port = Beside(tmp_path, mosquitto), free_port()
    write_flow(tmp_path, "bad", {"in": BAD, "out": {"type": "debug"}}, ["in -> out"], site(port))
    with beside.engine as engine:
        assert engine.until_ready().endswith("; connecting: site\n")
        line = engine.until_said(" bad/site: ", f"nothing listens at {LOOPBACK}:{port}")
        assert "Start the broker" in line
        beside.still_runs()
        assert engine.stop() < 5


USERS = {"good": "g", "bad": "b"}
ACL = "user good\ntopic readwrite #\n\nuser bad\ntopic read allowed/#\n"
SECURITY = "/usr/lib/*/mosquitto_dynamic_security.so"


@pytest.mark.parametrize("protocol", ["5", "3.1.1", "auto"])
def test_a_refused_password_is_told(
    make_mosquitto: MakeMosquitto, tmp_path: Path, protocol: str
) -> None:
    broker = make_mosquitto(password=USERS)
    beside = Beside(tmp_path, broker, good=USERS["good"], bad="wrong")
    wrong = {"username": "bad", "password": {"$secret": "bad"}, "protocol": protocol}
    write_flow(
        *(tmp_path, "bad", {"in": BAD, "out": {"type": "debug"}}, ["in -> out"]),
        site(broker.port, **wrong),
    )
    with beside.engine as engine:
        assert engine.until_ready().endswith("; connecting: site\n")
        line = engine.until_said("WARNING bad/site: failed: ", f"{LOOPBACK}:{broker.port}")
        assert re.search("not authori[sz]ed|user name or password", line, re.IGNORECASE)
        beside.still_runs()
        assert engine.stop() < 5


def may_not_read(folder: Path) -> str:
    """Settings of a broker that refuses the user `bad` to subscribe: its access list cannot."""
    salt, rounds = b"twelve bytes", 101
    word = hashlib.pbkdf2_hmac("sha512", USERS["bad"].encode(), salt, rounds)
    user = {"username": "bad", "password": b64encode(word).decode(), "iterations": rounds}
    user |= {"salt": b64encode(salt).decode(), "roles": [{"rolename": "deaf"}]}
    rule = {"acltype": "subscribePattern", "topic": "bad/#", "allow": False}
    kinds = ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe")
    rights = {
        "defaultACLAccess": dict.fromkeys(kinds, True),
        "clients": [user],
        "roles": [{"rolename": "deaf", "acls": [rule]}],
    }
    file = folder / "rights.json"
    file.write_text(json.dumps(rights))
    return f"plugin {need('mosquitto dynamic security', SECURITY)}\nplugin_opt_config_file {file}"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_topic_that_may_not_be_read_is_told(
    make_mosquitto: MakeMosquitto, tmp_path: Path, protocol: str
) -> None:
    broker = make_mosquitto(extra=may_not_read(tmp_path))
    beside = Beside(tmp_path / "flows", broker, bad=USERS["bad"])
    login = {"username": "bad", "password": {"$secret": "bad"}, "protocol": protocol}
    write_flow(
        *(tmp_path / "flows", "bad", {"in": BAD, "out": {"type": "debug"}}, ["in -> out"]),
        site(broker.port, **login),
    )
    with beside.engine as engine:
        engine.until_ready()
        line = engine.until_said("WARNING bad/site: failed: ", '"bad/+"')
        assert "refused the subscription" in line
        assert f"{LOOPBACK}:{broker.port}" in line
        beside.still_runs()


def test_a_topic_that_may_not_be_written_is_told_and_the_message_kept(
    make_mosquitto: MakeMosquitto, tmp_path: Path
) -> None:
    """MQTT 5 says so; an MQTT 3.1.1 broker acknowledges what it throws away (§3.3.5)."""
    broker = make_mosquitto(password=USERS, acl=ACL)
    beside = Beside(tmp_path, broker, **USERS)
    login = {"username": "bad", "password": {"$secret": "bad"}}
    tick = {"type": "timer.tick", "every": "1h", "payload": {"temperature": 21.5}}
    out = {"type": "mqtt.out", "broker": "site", "topic": "forbidden/dev-1"}
    nodes = {"tick": tick, "out2": out, **CAUGHT}
    write_flow(
        *(tmp_path, "bad", nodes, ["tick -> out2", "caught -> kept"]), site(broker.port, **login)
    )
    with beside.engine as engine:
        engine.until_ready()
        line = engine.until_said("WARNING bad/out2: ", "forbidden/dev-1")
        assert re.search("not authori[sz]ed", line, re.IGNORECASE)
        until(lambda: beside.lines("caught.jsonl") == [{"temperature": 21.5}])
        assert beside.counted("flowengine_failed_total out2") == 1
        beside.still_runs()
