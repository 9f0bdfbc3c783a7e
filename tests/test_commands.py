"""The small commands show and keep what a box has, and give away no secret."""

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from flowengine.bundle import bundle, unbundled
from flowengine.commands.folder import printable
from flowengine.errors import FindingsError
from flowengine.flow import parse_flow
from flowengine.flow.model import slug_of
from flowengine.nodes.series.store import Point, SeriesStore, tags_text
from tests.flow_process import FlowProcess, environment, flowengine, write_flow
from tests.flow_texts import FLOW_TEXTS
from tests.system.real import find, need, until

VALUE = "s3cret-välue"
BROKER = {
    "site": {"type": "mqtt.broker", "host": "localhost", "password": {"$secret": "site-mqtt"}}
}
READS = {"reads": {"type": "mqtt.in", "broker": "site", "topic": "a/+"}}
TICKS = {
    "tick": {"type": "timer.tick", "every": "50ms", "payload": {"t": 21.5, "door": "open"}},
    "keep": {"type": "series.write", "series": "room", "tags": {"site": "'a'"}},
    "bad": {"type": "scale", "factor": 2},
}


# --- secrets


def test_a_secret_is_stored_listed_and_removed_and_never_shown(tmp_path: Path) -> None:
    at = ("--data", tmp_path / "data")
    stored = flowengine("secrets", "set", "site-mqtt", *at, stdin=f"{VALUE}\n".encode())
    assert (stored.returncode, stored.stderr) == (0, "")
    assert stored.stdout == f"stored site-mqtt in {tmp_path / 'data' / 'secrets.json'}\n"
    listed = flowengine("secrets", "list", *at)
    assert listed.stdout == "site-mqtt\n"
    as_json = flowengine("secrets", "list", "--json", *at)
    assert json.loads(as_json.stdout) == {"name": "site-mqtt", "home": "store"}
    rotated = flowengine("secrets", "rotate", *at)
    assert rotated.stdout == "1 secret encrypted under a new key\n"
    texts = [ran.stdout + ran.stderr for ran in (stored, listed, as_json, rotated)]
    texts += [path.read_text() for path in (tmp_path / "data").iterdir()]
    assert [text for text in texts if VALUE in text] == []
    assert flowengine("secrets", "remove", "site-mqtt", *at).returncode == 0
    assert flowengine("secrets", "list", *at).stdout == ""
    again = flowengine("secrets", "remove", "site-mqtt", *at)
    assert again.returncode == 2
    assert 'no secret "site-mqtt"' in again.stderr


def test_a_stored_secret_reaches_the_flow(tmp_path: Path) -> None:
    write_flow(tmp_path, "site-flow", READS, connections=BROKER)
    assert flowengine("secrets", "missing", tmp_path).returncode == 1
    at = ("--data", tmp_path / ".flowengine")
    flowengine("secrets", "set", "site-mqtt", *at, stdin=VALUE.encode())
    assert flowengine("secrets", "missing", tmp_path).returncode == 0
    with FlowProcess(tmp_path, "--ready-after", "100ms") as engine:
        engine.until_ready()


def test_a_value_as_an_argument_is_refused_and_not_repeated(tmp_path: Path) -> None:
    ran = flowengine("secrets", "set", "site-mqtt", VALUE, "--data", tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "never an argument" in ran.stderr
    assert VALUE not in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("stdin", "words"), [(b"", "empty"), (b"\n", "empty"), (b"\xff\xfe", "UTF-8")]
)
def test_what_is_no_value_is_refused(tmp_path: Path, stdin: bytes, words: str) -> None:
    ran = flowengine("secrets", "set", "a", "--data", tmp_path, stdin=stdin)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [((VALUE, VALUE), 0, "stored site-mqtt"), ((VALUE, "other"), 2, "the two differ")],
)
def test_a_value_is_typed_twice_without_an_echo(
    tmp_path: Path, typed: tuple[str, str], code: int, words: str
) -> None:
    master, slave = pty.openpty()
    argv = [sys.executable, "-m", "flowengine", "secrets", "set", "site-mqtt"]
    ran = subprocess.Popen(
        [*argv, "--data", str(tmp_path)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(),
        start_new_session=True,
        preexec_fn=_own_terminal,  # noqa: PLW1509  # no thread runs in this test
    )
    os.close(slave)
    shown = b""
    try:
        for number, text in enumerate(typed):
            while shown.count(b": ") <= number:
                shown += os.read(master, 1000)
            os.write(master, f"{text}\n".encode())
        while True:
            shown += os.read(master, 1000)
    except OSError:  # EIO: it has ended
        pass
    finally:
        os.close(master)
        assert ran.wait(20) == code
    assert words in shown.decode()
    assert VALUE not in shown.decode()


def _own_terminal() -> None:
    """Make stdin the controlling terminal, which getpass opens."""
    import fcntl  # noqa: PLC0415
    import termios  # noqa: PLC0415

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_what_comes_first_is_said(tmp_path: Path) -> None:
    given = {"FLOWENGINE_SECRET_SITE_MQTT": "other"}
    at = ("--data", tmp_path)
    ran = flowengine("secrets", "set", "site-mqtt", *at, stdin=VALUE.encode(), env=given)
    assert "FLOWENGINE_SECRET_SITE_MQTT is set, too, and comes first" in ran.stderr
    listed = flowengine("secrets", "list", *at, env=given)
    assert listed.stdout == "site-mqtt  (taken from the environment)\n"


def test_missing_names_each_secret_and_where_it_is_used(tmp_path: Path) -> None:
    write_flow(tmp_path, "a", READS, connections=BROKER)
    other = {"site": {**BROKER["site"], "password": {"$secret": "there"}}}
    write_flow(tmp_path, "b", READS, connections=other)
    given = {"FLOWENGINE_SECRET_THERE": "x"}
    ran = flowengine("secrets", "missing", tmp_path, env=given)
    assert ran.returncode == 1
    assert ran.stdout.startswith("site-mqtt\n")
    assert 'a.json:1: connection "site": config.password' in ran.stdout
    assert "there" not in ran.stdout.replace(str(tmp_path), "")
    assert f"flowengine secrets set site-mqtt --data {tmp_path / '.flowengine'}" in ran.stderr
    as_json = flowengine("secrets", "missing", tmp_path, "--json", env=given)
    assert json.loads(as_json.stdout)["name"] == "site-mqtt"
    assert as_json.stderr == ""


def test_missing_does_not_guess_at_a_broken_flow(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"format": 1, "nodes": ')
    assert flowengine("secrets", "missing", tmp_path).returncode == 1


# --- which data folder


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([".flowengine/"], ".flowengine"),
        (["flows/.flowengine/"], "flows/.flowengine"),
        (["a.json"], ".flowengine"),
        (["flows/a.json"], "flows/.flowengine"),
        (["a.json", "flows/.flowengine/"], "flows/.flowengine"),
        ([], None),
        ([".flowengine/", "flows/.flowengine/"], None),
    ],
)
def test_the_data_folder_of_run_is_found(
    tmp_path: Path, there: list[str], expected: str | None
) -> None:
    for name in there:
        place = tmp_path / name
        (place if name.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            place.write_text("{}")
    ran = flowengine("secrets", "set", "a", cwd=tmp_path, stdin=b"x")
    if expected is None:
        assert ran.returncode == 2
        assert "Give --data DIR" in ran.stderr
    else:
        assert ran.stdout == f"stored a in {expected}/secrets.json\n"


# --- series and quarantine, beside a running engine


def test_r32_series_and_quarantine_beside_a_running_engine(tmp_path: Path) -> None:
    write_flow(tmp_path, "room", TICKS, ["tick -> keep", "tick -> bad"])
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        at = ("--data", engine.data)

        def lines(*args: object) -> list[Any]:
            ran = flowengine(*args, "--json", *at)
            return [json.loads(line) for line in ran.stdout.splitlines()]

        until(lambda: len(lines("series", "export", "room")) > 5, what="five points")
        until(lambda: len(lines("quarantine", "list")) > 2, what="three in quarantine")
        for row in lines("series", "export", "room"):
            assert set(row) == {"series", "tags", "time", "field", "value"}
            assert (row["series"], row["tags"]) == ("room", {"site": "a"})
            assert row["value"] == {"t": 21.5, "door": "open"}[row["field"]]
        assert {row["field"] for row in lines("series", "list")} == {"t", "door"}
        first = lines("quarantine", "list")[0]
        assert set(first) == {"id", "flow", "node", "time", "slug", "what", "message"}
        assert (first["flow"], first["node"], first["slug"]) == ("room", "bad", "not-a-number")
        assert first["message"]["payload"] == {"t": 21.5, "door": "open"}
        shown = flowengine("quarantine", "show", first["id"], *at)
        assert json.loads(shown.stdout) == first
        assert flowengine("quarantine", "drop", first["id"], *at).stderr == "dropped 1 message\n"
        assert first not in lines("quarantine", "list")
        assert "Traceback" not in engine.said
        engine.stop()
        # The engine is gone: the same commands read the files it left.
        assert len(lines("series", "export", "room")) > 5
        assert flowengine("quarantine", "drop", "--all", *at).returncode == 0
        assert lines("quarantine", "list") == []


def store(folder: Path) -> Path:
    """A series store with three points of two devices, the last on 2026-01-01T00:00:02Z."""
    opened = SeriesStore(folder / "series.db", keep=10**18)
    start = 1_767_225_600_000_000_000
    for number, device in enumerate(["a", "b\x1b[31m", "a"]):
        tags = tags_text({"device": device})
        opened.write([Point("room", tags, "t", start + number * 10**9, 20.5 + number)])
    opened.close()
    return folder


@pytest.mark.parametrize(
    ("args", "values"),
    [
        ([], [20.5, 22.5, 21.5]),
        (["--since", "2026-01-01T00:00:01Z"], [22.5, 21.5]),
        (["--until", "2026-01-01T00:00:01Z"], [20.5]),
        (["--since", "2026-01-01T02:00:00+02:00", "--until", "2026-01-01T00:00:02Z"], [20.5, 21.5]),
        (["--since", "1h"], []),
        (["--until", "1s"], [20.5, 22.5, 21.5]),
    ],
)
def test_r32_export_of_a_time(tmp_path: Path, args: list[str], values: list[float]) -> None:
    ran = flowengine("series", "export", "room", "--json", *args, "--data", store(tmp_path))
    assert ran.returncode == 0
    assert [json.loads(line)["value"] for line in ran.stdout.splitlines()] == values
    assert bool(ran.stderr) is not bool(values)


def test_what_people_read_holds_no_control_character(tmp_path: Path) -> None:
    at = ("--data", store(tmp_path))
    exported = flowengine("series", "export", "room", *at).stdout
    listed = flowengine("series", "list", *at).stdout
    assert exported.startswith("2026-01-01T00:00:00Z  t  device=a  20.5\n")
    assert r"device=b\x1b[31m" in exported
    assert "room.t  device=a  2 points  2026-01-01T00:00:00Z to 2026-01-01T00:00:02Z\n" in listed
    assert "\x1b" not in exported + listed
    assert printable("a\n\t\x07\u202eb é") == r"a\n\t\x07\u202eb é"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["series", "export", "rom"], ['no series "rom"', 'Did you mean "room"?']),
        (["series", "export", "room", "--since", "yesterday"], ["--since", "yesterday"]),
        (["series", "list", "--data", "nowhere"], ["nowhere/series.db", "--data DIR"]),
        (["quarantine", "list"], ["state.db", "--data DIR"]),
        (["quarantine"], ["ACTION"]),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, args: list[str], words: list[str]) -> None:
    store(tmp_path)
    ran = flowengine(*args, cwd=tmp_path, env={"FLOWENGINE_DATA": str(tmp_path)})
    assert (ran.returncode, ran.stdout) == (2, "")
    assert [word for word in words if word not in ran.stderr] == []


def quarantined(folder: Path) -> Path:
    db = sqlite3.connect(folder / "state.db")
    db.execute(
        "create table quarantine (id integer primary key, flow, node, time, slug, what, message)"
    )
    message = json.dumps({"payload": "\x1b[31m"})
    for flow in ("a", "b", "a"):
        row = (flow, "n", 0, "not-json", "\x1b[31m is no JSON", message)
        db.execute(
            "insert into quarantine (flow, node, time, slug, what, message)"
            " values (?, ?, ?, ?, ?, ?)",
            row,
        )
    db.commit()
    db.close()
    return folder


@pytest.mark.parametrize(
    ("args", "code", "left"),
    [
        (["2"], 0, [1, 3]),
        (["1", "3"], 0, [2]),
        (["--all"], 0, []),
        (["--all", "--flow", "a"], 0, [2]),
        ([], 2, [1, 2, 3]),
        (["--flow", "a"], 2, [1, 2, 3]),
        (["1", "--all"], 2, [1, 2, 3]),
        (["1", "9"], 2, [1, 2, 3]),
    ],
)
def test_drop_drops_what_it_was_told(
    tmp_path: Path, args: list[str], code: int, left: list[int]
) -> None:
    at = ("--data", quarantined(tmp_path))
    assert flowengine("quarantine", "drop", *args, *at).returncode == code
    listed = flowengine("quarantine", "list", "--json", *at).stdout.splitlines()
    assert [json.loads(line)["id"] for line in listed] == left


def test_quarantine_shows_no_control_character(tmp_path: Path) -> None:
    at = ("--data", quarantined(tmp_path))
    listed = flowengine("quarantine", "list", "--flow", "b", *at)
    assert listed.stdout == "2  1970-01-01T00:00:00Z  b/n  not-json  \\x1b[31m is no JSON\n"
    assert "\x1b" not in flowengine("quarantine", "show", "1", "2", *at).stdout


# --- export and import


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FLOW_TEXTS)
def test_a_bundle_taken_apart_is_the_flow_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cold-room.json"
    path.write_text(text)
    flow, findings = parse_flow(text, flow_id="cold-room")
    if flow is None or not flow.whole or any(f.severity == "error" for f in findings):
        with pytest.raises(FindingsError):
            bundle(path)
        return
    one = bundle(path)
    taken, _ = parse_flow(one, flow_id="cold-room")
    assert taken is not None
    for place, part in unbundled(taken, path).items():
        place.write_text(part)
    try:
        assert bundle(path) == one
    finally:
        for place in tmp_path.glob("cold-room*"):
            place.unlink()


def test_export_and_import_carry_layout_tests_and_shared_connections(tmp_path: Path) -> None:
    flows = tmp_path / "flows"
    write_flow(flows, "cold-room", {**READS, **TICKS}, ["tick -> keep", "reads -> bad"])
    config = {key: value for key, value in BROKER["site"].items() if key != "type"}
    shared = {key: {"type": "mqtt.broker", "config": config} for key in ("site", "unused")}
    (flows / "connections.json").write_text(json.dumps({"format": 1, "connections": shared}))
    layout = {"format": 1, "nodes": {"tick": [40, 120]}}
    (flows / "cold-room.layout.json").write_text(json.dumps(layout))
    tests = {"format": 1, "tests": [{"name": "quiet", "expect": {"keep": []}}]}
    (flows / "cold-room.test.json").write_text(json.dumps(tests))
    file = tmp_path / "cold-room.bundle.json"
    ran = flowengine("export", flows / "cold-room.json", "--bundle", "-o", file)
    assert (ran.returncode, ran.stdout) == (0, f"wrote {file}\n")
    held = json.loads(file.read_text())
    assert list(held["connections"]) == ["site"]
    assert held["layout"] == layout["nodes"]
    assert held["tests"] == tests["tests"]
    printed = flowengine("export", flows / "cold-room.json", "--bundle")
    assert printed.stdout == file.read_text()
    assert flowengine("check", file, cwd=tmp_path).returncode in {0, 1}
    (new := tmp_path / "new").mkdir()
    ran = flowengine("import", file, "--to", new)
    assert ran.returncode == 0
    assert "cold-room: 4 nodes: mqtt.in, scale, series.write, timer.tick" in ran.stderr
    assert "needs the secret site-mqtt" in ran.stderr
    assert json.loads((new / "cold-room.layout.json").read_text()) == layout
    assert json.loads((new / "cold-room.test.json").read_text()) == tests
    assert flowengine("fmt", "--check", new).returncode == 0
    assert bundle(new / "cold-room.json") == file.read_text()


def test_import_replaces_nothing_unasked(tmp_path: Path) -> None:
    file = tmp_path / "a.bundle.json"
    write_flow(tmp_path, "a", TICKS, ["tick -> keep", "tick -> bad"])
    file.write_text(bundle(tmp_path / "a.json"))
    (tmp_path / "a.json").write_text("mine")
    ran = flowengine("import", file, "--to", tmp_path)
    assert ran.returncode == 2
    assert "there already" in ran.stderr
    assert (tmp_path / "a.json").read_text() == "mine"
    assert flowengine("import", file, "--to", tmp_path, "--id", "b").returncode == 0
    assert flowengine("import", file, "--to", tmp_path, "--force").returncode == 0
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()


@pytest.mark.parametrize(
    ("name", "text", "code", "words"),
    [
        ("a.json", '{"format": 1, "nodes": {}, "nodes": {}}', 1, "nodes"),
        ("a.json", "[]", 1, ""),
        ("a.json", '{"format": 99, "nodes": {}}', 1, "99"),
        ("../b.json", None, 1, "b.json"),
        ("Cold Room.json", '{"format": 1, "nodes": {}}', 2, "--id cold-room"),
    ],
)
def test_import_of_what_is_no_flow_writes_nothing(
    tmp_path: Path, name: str, text: str | None, code: int, words: str
) -> None:
    (folder := tmp_path / "in").mkdir()
    (out := tmp_path / "out").mkdir()
    if text is not None:
        (folder / name).write_text(text)
    ran = flowengine("import", folder / name, "--to", out)
    assert ran.returncode == code
    assert words in ran.stderr
    assert list(out.iterdir()) == []


def test_export_says_what_it_can_do(tmp_path: Path) -> None:
    path = write_flow(tmp_path, "a", TICKS)
    assert "--bundle" in flowengine("export", path).stderr
    assert flowengine("export", path).returncode == 2
    assert flowengine("export", tmp_path / "b.json", "--bundle").returncode == 2
    path.write_text("{")
    assert flowengine("export", path, "--bundle").returncode == 1


# --- systemd


def unit(*args: object) -> str:
    ran = flowengine("systemd", *args)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_unit_runs_these_flows_with_their_secrets(tmp_path: Path) -> None:
    write_flow(tmp_path, "a", READS, connections=BROKER, title="Cold 50% room")
    text = unit(tmp_path, "--name", "site-a", "--metrics", "127.0.0.1:9100")
    lines = text.splitlines()
    assert "Type=notify" in lines
    assert "WatchdogSec=30" in lines
    assert "Description=flowengine: Cold 50%% room" in lines
    assert "LoadCredential=site-mqtt:/etc/flowengine/credentials/site-mqtt" in lines
    assert "StateDirectory=site-a" in lines
    [command] = [line for line in lines if line.startswith("ExecStart=")]
    assert command.startswith(f"ExecStart={sys.executable} -m flowengine run {tmp_path} ")
    assert "--data %S/site-a" in command
    assert command.endswith("--metrics 127.0.0.1:9100")


@pytest.mark.parametrize(
    ("types", "line"),
    [
        (["scale"], "PrivateDevices=yes"),
        (["serial.in", "gpio.out"], "SupplementaryGroups=dialout gpio"),
        (["modbus.serial"], "DeviceAllow=char-ttyUSB rw"),
        (["scale"], "ProcSubset=pid"),
        (["python"], "SystemCallFilter=~@privileged"),
        (["scale"], "SystemCallFilter=~@privileged @resources"),
    ],
)
def test_the_unit_gives_what_the_flows_need_and_no_more(
    tmp_path: Path, types: list[str], line: str
) -> None:
    write_flow(tmp_path, "a", {slug_of(kind): {"type": kind} for kind in types})
    assert line in unit(tmp_path).splitlines()


def test_a_unit_for_the_sensor_of_this_machine_sees_the_machine(tmp_path: Path) -> None:
    write_flow(tmp_path, "a", {"s": {"type": "sensor.system"}})
    assert "ProcSubset" not in unit(tmp_path)


def test_odd_names_in_paths_are_quoted(tmp_path: Path) -> None:
    write_flow(tmp_path / 'a "b" $c %d', "a", TICKS)
    [command] = re.findall("^ExecStart=.*$", unit(tmp_path / 'a "b" $c %d'), re.MULTILINE)
    assert f'"{tmp_path}/a \\"b\\" $$c %%d"' in command


@pytest.mark.skipif(find("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_s70_systemd_finds_the_unit_sound_and_closed(tmp_path: Path) -> None:
    """Exposure 2.0 at most, of 10."""
    write_flow(tmp_path / "flows", "a", {**READS, **TICKS}, connections=BROKER)
    path = tmp_path / "flowengine.service"
    path.write_text(unit(tmp_path / "flows"))
    analyze = need("systemd-analyze")
    verify = subprocess.run(
        [analyze, "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert (verify.returncode, verify.stdout + verify.stderr) == (0, "")
    security = subprocess.run(
        [analyze, "security", "--offline=yes", "--threshold=20", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert security.returncode == 0, security.stdout[-200:]


@pytest.mark.parametrize(
    ("args", "code"), [(["nowhere"], 2), (["empty"], 2), ([".", "--name", "a b"], 2)]
)
def test_no_unit_for_what_is_no_flow(tmp_path: Path, args: list[str], code: int) -> None:
    write_flow(tmp_path, "a", TICKS)
    (tmp_path / "empty").mkdir()
    assert flowengine("systemd", *args, cwd=tmp_path).returncode == code
