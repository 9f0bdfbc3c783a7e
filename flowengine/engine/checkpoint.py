"""Checkpoints: node states written to disk while flows run, and the receipts that this secures.

What changed since the last checkpoint is encoded between two batches, written in the store's
thread, and only when it is on disk are the receipts secured that nodes held at that moment: a
window's members may be acknowledged before the window closes.
"""

import logging
from collections.abc import Iterable

from flowengine.clock import SECOND, Clock
from flowengine.engine.leaving import Leaving
from flowengine.engine.step import Step
from flowengine.engine.store import Store
from flowengine.message import Receipt

LOG = logging.getLogger("flowengine.engine")


async def checkpoint(
    store: Store, flow: str, steps: Iterable[Step], leaving: Leaving | None = None
) -> int:
    """Write what changed in these steps' states; returns how many states were written.

    `leaving` is what left the states and is not committed: it is written with them.
    """
    rows: list[tuple[str, str, str, str, int, bytes]] = []
    gone: list[tuple[str, str, str]] = []
    held: list[tuple[Step, str, list[Receipt]]] = []
    for step in steps:
        entries = step.entries
        if entries is None:
            continue
        changed, removed = entries.checkpoint()
        version, kind = entries.state.version, step.type.name
        rows += [(flow, step.id, key, kind, version, data) for key, data in changed]
        gone += [(flow, step.id, key) for key in removed]
        held += [
            # the receipts themselves: while they are kept alive, no other has their identity
            (step, name, list(receipts))
            for name, receipts in step.held.items()
            if not entries.is_unsaved(name)
        ]
    leaving = leaving or Leaving()
    left, came, written = leaving.collect(r for _, _, receipts in held for r in receipts)
    if rows or gone or left or came:
        try:
            await store.run(store.save_states(flow, rows, gone, left, came))
        except BaseException:
            _mark_again(steps, rows, gone)
            raise
    for step, name, receipts in held:
        _secure(step, name, receipts)
    written()
    return len(rows)


def _secure(step: Step, name: str, written: list[Receipt]) -> None:
    receipts: list[Receipt] | None = step.held.get(name)
    if receipts:
        on_disk = {id(receipt) for receipt in written}
        receipts[:] = [r.secure() if id(r) in on_disk else r for r in receipts]


def _mark_again(
    steps: Iterable[Step],
    rows: list[tuple[str, str, str, str, int, bytes]],
    gone: list[tuple[str, str, str]],
) -> None:
    """The write failed: these states must be in the next checkpoint."""
    by_id = {step.id: step for step in steps if step.entries is not None}
    for _, node, key, _, _, _ in rows:
        entries = by_id[node].entries
        if entries is not None and entries.get(key) is not None:
            entries.dirty.add(key)
    for _, node, key in gone:
        entries = by_id[node].entries
        if entries is not None and entries.get(key) is None:
            entries.gone.add(key)


def forget_idle(steps: Iterable[Step], clock: Clock) -> None:
    """Forget keyed states that no message touched for their node's `forget` (R10).

    A state that waits for a timer is not idle. What a forgotten one held is dropped, and counted.
    """
    now = clock.monotonic()
    for step in steps:
        if step.entries is not None and step.type.scope == "keyed":
            forget = getattr(step.config, "forget", 30 * 86_400 * SECOND)
            step.entries.forget_idle(now - forget, step.node.context.timed())
