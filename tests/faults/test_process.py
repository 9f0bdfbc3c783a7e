"""A process that is killed, stopped, starved or held up loses nothing that it has acknowledged."""

import contextlib
import json
import os
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.chaos_nodes import installed
from tests.faults.record import Seen
from tests.faults.stub_sink import StubSink, busy, keeping, slow
from tests.faults.traffic import (
    FILE,
    Stream,
    compare,
    from_site,
    link,
    metrics,
    to_file,
    until_all,
    written,
)
from tests.flow_process import ROOT, FlowProcess, environment, flowengine, write_flow
from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.publisher import Publisher
from tests.system.real import LOOPBACK, free_port, need, until

APPEND = {"type": "file.append", "path": FILE}
IN_FLIGHT = 1000  # `receive_maximum`: what a crash may repeat (P2)


@pytest.fixture
def far() -> Iterator[StubSink]:
    with StubSink() as server:
        yield server


def influx(far: StubSink) -> dict[str, Any]:
    return {"type": "influxdb.server", "url": far.url, "org": "o", "bucket": "b"}


def to_influx(**more: Any) -> dict[str, Any]:
    what = {"measurement": "m", "tags": {"device": "key"}, "fields": {"number": "payload.number"}}
    when = {"batch": {"age": "100ms"}, "retry": {"first": "100ms", "max": "1s"}}
    return {"type": "influxdb.write", "server": "influx", **what, **when, **more}


def to_both(folder: Path, broker: Mosquitto, far: StubSink, **sink: Any) -> Path:
    """To a file, where a repeat is a second line, and to a store that may be away."""
    nodes = {"in": from_site(), "file": APPEND, "out": to_influx(**sink)}
    links = {"site": link(broker.port), "influx": influx(far)}
    return write_flow(folder, "both", nodes, ["in -> file", "in -> out"], links)


# --- F-02: killed while a segment is rolled

STEPS = 12
BATCH = 5000  # written from the spool before its cursor was


def test_f02_killed_at_every_step_of_a_segment_roll_it_loses_nothing(
    mosquitto: Mosquitto, far: StubSink, tmp_path: Path, seen: Seen
) -> None:
    """It ends itself at each of the steps; then it starts as it is, and everything arrives."""
    far.answers = busy(503)
    to_both(tmp_path, mosquitto, far)
    engine = FlowProcess(tmp_path)
    plain = engine.argv

    def to_end_at(step: int) -> list[str]:
        return [plain[0], "-m", "tests.faults.killed_at", "roll", str(step), *plain[3:]]

    engine.argv = to_end_at(0)
    with engine:
        engine.until_ready()  # it subscribes; from now on the broker keeps what comes
        with Stream(mosquitto.port, 1000) as stream:
            for step in range(STEPS):
                if step:
                    engine.argv = to_end_at(step)
                    engine.start()
                assert engine.process.wait(30) == -signal.SIGKILL, engine.said
            engine.argv = plain
            began = time.monotonic()
            engine.start()
            engine.until_ready()
            ready = time.monotonic() - began
            stream.until_more(100)
        far.answers = keeping
        sent = stream.acknowledged()
        lost, twice = until_all(engine, sent)
        until(lambda: sent <= far.numbers, 30, "all stored")
        lost += len(sent - far.numbers)
        assert engine.stop() < 5
    assert twice <= (IN_FLIGHT + BATCH) * STEPS
    assert ready < 3
    seen(runs=STEPS, lost=lost, duplicates=twice, recovery=ready)


# --- F-03: killed while a new flow is deployed


def stamped(folder: Path, broker: Mosquitto, version: int) -> None:
    """Two nodes that both write the version of their flow into each message, set down at once."""
    nodes = {
        "in": from_site(),
        "a": {"type": "compute", "set": {"payload.a": str(version)}},
        "b": {"type": "compute", "set": {"payload.b": str(version)}},
        "out": APPEND,
    }
    wires = ["in -> a", "a -> b", "b -> out"]
    fresh = write_flow(folder / "fresh", "stamped", nodes, wires, {"site": link(broker.port)})
    fresh.replace(folder / "flows" / "stamped.json")


def versions(engine: FlowProcess) -> list[tuple[int, int]]:
    path = engine.data / "files" / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if line.endswith("}")]
    return [(row["a"], row["b"]) for row in rows]


def killed_in_deploys(broker: Mosquitto, folder: Path, seen: Seen, runs: int) -> None:
    chance = random.Random(3)  # noqa: S311  # repeatable
    (folder / "flows").mkdir()
    stamped(folder, broker, 0)
    ready = []
    with FlowProcess(folder / "flows") as engine:
        engine.until_ready()
        with Stream(broker.port, 500) as stream:
            stream.until_more(100)
            for version in range(1, runs + 1):
                stamped(folder, broker, version)
                engine.process.send_signal(signal.SIGHUP)
                time.sleep(chance.uniform(0, 0.06))  # the moment of the kill
                engine.kill()
                began = time.monotonic()
                engine.start()
                engine.until_ready()
                ready.append(time.monotonic() - began)
                until(lambda: versions(engine)[-1:] == [(version, version)], 20)  # noqa: B023
        lost, twice = until_all(engine, stream.acknowledged())
        found = versions(engine)
        assert engine.stop() < 5
    mixed = sum(a != b for a, b in found)
    assert mixed == 0
    assert twice <= IN_FLIGHT * runs
    seen(runs=runs, lost=lost, duplicates=twice, recovery=max(ready), mixed=mixed)


def test_f03_killed_in_a_deploy_the_old_or_the_new_flow_runs_whole(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen
) -> None:
    killed_in_deploys(mosquitto, tmp_path, seen, 6)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_f03_killed_in_fifty_deploys_the_old_or_the_new_flow_runs_whole(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen
) -> None:
    killed_in_deploys(mosquitto, tmp_path, seen, 50)


@pytest.mark.parametrize(("step", "is_new"), [(0, False), (1, True)])
def test_f03_killed_while_it_writes_a_flow_the_file_is_the_old_or_the_new_one(
    tmp_path: Path, seen: Seen, step: int, is_new: bool
) -> None:
    tick = {"type": "timer.tick", "every": "1s"}
    path = write_flow(tmp_path, "ticks", {"tick": tick, "log": {"type": "debug"}}, ["tick -> log"])
    old = path.read_text()
    argv = [sys.executable, "-m", "tests.faults.killed_at", "replace", str(step), "fmt", str(path)]
    ran = subprocess.run(argv, env=environment(), cwd=ROOT, check=False, capture_output=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert (path.read_text() != old) is is_new
    assert flowengine("check", tmp_path).returncode == 0  # and what was half written is no flow
    assert flowengine("fmt", path).returncode == 0
    assert path.read_text() != old
    seen(mixed=0)


# --- F-05: told to stop under load


def test_f05_told_to_stop_with_a_slow_and_an_absent_store_it_goes_in_time(
    mosquitto: Mosquitto, far: StubSink, tmp_path: Path, seen: Seen
) -> None:
    took = []
    to_both(tmp_path, mosquitto, far)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        with Stream(mosquitto.port, 1000) as stream:
            for answers in (slow(0.5), busy(503), slow(2.0)):
                far.answers = answers
                stream.until_more(700)
                took.append(engine.stop())
                stream.until_more(100)
                engine.start()
                engine.until_ready()
            far.answers = keeping
            stream.until_more(100)
        sent = stream.acknowledged()
        lost, twice = until_all(engine, sent)
        until(lambda: sent <= far.numbers, 30, "all stored")
        lost += len(sent - far.numbers)
    assert max(took) < 5
    assert twice == 0
    seen(runs=len(took), lost=lost, duplicates=twice, slowest_stop=round(max(took), 2))


# --- F-06: it stood still for longer than the keepalive


def stood_still(
    make: MakeMosquitto, folder: Path, seen: Seen, *, keepalive: str, seconds: float
) -> None:
    broker = make()
    to_file(folder, broker.port, keepalive=keepalive)
    with FlowProcess(folder) as engine:
        engine.until_ready()
        with Stream(broker.port, 200) as stream:
            stream.until_more(200)
            engine.process.send_signal(signal.SIGSTOP)
            asleep = time.monotonic()
            until(lambda: "exceeded timeout" in broker.log_text(), seconds, "put out")
            stream.until_more(100)
            engine.process.send_signal(signal.SIGCONT)
            began = time.monotonic()
            stopped = began - asleep
            first = stream.count
            until(lambda: max(written(engine), default=0) > first, 20, "what comes now is written")
            recovery = time.monotonic() - began
            stream.until_more(200)
        lost, twice = until_all(engine, stream.acknowledged())
        assert engine.stop() < 5
    assert recovery < 10
    assert twice <= IN_FLIGHT
    seen(lost=lost, duplicates=twice, recovery=recovery, stopped_s=round(stopped))


def test_f06_stopped_for_longer_than_its_keepalive_it_takes_up_its_session(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen
) -> None:
    stood_still(make_mosquitto, tmp_path, seen, keepalive="2s", seconds=12)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_f06_stopped_for_two_minutes_it_takes_up_its_session(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen
) -> None:
    stood_still(make_mosquitto, tmp_path, seen, keepalive="60s", seconds=150)


# --- F-08: no file descriptors left


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_f08_without_file_descriptors_links_live_and_nothing_is_lost(
    mosquitto: Mosquitto, far: StubSink, tmp_path: Path, seen: Seen
) -> None:
    """The store goes away just then, so that its spool can open no file."""
    to_both(tmp_path, mosquitto, far)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        pid = engine.process.pid
        with Stream(mosquitto.port, 600) as stream:
            until(lambda: far.numbers, 10, "the first are stored")
            _, hard = before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
            far.answers = busy(503)
            said = engine.until_said("Too many open files")
            stream.until_more(IN_FLIGHT)
            assert engine.process.poll() is None
            assert mosquitto.log_text().count("New client connected") == 2  # the engine, the device
            # Others may come again later: a deploy finds no descriptor either, and goes on.
            engine.process.send_signal(signal.SIGHUP)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
            far.answers = keeping
            freed = time.monotonic()
            number = len(far.numbers)
            until(lambda: len(far.numbers) > number, 30, "it writes again")
            recovery = time.monotonic() - freed
            stream.until_more(300)
        sent = stream.acknowledged()
        lost, twice = until_all(engine, sent)
        until(lambda: sent <= far.numbers, 30, "all stored")
        lost += len(sent - far.numbers)
        assert engine.stop() < 5
    assert twice == 0
    assert re.search(r"(ERROR|WARNING)\s", said) or "both/" in said
    seen(lost=lost, duplicates=twice, recovery=recovery)


@pytest.mark.parametrize(("limit", "code"), [(8, 3), (31, 3), (64, 0)])
def test_f08_too_few_file_descriptors_to_start_is_one_clear_line(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen, limit: int, code: int
) -> None:
    to_file(tmp_path, mosquitto.port)
    engine = FlowProcess(tmp_path)
    engine.argv = [need("prlimit"), f"--nofile={limit}", *engine.argv]
    with engine:
        if code:
            assert engine.process.wait(20) == code
            assert engine.said.startswith(f"flowengine run: this process may have {limit} files ")
            assert len(engine.said.splitlines()) == 2
        else:
            engine.until_ready()
            with Stream(mosquitto.port, 200) as stream:
                stream.until_more(200)
            lost, twice = until_all(engine, stream.acknowledged())
            assert engine.stop() < 5
            seen(lost=lost, duplicates=twice)
    seen(exit_code=code, limit=limit)


# --- F-09: a node holds the event loop


def test_f09_a_node_that_spins_is_named_in_time_and_what_it_held_comes_again(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen
) -> None:
    env = {"PYTHONPATH": installed(tmp_path / "site")}
    spin = {"type": "chaos.spins"}
    nodes = {"in": from_site(), "mad": spin, "out": APPEND}
    links = {"site": link(mosquitto.port)}
    folder = tmp_path / "flows"
    write_flow(folder, "file", nodes, ["in -> mad", "mad -> out"], links)
    address = str(tmp_path / "notify")
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
        FlowProcess(
            folder, env={**env, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}
        ) as engine,
        Publisher(mosquitto.port) as publisher,
    ):
        systemd.bind(address)
        systemd.settimeout(3)
        engine.until_ready()
        publisher.publish(numbered(range(100)))
        until(lambda: len(written(engine)) == 100, 10, "the first are written")
        publisher.publish([("device/dev-1/telemetry", b'{"number": 100, "spin": true}')])
        began = time.monotonic()
        said = engine.until_said('node "file/mad" does not return')
        detected = time.monotonic() - began
        publisher.publish(numbered(range(101, 200)))
        with contextlib.suppress(BlockingIOError):
            systemd.setblocking(False)
            while systemd.recv(100):
                pass
        systemd.setblocking(True)
        systemd.settimeout(2)
        with pytest.raises(TimeoutError):
            systemd.recv(100)  # no beat: systemd would end it now, and start it again
        engine.kill()
        write_flow(folder, "file", {"in": from_site(), "out": APPEND}, ["in -> out"], links)
        engine.start()
        engine.until_ready()
        lost, twice = until_all(engine, set(range(200)))
        assert engine.stop() < 5
    assert "ERROR" in said
    assert detected < 5
    seen(lost=lost, duplicates=twice, detected_s=round(detected, 2))


def numbered(numbers: range) -> Iterator[tuple[str, bytes]]:
    return ((f"device/dev-{n % 10}/telemetry", b'{"number": %d}' % n) for n in numbers)


# --- F-10: errors without an end


def errors_without_end(folder: Path, seen: Seen, kind: str, number: int) -> None:
    env = {"PYTHONPATH": installed(folder / "site")}
    nodes = {
        "in": {"type": "chaos.burst", "number": number},
        "bad": {"type": f"chaos.{kind}"},
        "log": APPEND,
        "good": APPEND,
    }
    wires = ["in -> bad", "bad -> log"]
    address = f"{LOOPBACK}:{free_port()}"
    write_flow(folder / "flows", "chaos", {n: nodes[n] for n in ("in", "bad", "log")}, wires)
    rss: list[int] = []

    def acknowledged() -> float:
        rss.append(engine.memory()["VmRSS"])
        return metrics(address)["flowengine_source_acknowledged_total in"]

    with FlowProcess(folder / "flows", "--metrics", address, env=env) as engine:
        engine.until_ready()
        until(lambda: acknowledged() >= number / 3, 100, "a third of it")
        warm = rss[-1]
        began = time.monotonic()
        until(lambda: acknowledged() == number, 300, "all settled")
        rate = 2 / 3 * number / (time.monotonic() - began)
        failed = metrics(address)["flowengine_failed_total bad"]
        growth = max(rss[rss.index(warm) :]) / warm - 1
        assert engine.stop() < 5
        assert failed == (number if kind == "raises" else 0)
        assert len(engine.said.splitlines()) < 60, engine.said[-2000:]
    assert growth < 0.05, (warm, max(rss))
    seen(messages=number, lost=0, rss_growth=round(growth, 3), errors_per_s=round(rate))


@pytest.mark.parametrize("kind", ["raises", "leaks"])
def test_f10_errors_of_every_message_leave_the_engine_as_it_was(
    tmp_path: Path, seen: Seen, kind: str
) -> None:
    errors_without_end(tmp_path, seen, kind, 150_000)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["raises", "leaks"])
def test_f10_a_million_errors_leave_the_engine_as_it_was(
    tmp_path: Path, seen: Seen, kind: str
) -> None:
    errors_without_end(tmp_path, seen, kind, 1_000_000)


# --- F-11: two engines on one data folder


def test_f11_a_second_engine_under_load_is_refused_and_the_first_goes_on(
    mosquitto: Mosquitto, tmp_path: Path, seen: Seen
) -> None:
    to_file(tmp_path, mosquitto.port)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        with Stream(mosquitto.port, 500) as stream:
            stream.until_more(200)
            second = flowengine("run", tmp_path, "--data", engine.data)
            stream.until_more(200)
        assert second.returncode == 3
        assert f"in use by pid {engine.process.pid}" in second.stderr
        lost, twice = until_all(engine, stream.acknowledged())
        assert compare([], written(engine))[1] == twice == 0
        assert mosquitto.log_text().count("already connected") == 0
    seen(lost=lost, duplicates=twice, exit_code=second.returncode)
