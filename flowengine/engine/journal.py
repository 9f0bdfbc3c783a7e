"""The journal of a flow's arrivals: on disk before what they cause, and before they are answered.

An append-only file of frames. Each says of one source which messages came, what of it is done, and
what its minutes stand at; so after a kill the ledger is exact, and what comes again is recognised.
It is written to the page cache before a sink writes and before a source acknowledges, which costs
some microseconds a batch, and brought to the disk once a second: a kill forgets nothing, a power
cut at most a second. When it has grown it is begun anew with what still matters.

    u32 length | u32 crc32 | MessagePack frame
"""

import contextlib
import errno
import logging
import struct
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from flowengine.engine.accounts import BucketNews, Standing
from flowengine.engine.arrivals import Arrival
from flowengine.engine.disk import Disk, OsDisk, write_all

LOG = logging.getLogger("flowengine.engine")
ROTATE_BYTES = 4 << 20
_HEAD = struct.Struct("<II")
_LONGEST = 64 << 20


class Came(msgspec.Struct, array_like=True):
    """Messages that came in one read: number of the first, then packet ids, marks, times."""

    first: int
    packets: bytes
    marks: bytes
    times: bytes


class Frame(msgspec.Struct, array_like=True):
    """What is noted of one source at once."""

    source: str
    stamp: int
    standing: Standing
    buckets: list[BucketNews]
    ranges: list[tuple[int, int]]
    came: list[Came]
    is_new_session: bool = False
    is_whole: bool = False
    """Whether `standing.former` is the whole list, and not what is done with of it."""
    is_cut_bound: bool = False
    """Whether what is done is written with the cuts: here, only what came counts."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Frame).decode


def pack(first: int, arrivals: Sequence[tuple[int, int, int]]) -> Came:
    """Arrivals numbered from `first` on."""
    packets, marks, times = zip(*arrivals, strict=True)
    return Came(
        first,
        array("H", packets).tobytes(),
        array("I", marks).tobytes(),
        array("q", times).tobytes(),
    )


def pack_all(numbered: Iterable[tuple[int, Arrival]]) -> list[Came]:
    """Arrivals with their numbers, in order: a part for each run of numbers."""
    runs: list[tuple[int, list[Arrival]]] = []
    for number, arrival in numbered:
        if runs and runs[-1][0] + len(runs[-1][1]) == number:
            runs[-1][1].append(arrival)
        else:
            runs.append((number, [arrival]))
    return [pack(first, arrivals) for first, arrivals in runs]


def unpack(came: Came) -> list[Arrival]:
    """Arrivals read back."""
    columns = array("H"), array("I"), array("q")
    for column, data in zip(columns, (came.packets, came.marks, came.times), strict=True):
        column.frombytes(data)
    return [Arrival(*row) for row in zip(*columns, strict=True)]


class Journal:
    """One flow's file, open for appending."""

    def __init__(self, path: Path, disk: Disk | None = None) -> None:
        self.path = path
        self.size = 0
        self._disk = disk or OsDisk()
        self._handle: int | None = None
        self._is_dirty = False
        self._is_named = True  # the folder on the medium knows the file
        self._is_in_trouble = False
        self._is_unsafe = False  # an fsync failed: what was written before may never be there

    def read(self) -> list[Frame]:
        """Every whole frame; a torn end, as a power cut leaves it, is passed over."""
        try:
            data = self._disk.read(self.path)
        except FileNotFoundError:
            return []
        except OSError as err:
            LOG.error("the journal %s cannot be read: %s", self.path, err)  # noqa: TRY400
            return []
        return list(_frames(data))

    @property
    def is_due(self) -> bool:
        """Whether it is time to begin anew: it has grown, or lacks what could not be written."""
        return self.size > ROTATE_BYTES or self._is_in_trouble or self._is_unsafe

    def append(self, frames: Iterable[Frame]) -> bool:
        """Write frames to the page cache; whether that worked."""
        data, disk = b"".join(map(_framed, frames)), self._disk
        try:
            if self._handle is None:
                disk.make_folder(self.path.parent)
                self._handle = disk.append_to(self.path)
                self._is_named = False
                so_far = disk.read(self.path)
                self.size = sum(_HEAD.size + length for length, _ in _bodies(so_far))
                if self.size < len(so_far):
                    disk.truncate(self.path, self.size)
            written = disk.write(self._handle, data)
            if written < len(data):
                disk.truncate(self.path, self.size)  # what follows a torn frame would be lost
                raise OSError(errno.ENOSPC, "No space left on device")  # noqa: TRY301  # met below
        except OSError as err:
            self._trouble(err)
            return False
        self.size += written
        self._is_dirty = True
        self._is_in_trouble = False
        return True

    def begin_anew(self, frames: Iterable[Frame]) -> bool:
        """Put these in place of all that was written so far."""
        fresh, disk = self.path.with_suffix(".new"), self._disk
        data = b"".join(map(_framed, frames))
        try:
            disk.make_folder(self.path.parent)
            handle = disk.open(fresh)
            try:
                write_all(disk, handle, data)
                disk.fsync(handle)
            finally:
                disk.close(handle)
            disk.rename(fresh, self.path)
            self._close()  # it is that of the file which is no more
            # Else a power cut may bring the old file back, without what is appended from now on.
            disk.fsync_dir(self.path.parent)
        except OSError as err:
            self._trouble(err)
            return False
        self._is_in_trouble = self._is_unsafe = False
        return True

    def sync_job(self) -> Callable[[], None] | None:
        """What brings the file to the disk, to be called in a thread; None if it is there."""
        if self._handle is None or not self._is_dirty:
            return None
        self._is_dirty = False
        is_named, self._is_named = self._is_named, True

        def sync() -> None:
            try:
                self._disk.settle(self.path)  # by its name: the handle may be closed meanwhile
                if not is_named:
                    self._disk.fsync_dir(self.path.parent)
            except OSError as err:
                self._is_dirty, self._is_named, self._is_unsafe = True, False, True
                self._trouble(err)

        return sync

    def _close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                self._disk.close(handle)

    def close(self) -> None:
        """Let the file go."""
        job = self.sync_job()
        if job is not None:
            job()
        self._close()

    def _trouble(self, err: OSError) -> None:
        if not self._is_in_trouble:
            self._is_in_trouble = True
            LOG.warning(
                "the journal %s cannot be written: %s; a message that comes again after a crash"
                " may not be recognised",
                self.path,
                err.strerror,
            )


def _framed(frame: Frame) -> bytes:
    data = _encode(frame)
    return _HEAD.pack(len(data), zlib.crc32(data)) + data


def _frames(data: bytes) -> Iterator[Frame]:
    for _, body in _bodies(data):
        with contextlib.suppress(ValueError):
            yield _decode(body)


def _bodies(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(length, bytes) of each frame up to the first that is not whole."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, crc = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if length > _LONGEST or len(body) < length or zlib.crc32(body) != crc:
            return
        yield length, body
        at += _HEAD.size + length
