"""Files below one folder and nowhere else: no step up, no symbolic link, no device (S-34).

Every step of a path is opened by itself, relative to the folder before it and without following
links, so a link that is put in place between a look and its use leads nowhere either.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MAX_STEPS = 32
MAX_STEP_BYTES = 255

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK and O_NOCTTY: opening a pipe or a terminal has no effect before it is recognised.
_FILE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_NEW_FOLDER, _NEW_FILE = 0o750, 0o640


class PathRefused(Exception):  # not an error of ours
    """A path that may not be written to; the text says why."""


class Opened(NamedTuple):
    """A regular file open for reading and appending, and the folder that holds it."""

    file: int
    folder: int
    name: str


def steps_of(path: str) -> list[str]:
    """The steps of a relative path; PathRefused for one that leads out of its folder or nowhere."""
    steps = path.split("/")
    if path.startswith("/"):
        raise PathRefused("it starts at the root; a path here is relative")
    if len(steps) > MAX_STEPS:
        raise PathRefused(f"it has more than {MAX_STEPS} steps")
    for step in steps:
        if step in {"", ".", ".."}:
            raise PathRefused(f'it holds the step "{step}"')
        if "\\" in step or not step.isprintable():
            raise PathRefused("it holds a backslash or a sign that cannot be printed")
        if len(step.encode()) > MAX_STEP_BYTES:
            raise PathRefused(f"a step has more than {MAX_STEP_BYTES} bytes")
    return steps


@contextmanager
def open_below(root: Path, path: str) -> Iterator[Opened]:
    """Open a file below `root` to append to, and make it and its folders where they are missing.

    Raises PathRefused for what is no regular file below it, OSError where the disk says no.
    """
    *folders, name = steps_of(path)
    root.mkdir(mode=_NEW_FOLDER, parents=True, exist_ok=True)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in folders:
            inner = _open_folder(folder, step)
            os.close(folder)
            folder = inner
        file = _open_file(folder, name)
        try:
            yield Opened(file, folder, name)
        finally:
            os.close(file)
    finally:
        os.close(folder)


def reopen(opened: Opened) -> int:
    """Open the file of that name anew, after the old one was given another name."""
    return _open_file(opened.folder, opened.name)


def _open_folder(folder: int, step: str) -> int:
    for _ in range(2):
        try:
            return os.open(step, _FOLDER, dir_fd=folder)
        except FileNotFoundError:
            try:
                os.mkdir(step, _NEW_FOLDER, dir_fd=folder)
            except FileExistsError:
                continue  # another writer was faster
            os.fsync(folder)
        except NotADirectoryError:  # what Linux says of a link as well, with O_DIRECTORY
            raise PathRefused(f'"{step}" is a link or a file, not a folder') from None
        except OSError as err:
            raise _refused_link(err, step) from None
    return os.open(step, _FOLDER, dir_fd=folder)


def _open_file(folder: int, name: str) -> int:
    try:
        file = os.open(name, _FILE | os.O_CLOEXEC, _NEW_FILE, dir_fd=folder)
    except IsADirectoryError:
        raise PathRefused(f'"{name}" is a folder') from None
    except OSError as err:
        raise _refused_link(err, name) from None
    try:
        _check_file(folder, name, file)
    except BaseException:
        os.close(file)
        raise
    return file


def _check_file(folder: int, name: str, file: int) -> None:
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise PathRefused(f'"{name}" is a device or a pipe, not a file')
    # Two nodes may write to one file; the second gets BlockingIOError and comes again.
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino != found.st_ino:
        raise BlockingIOError(errno.EAGAIN, "it was turned over at this moment")
    if found.st_size == 0:
        os.fsync(folder)  # its name must be on disk before what it holds counts as written


def _refused_link(err: OSError, step: str) -> Exception:
    if err.errno in {errno.ELOOP, errno.EMLINK}:
        return PathRefused(f'"{step}" is a link')
    if err.errno == errno.ENXIO:  # a pipe that nobody reads, a socket
        return PathRefused(f'"{step}" is a device or a pipe, not a file')
    return err
