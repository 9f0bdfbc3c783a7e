"""Parts by themselves: a hop beside asyncio's queue, a line of InfluxDB, an expression, imports.

Here the other side of a ratio is not Node-RED but the usual Python way; the measure names it.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from flowengine.expression import compile_expression
from flowengine.message import Message
from flowengine.nodes.influxdb.lineprotocol import make_renderer
from tests.bench import engine_under_test as ours
from tests.bench.machine import ROOT, BenchError
from tests.bench.peer import Peer
from tests.bench.table import NO_BAR, Results

_HOPS = 10
EXPRESSIONS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "arithmetic": ("payload.temperature * 1.8 + 32", lambda p: p["temperature"] * 1.8 + 32),
    "condition": (
        "payload.temperature > 8 and payload.humidity < 60",
        lambda p: p["temperature"] > 8 and p["humidity"] < 60,
    ),
    "function": (
        "round(max(payload.temperature, payload.humidity), 1)",
        lambda p: round(max(p["temperature"], p["humidity"]), 1),
    ),
}
MODULES = {
    "flowengine": "what a node's author imports",
    "flowengine.commands.run": "a headless run, before any node",
    "flowengine.check": "the checker, with networkx",
    "flowengine.nodes.mqtt": "the MQTT nodes, with paho",
    "flowengine.nodes.influxdb": "the InfluxDB nodes; the client comes with the first write",
}
_IMPORT = """
import asyncio, sys, time
def memory():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
cpu, mb = time.process_time(), memory()
__import__(sys.argv[1])
print((time.process_time() - cpu) * 1e3, memory() - mb)
"""


def measure(results: Results, work: Path, _peer: Peer | None, *, quick: bool) -> None:
    """One round of every part."""
    number = 20_000 if quick else 60_000
    hops = {n: min(ours.chain("change", n, number, work)) / 1000 for n in (1, _HOPS + 1)}
    slope = (hops[_HOPS + 1] - hops[1]) / _HOPS
    queue = min(_queue_hop(number // 4) for _ in range(3))
    results.note("part: hop (asyncio.Queue and a task)", "us CPU", NO_BAR, slope, queue)
    results.note("part: InfluxDB line (client's Point)", "us CPU", NO_BAR, *_line(number))
    for name, (text, plain) in EXPRESSIONS.items():
        figures = _expression(text, plain, number)
        results.note(f"part: {name} (a Python function)", "us CPU", NO_BAR, *figures)
    for module, what in MODULES.items():
        cpu, memory = _import(module)
        results.note(f"import {module}: {what}", "ms CPU", NO_BAR, cpu)
        results.note(f"import {module}", "MB", NO_BAR, memory)


def _spent(call: Callable[[], Any], number: int) -> float:
    """CPU µs of one of `number` calls, best of five turns."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time_ns()
        for _ in range(number // 5):
            call()
        best = min(best, (time.process_time_ns() - began) / (number // 5) / 1000)
    return best


def _queue_hop(messages: int) -> float:
    """CPU µs a hop of a chain of tasks joined by asyncio.Queue."""

    async def work(source: asyncio.Queue[Any], target: asyncio.Queue[Any]) -> None:
        while (payload := await source.get()) is not None:
            payload["x"] = 1
            await target.put(payload)
        await target.put(None)

    async def run() -> float:
        queues: list[asyncio.Queue[Any]] = [asyncio.Queue(1000) for _ in range(_HOPS + 1)]
        tasks = [asyncio.create_task(work(a, b)) for a, b in pairwise(queues)]
        began = time.process_time_ns()

        async def drive() -> None:
            for _ in range(messages):
                await queues[0].put({"temperature": 1})
            await queues[0].put(None)

        tasks.append(asyncio.create_task(drive()))
        while await queues[-1].get() is not None:
            pass
        await asyncio.gather(*tasks)
        return (time.process_time_ns() - began) / messages / _HOPS / 1000

    return asyncio.run(run())


def _line(number: int) -> tuple[float, float]:
    """CPU µs of a line by our renderer, and by the client library's Point."""
    import influxdb_client  # noqa: PLC0415  # 0.3 s, only here

    client: Any = influxdb_client  # it ships no types to speak of

    render = make_renderer(["sensor_id"], ["temperature", "humidity"])

    def point() -> str:
        made = client.Point("telemetry").tag("sensor_id", "dev-0001")
        made = made.field("temperature", 21.5).field("humidity", 45.5)
        line: str = made.time(
            1_700_000_000_000_000_000, client.WritePrecision.NS
        ).to_line_protocol()
        return line

    def line() -> bytes | str:
        return render("telemetry", ["dev-0001"], [21.5, 45.5], 1_700_000_000_000_000_000)

    return _spent(line, number), _spent(point, number // 5)


def _expression(
    text: str, plain: Callable[[dict[str, Any]], Any], number: int
) -> tuple[float, float]:
    """CPU µs of an expression, and of the same as a Python function."""
    message = Message({"temperature": 21.5, "humidity": 45.5})
    evaluate = compile_expression(text).bind({}, time.time)
    if evaluate(message) != plain(message.payload):
        raise BenchError(f"{text} does not give what Python gives")
    payload = message.payload
    return _spent(lambda: evaluate(message), number), _spent(lambda: plain(payload), number)


def _import(module: str) -> tuple[float, float]:
    """CPU ms and MB of importing a module into a process that has asyncio; best of three."""
    found: list[tuple[float, float]] = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", _IMPORT, module],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise BenchError(f"import {module}: {done.stderr.strip()[-300:]}")
        cpu, memory = done.stdout.split()
        found.append((float(cpu), float(memory)))
    return min(found)
