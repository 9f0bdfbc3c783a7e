"""The fault catalogue is met by the real programs of `tests.system`, started by its fixtures."""

from pathlib import Path

import pytest

from tests.faults.spooled import site
from tests.system.conftest import (
    _influx,
    _postgres,
    coap_client,
    coap_server,
    influx_front,
    make_mosquitto,
    make_prometheus,
    mosquitto,
    postgres,
    victoria,
)

__all__ = [
    "_influx",
    "_postgres",
    "coap_client",
    "coap_server",
    "influx_front",
    "make_mosquitto",
    "make_prometheus",
    "mosquitto",
    "postgres",
    "site",
    "victoria",
]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this folder as `real`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.real)
