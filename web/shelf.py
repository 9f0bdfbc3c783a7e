"""The folder of flows as it lies on disk: what is there, read anew when it changes, written whole.

Every name that comes from outside is a slug and becomes a file of this one folder: there is no
other way from an id to a path.
"""

import hashlib
import time
from pathlib import Path

import msgspec

from flowengine.check.types import book_of
from flowengine.errors import Finding, UsageError
from flowengine.flow import (
    CONNECTIONS,
    SLUG,
    Flow,
    Shared,
    cases_path,
    find_flows,
    layout_path,
    load_layout,
    load_shared,
    parse_flow,
    read_file,
)
from flowengine.flow.canonical import canonical, canonical_layout
from flowengine.flow.writing import write_file
from flowengine.registry import REGISTRY
from flowengine.web.problem import Problem, not_found

REMOVED = ".removed"
Stamp = tuple[int, int]


class Filed(msgspec.Struct, kw_only=True, frozen=True):
    """A flow file: its text in canonical form (as it is, where it has faults) and its digest."""

    text: str
    digest: str
    at: float


class Shelf:
    """The flow files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, tuple[Stamp, Filed]] = {}
        self._shared: tuple[Stamp | None, Shared, list[Finding]] | None = None

    def path(self, flow: str) -> Path:
        """Where a flow's file is; 404 for what is no id."""
        if not SLUG.fullmatch(flow) or len(flow) > 100 or f"{flow}.json" == CONNECTIONS:
            raise not_found(f'flow "{flow}"')
        return self.folder / f"{flow}.json"

    def ids(self) -> list[str]:
        """The flows that have a file."""
        try:
            return [path.stem for path in find_flows([self.folder]) if SLUG.fullmatch(path.stem)]
        except UsageError:  # there is none yet
            return []

    def read(self, flow: str) -> Filed | None:
        """A flow's file, None if there is none."""
        path = self.path(flow)
        stamp = _stamp(path)
        if stamp is None:
            self._read.pop(flow, None)
            return None
        known = self._read.get(flow)
        if known is not None and known[0] == stamp:
            return known[1]
        raw, _ = read_file(path, flow)
        if raw is None:
            raw = b""
        filed = Filed(text=self._canonical(flow, raw), digest=digest(raw), at=stamp[0] / 1e9)
        self._read[flow] = stamp, filed
        return filed

    def _canonical(self, flow: str, raw: bytes) -> str:
        read, _ = parse_flow(raw, flow_id=flow, shared=self.shared()[0])
        if read is None or not read.whole:
            return raw.decode("utf-8", "replace")
        return text_of(read)

    def shared(self) -> tuple[Shared, list[Finding]]:
        """The connections that the flows of the folder share."""
        stamp = _stamp(self.folder / CONNECTIONS)
        if self._shared is None or self._shared[0] != stamp:
            self._shared = (stamp, *load_shared(self.folder))
        return self._shared[1], self._shared[2]

    @property
    def shared_stamp(self) -> Stamp | None:
        """What changes with the shared connections."""
        return _stamp(self.folder / CONNECTIONS)

    def layout(self, flow: str) -> dict[str, tuple[int, int]]:
        """Places from the layout file."""
        return load_layout(layout_path(self.path(flow)))[0]

    def cases(self, flow: str) -> str | None:
        """The text of the test file, None if there is none."""
        path = cases_path(self.path(flow))
        raw = read_file(path, flow)[0] if path.exists() else None
        return None if raw is None else raw.decode("utf-8", "replace")

    def write(self, flow: str, text: str) -> str:
        """Write a flow's file; its digest."""
        _write(self.path(flow), text)
        return digest(text.encode())

    def write_layout(self, flow: str, places: dict[str, tuple[int, int]], nodes: set[str]) -> None:
        """Write a flow's layout file, of these nodes."""
        text = canonical_layout(places, nodes)
        path = layout_path(self.path(flow))
        if places and (not path.exists() or path.read_text("utf-8") != text):
            _write(path, text)

    def write_cases(self, flow: str, text: str) -> None:
        """Write a flow's test file."""
        _write(cases_path(self.path(flow)), text)

    def remove(self, flow: str) -> None:
        """Move a flow's files out of the way; nothing is deleted."""
        path = self.path(flow)
        aside = self.folder / REMOVED
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        for file in (path, layout_path(path), cases_path(path)):
            if file.exists():
                aside.mkdir(exist_ok=True)
                file.rename(aside / f"{stamp}-{file.name}")


def text_of(flow: Flow) -> str:
    """The canonical text of a whole flow."""
    book = book_of(REGISTRY)
    return canonical(flow, model_order=book.schema, first_output=book.first_output)


def digest(raw: bytes) -> str:
    """What tells one content of a file from another."""
    return hashlib.sha256(raw).hexdigest()


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _write(path: Path, text: str) -> None:
    try:
        write_file(path, text)
    except OSError as err:
        raise Problem(
            503,
            "unavailable",
            f"{path.name} cannot be written: {err.strerror or err}.",
            "Free space, or give the engine the right to write to the folder of flows.",
        ) from err
