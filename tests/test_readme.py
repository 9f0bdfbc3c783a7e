"""What README shows works as it stands."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

from flowengine.docs import fill_readme
from flowengine.registry import REGISTRY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!#|https?:)([^)#]+)")


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(README) if name == language]


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowengine", *words],
        cwd=cwd, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with README's flow and its test."""
    flow, cases = blocks("json")
    (tmp_path / "cold-room.json").write_text(flow)
    (tmp_path / "cold-room.test.json").write_text(cases)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("check", "cold-room.json"), "no findings"),
        (("test", "cold-room.json"), "1 passed, 0 failed"),
        (("fmt", "cold-room.json"), ""),
        (("flows",), "cold-room"),
        (("nodes", "threshold"), "hysteresis"),
    ],
)
def test_its_commands_do_what_it_says(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = run(*words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert said in done.stdout


def commands() -> Iterator[str]:
    for block in blocks("console"):
        for line in block.splitlines():
            if line.startswith("flowengine "):
                yield line.split()[1]


@pytest.mark.parametrize("name", sorted(set(commands())))
def test_every_command_it_names_exists(name: str, tmp_path: Path) -> None:
    done = run(name, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_its_node_is_clipped_as_its_test_says() -> None:
    code, test = blocks("python")
    space: dict[str, object] = {"__name__": "clip"}
    module = sys.modules.setdefault("clip", type(sys)("clip"))
    try:
        for text in (code, test):
            compiled = compile(text, "README.md", "exec", dont_inherit=True)
            vars(module).update(space)
            FunctionType(compiled, vars(module))()
        vars(module)["test_a_reading_above_the_bounds_is_clipped"]()
    finally:
        del sys.modules["clip"]


def test_its_table_of_node_types_is_todays() -> None:
    assert fill_readme(README, REGISTRY) == README, "run: flowengine docs --readme README.md"


def test_its_links_lead_somewhere() -> None:
    missing = [link for link in LINK.findall(README) if not (ROOT / link).exists()]
    assert missing == []


def test_its_flow_is_valid_json_with_one_fact_a_line() -> None:
    for text in blocks("json"):
        json.loads(text)
