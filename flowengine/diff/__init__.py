"""Two versions of a flow compared by meaning: what changed, what moved, what a deploy restarts.

Key order, wire order, the spelling of numbers and durations, and a first output that is left out
are no difference (R39). `compare_flows` finds, `diff_text` shows.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from flowengine.check.types import TypeBook, book_of
from flowengine.config import validate_config
from flowengine.diff.renames import Ends, find_renames
from flowengine.diff.restarts import what_restarts
from flowengine.diff.values import differences, same
from flowengine.flow.model import ConnectionSpec, Flow, NodeSpec, Param, Wire, field_path
from flowengine.registry import Registry

Op = Literal["change", "add", "remove", "rename"]
ThingKind = Literal["node", "wire", "connection", "param", "doc", "title"]


class FlowChange(msgspec.Struct, kw_only=True, frozen=True):
    """One difference. `path` is None for a thing as a whole; `old`, `new` UNSET for nothing.

    A rename has the new id in `id` and the old one in `old`.
    """

    op: Op
    kind: ThingKind
    id: str
    path: str | None = None
    old: Any = UNSET
    new: Any = UNSET


class FlowDiff(msgspec.Struct, kw_only=True):
    """All differences of two versions of a flow; `layout` counts the nodes that moved."""

    flow: str
    changes: list[FlowChange]
    layout: int
    restarts: list[str]
    kept: list[str]

    @property
    def same(self) -> bool:
        """Whether the meaning is the same."""
        return not self.changes


class _Side:
    """One version of a flow, its nodes and connections ready to be compared."""

    def __init__(self, flow: Flow, book: TypeBook) -> None:
        self.flow = flow
        self.book = book
        self.wires: dict[tuple[Ends, int], Wire] = {}
        """By their ends, and by a number where a wire is there twice (a fault, but one to show)."""
        for wire in sorted(flow.wires, key=lambda wire: repr(_wire_facts(wire))):
            ends = wire.source, self._output(wire), wire.target
            number = 0
            while (ends, number) in self.wires:
                number += 1
            self.wires[ends, number] = wire

    @property
    def ends(self) -> list[Ends]:
        """The ends of every wire."""
        return [ends for ends, _ in self.wires]

    def _output(self, wire: Wire) -> str | None:
        if wire.output is not None or wire.source not in self.flow.nodes:
            return wire.output
        outputs = outputs_of(self.flow.nodes[wire.source], self.book)
        return outputs[0] if outputs else None

    def parts(self) -> tuple[dict[str, "_Part"], dict[str, "_Part"]]:
        """The nodes and connections that would run."""
        nodes = {}
        for name, spec in self.flow.nodes.items():
            known = self.book.known(spec.type)
            if not spec.disabled and (known is None or known.type.kind != "note"):
                nodes[name] = _Part(spec, self.book, self.flow.connections)
        links = {name: _Part(spec, self.book, {}) for name, spec in self.flow.connections.items()}
        return nodes, links


class _Part:
    """A node or connection as written, compared the way the engine compares plans."""

    def __init__(
        self, spec: NodeSpec | ConnectionSpec, book: TypeBook, links: Collection[str]
    ) -> None:
        self.spec = spec
        self.book = book
        self.links = links

    @property
    def connections(self) -> list[str]:
        """The connections of the flow that it names."""
        known = self.book.known(self.spec.type)
        named = [self.spec.config.get(key) for key in known.connections] if known else []
        return [name for name in named if type(name) is str and name in self.links]

    def runs_like(self, other: "_Part") -> bool:
        """Whether type and config mean the same; notes of people (`x-`) do not run."""
        schema = self.book.schema(self.spec.type)
        return self.spec.type == other.spec.type and same(
            _running(self.spec.config), _running(other.spec.config), schema
        )


def _running(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("x-")}


def outputs_of(spec: NodeSpec, book: TypeBook) -> tuple[str, ...] | None:
    """The outputs of a node as written, None where they are not known."""
    known = book.known(spec.type)
    if known is None:
        return None
    if not callable(known.type.outputs):
        return known.type.outputs
    try:
        config, _ = validate_config(known.type.config, _running(spec.config))
        return None if config is None else known.type.outputs_of(config)
    except Exception:  # noqa: BLE001  # a third party's validator may raise anything
        return None


def compare_flows(old: Flow | None, new: Flow | None, registry: Registry) -> FlowDiff:
    """What changed from `old` to `new`; None is a version in which the flow is not there.

    Flows as they were loaded, their layouts in `layout`. Raises ValueError if both are None.
    """
    flow = new or old
    if flow is None:
        raise ValueError("there is no flow to compare")
    book = book_of(registry)
    nothing = Flow(id=flow.id)
    before, after = _Side(old or nothing, book), _Side(new or nothing, book)
    renames = find_renames(before.flow.nodes, after.flow.nodes, before.ends, after.ends, book)
    changes = [
        *_of_text(before.flow, after.flow),
        *_of_params(before.flow, after.flow),
        *_of_specs("connection", _own(before.flow), _own(after.flow), {}, book),
        *_of_specs("node", before.flow.nodes, after.flow.nodes, renames, book),
        *_of_wires(before, after, renames),
    ]
    old_nodes, old_links = before.parts()
    new_nodes, new_links = after.parts()
    deploy = what_restarts(
        old_nodes,
        new_nodes,
        old_links,
        new_links,
        same_ground=not list(_of_param_values(before.flow, after.flow)),
    )
    running = {*deploy.started, *deploy.restarted}
    return FlowDiff(
        flow=flow.id,
        changes=changes,
        layout=_moved(before.flow.layout, after.flow.layout, renames),
        restarts=sorted(running),
        kept=sorted(deploy.kept),
    )


def _own(flow: Flow) -> dict[str, ConnectionSpec]:
    return {name: spec for name, spec in flow.connections.items() if name not in flow.shared}


def _moved(
    old: Mapping[str, tuple[int, int]],
    new: Mapping[str, tuple[int, int]],
    renames: Mapping[str, str],
) -> int:
    places = {renames.get(name, name): place for name, place in old.items()}
    return sum(name in places and places[name] != place for name, place in new.items())


def _of_text(old: Flow, new: Flow) -> Iterator[FlowChange]:
    """Title, doc and notes of the flow itself."""
    if old.title != new.title:
        yield _changed("title", new.id, None, _or_unset(old.title), _or_unset(new.title))
    if old.doc != new.doc:
        yield _changed("doc", new.id, None, _or_unset(old.doc), _or_unset(new.doc))
    for found in differences(old.extra, new.extra):
        yield _changed("doc", new.id, field_path(found.path), found.old, found.new)


def _of_params(old: Flow, new: Flow) -> Iterator[FlowChange]:
    for name in _names(old.params, new.params):
        one, other = old.params.get(name), new.params.get(name)
        facts = [_param_facts(param) for param in (one, other)]
        if one is None or other is None:
            yield _changed("param", name, None, facts[0] or UNSET, facts[1] or UNSET)
            continue
        schema = _PARAM_SCHEMAS.get(one.type) if one.type == other.type else None
        for found in differences(facts[0], facts[1], schema):
            yield _changed("param", name, field_path(found.path), found.old, found.new)


_PARAM_SCHEMAS: dict[str, Any] = {
    "duration": {"properties": {"default": {"type": "string", "format": "duration"}}},
    "integer": {"properties": {"default": {"type": "integer"}}},
}


def _param_facts(param: Param | None) -> dict[str, Any]:
    if param is None:
        return {}
    found = {"type": param.type, "default": param.default, "unit": param.unit, "doc": param.doc}
    kept = {key: value for key, value in found.items() if value is not None and value is not UNSET}
    return {**kept, **param.extra}


def _of_param_values(old: Flow, new: Flow) -> Iterator[FlowChange]:
    """Changes of params that nodes can see: which there are, and what they are by default."""
    for change in _of_params(old, new):
        if change.path is None or change.path.split(".")[0].split("[")[0] in {"type", "default"}:
            yield change


def _of_specs(
    kind: ThingKind,
    old: Mapping[str, NodeSpec] | Mapping[str, ConnectionSpec],
    new: Mapping[str, NodeSpec] | Mapping[str, ConnectionSpec],
    renames: Mapping[str, str],
    book: TypeBook,
) -> Iterator[FlowChange]:
    became = {after: before for before, after in renames.items()}
    for name in _names(old, new):
        if name in renames:
            continue
        one, other = old.get(became.get(name, name)), new.get(name)
        if name in became:
            yield FlowChange(op="rename", kind=kind, id=name, old=became[name], new=name)
        if one is None or other is None:
            yield _changed(kind, name, None, _spec_facts(one), _spec_facts(other))
            continue
        schema = book.schema(other.type) if one.type == other.type else None
        whole = {"properties": {"config": schema or {}}}
        if schema is not None and "$defs" in schema:
            whole["$defs"] = schema["$defs"]
        for found in differences(_spec_facts(one), _spec_facts(other), whole):
            yield _changed(kind, name, field_path(found.path), found.old, found.new)


def _spec_facts(spec: NodeSpec | ConnectionSpec | None) -> Any:
    if spec is None:
        return UNSET
    facts: dict[str, Any] = {"type": spec.type}
    if spec.title is not None:
        facts["title"] = spec.title
    if spec.doc is not None:
        facts["doc"] = spec.doc
    if isinstance(spec, NodeSpec) and spec.disabled:
        facts["disabled"] = True
    return {**facts, "config": spec.config, **spec.extra}


def _of_wires(before: _Side, after: _Side, renames: Mapping[str, str]) -> Iterator[FlowChange]:
    old = {
        ((renames.get(source, source), output, renames.get(target, target)), number): wire
        for ((source, output, target), number), wire in before.wires.items()
    }
    both = {**old, **after.wires}
    for ends in sorted(both, key=lambda ends: (ends[0][0], ends[0][1] or "", *ends[0][2:])):
        one, other = old.get(ends), after.wires.get(ends)
        facts = [_wire_facts(wire) for wire in (one, other)]
        text = _wire_text(other or one)
        if one is None or other is None:
            yield _changed("wire", text, None, facts[0], facts[1])
            continue
        for found in differences(facts[0], facts[1], _WIRE_SCHEMA):
            yield _changed("wire", text, field_path(found.path), found.old, found.new)


_WIRE_SCHEMA: dict[str, Any] = {
    "properties": {"bytes": {"type": "string", "format": "size"}, "capacity": {"type": "integer"}}
}


def _wire_text(wire: Wire | None) -> str:
    return "" if wire is None else f"{wire.start} -> {wire.target}"


def _wire_facts(wire: Wire | None) -> Any:
    if wire is None:
        return UNSET
    found = {
        "capacity": wire.capacity,
        "bytes": wire.bytes,
        "when_full": wire.when_full,
        "doc": wire.doc,
    }
    return {key: value for key, value in found.items() if value is not None} | wire.extra


def _names(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Ids of both versions, sorted as the canonical form has them."""
    return sorted({*old, *new})


def _or_unset(text: str | None) -> Any:
    return UNSET if text is None else text


def _changed(kind: ThingKind, name: str, path: str | None, old: Any, new: Any) -> FlowChange:
    op: Op = "add" if old is UNSET else "remove" if new is UNSET else "change"
    return FlowChange(op=op, kind=kind, id=name, path=path, old=old, new=new)


def as_json(diff: FlowDiff) -> dict[str, Any]:
    """What `flowengine diff --json` prints (R39); null where there was, or is, nothing."""
    return {
        "flow": diff.flow,
        "same": diff.same,
        "changes": [
            {
                "op": change.op,
                "kind": change.kind,
                "id": change.id,
                "path": change.path,
                "from": None if change.old is UNSET else change.old,
                "to": None if change.new is UNSET else change.new,
            }
            for change in diff.changes
        ],
        "layout": diff.layout,
        "restarts": diff.restarts,
        "kept": diff.kept,
    }
