"""`flowengine fmt`: flows, their layouts and tests in canonical form, in place."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowengine.check.types import book_of
from flowengine.errors import Finding, FindingsError, UsageError
from flowengine.flow import (
    CONNECTIONS,
    Flow,
    cases_path,
    find_flows,
    layout_path,
    parse_flow,
    read_file,
)
from flowengine.flow.canonical import canonical, canonical_cases, canonical_layout, document
from flowengine.flow.json_lines import to_lines
from flowengine.flow.reader import read_layout, read_shared
from flowengine.flow.writing import write_file
from flowengine.registry import REGISTRY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine fmt`."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="flow files or folders")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a file would change"
    )


def command(args: argparse.Namespace) -> int:
    """Run `flowengine fmt`: 1 for a file with faults, or with --check one that would change."""
    code = 0
    for file in _files(args.paths):
        try:
            raw = _read(file)
            text = formatted(file, raw, _nodes_beside(file))
        except FindingsError as err:
            for finding in err.findings:
                print(finding, file=sys.stderr)
            code = 1
            continue
        if text.encode("utf-8") == raw:
            continue
        print(f"would change {file}" if args.check else f"changed {file}")
        if args.check:
            code = 1
        else:
            write_file(file, text)
    return code


def _read(file: Path) -> bytes:
    raw, faults = read_file(file, None)
    if raw is None:
        raise FindingsError(faults)
    return raw


def _files(paths: list[Path]) -> Iterator[Path]:
    """Flows with their layouts and tests, and the connections of a folder; other names as given."""
    seen: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found = [*find_flows([path]), path / CONNECTIONS]
        else:
            found = [path]
            if not path.exists():
                raise UsageError(f"there is no {path}.", "Give a flow file or a folder with flows.")
        for file in found:
            beside = [layout_path(file), cases_path(file)] if kind_of(file) == "flow" else []
            for each in (file, *beside):
                if each.exists() and each not in seen:
                    seen.add(each)
                    yield each


def kind_of(path: Path) -> str:
    """What a file of a flow folder is by its name: flow, layout, cases or connections."""
    if path.name == CONNECTIONS:
        return "connections"
    for end, kind in ((".layout.json", "layout"), (".test.json", "cases")):
        if path.name.endswith(end):
            return kind
    return "flow"


def _nodes_beside(path: Path) -> set[str] | None:
    """The nodes of the flow that a layout belongs to, None if that cannot be read."""
    if kind_of(path) != "layout":
        return None
    flow_path = path.with_name(path.name.removesuffix(".layout.json") + ".json")
    if not flow_path.exists():
        return None
    raw, _ = read_file(flow_path, None)
    flow = None if raw is None else parse_flow(raw, flow_id=flow_path.stem)[0]
    return None if flow is None or not flow.whole else set(flow.nodes)


def formatted(path: Path, raw: bytes, nodes: set[str] | None = None) -> str:
    """The canonical text of a file by its name; raises FindingsError for one with faults.

    `nodes` are those of the flow that a layout belongs to: other entries are dropped (R51).
    """
    name = str(path)
    kind = kind_of(path)
    if kind == "layout":
        places, faults = read_layout(raw, file=name)
        _stop_at(faults)
        return canonical_layout(places, nodes)
    if kind == "cases":
        return canonical_cases(_cases(raw, name))
    if kind == "connections":
        return _shared(raw, name)
    flow, faults = parse_flow(raw, flow_id=path.stem, file=name)
    if flow is None or not flow.whole:
        raise FindingsError([fault for fault in faults if fault.severity == "error"])
    book = book_of(REGISTRY)
    return canonical(flow, model_order=book.schema, first_output=book.first_output)


def _stop_at(faults: list[Finding]) -> None:
    if faults:
        raise FindingsError(faults)


def _cases(raw: bytes, name: str) -> dict[str, Any]:
    from flowengine.cases import parse_cases  # noqa: PLC0415  # only where there are tests

    cases, faults = parse_cases(raw, file=name)
    if cases is None or faults:
        raise FindingsError(faults)
    return cases.raw


def _shared(raw: bytes, name: str) -> str:
    shared, faults = read_shared(raw, file=name)
    _stop_at(faults)
    top: dict[str, Any] = shared.document.value if shared.document is not None else {}
    book = book_of(REGISTRY)
    flow = Flow(id="connections", connections=dict(shared))
    found = document(flow, model_order=book.schema, first_output=book.first_output)
    order = ("$schema", "format", "doc")
    kept = {key: top[key] for key in order if key in top}
    notes = {key: top[key] for key in sorted(top) if key.startswith("x-")}
    return to_lines({**kept, "connections": found.get("connections", {}), **notes})
