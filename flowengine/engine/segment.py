"""How records lie on disk: the format of a segment and of the cursor, written and read.

A spool is a folder of segments, each named for the sequence number of its first record, a
`cursor` file, and `aside/` for what could not be understood. All numbers are little-endian.

    segment   two copies of: magic 8s | version u32 | crc32 u32 | first u64 | created i64 ns
              then records:  mark u32 | crc32 u32 | length u32 | index u32 | time i64 ns | payload
    cursor    twice, 4096 bytes apart:
              magic 8s | version u32 | crc32 u32 | done below u64 | durable below u64

A record carries its place (first + index), so that a hole says exactly which records it took. The
mark is what a reader looks for behind a damaged record. A record's checksum starts from its
segment's first number, so a record found in the wrong file does not pass for one of it. The file
name and the two headers say the same thing three times: any one is enough. On a full disk, where
no new cursor file can be made, the second copy is written over in place, and the greater counts.
"""

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

VERSION = 1
CURSOR = "cursor"
ASIDE = "aside"
UNFINISHED = ".new"
HEADER_BYTES = 64
FRAME_BYTES = 24
CURSOR_APART = 4096
"""Bytes between the two copies of a cursor: a write that is torn hits one block of a disk."""
SEGMENT_NAME = re.compile(r"(\d{20})\.seg")

_MAGIC = b"FLOWSPL\n"
_CURSOR_MAGIC = b"FLOWCUR\n"
_MARK = 0x9E5CF10E
_MARK_BYTES = struct.pack("<I", _MARK)
_TITLE = struct.Struct("<8sIIQq")
_CURSOR = struct.Struct("<8sIIQQ")
_START = struct.Struct("<II")
_REST = struct.Struct("<IIq")
_FRAME = struct.Struct("<IIIIq")
_MOST_INDEX = 2**32


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


def encode_cursor_copy(done: int, durable: int) -> bytes:
    """One copy of the cursor: records below `done` are done, those below `durable` were fsynced."""
    crc = crc32(_CURSOR.pack(_CURSOR_MAGIC, VERSION, 0, done, durable))
    return _CURSOR.pack(_CURSOR_MAGIC, VERSION, crc, done, durable)


def encode_cursor(done: int, durable: int) -> bytes:
    """The whole cursor file: both copies, and what lies between them."""
    copy = encode_cursor_copy(done, durable)
    return copy.ljust(CURSOR_APART, b"\0") + copy


def decode_cursor(data: bytes) -> tuple[int, int] | None:
    """`done` and `durable` of the copy that is further, or None if neither is whole.

    A file with the first copy alone is read too: versions before 0.2 wrote no second.
    """
    copies = [_decode_copy(data[at : at + _CURSOR.size]) for at in (0, CURSOR_APART)]
    return max((copy for copy in copies if copy is not None), default=None)


def _decode_copy(data: bytes) -> tuple[int, int] | None:
    if len(data) != _CURSOR.size:
        return None
    _, _, _, done, durable = _CURSOR.unpack(data)
    return (done, durable) if data == encode_cursor_copy(done, durable) else None


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
