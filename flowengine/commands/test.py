"""`flowengine test`: the flows' own tests, with a told clock and everything outside replaced."""

import argparse
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import msgspec

from flowengine.cases import CaseFile, bundled_cases, check_cases, load_cases
from flowengine.cases.run import CaseResult, expectation, run_case
from flowengine.check.types import field_type_of
from flowengine.errors import Finding, UsageError
from flowengine.flow import Flow, cases_path, find_flows, load_flow
from flowengine.registry import REGISTRY


class FlowTests(msgspec.Struct, kw_only=True):
    """A flow, its tests, and what they gave."""

    file: Path
    results: list[CaseResult]
    findings: list[Finding]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine test`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="flow files or folders")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML")
    parser.add_argument(
        "--update", action="store_true", help="write what came into `expect` of the test files"
    )


def command(args: argparse.Namespace) -> int:
    """Run `flowengine test`: 0 all passed, 1 one failed, 2 no test for a named file."""
    found: list[FlowTests] = []
    for file in find_flows(args.paths):
        flow, findings = load_flow(file)
        cases, more = _cases(file, flow)
        if cases is None:
            if file in args.paths and not more:
                raise UsageError(
                    f"no test for {file}.", f"Write them in {cases_path(file).name} beside it."
                )
            if not more:
                continue
        findings = [f for f in findings + more if f.severity == "error"]
        if flow is not None and cases is not None:
            findings += [f for f in _check(flow) if f not in findings and f.severity == "error"]
            findings += check_cases(cases, flow)
        results = [] if flow is None or cases is None or findings else _run(flow, cases)
        found.append(FlowTests(file=file, results=results, findings=findings))
        if args.update and cases is not None and results:
            _update(file, cases, results)
    if not found:
        raise UsageError("no tests.", "A flow's tests stand in NAME.test.json beside it.")
    for tests in found:
        _print(tests)
    if args.junit:
        args.junit.write_bytes(_junit(found))
    passed = sum(r.passed for t in found for r in t.results)
    failed = sum(not r.passed for t in found for r in t.results)
    broken = sum(bool(t.findings) for t in found)
    print(f"{passed} passed, {failed} failed" + (f", {broken} not run" if broken else ""))
    return 1 if failed or broken else 0


def _cases(file: Path, flow: Flow | None) -> tuple[CaseFile | None, list[Finding]]:
    beside = cases_path(file)
    if beside.exists():
        return load_cases(beside)
    if flow is not None and flow.tests is not None:
        return bundled_cases(flow)
    return None, []


def _check(flow: Flow) -> list[Finding]:
    from flowengine.check import check_flows  # noqa: PLC0415  # networkx: only while checking

    return check_flows([flow], REGISTRY, {})


def _run(flow: Flow, cases: CaseFile) -> list[CaseResult]:
    return [run_case(flow, case, REGISTRY, field_type_of(REGISTRY)) for case in cases.cases]


def _print(tests: FlowTests) -> None:
    for finding in tests.findings:
        print(finding, file=sys.stderr)
    for result in tests.results:
        print(f"{'ok  ' if result.passed else 'FAIL'} {tests.file.stem}: {result.name}")
        for line in result.differences:
            print("       " + line.replace("\n", "\n       "))


def _update(file: Path, cases: CaseFile, results: list[CaseResult]) -> None:
    from flowengine.flow.canonical import canonical_cases  # noqa: PLC0415

    expected = {
        result.index: expectation(case, result.got)
        for case, result in zip(cases.cases, results, strict=True)
    }
    text = canonical_cases(cases.with_expect(expected))
    cases_path(file).write_text(text, encoding="utf-8")


def _junit(found: list[FlowTests]) -> bytes:
    top = Xml.Element("testsuites")
    for tests in found:
        suite = Xml.SubElement(
            top,
            "testsuite",
            name=tests.file.stem,
            tests=str(len(tests.results) or 1),
            failures=str(sum(not r.passed for r in tests.results)),
            errors=str(int(bool(tests.findings))),
        )
        for result in tests.results:
            case = Xml.SubElement(suite, "testcase", classname=tests.file.stem, name=result.name)
            if not result.passed:
                failure = Xml.SubElement(case, "failure", message=result.differences[0])
                failure.text = "\n".join(result.differences)
        if tests.findings:
            case = Xml.SubElement(suite, "testcase", classname=tests.file.stem, name="check")
            error = Xml.SubElement(case, "error", message=tests.findings[0].what)
            error.text = "\n".join(map(str, tests.findings))
    return bytes(Xml.tostring(top, encoding="utf-8", xml_declaration=True))
