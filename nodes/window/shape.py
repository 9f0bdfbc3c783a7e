"""Which windows a message belongs to: aligned to the clock, so many messages, or until a gap.

Pure: times are event times in nanoseconds, windows are `[start, end)` and stand in the order of
their ends, which is the order of their starts too.
"""

from bisect import bisect_left
from collections.abc import Callable
from operator import attrgetter

import msgspec

from flowengine.nodes.window.aggregate import Tally, merge


class Open(msgspec.Struct):
    """One window that is not closed yet: its bounds, its members so far, its fields' tallies.

    `held` names the members' receipts; it stays when a session's bounds move. `clock` says by which
    clock its bounds are stamped, if that was not set (`trust.era`); `is_moved`: it was, meanwhile.
    """

    start: int
    end: int
    held: str
    fields: list[Tally]
    count: int = 0
    newest: int = -(1 << 62)
    topic: str = ""
    clock: str = ""
    is_moved: bool = False

    def move(self, jump: int) -> None:
        """The clock that stamped the members was set by `jump` ns."""
        self.start += jump
        self.end += jump
        self.newest += jump
        self.is_moved = True
        for tally in self.fields:
            if tally.first_at <= tally.last_at:  # a number came
                tally.first_at += jump
                tally.last_at += jump


Make = Callable[[int, int], Open]
_start = attrgetter("start")


def aligned(
    windows: list[Open], time: int, *, every: int, hop: int, high: int, make: Make
) -> list[Open]:
    """Every window of length `every`, one each `hop` since 1970, that covers `time`.

    Missing ones are made; those whose end the watermark `high` has reached are closed for good.
    """
    found = []
    start = time - time % hop
    while start > time - every and start + every > high:
        at = bisect_left(windows, start, key=_start)
        if at == len(windows) or windows[at].start != start:
            windows.insert(at, make(start, start + every))
        found.append(windows[at])
        start -= hop
    return found


def session(
    windows: list[Open],
    time: int,
    *,
    gap: int,
    high: int,
    make: Make,
    carry: Callable[[Open, Open], None],
) -> list[Open]:
    """The session that `time` belongs to: one that it is less than `gap` away from, or a new one.

    A message between two sessions makes them one; `carry(from, into)` moves the receipts. Empty
    when a session of its own would be closed already.
    """
    near = [w for w in windows if w.start - gap < time < w.end]
    if not near:
        if time + gap <= high:
            return []
        made = make(time, time + gap)
        windows.insert(bisect_left(windows, time, key=_start), made)
        return [made]
    first = near[0]
    for other in near[1:]:
        carry(other, first)
        for into, tally in zip(first.fields, other.fields, strict=True):
            merge(into, tally)
        first.count += other.count
        first.end = max(first.end, other.end)
        if other.newest >= first.newest:
            first.newest, first.topic = other.newest, other.topic
        windows.remove(other)
    first.start = min(first.start, time)
    first.end = max(first.end, time + gap)
    return [first]


def counted(windows: list[Open], time: int, make: Make) -> list[Open]:
    """The one window that fills up, with the bounds of its members' times."""
    if not windows:
        windows.append(make(time, time))
    window = windows[0]
    window.start = min(window.start, time)
    window.end = max(window.end, time)
    return windows
