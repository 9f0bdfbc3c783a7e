"""W1: what one node costs a message, from chains of one and of ten nodes fed 100 at a time.

The slope between the two lengths leaves out what the ends cost. In a mixed chain the nodes take
turns: a change, a switch, a user's function (here: an expression).
"""

from pathlib import Path

from tests.bench import engine_under_test as ours
from tests.bench.peer import Peer
from tests.bench.table import NO_BAR, Bar, Results

BARS = {"change": Bar(0.13, 30), "switch": Bar(0.13, 30), "rule": NO_BAR, "mix": Bar(0.25, 45)}
"""µs a hop. A `rule` is the peer's switch written as an expression, which has no bar of its own."""
SHORT, LONG = 1, 10


def measure(results: Results, work: Path, peer: Peer | None, *, quick: bool) -> None:
    """One round: every kind, ours and the peer's in turn."""
    # as many messages at both lengths: the peer's collector takes its part by their number
    number = 10_000 if quick else 20_000
    for kind, bar in BARS.items():
        mine, theirs = {}, {}
        for hops in (SHORT, LONG):
            mine[hops] = min(ours.chain(kind, hops, 5 * number, work))
            if peer:
                theirs[hops] = min(peer.chain(kind, hops, number))
        results.note(
            f"W1 hop, {kind}", "us CPU", bar, _slope(mine), _slope(theirs) if peer else None
        )


def _slope(spent: dict[int, float]) -> float:
    """µs a hop, from ns a message at both lengths."""
    return (spent[LONG] - spent[SHORT]) / (LONG - SHORT) / 1000
