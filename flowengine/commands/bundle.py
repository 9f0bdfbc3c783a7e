"""`flowengine export` and `import`: a flow with its layout and tests as one file, and back."""

import argparse
import sys
from pathlib import Path

from flowengine.bundle import bundle, errors_of, unbundled
from flowengine.cli_text import count
from flowengine.errors import FindingsError, UsageError
from flowengine.flow import (
    SLUG,
    Flow,
    parse_flow,
    read_file,
    slug_of,
)
from flowengine.flow.references import references
from flowengine.flow.writing import write_file


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
        write_file(args.output, text)
        print(f"wrote {args.output}")
    return 0


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
    if flow is None or not flow.whole or errors_of(findings):
        raise FindingsError(errors_of(findings))
    texts = unbundled(flow, args.to / f"{name}.json")
    there = [str(path) for path in texts if path.exists()]
    if there and not args.force:
        raise UsageError(
            f"{', '.join(there)}: there already.", "Give another --id, or --force to replace."
        )
    for path, text in texts.items():
        write_file(path, text)
        print(f"wrote {path}")
    _tell(flow)
    return 0


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
