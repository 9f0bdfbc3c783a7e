"""What an open editor costs the engine: the CPU of `flowengine serve` with and without one.

`serve` runs the pipeline of W2 (range check, °C to °F, alarms to the actuator, everything counted)
at 1,000 messages a second, QoS 0. An editor is what a tab listens to: the box's states, the flow's
states, counters, values, debug and edits, and one tapped wire. Slices with and without follow one
another, so that what else the machine does is in both. A stalled one listens and reads nothing.
"""

import contextlib
import json
import socket
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from tests.bench import load
from tests.bench.engine_under_test import SWITCH
from tests.bench.machine import ROOT, BenchError, Mosquitto, Process, free_port, listens
from tests.bench.peer import Peer
from tests.bench.table import NO_BAR, Bar, Results

RATE = 1000
FLOW = "mission"
TOPICS = (
    "status",
    *(f"flow/{FLOW}/{kind}" for kind in ("status", "metrics", "values", "debug", "ops")),
)
TAP = f"flow/{FLOW}/tap/fahrenheit"
AT_MOST = Bar(3.0)


def measure(results: Results, work: Path, _peer: Peer | None, *, quick: bool) -> None:
    """One round: slices of some seconds, alternating, then a stalled tab."""
    slices, seconds = (3, 3.0) if quick else (6, 6.0)
    with serving(work) as (box, broker), publishing(broker.port):
        idle, watched = alternating(box, slices, seconds)
        costs = [with_one - without for without, with_one in zip(idle, watched, strict=True)]
        results.note(
            "editor: engine at 1,000 msg/s", "% of a core", NO_BAR, statistics.median(idle)
        )
        results.note("editor: one open adds", "% of a core", AT_MOST, statistics.median(costs))
        results.note("editor: a stalled one adds", "MB", Bar(8.0), stalled(box, seconds * 3))


class Box(Process):
    """`flowengine serve` at work."""

    def __init__(self, work: Path, broker: int = 0) -> None:
        folder = work / f"box-{broker}"
        self.flows = folder / "flows"
        self.flows.mkdir(parents=True)
        if broker:
            (self.flows / f"{FLOW}.json").write_text(json.dumps(pipeline(broker)))
        self.port = free_port()
        env = {"PYTHONPATH": str(ROOT)}
        super().__init__(
            [
                *(sys.executable, "-m", "flowengine", "serve", self.flows),
                *("--data", folder / "data", "--port", str(self.port)),
            ],
            log=folder / "log",
            env=env,
        )
        self.wait_for(lambda: b"#first=" in self.log.read_bytes(), 30, "flowengine serve")
        self.wait_for(lambda: listens(self.port), 10, "its port")
        token = self.log.read_text().partition("#first=")[2].split()[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, trust_env=False)
        answer = self.client.post("/api/v1/session/first", json={"token": token})
        if answer.status_code != 200:
            raise BenchError(f"the first login was refused: {answer.text}")
        self.csrf = str(answer.json()["csrf"])
        self.cookie = "; ".join(f"{c.name}={c.value}" for c in self.client.cookies.jar)

    def tab(self, **more: Any) -> Connection:
        """A tab's socket, listening."""
        headers = {"Cookie": self.cookie}
        tab = connect(
            f"ws://127.0.0.1:{self.port}/api/v1/live",
            additional_headers=headers,
            proxy=None,
            max_size=None,
            **more,
        )
        for topic in (*TOPICS, TAP):
            tab.send(json.dumps({"op": "sub", "topic": topic}))
        return tab


def pipeline(broker: int) -> dict[str, Any]:
    """The mission's flow with a sink that a box has by itself."""
    place = {"host": "127.0.0.1", "port": broker}
    convert = {"field": "payload.temperature", "from": [0, 100], "to": [32, 212]}
    return {
        "format": 1,
        "connections": {"broker": {"type": "mqtt.broker", "config": place}},
        "nodes": {
            "in": {
                "type": "mqtt.in",
                "config": {"broker": "broker", "topic": "device/+/telemetry", "qos": 0},
            },
            "in-range": SWITCH,
            "fahrenheit": {"type": "scale", "config": convert},
            "alarm": {
                "type": "route",
                "config": {"rules": [{"to": "hot", "when": "payload.temperature > 80"}]},
            },
            "actuator": {
                "type": "mqtt.out",
                "config": {"broker": "broker", "topic": "actuator/fan", "qos": 0},
            },
            "show": {"type": "debug", "config": {"to": ["panel"]}},
        },
        "wires": [
            "in -> in-range",
            "in-range.passed -> fahrenheit",
            "fahrenheit -> alarm",
            "alarm.hot -> actuator",
            "alarm.hot -> show",
        ],
    }


@contextlib.contextmanager
def serving(work: Path) -> Iterator[tuple[Box, Mosquitto]]:
    """A broker and a box."""
    with contextlib.ExitStack() as stack:
        broker = Mosquitto(work)
        stack.callback(broker.stop)
        box = Box(work, broker.port)
        stack.callback(box.stop)
        yield box, broker


@contextlib.contextmanager
def watch_nothing(work: Path) -> Iterator[Box]:
    """A box without a flow."""
    box = Box(work)
    try:
        yield box
    finally:
        box.stop()


@contextlib.contextmanager
def publishing(port: int) -> Iterator[None]:
    """1,000 messages a second as long as the block lasts."""
    client, ends = load.Client(port, "publisher"), threading.Event()
    ready = load.packets(0, 10_000, 0)

    def publish() -> None:
        began, sent = time.perf_counter(), 0
        while not ends.is_set():
            due = int((time.perf_counter() - began) * RATE)
            for number in range(sent, due):
                client.send(ready[number % len(ready)])
            sent = due
            time.sleep(0.002)

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()
        client.close()


def alternating(box: Box, slices: int, seconds: float) -> tuple[list[float], list[float]]:
    """Percent of a core without and with an open editor, slice by slice."""
    idle, watched = [], []
    spent(box, 1.0)
    for _ in range(slices):
        idle.append(spent(box, seconds))
        with watching(box):
            time.sleep(0.5)
            watched.append(spent(box, seconds))
        time.sleep(0.5)
    return idle, watched


def spent(box: Box, seconds: float) -> float:
    """Percent of a core over the next seconds."""
    before, began = box.cpu(), time.monotonic()
    time.sleep(seconds)
    return 100 * (box.cpu() - before) / (time.monotonic() - began)


@contextlib.contextmanager
def watching(box: Box) -> Iterator[None]:
    """An open editor that reads what it is told; BenchError if it was told little."""
    tab = box.tab()
    told: Counter[str] = Counter()

    def read() -> None:
        with contextlib.suppress(ConnectionClosed):
            for frame in tab:
                told[json.loads(frame)["t"]] += 1

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        tab.close()
        thread.join()
    if min(told[f"flow/{FLOW}/metrics"], told[TAP]) < 4:
        raise BenchError(f"the open editor heard too little: {dict(told)}")


def stalled(box: Box, seconds: float) -> float:
    """MB that the box gains while a tab with a small window listens and never reads."""
    raw = socket.create_connection(("127.0.0.1", box.port))
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    before = box.memory()
    tab = box.tab(sock=raw, ping_interval=None, max_queue=1)
    try:
        time.sleep(seconds)
        return max(0.0, box.memory() - before)
    finally:
        raw.close()
        with contextlib.suppress(Exception):
            tab.close()
