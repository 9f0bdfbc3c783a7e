"""W3: from the start of the process to the first message behind the last node, and idle memory.

Each flow of ours is started twice in the same data folder: the second start is the one that counts,
a box's normal one; the first, of a flow that was never seen, is shown beside it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.bench import engine_under_test as ours
from tests.bench.machine import Subject
from tests.bench.peer import Peer
from tests.bench.table import Results

SIZES = {10: (0.30, 35.0), 1000: (0.45, 45.0), 5000: (0.9, None)}
"""Nodes -> CPU seconds and resident MB at most."""
_SETTLE = 3.0
R = TypeVar("R", bound=Subject)


def measure(results: Results, work: Path, peer: Peer | None, *, quick: bool) -> None:
    """One round: every size, ours and the peer's in turn."""
    for nodes, (cpu_bar, memory_bar) in SIZES.items():
        new = _measured(lambda nodes=nodes: ours.start(nodes, work), rest=0.2)
        mine = _measured(lambda nodes=nodes: ours.start(nodes, work), rest=_SETTLE)
        theirs = (None, None, None)
        if peer is not None:
            theirs = _measured(lambda nodes=nodes: peer.start(nodes), rest=_SETTLE)
        at = f"W3 start, {nodes:,} nodes"
        results.note(f"{at}, CPU", "s", cpu_bar, mine[0], theirs[0])
        results.note(f"{at}, CPU of the very first", "s", None, new[0], theirs[0])
        results.note(f"{at}, wall", "s", None, mine[1], theirs[1])
        results.note(f"W3 memory idle, {nodes:,} nodes", "MB", memory_bar, mine[2], theirs[2])


def _measured(start: Callable[[], tuple[R, float]], rest: float) -> tuple[float, float, float]:
    """CPU and wall seconds to the first message, and MB after `rest` seconds."""
    began = time.time()
    running, cpu = start()
    wall = time.time() - began
    try:
        time.sleep(rest)
        return cpu, wall, running.memory()
    finally:
        running.stop()
