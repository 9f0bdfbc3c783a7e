"""Boxes for the tests of the editor."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.box import TICKS, Box


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """An editor over one flow, `ticks`, that runs."""
    made = Box(tmp_path)
    made.put_flow("ticks", TICKS)
    with made:
        yield made


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Box]:
    """An editor over an empty folder."""
    with Box(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared_box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One editor over one flow for all tests of a module, which may do with it what they like."""
    made = Box(tmp_path_factory.mktemp("box"))
    made.put_flow("ticks", TICKS)
    with made:
        yield made
