"""A flow as a graph (networkx): order, reach, layers, and cycles with the path named.

The graph knows ids and wires and nothing of node types; what it must know of a node (does work wait
there? does it let messages in?) is told by the caller.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from flowengine.flow.model import Flow, Wire

MAX_CYCLES = 20  # a flow with more is one big knot; the first ones say enough


def _networkx() -> Any:
    """networkx, once a graph is made of it: 70 ms and 10 MB that a restart does without."""
    import networkx  # noqa: PLC0415

    return networkx


class Cycle(NamedTuple):
    """Nodes round in a circle, the first one again at the end; `wire` is the index of its first."""

    nodes: tuple[str, ...]
    wire: int

    def __str__(self) -> str:
        """`a -> b -> a`."""
        return " -> ".join(self.nodes)


class FlowGraph:
    """The nodes of a flow and the wires whose two ends are there.

    Args:
        flow: as it was loaded.
        disabled: whether disabled nodes are part of it; for the plan they are absent (R40).
        leave_out: nodes that take no part (comments).
    """

    def __init__(
        self, flow: Flow, *, disabled: bool = True, leave_out: Collection[str] = ()
    ) -> None:
        self.flow = flow
        self.graph: Any = _networkx().DiGraph()
        self.graph.add_nodes_from(
            name
            for name, spec in flow.nodes.items()
            if (disabled or not spec.disabled) and name not in leave_out
        )
        for index, wire in enumerate(flow.wires):
            if wire.source in self.graph and wire.target in self.graph:
                self._add(index, wire)

    def _add(self, index: int, wire: Wire) -> None:
        if self.graph.has_edge(wire.source, wire.target):
            self.graph.edges[wire.source, wire.target]["wires"].append(index)
        else:
            self.graph.add_edge(wire.source, wire.target, wires=[index])

    def after(self, name: str) -> list[str]:
        """The nodes that its wires lead to."""
        return list(self.graph.successors(name))

    def before(self, name: str) -> list[str]:
        """The nodes whose wires lead to it."""
        return list(self.graph.predecessors(name))

    def reach(self, starts: Iterable[str]) -> set[str]:
        """All nodes that messages of `starts` can come to, and `starts`."""
        found: set[str] = set()
        waiting = list(starts)
        while waiting:
            name = waiting.pop()
            if name in found or name not in self.graph:
                continue
            found.add(name)
            waiting.extend(self.graph.successors(name))
        return found

    def leads_to(
        self, ends: Iterable[str], *, stop: Callable[[str], bool] | None = None
    ) -> dict[str, str]:
        """For each node whose messages can come to one of `ends`, the nearest such end.

        A way that leads through a node of which `stop` says so does not count.
        """
        found: dict[str, str] = {name: name for name in ends if name in self.graph}
        waiting = deque(found)
        while waiting:
            name = waiting.popleft()
            for before in self.graph.predecessors(name):
                if before not in found and not (stop is not None and stop(before)):
                    found[before] = found[name]
                    waiting.append(before)
        return found

    def layers(self) -> list[list[str]]:
        """The nodes from left to right: each stands right of all that lead to it, cycles apart.

        Nodes of one cycle share a layer. Within a layer the order is the flow's.
        """
        nx = _networkx()
        place = {name: index for index, name in enumerate(self.graph)}
        knots = nx.condensation(self.graph)
        layers = []
        for generation in nx.topological_generations(knots):
            names = [name for knot in generation for name in knots.nodes[knot]["members"]]
            layers.append(sorted(names, key=place.__getitem__))
        return layers

    def order(self) -> list[str]:
        """The nodes so that wires lead forward, apart from those within a cycle."""
        return [name for layer in self.layers() for name in layer]

    def roots(self, names: Collection[str]) -> list[str]:
        """The first of `names` on each way: those that no other one of them leads to.

        Of a cycle that nothing else leads to it is the node that stands first in the flow.
        """
        nx = _networkx()
        part = self.graph.subgraph(names)
        knots = nx.condensation(part)
        place = {name: index for index, name in enumerate(self.graph)}
        first = [
            min(knots.nodes[knot]["members"], key=place.__getitem__)
            for knot, before in knots.in_degree()
            if before == 0
        ]
        return sorted(first, key=place.__getitem__)

    def cycles(self, is_boundary: Callable[[str], bool]) -> list[Cycle]:
        """Cycles in which no work can wait: they would never end.

        Work waits in a wire with settings and before a node of which `is_boundary` says so. Each
        cycle found is a shortest one through its wire; with one boundary put into each of them the
        flow has none left (up to MAX_CYCLES).
        """
        nx = _networkx()
        part = nx.DiGraph()
        for source, target, data in self.graph.edges(data=True):
            wires = [i for i in data["wires"] if not self.flow.wires[i].is_boundary]
            if wires and not is_boundary(target):
                part.add_edge(source, target, wire=wires[0])
        found: list[Cycle] = []
        knots = _knots(part)
        while knots and len(found) < MAX_CYCLES:
            inside = part.subgraph(knots.pop()).copy()
            source, target, wire = min(inside.edges(data="wire"), key=lambda edge: edge[2])
            path = [target] if source == target else nx.shortest_path(inside, target, source)
            found.append(Cycle((source, *path), wire))
            inside.remove_edge(source, target)
            part.remove_edge(source, target)
            knots += _knots(inside)
        return sorted(found, key=lambda cycle: cycle.wire)


def _knots(graph: Any) -> list[list[str]]:
    """The sets of nodes that lead to each other, or a node to itself."""
    nx = _networkx()
    return [
        list(knot)
        for knot in nx.strongly_connected_components(graph)
        if len(knot) > 1 or any(graph.has_edge(name, name) for name in knot)
    ]
