"""A data folder full of spooled readings, made by a real engine that was killed; and its copies.

    near broker --> engine --> spool          the far broker is away; then SIGKILL
    copy, damage, start again, far broker there --> what comes out

Row `n` of the spool holds reading `n`: they were published in order by one device.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from flowengine.engine.segment import HEADER_BYTES, walk
from tests.faults.traffic import Collector, compare, reading, to_far
from tests.flow_process import FlowProcess, flowengine
from tests.system.brokers import Mosquitto
from tests.system.publisher import Publisher
from tests.system.real import until

FLOW, SINK = "relay", "up"
NUMBER = 1200
PAD = "." * 120
SPOOL = {"size": "800KB"}
"""Small, so that it has several segments: an eighth of it each."""
AFTER = 1_000_000
"""Readings that are sent to an engine that has started again count from here."""


class Frame(NamedTuple):
    """Where a row lies: its file, and the bytes of it there."""

    row: int
    path: Path
    start: int
    end: int


def spool_of(data: Path) -> Path:
    """The spool of the flow's sink."""
    return data / "spool" / FLOW / SINK


def segments(spool: Path) -> list[Path]:
    """Its segments, oldest first."""
    return sorted(path for path in spool.glob("*.seg") if path.is_file())


def frames(spool: Path) -> list[Frame]:
    """Every row of a spool that is whole."""
    found: list[Frame] = []
    for path in segments(spool):
        data, first, start = path.read_bytes(), int(path.stem), HEADER_BYTES
        for row, _, _, end in walk(data, first, first, HEADER_BYTES):
            found.append(Frame(row, path, start, end))
            start = end
    return found


def depth(data: Path) -> int:
    """How many rows lie in the spool on disk, beside a running engine."""
    return len(frames(spool_of(data)))


class Site:
    """Two brokers, and the folder that the engine left."""

    def __init__(self, folder: Path, near: Mosquitto, far: Mosquitto) -> None:
        self.near, self.far = near, far
        self.data = folder / "data"
        self.flows = folder / "flows"

    def flow(self, folder: Path, **spool: str) -> Path:
        """Write the flow from one broker to the other."""
        to_far(folder, self.near.port, self.far.port, spool={**SPOOL, **spool})
        return folder

    def fill(self, number: int) -> None:
        """Have an engine spool readings, and kill it."""
        with FlowProcess(self.flow(self.flows), "--ready-after", "1s", data=self.data) as engine:
            engine.until_ready()  # on a machine with other work perhaps without the near broker
            until(lambda: self.near.subscribed, what="a subscription at the near broker")
            for upto in range(100, number + 1, 100):  # a segment takes what comes at once
                self.publish(range(upto - 100, upto))
                until(lambda upto=upto: depth(self.data) >= upto, 60, f"{upto} rows on disk")  # type: ignore[misc]
            engine.kill()
        # what the engine had not acknowledged yet when it was killed must not come again and again
        self.near.restart()

    def publish(self, numbers: Sequence[int]) -> None:
        """Publish readings, acknowledged by the near broker."""
        with Publisher(self.near.port) as device:
            device.publish(reading(number, pad=PAD) for number in numbers)

    def copy(self, to: Path) -> Path:
        """A copy of the folder, to be damaged."""
        shutil.copytree(self.data, to / "data")
        return to / "data"

    @contextmanager
    def started(
        self, folder: Path, data: Path, *args: object, **spool: str
    ) -> Iterator[tuple[FlowProcess, Collector]]:
        """An engine over a copy, and who gets what it sends; it is stopped without a traceback."""
        flows = self.flow(folder / "flows", **spool)
        with (
            Collector(self.far.port) as there,
            FlowProcess(flows, "--ready-after", "1s", *args, data=data) as engine,
        ):
            engine.until_ready()
            yield engine, there
            engine.stop()

    def drained(
        self, folder: Path, data: Path, missing: set[int], **spool: str
    ) -> tuple[str, list[int]]:
        """Start on a copy; what it said, and what came, which is all but `missing`.

        Then new readings go through it as ever.
        """
        wanted = set(range(NUMBER)) - missing
        with self.started(folder, data, **spool) as (engine, there):
            there.until_all(wanted)
            new = range(AFTER, AFTER + 20)
            self.publish(new)
            there.until_all(set(new))
            said, got = engine.said, [n for n in there.numbers if n < AFTER]
        lost, _ = compare(wanted, got)
        assert lost == []
        assert set(got) == wanted
        return said, got


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The brokers, the far one listening by now, and the folder that was left."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("near", "far"):
        (folder / name).mkdir()
    near = Mosquitto(folder / "near")
    far = Mosquitto(folder / "far")
    made = Site(folder, near, far)
    try:
        near.start()
        made.fill(NUMBER)
        far.start()
        yield made
    finally:
        near.stop()
        far.stop()


def as_root(what: str) -> None:
    """Skip a test that needs the rights of root, which no installation can give."""
    if os.geteuid() != 0:
        pytest.skip(f"only root may {what}")


Damage = Callable[[Path], set[int]]
"""Damages a spool; returns the rows that are gone by that."""


HOLES = re.compile(r"(\d+)(?:-(\d+))?")


def told_missing(said: str) -> set[int]:
    """The rows that the engine says are missing or damaged."""
    found: set[int] = set()
    for line in said.splitlines():
        match = re.search(r"records ([\d, -]+) are missing|damaged and skipped: ([\d, -]+)", line)
        if match is not None:
            for first, last in HOLES.findall(match[1] or match[2]):
                found.update(range(int(first), int(last or first) + 1))
    return found


def doctored(data: Path, *args: str) -> tuple[int, dict[str, object]]:
    """What `doctor` says of a folder."""
    ran = flowengine("doctor", "--data", data, "--json", *args)
    return ran.returncode, json.loads(ran.stdout)
