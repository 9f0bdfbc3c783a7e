"""The journals of a data folder: what of each flow's arrivals is noted, and where that ends."""

import contextlib
import shutil
import zlib
from pathlib import Path

from flowengine.engine.doctor_look import Look, count, size_of

JOURNAL = "journal"
_LATER = "to be cut off (--mend does it, or the next start of the engine)"
_HEAD = 8  # u32 length | u32 crc32, see `journal`


def examine(look: Look) -> None:
    """Every file below `journal/`."""
    folder = look.folder / JOURNAL
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.log")):
        try:
            data = path.read_bytes()
        except OSError as err:
            look.add(path, f"cannot be read: {err.strerror}", mend="Look at its rights.")
            continue
        frames, end = whole(data)
        if end < len(data) and look.pid is None:
            _torn(look, path, end, len(data) - end)
        look.have(
            path,
            size_of(path),
            f"{count(frames, 'note')} of what came and may come again",
            "what comes again after a crash is not recognised: it may be sent and counted twice",
            notes=frames,
        )


def whole(data: bytes) -> tuple[int, int]:
    """How many frames are whole, up to the first that is not, and where that begins."""
    frames = at = 0
    while at + _HEAD <= len(data):
        length, crc = (int.from_bytes(data[at + n : at + n + 4], "little") for n in (0, 4))
        end = at + _HEAD + length
        if end > len(data) or zlib.crc32(data[at + _HEAD : end]) != crc:
            break
        frames, at = frames + 1, end
    return frames, at


def _torn(look: Look, path: Path, end: int, rest: int) -> None:
    mended = False
    aside = path.with_name(f"{path.name}.damaged")
    if look.mend:
        with contextlib.suppress(OSError):
            shutil.copy2(path, aside)
            with path.open("r+b") as file:
                file.truncate(end)
            mended = True
    look.add(
        path,
        f"the last {rest} bytes are no whole notes (torn or damaged)",
        cost="what they told of is not recognised if it comes again",
        mend=f"cut off; {aside.name} has all of it" if mended else _LATER,
        mended=mended,
    )
