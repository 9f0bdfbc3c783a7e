"""Findings of single nodes and connections: types, configs, references, expressions, templates."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import msgspec
from pydantic import BaseModel

from flowengine.check.types import KnownType, NoType, TypeBook, wrong_kind
from flowengine.config import ConfigFault, validate_config
from flowengine.errors import Finding
from flowengine.expression import Expression
from flowengine.flow.model import ConnectionSpec, Flow, NodeSpec, Path
from flowengine.flow.references import Kind, Resolved
from flowengine.node import NodeConfig
from flowengine.template import Template

MANY_NAMES = 200
MANY_GUESSES = 50

Severity = Literal["error", "warning"]


class CheckedNode(msgspec.Struct, kw_only=True):
    """A node with what could be found out about it; `outputs` None where they are not known."""

    id: str
    spec: NodeSpec
    known: KnownType | None = None
    config: NodeConfig | None = None
    outputs: tuple[str, ...] | None = None

    @property
    def kind(self) -> str:
        """`source`, `transform`, `sink`, `note`; `""` where the type is not known."""
        return "" if self.known is None else self.known.type.kind

    @property
    def has_input(self) -> bool:
        """Whether a wire may lead to it; yes where it is not known."""
        return self.kind not in {"source", "note"}

    @property
    def optional(self) -> frozenset[str]:
        """The outputs that may stay without a wire."""
        return frozenset() if self.known is None else self.known.type.optional


class Findings:
    """Collects the findings of one flow; those of a disabled node are warnings (R40)."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.list: list[Finding] = []
        self._wire_places: list[int] | None = None
        self._guesses = 0

    def add(
        self,
        slug: str,
        path: Path,
        what: str,
        mend: str = "",
        *,
        key: bool = False,
        severity: Severity = "error",
    ) -> None:
        """Note what is wrong with the value at a path of the file, or with its key."""
        if path[0] == "nodes" and len(path) > 1:
            spec = self.flow.nodes.get(str(path[1]))
            severity = "warning" if spec is not None and spec.disabled else severity
        where = self.flow.where(path, key=key)
        self.list.append(Finding(slug=slug, what=what, mend=mend, severity=severity, where=where))

    def warn(self, slug: str, path: Path, what: str, mend: str) -> None:
        """Note a warning of a node or connection as a whole, at its key."""
        self.add(slug, path, what, mend, key=True, severity="warning")

    def add_wire(
        self, slug: str, index: int, what: str, mend: str = "", *, severity: Severity = "error"
    ) -> None:
        """Note what is wrong with a wire of the flow's list."""
        place = self._wire_place(index)
        where = msgspec.structs.replace(
            self.flow.where(("wires", place)), wire=self.flow.wires[index].text
        )
        self.list.append(Finding(slug=slug, what=what, mend=mend, severity=severity, where=where))

    def near(self, name: str, known: Collection[str], otherwise: str, *, prefix: str = "") -> str:
        """The nearest known name as a remedy, else `otherwise`."""
        names: Collection[str] = known
        if len(known) > MANY_NAMES:  # comparing texts is slow, and a flow may have 50,000 nodes
            self._guesses += 1
            likely = [k for k in known if k[:1] == name[:1] and abs(len(k) - len(name)) < 3]
            names = likely[:MANY_NAMES] if self._guesses <= MANY_GUESSES else ()
        found = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        return f'Did you mean "{prefix}{found[0]}"?' if found else otherwise

    def _wire_place(self, index: int) -> int:
        """Where a wire stands in the file: loading leaves out wires that cannot be read."""
        if self._wire_places is None:
            self._wire_places = list(_places_of_wires(self.flow))
        return self._wire_places[index] if index < len(self._wire_places) else index


def _places_of_wires(flow: Flow) -> Iterator[int]:
    document = flow.document
    value = document.value if document is not None else None
    raw = value.get("wires", []) if type(value) is dict else []
    texts = [
        f"{item.get('from')} -> {item.get('to')}" if type(item) is dict else item for item in raw
    ]
    at = 0
    for wire in flow.wires:
        while at < len(texts) and texts[at] != wire.text:
            at += 1
        yield at
        at += 1


def check_nodes(
    flow: Flow, book: TypeBook, resolved: Resolved, findings: Findings
) -> dict[str, CheckedNode]:
    """Check every node and connection by itself; what is known of the nodes, for the rest."""
    findings.list += [_eased(flow, finding) for finding in resolved.findings]
    checker = _Checker(flow, book, resolved, findings)
    for name, connection in flow.connections.items():
        checker.one("connection", name, connection)
    found: dict[str, CheckedNode] = {}
    for name, spec in flow.nodes.items():
        known, config = checker.one("node", name, spec)
        outputs = _outputs(known, config)
        found[name] = CheckedNode(id=name, spec=spec, known=known, config=config, outputs=outputs)
    return found


def _eased(flow: Flow, finding: Finding) -> Finding:
    spec = flow.nodes.get(finding.where.node or "")
    if spec is not None and spec.disabled:
        return msgspec.structs.replace(finding, severity="warning")
    return finding


def _outputs(known: KnownType | None, config: NodeConfig | None) -> tuple[str, ...] | None:
    if known is None or (config is None and callable(known.type.outputs)):
        return None
    try:
        return known.type.outputs_of(config)
    except Exception:  # noqa: BLE001  # a third party's function; the config may lack a value
        return None


class _Checker:
    def __init__(self, flow: Flow, book: TypeBook, resolved: Resolved, findings: Findings) -> None:
        self.flow = flow
        self.book = book
        self.resolved = resolved
        self.findings = findings
        self.absent: dict[tuple[str, str], list[Path]] = {}
        for path in resolved.placeholders:
            self.absent.setdefault((str(path[0]), str(path[1])), []).append(path[3:])

    def one(
        self, kind: Kind, name: str, spec: NodeSpec | ConnectionSpec
    ) -> tuple[KnownType | None, NodeConfig | None]:
        """Check one node or connection."""
        home: Path = ("nodes" if kind == "node" else "connections", name)
        if not spec.type:
            return None, None  # loading has told that there is none
        known = self.book.find(spec.type)
        fault = known if isinstance(known, NoType) else wrong_kind(known.type, kind)
        if fault is not None or isinstance(known, NoType):
            if fault is not None:
                self.findings.add("unknown-type", (*home, "type"), fault.what, fault.mend)
            return None, None
        raw = self.resolved.config(kind, name)
        try:
            config, faults = validate_config(known.type.config, raw)
        except Exception as err:  # noqa: BLE001  # a third party's validator may raise anything
            what = f"{spec.type} fails on this config: {type(err).__name__}: {err}."
            mend = f"This is a fault of {known.type.origin}, which gives the type."
            self.findings.add("bad-value", (*home, "config"), what, mend)
            return known, None
        absent = self.absent.get((str(home[0]), name), [])
        for found in faults:
            if not any(found.path[: len(path)] == path for path in absent):
                self.fault((*home, "config"), found)
        if kind == "node":
            self.names(home, known, raw)
        if config is not None:
            self.texts((*home, "config"), config)
        return known, config

    def fault(self, home: Path, fault: ConfigFault) -> None:
        """Note a fault of a config."""
        key = fault.slug == "unknown-key"
        self.findings.add(fault.slug, (*home, *fault.path), fault.what, fault.mend, key=key)

    def names(self, home: Path, known: KnownType, raw: Mapping[str, Any]) -> None:
        """Note connections and nodes that a config names and that are not there, or do not fit."""
        for key, types in known.connections.items():
            value = raw.get(key)
            if type(value) is not str:
                continue
            path = (*home, "config", key)
            spec = self.flow.connections.get(value)
            if spec is None:
                mend = self.connection_mend(value, types)
                self.findings.add("bad-reference", path, f'no connection "{value}".', mend)
            elif types and spec.type not in types and self.book.known(spec.type):
                fitting = [n for n, c in self.flow.connections.items() if c.type in types]
                what = f'the connection "{value}" is of type {spec.type}, not {_one_of(types)}.'
                mend = (
                    f'Use "{fitting[0]}".' if fitting else f"Add a connection of type {types[0]}."
                )
                self.findings.add("wrong-connection-type", path, what, mend)
        for key in known.node_lists:
            value = raw.get(key)
            for index, name in enumerate(value if type(value) is list else ()):
                if type(name) is str and name not in self.flow.nodes:
                    mend = self.findings.near(name, self.flow.nodes, "Remove it.")
                    path = (*home, "config", key, index)
                    self.findings.add("unknown-node", path, f'no node "{name}".', mend)

    def connection_mend(self, name: str, types: tuple[str, ...]) -> str:
        """What to do about a connection that is not there."""
        all_specs = self.flow.connections.items()
        fitting = [key for key, spec in all_specs if not types or spec.type in types]
        kind = types[0] if types else "..."
        mend = f'Add it to "connections": "{name}": {{"type": "{kind}", "config": {{...}}}}.'
        if fitting:
            mend = f"There are: {', '.join(fitting)[:200]}. {mend}"
        return self.findings.near(name, fitting, mend)

    def texts(self, home: Path, config: NodeConfig) -> None:
        """Note params that expressions and templates name and the flow lacks, and odd templates."""
        for inside, text in _texts(config):
            path = (*home, *inside)
            for name in text.params:
                if name not in self.flow.params:
                    slug = "bad-template" if isinstance(text, Template) else "bad-expression"
                    mend = self.findings.near(
                        name,
                        self.flow.params,
                        "Declare it in params.",
                        prefix="params.",
                    )
                    what = f'no param "{name}" for "{text.text[:60]}".'
                    self.findings.add(slug, path, what, mend)
            if isinstance(text, Template):
                for slug, what, mend in text.warnings:
                    self.findings.add(slug, path, what, mend, severity="warning")


def _one_of(types: tuple[str, ...]) -> str:
    return types[0] if len(types) == 1 else f"{', '.join(types[:-1])} or {types[-1]}"


def _texts(value: Any, path: Path = ()) -> Iterator[tuple[Path, Expression | Template]]:
    """Every expression and template in a config, with its path in the file."""
    if isinstance(value, Expression | Template):
        yield path, value
    elif isinstance(value, BaseModel):
        infos = type(value).model_fields
        for name in value.model_fields_set:
            yield from _texts(getattr(value, name), (*path, infos[name].alias or name))
    elif type(value) is dict:
        for key, item in value.items():
            yield from _texts(item, (*path, str(key)))  # keys may be compiled, as paths are
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
