"""A bug planted on purpose is found by the simulation, within a few hundred stories."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.engine.simulation import run
from tests.engine.simulation_disk import FileDisk
from tests.engine.simulation_loop import Broken
from tests.faults.planted import BUGS, planted

MOST = 300
FIRST = {"no-fsync": 12, "hasty-cut": 59}
"""The story that found it when this was written; those after it are tried too."""


@contextmanager
def with_bug(name: str) -> Iterator[None]:
    """The bug, on the simulated disk where the real one has it on the real disk."""
    if name == "no-fsync":
        with patch.object(FileDisk, "fsync", lambda _self, _handle: None):
            yield
    else:
        with planted(name):
            yield


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str, tmp_path: Path) -> None:
    with with_bug(name):
        first = FIRST.get(name, 0)
        for seed in range(first, first + MOST):
            folder = tmp_path / str(seed)
            folder.mkdir()
            try:
                run(seed, folder)
            except Broken:
                return
    pytest.fail(f"{MOST} stories did not find it")


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_ends_with_its_block(name: str, tmp_path: Path) -> None:
    with planted(name):
        pass
    run(0, tmp_path)
