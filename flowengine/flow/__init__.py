"""The flow document: which files are flows, and loading them with every structural fault at once.

flows/cold-room.json          the flow; its stem is its id
flows/cold-room.layout.json   where the boxes stand
flows/cold-room.test.json     what goes in, what must come out
flows/connections.json        connections shared by the flows of the folder
"""

import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from flowengine.errors import Finding, UsageError, Where
from flowengine.flow.model import (
    FORMAT,
    PARAM_TYPES,
    REFERENCES,
    SLUG,
    WHEN_FULL,
    ConnectionSpec,
    Flow,
    NodeSpec,
    Param,
    Shared,
    Wire,
    field_path,
    reference_of,
    slug_of,
)
from flowengine.flow.reader import MAX_NODES, read_flow, read_layout, read_shared
from flowengine.flow.strict_json import MAX_DEPTH, MAX_SIZE, too_large

__all__ = [
    "FORMAT",
    "MAX_DEPTH",
    "MAX_NODES",
    "MAX_SIZE",
    "PARAM_TYPES",
    "REFERENCES",
    "SLUG",
    "UNSET",
    "WHEN_FULL",
    "ConnectionSpec",
    "Flow",
    "NodeSpec",
    "Param",
    "Shared",
    "Wire",
    "cases_path",
    "field_path",
    "find_flows",
    "find_same_ids",
    "layout_path",
    "load_flow",
    "load_layout",
    "load_shared",
    "parse_flow",
    "read_file",
    "reference_of",
    "slug_of",
]

CONNECTIONS = "connections.json"


def parse_flow(
    source: bytes | str,
    *,
    flow_id: str,
    file: str | None = None,
    shared: Mapping[str, ConnectionSpec] | None = None,
) -> tuple[Flow | None, list[Finding]]:
    """The flow in a text, and every structural fault in order of the file.

    The flow is None when there is no telling what the text means (no JSON, no object, a newer
    format). With faults it is what could be understood, so that `check` can go on; `whole` then
    says whether it may be written back. `shared` are the connections of the folder.
    """
    flow, findings = read_flow(source, flow_id=flow_id, file=file, shared=shared)
    if not SLUG.fullmatch(flow_id):
        what = f'"{flow_id}" is no id of a flow.'
        mend = f'Name the file "{slug_of(flow_id)}.json": small letters, digits and hyphens.'
        where = Where(file=file, flow=flow_id)
        findings.insert(0, Finding(slug="bad-id", what=what, mend=mend, where=where))
    return flow, findings


def load_flow(path: Path | str) -> tuple[Flow | None, list[Finding]]:
    """Load a flow file and the `connections.json` beside it; see `parse_flow`."""
    path = Path(path)
    raw, findings = read_file(path, path.stem)
    if raw is None:
        return None, findings
    shared, more = load_shared(path.parent)
    flow, findings = parse_flow(raw, flow_id=path.stem, file=str(path), shared=shared)
    return flow, more + findings


def load_shared(folder: Path | str) -> tuple[Shared, list[Finding]]:
    """The connections that the flows of a folder share; empty when there is no such file.

    Its findings name no flow, so that they are equal for every flow of the folder.
    """
    path = Path(folder) / CONNECTIONS
    if not path.exists():
        return Shared(), []
    raw, findings = read_file(path, None)
    return (Shared(), findings) if raw is None else read_shared(raw, file=str(path))


def layout_path(flow_path: Path | str) -> Path:
    """Where the layout of a flow file stands."""
    return Path(flow_path).with_suffix(".layout.json")


def cases_path(flow_path: Path | str) -> Path:
    """Where the tests of a flow file stand."""
    return Path(flow_path).with_suffix(".test.json")


def load_layout(path: Path | str) -> tuple[dict[str, tuple[int, int]], list[Finding]]:
    """Positions from a layout file (R51), empty without one; its faults are warnings."""
    path = Path(path)
    if not path.exists():
        return {}, []
    raw, findings = read_file(path, None)
    if raw is None:
        return {}, [msgspec.structs.replace(finding, severity="warning") for finding in findings]
    return read_layout(raw, file=str(path))


def read_file(path: Path, flow_id: str | None) -> tuple[bytes | None, list[Finding]]:
    """A file's bytes if it is no larger than a flow may be, else None and why."""
    slug = "unreadable"
    try:
        found = path.stat()  # before it is opened: a pipe would wait for a writer
        if not stat.S_ISREG(found.st_mode):
            what, mend = "this is no regular file.", "Give the flow's file."
        elif found.st_size <= MAX_SIZE:
            return path.read_bytes(), []
        else:
            slug, what, mend, _, _ = too_large(found.st_size)
    except OSError as err:
        what = f"the file cannot be read: {err.strerror or err}."
        mend = "Look at its name and its rights."
    where = Where(file=str(path), line=1, column=1, flow=flow_id)
    return None, [Finding(slug=slug, what=what, mend=mend, where=where)]


def find_flows(paths: Sequence[Path | str]) -> list[Path]:
    """The flow files among `paths`: a file is taken as it is, a folder is looked through (R18).

    Raises UsageError for a path that is not there and a folder without a flow.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = [item for item in sorted(path.glob("*.json")) if _is_flow(item)]
            if not inside:
                mend = 'A flow is NAME.json with "format" and "nodes" in it.'
                raise UsageError(f"no flow in {path}.", mend)
        elif path.exists():
            inside = [path]
        else:
            raise UsageError(f"there is no {path}.", "Give a flow file or a folder with flows.")
        for item in inside:
            found.setdefault(item.resolve(), item)
    return list(found.values())


class _Head(msgspec.Struct):
    """What tells a flow from another JSON file."""

    format: msgspec.Raw | msgspec.UnsetType = UNSET
    nodes: msgspec.Raw | msgspec.UnsetType = UNSET


_HEAD = msgspec.json.Decoder(_Head)
_MENTIONED = re.compile(rb'"(?:format|nodes)"\s*:')


def _is_flow(path: Path) -> bool:
    """Whether a file of a folder is a flow: its name has one dot, its top object the two keys.

    A file that is no JSON counts if it looks like a broken flow: it mentions one of the keys, or
    has a layout or tests beside it. So a damaged flow is told and not passed over.
    """
    if path.name.count(".") != 1 or path.name == CONNECTIONS or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SIZE + 1)
    except OSError:
        return True  # loading it says why
    try:
        head = _HEAD.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        if isinstance(err, msgspec.ValidationError):
            return False  # a list, a number
        mentioned = _MENTIONED.search(raw.replace(b"\0", b"")) is not None
        return mentioned or layout_path(path).exists() or cases_path(path).exists()
    return head.format is not UNSET and head.nodes is not UNSET


def find_same_ids(flows: Iterable[Flow]) -> list[Finding]:
    """A finding for each flow whose id an earlier one has (two folders in one run)."""
    first: dict[str, Any] = {}
    findings = []
    for flow in flows:
        if flow.id in first:
            what = f'the flow id "{flow.id}" is taken by {first[flow.id]}.'
            where = Where(file=flow.file, flow=flow.id)
            mend = "Rename one of the files."
            findings.append(Finding(slug="bad-id", what=what, mend=mend, where=where))
        first.setdefault(flow.id, flow.file)
    return findings
