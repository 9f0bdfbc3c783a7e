"""A checked flow cut into what runs: node types with their configs, regions in order, boundaries.

A plan holds no instance and touches nothing; two plans compared say what a deploy restarts.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from flowengine.config import validate_config
from flowengine.diff.restarts import Change, what_restarts
from flowengine.errors import Finding, FindingsError, Where
from flowengine.flow import Flow
from flowengine.flow.references import Kind, Resolved
from flowengine.node import NodeConfig, NodeType, Writes
from flowengine.registry import BrokenFamily, Registry, UnknownType

__all__ = ["Change", "Plan", "PlannedNode", "PlannedWire", "compare", "make_plan"]


class PlannedNode(msgspec.Struct, kw_only=True):
    """A node (or connection) as it will run. `raw` is its resolved config, for comparing."""

    id: str
    type: NodeType
    config: NodeConfig
    raw: Mapping[str, Any]
    connections: frozenset[str] = frozenset()

    def runs_like(self, other: "PlannedNode") -> bool:
        """Whether the other would run the very same way."""
        if self.type.name != other.type.name:
            return False
        # "60s" runs like "1m", and a default like the same value written out
        return bool(self.raw == other.raw or self.config == other.config)


class PlannedWire(msgspec.Struct, kw_only=True, frozen=True):
    """A wire between two planned nodes; its settings make it a boundary where messages wait."""

    source: str
    output: str
    target: str
    capacity: int | None = None
    bytes: int | None = None
    when_full: str | None = None
    is_boundary: bool = False


class Plan(msgspec.Struct, kw_only=True):
    """Everything a flow needs to run."""

    flow: str
    folder: str
    params: Mapping[str, Any]
    connections: dict[str, PlannedNode]
    nodes: dict[str, PlannedNode]
    wires: list[PlannedWire]
    order: list[str]
    writes: dict[str, Writes]
    """What the node and all that follows it change of a payload."""
    meets: frozenset[str] = frozenset()
    """Nodes of which two outputs lead to the same node, so that the order between them shows."""


def make_plan(flow: Flow, resolved: Resolved, registry: Registry, folder: str = ".") -> Plan:
    """The plan of a flow whose references are resolved; raises FindingsError with every fault."""
    findings: list[Finding] = []
    connections = {
        name: planned
        for name, spec in flow.connections.items()
        if (planned := _planned(flow, "connection", name, spec.type, resolved, registry, findings))
    }
    nodes: dict[str, PlannedNode] = {}
    for name, spec in flow.nodes.items():
        if spec.disabled:
            continue
        planned = _planned(flow, "node", name, spec.type, resolved, registry, findings)
        if planned is not None and planned.type.kind != "note":
            nodes[name] = planned
    if findings:
        raise FindingsError(findings)
    used = {name for node in nodes.values() for name in node.connections}
    wires = [
        PlannedWire(
            source=wire.source,
            output=wire.output or _first(nodes[wire.source]),
            target=wire.target,
            capacity=wire.capacity,
            bytes=wire.max_bytes,
            when_full=wire.when_full,
            is_boundary=wire.is_boundary,
        )
        for wire in flow.wires
        if wire.source in nodes and wire.target in nodes
    ]
    return Plan(
        flow=flow.id,
        folder=folder,
        params=resolved.params,
        connections={name: planned for name, planned in connections.items() if name in used},
        nodes=nodes,
        wires=wires,
        order=_order(nodes, wires),
        writes=_writes_behind(nodes, wires),
        meets=_meeting(nodes, wires),
    )


def compare(old: Plan | None, new: Plan) -> Change:
    """What a deploy of `new` over `old` does."""
    if old is None:
        return Change(
            started=list(new.nodes), stopped=[], restarted=[], kept=[], connections_kept=[]
        )
    same_ground = old.params == new.params and old.folder == new.folder
    return what_restarts(
        old.nodes, new.nodes, old.connections, new.connections, same_ground=same_ground
    )


def _planned(  # noqa: PLR0917  # one call site, and each is a different thing
    flow: Flow,
    what: Kind,
    name: str,
    type_name: str,
    resolved: Resolved,
    registry: Registry,
    findings: list[Finding],
) -> PlannedNode | None:
    def found(slug: str, text: str, mend: str, field: str) -> None:
        place = (
            Where(file=flow.file, flow=flow.id, node=name, field=field)
            if what == "node"
            else Where(file=flow.file, flow=flow.id, connection=name, field=field)
        )
        findings.append(Finding(slug=slug, what=text, mend=mend, where=place))

    try:
        kind = registry.find(type_name)
    except (UnknownType, BrokenFamily) as err:
        found("unknown-type", err.what, err.mend, "type")
        return None
    raw = resolved.config(what, name)
    config, faults = validate_config(kind.config, raw)
    for fault in faults:
        place = "config" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in fault.path)
        found(fault.slug, fault.what, fault.mend, place)
    if config is None:
        return None
    fields = kind.connection_fields()
    return PlannedNode(
        id=name,
        type=kind,
        config=config,
        raw=raw,
        connections=frozenset(
            value for field in fields if isinstance(value := getattr(config, field), str)
        ),
    )


def _first(node: PlannedNode) -> str:
    outputs = node.type.outputs_of(node.config)
    return outputs[0] if outputs else ""


def _order(nodes: Mapping[str, PlannedNode], wires: list[PlannedWire]) -> list[str]:
    """Node ids so that wires lead forward, apart from those that close a cycle at a boundary."""
    behind: dict[str, list[str]] = {name: [] for name in nodes}
    before = dict.fromkeys(nodes, 0)
    for wire in wires:
        if wire.is_boundary or nodes[wire.target].type.boundary:
            continue
        behind[wire.source].append(wire.target)
        before[wire.target] += 1
    ready = deque(name for name, number in before.items() if not number)
    order: list[str] = []
    while ready:
        name = ready.popleft()
        order.append(name)
        for target in behind[name]:
            before[target] -= 1
            if not before[target]:
                ready.append(target)
    placed = set(order)
    return order + [name for name in nodes if name not in placed]


def _meeting(nodes: Mapping[str, PlannedNode], wires: list[PlannedWire]) -> frozenset[str]:
    """Nodes of which two outputs meet behind, at the next boundary at the latest."""
    behind: dict[str, dict[str, list[str]]] = {name: {} for name in nodes}
    for wire in wires:
        if not wire.is_boundary:  # a wire with settings waits by itself, in its own order
            behind[wire.source].setdefault(wire.output, []).append(wire.target)

    def reach(starts: list[str]) -> set[str]:
        found: set[str] = set()
        todo = list(starts)
        while todo:
            name = todo.pop()
            if name in found:
                continue
            found.add(name)
            if not nodes[name].type.boundary:
                todo += [target for targets in behind[name].values() for target in targets]
        return found

    meets = set()
    for name, outputs in behind.items():
        if len(outputs) > 1:
            seen: set[str] = set()
            for starts in outputs.values():
                found = reach(starts)
                if seen & found:
                    meets.add(name)
                    break
                seen |= found
    return frozenset(meets)


_WEIGHT: dict[Writes, int] = {"nothing": 0, "top": 1, "anything": 2}


def _writes_behind(nodes: Mapping[str, PlannedNode], wires: list[PlannedWire]) -> dict[str, Writes]:
    """For each node, the most that it or anything behind it changes of a payload in place."""
    found: dict[str, Writes] = {
        name: node.type.writes_of(node.config) for name, node in nodes.items()
    }
    before: dict[str, list[str]] = {name: [] for name in nodes}
    for wire in wires:
        before[wire.target].append(wire.source)
    changed = deque(nodes)
    while changed:
        name = changed.popleft()
        for source in before[name]:
            if _WEIGHT[found[name]] > _WEIGHT[found[source]]:
                found[source] = found[name]
                changed.append(source)
    return found
