"""The whole way, with real programs at both ends: what the broker has acknowledged arrives.

Each test runs `flowengine run` as a process. Times come from the payload, so that a repeat after a
crash falls on the point that is there already (P2).
"""

import json
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.flow_process import FlowProcess, flowengine, write_flow
from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.coap_peers import CoapClient
from tests.system.publisher import Publisher
from tests.system.real import LOOPBACK, free_port, need, until
from tests.system.stores import InfluxFront, Victoria

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z in ms
MS = 1_000_000
TOPIC = "device/+/telemetry"


def reading(device: int, number: int, temperature: float = 21.5) -> tuple[str, bytes]:
    """Topic and payload of a device's reading; each has a time of its own."""
    payload = {"temperature": temperature, "number": number, "timestamp": START + number}
    return f"device/dev-{device}/telemetry", json.dumps(payload).encode()


def site(broker: Mosquitto) -> dict[str, Any]:
    return {"type": "mqtt.broker", "host": LOOPBACK, "port": broker.port}


def influx(front: InfluxFront, stored_as: str = "influx-token") -> dict[str, Any]:
    token = {"$secret": stored_as}
    return {"type": "influxdb.server", "url": front.url, "bucket": front.bucket, "token": token}


def secret(front: InfluxFront) -> dict[str, str]:
    return {"FLOWENGINE_SECRET_INFLUX_TOKEN": front.token}


READINGS = {"type": "mqtt.in", "broker": "site", "topic": TOPIC, "time": "payload.timestamp"}
TO_INFLUX = {
    "type": "influxdb.write",
    "server": "influx",
    "measurement": "room",
    "tags": {"device": "key"},
    "fields": {"temperature": "payload.temperature"},
}
TO_SERIES = {
    "type": "series.write",
    "series": "room",
    "field": {"temperature": "payload.temperature"},
    "tags": {"device": "key"},
    "retention": "3650d",
}


def counts(front: InfluxFront) -> dict[str, int]:
    """Points of each device in InfluxDB."""
    rows = front.query("SELECT count(temperature) AS n FROM room GROUP BY device")
    return {row["device"]: int(row["n"]) for row in rows}


def points(front: InfluxFront) -> int:
    """Points of all devices in InfluxDB."""
    return sum(counts(front).values())


def exported(engine: FlowProcess, name: str = "room") -> list[dict[str, Any]]:
    """What `flowengine series export` says, beside the running engine."""
    ran = flowengine("series", "export", name, "--json", "--data", engine.data)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def scraped(address: str) -> dict[str, float]:
    """The engine's counters: `name node` -> value, summed over their other labels."""
    try:
        with httpx.Client(trust_env=False, timeout=10) as client:
            text = client.get(f"http://{address}/metrics").text
    except httpx.TransportError as err:
        raise ConnectionError(str(err)) from err
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[f"{sample.name} {sample.labels.get('node', '')}"] += sample.value  # type: ignore[assignment]
    return dict(found)


# --- the same counts everywhere


def test_one_pipeline_with_three_stores_counts_the_same_in_each(
    mosquitto: Mosquitto, influx_front: InfluxFront, victoria: Victoria, tmp_path: Path
) -> None:
    """A shell loop around mosquitto_pub; also: the secret token stands nowhere but in its home."""
    second = {"type": "influxdb.server", "url": victoria.url, "bucket": "any"}
    to_victoria = {**TO_INFLUX, "server": "victoria", "precision": "ms"}
    write_flow(
        tmp_path,
        "room",
        {"in": READINGS, "influx": TO_INFLUX, "victoria": to_victoria, "series": TO_SERIES},
        ["in -> influx", "in -> victoria", "in -> series"],
        {"site": site(mosquitto), "influx": influx(influx_front), "victoria": second},
    )
    loop = f"""
        for i in $(seq 1 60); do
          {need("mosquitto_pub")} -h {LOOPBACK} -p {mosquitto.port} -q 1 \
            -t device/dev-$((i % 3))/telemetry \
            -m '{{"temperature": '$((20 + i % 5))'.25, "timestamp": '$(({START} + i * 1000))'}}' \
            || exit 1
        done"""
    expected = {(f"dev-{i % 3}", (START + i * 1000) * MS): 20.25 + i % 5 for i in range(1, 61)}
    with FlowProcess(tmp_path, "--log", "json", env=secret(influx_front)) as engine:
        assert engine.until_ready().startswith("ready: 1 flow, 4 nodes, 3 connections in ")
        subprocess.run(["/bin/sh", "-c", loop], check=True, timeout=60)

        until(lambda: points(influx_front) == 60, what="60 points in InfluxDB")
        rows = influx_front.query("SELECT temperature FROM room GROUP BY device")
        assert {(row["device"], row["time"]): row["temperature"] for row in rows} == expected

        def in_victoria() -> dict[tuple[str, int], float]:
            return {
                (series["metric"]["device"], moment * MS): value
                for series in victoria.export('{__name__="room_temperature"}')
                for moment, value in zip(series["timestamps"], series["values"], strict=True)
            }

        until(lambda: len(in_victoria()) == 60, what="60 points in VictoriaMetrics")
        assert in_victoria() == expected

        until(lambda: len(exported(engine)) == 60, what="60 points in the series store")
        found = exported(engine)
        assert Counter(row["tags"]["device"] for row in found) == {f"dev-{n}": 20 for n in range(3)}
        assert sorted(row["value"] for row in found) == sorted(expected.values())
        engine.stop()
        files = [path for path in engine.data.rglob("*") if path.is_file()]
        texts = [path.read_bytes() for path in files] + [engine.said.encode()]
        assert [text for text in texts if influx_front.token.encode() in text] == []


@contextmanager
def listener(broker: Mosquitto, topic: str) -> Iterator[Callable[[], list[tuple[str, str]]]]:
    """mosquitto_sub; what it heard: (topic, payload) in order."""
    argv = [need("mosquitto_sub"), "-h", LOOPBACK, "-p", str(broker.port), "-q", "1", "-v"]
    before = broker.log_text().count("Sending SUBACK")
    ear = subprocess.Popen([*argv, "-t", topic], stdout=subprocess.PIPE, text=True)
    heard: list[tuple[str, str]] = []

    def listen() -> None:
        assert ear.stdout is not None
        for line in ear.stdout:
            where, _, what = line.rstrip("\n").partition(" ")
            heard.append((where, what))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        until(lambda: broker.log_text().count("Sending SUBACK") > before, what="SUBACK")
        yield lambda: list(heard)
    finally:
        ear.terminate()
        ear.wait()
        thread.join()
        assert ear.stdout is not None
        ear.stdout.close()


def test_a_reading_above_the_limit_switches_its_device_once_per_crossing(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    alarm = {"type": "threshold", "field": "payload.temperature", "above": 8, "hysteresis": 0.5}
    fan = {"type": "actuator.switch", "through": "mqtt", "broker": "site"}
    write_flow(
        tmp_path,
        "cold-room",
        {"in": READINGS, "alarm": alarm, "fan": {**fan, "topic": "site/{key}/fan"}},
        ["in -> alarm", "alarm.raised -> fan", "alarm.cleared -> fan"],
        {"site": site(mosquitto)},
    )
    curve: dict[int, list[float]] = {
        1: [7, 9, 9.5, 7.8, 7.6, 9, 7.5, 7, 8, 8.1],
        2: [7, 7.5, 12],
        3: [5, 6, 8],
    }
    with listener(mosquitto, "site/+/fan") as heard, FlowProcess(tmp_path) as engine:
        engine.until_ready()
        with Publisher(mosquitto.port) as devices:
            steps = enumerate((d, t) for d, line in curve.items() for t in line)
            devices.publish(reading(device, n, t) for n, (device, t) in steps)
            devices.publish([reading(99, 1000, 10)])  # the last: behind it nothing more comes
        until(lambda: ("site/dev-99/fan", "ON") in heard())
        assert [what for where, what in heard() if where == "site/dev-1/fan"] == [
            *("ON", "OFF", "ON")
        ]
        assert [what for where, what in heard() if where == "site/dev-2/fan"] == ["ON"]
        assert [what for where, what in heard() if where == "site/dev-3/fan"] == []


def test_coap_devices_take_the_same_way(
    mosquitto: Mosquitto, influx_front: InfluxFront, coap_client: CoapClient, tmp_path: Path
) -> None:
    """libcoap's client puts and observes; its 2.04 says that every branch has the reading."""
    port, soon = free_port(), {"batch": {"age": "50ms"}}
    devices = {"type": "coap.server", "server": "box", "path": "/telemetry/{device}"}
    devices |= {"observable": True, "time": "payload.timestamp"}  # type: ignore[dict-item]
    alarm = {"type": "threshold", "field": "payload.temperature", "above": 8}
    fan = {"type": "actuator.switch", "through": "mqtt", "broker": "site"}
    write_flow(
        tmp_path / "flows",
        "coap-room",
        {
            "in": devices,
            "influx": {**TO_INFLUX, **soon},
            "series": {**TO_SERIES, **soon},
            "alarm": alarm,
            "fan": {**fan, "topic": "site/{key}/fan"},
        },
        [
            *("in -> influx", "in -> series", "in -> alarm"),
            *("alarm.raised -> fan", "alarm.cleared -> fan"),
        ],
        {
            "site": site(mosquitto),
            "influx": influx(influx_front),
            "box": {"type": "coap.listen", "port": port},
        },
    )
    uri = f"coap://{LOOPBACK}:{port}/telemetry"
    curve = [7, 9, 10, 7, 9.5]
    with (
        listener(mosquitto, "site/+/fan") as heard,
        FlowProcess(tmp_path / "flows", env=secret(influx_front)) as engine,
    ):
        engine.until_ready()
        log = tmp_path / "observer"
        observing: subprocess.Popen[bytes] | None = None
        try:
            for number, temperature in enumerate(curve):
                for device in range(2):
                    body = reading(device, number, temperature - device * 5)[1].decode()
                    path = f"{uri}/dev-{device}"
                    said = coap_client("-v", "6", "-m", "put", "-t", "json", "-e", body, path)
                    assert "c:2.04" in said
                    assert points(influx_front) == 2 * number + device + 1  # and not a moment later
                if observing is None:
                    argv = [coap_client._command, "-v", "6", "-m", "get", "-s", "60"]
                    with log.open("wb") as out:
                        observing = subprocess.Popen(
                            [*argv, f"{uri}/dev-0"], stdout=out, stderr=out
                        )
                told = f'"number": {number},'
                until(lambda told=told: told in log.read_text(), what=told)  # type: ignore[misc]
        finally:
            if observing is not None:
                observing.terminate()
                observing.wait()
        assert counts(influx_front) == {"dev-0": 5, "dev-1": 5}
        assert Counter(row["tags"]["device"] for row in exported(engine)) == counts(influx_front)
        until(lambda: len(heard()) >= 3, what="three commands")
        assert heard() == [("site/dev-0/fan", what) for what in ("ON", "OFF", "ON")]
        assert engine.stop() < 5


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_r42_overlapping_filters_give_each_source_each_message_once(
    mosquitto: Mosquitto, tmp_path: Path, protocol: str
) -> None:
    nodes = {
        "one": {"type": "mqtt.in", "broker": "site", "topic": TOPIC},
        "all": {"type": "mqtt.in", "broker": "site", "topic": ["device/#", "device/dev-1/+"]},
        **{f"to-{name}": {"type": "file.append", "path": name} for name in ("one", "all")},
    }
    wires = ["one -> to-one", "all -> to-all"]
    connections = {"site": {**site(mosquitto), "protocol": protocol}}
    write_flow(tmp_path, "overlap", nodes, wires, connections)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        with Publisher(mosquitto.port) as publisher:
            publisher.publish(reading(1, number) for number in range(100))
        for name in ("one", "all"):
            until(lambda name=name: len(lines(engine, name)) >= 100)  # type: ignore[misc]
        engine.stop()
        assert lines(engine, "one") == lines(engine, "all") == list(range(100))


# --- a flood


def test_a_flood_of_200_000_is_counted_to_the_message_at_both_sinks(
    mosquitto: Mosquitto, influx_front: InfluxFront, tmp_path: Path
) -> None:
    total, devices = 200_000, 50
    mosquitto.argv.remove("-v")  # a line of log a packet would be most of its work
    mosquitto.restart()
    address = f"{LOOPBACK}:{free_port()}"
    # The devices' time runs ten times as fast as ours: a breath of the machine is a good part of a
    # window, and what is read after it would be late.
    mean = {"type": "window", "every": "1s", "lateness": "10s", "fields": ["payload.temperature"]}
    fields = {"temperature": "payload.temperature_mean", "messages": "payload.count"}
    to_influx = {**TO_INFLUX, "fields": fields}
    to_series = {**TO_SERIES, "field": {"messages": "payload.count"}}
    write_flow(
        tmp_path,
        "flood",
        {"in": READINGS, "mean": mean, "influx": to_influx, "series": to_series},
        ["in -> mean", "mean -> influx", "mean -> series"],
        {"site": site(mosquitto), "influx": influx(influx_front)},
    )
    with FlowProcess(tmp_path, "--metrics", address, env=secret(influx_front)) as engine:
        engine.until_ready()
        idle = engine.memory()["VmRSS"]
        began = time.monotonic()
        with Publisher(mosquitto.port) as publisher:
            # 10 ms between a device's readings: 40 windows of 100 messages for each.
            publisher.publish(
                reading(n % devices, n // devices * 10, 20 + n % 7) for n in range(total)
            )
            assert len(publisher.acknowledged) == total
        published = time.monotonic() - began
        until(lambda: scraped(address)["flowengine_source_received_total in"] == total, 60)
        received = time.monotonic() - began

        def at_influx() -> int:
            rows = influx_front.query("SELECT sum(messages) AS n FROM room")
            return int(rows[0]["n"]) if rows else 0

        def at_series() -> int:
            if not (engine.data / "series.db").exists():
                return 0
            return sum(row["value"] for row in exported(engine))

        until(lambda: at_influx() == total, 40, "every message counted in InfluxDB")
        until(lambda: at_series() == total, 30, "every message counted in the series store")
        found = until(
            lambda: (
                counters
                if (counters := scraped(address))["flowengine_source_acknowledged_total in"]
                == total
                else {}
            ),
            what="every message acknowledged",
        )
        assert found["flowengine_source_in_flight in"] == 0
        assert found["flowengine_failed_total mean"] == 0
        windows = influx_front.query("SELECT count(messages) AS n FROM room")[0]["n"]
        assert windows == total // 100 == len(exported(engine))
        peak = engine.memory()["VmHWM"]
        print(
            f"\n{total} messages: published in {published:.1f} s, received after {received:.1f} s; "
            f"memory {idle / 1e6:.0f} MB idle, {peak / 1e6:.0f} MB at most"
        )
        assert peak < idle + 80_000_000  # P6: tests/engine/test_bounds.py says by what
        assert engine.stop() < 5


# --- what goes away


class Stream:
    """A device that publishes without an end, and connects again when the broker is gone.

    Each message has its own number, and so its own time. What the broker did not acknowledge is
    not published again.
    """

    def __init__(self, port: int, size: int = 10) -> None:
        """Publish `size` messages at a time, about 1,000 times a second at most."""
        self._port, self.size = port, size
        self._connections: list[tuple[int, Publisher]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        first = 0
        while not self._end.is_set():
            try:
                with Publisher(self._port, f"stream-{first}") as publisher:
                    self._connections.append((first, publisher))
                    while not self._end.wait(0.001):
                        numbers = range(first, first + self.size)
                        first = numbers.stop
                        publisher.publish(reading(0, number) for number in numbers)
            except OSError:
                self._end.wait(0.05)

    @property
    def count(self) -> int:
        """How many are acknowledged by now."""
        return sum(len(publisher.acknowledged) for _, publisher in self._connections)

    def until_more(self, number: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = self.count + number
        until(lambda: self.count >= wanted, 60, f"{number} more messages acknowledged")

    def acknowledged(self) -> set[int]:
        """The numbers that the broker took; for when it has ended."""
        return {first + index for first, p in self._connections for index in p.acknowledged}


def missing(front: InfluxFront, acknowledged: set[int]) -> set[int]:
    """Which numbers are not in InfluxDB, told by their times."""
    rows = front.query("SELECT temperature FROM room")
    return acknowledged - {row["time"] // MS - START for row in rows}


def to_influx(folder: Path, broker: Mosquitto, front: InfluxFront) -> Path:
    return write_flow(
        folder,
        "to-influx",
        {"in": READINGS, "influx": TO_INFLUX},
        ["in -> influx"],
        {"site": site(broker), "influx": influx(front)},
    )


def kept(log: str) -> set[int]:
    """The numbers that a broker had acknowledged and saved: what killing it cannot take.

    mosquitto acknowledges a message before it saves it, so that a kill may take the last ones. A
    line behind "Saving" proves that this save was done.
    """
    found: set[int] = set()
    runs = re.split(r".*mosquitto version \S+ starting\n", log)
    for run in runs:
        lines = [line for line in run.splitlines() if "should not be run as root" not in line]
        saves = [number for number, line in enumerate(lines[:-1]) if ": Saving " in line]
        end = len(lines) if run is runs[-1] else max(saves, default=0)
        for line in lines[:end]:
            if match := re.search(r"Sending PUBACK to stream-(\d+) \(m(\d+)", line):
                found.add(int(match[1]) + int(match[2]) - 1)
    return found


def test_f20_a_killed_broker_loses_nothing_that_it_has_saved(
    make_mosquitto: MakeMosquitto, influx_front: InfluxFront, tmp_path: Path
) -> None:
    """Killed under load while the engine listens, and again while it is away."""
    broker = make_mosquitto(persistence=True)
    to_influx(tmp_path, broker, influx_front)
    with FlowProcess(tmp_path, env=secret(influx_front)) as engine:
        engine.until_ready()
        with Stream(broker.port) as stream:
            stream.until_more(1500)
            broker.kill()
            broker.start()
            began = time.monotonic()
            engine.until_said("running: connected to", times=2)
            resumed = time.monotonic() - began
            stream.until_more(500)
            engine.stop()
            stream.until_more(1500)
            broker.kill()
            broker.start()
            stream.until_more(100)
            engine.start()
            engine.until_ready()
            stream.until_more(500)
        acknowledged, saved = stream.acknowledged(), kept(broker.log_text())
        assert len(acknowledged - saved) <= 2 * stream.size  # what a kill could take
        until(lambda: not missing(influx_front, acknowledged & saved), 30, "nothing missing")
        lost = len(missing(influx_front, acknowledged))
        print(
            f"\n{len(acknowledged)} acknowledged, {len(acknowledged - saved)} of them not saved, "
            f"{lost} of these lost; {points(influx_front)} points; resumed after {resumed:.1f} s"
        )
        assert engine.stop() < 5


def test_f12_the_flow_runs_while_broker_and_database_are_absent(
    make_mosquitto: MakeMosquitto, influx_front: InfluxFront, tmp_path: Path
) -> None:
    """What came while the database was away is on disk before it is acknowledged: kill -9 shows."""
    broker, address = make_mosquitto(), f"{LOOPBACK}:{free_port()}"
    to_influx(tmp_path, broker, influx_front)
    broker.stop()
    influx_front.stop()
    with FlowProcess(tmp_path, "--metrics", address, env=secret(influx_front)) as engine:
        assert engine.until_ready().endswith(" s; connecting: influx, site\n")
        broker.start()
        engine.until_said("to-influx/site", "running: connected")

        def acknowledged() -> float:
            return scraped(address).get("flowengine_source_acknowledged_total in", 0)

        with Publisher(broker.port) as publisher:
            until(lambda: "SUBACK" in broker.log_text())
            publisher.publish(reading(0, number) for number in range(2000))
            until(lambda: acknowledged() == 2000, what="2,000 messages safe on disk")
            engine.until_said("to-influx/influx", "waiting")
            engine.kill()
            engine.start()
            engine.until_ready()
            publisher.publish(reading(0, number) for number in range(2000, 2500))
        influx_front.start()
        until(lambda: points(influx_front) == 2500, 60, "2,500 points in InfluxDB")
        until(lambda: scraped(address)["flowengine_spool_records influx"] == 0, 60)
        assert engine.stop() < 5


# --- stop and start


TO_FILE = {"type": "file.append", "path": "readings.jsonl"}


def lines(engine: FlowProcess, name: str = "readings.jsonl") -> list[int]:
    """The numbers in a file that the engine appends to: a repeat would be a second line."""
    path = engine.data / "files" / name
    text = path.read_text() if path.exists() else ""
    return [json.loads(line)["number"] for line in text.splitlines()]


def to_file(folder: Path, broker: Mosquitto) -> Path:
    connections = {"site": site(broker)}
    return write_flow(folder, "file", {"in": READINGS, "out": TO_FILE}, ["in -> out"], connections)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_f05_a_stop_under_load_neither_loses_nor_repeats(
    mosquitto: Mosquitto, tmp_path: Path, protocol: str
) -> None:
    connections = {"site": {**site(mosquitto), "protocol": protocol}}
    write_flow(tmp_path, "file", {"in": READINGS, "out": TO_FILE}, ["in -> out"], connections)
    took = []
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        with Stream(mosquitto.port) as stream:
            for _ in range(3):
                stream.until_more(1000)
                took.append(engine.stop())
                stream.until_more(100)
                engine.start()
                engine.until_ready()
            stream.until_more(100)
        acknowledged = sorted(stream.acknowledged())
        until(lambda: len(lines(engine)) >= len(acknowledged), 30, "all lines in the file")
        assert lines(engine) == acknowledged
        print(f"\n{len(acknowledged)} messages, stopped within {max(took):.2f} s")
        assert max(took) < 5


def test_a_reload_leaves_unchanged_connections_alone_and_loses_nothing(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    path = to_file(tmp_path, mosquitto)
    text = path.read_text()
    other = write_flow(
        tmp_path, "other", {"in": READINGS, "log": {"type": "debug"}}, ["in -> log"],
        {"site": site(mosquitto)},
    )  # fmt: skip
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        with Stream(mosquitto.port) as stream:
            for ahead in ("2h", "3h", "4h"):
                stream.until_more(300)
                path.write_text(text.replace('"topic"', f'"max_ahead": "{ahead}", "topic"'))
                deployed = engine.said.count("deployed")
                engine.process.send_signal(signal.SIGHUP)
                until(lambda n=deployed: engine.said.count("deployed") > n)  # type: ignore[misc]
            stream.until_more(300)
        acknowledged = sorted(stream.acknowledged())
        until(lambda: len(lines(engine)) >= len(acknowledged), 30, "all lines in the file")
        assert lines(engine) == acknowledged
        assert other.exists()
        assert engine.said.count("running: connected to") == 2
        assert "other: deployed" not in engine.said
        connected = [x for x in mosquitto.log_text().splitlines() if "New client connected" in x]
        assert len([x for x in connected if " as flowengine-" in x]) == 2
