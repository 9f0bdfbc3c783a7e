"""Checkpoints: node states written to disk while flows run, and the receipts that this secures.

What changed since the last checkpoint is encoded between two batches, written in the store's
thread, and only when it is on disk are the receipts secured that nodes held at that moment: a
window's members may be acknowledged before the window closes.
"""

import logging
from collections.abc import Iterable
from typing import Any

from flowengine.clock import SECOND, Clock
from flowengine.engine.region import Step
from flowengine.engine.store import Store

LOG = logging.getLogger("flowengine.engine")


async def checkpoint(store: Store, flow: str, steps: Iterable[Step]) -> int:
    """Write what changed in these steps' states; returns how many states were written."""
    rows: list[tuple[str, str, str, int, bytes]] = []
    gone: list[tuple[str, str, str]] = []
    held: list[tuple[Step, str, set[int]]] = []
    for step in steps:
        entries = step.entries
        if entries is None:
            continue
        changed, removed = entries.checkpoint()
        version = entries.state.version
        rows += [(flow, step.id, key, version, data) for key, data in changed]
        gone += [(flow, step.id, key) for key in removed]
        held += [(step, key, {id(r) for r in receipts}) for key, receipts in step.held.items()]
    if rows or gone:
        try:
            await store.run(store.save_states(rows, gone))
        except BaseException:
            _mark_again(steps, rows, gone)
            raise
    for step, key, written in held:
        _secure(step, key, written)
    return len(rows)


def _secure(step: Step, key: str, written: set[int]) -> None:
    receipts: list[Any] | None = step.held.get(key)
    if receipts:
        receipts[:] = [r.secure() if id(r) in written else r for r in receipts]


def _mark_again(
    steps: Iterable[Step],
    rows: list[tuple[str, str, str, int, bytes]],
    gone: list[tuple[str, str, str]],
) -> None:
    """The write failed: these states must be in the next checkpoint."""
    by_id = {step.id: step for step in steps if step.entries is not None}
    for _, node, key, _, _ in rows:
        entries = by_id[node].entries
        if entries is not None and entries.get(key) is not None:
            entries.dirty.add(key)
    for _, node, key in gone:
        entries = by_id[node].entries
        if entries is not None and entries.get(key) is None:
            entries.gone.add(key)


def forget_idle(steps: Iterable[Step], clock: Clock) -> None:
    """Forget keyed states that no message touched for their node's `forget` (R10)."""
    now = clock.monotonic()
    for step in steps:
        if step.entries is not None and step.type.scope == "keyed":
            forget = getattr(step.config, "forget", 30 * 86_400 * SECOND)
            step.entries.forget_idle(now - forget)
