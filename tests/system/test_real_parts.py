"""Each real part that the system tests lean on starts, answers, stops, and keeps its data."""

import queue
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException
from paho.mqtt.enums import CallbackAPIVersion
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from tests.system.authority import Authority, Identity
from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.coap_peers import CoapClient, CoapServer
from tests.system.conftest import MakePrometheus
from tests.system.real import LOOPBACK, NotReady, Program, free_port, is_listening, need, until
from tests.system.stores import InfluxFront, Postgres, Victoria


class Person(mqtt.Client):
    """A client that collects what it gets; `verdict` is the broker's answer to its CONNECT."""

    def __init__(self, name: str, **settings: object) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=name, **settings)  # type: ignore[arg-type]
        self.verdict = ""
        self.got: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self.subscribed = False
        self.on_connect = self._connected
        self.on_message = lambda _c, _u, m: self.got.put((m.topic, bytes(m.payload)))
        self.on_subscribe = lambda *_: setattr(self, "subscribed", True)

    def _connected(self, _c: object, _u: object, _f: object, reason: object, _p: object) -> None:
        self.verdict = str(reason)

    def listen(self, topic: str) -> None:
        self.subscribed = False
        self.subscribe(topic, qos=1)
        until(lambda: self.subscribed, what=f"a subscription to {topic}")


@contextmanager
def online(
    broker: Mosquitto,
    name: str = "a",
    *,
    login: tuple[str, str] | None = None,
    identity: Identity | None = None,
    **settings: object,
) -> Iterator[Person]:
    client = Person(name, **settings)
    if login:
        client.username_pw_set(*login)
    if broker.authority:
        context = ssl.create_default_context(cafile=str(broker.authority.ca))
        if identity:
            context.load_cert_chain(identity.cert, identity.key)
        client.tls_set_context(context)
    client.connect(LOOPBACK, broker.port)
    client.loop_start()
    try:
        until(lambda: client.verdict, what="an answer to CONNECT")
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


class TestMosquitto:
    """Mosquitto, as the fixture sets it up."""

    def test_delivers(self, mosquitto: Mosquitto) -> None:
        with online(mosquitto) as client:
            client.listen("cold-room/#")
            client.publish("cold-room/temperature", b"4.5", qos=1)
            assert client.got.get(timeout=10) == ("cold-room/temperature", b"4.5")

    def test_serves_its_own_command_line_tools(self, mosquitto: Mosquitto) -> None:
        to = ["-h", LOOPBACK, "-p", str(mosquitto.port), "-t", "door"]
        subprocess.run([need("mosquitto_pub"), *to, "-m", "open", "-r"], check=True, timeout=10)
        argv = [need("mosquitto_sub"), *to, "-C", "1", "-W", "10"]
        heard = subprocess.run(argv, check=True, timeout=20, capture_output=True)
        assert heard.stdout == b"open\n"

    def test_lets_in_only_who_knows_the_password(self, make_mosquitto: MakeMosquitto) -> None:
        broker = make_mosquitto(password={"ann": "right"})
        with online(broker, login=("ann", "right")) as client:
            assert client.verdict == "Success"
        with online(broker, login=("ann", "wrong")) as client:
            assert client.verdict == "Not authorized"

    def test_keeps_to_the_access_list(self, make_mosquitto: MakeMosquitto) -> None:
        rules = "user boss\ntopic read #\n\npattern readwrite device/%u/#\n"
        broker = make_mosquitto(password={"ann": "pw", "boss": "pw"}, acl=rules)
        with (
            online(broker, "boss", login=("boss", "pw")) as boss,
            online(broker, "ann", login=("ann", "pw")) as ann,
        ):
            boss.listen("device/#")
            ann.publish("device/bob/t", b"not hers", qos=1)
            ann.publish("device/ann/t", b"hers", qos=1)
            assert boss.got.get(timeout=10) == ("device/ann/t", b"hers")

    @pytest.mark.parametrize("end", ["stop", "kill"])
    def test_keeps_a_session_when_told_to(self, make_mosquitto: MakeMosquitto, end: str) -> None:
        broker = make_mosquitto(persistence=True)
        with online(broker, "keeper", clean_session=False) as client:
            client.listen("alarm")
        with online(broker, "sender") as client:
            client.publish("alarm", b"raised", qos=1).wait_for_publish(10)
        saved = broker.folder / "mosquitto.db"
        until(
            lambda: saved.exists() and b"raised" in saved.read_bytes(), what="the message on disk"
        )
        first = broker.pid
        getattr(broker, end)()
        assert not is_listening(broker.port)
        broker.start()
        assert broker.pid != first
        with online(broker, "keeper", clean_session=False) as client:
            assert client.got.get(timeout=10) == ("alarm", b"raised")

    def test_speaks_tls(self, make_mosquitto: MakeMosquitto) -> None:
        with online(make_mosquitto(tls=True)) as client:
            assert client.verdict == "Success"

    def test_takes_the_certificate_for_the_user(self, make_mosquitto: MakeMosquitto) -> None:
        broker = make_mosquitto(tls="mutual", acl="pattern readwrite device/%u/#\n")
        assert broker.authority
        identity = broker.authority.issue("dev-1")
        with online(broker, identity=identity) as client:
            client.listen("device/dev-1/#")
            client.publish("device/dev-1/t", b"1", qos=1)
            assert client.got.get(timeout=10) == ("device/dev-1/t", b"1")

    def test_refuses_a_revoked_certificate(self, make_mosquitto: MakeMosquitto) -> None:
        broker = make_mosquitto(tls="mutual")
        assert broker.authority
        identity = broker.authority.issue("dev-1")
        with online(broker, identity=identity) as client:
            assert client.verdict == "Success"
        broker.authority.revoke(identity)
        broker.send(signal.SIGHUP)
        until(lambda: "Reloading config" in broker.log_text(), what="the reload")
        assert _is_turned_away(broker, identity)
        assert not _is_turned_away(broker, broker.authority.issue("dev-2"))

    def test_refuses_a_certificate_of_another_authority(
        self, make_mosquitto: MakeMosquitto, tmp_path: Path
    ) -> None:
        broker = make_mosquitto(tls="mutual")
        assert _is_turned_away(broker, Authority(tmp_path, "another").issue("dev-1"))

    def test_hangs_and_goes_on(self, mosquitto: Mosquitto) -> None:
        with online(mosquitto) as client:
            client.listen("t")
            mosquitto.send(signal.SIGSTOP)
            client.publish("t", b"late", qos=1)
            with pytest.raises(queue.Empty):
                client.got.get(timeout=0.2)
            mosquitto.send(signal.SIGCONT)
            assert client.got.get(timeout=10) == ("t", b"late")


def _is_turned_away(broker: Mosquitto, identity: Identity) -> bool:
    assert broker.authority
    context = ssl.create_default_context(cafile=str(broker.authority.ca))
    context.load_cert_chain(identity.cert, identity.key)
    try:
        with (
            socket.create_connection((LOOPBACK, broker.port), timeout=10) as link,
            context.wrap_socket(link, server_hostname=LOOPBACK) as secure,
        ):
            secure.send(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")  # CONNECT, client id "a"
            return secure.recv(4) != b"\x20\x02\x00\x00"  # CONNACK: accepted
    except (ssl.SSLError, ConnectionError):
        return True


class TestInflux:
    """InfluxDB 1.6 behind the v2 write path."""

    @staticmethod
    def client(front: InfluxFront, token: str = "") -> InfluxDBClient:
        return InfluxDBClient(url=front.url, token=token or front.token, org=front.org)

    @pytest.mark.parametrize("precision", ["ns", "us", "ms", "s"])
    def test_stores_a_point(self, influx_front: InfluxFront, precision: str) -> None:
        at = 1_700_000_000_000_000_000
        step = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[precision]
        line = f"room,device=d1 t=4.5,ok=true {at // step}"
        with self.client(influx_front) as client, client.write_api(SYNCHRONOUS) as api:
            api.write(influx_front.bucket, record=line, write_precision=precision)
        assert influx_front.query("SELECT * FROM room") == [
            {"time": at, "device": "d1", "ok": True, "t": 4.5}
        ]

    def test_refuses_a_wrong_token(self, influx_front: InfluxFront) -> None:
        with (
            self.client(influx_front, "wrong") as client,
            client.write_api(SYNCHRONOUS) as api,
            pytest.raises(ApiException) as caught,
        ):
            api.write(influx_front.bucket, record="room t=1")
        assert caught.value.status == 401

    def test_refuses_a_line_that_is_none(self, influx_front: InfluxFront) -> None:
        with (
            self.client(influx_front) as client,
            client.write_api(SYNCHRONOUS) as api,
            pytest.raises(ApiException) as caught,
        ):
            api.write(influx_front.bucket, record="room,bad field")
        assert caught.value.status == 400
        assert "unable to parse" in caught.value.body

    def test_starts_each_test_empty(self, influx_front: InfluxFront) -> None:
        assert influx_front.query("SELECT * FROM room") == []

    def test_keeps_its_data_when_killed(self, influx_front: InfluxFront) -> None:
        with self.client(influx_front) as client, client.write_api(SYNCHRONOUS) as api:
            api.write(influx_front.bucket, record="room t=1 1000")
        influx_front.server.kill()
        influx_front.start()
        assert influx_front.query("SELECT t FROM room") == [{"time": 1000, "t": 1}]


def test_victoria_stores_and_exports(victoria: Victoria) -> None:
    now = time.time_ns() // 10**6 * 10**6
    anyone = InfluxDBClient(url=victoria.url, token="any", org="any")  # noqa: S106  # any will do
    with anyone as client, client.write_api(SYNCHRONOUS) as api:
        api.write("any", record=f"room,device=d1 t=4.5 {now}")
        api.write("any", record="not a line")
    (series,) = until(lambda: victoria.export('{__name__="room_t"}'), what="the point")
    assert series["metric"]["device"] == "d1"
    assert (series["values"], series["timestamps"]) == ([4.5], [now // 10**6])
    assert victoria.invalid_lines() == 1


class TestPostgres:
    """PostgreSQL, a database to each test."""

    def test_answers_sql(self, postgres: Postgres) -> None:
        postgres.select("CREATE TABLE reading (device text, value double precision)")
        postgres.select("INSERT INTO reading VALUES ('d1', 4.5), ('d2', 5)")
        assert postgres.select("SELECT sum(value) FROM reading") == [(9.5,)]

    def test_starts_each_test_empty(self, postgres: Postgres) -> None:
        found = postgres.select("SELECT * FROM pg_tables WHERE schemaname = 'public'")
        assert found == []

    def test_is_gone_and_back(self, postgres: Postgres) -> None:
        postgres.select("CREATE TABLE kept (n int)")
        postgres.stop()
        with pytest.raises(ConnectionError):
            postgres.select("SELECT 1")
        postgres.start()
        assert postgres.select("SELECT count(*) FROM kept") == [(0,)]


def test_prometheus_scrapes(make_prometheus: MakePrometheus) -> None:
    registry = CollectorRegistry()
    Gauge("room_celsius", "A reading.", ["device"], registry=registry).labels("d1").set(4.5)
    server, thread = start_http_server(0, LOOPBACK, registry)
    try:
        prometheus = make_prometheus(f"{LOOPBACK}:{server.server_port}")
        (row,) = until(lambda: prometheus.query('room_celsius{device="d1"}'), 30, "a scrape")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert row["value"][1] == "4.5"


class TestCoap:
    """libcoap's client and server."""

    def test_get(self, coap_client: CoapClient, coap_server: CoapServer) -> None:
        answer = coap_client("-m", "get", f"{coap_server.uri}/.well-known/core")
        assert "</time>" in answer

    def test_put_in_blocks(
        self, coap_client: CoapClient, coap_server: CoapServer, tmp_path: Path
    ) -> None:
        sent, got = tmp_path / "sent", tmp_path / "got"
        sent.write_bytes(bytes(range(256)) * 20)
        coap_client("-m", "put", "-b", "256", "-f", str(sent), f"{coap_server.uri}/firmware")
        coap_client("-m", "get", "-o", str(got), f"{coap_server.uri}/firmware")
        assert got.read_bytes() == sent.read_bytes()

    def test_says_what_is_not_there(self, coap_client: CoapClient, coap_server: CoapServer) -> None:
        assert coap_client("-m", "get", f"{coap_server.uri}/nothing").startswith("4.04")

    def test_get_over_dtls(self, coap_client: CoapClient, coap_server: CoapServer) -> None:
        if not coap_client.has_dtls:
            pytest.skip("this build of coap-client has no DTLS")
        who = ["-u", coap_server.psk_identity, "-B", "3"]
        uri = f"{coap_server.coaps_uri}/.well-known/core"
        assert "</time>" in coap_client(*who, "-k", coap_server.psk, "-m", "get", uri)
        assert "</time>" not in coap_client(*who, "-k", "wrong", "-m", "get", uri)


class TestProgram:
    """What every part is started with."""

    def test_says_why_it_did_not_start(self, tmp_path: Path) -> None:
        config = tmp_path / "mosquitto.conf"
        config.write_text("no_such_setting true\n")
        argv = [need("mosquitto"), "-c", str(config)]
        with pytest.raises(NotReady, match="no_such_setting"):
            Program(argv, tmp_path / "log", lambda: False).start(10)

    def test_is_killed_when_it_is_never_ready(self, tmp_path: Path) -> None:
        program = Program([need("sleep"), "60"], tmp_path / "log", lambda: False)
        with pytest.raises(NotReady, match="not within"):
            program.start(0.2)
        assert not program.is_running

    def test_stops_twice(self, mosquitto: Mosquitto) -> None:
        mosquitto.stop()
        mosquitto.stop()
        assert not mosquitto.is_running

    def test_ports_stay_clear_of_outgoing_connections(self) -> None:
        assert all(20_000 <= free_port(beside=1) < 32_000 for _ in range(20))

    @pytest.mark.parametrize(("ci", "outcome"), [("", "Skipped"), ("true", "Failed")])
    def test_a_missing_one_skips_and_in_ci_fails(
        self, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str
    ) -> None:
        monkeypatch.setenv("CI", ci)
        with pytest.raises((pytest.skip.Exception, pytest.fail.Exception)) as caught:
            need("no-such-broker")
        assert type(caught.value).__name__ == outcome
        assert "no-such-broker is not installed; make real-parts" in str(caught.value)
