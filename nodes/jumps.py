"""A wall clock that is set, as a keyed node with event times in its states must follow it.

Whether a key's messages are stamped by arrival, so that their times jump with the clock, or by the
device, so that they do not, shows with the next of them: it is nearer to one of two moments.
"""

from flowengine import Context

FOLLOWED = 60_000_000_000
"""For so long after a jump (ns) it is looked for in a key's messages: what was stamped before it
may still be on its way."""
MOST = 15
"""Jumps that are thought of, and sums of them."""


class Jumps:
    """The jumps that keys have not followed yet; while `pending` is empty it costs nothing.

    `pending` holds, by key, all by which its times may have jumped: of two jumps, one may have been
    followed already, by messages that came before anyone had heard of it.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._until = 0
        self.pending: dict[str, list[int]] = {}

    def note(self, jump: int) -> None:
        """The clock was set by `jump` ns."""
        for key in self._context.keys():  # noqa: SIM118  # a context is no map
            known = self.pending.get(key, [])
            self.pending[key] = [*known, *(old + jump for old in known), jump][-MOST:]
        self._until = self._context.clock.monotonic() + FOLLOWED

    def of(self, key: str, time: int, expected: int) -> int:
        """By how much the key's event times have jumped, told once; 0 if they have not (yet).

        `expected` is about what the event time would be if nothing had happened, `time` what it is.
        """
        if self._context.clock.monotonic() > self._until:
            self.pending.clear()
            return 0
        candidates = [0, *self.pending.get(key, ())]
        jump: int = min(candidates, key=lambda by: abs(time - expected - by))
        if jump:
            del self.pending[key]
        return jump
