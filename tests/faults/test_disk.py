"""A disk that is full, slow, read-only or failing costs nothing that was acknowledged."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from flowengine.engine.segment import segment_name
from tests.faults.record import Seen
from tests.faults.spooled import (
    AFTER,
    FLOW,
    NUMBER,
    Site,
    as_root,
    depth,
    doctored,
    spool_of,
)
from tests.faults.traffic import Collector, from_site, link, reading, to_far
from tests.flow_process import FlowProcess, environment, flowengine, write_flow
from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.publisher import Publisher
from tests.system.real import free_port, need, until

# -- a disk that fails while it is used


@contextmanager
def mounted(folder: Path, *args: str) -> Iterator[Path]:
    """A file system of its own, for as long as the block lasts."""
    as_root("mount")
    place = folder / "disk"
    place.mkdir()
    ran = subprocess.run(
        [need("mount"), *args, str(place)], capture_output=True, text=True, check=False
    )
    if ran.returncode:
        pytest.skip(f"mount is not allowed here: {ran.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run([need("umount"), "--lazy", str(place)], check=True)


def rest_of(disk: Path, left: int) -> Path:
    """Fill a disk, but for `left` bytes, with a file; returns it."""
    facts = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes(max(0, facts.f_bavail * facts.f_frsize - left)))
    return filler


@pytest.mark.parametrize("left", [1_000_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_f50_a_full_disk_is_said_and_acknowledges_nothing_that_it_does_not_hold(
    make_mosquitto: MakeMosquitto, tmp_path: Path, left: int, seen: Seen
) -> None:
    near = make_mosquitto()
    (tmp_path / "far").mkdir()
    far = Mosquitto(tmp_path / "far")
    flows = tmp_path / "flows"
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=6m", "tmpfs") as disk, ExitStack() as stack:
        to_far(flows, near.port, far.port)
        engine = FlowProcess(flows, "--ready-after", "1s", data=disk / "data")
        stack.enter_context(engine)
        engine.until_ready()
        until(lambda: near.subscribed, what="a subscription at the near broker")
        sent = 0
        filler = rest_of(disk, left)
        with Publisher(near.port) as device:

            def send(number: int) -> None:
                nonlocal sent
                device.publish(reading(n, pad="." * 1000) for n in range(sent, sent + number))
                sent += number

            send(int(left / 1000) + 500)
            engine.until_said("the store on disk is full", "relay/up")
            send(300)
            # as a power cut on a full disk: it starts again, and says what it cannot do
            engine.kill()
            engine.start()
            engine.until_ready()
            send(100)
            freed = time.monotonic()
            filler.unlink()
            far.start()
            stack.callback(far.stop)
            with Collector(far.port) as there:
                send(100)
                lost, twice = there.until_all(set(range(sent)))
        recovery = time.monotonic() - freed
        engine.stop()
    assert lost == 0
    seen(lost=lost, duplicates=twice, recovery=recovery, sent=sent)


def test_f50_an_engine_starts_on_a_disk_without_a_byte_left_and_sends_what_waits(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    flows = site.flow(tmp_path / "flows")
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=6m", "tmpfs") as disk:
        shutil.copytree(site.data, disk / "data")
        to_far(tmp_path / "idle", free_port(), free_port())
        with FlowProcess(tmp_path / "idle", "--ready-after", "0s", data=disk / "data") as before:
            before.until_ready()  # and stopped as it should be: it leaves no file open
            before.stop()
        rest_of(disk, 0)
        began = time.monotonic()
        with (
            Collector(site.far.port) as there,
            FlowProcess(flows, "--ready-after", "1s", data=disk / "data") as engine,
        ):
            engine.until_ready()
            lost, twice = there.until_all(set(range(NUMBER)))
            took = time.monotonic() - began
            site.publish(range(AFTER, AFTER + 20))
            there.until_all(set(range(AFTER, AFTER + 20)))
            engine.stop()
    seen(lost=lost, duplicates=twice, recovery=took)


def test_f50_an_engine_that_starts_anew_on_a_full_disk_says_so_in_a_line(
    tmp_path: Path, seen: Seen
) -> None:
    with mounted(tmp_path, "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        rest_of(disk, 0)
        to_far(tmp_path / "flows", 1, 2)
        ran = flowengine("run", tmp_path / "flows", "--data", disk / "data")
    assert ran.returncode == 3
    assert re.fullmatch(r"flowengine run: .*(full|space).*\n  .*\n", ran.stderr), ran.stderr
    seen()


def test_f52_a_disk_that_turns_read_only_costs_nothing_that_was_acknowledged(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen
) -> None:
    as_root("mount")
    need("mkfs.ext4")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(32 * 2**20)
    subprocess.run([need("mkfs.ext4"), "-q", str(image)], check=True, capture_output=True)
    near = make_mosquitto()
    (tmp_path / "far").mkdir()
    far = Mosquitto(tmp_path / "far")
    flows = tmp_path / "flows"
    to_far(flows, near.port, far.port)
    options = ("-o", "loop,errors=remount-ro", str(image))
    with ExitStack() as stack:
        with mounted(tmp_path, *options) as disk:
            engine = FlowProcess(flows, "--ready-after", "1s", data=disk / "data")
            stack.enter_context(engine)
            engine.until_ready()
            until(lambda: near.subscribed, what="a subscription at the near broker")
            device = stack.enter_context(Publisher(near.port))
            device.publish(reading(n) for n in range(300))
            until(lambda: depth(disk / "data") == 300, what="300 in the spool")
            subprocess.run([need("mount"), "-o", "remount,abort", str(disk)], check=True)
            device.publish(reading(n) for n in range(300, 600))
            engine.until_said("store on disk", "Read-only file system")
            code, report = doctored(disk / "data")
            assert code == 1
            assert any("takes nothing" in found["what"] for found in report["found"])  # type: ignore[attr-defined]
            engine.kill()
        (tmp_path / "disk").rmdir()
        subprocess.run([need("e2fsck"), "-fy", str(image)], capture_output=True, check=False)
        with mounted(tmp_path, *options):
            far.start()
            stack.callback(far.stop)
            with Collector(far.port) as there:
                began = time.monotonic()
                engine.start()
                engine.until_ready()
                lost, twice = there.until_all(set(range(600)))
                recovery = time.monotonic() - began
            engine.stop()
    seen(lost=lost, duplicates=twice, recovery=recovery)


def traced(engine: FlowProcess, folder: Path, *args: str) -> Path:
    """Have an engine started under strace, which makes its system calls fail; what it traced."""
    log = folder / "strace.log"
    probe = subprocess.run([need("strace"), "-o", "/dev/null", "true"], check=False)
    if probe.returncode:
        pytest.skip("strace may not trace here (ptrace is not allowed)")
    # -D: the engine stays our child, and strace is its grandchild
    engine.argv = [need("strace"), "-D", "-f", "-q", "-o", str(log), *args, *engine.argv]
    return log


def calls(log: Path, *, injected: bool = False) -> int:
    """How many calls were traced."""
    lines = log.read_text(errors="replace").splitlines()
    return sum("(" in line and (not injected or "INJECTED" in line) for line in lines)


@pytest.mark.parametrize(
    ("inject", "first"),
    [
        (("-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=3+4"), "fsync failed"),
        (("-e", "trace=write", "-e", "inject=write:error=ENOSPC:when=3+3"), "No space left"),
    ],
    ids=["fsync EIO", "write ENOSPC"],
)
def test_f51_a_disk_that_fails_now_and_then_loses_nothing(
    site: Site, tmp_path: Path, inject: tuple[str, ...], first: str, seen: Seen
) -> None:
    flows = tmp_path / "flows"
    data = tmp_path / "data"
    dead = free_port()
    to_far(flows, site.near.port, dead, site={"client_id": tmp_path.name})
    engine = FlowProcess(flows, "--ready-after", "1s", data=data)
    spool = spool_of(data)
    if "write" in inject[1]:  # those of the spool alone
        inject = (*inject, "-P", str(spool / segment_name(0)))
    plain = list(engine.argv)
    log, before = traced(engine, tmp_path, *inject), site.near.subscribed
    with engine:
        engine.until_ready()
        until(lambda: site.near.subscribed > before, what="a subscription at the near broker")
        for at in range(AFTER, AFTER + 600, 50):
            site.publish(range(at, at + 50))
            until(lambda at=at: depth(data) >= at + 50 - AFTER, what=f"{at + 50 - AFTER} rows")  # type: ignore[misc]
        engine.kill()
        assert calls(log, injected=True) > 2
        assert first in engine.said or first == "No space left"
        engine.argv = plain
        to_far(flows, site.near.port, site.far.port, site={"client_id": tmp_path.name})
        with Collector(site.far.port) as there:
            engine.start()
            lost, twice = there.until_all(set(range(AFTER, AFTER + 600)))
        engine.until_ready()
        engine.stop()
    seen(lost=lost, duplicates=twice, failed=calls(log, injected=True))


@pytest.mark.alone
def test_f57_a_slow_disk_holds_up_what_needs_it_and_not_the_rest(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    flows, data = tmp_path / "flows", tmp_path / "data"
    write_flow(
        flows,
        FLOW,
        {
            "in": from_site(),
            "live": {"type": "mqtt.out", "broker": "far", "topic": "up/{key}"},
            "up": {"type": "mqtt.out", "broker": "away", "topic": "up/{key}"},
        },
        ["in -> live", "in -> up"],
        {
            "site": link(site.near.port, client_id=tmp_path.name),
            "far": link(site.far.port),
            "away": link(free_port()),
        },
    )
    engine = FlowProcess(flows, "--ready-after", "1s", data=data)
    slow = ("-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:delay_enter=500000")
    log, subscribed = traced(engine, tmp_path, *slow), site.near.subscribed
    number, rate = 200, 100
    sent: dict[int, float] = {}
    with Collector(site.far.port) as there, engine, Publisher(site.near.port) as device:
        engine.until_ready()
        until(lambda: site.near.subscribed > subscribed, what="a subscription at the near broker")
        before = calls(log)
        began = time.monotonic()
        for at in range(AFTER, AFTER + number):
            until(lambda at=at: time.monotonic() >= began + (at - AFTER) / rate, what="its time")  # type: ignore[misc]
            sent[at] = time.monotonic()
            device.publish([reading(at)])
        lost, twice = there.until_all(set(sent))
        until(lambda: depth(data) >= number, what="all in the spool")
        syncs = calls(log) - before
        engine.kill()
    took = sorted(time_ - sent[n] for n, time_ in zip(there.numbers, there.times, strict=True))
    p50, p99 = (took[int(len(took) * part)] for part in (0.5, 0.99))
    # One fsync for many (group commit): at half a second each, one for each would take minutes.
    assert syncs < number / 5
    assert p50 < 0.5, took
    seen(lost=lost, duplicates=twice, p50_ms=round(p50 * 1e3), p99_ms=round(p99 * 1e3), syncs=syncs)


@pytest.mark.alone
def test_f57_an_absent_far_side_costs_few_fsyncs_however_the_messages_come(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    """A flash card is worn by each: one every 50 ms, and those of the ledger."""
    flows, rate, seconds = tmp_path / "flows", 100, 4
    nodes = {
        "in": from_site(),
        "up": {"type": "mqtt.out", "broker": "away", "topic": "up/{key}"},
    }
    links = {"site": link(site.near.port, client_id=tmp_path.name), "away": link(free_port())}
    write_flow(flows, FLOW, nodes, ["in -> up"], links)
    engine = FlowProcess(flows, "--ready-after", "1s", data=tmp_path / "data")
    log = traced(engine, tmp_path, "-e", "trace=fsync,fdatasync")
    with engine, Publisher(site.near.port) as device:
        engine.until_ready()
        before, bytes_before = calls(log), written_bytes(engine)
        began = time.monotonic()
        for at in range(rate * seconds):
            until(lambda at=at: time.monotonic() >= began + at / rate, what="its time")  # type: ignore[misc]
            device.publish([reading(AFTER + at)])
        until(lambda: depth(engine.data) >= rate * seconds, what="all in the spool")
        took = time.monotonic() - began
        syncs, written = calls(log) - before, written_bytes(engine) - bytes_before
        engine.kill()
    seen(syncs_per_s=round(syncs / took, 1), kb_per_s=round(written / took / 1e3))
    assert syncs / took < 35


def written_bytes(engine: FlowProcess) -> int:
    """What the engine has let the kernel bring to the disk so far."""
    lines = Path(f"/proc/{engine.process.pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


# -- rights


def without_rights() -> list[str]:
    """What to put before a command so that it has the rights of files' modes alone."""
    if os.geteuid() != 0:
        return []
    return [need("setpriv"), "--bounding-set=-all", "--inh-caps=-all"]


def forbidden(path: Path) -> None:
    """Take a path away from who runs the tests."""
    path.chmod(0)
    if os.geteuid() == 0:
        shutil.chown(path, "nobody")


@pytest.mark.parametrize("what", ["folder", "state.db", "lock"])
def test_f58_a_data_folder_of_somebody_else_is_one_clear_line(
    site: Site, tmp_path: Path, what: str, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    forbidden(data if what == "folder" else data / what)
    argv = [*without_rights(), sys.executable, "-m", "flowengine", "run", str(site.flows)]
    ran = subprocess.run(
        [*argv, "--data", str(data)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=environment(),
        cwd=tmp_path,
    )
    assert ran.returncode == 3
    assert re.fullmatch(r"flowengine run: .*data.* cannot be used: .*\.\n  .*\n", ran.stderr)
    data.chmod(0o700)
    seen()


def test_f58_a_spool_of_somebody_else_is_said_and_taken_up_once_it_may_be(
    site: Site, tmp_path: Path, seen: Seen
) -> None:
    data = site.copy(tmp_path)
    spool = spool_of(data)
    forbidden(spool)
    flows = site.flow(tmp_path / "flows")
    engine = FlowProcess(flows, "--ready-after", "1s", data=data)
    engine.argv = [*without_rights(), *engine.argv]
    with Collector(site.far.port) as there, engine:
        engine.until_ready()
        engine.until_said("relay/up", "the spool cannot be opened", "Permission denied")
        if os.geteuid() == 0:
            shutil.chown(spool, 0)
        spool.chmod(0o700)
        began = time.monotonic()
        lost, twice = there.until_all(set(range(NUMBER)))
        seen(lost=lost, duplicates=twice, recovery=time.monotonic() - began)
        engine.stop()
