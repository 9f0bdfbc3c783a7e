"""`flowengine run`, as a process, says when it is ready, why it is not, and goes when it is told.

What needs a broker stands in `tests/system/test_reload.py`.
"""

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.flow_process import FlowProcess, flowengine, write_flow
from tests.system.real import LOOPBACK, free_port, until

TICK = {"tick": {"type": "timer.tick", "every": "50ms", "payload": 1}}
KEEP = {"keep": {"type": "series.write", "series": "ticks"}}
FAULTY = {"door": {"type": "mqt.in"}}
SECRET = {"password": {"$secret": "site-mqtt"}}


def ticking(folder: Path, name: str = "ticks") -> Path:
    return write_flow(folder, name, {**TICK, **KEEP}, ["tick -> keep"])


def broker(folder: Path, port: int, name: str = "site-flow", **more: Any) -> Path:
    connection = {"type": "mqtt.broker", "host": LOOPBACK, "port": port, **more}
    nodes = {"readings": {"type": "mqtt.in", "broker": "site", "topic": "a/+"}, **KEEP}
    return write_flow(folder, name, nodes, ["readings -> keep"], {"site": connection})


# --- ready (R12)


def test_r12_one_line_on_stdout_says_ready(tmp_path: Path) -> None:
    ticking(tmp_path)
    with FlowProcess(tmp_path) as engine:
        line = engine.until_ready()
        assert line.startswith("ready: 1 flow, 2 nodes, 0 connections in ")
        engine.stop()
        assert engine.printed == line
        assert "ready" not in engine.said


def test_r12_two_flows_are_flows(tmp_path: Path) -> None:
    ticking(tmp_path, "a")
    ticking(tmp_path, "b")
    with FlowProcess(tmp_path) as engine:
        assert engine.until_ready().startswith("ready: 2 flows, 4 nodes, 0 connections in ")


def test_r12_an_absent_broker_holds_ready_up_for_5_s_and_no_longer(tmp_path: Path) -> None:
    port = free_port()
    broker(tmp_path, port)
    started = time.monotonic()
    with FlowProcess(tmp_path) as engine:
        line = engine.until_ready()
        assert line.endswith("s; connecting: site\n")
        assert 5.0 <= float(re.search(r"in (\d+\.\d\d) s", line)[1]) < 6.0  # type: ignore[index]
        assert time.monotonic() - started >= 5.0
        assert f"{LOOPBACK}:{port}" in engine.until_said("connecting:", "nothing listens")


@pytest.mark.alone
def test_r12_ready_after_says_how_long(tmp_path: Path) -> None:
    broker(tmp_path, free_port())
    with FlowProcess(tmp_path, "--ready-after", "300ms") as engine:
        line = engine.until_ready()
        assert line.startswith("ready: 1 flow, 2 nodes, 1 connection in 0.3")
        assert line.endswith("; connecting: site\n")


# --- what does not start (R13)


def test_r13_a_faulty_flow_is_refused_and_the_others_run(tmp_path: Path) -> None:
    ticking(tmp_path)
    write_flow(tmp_path, "door", FAULTY)
    with FlowProcess(tmp_path) as engine:
        line = engine.until_ready()
        assert line.startswith("ready: 1 flow,")
        assert line.endswith("; refused: door\n")
        assert "door.json:1:" in engine.said
        assert 'Did you mean "mqtt.in"?' in engine.said


@pytest.mark.parametrize(
    ("good", "args"), [(False, []), (True, ["--strict"])], ids=["none is left", "with --strict"]
)
def test_r13_exit_code_1_for_faulty_flows(tmp_path: Path, good: bool, args: list[str]) -> None:
    write_flow(tmp_path, "door", FAULTY)
    if good:
        ticking(tmp_path)
    ran = flowengine("run", tmp_path, *args)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert 'no node type "mqt.in"' in ran.stderr


@pytest.mark.parametrize(
    "given", [["--set", "low=9"], ["--set", "door.low=9"], ["--params", "site.json"]]
)
def test_r62_a_sites_values_are_what_runs(tmp_path: Path, given: list[str]) -> None:
    """The same values that `check` reads make the same finding."""
    door = {"door": {"type": "filter.range", "min": {"$param": "low"}, "max": 8}}
    params = {"low": {"type": "number", "default": 1}}
    path = write_flow(tmp_path, "door", {**TICK, **door}, ["tick -> door"], params=params)
    (tmp_path / "site.json").write_text('{"low": 9}')
    ran = flowengine("run", path, *given, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    checked = flowengine("check", path, *given, cwd=tmp_path)
    said = "min (9.0) is above max (8.0)"
    assert said in ran.stderr
    assert said in checked.stdout


def test_r13_exit_code_1_for_text_that_is_no_flow(tmp_path: Path) -> None:
    (tmp_path / "door.json").write_text('{"format": 1, "nodes": {},}')
    ran = flowengine("run", tmp_path / "door.json")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "door.json:1\n" in ran.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nowhere.json"], "there is no nowhere.json"),
        (["empty"], "no flow in empty"),
        (["."], None),
        ([".", "--set", "limit=7"], "limit"),
        ([".", "--set", "limit"], "limit"),
        ([".", "--params", "nowhere.json"], "nowhere.json"),
        ([".", "--ready-after", "5"], 'Write it as "5s"'),
        ([".", "--metrics", "9100x"], "no port"),
        ([".", "--metrics", "127.0.0.1:70000"], "no port"),
        ([".", "--frobnicate"], "--frobnicate"),
        ([], "PATH"),
    ],
)
def test_r13_exit_code_2_for_wrong_usage(
    tmp_path: Path, args: list[str], words: str | None
) -> None:
    (tmp_path / "empty").mkdir()
    if words is None:
        words = "no flow in ."
    else:
        ticking(tmp_path)
    ran = flowengine("run", *args, cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_r13_exit_code_3_names_the_pid_that_uses_the_data_folder(tmp_path: Path) -> None:
    """F-11."""
    ticking(tmp_path)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        ran = flowengine("run", tmp_path)
        assert (ran.returncode, ran.stdout) == (3, "")
        assert f"in use by pid {engine.process.pid}" in ran.stderr
        assert "--data" in ran.stderr
        assert engine.process.poll() is None


def test_a_killed_engine_leaves_no_lock(tmp_path: Path) -> None:
    ticking(tmp_path)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        engine.kill()
        engine.start()
        engine.until_ready()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"connections": {"site": {"type": "mqtt.broker", "host": "localhost", **SECRET}}},
            [
                "site-mqtt",
                "flowengine secrets set site-mqtt",
                'connection "site"',
                "config.password",
            ],
        ),
        (
            {"connections": {"site": {"type": "mqtt.broker", "host": {"$env": "NO_SUCH_HOST"}}}},
            ["NO_SUCH_HOST", 'connection "site"', "config.host"],
        ),
        ({"params": {"limit": {"type": "number"}}}, ["limit", "--set ticks.limit="]),
    ],
    ids=["secret", "environment variable", "param"],
)
def test_r13_r19_exit_code_3_names_a_value_that_is_not_there(
    tmp_path: Path, more: dict[str, Any], words: list[str]
) -> None:
    reads = {"reads": {"type": "mqtt.in", "broker": "site", "topic": "a"}}
    nodes = {**TICK, **KEEP, **(reads if "connections" in more else {})}
    wires = ["tick -> keep", *(["reads -> keep"] if "connections" in more else [])]
    write_flow(tmp_path, "ticks", nodes, wires, **more)
    ran = flowengine("run", tmp_path)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert [word for word in words if word not in ran.stderr] == []


def test_r13_exit_code_3_for_a_taken_port(tmp_path: Path) -> None:
    ticking(tmp_path)
    with socket.create_server((LOOPBACK, 0)) as taken:
        address = f"{LOOPBACK}:{taken.getsockname()[1]}"
        ran = flowengine("run", tmp_path, "--metrics", address)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert address in ran.stderr


def test_exit_code_3_for_a_data_folder_that_cannot_be_one(tmp_path: Path) -> None:
    """F-58, also as root, who may write everywhere."""
    ticking(tmp_path)
    (tmp_path / "file").touch()
    ran = flowengine("run", tmp_path, "--data", tmp_path / "file" / "data")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "--data" in ran.stderr


# --- the data folder


def test_r49_the_data_folder_lies_beside_the_first_flow_closed_to_others(tmp_path: Path) -> None:
    ticking(tmp_path / "a", "a")
    ticking(tmp_path / "b", "b")
    with FlowProcess(tmp_path / "a", tmp_path / "b") as engine:
        engine.argv = [x for x in engine.argv if x not in {"--data", str(engine.data)}]
        engine.kill()
        engine.start()
        engine.until_ready()
        assert stat.S_IMODE((tmp_path / "a" / ".flowengine").stat().st_mode) == 0o700
        assert not (tmp_path / "b" / ".flowengine").exists()


def test_the_variable_names_the_data_folder(tmp_path: Path) -> None:
    flow = ticking(tmp_path / "flows")
    data = tmp_path / "data"
    with FlowProcess(tmp_path / "flows", env={"FLOWENGINE_DATA": str(data)}) as engine:
        engine.kill()
        engine.argv = [*engine.argv[:4], str(flow)]
        engine.start()
        engine.until_ready()
        assert (data / "state.db").exists()


@pytest.mark.parametrize("name", ["state.db", "series.db"])
@pytest.mark.parametrize("damage", [b"", b"no database" * 1000], ids=["empty", "garbage"])
def test_it_starts_with_a_damaged_file(tmp_path: Path, name: str, damage: bytes) -> None:
    """P5: it repairs, says so, and asks nobody to delete anything."""
    ticking(tmp_path)
    data = tmp_path / ".flowengine"
    data.mkdir(mode=0o700)
    (data / name).write_bytes(damage)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        until(lambda: points(data) > 1, what="ticks in the store")
        if damage:
            engine.until_said(name, "damaged")
            assert [p.read_bytes() for p in data.glob(f"{name}*damaged*")] == [damage]


def points(data: Path) -> int:
    try:
        db = sqlite3.connect(f"file:{data / 'series.db'}?mode=ro", uri=True)
        try:
            return int(db.execute("select count(*) from points").fetchone()[0])
        finally:
            db.close()
    except sqlite3.Error:
        return 0


# --- going (R48)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_r48_it_goes_at_once_when_it_is_told(tmp_path: Path, number: signal.Signals) -> None:
    ticking(tmp_path)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        started = time.monotonic()
        engine.process.send_signal(number)
        assert engine.process.wait(10) == 0
        assert time.monotonic() - started < 5


def test_it_goes_before_it_is_ready(tmp_path: Path) -> None:
    broker(tmp_path, free_port())
    with FlowProcess(tmp_path) as engine:
        engine.until_said("connecting:", "nothing listens")
        assert engine.stop() < 5
        assert engine.printed == ""


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where someone accepts connections and never answers."""
    with socket.create_server((LOOPBACK, 0), backlog=16) as server:
        yield server.getsockname()[1]


def to_silence(folder: Path, port: int) -> Path:
    server = {"type": "influxdb.server", "url": f"http://{LOOPBACK}:{port}", "bucket": "b"}
    write = {"type": "influxdb.write", "server": "influx", "measurement": "m"}
    nodes = {**TICK, "write": {**write, "fields": {"v": "payload"}}}
    return write_flow(folder, "silence", nodes, ["tick -> write"], {"influx": server})


def test_a_database_that_never_answers_does_not_hold_it_beyond_5_s(
    tmp_path: Path, silent: int
) -> None:
    to_silence(tmp_path, silent)
    with FlowProcess(tmp_path, "--ready-after", "1s") as engine:
        assert engine.until_ready().endswith("; connecting: influx\n")
        assert engine.stop() < 5


def test_r48_the_second_interrupt_stops_at_once(tmp_path: Path, silent: int) -> None:
    to_silence(tmp_path, silent)
    with FlowProcess(tmp_path, "--ready-after", "1s") as engine:
        engine.until_ready()
        started = time.monotonic()
        engine.process.send_signal(signal.SIGINT)
        with pytest.raises(AssertionError):  # it is at it: the database holds it up
            until(lambda: engine.process.poll() is not None, timeout=0.5)
        engine.process.send_signal(signal.SIGINT)
        assert engine.process.wait(10) == 130
        assert time.monotonic() - started < 2


# --- reload


def limit(folder: Path, above: int) -> Path:
    nodes = {
        **TICK,
        **KEEP,
        "high": {"type": "threshold", "above": above},
        "shown": {"type": "debug", "to": ["log"]},
    }
    return write_flow(folder, "limit", nodes, ["tick -> keep", "tick -> high", "high -> shown"])


@pytest.mark.parametrize("way", ["SIGHUP", "--watch"])
def test_a_changed_flow_is_deployed(tmp_path: Path, way: str) -> None:
    limit(tmp_path, 2)
    with FlowProcess(tmp_path, *(["--watch"] if way == "--watch" else [])) as engine:
        engine.until_ready()
        limit(tmp_path, 0)
        if way == "SIGHUP":
            engine.process.send_signal(signal.SIGHUP)
        said = engine.until_said("limit", "deployed")
        assert "high" in said
        assert "tick" not in said
        assert '"active":true' in engine.until_said("limit/shown", "payload")
        assert len(engine.printed.splitlines()) == 1


def test_a_flow_that_came_and_one_that_went(tmp_path: Path) -> None:
    gone = ticking(tmp_path, "old")
    ticking(tmp_path, "stays")
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        ticking(tmp_path, "new")
        gone.unlink()
        engine.process.send_signal(signal.SIGHUP)
        engine.until_said("new", "deployed")
        engine.until_said("old", "stopped: its file is gone")
        assert "stays: deployed" not in engine.said


def test_a_reload_with_a_fault_leaves_what_runs(tmp_path: Path) -> None:
    limit(tmp_path, 0)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        write_flow(tmp_path, "limit", FAULTY)
        engine.process.send_signal(signal.SIGHUP)
        engine.until_said('no node type "mqt.in"')
        seen = points(engine.data)
        until(lambda: points(engine.data) > seen + 1, what="more ticks")
        limit(tmp_path, 2)
        engine.process.send_signal(signal.SIGHUP)
        engine.until_said("limit", "deployed")


def test_a_reload_without_any_flow_left_is_said(tmp_path: Path) -> None:
    path = ticking(tmp_path)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        path.unlink()
        engine.process.send_signal(signal.SIGHUP)
        engine.until_said("not reloaded", "no flow in")
        assert engine.stop() < 5


# --- what it tells


def test_r47_the_log_as_json(tmp_path: Path) -> None:
    """R47: the same keys in every line."""
    broker(tmp_path, free_port())
    ticking(tmp_path)
    with FlowProcess(tmp_path, "--log", "json", "--ready-after", "1s") as engine:
        engine.until_ready()
        engine.stop()
        lines = [json.loads(line) for line in engine.said.splitlines()]
        keys = {"time", "level", "flow", "node", "what", "mend"}
        assert lines
        assert [line for line in lines if not keys <= line.keys()] == []
        assert {line["level"] for line in lines} <= {"debug", "info", "warning", "error"}
        assert any(line["node"] == "site" and "connect" in line["what"] for line in lines)


def test_r47_metrics_for_prometheus(tmp_path: Path) -> None:
    ticking(tmp_path)
    address = f"{LOOPBACK}:{free_port()}"
    with FlowProcess(tmp_path, "--metrics", address) as engine:
        engine.until_ready()

        def scraped() -> str:
            with httpx.Client(trust_env=False) as client:
                return client.get(f"http://{address}/metrics").raise_for_status().text

        def scrape() -> dict[str, float]:
            text = scraped()
            found = {
                f"{sample.name} {sample.labels.get('node', '')}": sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.labels.get("flow") == "ticks" and sample.value
            }
            return found if found.get("flowengine_written_total keep", 0) > 2 else {}

        found = until(scrape)
        assert found["flowengine_messages_total tick"] >= found["flowengine_written_total keep"]
        labels: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(scraped()):
            for sample in family.samples:
                labels.setdefault(sample.name, set()).update(sample.labels)
        assert labels["flowengine_messages_total"] == {"flow", "node", "output"}
        assert labels["flowengine_dropped_total"] == {"flow", "node", "reason"}
        assert labels["flowengine_wire_depth"] == {"flow", "node"}
        assert found["flowengine_node_up keep"] == 1
        assert found["flowengine_source_received_total tick"] > 2
        assert engine.stop() < 5


def test_systemd_is_told(tmp_path: Path) -> None:
    """sd_notify(3): ready once, alive again and again, stopping."""
    ticking(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(path := str(tmp_path / "notify"))
        listening.settimeout(20)
        told = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}
        with FlowProcess(tmp_path, env=told) as engine:
            heard = [listening.recv(100)]
            while heard.count(b"WATCHDOG=1") < 3 or b"READY=1" not in heard:
                heard.append(listening.recv(100))
            os.kill(engine.process.pid, signal.SIGTERM)
            while heard[-1] != b"STOPPING=1":
                heard.append(listening.recv(100))
            assert engine.process.wait(10) == 0
        assert set(heard) == {b"READY=1", b"WATCHDOG=1", b"STOPPING=1"}
        assert heard.count(b"READY=1") == 1


def test_no_traceback_but_with_debug(tmp_path: Path) -> None:
    flow = write_flow(tmp_path, "broken", {"bad": {"type": "broken.node"}})
    (tmp_path / "sitecustomize.py").write_text(
        "import flowengine.flow\n"
        "def fails(*_): raise RuntimeError('a fault of ours')\n"
        "flowengine.flow.load_flow = fails\n"
    )
    path = f"{tmp_path}{os.pathsep}{Path(__file__).resolve().parents[1]}"
    quiet = flowengine("run", flow, env={"PYTHONPATH": path})
    assert quiet.returncode == 4
    assert "RuntimeError: a fault of ours" in quiet.stderr
    assert "Traceback" not in quiet.stderr
    loud = flowengine("run", flow, "--debug", env={"PYTHONPATH": path})
    assert "Traceback" in loud.stderr
