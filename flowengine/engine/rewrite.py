"""After a failed fsync: what an earlier one covered is read back, and the rest is written anew.

Nothing in the page cache is believed then ("PostgreSQL's fsync() surprise",
lwn.net/Articles/752063): the kernel may have dropped what it could not write, and call it clean.
"""

import contextlib
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from flowengine.engine.disk import Disk, shut, write_all
from flowengine.engine.segment import (
    HEADER_BYTES,
    UNFINISHED,
    Segment,
    encode,
    encode_header,
    segment_name,
    survey,
)


class Batch(NamedTuple):
    """Records that no fsync has covered yet: the copy that does not depend on the page cache."""

    seq: int
    time: int
    records: Sequence[bytes]


def verify(disk: Disk, segment: Segment) -> None:
    """Cut a segment back to what an earlier fsync covered, and read that from the disk.

    Raises OSError if it does not read as it was written.
    """
    is_cut = segment.size > segment.durable_size
    segment.end, segment.size = segment.durable_end, max(segment.durable_size, HEADER_BYTES)
    if segment.end == segment.first:
        return
    data = disk.read(segment.path, 0, segment.size, fresh=True)
    found, _ = survey(data, segment.path, segment.first, segment.end)
    if found.end != segment.end or found.size != segment.size:
        raise OSError(errno.EIO, f"{segment.path.name} no longer reads as it was written")
    segment.records, segment.payload = found.records, found.payload
    if is_cut:
        # Not needed for order: a later segment's first number outranks what is left here.
        with contextlib.suppress(OSError):
            disk.truncate(segment.path, segment.size)


def write_anew(
    disk: Disk, folder: Path, batches: Sequence[Batch], stale: Sequence[Segment]
) -> Segment:
    """Write batches to a new, durable segment; the files of `stale`, of which all is in them, go.

    The new file gets its name only when it is durable, and the old ones are gone by then, so a
    crash at any point leaves one copy or none, never a mixture. Raises OSError.
    """
    first = batches[0].seq
    path = folder / segment_name(first)
    unfinished = path.with_suffix(UNFINISHED)
    fresh = Segment(path, first, first)
    handle = disk.open(unfinished)
    try:
        write_all(disk, handle, encode_header(first, batches[0].time))
        for seq, time, records in batches:
            data = encode(first, seq, time, records)
            write_all(disk, handle, data)
            fresh.end = seq
            fresh.grow(len(records), sum(map(len, records)), len(data), time)
        disk.fsync(handle)
    finally:
        shut(disk, handle)
    for segment in stale:
        if segment.path != path:
            with contextlib.suppress(FileNotFoundError):
                disk.unlink(segment.path)
    disk.rename(unfinished, path)
    disk.fsync_dir(folder)
    fresh.durable_size, fresh.durable_end = fresh.size, fresh.end
    return fresh
