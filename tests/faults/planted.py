"""Bugs planted on purpose, to see the kill test and the simulation find them.

early-ack    a source is told to acknowledge as soon as its messages were let in
no-fsync     a spool believes what it wrote to be on the disk
hasty-cut    states are written while what left them is still on its way
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from flowengine.engine.delivery import Intake
from flowengine.engine.disk import OsDisk
from flowengine.engine.gate import Barrier

HOOK = """
from tests.faults.planted import BUGS
BUGS[{name!r}]()
"""


def _early_ack() -> None:
    let_in = Intake.let_in

    def early(
        self: Intake,
        messages: list[Any],
        settled: Callable[[], None] | None,
        now: int = 0,
        again: Mapping[int, int] | None = None,
    ) -> None:
        let_in(self, messages, None, now, again)
        if settled is not None:
            settled()

    Intake.let_in = early  # type: ignore[method-assign]


def _no_fsync() -> None:
    OsDisk.fsync = lambda _self, _handle: None  # type: ignore[method-assign,assignment]


def _hasty_cut() -> None:
    async def at_once(_self: Barrier) -> None:
        """Wait for nothing."""

    Barrier.wait = at_once  # type: ignore[method-assign,assignment]


BUGS = {"early-ack": _early_ack, "no-fsync": _no_fsync, "hasty-cut": _hasty_cut}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug in this process, for as long as the block lasts."""
    with (
        patch.object(Intake, "let_in", Intake.let_in),
        patch.object(OsDisk, "fsync", OsDisk.fsync),
        patch.object(Barrier, "wait", Barrier.wait),
    ):
        BUGS[name]()
        yield


def hooked(folder: Path, name: str, root: Path) -> dict[str, str]:
    """The environment in which a Python started anew has the bug."""
    (folder / "sitecustomize.py").write_text(HOOK.format(name=name))
    return {"PYTHONPATH": f"{folder}:{root}"}
