"""The demo shows a newcomer live values within seconds, lets them take part, and ends at once."""

import argparse
import contextlib
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowengine import Message
from flowengine.commands import demo
from flowengine.errors import UsageError
from flowengine.table import MOST_ROWS, Board, Screen

CODE = (
    "import argparse; from flowengine.commands import demo; p = argparse.ArgumentParser();"
    "demo.add_arguments(p); raise SystemExit(demo.command(p.parse_args()))"
)


class Clock:
    """Seconds that are told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def plain(text: str, _colour: str) -> str:
    return text


def reading(device: str, temperature: Any = 21.0, **meta: Any) -> Message:
    return Message({"temperature": temperature}, "", 0, device, meta)


def picture(data: str) -> list[str]:
    """What a terminal shows of what was written: only moving up and clearing is known."""
    lines: list[str] = []
    for part in re.split(r"(\x1b\[\d+A\x1b\[J)", data):
        up = re.fullmatch(r"\x1b\[(\d+)A\x1b\[J", part)
        if up:
            lines = lines[: len(lines) - int(up[1])]
        else:
            lines += part.replace("\r", "").split("\n")[:-1]
    return [re.sub(r"\x1b\[\d*m", "", line) for line in lines]


# --- the table


def test_shows_each_device_with_value_unit_rate_and_alarm() -> None:
    clock = Clock()
    board = Board(clock)
    values, raised = board.values("temperature", "°C"), board.alarms("too warm", raised=True)
    switched = board.switches("siren")
    for second in range(10):
        clock.now = 100.0 + second
        values([reading("north", 4.25), *[reading("south", 9.5)] * 2])
        board.lines(80, plain)
        if second == 7:
            raised([reading("south")])
            switched([reading("south", state="on")])
    board.note("cloud", "80 % saved")
    assert board.lines(80, plain) == [
        "  device  last  unit  msg/s  alarm",
        "  north   4.25  °C      1.0",
        "  south   9.50  °C      2.0  too warm for 2 s, siren on",
        "",
        "  80 % saved",
    ]
    assert (board.first, board.messages) == (0.0, 30)


def test_ends_an_alarm_when_it_is_over() -> None:
    board = Board(Clock())
    board.values("temperature", "°C")([reading("a")])
    board.alarms("hot", raised=True)([reading("a")])
    board.switches("fan")([reading("a", state="on")])
    assert "hot for 0 s, fan on" in board.line()
    board.alarms("hot", raised=False)([reading("a")])
    board.switches("fan")([reading("a", state="off")])
    assert board.line() == "    0 s  a 21.00 °C 0.0/s"


@pytest.mark.parametrize(
    ("value", "shown"), [(21, "21"), (None, "-"), ("warm", "warm"), (True, "True"), ({}, "{}")]
)
def test_shows_a_value_of_any_kind(value: Any, shown: str) -> None:
    board = Board(Clock())
    board.values("temperature", "")([reading("a", value)])
    assert board.lines(80, plain)[1].split()[1] == shown


def test_shows_a_payload_that_is_no_map_as_nothing() -> None:
    board = Board(Clock())
    board.values("temperature", "")([Message("hello", "", 0, "a")])
    assert board.lines(80, plain)[1].split()[1] == "-"


def test_lets_no_device_write_to_the_terminal_by_its_name() -> None:
    board = Board(Clock())
    board.values("temperature", "")([reading("a\x1b[2Jb\nc", "\x1b[0m\x07")])
    assert [line for line in board.lines(80, plain) if not line.isprintable()] == []


def test_is_no_wider_and_no_longer_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(Clock())
    board.values("temperature", "°C")([reading(f"device-{n:09}") for n in range(40)])
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("LINES", "12")
    terminal = Terminal()
    Screen(board, terminal).draw()
    shown = picture(terminal.getvalue())
    assert len(shown) <= 10
    assert max(map(len, shown)) < 30
    assert "  and 20 more devices" in board.lines(80, plain)


def test_forgets_no_one_and_grows_no_further_than_it_may() -> None:
    board = Board(Clock())
    board.values("temperature", "")([reading(f"d{n}") for n in range(MOST_ROWS + 50)])
    assert len(board.rows) == MOST_ROWS


def test_draws_again_in_place_and_keeps_what_is_said_above() -> None:
    board, terminal = Board(Clock()), Terminal()
    screen = Screen(board, terminal)
    tap = board.values("temperature", "°C")
    tap([reading("a", 1.0)])
    screen.draw()
    screen.say("the broker is away")
    screen.draw()
    tap([reading("a", 2.0), reading("b", 3.0)])
    screen.draw()
    lines = picture(terminal.getvalue())
    assert lines[0] == "the broker is away"
    assert [line.split()[:2] for line in lines[2:4]] == [["a", "2.00"], ["b", "3.00"]]
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("name", "coloured"), [("FORCE", True), ("NO_COLOR", False)], ids=["a terminal", "NO_COLOR"]
)
def test_colours_an_alarm_unless_nobody_wants_it(
    name: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, "1")
    board, terminal = Board(Clock()), Terminal()
    board.alarms("hot", raised=True)([reading("a")])
    Screen(board, terminal).draw()
    assert ("\x1b[31m" in terminal.getvalue()) is coloured
    assert "hot for 0 s" in terminal.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal], ids=["a file", "a dumb terminal"])
def test_writes_plain_lines_where_nothing_can_be_redrawn(
    stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    board, out = Board(Clock()), stream()
    board.values("temperature", "°C")([reading("a", 1.5)])
    screen = Screen(board, out)
    screen.draw()
    screen.draw()
    assert out.getvalue() == "    0 s  a 1.50 °C 0.0/s\n" * 2


# --- the command


@pytest.mark.parametrize(
    ("given", "words"), [(["--port", "65536"], "65535"), (["--seconds", "0"], "more than 0")]
)
def test_refuses_what_cannot_be(given: list[str], words: str) -> None:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    with pytest.raises(UsageError) as caught:
        demo.command(parser.parse_args(given))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("port", "wanted", "is_taken"), [(1883, 1883, False), (40123, 1883, True), (40123, 0, False)]
)
def test_says_how_to_take_part_with_the_right_port(port: int, wanted: int, is_taken: bool) -> None:
    text = demo.greeting(port, wanted, Path("data"))
    assert f"mosquitto_pub -p {port} -t device/attic/telemetry" in text
    assert f"127.0.0.1:{port}" in text
    assert ("port 1883 is taken" in text) is is_taken
    assert max(map(len, text.splitlines())) <= 100


def test_names_nodes_that_its_flows_have() -> None:
    """A flow that is changed without the demo would leave columns of the table empty."""
    from flowengine.flow import load_flow  # noqa: PLC0415
    from flowengine.registry import REGISTRY  # noqa: PLC0415

    folder = Path(str(demo.importlib.resources.files("flowengine.flows")))  # type: ignore[attr-defined]
    flows = {name: load_flow(folder / f"{name}.json")[0] for name in demo.FLOWS}
    for watched in demo.WATCHED:
        flow = flows[watched.flow]
        assert flow is not None
        assert REGISTRY.find(flow.nodes[watched.source].type).kind == "source"
        assert flow.nodes[watched.alarm].type == "threshold"
        assert flow.nodes[watched.actuator].type == "actuator.switch"
    edge = flows["edge-pipeline"]
    assert edge is not None
    assert "share" in edge.nodes
    for setting in demo.SETTINGS:
        flow_id, _, param = setting.partition("=")[0].partition(".")
        found = flows[flow_id]
        assert found is not None
        assert param in found.params


def test_shows_values_and_ends_by_itself(tmp_path: Path) -> None:
    started = time.monotonic()
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            CODE,
            "--port",
            "0",
            "--seconds",
            "4",
            "--data",
            str(tmp_path / "d"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "MQTT_HOST": "192.0.2.1"},
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert re.search(
        r"^ready: 3 flows, \d+ nodes, \d+ connections in .* s$", ran.stdout, re.MULTILINE
    )
    assert re.search(r" s  .*north \d+\.\d\d °C \d\.\d/s", ran.stdout)
    assert re.search(r"^stopped after \d+ s: \d+ readings of 5 devices", ran.stdout, re.MULTILINE)
    first = re.search(r"the first after (\d+\.\d) s", ran.stdout)
    assert first is not None
    assert float(first[1]) < 30  # what is promised; on a quiet machine it is under a second
    assert time.monotonic() - started < 60
    assert (tmp_path / "d" / "state.db").exists()


@contextlib.contextmanager
def on_a_terminal(*given: str) -> Iterator[tuple[int, int]]:
    """The demo on a pseudo-terminal: its pid, and the terminal's other end."""
    pid, end = pty.fork()
    if pid == 0:  # pragma: no cover  # the child is another program at once
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", CODE, *given])  # noqa: S606
    guard = threading.Timer(90, os.kill, (pid, signal.SIGKILL))
    guard.start()
    try:
        yield pid, end
    finally:
        guard.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(end)


def read_until(end: int, words: str, data: str) -> str:
    """Read the terminal until it was sent these words, or nothing more comes."""
    while words not in data:
        if not select.select([end], [], [], 60)[0]:
            raise AssertionError(f"no {words!r} in {data[-500:]!r}")
        try:
            more = os.read(end, 65536)
        except OSError:  # Linux answers EIO once the other side is closed
            return data
        data += more.decode(errors="replace")
    return data


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_redraws_on_a_terminal_and_ends_cleanly_with_ctrl_c() -> None:
    with on_a_terminal("--port", "0") as (pid, end):
        data = read_until(end, "\x1b[J", read_until(end, "north", ""))
        pressed = time.monotonic()
        os.write(end, b"\x03")
        data = read_until(end, "never said", data)
        _, status = os.waitpid(pid, 0)
        took = time.monotonic() - pressed
    lines = picture(data)
    assert os.waitstatus_to_exitcode(status) == 0
    assert took < 5
    assert lines[-1].startswith("stopped after")
    assert sum(line.startswith("  device ") for line in lines) == 1
    assert "Traceback" not in data
