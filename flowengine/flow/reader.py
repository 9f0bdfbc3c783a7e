"""From the text of a flow file to a `Flow`, with every structural fault at once.

What needs node types (unknown types, outputs, config values) or the graph (ends of wires, duplicate
wires, cycles) is left to `check`; values of references are left to `references`.
"""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from flowengine.errors import Finding, describe_value
from flowengine.flow.model import (
    PARAM_TYPES,
    SLUG,
    WHEN_FULL,
    ConnectionSpec,
    Flow,
    NodeSpec,
    Param,
    Path,
    Shared,
    Wire,
)
from flowengine.flow.params import fit
from flowengine.flow.parts import PARAM_NAME, PartReader, extra, guess
from flowengine.flow.strict_json import read_json
from flowengine.moments import parse_size

MAX_NODES = 50_000

FLOW_KEYS = (
    "$schema",
    "format",
    "title",
    "doc",
    "params",
    "connections",
    "nodes",
    "wires",
    "layout",
    "tests",
)
LAYOUT_KEYS = ("$schema", "format", "nodes")
SHARED_KEYS = ("$schema", "format", "doc", "connections")
PARAM_KEYS = ("type", "default", "unit", "doc")
CONNECTION_KEYS = ("type", "title", "doc", "config")
NODE_KEYS = ("type", "title", "doc", "disabled", "config")
WIRE_KEYS = ("from", "to", "capacity", "bytes", "when_full", "doc")

_START = r"([a-z][a-z0-9-]*)(?:\.([A-Za-z0-9_-]+))?"
_WIRE = re.compile(rf"\s*{_START}\s*->\s*([a-z][a-z0-9-]*)\s*")
_WIRE_START = re.compile(_START)


def read_flow(
    source: bytes | str, *, flow_id: str, file: str | None, shared: Mapping[str, Any] | None = None
) -> tuple[Flow | None, list[Finding]]:
    """The flow in a file's text, None if there is none to speak of, and what is wrong with it."""
    reader = FlowReader(read_json(source), flow_id, file)
    flow = reader.flow()
    if flow is not None:
        flow.shared_from = shared if isinstance(shared, Shared) else None
        for name, spec in (shared or {}).items():
            if name not in flow.connections:
                flow.connections[name] = spec
                flow.shared.add(name)
                continue
            what = f'"{name}" stands in connections.json, too; the flow\'s own is used.'
            mend = "Rename or remove one of them."
            path = ("connections", name)
            reader.add("shadowed-connection", path, what, mend, key=True, severity="warning")
    return flow, reader.sorted()


def read_shared(source: bytes | str, *, file: str | None) -> tuple[Shared, list[Finding]]:
    """The connections in a `connections.json`, and what is wrong with it."""
    reader = FlowReader(read_json(source), None, file)
    shared = Shared(file, reader.document)
    top = reader.top(SHARED_KEYS)
    if top is not None:
        shared.update(reader.connections(top))
        if "connections" not in top:
            mend = 'Write {"format": 1, "connections": {...}}.'
            reader.add("missing-field", (), 'there is no "connections".', mend)
    return shared, reader.sorted()


def read_layout(
    source: bytes | str, *, file: str | None
) -> tuple[dict[str, tuple[int, int]], list[Finding]]:
    """The positions in a layout file; what is wrong with it is a warning, it restarts nothing."""
    reader = FlowReader(read_json(source), None, file)
    top = reader.top(LAYOUT_KEYS)
    found = {} if top is None else reader.layout(("nodes",), top.get("nodes", {}))
    return found, [replace(finding, severity="warning") for finding in reader.sorted()]


class FlowReader(PartReader):
    """Reads the document of a flow, of shared connections or of a layout."""

    def flow(self) -> Flow | None:
        """The whole document as a flow."""
        top = self.top(FLOW_KEYS)
        if top is None:
            return None
        if "nodes" not in top:
            self.add("missing-field", (), 'there is no "nodes".', 'Write "nodes": {}.')
        return Flow(
            id=self.flow_id or "",
            file=self.file,
            schema=self.text((), top, "$schema"),
            title=self.text((), top, "title"),
            doc=self.doc((), top),
            params=self.params(top),
            connections=self.connections(top),
            nodes=self.nodes(top),
            wires=self.wires(top),
            layout=self.layout(("layout",), top.get("layout", {})),
            tests=self.tests(top),
            extra=extra(top, FLOW_KEYS),
            whole=self.whole,
            document=self.document,
        )

    def params(self, top: dict[str, Any]) -> dict[str, Param]:
        """The declared params."""
        found: dict[str, Param] = {}
        for name, raw in self.map((), top, "params"):
            path = ("params", name)
            if not PARAM_NAME.fullmatch(name):
                mend = "Use letters, digits and _, beginning with a letter."
                self.add("bad-id", path, f'"{name}" is no name for a param.', mend, key=True)
            self.unknown_keys(path, raw, PARAM_KEYS)
            kind = raw.get("type", UNSET)
            if kind is UNSET:
                self.lacks(path, "type", f"Write one of {', '.join(PARAM_TYPES)}.")
                kind = "text"
            elif kind not in PARAM_TYPES:
                what = f"{describe_value(kind)} is no type of param."
                self.bad((*path, "type"), what, guess(kind, PARAM_TYPES))
                continue
            default = raw.get("default", UNSET)
            if default is not UNSET:
                self.values((*path, "default"), default, literal=True)
                try:
                    fit(default, kind)
                except ValueError as err:
                    mend = f"Write a value of that type, or change the type from {kind}."
                    self.add("bad-value", (*path, "default"), str(err), mend)
            found[name] = Param(
                type=kind,
                default=default,
                unit=self.text(path, raw, "unit"),
                doc=self.doc(path, raw),
                extra=extra(raw, PARAM_KEYS),
            )
        return found

    def connections(self, top: dict[str, Any]) -> dict[str, ConnectionSpec]:
        """The connections, their configs as written."""
        found: dict[str, ConnectionSpec] = {}
        for name, raw in self.map((), top, "connections"):
            path = ("connections", name)
            self.slug(path, name, "connection")
            self.unknown_keys(path, raw, CONNECTION_KEYS)
            found[name] = ConnectionSpec(
                type=self.type(path, raw, "mqtt.broker"),
                config=self.config(path, raw),
                title=self.text(path, raw, "title"),
                doc=self.doc(path, raw),
                extra=extra(raw, CONNECTION_KEYS),
            )
        return found

    def nodes(self, top: dict[str, Any]) -> dict[str, NodeSpec]:
        """The nodes, their configs as written."""
        found: dict[str, NodeSpec] = {}
        entries = self.map((), top, "nodes")
        if len(entries) > MAX_NODES:
            what = f"the flow has {len(entries):,} nodes, more than {MAX_NODES:,}."
            self.add("too-large", ("nodes",), what, "Split it into several flows.")
        for name, raw in entries:
            path = ("nodes", name)
            self.slug(path, name, "node")
            self.unknown_keys(path, raw, NODE_KEYS)
            disabled = raw.get("disabled", False)
            if type(disabled) is not bool:
                what = f"{describe_value(disabled)} is neither true nor false."
                self.bad((*path, "disabled"), what, "Write true, or leave it out.")
                disabled = False
            found[name] = NodeSpec(
                type=self.type(path, raw, "mqtt.in"),
                config=self.config(path, raw),
                title=self.text(path, raw, "title"),
                doc=self.doc(path, raw),
                disabled=disabled,
                extra=extra(raw, NODE_KEYS),
            )
        return found

    def wires(self, top: dict[str, Any]) -> list[Wire]:
        """The wires; one that cannot be read is left out and a finding."""
        raw_wires = top.get("wires", [])
        if type(raw_wires) is not list:
            self.bad(("wires",), "the wires are no list.", 'Write ["from -> to"].')
            return []
        found: list[Wire] = []
        for index, raw in enumerate(raw_wires):
            wire: Wire | None = None
            if type(raw) is str:
                wire = self.wire_text(index, raw)
            elif type(raw) is dict:
                wire = self.wire_object(index, raw)
            else:
                what = f"{describe_value(raw)} is no wire."
                self.bad(("wires", index), what, 'Write "from -> to" or "from.output -> to".')
            if wire is not None:
                found.append(wire)
        return found

    def wire_text(self, index: int, raw: str) -> Wire | None:
        """A wire written as text."""
        match = _WIRE.fullmatch(raw)
        if match is not None:
            return Wire(source=match[1], output=match[2], target=match[3], text=raw)
        mend = 'Write "from -> to" or "from.output -> to".'
        if "->" not in raw:
            mend = f"The arrow is written ->. {mend}"
        elif "." in raw.rpartition("->")[2]:
            mend = f"A node has one input, which has no name. {mend}"
        self.whole = False
        what = f"{describe_value(raw)} is no wire."
        self.add("bad-value", ("wires", index), what, mend, wire=raw)
        return None

    def wire_object(self, index: int, raw: dict[str, Any]) -> Wire | None:
        """A wire with settings."""
        path = ("wires", index)
        start, target = raw.get("from"), raw.get("to")
        text = f"{start} -> {target}"
        before = len(self.findings)
        self.unknown_keys(path, raw, WIRE_KEYS)
        for name in ("from", "to"):
            if name not in raw:
                self.lacks(path, name, 'A wire is {"from": "a.out", "to": "b", "capacity": 1000}.')
        begin = _WIRE_START.fullmatch(start) if type(start) is str else None
        if begin is None and "from" in raw:
            what = f"{describe_value(start)} is no beginning of a wire."
            self.bad((*path, "from"), what, 'Write "node" or "node.output".')
        if (type(target) is not str or not SLUG.fullmatch(target)) and "to" in raw:
            self.bad((*path, "to"), f"{describe_value(target)} is no node id.", 'Write "node".')
        capacity = raw.get("capacity")
        if "capacity" in raw and (type(capacity) is not int or capacity < 1):
            what = f"{describe_value(capacity)} is no number of messages."
            self.bad((*path, "capacity"), what, "Write a whole number of 1 or more.")
        size = raw.get("bytes")
        if "bytes" in raw:
            try:
                if parse_size(size) < 1:
                    self.bad((*path, "bytes"), f'"{size}" leaves no room.', 'Write "1MB" or so.')
            except ValueError as err:
                self.bad((*path, "bytes"), str(err))
        full = raw.get("when_full")
        if "when_full" in raw and full not in WHEN_FULL:
            what = f"{describe_value(full)} is no way to be full."
            self.bad((*path, "when_full"), what, guess(full, WHEN_FULL))
        if set(raw) == {"from", "to"}:
            what = "a wire object without settings is needless."
            self.add("bad-value", path, what, f'Write "{text}".', wire=text)
        doc = self.doc(path, raw)
        if begin is None or type(target) is not str or not self.whole_since(before):
            return None
        return Wire(
            source=begin[1],
            output=begin[2],
            target=target,
            capacity=capacity,
            bytes=size,
            when_full=full,
            doc=doc,
            extra=extra(raw, WIRE_KEYS),
            text=text,
        )

    def whole_since(self, before: int) -> bool:
        """Whether no value was refused since `before` findings."""
        refused = {"bad-value", "missing-field"}
        new = self.findings[before:]
        lost = [f for f in new if f.slug in refused and "needless" not in f.what]
        self.whole = self.whole and not lost
        return not lost

    def layout(self, path: Path, raw: Any) -> dict[str, tuple[int, int]]:
        """Positions of nodes: `{"readings": [40, 120]}`."""
        found: dict[str, tuple[int, int]] = {}
        if type(raw) is not dict:
            self.bad(path, "the layout is no object.", 'Write {"node": [40, 120]}.')
            return found
        for name, place in raw.items():
            is_pair = type(place) is list and len(place) == 2
            if is_pair and all(type(number) is int for number in place):
                found[name] = (place[0], place[1])
            else:
                what = f"{describe_value(place)} is no place."
                self.bad((*path, name), what, "Write two whole numbers: [40, 120].")
        return found

    def tests(self, top: dict[str, Any]) -> list[Any] | None:
        """The tests of a bundle, unread."""
        tests = top.get("tests")
        if "tests" in top and type(tests) is not list:
            self.bad(("tests",), "the tests are no list.", "Write a list of tests.")
            return None
        return tests
