"""`flowengine export` and `import`: a flow with its layout and tests as one file, and back."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from flowengine.cases import load_cases
from flowengine.check.types import book_of
from flowengine.cli_text import count
from flowengine.commands.fmt import write
from flowengine.errors import Finding, FindingsError, UsageError
from flowengine.flow import (
    SLUG,
    Flow,
    cases_path,
    layout_path,
    load_flow,
    load_layout,
    parse_flow,
    read_file,
    slug_of,
)
from flowengine.flow.canonical import canonical, canonical_cases, canonical_layout
from flowengine.flow.references import references
from flowengine.registry import REGISTRY


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine export`."""
    parser.add_argument("flow", type=Path, metavar="FLOW", help="a flow file")
    parser.add_argument(
        "--bundle", action="store_true", help="flow, layout, tests and connections in one file"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: stdout")


def export_command(args: argparse.Namespace) -> int:
    """Run `flowengine export`."""
    if not args.bundle:
        raise UsageError("say what to export.", f"flowengine export {args.flow} --bundle")
    if not args.flow.is_file():
        raise UsageError(f"there is no flow file {args.flow}.", "Give a flow's own file.")
    text = bundle(args.flow)
    if args.output is None:
        print(text, end="")
    else:
        write(args.output, text)
        print(f"wrote {args.output}")
    return 0


def bundle(file: Path) -> str:
    """The text of a flow with all that stands beside it; raises FindingsError for one with faults.

    Connections that it takes from the folder's `connections.json` become its own. Secrets stay
    names: a flow file cannot hold their values.
    """
    flow, findings = load_flow(file)
    places, more = load_layout(layout_path(file))
    findings += more
    tests = None if flow is None else flow.tests
    if cases_path(file).exists():
        cases, more = load_cases(cases_path(file))
        findings += more
        tests = None if cases is None else cases.raw.get("tests")
    if flow is None or not flow.whole or _errors(findings):
        raise FindingsError(_errors(findings))
    used = _connections_used(flow)
    whole = msgspec.structs.replace(
        flow,
        connections={n: spec for n, spec in flow.connections.items() if n in used},
        shared=set(),
        layout={n: place for n, place in {**flow.layout, **places}.items() if n in flow.nodes},
        tests=tests or None,
    )
    return _text(whole)


def _connections_used(flow: Flow) -> set[str]:
    """The flow's own connections, and the shared ones whose id stands in a node's config."""
    named = set(_texts([spec.config for spec in flow.nodes.values()]))
    return {name for name in flow.connections if name not in flow.shared or name in named}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _text(flow: Flow) -> str:
    book = book_of(REGISTRY)
    return canonical(flow, model_order=book.schema, first_output=book.first_output)


def _errors(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]


def add_import_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine import`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a bundle")
    parser.add_argument(
        "--to",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where the flow goes (default: here)",
    )
    parser.add_argument("--id", metavar="ID", help="the flow's id (default: from the file's name)")
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def import_command(args: argparse.Namespace) -> int:
    """Run `flowengine import`: 1 for a bundle with faults, of which nothing is written."""
    name = args.id or args.file.name.removesuffix(".json").removesuffix(".bundle")
    if not SLUG.fullmatch(name):
        what = f'"{name}" is no id of a flow.'
        raise UsageError(what, f"Give one with --id: --id {slug_of(name)}")
    if not args.to.is_dir():
        raise UsageError(f"there is no folder {args.to}.", "Make it, or give another with --to.")
    raw, findings = read_file(args.file, name)
    flow = None
    if raw is not None:
        flow, findings = parse_flow(raw, flow_id=name, file=str(args.file))
    if flow is None or not flow.whole or _errors(findings):
        raise FindingsError(_errors(findings))
    texts = unbundled(flow, args.to / f"{name}.json")
    there = [str(path) for path in texts if path.exists()]
    if there and not args.force:
        raise UsageError(
            f"{', '.join(there)}: there already.", "Give another --id, or --force to replace."
        )
    for path, text in texts.items():
        write(path, text)
        print(f"wrote {path}")
    _tell(flow)
    return 0


def unbundled(flow: Flow, path: Path) -> dict[Path, str]:
    """The files of a bundle by their places: the flow, and its layout and tests if it has any."""
    bare = msgspec.structs.replace(flow, layout={}, tests=None)
    found = {path: _text(bare)}
    if flow.layout:
        found[layout_path(path)] = canonical_layout(flow.layout, set(flow.nodes))
    if flow.tests:
        found[cases_path(path)] = canonical_cases({"format": 1, "tests": flow.tests})
    return found


def _tell(flow: Flow) -> None:
    """What the flow is made of and needs: nothing of it has run."""
    types = sorted({spec.type for spec in flow.nodes.values()})
    print(f"{flow.id}: {count(len(flow.nodes), 'node')}: {', '.join(types)}", file=sys.stderr)
    found = list(references(flow))
    for kind, noun in (("secret", "secret"), ("env", "environment variable")):
        names = sorted({name for own, name, _ in found if own == kind})
        if names:
            needs = f"  needs the {noun}{'' if len(names) == 1 else 's'} {', '.join(names)}"
            print(needs, file=sys.stderr)
