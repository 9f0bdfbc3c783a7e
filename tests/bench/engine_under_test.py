"""flowengine as the benches run it: `flowengine run` on a flow file, in a process of its own.

The flows do what the peer's do (`flows.py` of its harness): the same nodes in the same order, in
the words of this engine. A rule of the peer's that is a comparison is an expression here.
"""

import contextlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench.machine import MEMORY, ROOT, BenchError, Process, scratch

NAME = "flowengine"
Flow = dict[str, Any]

CHANGE: Flow = {"type": "compute", "config": {"set": {"payload.x": "1"}}}
SWITCH: Flow = {
    "type": "filter.range",
    "config": {"field": "payload.temperature", "min": 0, "max": 100},
}
RULE: Flow = {
    "type": "route",
    "config": {
        "rules": [{"to": "fits", "when": "payload.temperature >= 0 and payload.temperature <= 100"}]
    },
}
FUNCTION: Flow = {
    "type": "compute",
    "config": {"set": {"payload.y": "payload.temperature * 1.8 + 32"}},
}
KINDS: dict[str, Sequence[Flow]] = {
    "change": [CHANGE],
    "switch": [SWITCH],
    "rule": [RULE],
    "mix": [CHANGE, SWITCH, FUNCTION],
}
"""The nodes of a chain, in turn."""


class Running(Process):
    """`flowengine run` at work on one flow."""

    def __init__(self, flow: Flow, work: Path, *, name: str, piped: bool = False) -> None:
        folder = work / name
        folder.mkdir(exist_ok=True)
        self.flow_file = folder / "bench.json"
        self.flow_file.write_text(json.dumps({"format": 1, **flow}, indent=2))
        self._told = contextlib.ExitStack()
        self.stats_file = self._told.enter_context(scratch(MEMORY)) / "stats.json"
        super().__init__(
            [
                *(sys.executable, "-m", "flowengine", "run", self.flow_file),
                *("--data", folder / "data", "--ready-after", "60s"),
            ],
            log=folder / "log",
            env={
                "PYTHONPATH": f"{ROOT}:{_offer_bench_nodes(work)}",
                "FLOWENGINE_BENCH_STATS": str(self.stats_file),
                "PYTHONDONTWRITEBYTECODE": "",  # as on a box: compiled once, not at each start
            },
            piped=piped,
        )

    def stop(self) -> None:
        """End it."""
        super().stop()
        self._told.close()

    def stats(self) -> Mapping[str, Any]:
        """What the bench's nodes have told so far."""
        if not self.stats_file.exists():
            return {"n": 0, "results": []}
        told: Mapping[str, Any] = json.loads(self.stats_file.read_text())
        return told

    def count(self) -> int:
        """Messages that reached the counting sink."""
        return int(self.stats()["n"])


def _offer_bench_nodes(work: Path) -> Path:
    """A folder for the Python path that offers `tests.bench.counting` as a package would."""
    site = work / "site"
    info = site / "flowengine_bench-1.dist-info"
    if not info.exists():
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: flowengine-bench\nVersion: 1\n"
        )
        (info / "entry_points.txt").write_text("[flowengine.nodes]\nbench = tests.bench.counting\n")
    return site


def measured(flow: Flow, work: Path, runs: int) -> list[float]:
    """CPU ns a message of each run of a flow that drives itself."""
    running = Running(flow, work, name="drive")
    try:
        running.wait_for(lambda: len(running.stats()["results"]) == runs, 120, "the driven flow")
        return [float(spent) for spent in running.stats()["results"]]
    finally:
        running.stop()


def chain(kind: str, hops: int, messages: int, work: Path) -> list[float]:
    """CPU ns a message through a chain of `hops` nodes, 100 a turn, of two runs."""
    names = [f"hop-{number}" for number in range(hops)]
    nodes = {name: KINDS[kind][at % len(KINDS[kind])] for at, name in enumerate(names)}
    drive = {"messages": messages, "batch": 100, "runs": 2}
    path = ["drive", *names, "end"]
    return measured(
        {
            "nodes": {
                "drive": {"type": "bench.drive", "config": drive},
                **nodes,
                "end": {"type": "bench.end"},
            },
            "wires": [f"{a} -> {b}" for a, b in pairwise(path)],
        },
        work,
        2,
    )


def fan(width: int, messages: int, batch: int, work: Path) -> list[float]:
    """CPU ns a message and branch, fanned out to `width` nodes that change it."""
    branches = [f"branch-{number}" for number in range(width)]
    drive = {"messages": messages, "batch": batch, "runs": 3, "arrivals": width}
    spent = measured(
        {
            "nodes": {
                "drive": {"type": "bench.drive", "config": drive},
                **dict.fromkeys(branches, CHANGE),
                "end": {"type": "bench.end"},
            },
            "wires": [f"drive -> {name}" for name in branches]
            + [f"{name} -> end" for name in branches],
        },
        work,
        3,
    )
    return [each / width for each in spent]


def pipeline(sink: str, qos: int, broker: int, stub: int | None, work: Path) -> Running:
    """Range check, °C to °F, alarms to the actuator, everything to the sink."""
    sinks: dict[str, Flow] = {
        "count": {"type": "bench.count"},
        "influx": {
            "type": "influxdb.write",
            "config": {
                "server": "db",
                "measurement": "telemetry",
                "tags": {"sensor_id": "payload.sensor_id"},
                "fields": {
                    "temperature": "payload.temperature",
                    "humidity": "payload.humidity",
                },
                "time": "payload.timestamp / 1000",
                "precision": "ms",
            },
        },
    }
    connections: dict[str, Flow] = {
        "broker": {"type": "mqtt.broker", "config": {"host": "127.0.0.1", "port": broker}}
    }
    if stub is not None:
        connections["db"] = {
            "type": "influxdb.server",
            "config": {"url": f"http://127.0.0.1:{stub}", "org": "org", "bucket": "bkt"},
        }
    intake = {"broker": "broker", "topic": "device/+/telemetry", "qos": qos}
    convert = {"field": "payload.temperature", "from": [0, 100], "to": [32, 212]}
    alarm = {"rules": [{"to": "hot", "when": "payload.temperature > 80"}]}
    act = {"broker": "broker", "topic": "actuator/fan", "qos": qos}
    return Running(
        {
            "connections": connections,
            "nodes": {
                "in": {"type": "mqtt.in", "config": intake},
                "in-range": SWITCH,
                "fahrenheit": {"type": "scale", "config": convert},
                "alarm": {"type": "route", "config": alarm},
                "actuator": {"type": "mqtt.out", "config": act},
                "sink": sinks["count" if stub is None else "influx"],
            },
            "wires": [
                "in -> in-range",
                "in-range.passed -> fahrenheit",
                "fahrenheit -> alarm",
                "alarm.hot -> actuator",
                "fahrenheit -> sink",
            ],
        },
        work,
        name=f"pipeline-{sink}-{qos}-{broker}",
    )


_LINE: Sequence[tuple[str, Flow]] = (
    ("tick", {"type": "timer.tick"}),
    ("set", CHANGE),
    ("sort", {"type": "route"}),
    (
        "scale",
        {"type": "scale", "config": {"field": "payload.v", "from": [0, 100], "to": [32, 212]}},
    ),
    ("double", {"type": "compute", "config": {"set": {"payload.y": "payload.v * 2"}}}),
    ("set-again", CHANGE),
    (
        "changed",
        {
            "type": "filter.deadband",
            "config": {"field": "payload.v", "absolute": 0, "max_silence": "1ms"},
        },
    ),
    ("text", {"type": "template", "config": {"text": "{payload.v}", "into": "payload.text"}}),
    ("sort-again", {"type": "route"}),
    ("triple", {"type": "compute", "config": {"set": {"payload.z": "payload.v * 3"}}}),
)
_SORT = {"rules": [{"to": "rest", "when": "payload.v < 1000"}]}
FIRST = b"bench/first: {"
"""How the log line of the first message begins, behind time and level."""


def startup(nodes: int) -> Flow:
    """Lines of ten nodes; only the last one's tick fires, and `first` shows what comes out."""
    made: dict[str, Flow] = {}
    wires: list[str] = []
    lines = nodes // len(_LINE)
    for line in range(lines):
        is_last = line == lines - 1
        before = ""
        for name, spec in _LINE:
            here = f"{name}-{line}"
            made[here] = dict(spec)
            if spec["type"] == "timer.tick":
                tick = {"every": "1d", "at_start": is_last, "payload": {"v": 20}}
                made[here]["config"] = tick
            else:
                wires.append(f"{before} -> {here}")
            if spec["type"] == "route":
                made[here]["config"] = _SORT
            before = f"{here}.rest" if spec["type"] == "route" else here
        if is_last:
            # the peer's last node tells of the message; so does this line's, in its place
            made.pop(before)
            wires.pop()
            made["first"] = {"type": "debug", "config": {"to": ["log"]}}
            wires.append(f"sort-again-{line}.rest -> first")
    return {"nodes": made, "wires": wires}


def start(nodes: int, work: Path, *, fresh: bool = False) -> tuple[Running, float]:
    """Start a flow of `nodes` nodes; returns it and the CPU seconds up to its first message.

    `fresh`: with an empty data folder, as if the flow had never run here.
    """
    if fresh:
        shutil.rmtree(work / f"start-{nodes}" / "data", ignore_errors=True)
    running = Running(startup(nodes), work, name=f"start-{nodes}", piped=True)
    for line in running.errors:
        if FIRST in line:
            return running, running.cpu()
    running.stop()
    raise BenchError(f"{nodes} nodes: the process ended before the first message")
