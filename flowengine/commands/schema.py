"""`flowengine schema`, `docs`, `nodes`, `flows`, `changes`: what there is.

Each of these commands shows something that is made from the node types, or ships with them.
"""

import argparse
import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from flowengine.cli_text import paint
from flowengine.errors import UsageError
from flowengine.registry import REGISTRY, BrokenFamily, UnknownType

FLOW_SCHEMA = "flow.schema.json"
CASES_SCHEMA = "test.schema.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine schema`."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help=f"write {FLOW_SCHEMA} and {CASES_SCHEMA} there (default: print the first)",
    )
    parser.add_argument("--tests", action="store_true", help="print the schema of test files")


def command(args: argparse.Namespace) -> int:
    """Run `flowengine schema`."""
    from flowengine.schema import cases_schema, flow_schema  # noqa: PLC0415  # every node type

    if args.folder is None:
        print(_json(cases_schema() if args.tests else flow_schema(REGISTRY)), end="")
        return 0
    if not args.folder.is_dir():
        raise UsageError(f"there is no folder {args.folder}.", "Give the folder with the flows.")
    for name, schema in ((FLOW_SCHEMA, flow_schema(REGISTRY)), (CASES_SCHEMA, cases_schema())):
        _write(args.folder / name, _json(schema))
    print('Flows of this folder say: "$schema": "./flow.schema.json"')
    return 0


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
    print(f"wrote {path}")


def add_docs_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine docs`."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="write a page for each node type there (default: print all of them)",
    )
    parser.add_argument(
        "--readme", type=Path, metavar="FILE", help="renew the table of node types in this file"
    )


def docs_command(args: argparse.Namespace) -> int:
    """Run `flowengine docs`."""
    from flowengine.docs import fill_readme, index, page  # noqa: PLC0415  # every node type

    if args.readme is not None:
        try:
            text = args.readme.read_text(encoding="utf-8")
            args.readme.write_text(fill_readme(text, REGISTRY), encoding="utf-8", newline="\n")
        except (OSError, ValueError) as err:
            raise UsageError(f"{args.readme}: {err}.", "Put both markers into the file.") from err
        return 0
    types, _ = REGISTRY.everything()
    if args.folder is None:
        print("\n".join([index(REGISTRY), *(page(kind) for kind in types.values())]), end="")
        return 0
    args.folder.mkdir(parents=True, exist_ok=True)
    _write(args.folder / "README.md", index(REGISTRY))
    for kind in types.values():
        _write(args.folder / f"{kind.name}.md", page(kind))
    return 0


def add_nodes_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine nodes`."""
    parser.add_argument("type", nargs="?", metavar="TYPE", help="show the page of this type")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


def nodes_command(args: argparse.Namespace) -> int:
    """Run `flowengine nodes`: every type with its package, or one in full."""
    from flowengine.docs import page, palette  # noqa: PLC0415  # every node type

    if args.type is not None:
        try:
            kind = REGISTRY.find(args.type)
        except (UnknownType, BrokenFamily) as err:
            raise UsageError(err.what, err.mend) from err
        entries = [entry for entry in palette(REGISTRY) if entry["name"] == kind.name]
        print(json.dumps(entries[0], ensure_ascii=False) if args.json else page(kind), end="\n")
        return 0
    entries = palette(REGISTRY)
    if args.json:
        for entry in entries:
            print(json.dumps(entry, ensure_ascii=False))
    else:
        width = max((len(entry["name"]) for entry in entries), default=0)
        for entry in entries:
            name = paint(f"{entry['name']:<{width}}", "bold", sys.stdout)
            print(f"{name}  {entry['kind']:<10}  {entry['origin']}  {entry['summary']}")
    for family, why in sorted(REGISTRY.everything()[1].items()):
        print(f"{family}: cannot be used: {why}", file=sys.stderr)
    return 0


def add_flows_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine flows`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="print this flow")


def flows_command(args: argparse.Namespace) -> int:
    """Run `flowengine flows`: the examples that ship, or one of them as it stands."""
    shipped = {
        item.name.removesuffix(".json"): item.read_text(encoding="utf-8")
        for item in files("flowengine.flows").iterdir()
        if item.name.endswith(".json") and item.name.count(".") == 1
    }
    flows = {name: text for name, text in shipped.items() if '"nodes"' in text}
    if args.name is not None:
        if args.name not in flows:
            known = ", ".join(sorted(flows)) or "none"
            raise UsageError(f'no shipped flow "{args.name}".', f"There are: {known}.")
        print(flows[args.name], end="")
        return 0
    width = max((len(name) for name in flows), default=0)
    for name in sorted(flows):
        title = json.loads(flows[name]).get("title", "")
        print(f"{paint(f'{name:<{width}}', 'bold', sys.stdout)}  {title}".rstrip())
    return 0


def add_changes_arguments(_parser: argparse.ArgumentParser) -> None:
    """`flowengine changes` has no options."""


def changes_command(_args: argparse.Namespace) -> int:
    """Run `flowengine changes`: the changelog, newest first."""
    print((files("flowengine") / "CHANGELOG.md").read_text(encoding="utf-8"), end="")
    return 0
