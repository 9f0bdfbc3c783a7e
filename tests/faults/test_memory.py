"""F-07: where memory runs out sources are held, nobody is killed, and nothing is lost."""

import contextlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.faults.proxy import FaultProxy
from tests.faults.record import Seen
from tests.flow_process import FlowProcess, write_flow
from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.publisher import Publisher
from tests.system.real import LOOPBACK, free_port, need, until
from tests.system.stores import http_get

MB = 1_000_000
CAP = 128 * MB
GROUPS = Path("/sys/fs/cgroup")


def pictures(count: int, seed: int = 7) -> Iterator[tuple[str, bytes]]:
    """Messages of 1 to 5 MB, each with a topic of its own."""
    chance = random.Random(seed)  # noqa: S311
    for number in range(count):
        yield f"camera/{number}", bytes([number % 256]) * chance.randrange(1 * MB, 5 * MB)


@contextlib.contextmanager
def heard(broker: Mosquitto, folder: Path) -> Iterator[Callable[[], list[str]]]:
    """The topics that mosquitto_sub hears at the broker, in order."""
    said = folder / "heard"
    argv = [need("mosquitto_sub"), "-h", LOOPBACK, "-p", str(broker.port), "-q", "1", "-t", "#"]
    before = broker.log_text().count("Sending SUBACK")
    with said.open("wb") as out:
        ear = subprocess.Popen([*argv, "-F", "%t"], stdout=out)
    try:
        until(lambda: broker.log_text().count("Sending SUBACK") > before, what="SUBACK")
        yield lambda: said.read_text().splitlines()
    finally:
        ear.terminate()
        ear.wait()


def metric(address: str, name: str) -> float:
    """A metric of the process."""
    page = http_get(f"http://{address}/metrics").text
    return next(
        float(x.rsplit(" ", 1)[1]) for x in page.splitlines() if x.startswith(f"flowengine_{name} ")
    )


def flood(
    make_mosquitto: MakeMosquitto,
    folder: Path,
    seen: Seen,
    *args: str,
    count: int,
    within: Sequence[str] = (),
) -> str:
    """Publish pictures, hundreds of MB at once, to a flow that forwards them by 12 MB a second.

    `within` is a command that runs the engine, as `nice` would. Returns what the engine said.
    """
    near, far, address = make_mosquitto(), make_mosquitto(), f"{LOOPBACK}:{free_port()}"
    with FaultProxy(far.port) as line, heard(far, folder) as topics:
        line.set(rate=12 * MB)
        broker = {"type": "mqtt.broker", "host": LOOPBACK}
        write_flow(
            folder / "flows",
            "pictures",
            {
                "in": {"type": "mqtt.in", "broker": "near", "topic": "camera/+", "decode": "bytes"},
                "out": {"type": "mqtt.out", "broker": "far", "topic": "picture/{key}"},
            },
            ["in -> out"],
            {"near": {**broker, "port": near.port}, "far": {**broker, "port": line.port}},
        )
        engine = FlowProcess(folder / "flows", "--metrics", address, *args)
        engine.argv[:0] = within
        with engine:
            engine.until_ready()
            idle, began = engine.memory()["VmRSS"], time.monotonic()
            with Publisher(near.port) as publisher:
                thread = threading.Thread(target=publisher.publish, args=(pictures(count),))
                thread.start()
                until(lambda: len(set(topics())) == count, 30 + 0.6 * count, "all arrive")
                thread.join()
                assert len(publisher.acknowledged) == count
            took = time.monotonic() - began
            peak, pauses = engine.memory()["VmHWM"], int(metric(address, "memory_pauses_total"))
            until(lambda: metric(address, "memory_paused") == 0, what="sources read on")
            print(
                f"\n{count} messages in {took:.0f} s: {idle / MB:.0f} MB idle, {peak / MB:.0f} MB "
                f"at most, {pauses} pauses"
            )
            twice = len(topics()) - count
            seen(lost=0, duplicates=twice, rss_mb_at_most=round(peak / MB), pauses=pauses)
            assert pauses >= 1  # else the burst was none
            assert peak <= 0.9 * CAP
            assert twice == 0
            assert engine.stop() < 5
        return engine.said


@pytest.mark.parametrize("count", [30, pytest.param(400, marks=pytest.mark.long)])
@pytest.mark.timeout(400)
@pytest.mark.alone
def test_f07_a_burst_of_large_messages_stays_below_the_cap(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, count: int
) -> None:
    said = flood(make_mosquitto, tmp_path, seen, "--memory", "128MB", count=count)
    assert said.count("of 128 MB: sources are paused until it is below") == 1  # and not once each


@contextlib.contextmanager
def group(limit: int) -> Iterator[Path]:
    """A control group of version 1 or 2 with a memory limit; skips the test where none may be."""
    is_old = (GROUPS / "memory" / "memory.limit_in_bytes").exists()
    made = (GROUPS / "memory" if is_old else GROUPS) / f"flowengine-test-{os.getpid()}"
    try:
        made.mkdir()
        (made / ("memory.limit_in_bytes" if is_old else "memory.max")).write_text(str(limit))
    except OSError as err:
        with contextlib.suppress(OSError):
            made.rmdir()
        pytest.skip(f"this may not make a control group with a memory limit: {err}")
    try:
        yield made
    finally:
        until(lambda: _is_gone(made), what=f"{made} is empty")


def _is_gone(made: Path) -> bool:
    made.rmdir()  # an OSError while a process is in it
    return True


def killed_in(made: Path) -> int:
    """How many processes the system has killed there for want of memory."""
    for name in ("memory.oom_control", "memory.events"):
        if (made / name).exists():
            lines = dict(line.split() for line in (made / name).read_text().splitlines())
            return int(lines["oom_kill"])
    raise AssertionError(f"{made} does not tell")


@pytest.mark.timeout(200)
@pytest.mark.alone
def test_f07_the_limit_of_a_control_group_is_kept_to_unasked(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen
) -> None:
    with group(CAP) as made:
        join = f'echo $$ > "{made}/cgroup.procs"; exec "$@"'
        said = flood(make_mosquitto, tmp_path, seen, count=20, within=["sh", "-c", join, "sh"])
        assert "of 128 MB: sources are paused" in said
        assert killed_in(made) == 0
