"""The tests of a flow, `<flow>.test.json`: what goes in at told times, what must come out (R14).

Times are nanoseconds from the start of a test. Payloads and expected messages are kept as they are
written; `{"$bytes": ...}`, `{"$any": true}`, `{"$approx": ...}` and `"$partial"` are looked at for
their shape alone.
"""

from collections.abc import Iterator
from pathlib import Path as FilePath

from flowengine.cases.model import (
    FILE_KEYS,
    Case,
    CaseFile,
    CaseInput,
    ExpectedFinding,
    Tolerance,
)
from flowengine.cases.reader import CaseReader
from flowengine.errors import Finding
from flowengine.flow import Flow, read_file
from flowengine.flow.model import Path
from flowengine.flow.parts import guess
from flowengine.flow.strict_json import Document, read_json

__all__ = [
    "Case",
    "CaseFile",
    "CaseInput",
    "ExpectedFinding",
    "Tolerance",
    "bundled_cases",
    "check_cases",
    "load_cases",
    "parse_cases",
]


def load_cases(path: FilePath | str) -> tuple[CaseFile | None, list[Finding]]:
    """The tests in a file, and every fault of it; None if there is no telling what it means."""
    raw, findings = read_file(FilePath(path), None)
    return (None, findings) if raw is None else parse_cases(raw, file=str(path))


def parse_cases(
    source: bytes | str, *, file: str | None = None
) -> tuple[CaseFile | None, list[Finding]]:
    """The tests in the text of a test file."""
    reader = CaseReader(read_json(source), None, file)
    top = reader.top(FILE_KEYS)
    if top is None:
        return None, reader.sorted()
    if "tests" not in top:
        reader.lacks((), "tests", 'Write "tests": [].')
    cases = reader.cases(("tests",), top.get("tests", []))
    return CaseFile(cases=cases, raw=top, file=file, document=reader.document), reader.sorted()


def bundled_cases(flow: Flow) -> tuple[CaseFile, list[Finding]]:
    """The tests that a bundle holds in `"tests"`."""
    document = flow.document or Document("")
    reader = CaseReader(Document(document.text), flow.id, flow.file)
    cases = reader.cases(("tests",), flow.tests or [])
    raw = {"format": 1, "tests": flow.tests or []}
    return CaseFile(cases=cases, raw=raw, file=flow.file, document=document), reader.sorted()


def check_cases(cases: CaseFile, flow: Flow) -> list[Finding]:
    """Names in the tests that the flow does not have: nodes, connections, params."""
    reader = CaseReader(Document((cases.document or Document("")).text), None, cases.file)
    known = {
        "node": ("unknown-node", list(flow.nodes)),
        "connection": ("bad-reference", list(flow.connections)),
        "param": ("bad-reference", list(flow.params)),
    }
    for case in cases.cases:
        for kind, name, path in _names(case):
            slug, names = known[kind]
            if name not in names:
                what = f'no {kind} "{name}" in {flow.id}.'
                listed = f"There are: {', '.join(names)[:200]}." if names else "There are none."
                reader.add(slug, path, what, guess(name, names, listed))
    return reader.sorted()


def _names(case: Case) -> Iterator[tuple[str, str, Path]]:
    """Every name of the flow in a test: its kind, itself, and where it stands."""
    top: tuple[str | int, ...] = ("tests", case.index)
    for name in case.params:
        yield "param", name, (*top, "params", name)
    for item in case.inputs:
        path = (*top, "input", item.index)
        if item.node is not None:
            yield "node", item.node, (*path, "node")
        if item.connection is not None:
            yield "connection", item.connection, (*path, "connection")
    for place in case.expect:
        yield "node", place.partition(".")[0], (*top, "expect", place)
    for key, states in (("state", case.state), ("expect_state", case.expect_state)):
        for name in states:
            yield "node", name, (*top, key, name)
    for index, found in enumerate(case.expect_findings):
        if found.node is not None:
            yield "node", found.node, (*top, "expect_findings", index, "node")
