"""Trusted time: whether the wall clock may be believed, and how its early stamps are mended.

A box without a clock chip boots in 1970 and learns the time minutes or hours later. Until then its
wall clock is wrong by one number: a clock that counts from the boot on goes right all the while
(`CLOCK_BOOTTIME`: it never jumps, and sleep does not stop it). So what is stamped by arrival on a
clock that is not set bears a mark: the boot, wall time minus boot time as it was, and the stamp.

    stamp 1970-01-01T00:02:00Z   mark "3f2a91c0/0/120000000000"
    the clock is set             wall - boot time = 2026-11-25T04:00:00Z - 2 h: the boot's truth
    mended                       stamp + truth - 0, `meta.time_quality` = "mended"

A stamp is mended wherever the message is: on its way from a wire, or from the disk before a sink
writes it, also after a restart of the engine, also in a later boot, as the truths of the last boots
are kept (`engine.timekeeping`). The error is what the clock was set wrong by, at most the second
below which a change is no jump. It stays marked "unsynced", and wrong, if its boot ended before the
clock was set. What was written before the clock was set cannot be called back: it bears its mark,
where the far side takes one.

The clock is `unsynced` while it shows a time before the release of this program or half a century
after it; before the last time that was seen (a day is forgiven); or while the kernel says that
nobody has synchronised it (adjtimex(2), STA_UNSYNC), for the first hour after the boot: later
nobody will. It is set, so `synced`, when the kernel says so, or when it jumps to a believable time.
`jumped` is a clock that is synced and was set by more than a second while the engine ran.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

from flowengine.message import Message

SECOND: Final = 1_000_000_000
DAY: Final = 86_400 * SECOND
RELEASED: Final = 1_767_225_600 * SECOND
"""No clock is right that shows an earlier time than this: 2026-01-01T00:00:00Z."""
FARTHEST: Final = RELEASED + 50 * 365 * DAY
"""Nor one that shows a later time."""
PATIENCE: Final = 3600 * SECOND
"""After this long since the boot, a believable clock that nobody synchronises is taken as it is."""
JUMP: Final = SECOND
KEPT_BOOTS: Final = 16
_TIME_ERROR = 5  # adjtimex(2): "the system clock is not synchronized to a reliable server"
_TIMEX_BYTES = 512  # struct timex has 208 on 64-bit Linux; all zeros: read only

Quality = Literal["synced", "unsynced", "jumped"]


class Trust:
    """What is known of one wall clock.

    Attributes:
        is_synced: whether the wall clock is believed.
        is_marked: whether messages may be about that bear a mark; only then is one looked for.
        boot: eight hexadecimal digits that stay until the machine boots again.
        truths: by boot, wall time minus boot time (ns) since the clock was set.
        last_seen: the latest wall time (ns) that was believed, 0 if none is known.
        jumps: how often the clock was set by more than a second.
        listeners: called with each such jump (ns, negative for a clock set back).
    """

    def __init__(
        self,
        now: Callable[[], int],
        boot_time: Callable[[], int],
        *,
        kernel: Callable[[], bool | None],
        boot: str,
    ) -> None:
        self._now, self._boot_time, self._kernel = now, boot_time, kernel
        self.boot = boot
        self.truths: dict[str, int] = {}
        self.last_seen = 0
        self.jumps = 0
        self.is_marked = False
        self.listeners: list[Callable[[int], None]] = []
        self.is_synced = True  # until `begin`: only an engine needs to know, and pays for asking
        self._was_set = False
        self._offset = now() - boot_time()

    @property
    def quality(self) -> Quality:
        """The clock's quality in a word."""
        if not self.is_synced:
            return "unsynced"
        return "jumped" if self.jumps else "synced"

    @property
    def era(self) -> str:
        """The first two parts of a mark that is made now: boot, wall time minus boot time."""
        return f"{self.boot}/{self._now() - self._boot_time()}"

    def begin(self) -> None:
        """Judge the clock for the first time; what was kept of former runs is given by now."""
        self._offset = self._now() - self._boot_time()
        known = self.truths.get(self.boot, self._offset)
        self._judge(is_anew=abs(known - self._offset) > JUMP)

    def look(self) -> int:
        """Look whether the clock was set since the last look: by how many ns, 0 if it was not."""
        offset = self._now() - self._boot_time()
        jump, self._offset = offset - self._offset, offset
        if abs(jump) <= JUMP:
            jump = 0
        else:
            self.jumps += 1
            self._was_set = True
        if jump or not self.is_synced:
            self._judge(is_anew=bool(jump))
        if jump:
            for listener in self.listeners:
                listener(jump)
        return jump

    def _judge(self, *, is_anew: bool = False) -> None:
        wall, since_boot = self._now(), self._boot_time()
        self.is_synced = self._is_believable(wall, since_boot)
        if not self.is_synced:
            self.is_marked = True
        elif is_anew or self.boot not in self.truths:
            self.truths.pop(self.boot, None)
            self.truths[self.boot] = wall - since_boot
            for old in list(self.truths)[:-KEPT_BOOTS]:
                del self.truths[old]

    def _is_believable(self, wall: int, since_boot: int) -> bool:
        if not RELEASED <= wall < FARTHEST:
            return False
        if self._was_set or self.boot in self.truths:
            return True
        kernel = self._kernel()
        if kernel:
            return True
        if wall < self.last_seen - DAY:
            return False
        return kernel is None or since_boot >= PATIENCE

    # -- marks

    def mark(self, messages: Iterable[Message]) -> None:
        """Mark messages that were stamped by this clock just now, while it is not synced."""
        era = self.era
        for message in messages:
            mark = f"{era}/{message.time}"
            message.meta = {**message.meta, "time_quality": "unsynced", "clock": mark}

    def mend(self, messages: Iterable[Message]) -> None:
        """Mend the stamps of those that bear the mark of a boot whose truth is known, in place."""
        if not self.is_marked:
            return
        for message in messages:
            mark = message.meta.get("clock")
            if type(mark) is str:
                self._mend(message, mark)

    def _mend(self, message: Message, mark: str) -> None:
        try:
            boot, offset, stamp = mark.split("/")
            begin, stamped = int(offset), int(stamp)
        except ValueError:
            return  # not ours: a flow may write what it likes into meta
        truth = self.truths.get(boot)
        if truth is None:
            return
        quality: dict[str, str] = {"time_quality": "mended"}
        if not 0 <= message.time - stamped < SECOND:
            # A node behind the source has given it another time: one that counts from the arrival
            # is wrong by as much, one that the device has told is right.
            length = self._boot_time() if boot == self.boot else 366 * DAY
            if abs(truth - begin) <= length + DAY:
                return  # it could be either
            if not begin - DAY <= message.time <= begin + length + DAY:
                quality, truth = {}, begin
        message.time += truth - begin
        meta = {name: fact for name, fact in message.meta.items() if name != "clock"}
        meta.pop("time_quality", None)
        message.meta = {**meta, **quality}


def boot_id() -> str:
    """Eight hexadecimal digits of this boot; where the system gives none, of this process."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")[:8]
    except (OSError, UnicodeError):
        return secrets.token_hex(4)


def boot_clock() -> Callable[[], int]:
    """What reads nanoseconds since the boot, sleep included where the system counts it."""
    number: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    if number is None:
        return time.monotonic_ns
    clock = number
    return lambda: time.clock_gettime_ns(clock)


def kernel_is_synced() -> bool | None:
    """Whether the kernel's clock is synchronised, by adjtimex(2); None where it cannot say."""
    if os.name != "posix":
        return None
    import ctypes  # noqa: PLC0415  # 3 ms, and only an engine asks

    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):
        return None
    state = int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    return None if state < 0 else state != _TIME_ERROR
