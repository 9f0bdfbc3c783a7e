"""The door to the disk: what a spool asks of it, the real one, and one that only looks.

Another disk stands behind the same door in tests, and loses or refuses what it is told to.
"""

import contextlib
import errno
import os
from pathlib import Path
from typing import Protocol

from flowengine.errors import FlowengineError


class SpoolFull(FlowengineError):
    """The records do not fit now. Nothing was written; push back, or drop_oldest, and try again."""


class SpoolBroken(FlowengineError):
    """The disk does not keep what it is given. Acknowledge nothing; `sync` may be tried again."""


class Disk(Protocol):
    """The door to the disk. Every method raises OSError, and nothing else, when it cannot."""

    def make_folder(self, path: Path) -> None:
        """Make a folder and those above it, for its owner only; one that exists is fine."""

    def listdir(self, path: Path) -> list[str]:
        """Return the names in a folder, in any order."""

    def open(self, path: Path) -> int:
        """Return a handle to append to a new, empty file; what had the name before is gone."""

    def append_to(self, path: Path) -> int:
        """Return a handle to append to a file, which is made if it is not there."""

    def write(self, handle: int, data: bytes) -> int:
        """Append; return how many bytes were taken, which may be fewer than were given."""

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """Put other bytes into a file that has them already, and return once they are safe.

        It needs no free space, save on disks that write every change to a new place.
        """

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

    def append_to(self, path: Path) -> int:
        """Return a handle to append to a file, which is made if it is not there."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)

    def write(self, handle: int, data: bytes) -> int:
        """Append; return how many bytes were taken, which may be fewer than were given."""
        return os.write(handle, data)

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """Put other bytes into a file that has them already, and return once they are safe."""
        with open(path, "r+b", buffering=0) as file:
            if file.seek(0, os.SEEK_END) < offset + len(data):
                raise OSError(errno.ENOSPC, "the file is too short to be written over")
            file.seek(offset)
            if file.write(data) != len(data):
                raise OSError(errno.EIO, "only a part was written")
            os.fsync(file.fileno())

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


class LookingDisk(OsDisk):
    """The real disk, on which nothing is changed: what a repair would do is only remembered.

    A file that was renamed is read under its new name, one that was removed is not there any more,
    so that a repair that runs on this disk says exactly what it would do on the real one.
    """

    def __init__(self) -> None:
        self._folders: set[Path] = set()
        self._real: dict[Path, Path | None] = {}
        """What lies under a name now: another file, or None for nothing."""

    def make_folder(self, path: Path) -> None:
        """Remember that the folder is there."""
        self._folders.add(path)

    def listdir(self, path: Path) -> list[str]:
        """The names in a folder as they would be."""
        try:
            names = set(os.listdir(path))
        except FileNotFoundError:
            if path not in self._folders:
                raise
            names = set()
        for name, real in self._real.items():
            if name.parent == path:
                (names.discard if real is None else names.add)(name.name)
        return sorted(names)

    def open(self, path: Path) -> int:
        """Refuse: who looks writes nothing."""
        raise OSError(errno.EROFS, "nothing is written here")

    def append_to(self, path: Path) -> int:
        """Refuse: who looks writes nothing."""
        raise OSError(errno.EROFS, "nothing is written here")

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """Refuse: who looks writes nothing."""
        raise OSError(errno.EROFS, "nothing is written here")

    def truncate(self, path: Path, size: int) -> None:
        """Cut nothing."""

    def settle(self, path: Path) -> None:
        """Make nothing durable."""

    def fsync_dir(self, path: Path) -> None:
        """Make nothing durable."""

    def rename(self, old: Path, new: Path) -> None:
        """Remember that a file has another name."""
        self._real[new] = self._real.get(old, old)
        self._real[old] = None

    def unlink(self, path: Path) -> None:
        """Remember that a file is gone."""
        self._real[path] = None

    def read(
        self, path: Path, offset: int = 0, size: int | None = None, *, fresh: bool = False
    ) -> bytes:
        """Read what lies under a name now."""
        real = self._real.get(path, path)
        if real is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return super().read(real, offset, size, fresh=fresh)


def write_all(disk: Disk, handle: int | None, data: bytes) -> None:
    """Write all of it; after a short write the next says why."""
    if handle is None:
        raise OSError(errno.EBADF, "the file is closed")
    done = disk.write(handle, data)
    while done < len(data):
        more = disk.write(handle, data[done:])
        if more <= 0:
            raise OSError(errno.ENOSPC, "the disk takes no more bytes")
        done += more


def shut(disk: Disk, handle: int) -> None:
    """Close a handle. What that could report, fsync has reported or will; it is gone either way."""
    with contextlib.suppress(OSError):
        disk.close(handle)
