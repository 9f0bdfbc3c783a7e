"""The cursor of a spool on disk: a new file under a rename, or, on a full disk, in place."""

import contextlib
import errno
from pathlib import Path

from flowengine.engine.disk import Disk, shut, write_all
from flowengine.engine.segment import (
    CURSOR,
    CURSOR_APART,
    UNFINISHED,
    encode_cursor,
    encode_cursor_copy,
)

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class CursorFile:
    """The file `cursor` of one spool; both methods return once it is durable."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder, self._disk = folder, disk

    def write(self, done: int, durable: int) -> None:
        """Write it anew, whole or not at all; raises OSError."""
        path = self._folder / CURSOR
        unfinished = path.with_suffix(UNFINISHED)
        handle = self._disk.open(unfinished)
        try:
            write_all(self._disk, handle, encode_cursor(done, durable))
            self._disk.fsync(handle)
        except OSError:
            with contextlib.suppress(OSError):  # the start of it takes room that others need
                self._disk.unlink(unfinished)
            raise
        finally:
            shut(self._disk, handle)
        self._disk.rename(unfinished, path)
        self._disk.fsync_dir(self._folder)

    def overwrite(self, done: int, durable: int) -> OSError | None:
        """Put it in the place of the old one's second copy; return what went wrong."""
        try:
            copy = encode_cursor_copy(done, durable)
            self._disk.overwrite(self._folder / CURSOR, CURSOR_APART, copy)
        except OSError as err:
            # A file that is too short or not there is no other trouble than the full disk.
            is_other = err.errno not in (errno.ENOENT, *NO_SPACE)
            return err if is_other else OSError(errno.ENOSPC, "no space left on the device")
        return None
