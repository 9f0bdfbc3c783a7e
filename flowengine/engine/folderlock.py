"""Who holds a data folder: asked without touching the lock, or taken for a repair.

The engine holds `flock(2)` on the file `lock` for as long as it lives; the file says its pid. To
try the lock would be to hold it for a moment, in which an engine that starts would refuse. So who
only asks reads the kernel's list, proc_locks(5).
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

LOCK = "lock"
UNKNOWN = 0
"""The pid of a holder that cannot be told: it lives in another container, or its file is empty."""
_LIST = Path("/proc/locks")


class FolderInUse(Exception):
    """Another process holds the folder; its pid, 0 if that cannot be told."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"in use by pid {pid or 'unknown'}")
        self.pid = pid


def holder(folder: Path) -> int | None:
    """The pid of the engine that holds the folder, None if there is none."""
    path = folder / LOCK
    try:
        inode, listed = path.stat().st_ino, _LIST.read_text()
    except FileNotFoundError:
        if not path.exists():
            return None
        return _living(_pid_in(path))  # no such list here
    except OSError:
        return _living(_pid_in(path))
    for line in listed.splitlines():
        words = line.split()
        # "7: FLOCK  ADVISORY  WRITE 1234 08:01:131074 0 EOF"; the device's number is not that of
        # stat(2) on every file system, so it is not compared
        if len(words) >= 6 and words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
            return _pid_in(path) or max(0, int(words[4]))
    return None


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder as an engine does; raises FolderInUse, or OSError without the right to."""
    path = folder / LOCK
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(_pid_in(path)) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def _pid_in(path: Path) -> int:
    try:
        return int(path.read_text(errors="replace"))
    except (OSError, ValueError):
        return UNKNOWN


def _living(pid: int) -> int | None:
    """A pid if there is such a process."""
    if pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except OSError:
        pass  # it is another user's
    return pid
