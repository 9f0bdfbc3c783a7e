"""The data folder examined: what is in it, what is wrong, what that costs, what was mended.

    Look --> folder, state.db, spools, series.db, secrets --> Report

Looking changes nothing and is harmless beside a running engine. Mending holds the folder's lock, so
that no engine starts meanwhile; it loses nothing that is whole: what cannot be understood is set
aside under another name.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from flowengine.engine import (
    doctor_db,
    doctor_folder,
    doctor_journal,
    doctor_secrets,
    doctor_spools,
)
from flowengine.engine.doctor_look import Found, Item, Look
from flowengine.engine.folderlock import held, holder

__all__ = ["Found", "Item", "Report", "examine"]

TRIES = 4
PAUSE = 0.25
"""Beside a running engine files change while they are read: what is seen so many times, so many
seconds apart, is really there."""

SECTIONS: tuple[Callable[[Look], None], ...] = (
    doctor_folder.examine,
    doctor_db.examine_state,
    doctor_spools.examine,
    doctor_journal.examine,
    doctor_db.examine_series,
    doctor_secrets.examine,
)


class Report(msgspec.Struct):
    """What an examination gave.

    Attributes:
        folder: the data folder.
        pid: the engine that runs in it, 0 if that cannot be told, None for none.
        whole: whether nothing is wrong, or all that was is mended.
        found: what is wrong.
        items: what is there, with what it costs to delete it.
    """

    folder: str
    pid: int | None
    whole: bool
    found: list[Found]
    items: list[Item]


def examine(
    folder: Path, *, mend: bool = False, sleep: Callable[[float], None] = time.sleep
) -> Report:
    """Look at everything in a data folder; with `mend`, repair what can be.

    Raises FolderInUse where it is to be mended and an engine runs, OSError where the folder cannot
    be read (or, to mend, not be written) at all.
    """
    pid = holder(folder)
    if mend:
        with held(folder):
            look = _look(folder, mend=True)
            pid = None
    else:
        look = _look(folder, pid=pid)
        tries = 1
        while pid is not None and look.found and tries < TRIES:
            sleep(PAUSE)
            again = _look(folder, pid=pid)
            again.found = [found for found in again.found if found in look.found]
            look, tries = again, tries + 1
    whole = all(found.mended for found in look.found)
    return Report(str(folder), pid, whole, look.found, look.items)


def _look(folder: Path, *, pid: int | None = None, mend: bool = False) -> Look:
    look = Look(folder, pid=pid, mend=mend)
    for section in SECTIONS:
        section(look)
    return look


def as_json(report: Report) -> dict[str, Any]:
    """The report as one JSON object; stable."""
    shown: dict[str, Any] = msgspec.to_builtins(report)
    return shown
