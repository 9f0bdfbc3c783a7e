"""A cap on the engine's memory: above 80 % of it sources read no more, below 70 % they read on.

    resident memory --every 5 to 250 ms--> above the mark --> give back what is free --> pause all
                                            10 % below it  --> resume all

Wires and windows have bounds of their own, in messages and bytes for each; this bounds their sum,
and what decoded payloads really weigh. A source that is paused pushes back (P6): a broker keeps
what we do not read. A small cap leaves RESERVE free: a link may still bring what it has begun to
read, and a batch on its way weighs several times itself.

Pausing helps only against what drains. If nothing waits that could, or nothing moves for half a
minute, sources read on up to a higher mark: of at most 90 % while something waits.

The cap is that of `--memory`, else the limit of the control group we run in (cgroups(7), versions 1
and 2; systemd's MemoryMax is one), which the system's killer would enforce.
"""

import contextlib
import gc
import logging
import os
from collections.abc import Callable
from pathlib import Path

from flowengine.clock import SECOND, Clock, Timer

LOG = logging.getLogger("flowengine.engine")
MS = SECOND // 1000
SLOWEST, FASTEST = 250 * MS, 5 * MS
FLOOD = 1_000_000_000
"""Bytes a second by which a flood of large messages may let memory grow: how soon to look again."""
PAUSE_AT, MOST = 0.80, 0.90
RESERVE = 44_000_000
TRIM_EVERY = SECOND
STUCK_AFTER = 30 * SECOND
TELL_EVERY = 60 * SECOND
NO_LIMIT = 1 << 60
"""Version 1 says "no limit" as a number close to 2^63."""
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_M_MMAP_THRESHOLD = -3  # malloc.h
LARGE = 256 * 1024


def resident() -> int:
    """Bytes of this process that are in memory now (proc(5), statm)."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read(128).split()[1]) * _PAGE


def trim() -> None:
    """Give back to the system what malloc keeps for later (malloc_trim(3)); nothing without it."""
    gc.collect(0)
    _call_libc("malloc_trim", 0)


def give_back_large() -> None:
    """Let malloc return large blocks at once; by itself it learns to keep them (mallopt(3))."""
    _call_libc("mallopt", _M_MMAP_THRESHOLD, LARGE)


def _call_libc(name: str, *numbers: int) -> None:
    import ctypes  # noqa: PLC0415  # 5 ms of a start that mostly has no cap

    with contextlib.suppress(OSError, AttributeError):
        getattr(ctypes.CDLL(None), name)(*numbers)


def group_limit(proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> int:
    """The tightest memory limit of the control groups we are in, in bytes; 0 if there is none."""
    try:
        lines = proc.read_text().splitlines()
    except OSError:
        return 0
    found = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            found += [_limits(base, path, "memory.max") for base in (root, root / "unified")]
        elif "memory" in controllers.split(","):
            found.append(_limits(root / "memory", path, "memory.limit_in_bytes"))
    return min((limit for limits in found for limit in limits), default=0)


def _limits(base: Path, path: str, name: str) -> list[int]:
    """The limits of a group and of those above it.

    In a container the path may be one of the host's that is not there; its root then is ours.
    """
    groups = [base / path.strip("/")]
    groups += [parent for parent in groups[0].parents if parent.is_relative_to(base)]
    limits = []
    for group in groups:
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            limit = int((group / name).read_text())
            if limit < NO_LIMIT:
                limits.append(limit)
    return limits


def megabytes(size: float) -> str:
    """`103 MB`."""
    return f"{size / 1e6:.0f} MB"


class MemoryGuard:
    """Watches the process's memory and holds the sources when it nears the cap.

    Attributes:
        cap: in bytes.
        rss: what was resident when it was looked last.
        is_paused: whether the sources are held now.
        pauses: how often they were held so far.
    """

    def __init__(
        self,
        clock: Clock,
        cap: int,
        hold: Callable[[bool], None],
        is_draining: Callable[[], bool],
        *,
        read: Callable[[], int] = resident,
        give_back: Callable[[], None] = trim,
    ) -> None:
        """`hold` stops all sources (True) or lets them go; it may be called more than once.

        `is_draining` says whether messages wait anywhere that go on by themselves.
        """
        self.cap = cap
        self.rss = 0
        self.is_paused = False
        self.pauses = 0
        self._clock, self._hold, self._is_draining = clock, hold, is_draining
        self._read, self._give_back = read, give_back
        self._first_mark = self._mark = max(cap // 2, min(int(PAUSE_AT * cap), cap - RESERVE))
        self._low = self._first_mark - cap // 10
        self._timer: Timer | None = None
        self._trimmed_at = self._told_at = self._stuck_at = -(1 << 62)
        self._lowest = 0
        self._since = self._moved_at = 0

    def start(self) -> None:
        """Look from now on."""
        give_back_large()
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        now = self._clock.monotonic()
        self.rss = self._read()
        if self.is_paused:
            self._held(now)
        elif self.rss >= self._mark:
            self._trim(now)
            if self.rss >= self._mark:
                self._pause(now)
        room = self._mark - self.rss
        wait = min(SLOWEST, max(FASTEST, int(room / FLOOD * SECOND)))
        self._timer = self._clock.call_at(now + wait, self._look)

    def _trim(self, now: int) -> None:
        """Free is not gone: only what malloc cannot give back counts. A trim takes milliseconds."""
        if now - self._trimmed_at >= TRIM_EVERY:
            self._trimmed_at = now
            self._give_back()
            self.rss = self._read()

    def _pause(self, now: int) -> None:
        self.is_paused = True
        self.pauses += 1
        self._since = self._moved_at = now
        self._lowest = self.rss
        self._hold(True)
        if now - self._told_at >= TELL_EVERY:
            self._told_at = now
            LOG.warning(
                "memory is at %s of %s: sources are paused until it is below %s",
                megabytes(self.rss),
                megabytes(self.cap),
                megabytes(self._low),
                extra={"facts": {"resident": self.rss, "cap": self.cap, "pauses": self.pauses}},
            )

    def _held(self, now: int) -> None:
        self._trim(now)
        if self.rss <= self._low:
            self._mark = self._first_mark
            self._resume(now)
            return
        self._hold(True)  # also those that a deploy has brought
        if self.rss < self._lowest - self.cap // 100:
            self._lowest, self._moved_at = self.rss, now
        if not self._is_draining():
            self._read_on(now, self.rss + self.cap // 20)
        elif now - self._moved_at >= STUCK_AFTER:
            self._moved_at = now
            if self.rss < MOST * self.cap:
                self._read_on(now, min(int(MOST * self.cap), self.rss + self.cap // 20))
            else:
                self._tell_stuck(now, "sources stay paused")

    def _read_on(self, now: int, mark: int) -> None:
        """Waiting does not help: what is there stays there."""
        self._mark = max(self._first_mark, mark)
        self._resume(now)
        if self._mark > PAUSE_AT * self.cap:
            self._tell_stuck(now, f"reading on to {megabytes(self._mark)}")

    def _tell_stuck(self, now: int, what: str) -> None:
        if now - self._stuck_at >= TELL_EVERY:
            self._stuck_at = now
            LOG.warning(
                "memory stays at %s of %s though nothing is read: %s. Raise --memory, or hold "
                "less: shorter windows, smaller queues",
                megabytes(self.rss),
                megabytes(self.cap),
                what,
            )

    def _resume(self, now: int) -> None:
        self.is_paused = False
        self._hold(False)
        if self._told_at == self._since:  # its pause was told too
            LOG.info(
                "memory is at %s after %.1f s: sources read on",
                megabytes(self.rss),
                (now - self._since) / SECOND,
            )
