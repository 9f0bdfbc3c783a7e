"""W2: the pipeline that people build, over a real broker, to a counter and to InfluxDB.

    mqtt in -> JSON -> range check -> °C to °F -> alarms to an actuator, and everything to the sink

CPU µs a message while a flood is worked off; then, at 1,000 messages a second, how much of a core
it takes and how long an alarm takes to the actuator, beyond what the broker alone takes.
"""

import json
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.bench import engine_under_test as ours
from tests.bench import load
from tests.bench.machine import BenchError, Mosquitto, Subject, WriteStub
from tests.bench.peer import Peer
from tests.bench.peer import Running as PeerRunning
from tests.bench.table import NO_BAR, Bar, Results

CASES = {
    ("count", 0): Bar(11.0, 10),
    ("count", 1): Bar(12.5, 10),
    ("batch", 0): Bar(10.0, 7),
    ("batch", 1): Bar(14.0, 7),
    ("out", 0): Bar(14.0, 33),
}
"""Sink and QoS -> µs a message. `batch`: the peer gathers 500 records a write; `out`: it
writes each message, as people draw it. Our sink gathers by itself, so both are one flow of ours."""
RATE = 1000
Start = Callable[[str, int, int, int | None], "ours.Running | PeerRunning"]


class Rig:
    """A broker, a write stub if the sink needs one, a subscriber at the actuator, a publisher."""

    def __init__(self, start: Start, sink: str, qos: int, work: Path) -> None:
        self.qos = qos
        self.broker = Mosquitto(work)
        self._others: list[Subject] = [self.broker]
        self.stub: WriteStub | None = None
        try:
            if sink != "count":
                self.stub = WriteStub(work)
                self._others.append(self.stub)
            self.alarms: list[tuple[float, bytes]] = []
            self.controls: list[tuple[float, bytes]] = []
            self._listener = load.Client(self.broker.port, "actuator")
            self._listener.subscribe(["actuator/#", "control/#"], qos)
            self._listener.listen(self._heard)
            stub = None if self.stub is None else self.stub.port
            self.engine = start(sink, qos, self.broker.port, stub)
            self._others.insert(0, self.engine)
            self.publisher = load.Client(self.broker.port, "generator")
            if qos:
                self.publisher.count_acknowledgements()
            self._wait_until_up()
        except BaseException:
            self.close()
            raise

    def _heard(self, topic: bytes, body: bytes) -> None:
        (self.alarms if topic.startswith(b"actuator") else self.controls).append(
            (time.time(), body)
        )

    def _wait_until_up(self) -> None:
        """Publish an alarm now and then until one comes through."""
        probe = load.Client(self.broker.port, "probe")
        packet = load.publish_packet("device/probe/telemetry", load.payload(3, 1.0))
        until = time.monotonic() + 60
        while not self.alarms:
            if time.monotonic() > until or not self.engine.is_running():
                raise BenchError(f"the pipeline does not come up\n{self.engine.last_words()}")
            probe.send(packet)
            time.sleep(0.1)
        probe.close()
        time.sleep(1.5)

    def replace(self, engine: "ours.Running | PeerRunning") -> None:
        """Another engine has taken the place of the one that was killed."""
        self._others[0] = self.engine = engine

    def done(self) -> int:
        """Records at the sink so far."""
        return self.engine.count() if self.stub is None else int(self.ask("/count"))

    def ask(self, path: str) -> bytes:
        """The write stub's answer."""
        assert self.stub is not None
        with urllib.request.urlopen(f"http://127.0.0.1:{self.stub.port}{path}", timeout=20) as told:
            answer: bytes = told.read()
        return answer

    def flood(self, first: int, last: int) -> float:
        """CPU seconds of the engine for messages `first` to `last - 1`, all of them arrived."""
        ready = load.packets(first, last, self.qos)
        records, alarms = load.expected(first, last)
        records += self.done()
        alarms += len(self.alarms)
        before = self.engine.cpu()
        load.flood(self.publisher, ready, self.qos)
        self._drain(records, alarms)
        return self.engine.cpu() - before

    def _drain(self, records: int, alarms: int) -> None:
        until = time.monotonic() + 120
        while self.done() < records or len(self.alarms) < alarms:
            if time.monotonic() > until:
                missing = records - self.done(), alarms - len(self.alarms)
                raise BenchError(f"{missing} records and alarms are missing after 120 s")
            time.sleep(0.05)

    def steady(self, seconds: int) -> tuple[float, list[float], list[float]]:
        """At `RATE`: share of a core in %, ms to the actuator, ms through the broker alone."""
        time.sleep(1)
        self.alarms.clear()
        self.controls.clear()
        count = RATE * seconds
        records, alarms = load.expected(0, count)
        records += self.done()
        before, began = self.engine.cpu(), time.perf_counter()
        for number in range(count):
            wait = began + number / RATE - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            packet_id = number % 65535 + 1
            body = load.payload(number, time.time())
            self.publisher.send(
                load.publish_packet("device/d/telemetry", body, self.qos, packet_id)
            )
            if number % 10 == 0:
                body = load.payload(number, time.time())
                self.publisher.send(load.publish_packet("control/x", body, self.qos, packet_id))
        took = time.perf_counter() - began
        cpu = self.engine.cpu() - before
        self._drain(records, alarms)
        return cpu / took * 100, _delays(self.alarms), _delays(self.controls)

    def close(self) -> None:
        """Stop the engine, then the stub and the broker."""
        for other in self._others:
            other.stop()


def measure(results: Results, work: Path, peer: Peer | None, *, quick: bool) -> None:
    """One round: every sink and QoS, ours and the peer's in turn."""

    def mine(_sink: str, qos: int, broker: int, stub: int | None) -> ours.Running:
        return ours.pipeline(_sink, qos, broker, stub, work)

    # ours takes four times the messages, so that a 10 ms step of /proc is as small a part of both
    engines: list[tuple[Start, int]] = [(mine, 4)]
    if peer:
        engines.append((peer.pipeline, 1))
    for (sink, qos), bar in CASES.items():
        number = (10_000 if quick else 30_000) // (4 if sink == "out" else 1)
        steady = (5 if quick else 15) if sink == "count" else 0
        figures = []
        for start, factor in engines:
            rig = Rig(start, sink, qos, work)
            try:
                figures.append(_measured(rig, sink, number * factor, steady))
            finally:
                rig.close()
        theirs = figures[1] if peer else {}
        bars = {
            f"W2 {sink}, QoS {qos}": ("us CPU", bar),
            f"W2 1,000 msg/s, QoS {qos}, of a core": ("% CPU", Bar(8.0, 3)),
            f"W2 actuator above the broker, QoS {qos}, p50": ("ms", Bar(0.3, 3)),
            f"W2 actuator above the broker, QoS {qos}, p99": ("ms", Bar(1.5, 3)),
            f"W2 memory behind the flood, {sink}, QoS {qos}": ("MB", NO_BAR),
        }
        for name, (unit, limit) in bars.items():
            if name in figures[0]:
                results.note(name, unit, limit, figures[0][name], theirs.get(name))


def _measured(rig: Rig, sink: str, number: int, steady: int) -> dict[str, float]:
    """The figures of one engine: a flood of `number` messages, then `steady` seconds at `RATE`."""
    qos, warm = rig.qos, number // 3
    rig.flood(0, warm)
    time.sleep(1.2)
    spent = rig.flood(warm, warm + number)
    found = {
        f"W2 {sink}, QoS {qos}": spent / number * 1e6,
        f"W2 memory behind the flood, {sink}, QoS {qos}": rig.engine.memory(),
    }
    if steady:
        share, alarms, broker = rig.steady(steady)
        at = f"W2 actuator above the broker, QoS {qos}"
        found[f"W2 1,000 msg/s, QoS {qos}, of a core"] = share
        found[f"{at}, p50"] = _share(alarms, 50) - _share(broker, 50)
        found[f"{at}, p99"] = _share(alarms, 99) - _share(broker, 99)
    return found


def _delays(heard: list[tuple[float, bytes]]) -> list[float]:
    """ms from the timestamp in each message to its arrival."""
    return [(at - json.loads(body)["timestamp"]) * 1e3 for at, body in heard]


def _share(delays: list[float], percent: float) -> float:
    """The delay that `percent` % of the messages keep to."""
    ordered = sorted(delays)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]
