"""`flowengine test` runs what stands in the test files, says what differs, and ends with its code.

How one test runs is told in `tests/test_caserun.py`, how its file is read in `test_casefile.py`.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as Xml

import pytest

from flowengine import cli

DOUBLE: dict[str, Any] = {
    "format": 1,
    "nodes": {
        "double": {"type": "scale", "config": {"factor": 2.0}},
        "out": {"type": "debug"},
        "tick": {"type": "timer.cron", "config": {"expression": "0 0 1 1 *"}},
    },
    "wires": ["tick -> double", "double -> out"],
}
GOOD: dict[str, Any] = {
    "name": "doubles",
    "doc": "twice as much",
    "input": [{"at": "1s", "node": "tick", "key": "a", "payload": 4}],
    "expect": {"out": [{"key": "a", "payload": 8.0}]},
}
BAD = {**GOOD, "name": "trebles", "expect": {"out": [{"key": "a", "payload": 12.0}]}}


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Call = Callable[..., Ran]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Call `flowengine test` in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Ran:
        capsys.readouterr()
        code = cli.main(["test", *arguments])
        return Ran(code, *capsys.readouterr())

    return run


def write(name: str, *tests: dict[str, Any], flow: dict[str, Any] = DOUBLE) -> Path:
    """Write a flow, and its tests beside it if there are any."""
    path = Path(f"{name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(flow))
    if tests:
        path.with_suffix(".test.json").write_text(json.dumps({"format": 1, "tests": tests}))
    return path


def test_r13_all_passed_is_0(call: Call) -> None:
    write("double", GOOD)
    assert call("double.json") == Ran(0, "ok   double: doubles\n1 passed, 0 failed\n", "")


def test_r13_one_that_failed_is_1_and_the_others_run(call: Call) -> None:
    write("double", BAD, GOOD)
    assert call("double.json") == Ran(
        1,
        "FAIL double: trebles\n"
        "       out[0] payload: expected 12.0, got 8.0\n"
        "ok   double: doubles\n"
        "1 passed, 1 failed\n",
        "",
    )


@pytest.mark.parametrize(
    ("paths", "what"),
    [
        (("bare.json",), "no test for bare.json"),
        (("double.json", "bare.json"), "no test for bare.json"),
        (("bare",), "no tests"),
        (("nope.json",), "there is no nope.json"),
    ],
)
def test_r13_no_test_for_what_was_named_is_2(call: Call, paths: tuple[str, ...], what: str) -> None:
    write("double", GOOD)
    write("bare")
    write("bare/bare")
    ran = call(*paths)
    assert (ran.code, ran.out) == (2, "")
    assert what in ran.err


def test_r13_a_flow_of_a_folder_may_have_no_tests(call: Call) -> None:
    write("f/double", GOOD)
    write("f/bare")
    assert call("f").code == 0


@pytest.mark.parametrize(
    ("tests", "flow", "slug"),
    [
        ([{**GOOD, "inputs": []}], DOUBLE, 'no key "inputs"'),
        ([{**GOOD, "expect": {"uot": []}}], DOUBLE, 'Did you mean "out"?'),
        ([GOOD], {**DOUBLE, "wires": ["tick -> double", "double -> uot"]}, 'no node "uot"'),
    ],
    ids=["in the test", "a name", "in the flow"],
)
def test_r14_a_finding_fails_the_test(
    call: Call, tests: list[dict[str, Any]], flow: dict[str, Any], slug: str
) -> None:
    write("double", *tests, flow=flow)
    ran = call("double.json")
    assert (ran.code, ran.out) == (1, "0 passed, 0 failed, 1 not run\n")
    assert slug in ran.err


@pytest.mark.parametrize(
    ("expected", "code"),
    [
        ({}, 1),
        ({"expect_findings": [{"node": "double", "slug": "not-a-number", "count": 1}]}, 0),
        ({"expect_findings": [{"slug": "not-a-number"}]}, 0),
        ({"expect_findings": [{"node": "double", "slug": "not-a-number", "count": 2}]}, 1),
        ({"expect": {"double.error": [{"payload": "warm"}], "out": []}}, 0),
    ],
    ids=["nobody names it", "named", "without a node", "of another count", "by its output"],
)
def test_r14_an_error_that_no_test_names_fails_it(
    call: Call, expected: dict[str, Any], code: int
) -> None:
    inputs = [{"at": "0s", "node": "tick", "payload": "warm"}]
    write("double", {"name": "a", "input": inputs, "expect": {"out": []}, **expected})
    assert call("double.json").code == code


def test_r14_update_rewrites_expect_and_nothing_else(call: Call) -> None:
    """Also not the flow, and not the tests' order, docs, tolerances or inputs."""
    more = {"params": {}, "tolerance": {"abs": 0.5}, "until": "5s", "start": "2030-01-01T00:00:00Z"}
    path = write("double", {**BAD, **more}, GOOD)
    before = path.read_bytes()
    assert call("--update", "double.json").code == 1
    tests = json.loads(Path("double.test.json").read_text())["tests"]
    assert tests == [{**BAD, **more, "expect": GOOD["expect"]}, GOOD]
    assert path.read_bytes() == before
    assert call("double.json").code == 0
    text = Path("double.test.json").read_bytes()
    assert call("--update", "double.json").code == 0
    assert Path("double.test.json").read_bytes() == text
    assert cli.main(["fmt", "--check", "double.json"]) == 1  # the flow; its tests are canonical
    assert cli.main(["fmt", "--check", "double.test.json"]) == 0


def test_r14_update_leaves_alone_what_cannot_run(call: Call) -> None:
    write("double", {**GOOD, "inputs": []})
    before = Path("double.test.json").read_bytes()
    assert call("--update", "double.json").code == 1
    assert Path("double.test.json").read_bytes() == before


def test_r14_junit_has_a_case_for_each_test(call: Call) -> None:
    write("f/double", BAD, GOOD)
    write("f/broken", {**GOOD, "inputs": []})
    assert call("f", "--junit", "out.xml").code == 1
    suites = Xml.fromstring(Path("out.xml").read_bytes())  # noqa: S314  # our own file
    found = {
        suite.get("name"): [(case.get("name"), [part.tag for part in case]) for case in suite]
        for suite in suites
    }
    assert found == {
        "broken": [("check", ["error"])],
        "double": [("trebles", ["failure"]), ("doubles", [])],
    }
