"""Fixtures that start real programs: a missing one skips the test, or fails it where CI is set.

Brokers are one per call. Stores start once per run; each test gets a database of its own in
them, and may stop and kill them: they run again for the next test.
"""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.coap_peers import CoapClient, CoapServer
from tests.system.stores import InfluxFront, Postgres, Prometheus, Victoria

HERE = Path(__file__).parent
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this folder as `real`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.real)


@pytest.fixture
def make_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeMosquitto]:
    """Start brokers with the settings of `Mosquitto`; all stop with the test."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Mosquitto:
            broker = Mosquitto(tmp_path_factory.mktemp("mosquitto"), **settings)
            stack.callback(broker.stop)
            broker.start()
            return broker

        yield make


@pytest.fixture
def mosquitto(make_mosquitto: MakeMosquitto) -> Mosquitto:
    """A broker without users or persistence."""
    return make_mosquitto()


@pytest.fixture(scope="session")
def _influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxFront]:
    influx = InfluxFront(tmp_path_factory.mktemp("influx"))
    with ExitStack() as stack:
        stack.callback(influx.stop)
        influx.start()
        yield influx


@pytest.fixture
def influx_front(_influx: InfluxFront) -> InfluxFront:
    """InfluxDB behind the v2 write path, with an empty bucket."""
    _influx.start()
    _influx.create(f"test-{next(_numbers)}")
    return _influx


@pytest.fixture
def victoria(tmp_path: Path) -> Iterator[Victoria]:
    """VictoriaMetrics, empty."""
    server = Victoria(tmp_path)
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        yield server


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Postgres]:
    server = Postgres()
    with ExitStack() as stack:
        stack.callback(server.remove)
        server.start()
        yield server


@pytest.fixture
def postgres(_postgres: Postgres) -> Postgres:
    """PostgreSQL with an empty database."""
    _postgres.start()
    _postgres.create(f"test_{next(_numbers)}")
    return _postgres


class MakePrometheus(Protocol):
    """The fixture's type: takes the target to scrape, returns a server that runs."""

    def __call__(self, target: str = "", path: str = "/metrics") -> Prometheus:
        """Start one more server."""


@pytest.fixture
def make_prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakePrometheus]:
    """Start a Prometheus that scrapes `host:port` every second; it stops with the test."""
    with ExitStack() as stack:

        def make(target: str = "", path: str = "/metrics") -> Prometheus:
            server = Prometheus(tmp_path_factory.mktemp("prometheus"), target, path)
            stack.callback(server.stop)
            server.start()
            return server

        yield make


@pytest.fixture(scope="session")
def coap_client() -> CoapClient:
    """libcoap's client: call it with its arguments."""
    return CoapClient()


@pytest.fixture
def coap_server(tmp_path: Path) -> Iterator[CoapServer]:
    """libcoap's server, on UDP and, where its build can, DTLS with a pre-shared key."""
    server = CoapServer(tmp_path)
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        yield server
