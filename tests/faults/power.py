"""A disk whose power can be cut: ext4 in a file, shut down as the kernel does it for such tests.

    with PowerDisk(folder) as disk:
        ... a program writes below disk.place ...
        disk.cut()         what was not synced is gone; all else fails with EIO from now on
        ... the program is killed ...
        disk.again()       mounted anew, its journal replayed: what a box finds when it comes back

`EXT4_IOC_SHUTDOWN` without a flush of the journal (fs/ext4/ext4.h) is what xfstests cut the power
with. It needs root and loop devices.
"""

import fcntl
import os
import struct
import subprocess
from pathlib import Path
from typing import Self

import pytest

from tests.faults.spooled import as_root
from tests.system.real import need

SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN = _IOR('X', 125, __u32)"""
WITHOUT_FLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH"""


class PowerDisk:
    """A file system of its own whose power can be cut; a context manager."""

    def __init__(self, folder: Path, megabytes: int = 256) -> None:
        """Its file and its place are made below `folder`."""
        as_root("mount")
        self.place = folder / "power"
        self._image = folder / "power.img"
        self.place.mkdir()
        with self._image.open("wb") as image:
            image.truncate(megabytes << 20)
        subprocess.run([need("mkfs.ext4"), "-q", "-F", str(self._image)], check=True)

    def __enter__(self) -> Self:
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        self._unmount()

    def _mount(self) -> None:
        ran = subprocess.run(
            [need("mount"), "-o", "loop", str(self._image), str(self.place)],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            pytest.skip(f"mounting a file is not allowed here: {ran.stderr.strip()}")

    def _unmount(self) -> None:
        subprocess.run([need("umount"), str(self.place)], check=True)

    def cut(self) -> None:
        """The power goes: nothing reaches the disk from now on."""
        at = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(at, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        finally:
            os.close(at)

    def again(self) -> None:
        """The power is back. Who had files open there must have ended."""
        self._unmount()
        self._mount()
