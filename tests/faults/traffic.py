"""Numbered readings through a flow: who sent which, who got which, what is lost, what came twice.

with Stream(broker.port, rate=500) as stream:      # a device; knows what the broker took
    ...
got = written(engine)                              # or `with Collector(port) as there:`
lost, twice = compare(stream.acknowledged(), got)
"""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from prometheus_client.parser import text_string_to_metric_families

from tests.flow_process import FlowProcess, write_flow
from tests.system.publisher import Publisher
from tests.system.real import LOOPBACK, until

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z in ms
FILE = "readings.jsonl"
_numbers = itertools.count(1)


def reading(number: int, **more: Any) -> tuple[str, bytes]:
    """Topic and payload of a reading: every tenth is of the same device; each has its own time."""
    payload = {"number": number, "timestamp": START + number, **more}
    return f"device/dev-{number % 10}/telemetry", json.dumps(payload).encode()


def link(port: int, **more: Any) -> dict[str, Any]:
    """A `mqtt.broker` on loopback."""
    return {"type": "mqtt.broker", "host": LOOPBACK, "port": port, **more}


def from_site(**more: Any) -> dict[str, Any]:
    """A `mqtt.in` for all readings."""
    at = {"topic": "device/+/telemetry", "time": "payload.timestamp"}
    return {"type": "mqtt.in", "broker": "site", **at, **more}


def to_file(folder: Path, port: int, **broker: Any) -> Path:
    """A flow from a broker to a file of the engine; `written` reads it."""
    out = {"type": "file.append", "path": FILE}
    nodes = {"in": from_site(), "out": out}
    return write_flow(folder, "file", nodes, ["in -> out"], {"site": link(port, **broker)})


def to_far(
    folder: Path,
    near: int,
    far: int,
    *,
    site: Mapping[str, Any] | None = None,
    broker: Mapping[str, Any] | None = None,
    **out: Any,
) -> Path:
    """A flow from one broker, with the settings `site`, to another, with `broker` and `out`."""
    sink = {"type": "mqtt.out", "broker": "far", "topic": "up/{key}", **out}
    links = {"site": link(near, **(site or {})), "far": link(far, **(broker or {}))}
    return write_flow(folder, "relay", {"in": from_site(), "up": sink}, ["in -> up"], links)


def written(engine: FlowProcess) -> list[int]:
    """The numbers in the engine's file, in order: a repeat is a second line."""
    path = engine.data / "files" / FILE
    text = path.read_text() if path.exists() else ""
    whole = [line for line in text.splitlines() if line.endswith("}")]
    return [json.loads(line)["number"] for line in whole]


def compare(sent: Iterable[int], got: Iterable[int]) -> tuple[list[int], int]:
    """Which of the sent are missing, and how many of what came were there before."""
    counts = Counter(got)
    return sorted(set(sent) - counts.keys()), sum(count - 1 for count in counts.values())


def until_all(engine: FlowProcess, sent: set[int], timeout: float = 30.0) -> tuple[int, int]:
    """Wait until the engine's file has everything; (lost: 0, duplicates)."""
    until(lambda: not compare(sent, written(engine))[0], timeout, f"all of {len(sent)} in the file")
    lost, twice = compare(sent, written(engine))
    return len(lost), twice


def metrics(address: str) -> dict[str, float]:
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


def connected(log: str, client_id: str = "flowengine-") -> int:
    """How often a client was taken in, by mosquitto's log."""
    lines = [line for line in log.splitlines() if "New client connected" in line]
    return len([line for line in lines if f" as {client_id}" in line])


class Stream:
    """A device that publishes `rate` readings a second, and comes back when the broker was gone.

    What the broker did not acknowledge is not published again: its number is not of the set.
    """

    def __init__(self, port: int, rate: float = 500.0, first: int = 0) -> None:
        """Numbers count from `first`."""
        self._port, self._rate, self._first = port, rate, first
        self._connections: list[tuple[int, Publisher]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, once what is under way is acknowledged."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        number, began = self._first, time.monotonic()
        while not self._end.is_set():
            try:
                with Publisher(self._port, f"stream-{next(_numbers)}") as publisher:
                    self._connections.append((number, publisher))
                    while not self._end.wait(0.01):
                        due = self._first + int((time.monotonic() - began) * self._rate)
                        batch = range(number, max(number, due))
                        number = batch.stop
                        publisher.publish(map(reading, batch))
            except OSError:
                self._end.wait(0.05)
                began = time.monotonic() - (number - self._first) / self._rate

    @property
    def count(self) -> int:
        """How many are acknowledged by now."""
        return sum(len(publisher.acknowledged) for _, publisher in self._connections)

    def until_more(self, number: int, timeout: float = 60.0) -> None:
        """Wait until so many more are acknowledged."""
        wanted = self.count + number
        until(lambda: self.count >= wanted, timeout, f"{number} more messages acknowledged")

    def acknowledged(self) -> set[int]:
        """The numbers that the broker took; for when it has ended."""
        return {first + index for first, p in self._connections for index in p.acknowledged}


class Collector:
    """A subscriber that keeps its session, made with paho: what came, when, in which order.

    Attributes:
        numbers: of the readings, in order of arrival; a repeat stands twice.
        times: when each came, in monotonic seconds.
    """

    def __init__(self, port: int, topic: str = "up/#") -> None:
        self.numbers: list[int] = []
        self.times: list[float] = []
        self._port, self._topic = port, topic
        self._stands = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"collector-{next(_numbers)}",
            protocol=mqtt.MQTTv5,
        )
        self._client.on_connect = lambda client, *_: client.subscribe(self._topic, 1)
        self._client.on_subscribe = lambda *_: self._stands.set()
        self._client.on_message = self._took

    def __enter__(self) -> Self:
        """Connect; returns once the subscription stands."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # no types
        properties.SessionExpiryInterval = 3600
        self._client.connect(LOOPBACK, self._port, clean_start=False, properties=properties)
        self._client.loop_start()
        assert self._stands.wait(15), "no subscription"
        return self

    def __exit__(self, *_: object) -> None:
        """Go."""
        self._client.disconnect()
        self._client.loop_stop()

    def _took(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.times.append(time.monotonic())
        self.numbers.append(json.loads(message.payload)["number"])

    def until_all(self, sent: set[int], timeout: float = 30.0) -> tuple[int, int]:
        """Wait until everything has come; (lost: 0, duplicates)."""
        until(
            lambda: not compare(sent, list(self.numbers))[0],
            timeout,
            f"all of {len(sent)}, of which {len(set(self.numbers))} came",
        )
        lost, twice = compare(sent, self.numbers)
        return len(lost), twice
