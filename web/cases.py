"""A flow's tests in the editor: read, written, run with a told clock, and made from what passes."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from flowengine.cases import check_cases, parse_cases
from flowengine.cases.run import CaseResult, expectation, run_case
from flowengine.check.types import field_type_of
from flowengine.errors import FindingsError
from flowengine.flow import Flow
from flowengine.flow.canonical import canonical_cases
from flowengine.flow.json_lines import to_lines
from flowengine.message import Message, plain
from flowengine.moments import format_duration
from flowengine.registry import REGISTRY
from flowengine.web.problem import findings_json

MOST = 1_000
"""Messages of one captured test."""
_EMPTY = to_lines({"format": 1, "tests": []})


def canonical(document: dict[str, Any]) -> str:
    """The text of a test file; FindingsError for one that cannot be read."""
    cases, findings = parse_cases(to_lines(document), file="tests")
    errors = [finding for finding in findings if finding.severity == "error"]
    if cases is None or errors:
        raise FindingsError(errors or findings)
    return canonical_cases(cases.raw)


def run(flow: Flow, text: str | None, names: Sequence[str] | None) -> dict[str, Any]:
    """Run the tests of a flow that is whole; takes as long as they do."""
    cases, findings = parse_cases(text or _EMPTY, file=f"{flow.id}.test.json")
    if cases is not None:
        findings = [*findings, *check_cases(cases, flow)]
    errors = [finding for finding in findings if finding.severity == "error"]
    if cases is None or errors:
        return {"passed": 0, "failed": 0, "findings": findings_json(findings), "results": []}
    wanted = [case for case in cases.cases if names is None or case.name in names]
    results = [run_case(flow, case, REGISTRY, field_type_of(REGISTRY)) for case in wanted]
    passed = sum(result.passed for result in results)
    return {
        "passed": passed,
        "failed": len(results) - passed,
        "findings": findings_json(findings),
        "results": [_result(result) for result in results],
    }


def _result(result: CaseResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "passed": result.passed,
        "differences": result.differences,
        "got": {
            place: [{**message, "at": format_duration(message["at"])} for message in messages]
            for place, messages in result.got.items()
        },
    }


class Recorder:
    """Notes what leaves some sources, with how long after the start."""

    def __init__(self) -> None:
        self._started = time.monotonic_ns()
        self.inputs: list[dict[str, Any]] = []

    def tap(self, node: str) -> Any:
        """A tap for a source's first output."""

        def note(messages: list[Message]) -> None:
            at = format_duration((time.monotonic_ns() - self._started) // 1_000_000 * 1_000_000)
            for message in messages[: MOST - len(self.inputs)]:
                meta = {k: v for k, v in message.meta.items() if k not in {"injected", "replayed"}}
                found = {"at": at, "node": node, "key": message.key}
                found |= {"payload": plain(message.payload)}
                self.inputs.append(found | ({"meta": plain(meta)} if meta else {}))

        return note


def captured(
    flow: Flow,
    name: str,
    inputs: list[dict[str, Any]],
    places: Sequence[str],
    *,
    params: dict[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """A test of what came in, expecting what these inputs give in a run with a told clock."""
    raw: dict[str, Any] = {"name": name, **({"params": params} if params else {})}
    until = format_duration(round(seconds * 1_000) * 1_000_000)
    test = {**raw, "input": inputs, "until": until, "expect": {place: [] for place in places}}
    cases, findings = parse_cases(to_lines({"format": 1, "tests": [test]}))
    if cases is None or not cases.cases:
        raise FindingsError(findings)
    case = msgspec.structs.replace(cases.cases[0])
    result = run_case(flow, case, REGISTRY, field_type_of(REGISTRY))
    return {**test, "expect": expectation(case, result.got)}
