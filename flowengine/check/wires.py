"""Findings of wires: ends that are not there, outputs that no node has, doubles, endless cycles."""

from collections.abc import Mapping

from flowengine.check.nodes import CheckedNode, Findings
from flowengine.flow.model import Flow, Wire
from flowengine.graph import FlowGraph

ERROR = "error"
"""The output that every node with an input has beside its declared ones (R6)."""


def check_wires(flow: Flow, nodes: Mapping[str, CheckedNode], findings: Findings) -> None:
    """Check every wire by itself, and all of them for doubles and cycles."""
    first: dict[tuple[str, str | None, str], int] = {}
    for index, wire in enumerate(flow.wires):
        for end in dict.fromkeys((wire.source, wire.target)):
            if end not in nodes:
                mend = findings.near(end, nodes, "Add the node, or remove the wire.")
                findings.add_wire("unknown-node", index, f'no node "{end}".', mend)
        source, target = nodes.get(wire.source), nodes.get(wire.target)
        if source is not None:
            _check_output(index, wire, source, findings)
        if target is not None and not target.has_input:
            what = f'"{target.id}" ({target.spec.type}) is a {target.kind} and has no input.'
            findings.add_wire("no-input", index, what, "Remove the wire, or turn it round.")
        ends = (wire.source, output_of(wire, source), wire.target)
        if ends in first:
            what = f'this wire is there twice, first as "{flow.wires[first[ends]].text}".'
            findings.add_wire("duplicate-wire", index, what, "Remove one of them.")
        first.setdefault(ends, index)
    _check_cycles(flow, nodes, findings)


def output_of(wire: Wire, source: CheckedNode | None) -> str | None:
    """The output that a wire starts from, None for the first one of an unknown type."""
    if wire.output is not None or source is None or not source.outputs:
        return wire.output
    return source.outputs[0]


def _check_output(index: int, wire: Wire, source: CheckedNode, findings: Findings) -> None:
    if source.outputs is None:
        return
    has = (*source.outputs, ERROR) if source.has_input else source.outputs
    name = f'"{source.id}" ({source.spec.type})'
    if wire.output is None:
        if not source.outputs:
            mend = f"It has {ERROR} alone." if source.has_input else "Remove the wire."
            findings.add_wire("unknown-output", index, f"{name} has no output.", mend)
    elif wire.output not in has:
        listed = f"It has: {', '.join(has)}." if has else "It has none."
        what = f'{name} has no output "{wire.output}".'
        guess = findings.near(wire.output, has, "")
        findings.add_wire("unknown-output", index, what, f"{guess} {listed}".strip())


def _check_cycles(flow: Flow, nodes: Mapping[str, CheckedNode], findings: Findings) -> None:
    def is_boundary(name: str) -> bool:
        known = nodes[name].known
        # a wire into a source is refused by itself; a type that is missing may be a queue
        return known is None or known.type.boundary or not nodes[name].has_input

    for cycle in FlowGraph(flow, disabled=False).cycles(is_boundary):
        findings.add_wire(
            "cycle",
            cycle.wire,
            f"a cycle in which no message can wait: {cycle}.",
            'Put a delay or a queue into it, or give one of its wires a "capacity".',
        )
