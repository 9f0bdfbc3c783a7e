"""Messages of one source stay in their order where two outputs of a node meet again (P3)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowengine.clock import SECOND
from tests.engine.rigs import BINS, TAPS, Rig, plan

# Nodes that send a number by one of two outputs, whatever kind of node they are.
ROUTE = {
    "type": "route",
    "config": {"rules": [{"to": "low", "when": "payload < 5"}], "otherwise": "high"},
}
RANGE = {"type": "filter.range", "config": {"max": 4}}
OUTLIER = {
    "type": "filter.outlier",
    "config": {"method": "rate", "limit": 0.000001, "key": "''"},
}
FORKS = {
    "batches": (ROUTE, "low", "high"),
    "a filter": (RANGE, "passed", "refused"),
    "keyed": (OUTLIER, "passed", "refused"),
    "an error": ("stubborn", "out", "error"),
}
SAME = {"type": "compute", "config": {"set": {"meta.seen": "true"}}}


def flow(fork: str, way: str) -> tuple[dict[str, Any], list[str]]:
    kind, one, other = FORKS[fork]
    nodes: dict[str, Any] = {"in": "tap", "fork": kind, "out": "bin"}
    if way == "at once":
        return nodes, ["in -> fork", f"fork.{one} -> out", f"fork.{other} -> out"]
    nodes |= {"a": SAME, "b": SAME, "b2": SAME, "both": SAME}
    wires = ["in -> fork", f"fork.{one} -> a", f"fork.{other} -> b", "b -> b2"]
    return nodes, [*wires, "a -> both", "b2 -> both", "both -> out"]


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("way", ["at once", "behind other nodes"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=3))
def test_order(tmp_path_factory: Any, fork: str, way: str, reads: list[list[int]]) -> None:
    given_in: list[list[Any]] = reads
    if fork == "an error":
        given_in = [[n if n < 5 else str(n) for n in read] for read in reads]

    async def scene(folder: Path) -> None:
        async with Rig(folder) as rig:
            nodes, wires = flow(fork, way)
            await rig.deploy(nodes, wires)
            for read in given_in:
                TAPS["in"].turn(*read)
                await rig.settle()
            assert BINS["out"].got == [payload for read in given_in for payload in read]
            await rig.pass_time(2 * SECOND)
            assert TAPS["in"].acks == BINS["out"].got

    asyncio.run(scene(tmp_path_factory.mktemp("order")))


@pytest.mark.parametrize(
    ("wires", "expected"),
    [
        (["fork.low -> a", "fork.high -> b"], set()),
        (["fork.low -> a", "fork.low -> b"], set()),
        (["fork.low -> a", "fork.high -> a"], {"fork"}),
        (["fork.low -> a", "fork.high -> b", "a -> b"], {"fork"}),
        (["fork.low -> wait", "fork.high -> b", "wait -> b"], set()),
        ([{"from": "fork.low", "to": "a", "capacity": 9}, "fork.high -> a"], set()),
    ],
    ids=["two ways", "one output", "at once", "later", "beyond a queue", "a wire that waits"],
)
def test_only_outputs_that_meet_cost_something(wires: list[Any], expected: set[str]) -> None:
    nodes = {"in": "tap", "fork": ROUTE, "wait": "queue", "a": SAME, "b": SAME}
    assert plan(nodes, ["in -> fork", *wires]).meets == expected
