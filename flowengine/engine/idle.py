"""Keyed states that no message touches any more are forgotten (R10)."""

from collections.abc import Iterable

from flowengine.clock import SECOND, Clock
from flowengine.engine.step import Step


def forget_idle(steps: Iterable[Step], clock: Clock) -> None:
    """Forget keyed states that no message touched for their node's `forget` (R10).

    A state that waits for a timer is not idle. What a forgotten one held is dropped, and counted.
    """
    now = clock.monotonic()
    for step in steps:
        if step.entries is not None and step.type.scope == "keyed":
            forget = getattr(step.config, "forget", 30 * 86_400 * SECOND)
            step.entries.forget_idle(now - forget, step.node.context.timed())
