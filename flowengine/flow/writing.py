"""Writing a flow's files so that a crash leaves the old one or the new one, never half of one."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


def write_file(path: Path, text: str) -> None:
    """Replace a file whole or not at all, on disk when this returns; its rights stay."""
    home = path.resolve()
    handle, fresh = tempfile.mkstemp(prefix=f".{home.name}.", dir=home.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if home.exists():
            shutil.copymode(home, fresh)
        Path(fresh).replace(home)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(fresh).unlink()
        raise
