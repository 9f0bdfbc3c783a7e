"""`flowengine git-setup`: git compares and merges flows by meaning.

With `--merge` it is the merge driver itself: git calls it with the files of the base, of ours
(which is to be replaced by the result) and of theirs, and with the path in the repository.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from flowengine.commands.fmt import formatted, kind_of
from flowengine.diff.merge import Conflict, Merged, Merger, by_name, merge_flows
from flowengine.errors import FindingsError
from flowengine.flow import Flow, parse_flow
from flowengine.flow.strict_json import read_json
from flowengine.flow.writing import write_file
from flowengine.git import merge_text, set_up
from flowengine.registry import REGISTRY


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `flowengine git-setup`."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="the folder with the flows (default: the current one)",
    )
    parser.add_argument(
        "--merge",
        nargs=4,
        metavar=("BASE", "OURS", "THEIRS", "PATH"),
        help="called by git: merge three versions into OURS",
    )


def command(args: argparse.Namespace) -> int:
    """Run `flowengine git-setup`; as the merge driver: 0 merged, 1 conflicts are left."""
    if args.merge is not None:
        base, ours, theirs, path = map(Path, args.merge)
        return merge(base, ours, theirs, path)
    attributes, lines = set_up(args.folder)
    print(f"{attributes}: {'; '.join(lines)}")
    print("git diff now shows flows by meaning, and git merge merges them by node, wire and key.")
    print("Commit .gitattributes; everyone who clones runs flowengine git-setup once.")
    return 0


def merge(base: Path, ours: Path, theirs: Path, path: Path) -> int:
    """Merge three versions of the file at `path` of the repository into the file `ours`."""
    texts = [file.read_bytes() for file in (base, ours, theirs)]
    try:
        merged = _merged(texts, path)
    except FindingsError as err:
        return _unmerged(err, base, ours, theirs, path)
    write_file(ours, merged.text)
    for conflict in merged.conflicts:
        print(f"CONFLICT in {path}: {conflict.path}: {conflict.what}", file=sys.stderr)
    if merged.conflicts:
        print(
            f"  {path} is a valid file and has our side of each; theirs: "
            f"flowengine diff :2:{path} :3:{path}",
            file=sys.stderr,
        )
    return 1 if merged.conflicts else 0


def _unmerged(err: FindingsError, base: Path, ours: Path, theirs: Path, path: Path) -> int:
    """A side that cannot be read: flows stay as ours, other files are merged as text by git."""
    print(f"CONFLICT in {path}: one side cannot be read as it is.\n{err}", file=sys.stderr)
    if kind_of(path) == "flow" and _is_flow(ours.read_bytes()):
        print(f"  {path} was left as our side has it.", file=sys.stderr)
        return 1
    return min(1, merge_text(ours, base, theirs))


def _is_flow(raw: bytes) -> bool:
    value = read_json(raw).value
    return type(value) is dict and "nodes" in value


def _merged(texts: list[bytes], path: Path) -> Merged:
    """The merge of three texts; raises FindingsError for one that has faults."""
    if kind_of(path) == "flow":
        base = _flow(texts[0], path) if texts[0].strip() else None
        return merge_flows(base, _flow(texts[1], path), _flow(texts[2], path), REGISTRY)
    documents = [_document(path, raw) for raw in texts]
    conflicts: list[Conflict] = []
    quiet = ("nodes",) if kind_of(path) == "layout" else ()
    found = Merger(conflicts, quiet).maps(documents[0], documents[1], documents[2], ())
    tests = found.get("tests")
    if type(tests) is dict:
        found["tests"] = [case for cases in tests.values() for case in cases]
    text = formatted(path, json.dumps(found, ensure_ascii=False).encode("utf-8"))
    return Merged(text=text, conflicts=conflicts)


def _flow(raw: bytes, path: Path) -> Flow:
    flow, faults = parse_flow(raw, flow_id=path.stem, file=str(path))
    if flow is None or not flow.whole:
        raise FindingsError(faults)
    return flow


def _document(path: Path, raw: bytes) -> dict[str, Any]:
    """A layout, tests or shared connections as a map of maps."""
    if not raw.strip():
        return {}
    formatted(path, raw)  # raises FindingsError for faults
    found: dict[str, Any] = read_json(raw).value
    named = by_name(found.get("tests"))
    return {**found, "tests": named} if named is not None else found
