"""A spool's folder opened: read, verified, repaired, and what was found said in words.

Damage costs the records that it hit and no others. What could not be understood is set aside, not
deleted. With a disk that only looks (`LookingDisk`) the same pass says what it would do.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from flowengine.engine.disk import Disk
from flowengine.engine.segment import (
    ASIDE,
    CURSOR,
    HEADER_BYTES,
    SEGMENT_NAME,
    UNFINISHED,
    VERSION,
    Segment,
    decode_cursor,
    decode_header,
    segment_name,
    survey,
)

# A damaged disk must not fill itself with what was set aside (P6).
ASIDE_FILES = 16

# Files that are done go. If the cursor is from before that, it does not know them for done: one
# that was brought back from a copy, or could not be written on a full disk that copies on write.
_DONE = "(or they were done, and the cursor is an old one)"

# How far beyond the known records a file is believed that only its name speaks for. One that
# somebody has left there must not count as millions of records lost.
_BELIEVED = 2**22

_AGAIN = "what was done already is sent once more"
_UNREAD = "what it holds is not sent; the file is kept"
_TORN = "records that were being written, not yet acknowledged; or, if the disk did this, lost"


class Note(NamedTuple):
    """One thing that was found.

    Attributes:
        name: the file, `""` if it is none in particular.
        what: what is wrong, without a full stop.
        done: what was done about it, `""` if nothing can be.
        cost: what that costs the messages, `""` for nothing.
    """

    name: str
    what: str
    done: str = ""
    cost: str = ""

    def __str__(self) -> str:
        text = f"{self.name}: {self.what}" if self.name else self.what
        return f"{text}; {self.done}." if self.done else f"{text}."


@dataclass(slots=True)
class Contents:
    """What a folder was found to hold, after repair."""

    segments: list[Segment] = field(default_factory=list)
    cursor: int = 0
    appended: int = 0  # the next new record's number; never one known to have been given before
    lost: list[range] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    is_settled: bool = True
    """Whether the disk has taken all of it, or a later power cut may still take some."""


def spell(spans: Sequence[range]) -> str:
    """Write record ranges for people: "7, 10-12"."""
    shown = [str(s.start) if len(s) == 1 else f"{s.start}-{s.stop - 1}" for s in spans[:50]]
    more = f" and {len(spans) - 50} more places" if len(spans) > 50 else ""
    return ", ".join(shown) + more


def _lost(*spans: range) -> str:
    number = sum(map(len, spans))
    return "1 message is lost" if number == 1 else f"{number} messages are lost"


def open_folder(folder: Path, disk: Disk) -> Contents:
    """Read, verify and repair a spool's folder; raise OSError only if it cannot be read at all.

    Damage costs the records it hit and no others; every repair is a line in the report. A repair
    that the disk refuses (read-only) is left for another time: what was found counts all the same.
    """
    return _Opening(folder, disk).run()


class _Opening:
    """One pass over a folder."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder, self.disk = folder, disk
        self.found = Contents()
        self.saved: tuple[int, int] | None = None
        self.durable = 0  # records below were synced, as the cursor says
        self.blank: list[int] = []  # first records of files that only their name speaks for

    def run(self) -> Contents:
        """Do the pass."""
        try:
            names = sorted(self.disk.listdir(self.folder))
        except FileNotFoundError:
            self.disk.make_folder(self.folder)
            names = sorted(self.disk.listdir(self.folder))
        self._read_cursor(names)
        self._survey_all(self._rename_home(self._candidates(names)))
        self._settle_numbers()
        self._settle_disk()
        return self.found

    def _say(self, name: str, what: str, done: str = "", cost: str = "") -> None:
        self.found.notes.append(Note(name, what, done, cost))

    def _never_again(self, seq: int) -> None:
        """New records, and so new file names, start at `seq` or above."""
        self.found.appended = max(self.found.appended, seq)

    def _read_cursor(self, names: Sequence[str]) -> None:
        if CURSOR not in names:
            return
        try:
            self.saved = decode_cursor(self.disk.read(self.folder / CURSOR))
        except OSError as err:
            self._say("", f"the cursor cannot be read ({err.strerror})")
        if self.saved is None:
            self._set_aside(CURSOR, "the cursor is damaged", _AGAIN)
        else:
            self.found.cursor, self.durable = self.saved

    def _set_aside(self, name: str, why: str, cost: str = _UNREAD) -> bool:
        """Move a file to aside/, and let the oldest there go when they are many."""
        aside = self.folder / ASIDE
        try:
            self.disk.make_folder(aside)
            there = self.disk.listdir(aside)
            numbers = sorted((int(n.split("-", 1)[0]), n) for n in there if n[:1].isdigit())
            for _, old in numbers[: max(0, len(numbers) - ASIDE_FILES + 1)]:
                self.disk.unlink(aside / old)
            number = numbers[-1][0] + 1 if numbers else 1
            self.disk.rename(self.folder / name, aside / f"{number}-{name}")
        except (OSError, ValueError) as err:
            self._say(name, why, f"not used, and could not be set aside ({err})", cost)
            return False
        self._say(name, why, f"set aside as {ASIDE}/{number}-{name}", cost)
        return True

    def _candidates(self, names: Sequence[str]) -> list[tuple[str, int]]:
        """Return (file, first record) of what may be a segment, under whatever name."""
        found: list[tuple[str, int]] = []
        for name in names:
            if name in (CURSOR, ASIDE):
                continue
            if name.endswith(UNFINISHED):  # a crash came before its rename; nothing relied on it
                with contextlib.suppress(OSError):
                    self.disk.unlink(self.folder / name)
                continue
            match = SEGMENT_NAME.fullmatch(name)
            try:
                head = self.disk.read(self.folder / name, 0, HEADER_BYTES)
            except OSError as err:
                if match:
                    self._set_aside(name, f"cannot be read ({err.strerror})")
                continue
            header = decode_header(head)
            if header is None and match and not head:
                self._say(name, "empty", "removed")
                with contextlib.suppress(OSError):
                    self.disk.unlink(self.folder / name)
            elif header is None and match:
                found.append((name, int(match[1])))
            elif header is not None and header.version != VERSION:
                why = f"written in format {header.version}, this program reads {VERSION}"
                self._set_aside(name, why)
                self._never_again(header.first + 1)
            elif header is not None:
                found.append((name, header.first))
        return found

    def _rename_home(self, found: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Give each file the name that its header says; two steps, as names may be swapped."""
        strays = [(name, first) for name, first in found if name != segment_name(first)]
        home = {first for name, first in found if name == segment_name(first)}
        result = [entry for entry in found if entry not in strays]
        moved: list[tuple[str, int]] = []
        for name, first in strays:
            if first in home:  # a copy of a segment that is there: _survey_all takes the better
                result.append((name, first))
                continue
            home.add(first)
            middle = f"{segment_name(first)}.moved"
            moved.append((middle if self._rename(name, middle) else name, first))
            what = f"holds records from {first} on, as {segment_name(first)} should"
            self._say(name, what, "renamed")
        for name, first in moved:
            goal = segment_name(first)
            result.append((goal if self._rename(name, goal) else name, first))
        return result

    def _rename(self, old: str, new: str) -> bool:
        try:
            self.disk.rename(self.folder / old, self.folder / new)
        except OSError:
            return False
        return True

    def _survey_all(self, found: list[tuple[str, int]]) -> None:
        """Verify from the last segment back, as a later one's first record ends an earlier one."""
        stop: int | None = None
        for first in sorted({first for _, first in found}, reverse=True):
            best: tuple[Segment, list[range], int] | None = None
            for name in [name for name, at in found if at == first]:
                try:
                    data = self.disk.read(self.folder / name)
                except OSError as err:
                    self._set_aside(name, f"cannot be read ({err.strerror})")
                    continue
                segment, lost = survey(data, self.folder / name, first, stop)
                if segment.end > self.durable and (
                    (on_disk := self._as_on_disk(name, data)) != data
                ):
                    data = on_disk
                    segment, lost = survey(data, self.folder / name, first, stop)
                if segment.records == 0:
                    self._drop_empty(name, first, data)
                elif best is not None and segment.records <= best[0].records:
                    self._set_aside(name, f"another copy of {best[0].path.name}")
                else:
                    if best is not None:
                        self._set_aside(best[0].path.name, f"a poorer copy of {name}")
                    best = (segment, lost, len(data) - segment.size)
            if best is not None:
                segment, lost, rest = best
                if stop is None and rest:
                    self._cut(segment, rest)
                self._note_lost(segment, lost, stop, damaged_tail=rest > 0)
                self.found.segments.insert(0, segment)
                stop = first

    def _as_on_disk(self, name: str, data: bytes) -> bytes:
        """What the medium has of a file that an earlier run may not have brought there.

        After a failed fsync Linux shows what was written and will never write it; an fsync after
        that says nothing. So the page cache is asked to forget, and the file is read once more.
        """
        path = self.folder / name
        try:
            self.disk.settle(path)
            on_disk = self.disk.read(path, fresh=True)
        except OSError as err:
            self.found.is_settled = False
            what = (
                f"fsync failed ({err.strerror or err}): records that were not yet acknowledged "
                "may not survive a power cut. Check the disk"
            )
            self._say(name, what)
            return data
        if on_disk != data:
            what = "what an earlier run wrote since its last fsync never came to the disk"
            self._say(name, what, "what is on the disk counts", _TORN)
        return on_disk

    def _drop_empty(self, name: str, first: int, data: bytes) -> None:
        """Take away a segment without a record: begun and not finished, or nothing but damage."""
        if decode_header(data) is None:
            self.blank.append(first)
        else:
            self._never_again(first)
        if len(data) > HEADER_BYTES:
            self._set_aside(name, f"{len(data)} bytes without one whole record")
        else:
            with contextlib.suppress(OSError):
                self.disk.unlink(self.folder / name)

    def _cut(self, segment: Segment, rest: int) -> None:
        what = (
            f"the last {rest} bytes, behind record {segment.end - 1}, are no whole record "
            "(torn or damaged)"
        )
        self._say(segment.path.name, what, "cut off", _TORN)
        with contextlib.suppress(OSError):
            self.disk.truncate(segment.path, segment.size)

    def _note_lost(
        self, segment: Segment, lost: list[range], stop: int | None, *, damaged_tail: bool
    ) -> None:
        name = segment.path.name
        if stop is not None and segment.end < stop:
            gap = range(segment.end, stop)
            if damaged_tail:
                lost = [*lost, gap]
            elif gap := self._undone(gap):
                self.found.lost.append(gap)
                what = f"records {spell([gap])} are missing: no file after {name} holds them"
                self._say("", what, cost=_lost(gap))
        if lost := [span for span in map(self._undone, lost) if span]:
            self.found.lost += lost
            count = sum(map(len, lost))
            what = f"{count} records damaged and skipped: {spell(lost)}"
            self._say(name, what, cost=_lost(*lost))

    def _undone(self, span: range) -> range:
        """Return the part of a lost range that was not done anyway."""
        return range(max(span.start, self.found.cursor), span.stop)

    def _settle_numbers(self) -> None:
        """Agree on cursor and end: data is the truth, and no number is given out twice."""
        found = self.found
        with contextlib.suppress(OSError):
            used = {
                segment.path.name
                for segment in found.segments
                if segment.path.name == segment_name(segment.first)
            }
            for name in self.disk.listdir(self.folder):
                if (match := SEGMENT_NAME.fullmatch(name)) and name not in used:
                    self._never_again(int(match[1]) + 1)  # it would be overwritten
        end = found.segments[-1].end if found.segments else 0
        start = found.segments[0].first if found.segments else found.appended
        if self.saved is None:
            found.cursor = start
            if found.segments:
                self._say("", f"no cursor: everything from record {start} on is sent again")
        done, durable = self.saved or (start, 0)
        # Where data ends early, numbers go on above the cursor all the same. If they began again
        # below it, a crash before the cursor is next written would take new records for done.
        self._never_again(max(end, done, durable))
        for first in sorted(self.blank):
            if first < found.appended + _BELIEVED:
                self._never_again(first)
        if found.segments and start > done:
            gap = range(done, start)
            found.lost.append(gap)
            what = f"records {spell([gap])} are missing: the oldest file starts at {start} {_DONE}"
            self._say("", what, cost=_lost(gap))
        if gap := range(max(end, done), found.appended):
            found.lost.append(gap)
            what = f"records {spell([gap])} are missing: no file holds them now {_DONE}"
            self._say("", what, cost=_lost(gap))
        if found.segments and done > end:
            self._say("", f"the cursor ({done}) is beyond the data ({end}): nothing is sent again")
        found.lost.sort(key=lambda span: span.start)

    def _settle_disk(self) -> None:
        """Have the names in the folder written, as the files were."""
        if self.found.segments:
            with contextlib.suppress(OSError):
                self.disk.fsync_dir(self.folder)
