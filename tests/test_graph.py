"""The graph of a flow says what follows what, and names the way of every endless cycle."""

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.flow import Flow, NodeSpec, Wire
from flowengine.graph import MAX_CYCLES, FlowGraph


def flow(*wires: str, nodes: str = "", bounded: tuple[str, ...] = ()) -> Flow:
    pairs = [wire.split(">") for wire in wires]
    names = [*nodes, *(end for pair in pairs for end in pair)]
    return Flow(
        id="f",
        nodes={name: NodeSpec(type="t") for name in dict.fromkeys(names)},
        wires=[
            Wire(source=a, target=b, capacity=9 if f"{a}>{b}" in bounded else None)
            for a, b in pairs
        ],
    )


def nowhere(_: str) -> bool:
    return False


def test_order_leads_forward() -> None:
    order = FlowGraph(flow("c>d", "a>b", "b>c", "a>d")).order()
    assert order == ["a", "b", "c", "d"]


def test_layers_hold_a_cycle_together() -> None:
    assert FlowGraph(flow("a>b", "b>c", "c>b", "c>d")).layers() == [["a"], ["b", "c"], ["d"]]


def test_reach_is_all_that_follows() -> None:
    graph = FlowGraph(flow("a>b", "b>c", "x>c"))
    assert graph.reach(["a"]) == {"a", "b", "c"}
    assert graph.reach(["nothing"]) == set()


def test_a_way_to_an_end_stops_where_it_is_told() -> None:
    graph = FlowGraph(flow("a>b", "b>z", "c>z"))
    assert graph.leads_to(["z"]) == {"a": "z", "b": "z", "c": "z", "z": "z"}
    assert graph.leads_to(["z"], stop=lambda name: name == "b") == {"c": "z", "z": "z"}


def test_roots_are_the_first_of_each_way() -> None:
    graph = FlowGraph(flow("a>b", "b>c", "y>x", "x>y", "y>z"))
    assert graph.roots(["b", "c", "x", "y", "z"]) == ["b", "y"]


def test_r40_disabled_nodes_are_absent_from_the_plan() -> None:
    found = flow("a>b", "b>a")
    found.nodes["b"].disabled = True
    assert FlowGraph(found).cycles(nowhere)
    assert FlowGraph(found, disabled=False).cycles(nowhere) == []


@pytest.mark.parametrize(
    ("wires", "bounded", "waits", "expected"),
    [
        (("a>b", "b>c", "c>a"), (), "", ["a -> b -> c -> a"]),
        (("a>a",), (), "", ["a -> a"]),
        (("a>b", "b>c"), (), "", []),
        (("a>b", "b>a"), (), "b", []),
        (("a>b", "b>a"), ("a>b",), "", []),
        (("a>b", "b>a", "b>c", "c>b"), (), "", ["a -> b -> a", "b -> c -> b"]),
        (("a>b", "b>a", "c>d", "d>c"), (), "a", ["c -> d -> c"]),
    ],
    ids=["named", "itself", "none", "a node waits", "a wire waits", "two in a knot", "one waits"],
)
def test_cycles(
    wires: tuple[str, ...], bounded: tuple[str, ...], waits: str, expected: list[str]
) -> None:
    graph = FlowGraph(flow(*wires, bounded=bounded))
    assert [str(cycle) for cycle in graph.cycles(lambda name: name in waits)] == expected


pairs = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=14)


@given(pairs)
def test_every_cycle_told_is_there_and_without_them_none_is_left(
    ends: list[tuple[str, str]],
) -> None:
    found = flow(*(f"{a}>{b}" for a, b in ends))
    cycles = FlowGraph(found).cycles(nowhere)
    wired = set(ends)
    for cycle in cycles:
        assert cycle.nodes[0] == cycle.nodes[-1]
        assert all(pair in wired for pair in zip(cycle.nodes, cycle.nodes[1:], strict=False))
    cut = {(found.wires[c.wire].source, found.wires[c.wire].target) for c in cycles}
    rest = nx.DiGraph(list(wired - cut))
    assert len(cycles) <= MAX_CYCLES
    assert nx.is_directed_acyclic_graph(rest)


def test_a_chain_of_ten_thousand_is_no_deep_recursion() -> None:
    found = Flow(
        id="f",
        nodes={f"n{i}": NodeSpec(type="t") for i in range(10_000)},
        wires=[Wire(source=f"n{i}", target=f"n{(i + 1) % 10_000}") for i in range(10_000)],
    )
    cycles = FlowGraph(found).cycles(nowhere)
    assert [len(cycle.nodes) for cycle in cycles] == [10_001]
    assert len(FlowGraph(found).order()) == 10_000
