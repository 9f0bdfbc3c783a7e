"""The records of segments read one after the other, a part of the file at a time."""

from collections.abc import Callable, Iterator

from flowengine.engine.disk import Disk, SpoolBroken
from flowengine.engine.segment import Segment, find_next, walk

_WINDOW = 256 * 2**10  # how much is read from disk at a time


class Frames:
    """Reads records; the part of a file that was read last is remembered.

    `note_lost` is told of records that cannot be read: their segment, and their numbers.
    """

    def __init__(self, disk: Disk, note_lost: Callable[[Segment, range], None]) -> None:
        self._disk, self._note_lost = disk, note_lost
        self._window: tuple[Segment, int, bytes] | None = None

    def forget(self) -> None:
        """Files have changed: remember no part of any."""
        self._window = None

    def of(self, segment: Segment, seq: int, offset: int) -> Iterator[tuple[int, int, bytes, int]]:
        """Yield (sequence, time, payload, offset after it); damage met on the way is noted."""
        first, seq = segment.first, max(seq, segment.first)
        while offset < segment.size and seq < segment.end:
            data, base = self._bytes_at(segment, offset)
            began = offset
            for at, time, start, end in walk(data, first, seq, offset - base, segment.end):
                if at > seq:
                    self._note_lost(segment, range(seq, at))
                seq, offset = at + 1, base + end
                yield at, time, data[start:end], offset
            if offset > began:
                continue
            if base != offset or base + len(data) < segment.size:
                # A record longer than the window, or damage: look at all that is left.
                self._window = None
                data = self._load(segment, offset, segment.size - offset)
                if next(walk(data, first, seq, 0, segment.end), None) is not None:
                    continue
            found = find_next(data, first, seq, 0, segment.end)
            if found is None:
                break
            offset += found
        if seq < segment.end:
            self._note_lost(segment, range(seq, segment.end))

    def _bytes_at(self, segment: Segment, offset: int) -> tuple[bytes, int]:
        """Return bytes of a file that cover `offset`, and the offset of the first of them."""
        if self._window is not None and self._window[0] is segment:
            _, base, data = self._window
            if base <= offset < base + len(data):
                return data, base
        return self._load(segment, offset, min(_WINDOW, segment.size - offset)), offset

    def _load(self, segment: Segment, offset: int, size: int) -> bytes:
        try:
            data = self._disk.read(segment.path, offset, size)
        except FileNotFoundError:
            data = b""
        except OSError as err:  # it may pass, so nothing is given up for lost
            raise SpoolBroken(
                f"{segment.path}: cannot be read: {err.strerror or err}.",
                "If it stays so, restart: a file that cannot be read is then set aside.",
            ) from err
        self._window = (segment, offset, data)
        return data
