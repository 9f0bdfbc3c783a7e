"""The spools of a data folder: every segment read, every record checked, every gap named."""

import os
from collections.abc import Iterator
from pathlib import Path

from flowengine.clock import RealClock
from flowengine.engine.disk import LookingDisk
from flowengine.engine.doctor_look import Look, count, size_of
from flowengine.engine.opening import Contents, Note, open_folder, spell
from flowengine.engine.segment import (
    ASIDE,
    CURSOR,
    HEADER_BYTES,
    SEGMENT_NAME,
    UNFINISHED,
    decode_header,
)
from flowengine.engine.spool import Spool, SpoolBroken
from flowengine.moments import format_time

SPOOL = "spool"
NOTHING = "Nothing brings them back; the engine goes on behind them."
START = "--mend does it, or the next start of the engine"


def examine(look: Look) -> None:
    """Every spool below `spool/`."""
    for folder in spools(look.folder / SPOOL):
        try:
            _examine(look, folder)
        except (OSError, SpoolBroken) as err:
            look.add(
                folder,
                f"cannot be read: {err}",
                cost="the messages that wait there are not sent meanwhile",
                mend="Look at its rights, and at the disk (dmesg).",
            )


def spools(top: Path) -> Iterator[Path]:
    """The folders that hold segments, a cursor, or what was set aside."""
    try:
        names = sorted(os.listdir(top))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError:
        yield top  # it cannot be read: whoever examines it says so
        return
    if any(name in (CURSOR, ASIDE) or SEGMENT_NAME.fullmatch(name) for name in names):
        yield top
        return
    for name in names:
        path = top / name
        if path.is_dir() and not path.is_symlink():
            yield from spools(path)


def _examine(look: Look, folder: Path) -> None:
    found = open_folder(folder, LookingDisk())
    notes = found.notes
    if look.pid is not None:
        # the engine is writing the end of the newest file, and what has no record yet
        newest = found.segments[-1].path.name if found.segments else ""
        notes = [n for n in notes if not (n.name == newest and n.done) and n.what != "empty"]
    left = {(note.name, note.what) for note in notes}
    if look.mend and notes:
        Spool(folder, now=RealClock().now).close()
        found = open_folder(folder, LookingDisk())
        left = {(note.name, note.what) for note in found.notes}
    for note in notes:
        _tell(look, folder, note, mended=(note.name, note.what) not in left)
    _have(look, folder, found)


def _tell(look: Look, folder: Path, note: Note, *, mended: bool) -> None:
    path = folder / note.name if note.name else folder
    if mended:
        mend = note.done or "put right"
    elif note.done:
        mend = f"to be {note.done} ({START})"
    else:
        mend = NOTHING if note.cost else START
    look.add(path, note.what, cost=note.cost, mend=mend, mended=mended)


def _have(look: Look, folder: Path, found: Contents) -> None:
    """Say what waits in a spool, and what else lies there."""
    segments = found.segments
    missing = sum(map(len, found.lost))
    done = sum(max(0, min(s.end, found.cursor) - s.first) for s in segments)
    waiting = max(0, found.appended - found.cursor - missing)
    oldest = min((s.oldest for s in segments if s.records), default=None)
    what = count(waiting, "message") + " not delivered"
    if waiting and oldest is not None:
        what += f", the oldest file from {format_time(oldest)}"
    aside = sorted(os.listdir(folder / ASIDE)) if (folder / ASIDE).is_dir() else []
    if aside:
        what += f"; set aside: {count(len(aside), 'file')}"
    foreign = _foreign(folder)
    if foreign:
        what += f"; not a spool's, left alone: {', '.join(foreign[:5])}"
    look.have(
        folder,
        size_of(folder),
        what,
        "those messages: they were acknowledged, and nobody sends them again",
        waiting=waiting,
        done=done,
        missing=spell(found.lost),
        cursor=found.cursor,
        next=found.appended,
        segments=len(segments),
        aside=aside,
        foreign=foreign,
    )


def _foreign(folder: Path) -> list[str]:
    """Files that are no part of a spool; a segment under another name is found by its header."""
    names = [
        name
        for name in sorted(os.listdir(folder))
        if name not in (CURSOR, ASIDE)
        and not name.endswith(UNFINISHED)
        and not SEGMENT_NAME.fullmatch(name)
    ]
    return [name for name in names if not _is_segment(folder / name)]


def _is_segment(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return decode_header(file.read(HEADER_BYTES)) is not None
    except OSError:
        return False
