"""The commands say what they found, where, how to mend it, and end with the code they promise."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flowengine import cli, cli_text
from flowengine.errors import FindingsError, StartError
from flowengine.registry import REGISTRY

ROOT = Path(__file__).resolve().parents[1]

ROOM: dict[str, Any] = {
    "format": 1,
    "params": {"limit": {"type": "number", "default": 8}},
    "nodes": {
        "alarm": {"type": "threshold", "config": {"above": {"$param": "limit"}}},
        "log": {"type": "debug"},
        "tick": {"type": "timer.tick", "config": {"every": "5s"}},
    },
    "wires": ["alarm -> log", "tick -> alarm"],
}


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Ran]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Call the command line in an empty folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        try:
            code = cli.main(arguments)
        except SystemExit as err:
            code = int(err.code or 0)
        return Ran(code, *capsys.readouterr())

    return run


def write(name: str, document: Any = None, **changes: Any) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**ROOM, **changes} if document is None else document))
    return path


def threshold(above: Any) -> dict[str, Any]:
    return {"type": "threshold", "config": {"above": above}}


def test_check_of_right_flows_is_0(call: Call) -> None:
    write("flows/room.json")
    assert call("check", "flows") == Ran(0, "1 flow, 3 nodes: no findings\n", "")


def test_check_prints_place_slug_what_and_mend(call: Call) -> None:
    write("room.json", wires=["alarm -> lgo", "tick -> alarm"])
    ran = call("check", "room.json")
    assert ran.code == 1
    assert ran.out == (
        'room.json:1: wire "alarm -> lgo": wires[0] [unknown-node]\n'
        '  no node "lgo".\n'
        '  Did you mean "log"?\n'
        "\n"
        "1 flow, 3 nodes: 1 error\n"
    )


def test_r13_check_json_is_one_object_with_every_key(call: Call) -> None:
    text = '{"format": 1,\n "nodes": {\n  "door": {"type": "mqt.in"}}}'
    Path("cold-room.json").write_text(text)
    ran = call("check", "--json", "cold-room.json")
    assert ran.code == 1
    assert json.loads(ran.out) == {
        "ok": False,
        "errors": 1,
        "warnings": 0,
        "files": ["cold-room.json"],
        "findings": [
            {
                "slug": "unknown-type",
                "severity": "error",
                "what": 'no node type "mqt.in"',
                "mend": 'Did you mean "mqtt.in"?',
                "where": {
                    "file": "cold-room.json",
                    "line": 3,
                    "column": 20,
                    "flow": "cold-room",
                    "node": "door",
                    "connection": None,
                    "wire": None,
                    "field": "type",
                },
            }
        ],
    }
    assert ran.out.count("\n") == 1


def test_r13_warnings_fail_only_when_strict(call: Call) -> None:
    write("room.json", wires=["tick -> alarm", "tick -> log"])
    ran = call("check", "room.json", "--json")
    assert (ran.code, json.loads(ran.out)["ok"], json.loads(ran.out)["warnings"]) == (0, True, 1)
    ran = call("check", "room.json", "--json", "--strict")
    assert (ran.code, json.loads(ran.out)["ok"]) == (1, False)


def test_r62_check_takes_a_sites_values(call: Call) -> None:
    spec = {"type": "filter.range", "config": {"min": 5, "max": {"$param": "limit"}}}
    nodes = {**ROOM["nodes"], "alarm": spec}
    write("room.json", nodes=nodes)
    assert call("check", "room.json").code == 0
    assert "limits-crossed" in call("check", "room.json", "--set", "limit=1").out
    write("site.json", {"limit": 1})
    assert call("check", "room.json", "--params", "site.json").code == 1
    ran = call("check", "room.json", "--set", "limti=1")
    assert ran.code == 2
    assert 'no flow has a param "limti"' in ran.err


def test_r13_faults_of_several_files_come_in_their_order(call: Call) -> None:
    write("b.json", wires=["x -> log"])
    write("a.json", {"format": 1})
    Path("c.json").write_text("[1,")
    findings = json.loads(call("check", "b.json", "a.json", "c.json", "--json").out)["findings"]
    files = [finding["where"]["file"] for finding in findings]
    assert list(dict.fromkeys(files)) == ["b.json", "a.json", "c.json"]


def test_a_fault_of_shared_connections_is_told_once(call: Call) -> None:
    write("f/connections.json", {"format": 1, "connections": {"x": {"type": "no.such"}}})
    write("f/a.json")
    write("f/b.json")
    findings = json.loads(call("check", "f", "--json").out)["findings"]
    assert [finding["slug"] for finding in findings] == ["unknown-type"]


def test_r60_a_node_red_file_is_known_as_one(call: Call) -> None:
    write("room.json", [{"id": "1", "type": "tab"}])
    ran = call("check", "room.json")
    assert ran.code == 1
    assert "this is a Node-RED flow" in ran.out


@pytest.mark.parametrize("command", ["check", "fmt", "run", "test"])
def test_r13_a_path_that_is_not_there_is_2(call: Call, command: str) -> None:
    ran = call(command, "nope.json")
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith(f"flowengine {command}: there is no nope.json.\n  ")


def test_r50_a_folder_without_a_flow_is_2(call: Call) -> None:
    Path("empty").mkdir()
    ran = call("check", "empty")
    assert ran.code == 2
    assert "no flow in empty" in ran.err


def test_sarif_has_a_rule_and_a_place_for_every_finding(call: Call) -> None:
    write("my flows/room.json", wires=["alarm -> lgo", "tick -> alarm"], titel="x")
    ran = call("check", "--sarif", "my flows/room.json")
    log = json.loads(ran.out)
    assert (ran.code, log["version"]) == (1, "2.1.0")
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["unknown-key", "unknown-node"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] == "error"
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "my%20flows/room.json"
        assert place["region"]["startLine"] == 1
        assert place["region"]["startColumn"] > 1


def test_r13_r51_fmt_writes_in_place_and_says_so_once(call: Call) -> None:
    path = write("flows/room.json")
    write("flows/room.layout.json", {"nodes": {"log": [2, 1], "gone": [0, 0]}, "format": 1})
    write("flows/connections.json", {"connections": {}, "format": 1, "x-a": 1})
    path.chmod(0o640)
    assert call("fmt", "--check", "flows").code == 1
    assert path.read_text().count("\n") == 0
    ran = call("fmt", "flows")
    assert ran.code == 0
    assert ran.out == (
        "changed flows/room.json\nchanged flows/room.layout.json\nchanged flows/connections.json\n"
    )
    assert path.stat().st_mode & 0o777 == 0o640
    assert "gone" not in Path("flows/room.layout.json").read_text()
    assert json.loads(path.read_text()) == ROOM
    assert call("fmt", "flows") == Ran(0, "", "")
    assert call("fmt", "--check", "flows") == Ran(0, "", "")
    assert sorted(os.listdir("flows")) == ["connections.json", "room.json", "room.layout.json"]


def test_r13_fmt_leaves_a_file_with_faults_untouched_and_formats_the_others(call: Call) -> None:
    write("b.json")
    Path("a.json").write_text('{"format": 1, "nodes": {},}')
    ran = call("fmt", "a.json", "b.json")
    assert (ran.code, ran.out) == (1, "changed b.json\n")
    assert "a.json:1" in ran.err
    assert Path("a.json").read_text() == '{"format": 1, "nodes": {},}'


def test_r34_fmt_keeps_an_unknown_type_word_for_word(call: Call) -> None:
    config = {"z": 1, "a": {"y": 1, "b": 2}}
    write("room.json", nodes={"it": {"type": "none.such", "config": config}}, wires=[])
    call("fmt", "room.json")
    text = Path("room.json").read_text()
    assert text.index('"z"') < text.index('"a"')
    assert text.index('"y"') < text.index('"b"')


def test_r13_r39_r61_diff_ends_with_1_only_when_asked(call: Call) -> None:
    write("a/room.json")
    write("b/room.json", title="Room")
    sides = ("a/room.json", "b/room.json")
    assert call("diff", *sides).code == 0
    assert call("diff", "--exit-code", *sides).code == 1
    assert call("diff", "--exit-code", sides[0], sides[0]) == Ran(0, "", "")


def test_r39_r61_diff_json_of_equal_flows(call: Call) -> None:
    write("room.json")
    ran = call("diff", "--json", "room.json", "room.json")
    assert json.loads(ran.out) == {
        "flow": "room",
        "same": True,
        "changes": [],
        "layout": 0,
        "restarts": [],
        "kept": ["alarm", "log", "tick"],
    }


def test_r39_diff_json_of_a_changed_flow(call: Call) -> None:
    """The object of the page: its keys, their order, and null where there is nothing."""
    write("a/room.json", nodes={**ROOM["nodes"], "alarm": threshold(8.0)})
    write("b/room.json")
    write("a/room.layout.json", {"format": 1, "nodes": {"log": [0, 0]}})
    write("b/room.layout.json", {"format": 1, "nodes": {"log": [9, 9]}})
    ran = call("diff", "--json", "--exit-code", "a/room.json", "b/room.json")
    assert ran.code == 1
    assert ran.out == (
        '{"flow": "room", "same": false, "changes": [{"op": "change", "kind": "node", '
        '"id": "alarm", "path": "config.above", "from": 8.0, "to": {"$param": "limit"}}], '
        '"layout": 1, "restarts": ["alarm"], "kept": ["log", "tick"]}\n'
    )


@pytest.mark.parametrize(
    ("change", "kind", "path"),
    [
        ({"title": "Room"}, "title", None),
        ({"doc": "What it is for."}, "doc", None),
        ({"x-owner": "me"}, "doc", "x-owner"),
        ({"nodes": {**ROOM["nodes"], "log": {"type": "debug", "doc": "a"}}}, "node", "doc"),
    ],
)
def test_r39_words_are_a_change_of_meaning_that_restarts_nothing(
    call: Call, change: dict[str, Any], kind: str, path: str | None
) -> None:
    write("a/room.json")
    write("b/room.json", **change)
    ran = call("diff", "--json", "--exit-code", "a/room.json", "b/room.json")
    told = json.loads(ran.out)
    (found,) = told["changes"]
    assert (ran.code, told["same"], found["op"]) == (1, False, "add")
    assert (found["kind"], found["path"]) == (kind, path)
    assert (told["restarts"], told["kept"]) == ([], ["alarm", "log", "tick"])


@pytest.mark.parametrize(
    "changes",
    [
        {"wires": ["tick.out -> alarm", "alarm.raised -> log"]},
        {"wires": ["tick -> alarm", "alarm -> log"]},
        {"nodes": {**ROOM["nodes"], "tick": {"config": {"every": "5000ms"}, "type": "timer.tick"}}},
        {"params": {"limit": {"default": 8.0, "type": "number"}}},
    ],
    ids=["a first output", "order of wires", "a duration", "a number"],
)
def test_r13_r39_what_only_looks_different_is_the_same(call: Call, changes: dict[str, Any]) -> None:
    write("a/room.json")
    write("b/room.json", **changes)
    assert call("diff", "--exit-code", "a/room.json", "b/room.json") == Ran(0, "", "")


def test_r39_diff_counts_moved_boxes_beside_the_files(call: Call) -> None:
    for folder, place in (("a", [0, 0]), ("b", [9, 9])):
        write(f"{folder}/room.json")
        write(f"{folder}/room.layout.json", {"format": 1, "nodes": {"log": place}})
    ran = call("diff", "a/room.json", "b/room.json", "--exit-code")
    assert ran == Ran(0, "room\n  = layout  1 node moved\n", "")


@pytest.mark.parametrize(
    ("sides", "what"),
    [
        (("room.json", "nope.json"), "there is no nope.json"),
        (("room.json",), "1 sides were given"),
        (("room.json", "broken.json"), "broken.json cannot be read"),
        (("room.json", "."), ". is a folder"),
        (("room.json", "draft:room"), '"draft:room"'),
    ],
)
def test_r13_a_side_that_cannot_be_read_is_2(call: Call, sides: Sequence[str], what: str) -> None:
    write("room.json")
    Path("broken.json").write_text("{")
    ran = call("diff", *sides)
    assert ran.code == 2
    assert what in ran.err


def test_schema_writes_both_files_or_prints_one(call: Call) -> None:
    Path("flows").mkdir()
    assert call("schema", "flows").code == 0
    assert sorted(os.listdir("flows")) == ["flow.schema.json", "test.schema.json"]
    assert json.loads(call("schema").out) == json.loads(Path("flows/flow.schema.json").read_text())
    assert "tests" in json.loads(call("schema", "--tests").out)["properties"]


def test_nodes_lists_every_type_with_its_package(call: Call) -> None:
    lines = call("nodes").out.splitlines()
    types, _ = REGISTRY.everything()
    assert [line.split()[0] for line in lines] == list(types)
    assert all(line.split()[2] == "flowengine" for line in lines)
    entries = [json.loads(line) for line in call("nodes", "--json").out.splitlines()]
    assert [entry["name"] for entry in entries] == list(types)


def test_nodes_shows_one_type_or_guesses_it(call: Call) -> None:
    assert call("nodes", "threshold").out.startswith("# threshold\n")
    ran = call("nodes", "treshold")
    assert ran.code == 2
    assert 'Did you mean "threshold"?' in ran.err


def test_docs_writes_a_page_for_each_type(call: Call) -> None:
    assert call("docs", "pages").code == 0
    types, _ = REGISTRY.everything()
    assert sorted(os.listdir("pages")) == sorted(["README.md", *(f"{name}.md" for name in types)])


def test_changes_and_flows_come_from_the_package(call: Call) -> None:
    assert call("changes").out.startswith("# Changes\n")
    shipped = [
        path.stem
        for path in (ROOT / "flows").glob("*.json")
        if path.name.count(".") == 1 and '"nodes"' in path.read_text()
    ]
    assert [line.split()[0] for line in call("flows").out.splitlines()] == sorted(shipped)
    assert call("flows", "none-of-them").code == 2


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_an_example(call: Call, name: str) -> None:
    ran = call(name, "--help")
    assert ran.code == 0
    assert f"example: flowengine {name}" in ran.out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_module(name: str) -> None:
    entry = cli.COMMANDS[name]
    assert (ROOT / "flowengine" / "commands" / f"{entry.module}.py").exists()
    import_module(f"flowengine.commands.{entry.module}")
    assert callable(cli.function(entry, "add_arguments"))
    assert callable(cli.function(entry, "command"))


def test_wrong_usage_is_2_and_points_to_the_help(call: Call) -> None:
    ran = call("check")
    assert ran.code == 2
    assert ran.err.startswith("flowengine check: ")
    assert "See flowengine check --help." in ran.err
    assert call("chekc").code == 2
    assert call().code == 2


def test_the_version_is_told(call: Call) -> None:
    assert call("--version").out.startswith("flowengine ")


def raising(error: BaseException) -> Callable[..., int]:
    def command(_args: Any) -> int:
        raise error

    return command


ERRORS: list[tuple[BaseException, int, str]] = [
    (StartError("port 1883 is taken.", "Give another one."), 3, "port 1883 is taken.\n  Give"),
    (FindingsError([]), 1, ""),
    (KeyboardInterrupt(), 130, ""),
    (TypeError("oh"), 4, "this is a fault of flowengine itself: TypeError: oh\n"),
]


@pytest.mark.parametrize(("error", "code", "said"), ERRORS, ids=lambda x: type(x).__name__)
def test_what_becomes_of_an_error(
    call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    monkeypatch.setattr("flowengine.commands.schema.changes_command", raising(error))
    ran = call("changes")
    assert ran.code == code
    assert said in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("arguments", [("--debug", "changes"), ("changes", "--debug")])
def test_debug_shows_the_traceback(
    call: Call, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, str]
) -> None:
    monkeypatch.setattr("flowengine.commands.schema.changes_command", raising(TypeError("oh")))
    with pytest.raises(TypeError, match="oh"):
        call(*arguments)


def started(*arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "flowengine", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


def test_help_imports_no_more_than_flowengine_itself() -> None:
    code = (
        "import sys, flowengine; before = set(sys.modules)\n"
        "from flowengine import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(*(set(sys.modules) - before), file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    ours = {name for name in ran.stderr.split() if name.startswith("flowengine")}
    assert ours == {"flowengine.cli"}
    assert {name for name in loaded if name not in sys.stdlib_module_names} <= {"flowengine"}


def test_a_reader_that_goes_away_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run(
        [sys.executable, "-m", "flowengine", "nodes", "threshold"],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (128 + signal.SIGPIPE, b"")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "expected"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
    ],
    ids=["terminal", "pipe", "NO_COLOR", "empty NO_COLOR", "dumb"],
)
def test_colour_only_where_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
    stream: io.StringIO,
    environment: dict[str, str],
    expected: bool,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    painted = cli_text.paint("x", "red", stream)
    assert painted == ("\x1b[31mx\x1b[0m" if expected else "x")
