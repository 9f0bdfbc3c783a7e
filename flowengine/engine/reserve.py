"""A little room kept on the disk, so that an engine starts on one that others have filled.

An engine that cannot open `state.db` for want of 32 kB sends nothing of what waits in its spools,
and so never makes room itself. So a file of a quarter of a megabyte lies in the data folder; it is
given up when the database cannot be opened, and made again once there is room.
"""

import contextlib
import os
from pathlib import Path

NAME = "reserve"
BYTES = 256 * 1024


def keep(folder: Path) -> None:
    """Have the room kept, if there is any; costs nothing when it is kept already."""
    path = folder / NAME
    with contextlib.suppress(OSError):
        if path.exists() and path.stat().st_size == BYTES:
            return
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                # zeros written, not a hole: the room is to be taken
                if os.write(handle, bytes(BYTES)) != BYTES:
                    give_up(folder)
            finally:
                os.close(handle)
        except OSError:
            give_up(folder)


def give_up(folder: Path) -> bool:
    """Give the room up; whether there was any."""
    try:
        os.unlink(folder / NAME)
    except OSError:
        return False
    return True
