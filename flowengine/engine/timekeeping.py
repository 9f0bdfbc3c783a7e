"""The engine's eye on the wall clock: looked at every second, and what it learned kept on disk.

`clock.json` in the data folder holds the truths of the last boots (see `trust`), the latest time
that was believed, and whether any message may bear a mark. It is written when one of them changes,
and once an hour for the time. One that cannot be read is begun anew: no more than a mark that stays
unmended is lost with it.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from flowengine.clock import SECOND, Clock, Timer
from flowengine.moments import format_duration, format_time

LOG = logging.getLogger("flowengine.engine")
LOOK_EVERY = SECOND
NOTE_EVERY = 3600 * SECOND


class Kept(msgspec.Struct, kw_only=True):
    """What `clock.json` holds; times in nanoseconds."""

    truths: dict[str, int] = {}
    last_seen: int = 0
    is_marked: bool = False


class Timekeeper:
    """Judges the clock, tells the flows' nodes when it was set, and remembers.

    `path` None: nothing is kept. `nodes` gives every node at work.
    """

    def __init__(self, clock: Clock, path: Path | None, nodes: Callable[[], Iterable[Any]]) -> None:
        self._clock = clock
        self._trust = clock.trust
        self._path = path
        self._nodes = nodes
        self._timer: Timer | None = None
        self._written: Kept | None = None
        self._was_synced = True

    def start(self) -> None:
        """Judge the clock with what former runs knew, and look at it from now on."""
        trust, kept = self._trust, self._load()
        trust.truths = {**kept.truths, **trust.truths}
        trust.last_seen = max(trust.last_seen, kept.last_seen)
        trust.is_marked = trust.is_marked or kept.is_marked
        trust.listeners.append(self._jumped)
        trust.begin()
        self._tell_quality()
        self._note()
        self._plan()

    def stop(self) -> None:
        """Look no more; the time is noted. Harmless when called twice, or without `start`."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._trust.listeners.remove(self._jumped)
        self._note(is_last=True)

    def _plan(self) -> None:
        self._timer = self._clock.call_at(self._clock.monotonic() + LOOK_EVERY, self._look)

    def _look(self) -> None:
        self._trust.look()
        self._tell_quality()
        self._note()
        self._plan()

    def _jumped(self, jump: int) -> None:
        """The clock was set: nodes that keep event times move them along."""
        facts = {"by": f"{'-' if jump < 0 else ''}{format_duration(abs(jump))}"}
        LOG.warning("the wall clock was set", extra={"facts": facts})
        self._tell_quality()
        for node in self._nodes():
            try:
                node.clock_set(jump)
            except Exception:  # a node's bug must not keep the others from hearing of it
                LOG.exception("a node did not follow the clock")

    def _tell_quality(self) -> None:
        trust = self._trust
        if trust.is_synced == self._was_synced:
            return
        self._was_synced = trust.is_synced
        if trust.is_synced:
            LOG.info("the clock is set: what it stamped before is mended as it leaves")
        else:
            facts = {
                "time": _readable(self._clock.now()),
                "mend": "Let a time service (chrony, systemd-timesyncd) set it.",
            }
            what = "the clock is not set: what comes is stamped with its time, and marked"
            LOG.warning(what, extra={"facts": facts})

    # -- what is kept

    def _load(self) -> Kept:
        if self._path is None:
            return Kept()
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Kept)
        except FileNotFoundError:
            return Kept()
        except (OSError, ValueError) as err:
            LOG.warning("%s cannot be read and is begun anew: %s", self._path, err)
            return Kept()

    def _note(self, *, is_last: bool = False) -> None:
        """Write what has changed; the time alone once an hour, and at the end."""
        trust, written, now = self._trust, self._written, self._clock.now()
        if trust.is_synced:
            trust.last_seen = now
        kept = Kept(truths=dict(trust.truths), last_seen=trust.last_seen, is_marked=trust.is_marked)
        if written is not None:
            is_same = (kept.truths, kept.is_marked) == (written.truths, written.is_marked)
            if is_same and not is_last and abs(now - written.last_seen) < NOTE_EVERY:
                return
        if self._path is not None and kept != written:
            self._save(self._path, msgspec.json.encode(kept))
        self._written = kept

    def _save(self, path: Path, text: bytes) -> None:
        """Write by rename, on disk when it returns: a truth may be all that mends a spool."""
        unfinished = path.with_suffix(".new")
        try:
            handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(handle, text)
                os.fsync(handle)
            finally:
                os.close(handle)
            unfinished.replace(path)
        except OSError as err:  # a full disk: the quarantine and the spools say more of it
            LOG.debug("%s cannot be written: %s", path, err)
            with contextlib.suppress(OSError):
                unfinished.unlink()


def _readable(time: int) -> str:
    try:
        return format_time(time)
    except ValueError:
        return f"{time} ns"
