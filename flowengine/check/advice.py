"""Warnings: what is allowed and probably not meant.

Outputs without a wire, nodes that nothing reaches, connections that nobody uses, and times of
arrival in a store that tells records apart by time.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from flowengine.check.nodes import CheckedNode, Findings
from flowengine.check.types import TypeBook
from flowengine.check.wires import ERROR, output_of
from flowengine.expression import Expression
from flowengine.flow.model import Flow
from flowengine.flow.references import Resolved
from flowengine.graph import FlowGraph


def advise(
    flow: Flow,
    book: TypeBook,
    nodes: Mapping[str, CheckedNode],
    resolved: Resolved,
    findings: Findings,
) -> None:
    """Note all warnings of a flow."""
    _unconnected(flow, nodes, findings)
    _unused_connections(flow, book, nodes, resolved, findings)
    graph = FlowGraph(flow, leave_out=[n.id for n in nodes.values() if n.kind == "note"])
    _unreachable(graph, nodes, findings)
    _time_from_arrival(graph, nodes, findings)


def _unconnected(flow: Flow, nodes: Mapping[str, CheckedNode], findings: Findings) -> None:
    """R64: on a node of which no output is wired, and on each output not declared optional."""
    wired: dict[str, set[str | None]] = {}
    for wire in flow.wires:
        output = output_of(wire, nodes.get(wire.source))
        wired.setdefault(wire.source, set()).add(output)
    for node in nodes.values():
        if _is_aside(node) or node.spec.disabled:
            continue
        needed = [x for x in node.outputs or () if x != ERROR and x not in node.optional]
        has = wired.get(node.id, set())
        loose = [output for output in needed if output not in has]
        if loose and not has:
            what = "no output of it is wired: what leaves it is dropped and counted."
            mend = f"Wire {_listed(loose)}, or remove the node."
            findings.add(
                "unconnected", ("nodes", node.id), what, mend, key=True, severity="warning"
            )
            continue
        for output in loose:
            what = f'its output "{output}" is not wired: what leaves by it is dropped and counted.'
            mend = f'Wire it: "{node.id}.{output} -> ...".'
            findings.add(
                "unconnected", ("nodes", node.id), what, mend, key=True, severity="warning"
            )


def _is_aside(node: CheckedNode) -> bool:
    """Whether it takes no part in "unconnected" (R53): comments, and what tells of states."""
    if node.kind == "note":
        return True
    return node.known is not None and getattr(node.known.type.target, "listens", "") == "status"


def _listed(names: list[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _unused_connections(
    flow: Flow,
    book: TypeBook,
    nodes: Mapping[str, CheckedNode],
    resolved: Resolved,
    findings: Findings,
) -> None:
    used: set[str] = set()
    for node in nodes.values():
        if node.known is None:
            used.update(_texts_in(node.spec.config))  # any text of it may be a connection's id
            continue
        raw = resolved.config("node", node.id)
        used.update(v for key in node.known.connections if type(v := raw.get(key)) is str)
    for name, spec in flow.connections.items():
        if name in used or name in flow.shared:
            continue
        known = book.known(spec.type)
        if known is not None and known.type.kind != "connection":
            continue  # it is no connection: told
        findings.warn(
            "unused-connection",
            ("connections", name),
            f'no node uses the connection "{name}".',
            "Remove it, or name it in the config of a node.",
        )


def _texts_in(value: Any) -> Iterator[str]:
    if type(value) is str:
        yield value
    elif type(value) is dict:
        for item in value.values():
            yield from _texts_in(item)
    elif type(value) is list:
        for item in value:
            yield from _texts_in(item)


def _unreachable(graph: FlowGraph, nodes: Mapping[str, CheckedNode], findings: Findings) -> None:
    """Nodes that no source leads to; only the first of each way, the rest follows from it.

    A wire to or from a node that is not there may be meant to lead to any of them: nothing is said.
    """
    if any(wire.source not in nodes or wire.target not in nodes for wire in graph.flow.wires):
        return
    sources = [n.id for n in nodes.values() if n.kind == "source" or n.known is None]
    reached = graph.reach(sources)
    lost = [n.id for n in nodes.values() if n.kind in {"transform", "sink"} and n.id not in reached]
    for name in graph.roots(lost) if lost else ():
        has_wires = bool(graph.before(name))
        is_alone = not has_wires and not graph.after(name) and nodes[name].kind != "sink"
        if nodes[name].spec.disabled or is_alone:  # a node all alone is unconnected
            continue
        what = "only nodes of its own cycle lead to it" if has_wires else "no wire leads to it"
        findings.warn(
            "unreachable",
            ("nodes", name),
            f"{what}: no message ever comes to it.",
            "Wire a source to it, or remove it.",
        )


def _time_from_arrival(
    graph: FlowGraph, nodes: Mapping[str, CheckedNode], findings: Findings
) -> None:
    """R56: what a source delivers a second time becomes a second record."""
    sinks = [node.id for node in nodes.values() if _tells_by_time(node)]
    ends = graph.leads_to(sinks, stop=lambda name: _sets_time(nodes[name]))
    for node in nodes.values():
        if node.id not in ends or not _stamps_arrival(node):
            continue
        findings.warn(
            "time-from-arrival",
            ("nodes", node.id),
            f'its messages get the time of arrival, and "{ends[node.id]}" tells records apart by '
            "time: a message that is delivered twice becomes two records.",
            'Set "time" to where the message has its own, as "time": "payload.timestamp".',
        )


def _tells_by_time(node: CheckedNode) -> bool:
    """Whether it is a store whose records are told apart by the message's time."""
    if node.known is None or not node.known.type.time_keyed or node.spec.disabled:
        return False
    own = getattr(node.config, "time", None)
    return not isinstance(own, Expression) or "time" in own.paths


def _stamps_arrival(node: CheckedNode) -> bool:
    """Whether it is a source whose far side repeats what was not acknowledged, without a time."""
    if node.kind != "source" or node.known is None or node.config is None or node.spec.disabled:
        return False
    target, config = node.known.type.target, node.config
    if getattr(target, "runs_in_tests", False) or getattr(target, "listens", ""):
        return False
    has_time_field = "time" in type(config).model_fields
    return has_time_field and getattr(config, "time", None) is None and bool(_qos(config))


def _qos(config: Any) -> Any:
    """MQTT at QoS 0 is never repeated; other sources have no such field."""
    return getattr(config, "qos", 1)


def _sets_time(node: CheckedNode) -> bool:
    """Whether the node gives messages another time, as `compute` with `"set": {"time": ...}`."""
    paths = node.spec.config.get("set")
    return type(paths) is dict and "time" in paths
