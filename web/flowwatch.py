"""One flow as it is looked at: its counters, states, last values, taps and debug nodes, by tick.

Nothing is read that nobody listens to.
"""

from typing import Any

import msgspec

from flowengine.engine.flowrun import RunningFlow
from flowengine.engine.runtime import Engine
from flowengine.web import counters
from flowengine.web.keyed import Keyed
from flowengine.web.problem import to_json
from flowengine.web.redact import Redactor
from flowengine.web.taps import FlowTaps, Place, Sample, Tap

LARGEST_DEBUG = 4_000
"""Bytes of one shown message."""


class FlowWatch:
    """What is told of one flow."""

    def __init__(self, engine: Engine, flow: str, redactor: Redactor) -> None:
        self.engine = engine
        self.flow = flow
        self.redactor = redactor
        self.taps = FlowTaps(engine, flow, redactor)
        self.nodes, self.wires = Keyed(), Keyed()
        self.states, self.links = Keyed(), Keyed()
        self.values = Keyed()
        self.rates = counters.Rates()
        self.state: dict[str, Any] | None = None
        self._at = counters.moment()
        self._shown: dict[str, tuple[Any, int]] = {}
        self._debug_number = 0

    @property
    def running(self) -> RunningFlow | None:
        """The flow at work, None while it does not run."""
        return self.engine.flows.get(self.flow)

    # -- renewing, once a tick

    def renew_metrics(self) -> bool:
        """Read the counters; whether anything changed."""
        flow = self.running
        self._at = counters.moment()
        if flow is None:
            return self.nodes.renew({}) | self.wires.renew({})
        self.rates.note(self._at, counters.node_counts(flow))
        changed = self.nodes.renew(counters.nodes_now(flow, self.rates))
        return self.wires.renew(counters.wires_now(flow)) or changed

    def renew_states(self) -> bool:
        """Read the states of nodes and connections."""
        flow = self.running
        states, links = ({}, {}) if flow is None else counters.states_now(flow)
        changed = self.states.renew(states)
        return self.links.renew(links) or changed

    def renew_values(self) -> bool:
        """Read the last values."""
        outlets = self.taps.outlets()
        found = {}
        for place, value in self.taps.values.items():
            told = value.look() or value.told
            if told is not None and place in outlets:
                found[".".join(place)] = told
        return self.values.renew(found)

    def set_state(self, state: dict[str, Any] | None) -> bool:
        """The flow in one line has changed."""
        if state == self.state:
            return False
        self.state = state
        return True

    # -- frames for a client that has seen a tick

    def metrics(self, seen: int) -> tuple[int, Any]:
        """The counters that changed."""
        tick = self.nodes.tick
        told = {
            "full": seen <= 0,
            "at": self._at,
            "nodes": self.nodes.since(seen),
            "wires": self.wires.since(seen),
            "gone": [*self.nodes.gone_since(seen), *self.wires.gone_since(seen)],
        }
        return tick, told

    def status(self, seen: int) -> tuple[int, Any]:
        """The states that changed, and the flow in one line."""
        told = {
            "full": seen <= 0,
            "running": self.running is not None,
            "nodes": counters.told_states(self.states.since(seen)),
            "connections": counters.told_states(self.links.since(seen)),
            "gone": self.states.gone_since(seen),
            "state": self.state,
        }
        return self.states.tick, told

    def last_values(self, seen: int) -> tuple[int, Any]:
        """The last values that changed."""
        told = {
            "full": seen <= 0,
            "values": self.values.since(seen),
            "gone": self.values.gone_since(seen),
        }
        return self.values.tick, told

    # -- streams

    def place_of(self, wire: str) -> Place | None:
        """The output that a wire (or the name of an output) starts at; None if there is none."""
        flow = self.running
        start = wire.partition("->")[0].strip()
        node, _, output = start.partition(".")
        running = flow.nodes.get(node) if flow is not None else None
        if running is None or running.step is None:
            return None
        name = output or next(iter(running.step.outlets))
        return (node, name) if name in running.step.outlets else None

    def samples(self) -> dict[Place, tuple[list[Sample], int]]:
        """What the taps took since the last tick, and how many passed, by output."""
        taken = {place: tap.tick() for place, tap in self.taps.taps.items()}
        return {place: found for place, found in taken.items() if found[0] or found[1]}

    def tap(self, place: Place) -> Tap:
        """The tap of an output."""
        return self.taps.tap(place)

    def debugged(self, *, everything: bool = False) -> dict[str, Any] | None:
        """What the debug nodes showed since the last call; None for nothing."""
        items, lost = [], 0
        for name, node in self._debug_nodes():
            recent = list(node.thing.recent)
            last, written = (None, 0) if everything else self._shown.get(name, (None, 0))
            total = node.runner.written if node.runner is not None else len(recent)
            fresh = recent
            for index in range(len(recent) - 1, -1, -1):
                if recent[index] is last:
                    fresh = recent[index + 1 :]
                    break
            if not everything and name in self._shown:
                lost += max(0, total - written - len(fresh))
            if recent and not everything:
                self._shown[name] = recent[-1], total
            items += [self._item(name, shown) for shown in fresh]
        if not items and not lost:
            return None
        return {"items": items, "lost": lost}

    def _debug_nodes(self) -> list[tuple[str, Any]]:
        flow = self.running
        if flow is None:
            return []
        return [
            (name, node)
            for name, node in flow.nodes.items()
            if node.planned.type.name == "debug" and hasattr(node.thing, "recent")
        ]

    def _item(self, node: str, shown: dict[str, Any]) -> dict[str, Any]:
        self._debug_number += 1
        told = {key: value for key, value in shown.items() if key not in {"flow", "node"}}
        raw = self.redactor.clean_bytes(to_json(told))
        message: Any = msgspec.Raw(raw)
        if len(raw) > LARGEST_DEBUG:
            cut = raw[: LARGEST_DEBUG // 2].decode("utf-8", "ignore")
            kept = {key: told.get(key, "") for key in ("id", "time", "topic", "key")}
            message = {**kept, "preview": cut, "bytes": len(raw)}
        return {"n": self._debug_number, "node": node, "message": message}
