"""`flowengine check`: every fault of flows at once, in order of the files; nothing is run."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from flowengine.check import check_flows, in_file_order
from flowengine.check.types import book_of
from flowengine.cli_text import count, paint
from flowengine.commands.sarif import sarif
from flowengine.errors import Finding
from flowengine.flow import Flow, find_flows, load_flow
from flowengine.flow.references import load_params, read_params
from flowengine.registry import REGISTRY

OWN = "flowengine"


class Checked(msgspec.Struct, kw_only=True):
    """Flow files and all that was found in them."""

    files: list[Path]
    flows: list[Flow]
    findings: list[Finding]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine check`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="flow files or folders")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object")
    form.add_argument("--sarif", action="store_true", help="SARIF 2.1.0, for code reviews")
    parser.add_argument("--strict", action="store_true", help="warnings count as errors")
    parser.add_argument("--params", type=Path, metavar="FILE", help="values of params, as JSON")
    parser.add_argument(
        "--set", action="append", default=[], metavar="K=V", help="one param's value"
    )


def command(args: argparse.Namespace) -> int:
    """Run `flowengine check`: 0 nothing found, 1 errors (with --strict also warnings)."""
    checked = check(args.paths, args.params, args.set)
    errors = sum(finding.severity == "error" for finding in checked.findings)
    warnings = len(checked.findings) - errors
    is_ok = not errors and not (args.strict and warnings)
    if args.json:
        print(json.dumps(as_json(checked, errors, warnings, is_ok=is_ok), ensure_ascii=False))
    elif args.sarif:
        print(json.dumps(sarif(checked.findings), ensure_ascii=False, indent=2))
    else:
        for finding in checked.findings:
            print(_text(finding))
        print(_summary(checked, errors, warnings))
    return 0 if is_ok else 1


def check(paths: list[Path], params: Path | None, sets: list[str]) -> Checked:
    """Load and check; raises UsageError for a path or a param that is not there."""
    files = find_flows(paths)
    flows: list[Flow] = []
    findings: list[Finding] = []
    for file in files:
        flow, found = load_flow(file)
        findings += found
        if flow is not None:
            flows.append(flow)
    values = read_params(load_params(params) if params is not None else {}, sets, flows)
    findings += check_flows(flows, REGISTRY, values)
    names = [str(file) for file in files]
    return Checked(files=files, flows=flows, findings=_once(in_file_order(findings, names)))


def _once(findings: list[Finding]) -> list[Finding]:
    """The findings of a shared connection once, and not once for each flow that has it."""
    seen: set[Any] = set()
    found = []
    for finding in findings:
        where = finding.where
        is_shared = where.flow is None or Path(where.file or "").stem != where.flow
        mark = (finding.slug, finding.what, where.file, where.line, where.column, where.field)
        if is_shared and mark in seen:
            continue
        seen.add(mark)
        found.append(finding)
    return found


def as_json(checked: Checked, errors: int, warnings: int, *, is_ok: bool) -> dict[str, Any]:
    """What `check --json` prints (R13)."""
    return {
        "ok": is_ok,
        "errors": errors,
        "warnings": warnings,
        "files": [str(file) for file in checked.files],
        "findings": [
            {
                "slug": finding.slug,
                "severity": finding.severity,
                "what": finding.what,
                "mend": finding.mend,
                "where": msgspec.to_builtins(finding.where),
            }
            for finding in checked.findings
        ],
    }


def _text(finding: Finding) -> str:
    place, *rest = str(finding).split("\n")
    is_error = finding.severity == "error"
    mark = finding.slug if is_error else f"warning: {finding.slug}"
    mark = paint(mark, "red" if is_error else "yellow", sys.stdout)
    return "\n".join([f"{place} [{mark}]", *rest, ""])


def _summary(checked: Checked, errors: int, warnings: int) -> str:
    nodes = sum(len(flow.nodes) for flow in checked.flows)
    said = ", ".join(
        count(number, noun) for number, noun in ((errors, "error"), (warnings, "warning")) if number
    )
    line = f"{count(len(checked.files), 'flow')}, {count(nodes, 'node')}: {said or 'no findings'}"
    foreign = sorted(_origins(checked.flows) - {OWN})
    return line + (f"; node types also from {', '.join(foreign)}" if foreign else "")


def _origins(flows: list[Flow]) -> set[str]:
    """The packages that give the types which the flows use."""
    book = book_of(REGISTRY)
    names = {spec.type for flow in flows for spec in flow.nodes.values()}
    names |= {spec.type for flow in flows for spec in flow.connections.values()}
    return {known.type.origin for name in names if (known := book.known(name)) is not None}
