"""Whether anything waits in front of a node: only while nothing does, silence means something.

A window that closes because its device is silent (R3) must not take for silence what is only a
wait: messages that stand in a wire or at the source, a source that may read no more until the flow
has room or has acknowledged, an event loop that stood still and has not caught up yet. Messages
wait where nobody can see them too, in a socket or at a broker; so that none is taken for silence,
nothing may have come for a moment after a wait.

    a wire is full, or acks are
    awaited, or were just now   ask again in 2 ms, in 20 ms once it lasts
    messages wait in a wire     ask again in 2 ms
    one came within 5 ms        ask again then; after a second of asking, one turn of the event
                                loop in which nothing came is enough, else a busy flow's silent
                                devices would never be heard of

Acknowledgements that have not moved for five seconds are not waited for: they may wait for the very
thing that asks.
"""

from collections.abc import Sequence
from typing import Final

from flowengine.clock import SECOND, Clock
from flowengine.engine.context import NodeContext
from flowengine.engine.feeder import SourcePort
from flowengine.engine.wire import Wire

MS: Final = 1_000_000
QUIET: Final = 5 * MS
QUIET_ECO: Final = 15 * MS
"""In eco mode a source gathers what comes for 5 ms."""
AFTER_BLOCK: Final = 100 * MS
"""A source that may read again needs a round trip to its far side before anything comes."""
STUCK: Final = 5 * SECOND
SOON: Final = 2 * MS
LATER: Final = 20 * MS
NEVER: Final = -(1 << 62)


class Calm:
    """What one node's messages come through: its sources, and the wires on the way."""

    def __init__(
        self,
        clock: Clock,
        sources: Sequence[tuple[NodeContext, SourcePort]],
        wires: Sequence[Wire],
    ) -> None:
        self._clock = clock
        self._sources = sources
        self._wires = wires
        self._blocked_at = NEVER
        self._moved_at = NEVER
        self._acknowledged = -1
        self._came_at = NEVER
        eco = any(context.eco for context, _ in sources)
        self._quiet = QUIET_ECO if eco else QUIET

    def behind(self, asked_for: int) -> int | None:
        """None if nothing waits; else after how many ns to ask again (0: the next turn).

        `asked_for` is for how long (ns) the answer has been waited for.
        """
        now = self._clock.monotonic()
        if any(port.full_wires for _, port in self._sources) or self._awaits_acks(now, asked_for):
            self._blocked_at = now
        if now - self._blocked_at < AFTER_BLOCK:
            return SOON if asked_for < SECOND else LATER
        if any(port.depth for _, port in self._sources) or any(map(_waits, self._wires)):
            return SOON
        came_at = max((context.came_at for context, _ in self._sources), default=NEVER)
        before, self._came_at = self._came_at, came_at
        since = now - came_at
        if since >= self._quiet:
            return None
        if asked_for < SECOND:
            return self._quiet - since
        return None if came_at == before else 0

    def _awaits_acks(self, now: int, asked_for: int) -> bool:
        """Whether acknowledgements hold a source up, and still come."""
        acknowledged = sum(port.intake.acknowledged for _, port in self._sources)
        if acknowledged != self._acknowledged:
            self._acknowledged, self._moved_at = acknowledged, now
        may_move = asked_for < STUCK or now - self._moved_at < STUCK
        return may_move and any(_waits_for_acks(port) for _, port in self._sources)


def _waits_for_acks(port: SourcePort) -> bool:
    """Whether a source may read no more, or its far side send no more, until some are settled."""
    intake = port.intake
    is_used_up = intake.window is not None and intake.unacknowledged >= intake.window
    return port.is_stopped or is_used_up


def _waits(wire: Wire) -> bool:
    return bool(wire.depth or getattr(wire, "spilled", 0))
