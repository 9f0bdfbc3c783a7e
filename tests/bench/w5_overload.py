"""W5: what a slow database and a killed process cost, at 1,000 messages a second, QoS 1.

    slow    every write takes 100 ms: memory gained, how late the last alarm is, what has arrived
    killed  kill -9 half-way, started again at once: messages lost, and messages twice

The sinks are those of W2; the peer's session at the broker is kept, as ours is by itself.
"""

import contextlib
import json
import threading
import time
from functools import partial
from pathlib import Path

from tests.bench import engine_under_test as ours
from tests.bench import load
from tests.bench.peer import Peer
from tests.bench.table import NO_BAR, Bar, Results
from tests.bench.w2_pipeline import RATE, Rig, Start

SINKS = ("batch", "out")
DELAY_MS = 100
SETTLES = 3.0
"""Seconds without a new record after which nothing more is expected."""
NOTHING = Bar(0.0)


def measure(results: Results, work: Path, peer: Peer | None, *, quick: bool) -> None:
    """One round: slow, then killed, each for ours and the peer in turn."""
    seconds = 8 if quick else 20

    def mine(sink: str, qos: int, broker: int, stub: int | None) -> ours.Running:
        return ours.pipeline(sink, qos, broker, stub, work)

    starts: list[Start] = [mine]
    if peer is not None:
        starts.append(partial(peer.pipeline, keeps_session=True))
    for sink in SINKS:
        for what, case in (("slow", _slow), ("killed", _killed)):
            figures = []
            for start in starts:
                rig = Rig(start, sink, 1, work)
                try:
                    figures.append(case(rig, start, sink, seconds))
                finally:
                    rig.close()
            theirs = figures[1] if len(figures) > 1 else {}
            for name, value in figures[0].items():
                unit, bar = UNITS[name]
                results.note(f"W5 {what}, {sink}: {name}", unit, bar, value, theirs.get(name))


UNITS = {
    "memory gained": ("MB", NO_BAR),
    "last alarm late by": ("s", NO_BAR),
    "not arrived 10 s later": ("msg", NO_BAR),
    "lost": ("msg", NOTHING),
    "twice": ("msg", NO_BAR),
    "alarms lost": ("msg", NOTHING),
}


def _steady(rig: Rig, seconds: int) -> threading.Thread:
    """Publish at RATE in a thread; message n has the time FIRST_MS + n."""
    ready = load.packets(0, RATE * seconds, 1)

    def publish() -> None:
        began = time.perf_counter()
        for number, packet in enumerate(ready):
            wait = began + number / RATE - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            rig.publisher.send(packet)

    thread = threading.Thread(target=publish)
    thread.start()
    return thread


def _slow(rig: Rig, _start: Start, _sink: str, seconds: int) -> dict[str, float]:
    rig.ask(f"/delay/{DELAY_MS}")
    rig.alarms.clear()
    idle, before, began = rig.engine.memory(), int(rig.ask("/unique")), time.time()
    publishing, most = _steady(rig, seconds), 0.0
    until = time.monotonic() + seconds + 10
    while time.monotonic() < until:
        most = max(most, rig.engine.memory())
        time.sleep(0.2)
    publishing.join()
    records, _ = load.expected(0, RATE * seconds)
    late = [at - began - _number(body) / RATE for at, body in rig.alarms]
    return {
        "memory gained": most - idle,
        "last alarm late by": max(late, default=float(seconds)),
        "not arrived 10 s later": records - (int(rig.ask("/unique")) - before),
    }


def _killed(rig: Rig, start: Start, sink: str, seconds: int) -> dict[str, float]:
    rig.alarms.clear()
    assert rig.stub is not None
    before, lines = int(rig.ask("/unique")), int(rig.ask("/count"))
    publishing = _steady(rig, seconds)
    time.sleep(seconds / 2)
    rig.engine.kill()
    rig.replace(start(sink, 1, rig.broker.port, rig.stub.port))
    publishing.join()
    records, alarms = load.expected(0, RATE * seconds)
    last, since = -1, time.monotonic()
    while time.monotonic() - since < SETTLES + 5:
        if (now := rig.done()) != last:
            last, since = now, time.monotonic()
        time.sleep(0.1)
    unique = int(rig.ask("/unique")) - before
    heard = {_number(body) for _, body in rig.alarms}
    return {
        "lost": records - unique,
        "twice": int(rig.ask("/count")) - lines - unique,
        "alarms lost": alarms - len(heard),
    }


def _number(body: bytes) -> int:
    """The number of a message, by its time."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return int(json.loads(body)["timestamp"]) - load.FIRST_MS
    return -1
