"""git shows flows by meaning, and merges them by node, wire and config key into a valid file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from flowengine.commands.fmt import formatted
from flowengine.diff import compare_flows
from flowengine.diff.merge import Merged, merge_flows
from flowengine.flow import Flow, parse_flow
from flowengine.git import path_in
from tests.sample_types import SAMPLES, documents, flow_of

ROOT = Path(__file__).resolve().parents[1]

ROOM: dict[str, Any] = {
    "format": 1,
    "title": "Room",
    "nodes": {
        "alarm": {"type": "threshold", "config": {"above": 8, "hold": "2m", "hysteresis": 0.5}},
        "log": {"type": "debug"},
        "tick": {"type": "timer.tick", "config": {"every": "5s"}},
    },
    "wires": ["alarm -> log", "tick -> alarm"],
}


class Repository:
    """A real git repository with one flow, set up by the real command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "my flows" / "room.json"
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }

    def set_up(self) -> None:
        self.file.parent.mkdir()
        self.run("git", "init", "-q", "-b", "main")
        self.write(ROOM)
        self.flowengine("git-setup", "my flows")
        self.commit("one")

    def run(self, *command: str, code: int = 0) -> str:
        ran = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = ran.stdout + ran.stderr
        assert ran.returncode == code, f"{command}: {ran.returncode}\n{said}"
        return said

    def flowengine(self, *arguments: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "flowengine", *arguments, code=code)

    def write(self, document: Any, file: Path | None = None) -> None:
        path = file or self.file
        path.write_text(formatted(path, json.dumps(document).encode()))

    def read(self) -> Any:
        return json.loads(self.file.read_text())

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", message)

    def branches(self, ours: Any, theirs: Any, file: Path | None = None) -> None:
        """Two branches, `main` with ours and `other` with theirs; main is checked out."""
        self.run("git", "checkout", "-q", "-b", "other")
        self.write(theirs, file)
        self.commit("theirs")
        self.run("git", "checkout", "-q", "main")
        self.write(ours, file)
        self.commit("ours")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Repository(tmp_path_factory.mktemp("template"))
    made.set_up()
    return made.folder


@pytest.fixture
def repository(tmp_path: Path, template: Path) -> Repository:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Repository(tmp_path)


def edited(*edits: tuple[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(ROOM))
    for path, value in edits:
        *way, last = path.split("/")
        here = found
        for step in way:
            here = here[step]
        if value is None:
            del here[last]
        else:
            here[last] = value
    return found


def test_setting_up_twice_is_setting_up_once(repository: Repository) -> None:
    attributes = repository.folder / ".gitattributes"
    once = attributes.read_text()
    attributes.write_text("*.png binary\n" + once)
    repository.flowengine("git-setup", "my flows")
    assert attributes.read_text() == "*.png binary\n" + once
    assert once.count("diff=flowengine merge=flowengine") == 1


def test_git_diff_shows_the_meaning(repository: Repository) -> None:
    repository.write(edited(("nodes/alarm/config/above", 9), ("nodes/alarm/config/hold", "120s")))
    assert repository.run("git", "diff") == (
        "room\n  ~ alarm  config.above: 8 -> 9\nRestarts on deploy: alarm.  Kept: log, tick.\n"
    )


def test_git_diff_says_nothing_of_what_only_looks_different(repository: Repository) -> None:
    repository.file.write_text(json.dumps(ROOM))
    assert repository.run("git", "diff") == ""


def test_git_diff_shows_a_new_flow_and_a_removed_one(repository: Repository) -> None:
    new = repository.file.with_name("hall.json")
    repository.write(ROOM, new)
    repository.run("git", "rm", "-q", "--cached", str(repository.file))
    repository.run("git", "add", str(new))
    shown = repository.run("git", "diff", "--cached", "--no-renames")
    assert 'hall\n  + title  "Room"' not in shown
    assert "  + alarm  threshold\n" in shown
    assert "  - alarm  threshold\n" in shown


def test_git_diff_shows_the_lines_of_a_flow_that_cannot_be_read(repository: Repository) -> None:
    repository.file.write_text(repository.file.read_text().replace('"above": 8,', '"above": 8'))
    shown = repository.run("git", "diff")
    assert '-        "above": 8,\n' in shown
    assert '+        "above": 8\n' in shown


def test_git_diff_counts_moved_boxes(repository: Repository) -> None:
    layout = repository.file.with_name("room.layout.json")
    repository.write({"format": 1, "nodes": {"alarm": [0, 0], "log": [0, 9]}}, layout)
    repository.commit("layout")
    repository.write({"format": 1, "nodes": {"alarm": [5, 0], "log": [0, 9]}}, layout)
    assert repository.run("git", "diff") == "room\n  = layout  1 node moved\n"


def test_a_revision_is_a_side_of_diff(repository: Repository) -> None:
    repository.write(edited(("title", "Hall")))
    shown = repository.flowengine("diff", "HEAD:my flows/room.json", "my flows/room.json")
    assert shown.splitlines()[1] == '  ~ title  "Room" -> "Hall"'
    said = repository.flowengine("diff", "NO:my flows/room.json", "my flows/room.json", code=2)
    assert "git has no NO:my flows/room.json" in said


def test_two_keys_of_one_node_merge(repository: Repository) -> None:
    ours = edited(("nodes/alarm/config/above", 9), ("wires", ["alarm -> log"]))
    theirs = edited(("nodes/alarm/config/hysteresis", 1), ("nodes/alarm/title", "Alarm"))
    repository.branches(ours, theirs)
    repository.run("git", "merge", "-q", "-m", "merged", "other")
    merged = repository.read()
    assert merged["nodes"]["alarm"] == {
        "type": "threshold",
        "title": "Alarm",
        "config": {"above": 9, "hysteresis": 1, "hold": "2m"},
    }
    assert merged["wires"] == ["alarm -> log"]
    assert repository.flowengine("fmt", "--check", str(repository.file)) == ""


def test_a_conflict_leaves_a_valid_flow_and_git_in_the_know(repository: Repository) -> None:
    repository.branches(
        edited(("nodes/alarm/config/above", 9), ("title", "Hall")),
        edited(("nodes/alarm/config/above", 7), ("nodes/tick/config/every", "9s")),
    )
    said = repository.run("git", "merge", "-q", "other", code=1)
    assert "nodes.alarm.config.above: ours is 9, theirs is 7" in said
    merged = repository.read()
    assert merged["nodes"]["alarm"]["config"]["above"] == 9
    assert merged["nodes"]["tick"]["config"]["every"] == "9s"
    assert repository.run("git", "status", "--short").startswith("UU ")
    shown = repository.flowengine("diff", ":2:my flows/room.json", ":3:my flows/room.json")
    assert "config.above: 9 -> 7" in shown


def test_a_side_that_cannot_be_read_leaves_ours(repository: Repository) -> None:
    repository.branches(edited(("title", "Hall")), edited(("title", "Yard")))
    repository.run("git", "checkout", "-q", "other")
    repository.file.write_text(repository.file.read_text().replace(",\n", "\n", 1))
    repository.commit("broken")
    repository.run("git", "checkout", "-q", "main")
    said = repository.run("git", "merge", "-q", "other", code=1)
    assert "one side cannot be read" in said
    assert repository.read()["title"] == "Hall"


def test_layouts_merge_without_a_word(repository: Repository) -> None:
    layout = repository.file.with_name("room.layout.json")
    places = {"alarm": [0, 0], "log": [0, 0]}
    repository.write({"format": 1, "nodes": places}, layout)
    repository.commit("layout")
    repository.branches(
        {"format": 1, "nodes": {"alarm": [1, 1], "log": [0, 0]}},
        {"format": 1, "nodes": {"alarm": [2, 2], "log": [2, 2]}},
        layout,
    )
    repository.run("git", "merge", "-q", "-m", "merged", "other")
    assert json.loads(layout.read_text())["nodes"] == {"alarm": [1, 1], "log": [2, 2]}


def test_tests_of_a_flow_merge_one_by_one(repository: Repository) -> None:
    cases = repository.file.with_name("room.test.json")

    def document(*names: str) -> Any:
        return {"format": 1, "tests": [{"name": name, "expect": {}} for name in names]}

    repository.write(document("a"), cases)
    repository.commit("tests")
    repository.branches(document("a", "b"), document("a", "c"), cases)
    repository.run("git", "merge", "-q", "-m", "merged", "other")
    found = json.loads(cases.read_text())["tests"]
    assert [case["name"] for case in found] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("HEAD:flows/a.json", "flows/a.json"),
        (":2:a.json", "a.json"),
        (":a.json", "a.json"),
        ("a.json", None),
        ("HEAD:", None),
    ],
)
def test_the_path_of_a_revision(spec: str, path: str | None) -> None:
    assert path_in(spec) == path


SMALL: dict[str, Any] = {
    "nodes": {
        "a": {"type": "tick", "config": {"every": "5s"}},
        "b": {"type": "limit", "config": {"high": 8.0}},
        "c": {"type": "store"},
    },
    "wires": ["a -> b", "b -> c"],
}


def merge(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[Merged, Flow]:
    merged = merge_flows(flow_of(SMALL), flow_of(ours), flow_of(theirs), SAMPLES)
    flow, _ = parse_flow(merged.text, flow_id="room")
    assert flow is not None
    assert flow.whole
    return merged, flow


def small(**edits: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(SMALL)), **edits}


def test_another_spelling_is_no_change_to_merge() -> None:
    ours, theirs = small(), small()
    ours["nodes"]["a"]["config"]["every"] = "5000ms"
    theirs["nodes"]["a"]["config"]["every"] = "6s"
    merged, flow = merge(ours, theirs)
    assert merged.conflicts == []
    assert flow.nodes["a"].config == {"every": "6s"}


def test_a_node_removed_here_and_changed_there_stays_and_is_a_conflict() -> None:
    ours, theirs = small(wires=["a -> b"]), small()
    del ours["nodes"]["c"]
    theirs["nodes"]["c"]["config"] = {"series": "y"}
    merged, flow = merge(ours, theirs)
    assert [conflict.path for conflict in merged.conflicts] == ["nodes.c"]
    assert flow.nodes["c"].config == {"series": "y"}


def test_a_node_removed_here_and_wired_there_stays_and_is_a_conflict() -> None:
    ours, theirs = small(wires=["a -> b"]), small(wires=["a -> b", "b -> c", "a -> c"])
    del ours["nodes"]["c"]
    merged, flow = merge(ours, theirs)
    assert [conflict.path for conflict in merged.conflicts] == ["nodes.c"]
    assert {wire.text for wire in flow.wires} == {"a -> b", "a -> c"}


def test_limits_that_cross_only_together_are_a_conflict() -> None:
    ours, theirs = small(), small()
    ours["nodes"]["b"]["config"]["high"] = 4.0
    theirs["nodes"]["b"]["config"]["low"] = 5
    merged, _ = merge(ours, theirs)
    assert ["above high" in conflict.what for conflict in merged.conflicts] == [True]


def test_a_wire_spelled_otherwise_is_the_same_wire() -> None:
    merged, flow = merge(small(wires=["a -> b", "b.raised -> c"]), small(wires=["a.out -> b"]))
    assert merged.conflicts == []
    assert [wire.text for wire in flow.wires] == ["a -> b"]


@given(documents, documents, documents)
@settings(max_examples=60)
def test_every_merge_is_a_valid_file(
    base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    flows = []
    for document in (base, ours, theirs):
        flow, _ = parse_flow(json.dumps({"format": 1, **document}), flow_id="room")
        if flow is None or not flow.whole:
            return
        flows.append(flow)
    merged = merge_flows(flows[0], flows[1], flows[2], SAMPLES)
    flow, _ = parse_flow(merged.text, flow_id="room")
    assert flow is not None
    assert flow.whole
    alone = merge_flows(flows[0], flows[1], flows[0], SAMPLES)
    assert alone.conflicts == []
    only_ours, _ = parse_flow(alone.text, flow_id="room")
    assert compare_flows(flows[1], only_ours, SAMPLES).changes == []
