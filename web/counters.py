"""The engine's counters of one flow as the editor shows them: plain numbers that are kept anyway.

Only what is not zero is told, so a flow of thousands of quiet nodes is a short answer.
"""

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from flowengine.engine.flowrun import RunningFlow
from flowengine.engine.running import Running
from flowengine.message import rfc3339

_TICKS = 5
"""Rates are over the last second: four quarters."""


class Waiting(Protocol):
    """A wire in which messages wait."""

    depth: int
    capacity: int
    blocked: bool


class Rates:
    """Messages a second of every output, over the last ticks."""

    def __init__(self) -> None:
        self._ticks: deque[tuple[float, dict[str, dict[str, int]]]] = deque(maxlen=_TICKS)

    def note(self, at: float, counts: dict[str, dict[str, int]]) -> None:
        """The counters at a moment."""
        self._ticks.append((at, counts))

    def of(self, node: str) -> dict[str, float]:
        """The rates of a node's outputs that are not zero."""
        if len(self._ticks) < 2:
            return {}
        (begun, before), (at, now) = self._ticks[0], self._ticks[-1]
        took = max(at - begun, 1e-6)
        old = before.get(node, {})
        found = {}
        for output, count in now.get(node, {}).items():
            more = count - old.get(output, count)
            if more > 0:
                rate = more / took
                found[output] = round(rate, 1) if rate < 10 else float(round(rate))
        return found

    def total(self, nodes: set[str]) -> float:
        """The rate of these nodes together: of the sources, what the flow takes in."""
        return sum(sum(self.of(node).values()) for node in nodes)


def node_counts(flow: RunningFlow) -> dict[str, dict[str, int]]:
    """Messages that left by each output of each node."""
    return {
        name: {output: outlet.count for output, outlet in running.step.outlets.items()}
        for name, running in flow.nodes.items()
        if running.step is not None
    }


def nodes_now(flow: RunningFlow, rates: Rates) -> dict[str, dict[str, Any]]:
    """Every node's numbers."""
    return {name: _node(flow, name, rates) for name in list(flow.nodes)}


def _node(flow: RunningFlow, name: str, rates: Rates) -> dict[str, Any]:
    running = flow.nodes[name]
    step, wire, runner = running.step, running.wire, running.runner
    found: dict[str, Any] = {}
    if step is not None:
        found = {
            "in": step.received,
            "out": {n: outlet.count for n, outlet in step.outlets.items() if outlet.count},
            "rate": rates.of(name),
            "filtered": step.filtered,
            "failed": step.failed,
            "unwired": {n: outlet.unwired for n, outlet in step.outlets.items() if outlet.unwired},
            "dropped": {reason: number for reason, number in step.counts.items() if number},
        }
        if running.planned.type.name == "route" and step.filtered:
            # What meets no rule is a loss that nobody wired: it is told as such, at its node.
            unmatched = {"unmatched": found["unwired"].get("unmatched", 0) + step.filtered}
            found["unwired"] = {**found["unwired"], **unmatched}
    if wire is not None:
        found |= _wire(wire)
        if wire.dropped:
            found["dropped"] = {**found.get("dropped", {}), "wire-full": wire.dropped}
    if runner is not None:
        found |= {"written": runner.written, "retries": runner.retries, "stored": runner.stored}
    return {key: value for key, value in found.items() if value or key in {"in", "out", "capacity"}}


def _wire(wire: Waiting) -> dict[str, Any]:
    return {
        "depth": wire.depth,
        "capacity": wire.capacity,
        "blocked": wire.blocked,
    }


def wires_now(flow: RunningFlow) -> dict[str, dict[str, Any]]:
    """The wires with settings of their own, where messages wait."""
    return {
        f"{planned.source}.{planned.output} -> {planned.target}": {
            **_wire(made),
            "dropped": made.dropped,
        }
        for planned, (made, _) in flow.settings_wires.items()
    }


State = tuple[str, str, int]
"""What a node is, why, and since when in ns."""


def states_now(flow: RunningFlow) -> tuple[dict[str, State], dict[str, State]]:
    """How every node, and every connection, is."""
    return _states(flow.nodes), _states(flow.connections)


def _states(part: Mapping[str, Running]) -> dict[str, State]:
    return {name: (node.state, node.what, node.since) for name, node in list(part.items())}


def told_states(states: Mapping[str, State]) -> dict[str, Any]:
    """States as the API shows them."""
    return {
        name: {"state": state, "what": what, "since": rfc3339(since)}
        for name, (state, what, since) in states.items()
    }


def moment() -> float:
    """The time of a frame, in seconds on the monotonic clock."""
    return round(time.monotonic(), 3)
