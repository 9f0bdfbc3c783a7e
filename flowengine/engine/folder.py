"""The data folder: one engine in it at a time, closed to other users."""

import contextlib
import fcntl
import logging
import os
import secrets
import sqlite3
from pathlib import Path

from flowengine.engine import reserve
from flowengine.engine.store import Store
from flowengine.errors import StartError

LOG = logging.getLogger("flowengine.engine")


class DataFolder:
    """An open data folder, held by this process until `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise StartError(
                f"the data folder {path} cannot be used: {err.strerror}.",
                "Give another with --data DIR, or the right to write to this one.",
            ) from err
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            pid = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._lock)
            raise StartError(
                f"the data folder {path} is in use by pid {pid}.",
                "Stop that engine, or give another folder with --data DIR.",
            ) from err
        with contextlib.suppress(OSError):  # a full disk: who asks is not told the pid
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        file = path / "state.db"
        try:
            self.store = _open_store(file)
            self.install_id = self.store.fact("install", lambda: secrets.token_hex(4))
        except sqlite3.Error as err:
            raise StartError(
                f"{file} cannot be used: {err}.", "Look at its rights and at the free space."
            ) from err
        if self.store.moved_aside is not None:
            LOG.error(
                "state.db was damaged (states of nodes, quarantine); %s",
                self.store.rescued or "a new one was begun: there is no room to read the old one",
                extra={"facts": {"mend": f"The old one is {self.store.moved_aside}."}},
            )
        self.files = path / "files"
        reserve.keep(path)

    def spool(self, flow: str, node: str) -> Path:
        """The folder of one sink's spool."""
        return self.path / "spool" / flow / node

    def close(self) -> None:
        """Let the folder go."""
        self.store.close()
        reserve.keep(self.path)
        os.close(self._lock)


def _open_store(file: Path) -> Store:
    """The store; on a full disk, the room that is kept for this is given to it."""
    try:
        return Store(file)
    except sqlite3.OperationalError:
        if not reserve.give_up(file.parent):
            raise
        return Store(file)
