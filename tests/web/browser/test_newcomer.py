"""The first minute: a newcomer starts the demo, opens its one link and sees numbers move."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from flowengine.commands import serve_demo
from flowengine.commands.listening import Place
from tests.flow_process import environment
from tests.system.real import until
from tests.web.browser.desk import READY, Desk

MOST_CLICKS = 2
MOST_SECONDS = 30.0
LINK = re.compile(r"^  (http://127\.0\.0\.1:\d+/\S+)$", re.MULTILINE)
WIRE = "readings -> plausible"
READING = re.compile(r'"temperature":(-?\d+(\.\d+)?)')
ON_THE_WIRE = "flowengine.now.values.get('readings.out')?.text"
INK = """([x, y]) => { const box = flowengine.view.element.getBoundingClientRect();
  const canvas = document.getElementById('flowing'), sharp = canvas.width / box.width;
  const at = [x - box.left - 20, y - box.top - 12, 40, 24].map((each) => Math.round(each * sharp));
  const points = canvas.hidden ? [] : canvas.getContext('2d').getImageData(...at).data;
  return new Set(points.filter((_, i) => i % 4 !== 3)).size; }"""
"""How many shades the figures of a wire have: none where there are no figures."""


class Demo:
    """`flowengine serve --demo` as `make run` starts it; ended with the block."""

    def __init__(self, folder: Path, *args: str) -> None:
        self.out, self.err = folder / "out.log", folder / "err.log"
        argv = [sys.executable, "-m", "flowengine", "serve", "--demo"]
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [*argv, "--data", str(folder / "demo"), *args],
                stdout=out,
                stderr=err,
                cwd=folder,
                env=environment(DISPLAY=":0"),
            )

    def __enter__(self) -> Self:
        """Wait until it has said all."""
        self.said = until(self._whole, 60, "the end of the greeting")
        return self

    def _whole(self) -> str:
        assert self.process.poll() is None, self.err.read_text()
        text = self.out.read_text()
        return text if "Ctrl+C" in text else ""

    @property
    def link(self) -> str:
        """The one line that is an address and nothing else."""
        (found,) = LINK.findall(self.said)
        return str(found)

    def stop(self) -> None:
        """Press Ctrl+C; it must end by itself, soon and in order."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(10) == 0
        assert "Traceback" not in self.err.read_text()

    def __exit__(self, *_: object) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def test_a_number_is_on_a_wire_after_two_clicks_and_half_a_minute_at_most(
    tmp_path: Path, enter: Callable[..., Desk]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with Demo(tmp_path, "--port", str(port)) as demo:
            assert f"(port {port} is taken)" in demo.said
            desk = enter(re.sub(r"(:\d+)/.*", r"\1", demo.link))
            page, clicks, began = desk.page, 0, time.monotonic()
            page.goto(demo.link)
            page.wait_for_selector(READY)
            desk.until(ON_THE_WIRE)
            first = page.evaluate(ON_THE_WIRE)
            assert READING.search(first)
            place = desk.on_wire(WIRE)
            assert until(lambda: page.evaluate(INK, list(place)) > 10, 5, "figures on the wire")
            desk.until(f"{ON_THE_WIRE} !== {json.dumps(first)}", MOST_SECONDS)
            moved = time.monotonic() - began
            assert clicks == 0
            page.mouse.click(*place)
            clicks += 1
            page.click("#tab-data")
            clicks += 1
            page.wait_for_selector("#inspector-body .json .number")
            assert clicks <= MOST_CLICKS
            assert moved < MOST_SECONDS
            assert "first=" not in page.url
            demo.stop()


def test_what_was_changed_is_kept_and_the_next_start_prints_a_new_link(tmp_path: Path) -> None:
    with Demo(tmp_path, "--port", "0") as demo:
        first = demo.link
        flow = tmp_path / "demo" / "flows" / "cold-room.json"
        flow.write_text(flow.read_text().replace('"Cold room"', '"My cold room"'))
        demo.stop()
    with Demo(tmp_path, "--port", "0") as demo:
        assert demo.link.partition("#")[2] != first.partition("#")[2]
        assert "#first=" in demo.link
        assert '"My cold room"' in flow.read_text()
        demo.stop()


@pytest.mark.parametrize(
    ("names", "at_terminal", "found"),
    [
        ({"DISPLAY": ":0"}, True, "/bin/xdg-open"),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True, "/bin/xdg-open"),
        ({}, True, None),
        ({"DISPLAY": ":0"}, False, None),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "::1 1 ::1 22"}, True, None),
        ({"DISPLAY": ":0", "CI": "true"}, True, None),
    ],
    ids=["X11", "Wayland", "a console", "not a terminal", "over ssh", "in CI"],
)
def test_a_browser_is_opened_on_a_desktop_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, str], at_terminal: bool, found: str | None
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("sys.stdout.isatty", lambda: at_terminal)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    assert serve_demo.desktop_opener() == found


def test_the_browser_is_told_the_link_by_a_file_for_this_person_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opener = tmp_path / "opener"
    opener.write_text('#!/bin/sh\nprintf %s "$*" > "$0.args"\n')
    opener.chmod(0o700)
    monkeypatch.setattr(serve_demo, "desktop_opener", lambda: str(opener))
    serve_demo.open_browser("http://127.0.0.1:1/login?next=/a&b#first=XYZZY", tmp_path)
    asked = tmp_path / "opener.args"
    given = until(lambda: asked.read_text() if asked.exists() else "", 10, "the opener's argument")
    page = Path(given)
    assert "XYZZY" not in given
    assert page.stat().st_mode & 0o077 == 0
    assert "url=http://127.0.0.1:1/login?next=/a&amp;b#first=XYZZY" in page.read_text()


def test_a_browser_that_cannot_be_opened_is_no_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(serve_demo, "desktop_opener", lambda: str(tmp_path / "gone"))
    serve_demo.open_browser("http://127.0.0.1:1/", tmp_path)


def test_who_has_a_password_is_told_so(tmp_path: Path) -> None:
    with socket.socket() as listening:
        place = Place(host="127.0.0.1", port=8850, listening=listening)
        said = serve_demo.greeting(place, 8850, 1883, None, tmp_path / "flows")
    assert LINK.findall(said) == ["http://127.0.0.1:8850/flows/cold-room"]
    assert f"flowengine users add admin --role admin --data {tmp_path}" in said
