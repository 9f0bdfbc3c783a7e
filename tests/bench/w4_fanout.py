"""W4: one message to a hundred nodes that each change it, one at a time and a hundred at a time."""

from pathlib import Path

from tests.bench import engine_under_test as ours
from tests.bench.peer import Peer
from tests.bench.table import Bar, Results

WIDTH = 100


def measure(results: Results, work: Path, peer: Peer | None, *, quick: bool) -> None:
    """One round: single messages, then batches; ours and the peer's in turn."""
    number = 500 if quick else 1000
    for batch in (1, 100):
        mine = min(ours.fan(WIDTH, 3 * number, batch, work)) / 1000
        theirs = min(peer.fan(WIDTH, number, batch)) / 1000 if peer else None
        results.note(
            f"W4 fan-out, a branch, {batch} at a time", "us CPU", Bar(1.0, 25), mine, theirs
        )
