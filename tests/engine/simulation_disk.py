"""The simulation's disk: what a kill leaves of it, and a power cut."""

import copy
import random

from tests.engine.test_spool import SimDisk


class FileDisk(SimDisk):
    """A simulated disk that can go on with a file, as a journal does.

    `is_tight`: it takes no bytes for which there is no room, as a spool looks for itself.
    """

    is_tight = False

    def write(self, handle: int, data: bytes) -> int:
        """Append, as far as there is room."""
        return super().write(handle, data[: self.free] if self.is_tight else data)

    def killed(self) -> "FileDisk":
        """The disk after a kill: all that was written, synced or not."""
        left = FileDisk()
        # Files of its own: what died may still try to write.
        left.names, left.past = copy.deepcopy((self.names, self.past))
        left.is_tight = self.is_tight
        return left

    def crash(self, chance: random.Random | None = None) -> "FileDisk":
        """The disk after a power cut."""
        left = FileDisk(super().crash(chance).names)
        left.is_tight = self.is_tight
        return left
