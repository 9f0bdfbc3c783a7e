"""`flowengine diff A B`: two versions of a flow by meaning, not by line.

A side is a file or `REV:path`. With `--git` it is git's own diff driver and is given what git gives
one: the path, and a file with each version.
"""

import argparse
import difflib
import json
import os
import sys
from pathlib import Path

import msgspec

from flowengine.cli_text import paint
from flowengine.commands.fmt import kind_of
from flowengine.diff import FlowDiff, as_json, compare_flows
from flowengine.diff.text import diff_text, mermaid
from flowengine.errors import Finding, UsageError
from flowengine.flow import (
    CONNECTIONS,
    Flow,
    layout_path,
    load_flow,
    load_layout,
    parse_flow,
)
from flowengine.flow.reader import read_layout, read_shared
from flowengine.git import path_in, read_blob
from flowengine.registry import REGISTRY

ENGINE_SIDES = ("draft:", "running:")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine diff`."""
    parser.add_argument(
        "sides",
        nargs="+",
        metavar="SIDE",
        help="A and B: each a flow file, or REV:path of a git revision",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object")
    form.add_argument("--mermaid", action="store_true", help="a Mermaid flowchart of both")
    form.add_argument("--git", action="store_true", help="called by git, as its diff driver")
    parser.add_argument("--exit-code", action="store_true", help="exit 1 if the meaning differs")


def command(args: argparse.Namespace) -> int:
    """Run `flowengine diff`: 0, with --exit-code 1 if the meaning differs, 2 for a bad side."""
    if args.git:
        return for_git(args.sides)
    if len(args.sides) != 2:
        raise UsageError(f"{len(args.sides)} sides were given.", "Give two: flowengine diff A B.")
    old, new = (load_side(side) for side in args.sides)
    diff = compare_flows(old, new, REGISTRY)
    if args.json:
        print(json.dumps(as_json(diff), ensure_ascii=False))
    elif args.mermaid:
        print(mermaid(diff, old, new), end="")
    else:
        _show(diff)
    return 1 if args.exit_code and not diff.same else 0


def _show(diff: FlowDiff) -> None:
    print(diff_text(diff, lambda text, colour: paint(text, colour, sys.stdout)), end="")


def load_side(side: str) -> Flow | None:
    """One side with its layout; None for /dev/null. Raises UsageError if it cannot be read."""
    if side == os.devnull:
        return None
    path = Path(side)
    if path.is_file():
        flow, faults = load_flow(path)
        places, _ = load_layout(layout_path(path))
        return _whole(side, flow, faults, places)
    if path.is_dir():
        raise UsageError(f"{side} is a folder.", "Give a flow file of it.")
    if side.startswith(ENGINE_SIDES):
        kind = side.partition(":")[0]
        raise UsageError(
            f'"{side}": there is no {kind} version to be had from the command line.',
            "Compare files or git revisions; the editor shows drafts and what runs.",
        )
    inside = path_in(side)
    if inside is None:
        raise UsageError(f"there is no {side}.", "Give a flow file, or REV:path.")
    return _from_git(side, inside)


def _from_git(side: str, inside: str) -> Flow | None:
    revision = side[: len(side) - len(inside)]
    raw = read_blob(side)
    home = Path(inside)
    shared = _blob_beside(f"{revision}{(home.parent / CONNECTIONS).as_posix()}")
    connections = None if shared is None else read_shared(shared, file=None)[0]
    flow, faults = parse_flow(raw, flow_id=home.stem, file=side, shared=connections)
    layout = _blob_beside(f"{revision}{layout_path(home).as_posix()}")
    places = {} if layout is None else read_layout(layout, file=None)[0]
    return _whole(side, flow, faults, places)


def _blob_beside(spec: str) -> bytes | None:
    try:
        return read_blob(spec)
    except UsageError:
        return None


def _whole(
    side: str, flow: Flow | None, faults: list[Finding], places: dict[str, tuple[int, int]]
) -> Flow:
    errors = [fault for fault in faults if fault.severity == "error"]
    if flow is None:
        said = "\n".join(str(fault) for fault in errors)
        raise UsageError(f"{side} cannot be read:\n{said}")
    if not flow.whole:
        for fault in errors:
            print(fault, file=sys.stderr)
    return msgspec.structs.replace(flow, layout={**flow.layout, **places})


def for_git(given: list[str]) -> int:
    """Show what git asks for: `path old-file old-hex old-mode new-file new-hex new-mode`.

    For a path that is not merged git gives the path alone. Always 0: git takes anything else for
    a driver that died.
    """
    path = Path(given[0])
    if len(given) < 7:
        print(f"{path} is not merged yet.")
        return 0
    old, new = Path(given[1]), Path(given[4])
    name = Path(given[7]) if len(given) > 7 else path
    raws = [b"" if file == Path(os.devnull) else file.read_bytes() for file in (old, new)]
    if kind_of(path) == "layout":
        _show(_layout_diff(path, raws))
        return 0
    if kind_of(path) == "flow":
        flows = [
            parse_flow(raw, flow_id=place.stem, file=str(place))[0] if raw else None
            for raw, place in zip(raws, (path, name), strict=True)
        ]
        readable = [flow.whole for flow in flows if flow is not None]
        if all(readable) and len(readable) == sum(bool(raw) for raw in raws) > 0:
            _show(compare_flows(flows[0], flows[1], REGISTRY))
            return 0
    _show_lines(path, name, raws)
    return 0


def _layout_diff(path: Path, raws: list[bytes]) -> FlowDiff:
    places = [read_layout(raw, file=None)[0] if raw else {} for raw in raws]
    moved = sum(places[0].get(name, place) != place for name, place in places[1].items())
    flow = path.name.removesuffix(".layout.json")
    return FlowDiff(flow=flow, changes=[], layout=moved, restarts=[], kept=[])


def _show_lines(path: Path, name: Path, raws: list[bytes]) -> None:
    """The lines that changed, for what is no flow."""
    texts = [raw.decode("utf-8", "replace").splitlines() for raw in raws]
    before = f"a/{path}" if raws[0] else os.devnull
    after = f"b/{name}" if raws[1] else os.devnull
    colours = {"+": "green", "-": "red", "@": "dim"}
    for line in difflib.unified_diff(texts[0], texts[1], before, after, lineterm=""):
        colour = colours.get(line[:1])
        print(paint(line, colour, sys.stdout) if colour else line)
