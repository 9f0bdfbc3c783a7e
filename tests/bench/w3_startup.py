"""W3: from the start of the process to the first message behind the last node, and idle memory.

Each flow of ours is started twice in the same data folder: the second start is the one that counts,
a box's normal one; the first, of a flow that was never seen, is shown beside it.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.bench import engine_under_test as ours
from tests.bench.machine import Subject
from tests.bench.peer import Peer
from tests.bench.table import NO_BAR, Bar, Results

SIZES = {
    10: (Bar(0.30, 4), Bar(35.0, 4)),
    1000: (Bar(0.45, 4), Bar(45.0, 4)),
    5000: (Bar(0.9, 4), NO_BAR),
}
"""Nodes -> CPU seconds and resident MB."""


def measure(results: Results, work: Path, peer: Peer | None, *, quick: bool) -> None:
    """One round: every size, ours and the peer's in turn."""
    rest = 1.0 if quick else 3.0
    for nodes, (cpu_bar, memory_bar) in SIZES.items():
        new = _measured(partial(ours.start, nodes, work, fresh=True), rest=0.2)
        mine = _measured(partial(ours.start, nodes, work), rest=rest)
        theirs = _measured(partial(peer.start, nodes), rest=rest) if peer else None
        at = f"W3 start, {nodes:,} nodes"
        cpu, wall, memory = theirs or (None, None, None)
        results.note(f"{at}, CPU", "s", cpu_bar, mine[0], cpu)
        results.note(f"{at}, CPU of the very first", "s", NO_BAR, new[0], cpu)
        results.note(f"{at}, wall", "s", NO_BAR, mine[1], wall)
        results.note(f"W3 memory idle, {nodes:,} nodes", "MB", memory_bar, mine[2], memory)


def _measured(
    start: Callable[[], tuple[Subject, float]], *, rest: float
) -> tuple[float, float, float]:
    """CPU and wall seconds to the first message, and MB after `rest` seconds."""
    began = time.time()
    running, cpu = start()
    wall = time.time() - began
    try:
        time.sleep(rest)
        return cpu, wall, running.memory()
    finally:
        running.stop()
