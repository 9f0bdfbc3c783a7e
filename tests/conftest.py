"""What every test stands on: no settings from the person's shell, one profile for properties."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

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
