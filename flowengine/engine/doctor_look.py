"""One examination of a data folder: what its sections write down."""

import os
from pathlib import Path
from typing import Any

import msgspec


class Found(msgspec.Struct):
    """One thing that is wrong.

    Attributes:
        place: the file or folder, as a path within the data folder.
        what: what is wrong with it.
        cost: what that costs, `""` for nothing.
        mend: what mends it, or was done; `""` where nothing can be done.
        mended: whether that was done.
    """

    place: str
    what: str
    cost: str = ""
    mend: str = ""
    mended: bool = False


class Item(msgspec.Struct):
    """One thing that is there.

    Attributes:
        place: the file or folder, as a path within the data folder.
        bytes: its size on disk.
        what: what it holds, in words.
        deleting: what it costs to delete it.
        facts: the same as `what`, in numbers.
    """

    place: str
    bytes: int
    what: str
    deleting: str
    facts: dict[str, Any] = {}


class Look:
    """What is seen, and whether it is to be mended."""

    def __init__(self, folder: Path, *, pid: int | None = None, mend: bool = False) -> None:
        self.folder = folder
        self.pid = pid
        self.mend = mend
        self.found: list[Found] = []
        self.items: list[Item] = []

    def place(self, path: Path) -> str:
        """A path as it is shown: within the data folder."""
        return "." if path == self.folder else str(path.relative_to(self.folder))

    def add(
        self, path: Path, what: str, *, cost: str = "", mend: str = "", mended: bool = False
    ) -> None:
        """Write down what is wrong."""
        self.found.append(Found(self.place(path), what, cost, mend, mended))

    def have(self, path: Path, size: int, what: str, deleting: str, **facts: Any) -> None:
        """Write down what is there."""
        self.items.append(Item(self.place(path), size, what, deleting, facts))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all below a folder; 0 for what is gone meanwhile."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(size_of(Path(entry)) for entry in os.scandir(path))
        return path.lstat().st_size
    except OSError:
        return 0


def count(number: int, noun: str) -> str:
    """`1 file`, `2 files`; of several words the first takes the plural: `2 messages in ...`."""
    first, _, rest = noun.partition(" in ")
    return f"{number} {first}{'' if number == 1 else 's'}" + (f" in {rest}" if rest else "")


def shown_size(number: int) -> str:
    """`812 B`, `1.4 MB`."""
    size = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
