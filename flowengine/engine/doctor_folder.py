"""The data folder itself: who may read it, whose it is, how much room is left, what lies there."""

import contextlib
import errno
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from flowengine.engine.doctor_look import Look, count, shown_size, size_of
from flowengine.engine.salvage import MENDING

LITTLE_FREE = 64 * 2**20
"""Bytes left on the disk below which someone should look."""
KNOWN = {
    "checked.json": ("what `check` found in the flows as they are", "a little time at a start"),
    "clock.json": (
        "what the clock has shown so far",
        "on a box without a clock of its own, times are trusted less until it is set",
    ),
    "reserve": ("room for a start on a full disk", "nothing: it is made again"),
    "lock": ("who uses this folder", "nothing while no engine runs; never delete it beside one"),
}
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_MOST = 100_000  # files looked at for their owner


def examine(look: Look) -> None:
    """Rights, owners, free space, small files."""
    folder = look.folder
    _rights(look, folder)
    _owners(look, folder)
    _free(look, folder)
    for name, (what, cost) in KNOWN.items():
        if (path := folder / name).exists():
            look.have(path, size_of(path), what, cost)
    files = folder / "files"
    if files.is_dir():
        number = sum(1 for path in _below(files) if not path.is_dir())
        what = f"{count(number, 'file')} that flows have written (file.append)"
        look.have(files, size_of(files), what, "those files", files=number)
    for path in sorted(folder.iterdir()):
        _left_over(look, path)


def _rights(look: Look, folder: Path) -> None:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & _OTHERS:
        return
    mended = False
    if look.mend:
        with contextlib.suppress(OSError):
            folder.chmod(0o700)
            mended = True
    look.add(
        folder,
        f"other users of this box can enter it (mode {mode:04o})",
        cost="they may read messages and states",
        mend="chmod 700",
        mended=mended,
    )


def _owners(look: Look, folder: Path) -> None:
    """Files of another user than the folder's: left by a command that was run as root, say."""
    owner = folder.stat()
    strange: list[Path] = []
    for number, path in enumerate(_below(folder)):
        if number > _MOST:
            break
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_uid != owner.st_uid:
                strange.append(path)
    if not strange:
        return
    mended = False
    if look.mend:
        with contextlib.suppress(OSError):
            for path in strange:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
            mended = True
    more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
    look.add(
        strange[0],
        f"it{more} belongs to another user than the folder ({_name(owner.st_uid)})",
        cost="the engine may not be able to write it",
        mend=f"chown to {_name(owner.st_uid)}" + ("" if mended else ", as root"),
        mended=mended,
    )


def _free(look: Look, folder: Path) -> None:
    facts = os.statvfs(folder)
    free = facts.f_bavail * facts.f_frsize
    trouble = _refuses(folder)
    look.have(folder, size_of(folder), f"{shown_size(free)} are free on its disk", "all of the "
              "below", free=free)  # fmt: skip
    if trouble is not None and trouble.errno not in _NO_SPACE:
        look.add(
            folder,
            f"its disk takes nothing: {trouble.strerror}",
            cost="nothing is acknowledged to sources meanwhile",
            mend="Find out why (dmesg), and mount it for writing, or change it.",
        )
    elif free < LITTLE_FREE:
        look.add(
            folder,
            f"only {shown_size(free)} are free on its disk",
            cost="on a full disk nothing is acknowledged to sources; nothing that was is lost",
            mend="Free space, or move the folder: --data DIR.",
        )


def _refuses(folder: Path) -> OSError | None:
    """What the disk says to a file without a name, of which nothing stays; None if it takes it.

    Only so a disk shows that it has turned read-only by itself, or fails to write.
    """
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
    except OSError as err:
        # without the right to, or where there are no such files, nothing is learned
        return err if err.errno in {errno.EROFS, errno.EIO} else None
    try:
        os.write(handle, bytes(4096))
        os.fsync(handle)
    except OSError as err:
        return err
    finally:
        os.close(handle)
    return None


def _left_over(look: Look, path: Path) -> None:
    if path.name.endswith(MENDING):
        mended = False
        if look.mend:
            with contextlib.suppress(OSError):
                path.unlink()
                mended = True
        look.add(path, "a repair was broken off here", mend="removed", mended=mended)
    elif ".damaged" in path.name and not path.name.endswith(("-wal", "-shm")):
        what = "set aside: it was damaged; what could be read was taken over"
        look.have(path, size_of(path), what, "what could not be read of it")


def _below(folder: Path) -> Iterator[Path]:
    """Everything below a folder, links not followed; what cannot be read is passed over."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        yield Path(entry)
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
