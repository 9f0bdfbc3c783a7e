"""What every test stands on: no settings from the person's shell, one profile for properties.

`pytest -n auto` runs tests in several processes. Nothing is shared between them: ports are free
ones, folders are pytest's own of each process, real parts start in the process that asks for them.
A test that measures time, memory or a rate has the mark `alone`: `make test` runs it by itself.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.faults.record import Report, seen

__all__ = ["seen"]

# A loaded machine is slow, not wrong: no property fails for the time an example took.
settings.register_profile("flowengine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flowengine")

PERSONAL = ("FLOWENGINE_", "FORCE_COLOR", "NO_COLOR", "NOTIFY_SOCKET", "WATCHDOG_USEC")


@pytest.fixture(autouse=True, scope="session")
def _clean_environment() -> Iterator[None]:
    """Take away what a shell or a service manager may have set, for the whole run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(PERSONAL):
                patch.delenv(name)
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make faults` sets."""
    group = parser.getgroup("faults")
    group.addoption("--long-faults", action="store_true", help="also rows that need long")
    group.addoption("--faults-report", type=Path, help="write what was seen of each row here")


def pytest_configure(config: pytest.Config) -> None:
    """Collect what is seen of the fault catalogue."""
    config.addinivalue_line("markers", "long: runs for minutes; only with --long-faults")
    if not hasattr(config, "workerinput"):  # of several processes, the first hears every outcome
        config.pluginmanager.register(Report(config.getoption("--faults-report")), "faults-report")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes `-n auto` makes: one more than processors, as many tests only wait."""
    return min(6, (os.cpu_count() or 1) + 1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs for minutes, unless asked for."""
    if not config.getoption("--long-faults"):
        chosen = [item for item in items if item.get_closest_marker("long") is None]
        config.hook.pytest_deselected(items=[i for i in items if i not in chosen])
        items[:] = chosen
