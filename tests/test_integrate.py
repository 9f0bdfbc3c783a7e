"""An integrator who types what `integrate.md` says gets from an empty folder to a running box."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow_process import environment, flowengine
from tests.system.real import until
from tests.test_help import BLOCK, PAGES

PAGE = PAGES["integrate.md"]
STARTED = {("serve", "flows")}
"""What runs until it is stopped, and is tried by tests of its own."""
BOXED = ("sudo ", "git pull")
"""What needs a box with systemd, or a server with the repository."""


def lines(section: str) -> list[str]:
    """The command lines of a section, in order."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = [block for kind, block in BLOCK.findall(text) if kind == "console"]
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A clean folder, with a git that knows who works here, and a password to store."""
    (tmp_path / "password.txt").write_text("a secret\n")
    return tmp_path


def typed(line: str, folder: Path) -> str:
    """Run a line as a shell does in the folder; what it printed."""
    shim = folder.parent / "bin"
    shim.mkdir(exist_ok=True)
    command = shim / "flowengine"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m flowengine "$@"\n')
    command.chmod(0o755)
    who = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"))
    }
    env = environment(**who)
    env["PATH"] = f"{shim}:{env['PATH']}"
    ran = subprocess.run(
        ["/bin/sh", "-c", line],
        check=False,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def walked(project: Path, section: str) -> Iterator[tuple[str, str]]:
    """Type the section's lines, but those that need a box; each with what it printed."""
    for line in lines(section):
        words = shlex.split(line)
        if line.startswith(BOXED) or tuple(words[1:3]) in STARTED or words[1] == "run":
            continue
        yield line, typed(line, project)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_the_whole_way_works_as_it_is_written(project: Path) -> None:
    told = dict(walked(project, "Draw"))
    assert told["flowengine check flows/"] == "1 flow, 7 nodes: no findings\n"
    (example,) = (text for kind, text in BLOCK.findall(PAGE) if kind == "json")
    (project / "flows/cold-room.test.json").write_text(example)
    assert "1 passed, 0 failed" in dict(walked(project, "Test"))["flowengine test flows/"]
    assert "password" not in typed("ls flows", project)
    told = dict(walked(project, "Keep it in git"))
    flow = project / "flows/cold-room.json"
    changed = json.loads(flow.read_text())
    changed["params"]["limit"]["default"] = 8.5
    flow.write_text(json.dumps(changed))
    typed("flowengine fmt flows/", project)
    said = typed("git diff flows/cold-room.json", project)
    assert said in {text for kind, text in BLOCK.findall(PAGE) if kind == "text"}
    told = dict(walked(project, "Deploy to a box"))
    assert told["flowengine secrets missing flows/"] == ""
    assert told["flowengine secrets list --data try"] == "site-mqtt\n"


@pytest.mark.parametrize("section", ["Deploy to a box", "See that it is well"])
def test_what_runs_on_the_box_is_whole_and_balanced(project: Path, section: str) -> None:
    (run,) = (line for line in lines("Deploy to a box") if line.startswith("flowengine run"))
    (project / "flows").mkdir()
    typed("flowengine flows timer > flows/cold-room.json", project)
    words = [word for word in shlex.split(run)[1:] if word not in {"--set", "cold-room.limit=7"}]
    with (project / "out.log").open("wb") as out:
        engine = subprocess.Popen(
            [sys.executable, "-m", "flowengine", *words],
            stdout=out,
            stderr=out,
            cwd=project,
            env=environment(),
        )
    try:
        until(lambda: "ready: " in (project / "out.log").read_text(), 30, "the ready line")
        if section == "See that it is well":
            ledger = "flowengine ledger --data try"
            until(lambda: ": balanced\n" in typed(ledger, project), 30, "a first message")
            told = dict(walked(project, section))
            assert told["flowengine doctor --data try"].endswith("all is whole\n")
            assert ": balanced\n" in told[ledger]
        engine.send_signal(signal.SIGINT)
        assert engine.wait(10) == 0
    finally:
        if engine.poll() is None:
            engine.kill()
            engine.wait()


def test_a_flow_of_node_red_is_told_so_and_nothing_is_changed(project: Path) -> None:
    (project / "flows").mkdir()
    (project / "flows.json").write_text('[{"id": "a", "type": "tab", "label": "Flow 1"}]')
    ran = flowengine("import", "flows.json", "--to", "flows", cwd=project)
    assert ran.returncode == 1
    assert "this is a Node-RED flow" in ran.stderr
    assert list((project / "flows").iterdir()) == []


def test_every_node_type_that_it_names_for_node_red_exists() -> None:
    listed = {line.split()[0] for line in flowengine("nodes").stdout.splitlines() if line.strip()}
    rows = PAGE.split("\n## Coming from Node-RED\n")[1].split("| --- | --- |\n")[1].split("\n\n")[0]
    ours = [row.split("|")[2] for row in rows.splitlines()]
    named = {name for text in ours for name in re.findall(r"`([a-z]+(?:\.[a-z]+)?)`", text)}
    assert named - {"payload", "topic", "key", "meta"} - listed == set()
    assert len(named) > 15
