"""Time goes wrong, and nothing stalls, floods or is stamped wrongly for good.

The wall clock jumps, a box boots in 1970, sleeps, stands still; days have 23 hours, years end.
"""

import glob
import json
import signal
import subprocess
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faults.record import Seen
from tests.flow_process import FlowProcess, write_flow
from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.publisher import Publisher
from tests.system.real import LOOPBACK, need, until

START_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
TOTAL, DEVICES = 200_000, 50


def lines(engine: FlowProcess, name: str) -> list[Any]:
    """What a file of the engine holds."""
    path = engine.data / "files" / name
    return [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []


# -- F-63: late, or only waited?


@pytest.mark.parametrize("stops", [0, 3], ids=["a flood", "a flood, and a process that stands"])
def test_f63_what_waited_in_front_of_a_window_is_not_late(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen, stops: int
) -> None:
    """No lateness at all, and devices in order: what is late would be the engine's own doing."""
    mosquitto.argv.remove("-v")
    mosquitto.restart()
    nodes = {
        "in": {
            "type": "mqtt.in",
            "broker": "site",
            "topic": "device/+/telemetry",
            "time": "payload.timestamp",
        },
        "mean": {"type": "window", "every": "1s", "fields": ["payload.number"]},
        "out": {"type": "file.append", "path": "out.jsonl"},
        "late": {"type": "file.append", "path": "late.jsonl"},
    }
    wires = ["in -> mean", "mean -> out", "mean.late -> late"]
    link = {"site": {"type": "mqtt.broker", "host": LOOPBACK, "port": mosquitto.port}}
    write_flow(tmp_path, "flood", nodes, wires, link)

    def readings() -> Any:
        # The devices' time runs about as fast as the flood: a window is a few hundred ms of it.
        for n in range(TOTAL):
            payload = {"number": n, "timestamp": START_MS + n // DEVICES * 5}
            yield f"device/dev-{n % DEVICES}/telemetry", json.dumps(payload).encode()

    with FlowProcess(tmp_path) as engine:
        engine.until_ready()

        def stand() -> None:
            for _ in range(stops):
                time.sleep(0.7)
                engine.process.send_signal(signal.SIGSTOP)
                time.sleep(0.8)
                engine.process.send_signal(signal.SIGCONT)

        standing = threading.Thread(target=stand)
        standing.start()
        with Publisher(mosquitto.port) as publisher:
            publisher.publish(readings())
        standing.join()

        def told() -> int:
            counted = sum(line["count"] for line in lines(engine, "out.jsonl"))
            return int(counted) + len(lines(engine, "late.jsonl"))

        until(lambda: told() >= TOTAL, 60, "every message counted")
        late = len(lines(engine, "late.jsonl"))
        windows = len(lines(engine, "out.jsonl"))
    seen(late=late, windows=windows, messages=TOTAL)
    assert late == 0
    assert windows == DEVICES * 20


# -- F-60: the wall clock jumps under a running process

FAKETIME = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib64/faketime/libfaketime.so.1")
JUMPS = {
    "an hour on": "+1h",
    "right again": "+0",
    "an hour back": "-1h",
    "right once more": "+0",
    "1970": "@1970-01-01 00:10:00",
    "right after 1970": "+0",
    "2038": "@2038-01-19 03:14:00",
    "2106": "@2106-02-07 06:28:10",
    "right in the end": "+0",
}


class WallClock:
    """The wall clock of a process, which jumps when told; the monotonic one stays the machine's."""

    def __init__(self, folder: Path) -> None:
        found = [path for pattern in FAKETIME for path in glob.glob(pattern)]
        if not found:
            need("libfaketime (apt-get install faketime)")
        self._file = folder / "offset"
        self.set("+0")
        self.env = {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def set(self, to: str) -> None:
        """Jump: `+1h`, or a time from which it goes on."""
        if to.startswith("@"):
            moment = datetime.fromisoformat(to[1:]).replace(tzinfo=UTC)
            to = f"{(moment - datetime.now(UTC)).total_seconds():+.0f}"
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(to + "\n")
        unfinished.replace(self._file)


@pytest.mark.long
def test_f60_jumps_of_a_real_processs_clock_stall_nothing_for_a_second(
    tmp_path: Path, seen: Seen
) -> None:
    clock = WallClock(tmp_path)
    file = {"type": "file.append", "content": "message", "batch": {"size": 1}}
    nodes = {
        "beat": {"type": "timer.tick", "every": "100ms", "payload": 1},
        "mean": {"type": "window", "every": "1s", "fields": ["payload"]},
        **{name: {**file, "path": f"{name}.jsonl"} for name in ("beats", "out", "late")},
    }
    wires = ["beat -> beats", "beat -> mean", "mean -> out", "mean.late -> late"]
    folder = tmp_path / "flows"
    write_flow(folder, "beats", nodes, wires)
    gaps: dict[str, list[float]] = {"beats.jsonl": [], "out.jsonl": []}
    with FlowProcess(folder, env=clock.env) as engine:
        engine.until_ready()
        until(lambda: len(lines(engine, "out.jsonl")) >= 2)
        last = {name: (len(lines(engine, name)), time.monotonic()) for name in gaps}
        for to in JUMPS.values():
            clock.set(to)
            until_time = time.monotonic() + 4
            while time.monotonic() < until_time:
                for name, (count, at) in last.items():
                    found, now = len(lines(engine, name)), time.monotonic()
                    if found > count:
                        gaps[name].append(now - at)
                        last[name] = found, now
                time.sleep(0.01)
        late = len(lines(engine, "late.jsonl"))
        qualities = {line["meta"].get("time_quality") for line in lines(engine, "beats.jsonl")}
        engine.stop()
        years = {line["time"][:4] for line in lines(engine, "beats.jsonl")}
    seen(
        runs=len(JUMPS),
        late=late,
        longest_beat=round(max(gaps["beats.jsonl"]), 2),
        longest_window=round(max(gaps["out.jsonl"]), 2),
    )
    assert late == 0
    # A beat every 0.1 s and a window every 1 s, as ever; a window that was moved and the next one,
    # which is aligned again, may overlap.
    assert max(gaps["beats.jsonl"]) < 0.1 + 1
    assert max(gaps["out.jsonl"]) < 1 + 1
    assert qualities == {None, "mended"}
    assert not years & {"1970", "2106"}, "mended by what the clock had been"


# -- F-61: boot in 1970, the time comes later


@pytest.mark.long
def test_f61_a_box_that_boots_in_1970_mends_what_it_stored_when_the_time_comes(
    mosquitto: Mosquitto, make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen
) -> None:
    """Stored on disk, killed, started again in the same boot, and only then told the time."""
    clock, far = WallClock(tmp_path), make_mosquitto()
    far.kill()
    said = "{payload.sent} {time} {get('meta.time_quality', '')}"
    nodes = {
        "in": {"type": "mqtt.in", "broker": "site", "topic": "sent"},
        "out": {
            "type": "mqtt.out",
            "broker": "far",
            "topic": "stored/{payload.number}",
            "payload": said,
            "retain": True,
            "retry": {"first": "200ms", "max": "1s"},
        },
    }
    links = {
        name: {"type": "mqtt.broker", "host": LOOPBACK, "port": port}
        for name, port in (("site", mosquitto.port), ("far", far.port))
    }
    folder = tmp_path / "flows"
    write_flow(folder, "store", nodes, ["in -> out"], links)

    def publish(first: int) -> None:
        with Publisher(mosquitto.port) as publisher:
            for number in range(first, first + 10):
                payload = json.dumps({"number": number, "sent": time.time()}).encode()
                publisher.publish([("sent", payload)])
                time.sleep(0.05)

    clock.set("@1970-01-01 00:02:00")
    with FlowProcess(folder, "--ready-after", "1s", env=clock.env) as engine:
        engine.until_ready()
        engine.until_said("the clock is not set")
        until(lambda: mosquitto.subscribed, what="a subscription")
        publish(0)
        time.sleep(1.5)
        engine.kill()
        engine.start()
        engine.until_ready()
        publish(10)
        time.sleep(1)
        clock.set("+0")
        engine.until_said("the clock is set")
        publish(20)
        far.start()
        listen = [need("mosquitto_sub"), "-p", str(far.port), "-t", "stored/#", "-W", "2"]

        def stored() -> list[list[str]]:
            ran = subprocess.run(listen, capture_output=True, text=True, check=False, timeout=20)
            found = [line.split(" ") for line in ran.stdout.splitlines()]
            return found if len(found) >= 30 else []

        found = until(stored, 90, "all 30")
    errors = [abs(float(sent) - float(at)) for sent, at, _ in found]
    seen(runs=1, lost=0, error_s=round(max(errors), 3))
    assert max(errors) < 1
    assert Counter(quality for _, _, quality in found) == {"mended": 20, "": 10}


# -- F-62: the process stands still


@pytest.mark.alone
def test_f62_a_process_that_stood_still_ticks_once_for_all_it_missed(
    tmp_path: Path, seen: Seen
) -> None:
    nodes = {
        "beat": {"type": "timer.tick", "every": "100ms"},
        "out": {
            "type": "file.append",
            "path": "beats.jsonl",
            "content": "message",
            "batch": {"size": 1},
        },
    }
    write_flow(tmp_path, "beats", nodes, ["beat -> out"])
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        until(lambda: len(lines(engine, "beats.jsonl")) >= 5)
        engine.process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        before = len(lines(engine, "beats.jsonl"))
        engine.process.send_signal(signal.SIGCONT)
        began = time.monotonic()
        until(lambda: len(lines(engine, "beats.jsonl")) > before)
        recovery = time.monotonic() - began
        until(lambda: len(lines(engine, "beats.jsonl")) >= before + 5)
        beats = [line["meta"].get("missed", 0) for line in lines(engine, "beats.jsonl")]
    caught_up = [missed for missed in beats if missed >= 15]
    seen(recovery=round(recovery, 3), missed=caught_up)
    assert len(caught_up) == 1
    assert 18 <= caught_up[0] <= 25
    assert recovery < 1
