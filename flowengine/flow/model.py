"""A flow as plain data, in the order of its file, with the place of each of its parts.

Nothing here knows node types: a config is kept as it was written, references and all. `x-` keys are
kept in `extra`.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from flowengine.errors import Where
from flowengine.flow.strict_json import Document
from flowengine.moments import parse_size

FORMAT = 1
"""The newest format of flow files that is understood."""

REFERENCES = ("$param", "$env", "$secret")
PARAM_TYPES = ("number", "integer", "text", "boolean", "duration", "list", "map")
WHEN_FULL = ("block", "drop-oldest", "drop-newest", "spill")

SLUG = re.compile(r"[a-z][a-z0-9-]*")

Path = Sequence[str | int]


class Param(msgspec.Struct, kw_only=True):
    """A named value that a site may set; without a default it must be given (R19)."""

    type: str
    default: Any = UNSET
    unit: str | None = None
    doc: str | None = None
    extra: dict[str, Any] = {}


class ConnectionSpec(msgspec.Struct, kw_only=True):
    """A connection as it is written."""

    type: str
    config: dict[str, Any] = {}
    title: str | None = None
    doc: str | None = None
    extra: dict[str, Any] = {}


class NodeSpec(msgspec.Struct, kw_only=True):
    """A node as it is written; a disabled one is absent from the plan (R40)."""

    type: str
    config: dict[str, Any] = {}
    title: str | None = None
    doc: str | None = None
    disabled: bool = False
    extra: dict[str, Any] = {}


class Wire(msgspec.Struct, kw_only=True):
    """A wire; `output` None is the first output of its source.

    `capacity` (messages), `bytes` (a size as written, `"64MB"`) and `when_full` make a boundary of
    it (R41). `text` is the wire as it was written, or the ends of a wire object.
    """

    source: str
    output: str | None = None
    target: str
    capacity: int | None = None
    bytes: str | None = None
    when_full: str | None = None
    doc: str | None = None
    extra: dict[str, Any] = {}
    text: str = ""

    def __post_init__(self) -> None:
        self.text = self.text or f"{self.start} -> {self.target}"

    @property
    def start(self) -> str:
        """Source and output as they are written in a wire: `"alarm.raised"` or `"readings"`."""
        return self.source if self.output is None else f"{self.source}.{self.output}"

    @property
    def is_boundary(self) -> bool:
        """Whether its settings make a bounded wire of its own."""
        return any(x is not None for x in (self.capacity, self.bytes, self.when_full))

    @property
    def max_bytes(self) -> int | None:
        """`bytes` as a number."""
        return None if self.bytes is None else parse_size(self.bytes)


class Shared(dict[str, ConnectionSpec]):
    """The connections of a folder's `connections.json`, with the text they came from."""

    def __init__(self, file: str | None = None, document: Document | None = None) -> None:
        super().__init__()
        self.file = file
        self.document = document


class Flow(msgspec.Struct, kw_only=True, eq=False):
    """A flow as its file has it.

    `shared` names the connections that came from `connections.json`. `layout` and `tests` are what
    a bundle holds of them. `whole` is False when something in the file could not be kept (a
    duplicate key, a value of the wrong kind): such a flow must not be written back.
    """

    id: str
    file: str | None = None
    format: int = FORMAT
    schema: str | None = None
    title: str | None = None
    doc: str | None = None
    params: dict[str, Param] = {}
    connections: dict[str, ConnectionSpec] = {}
    nodes: dict[str, NodeSpec] = {}
    wires: list[Wire] = []
    layout: dict[str, tuple[int, int]] = {}
    tests: list[Any] | None = None
    extra: dict[str, Any] = {}
    shared: set[str] = set()
    whole: bool = True
    document: Document | None = None
    shared_from: Shared | None = None

    def position(self, path: Path, *, key: bool = False) -> tuple[int, int] | None:
        """Line and column of a value of the file as it was loaded, or of its key.

        `("nodes", "alarm", "config", "above")`; for a path that leads to nothing, the place of the
        last thing on the way. None for a flow that has no text.
        """
        document = self._home(path)[1]
        return None if document is None else document.position(path, key=key)

    def where(self, path: Path, *, key: bool = False) -> Where:
        """The place of `path` as a finding says it (R13)."""
        file, document = self._home(path)
        wire = None
        if len(path) > 1 and path[0] == "wires" and isinstance(path[1], int):
            wire = self.wires[path[1]].text if path[1] < len(self.wires) else None
        return place_of(path, flow=self.id, file=file, document=document, key=key, wire=wire)

    def _home(self, path: Path) -> tuple[str | None, Document | None]:
        shared = self.shared_from
        is_shared = len(path) > 1 and path[0] == "connections" and path[1] in self.shared
        if is_shared and shared is not None:
            return shared.file, shared.document
        return self.file, self.document


def place_of(
    path: Path,
    *,
    flow: str | None,
    file: str | None,
    document: Document | None,
    key: bool = False,
    wire: str | None = None,
) -> Where:
    """The `Where` of a path from the top of a flow file."""
    line, column = (None, None) if document is None else document.position(path, key=key)
    node = connection = None
    inside = path
    if len(path) > 1 and path[0] == "nodes":
        node, inside = str(path[1]), path[2:]
    elif len(path) > 1 and path[0] == "connections":
        connection, inside = str(path[1]), path[2:]
    return Where(
        file=file,
        line=line,
        column=column,
        flow=flow,
        node=node,
        connection=connection,
        wire=wire,
        field=field_path(inside) or None,
    )


_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*")


def field_path(path: Path) -> str:
    """A path as findings write it: `config.rules[1].when`, `config.set["payload.a"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step, ensure_ascii=False)}]"
    return text


def reference_of(value: Any) -> str | None:
    """`"$param"`, `"$env"` or `"$secret"` when `value` is such a reference, else None."""
    if type(value) is dict:
        for name in REFERENCES:
            if name in value:
                return name
    return None


def slug_of(text: str) -> str:
    """The readable id for a title: lower case, hyphens; `"flow"` if nothing of it is left."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    slug = re.sub(r"^[0-9-]+", "", slug)
    return slug or "flow"
