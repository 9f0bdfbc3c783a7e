"""What lies in a spool's folder: the seam to the disk, the format of a segment, its repair.

A spool is a folder of segments, each named for the sequence number of its first record, a
`cursor` file, and `aside/` for what could not be understood. All numbers are little-endian.

    segment   two copies of: magic 8s | version u32 | crc32 u32 | first u64 | created i64 ns
              then records:  mark u32 | crc32 u32 | length u32 | index u32 | time i64 ns | payload
    cursor    magic 8s | version u32 | crc32 u32 | done below u64 | durable below u64

A record carries its place (first + index), so that a hole says exactly which records it took. The
mark is what a reader looks for behind a damaged record. A record's checksum starts from its
segment's first number, so a record found in the wrong file does not pass for one of it. The file
name and the two headers say the same thing three times: any one is enough.
"""

import contextlib
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol
from zlib import crc32

VERSION = 1
CURSOR = "cursor"
ASIDE = "aside"
UNFINISHED = ".new"
HEADER_BYTES = 64
FRAME_BYTES = 24
# A damaged disk must not fill itself with what was set aside (P6).
ASIDE_FILES = 16

_MAGIC = b"FLOWSPL\n"
_CURSOR_MAGIC = b"FLOWCUR\n"
_MARK = 0x9E5CF10E
_MARK_BYTES = struct.pack("<I", _MARK)
_TITLE = struct.Struct("<8sIIQq")
_CURSOR = struct.Struct("<8sIIQQ")
_START = struct.Struct("<II")
_REST = struct.Struct("<IIq")
_FRAME = struct.Struct("<IIIIq")
_NAME = re.compile(r"(\d{20})\.seg")
_MOST_INDEX = 2**32
# On a full disk, files that are done go before the cursor can be written.
_ROOM = "(After a power cut on a full disk: or they were done, and deleted to make room.)"


class Disk(Protocol):
    """The door to the disk. Every method raises OSError, and nothing else, when it cannot."""

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, for its owner only; one that exists is fine."""

    def listdir(self, path: Path) -> list[str]:
        """Return the names in a folder, in any order."""

    def open(self, path: Path) -> int:
        """Return a handle to append to a new, empty file; what had the name before is gone."""

    def write(self, handle: int, data: bytes) -> int:
        """Append; return how many bytes were taken, which may be fewer than were given."""

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to `size` bytes."""

    def fsync(self, handle: int) -> None:
        """Return once everything written to the handle is on the medium."""

    def close(self, handle: int) -> None:
        """Give the handle back."""

    def settle(self, path: Path) -> None:
        """Fsync a file that an earlier run wrote, without changing it."""

    def fsync_dir(self, path: Path) -> None:
        """Return once the names in a folder are on the medium."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in one step, replacing what had it."""

    def unlink(self, path: Path) -> None:
        """Remove a file."""

    def read(
        self, path: Path, offset: int = 0, size: int | None = None, *, fresh: bool = False
    ) -> bytes:
        """Return up to `size` bytes from `offset`, or all; `fresh`: not from the page cache."""

    def disk_free(self, path: Path) -> int:
        """Return the bytes that can still be written where the folder is."""


class OsDisk:
    """The real disk. Files are mode 0600, folders 0700."""

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, for its owner only; one that exists is fine."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def listdir(self, path: Path) -> list[str]:
        """Return the names in a folder, in any order."""
        return os.listdir(path)

    def open(self, path: Path) -> int:
        """Return a handle to append to a new, empty file; what had the name before is gone."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)

    def write(self, handle: int, data: bytes) -> int:
        """Append; return how many bytes were taken, which may be fewer than were given."""
        return os.write(handle, data)

    def truncate(self, path: Path, size: int) -> None:
        """Cut a file to `size` bytes."""
        os.truncate(path, size)

    def fsync(self, handle: int) -> None:
        """Return once everything written to the handle is on the medium."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """Give the handle back."""
        os.close(handle)

    def settle(self, path: Path) -> None:
        """Fsync a file that an earlier run wrote, without changing it."""
        # Linux syncs through a read-only handle, so this holds on a read-only mount; Windows
        # wants a writable one.
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def fsync_dir(self, path: Path) -> None:
        """Return once the names in a folder are on the medium."""
        if os.name == "nt":  # no such call there; NTFS journals names by itself
            return
        self.settle(path)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file another name in one step, replacing what had it."""
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        os.unlink(path)

    def read(
        self, path: Path, offset: int = 0, size: int | None = None, *, fresh: bool = False
    ) -> bytes:
        """Return up to `size` bytes from `offset`, or all; `fresh`: not from the page cache."""
        with open(path, "rb", buffering=0) as file:
            if fresh and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(offset)
            if size is None:
                return file.readall() or b""
            parts: list[bytes] = []
            while size > 0 and (part := file.read(size)):
                parts.append(part)
                size -= len(part)
            return b"".join(parts)

    def disk_free(self, path: Path) -> int:
        """Return the bytes that can still be written where the folder is."""
        if not hasattr(os, "statvfs"):
            return 2**63
        facts = os.statvfs(path)
        return facts.f_bavail * facts.f_frsize


class Header(NamedTuple):
    """What a segment says of itself."""

    version: int
    first: int
    created: int


@dataclass(slots=True, eq=False)
class Segment:
    """One file of records `first` to `end` (not included), as far as it is known to be good."""

    path: Path
    first: int
    end: int
    size: int = HEADER_BYTES  # bytes of the file that count
    records: int = 0
    payload: int = 0  # bytes of payload
    oldest: int = 2**63  # earliest and latest append time, ns
    newest: int = -(2**63)
    handle: int | None = None
    durable_size: int = 0  # how much of size and end an fsync has covered
    durable_end: int = 0

    def grow(self, records: int, payload: int, framed: int, time: int) -> None:
        """Count records that were just appended."""
        self.end += records
        self.records += records
        self.payload += payload
        self.size += framed
        self.oldest = min(self.oldest, time)
        self.newest = max(self.newest, time)


def segment_name(first: int) -> str:
    """Return the file name of the segment that starts with record `first`."""
    return f"{first:020d}.seg"


def encode_header(first: int, created: int, version: int = VERSION) -> bytes:
    """Return the 64 bytes that open a segment: the header, twice."""
    crc = crc32(_TITLE.pack(_MAGIC, version, 0, first, created))
    return _TITLE.pack(_MAGIC, version, crc, first, created) * 2


def decode_header(data: bytes) -> Header | None:
    """Return the first of the two copies that is whole, or None."""
    for offset in (0, _TITLE.size):
        if len(data) >= offset + _TITLE.size:
            magic, version, crc, first, created = _TITLE.unpack_from(data, offset)
            if magic == _MAGIC and crc == crc32(_TITLE.pack(magic, version, 0, first, created)):
                return Header(version, first, created)
    return None


def encode_cursor(done: int, durable: int) -> bytes:
    """Return the cursor file: records below `done` are done, those below `durable` were fsynced."""
    crc = crc32(_CURSOR.pack(_CURSOR_MAGIC, VERSION, 0, done, durable))
    return _CURSOR.pack(_CURSOR_MAGIC, VERSION, crc, done, durable)


def decode_cursor(data: bytes) -> tuple[int, int] | None:
    """Return what encode_cursor was given, or None if the file is not whole."""
    if len(data) != _CURSOR.size:
        return None
    magic, version, _, done, durable = _CURSOR.unpack(data)
    good = magic == _CURSOR_MAGIC and version == VERSION and data == encode_cursor(done, durable)
    return (done, durable) if good else None


def _seed(first: int) -> int:
    return crc32(first.to_bytes(8, "little"), VERSION)


def encode(first: int, seq: int, time: int, records: Sequence[bytes]) -> bytes:
    """Return `records`, the first of them being number `seq`, framed for segment `first`."""
    seed, index, start, rest = _seed(first), seq - first, _START.pack, _REST.pack
    out: list[bytes] = []
    for record in records:
        middle = rest(len(record), index, time)
        out += (start(_MARK, crc32(record, crc32(middle, seed))), middle, record)
        index += 1
    return b"".join(out)


def walk(
    data: bytes, first: int, seq: int, offset: int = 0, stop: int | None = None
) -> Iterator[tuple[int, int, int, int]]:
    """Yield (sequence, time, start, end of payload) from `offset` on, up to the first bad place.

    `seq` is the lowest number that may come and `stop` (a later segment's first) the lowest that
    may not. A number above the one expected means that records between are gone.
    """
    seed, view, size, unpack = _seed(first), memoryview(data), len(data), _FRAME.unpack_from
    index = seq - first
    top = _MOST_INDEX if stop is None else stop - first
    while offset + FRAME_BYTES <= size:
        mark, crc, length, at, time = unpack(data, offset)
        start = offset + FRAME_BYTES
        end = start + length
        if mark != _MARK or not index <= at < top or end > size:
            return
        if crc32(view[offset + 8 : end], seed) != crc:
            return
        yield first + at, time, start, end
        index, offset = at + 1, end


def find_next(data: bytes, first: int, seq: int, offset: int, stop: int | None) -> int | None:
    """Return the offset of the next good record behind a bad place at `offset`, or None."""
    while (offset := data.find(_MARK_BYTES, offset + 1)) >= 0:
        if next(walk(data, first, seq, offset, stop), None) is not None:
            return offset
    return None


def survey(data: bytes, path: Path, first: int, stop: int | None) -> tuple[Segment, list[range]]:
    """Verify a whole file; return what is good in it and which records were lost on the way."""
    found = Segment(path, first, first)
    lost: list[range] = []
    offset: int | None = HEADER_BYTES
    while offset is not None:
        for seq, time, start, end in walk(data, first, found.end, offset, stop):
            if seq > found.end:
                lost.append(range(found.end, seq))
                found.end = seq
            found.grow(1, end - start, 0, time)
            found.size = end
        offset = find_next(data, first, found.end, max(found.size, offset), stop)
    found.durable_size, found.durable_end = found.size, found.end
    return found, lost


@dataclass(slots=True)
class Contents:
    """What a folder was found to hold, after repair."""

    segments: list[Segment] = field(default_factory=list)
    cursor: int = 0
    appended: int = 0  # the next new record's number; never one known to have been given before
    lost: list[range] = field(default_factory=list)
    report: list[str] = field(default_factory=list)


def _spell(spans: Sequence[range]) -> str:
    """Write record ranges for people: "7, 10-12"."""
    shown = [str(s.start) if len(s) == 1 else f"{s.start}-{s.stop - 1}" for s in spans[:50]]
    more = f" and {len(spans) - 50} more places" if len(spans) > 50 else ""
    return ", ".join(shown) + more


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

    def _say(self, text: str) -> None:
        self.found.report.append(f"{self.folder}: {text}")

    def _never_again(self, seq: int) -> None:
        """New records, and so new file names, start at `seq` or above."""
        self.found.appended = max(self.found.appended, seq)

    def _read_cursor(self, names: Sequence[str]) -> None:
        if CURSOR not in names:
            return
        try:
            self.saved = decode_cursor(self.disk.read(self.folder / CURSOR))
        except OSError as err:
            self._say(f"the cursor cannot be read ({err.strerror}).")
        if self.saved is None:
            self._set_aside(CURSOR, "the cursor is damaged")
        else:
            self.found.cursor = self.saved[0]

    def _set_aside(self, name: str, why: str) -> bool:
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
            self._say(f"{name}: {why}; not used, and could not be set aside ({err}).")
            return False
        self._say(f"{name}: {why}; set aside as {ASIDE}/{number}-{name}.")
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
            match = _NAME.fullmatch(name)
            try:
                head = self.disk.read(self.folder / name, 0, HEADER_BYTES)
            except OSError as err:
                if match:
                    self._set_aside(name, f"cannot be read ({err.strerror})")
                continue
            header = decode_header(head)
            if header is None and match and not head:
                self._say(f"{name}: empty; removed.")
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
            self._say(f"{name}: holds records from {first} on, as {segment_name(first)} should.")
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
                if segment.records == 0:
                    self._drop_empty(name, first, len(data))
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

    def _drop_empty(self, name: str, first: int, size: int) -> None:
        """Take away a segment without a record: begun and not finished, or nothing but damage."""
        self._never_again(first)
        if size > HEADER_BYTES:
            self._set_aside(name, f"{size} bytes without one whole record")
        else:
            with contextlib.suppress(OSError):
                self.disk.unlink(self.folder / name)

    def _cut(self, segment: Segment, rest: int) -> None:
        self._say(
            f"{segment.path.name}: the last {rest} bytes, behind record {segment.end - 1}, "
            "are no whole record (torn or damaged); cut off."
        )
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
                self._say(f"records {_spell([gap])} are missing: no file after {name} holds them.")
        if lost := [span for span in map(self._undone, lost) if span]:
            self.found.lost += lost
            count = sum(map(len, lost))
            self._say(f"{name}: {count} records damaged and skipped: {_spell(lost)}.")

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
                if (match := _NAME.fullmatch(name)) and name not in used:
                    self._never_again(int(match[1]) + 1)  # it would be overwritten
        end = found.segments[-1].end if found.segments else 0
        start = found.segments[0].first if found.segments else found.appended
        if self.saved is None:
            found.cursor = start
            if found.segments:
                self._say(f"no cursor: everything from record {start} on is sent again.")
        done, durable = self.saved or (start, 0)
        # Where data ends early, numbers go on above the cursor all the same. If they began again
        # below it, a crash before the cursor is next written would take new records for done.
        self._never_again(max(end, done, durable))
        if found.segments and start > done:
            gap = range(done, start)
            found.lost.append(gap)
            self._say(
                f"records {_spell([gap])} are missing: the oldest file starts at {start}. {_ROOM}"
            )
        if gap := range(max(end, done), found.appended):
            found.lost.append(gap)
            self._say(f"records {_spell([gap])} are missing: no file holds them now. {_ROOM}")
        if found.segments and done > end:
            self._say(f"the cursor ({done}) is beyond the data ({end}): nothing is sent again.")
        found.lost.sort(key=lambda span: span.start)

    def _settle_disk(self) -> None:
        """Have what an earlier run left in the page cache written before it is called durable.

        What was acknowledged had an fsync of its own, so a failure here breaks no promise.
        """
        for segment in self.found.segments:
            try:
                self.disk.settle(segment.path)
            except OSError as err:
                self._say(
                    f"{segment.path.name}: fsync failed ({err.strerror or err}): records that were "
                    "not yet acknowledged may not survive a power cut. Check the disk."
                )
        if self.found.segments:
            with contextlib.suppress(OSError):
                self.disk.fsync_dir(self.folder)
