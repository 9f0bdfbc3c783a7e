"""The soak: a random fault each minute, for as long as asked, under a steady load.

    python -m tests.faults.soak --minutes 60 --seed 1

The flow of `tests.faults.endurance` at 500 messages a second, QoS 1, with the time in the payload.
Each minute brings one fault of `FAULTS`, drawn by the seed, and ends with a line:

    12 min  influx-stop 21 s   351002 acknowledged, 350377 in the file (62 on their way),
            InfluxDB 339120; 71.3 MB, 11257 on disk

Faults that end the engine come in the first quarter only, so that what is left is one life of the
engine, of which the memory is judged: resident memory each second after `warm-up` (10 minutes, or a
quarter of the run), a line through it by least squares, and its slope in MB an hour. It is a fault
above 1 MB an hour where at least 30 minutes were measured; over less it is only told.

A broker is killed after it was told to save (SIGUSR1) while the devices were quiet: what mosquitto
has acknowledged and not saved is lost by mosquitto. What it sends again afterwards it may send as
new; the windows may then count it twice, which is told and is no fault. The disk is filled only
where this may mount one (as root): an ext4 of its own for the data folder.
"""

import argparse
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from tests.faults.endurance import (
    Devices,
    Parts,
    Windows,
    Written,
    compare,
    points,
    scraped_sum,
    settle,
    write_pipeline,
)
from tests.flow_process import FlowProcess
from tests.system.brokers import Mosquitto
from tests.system.real import LOOPBACK, NotReady, find, free_port, until
from tests.system.stores import InfluxFront

FAULTS = {
    "engine-stop": 3,
    "broker-kill": 2,
    "broker-stop": 3,
    "influx-kill": 2,
    "influx-stop": 3,
    "front-kill": 2,
    "reload": 3,
    "disk-full": 2,
}
"""Faults that the engine lives through, and how often each is drawn."""
DEADLY = {"engine-kill": 2, "engine-term": 1}
"""Faults that end the engine, in the first quarter."""
DISK = 6 * 1024**3
SLOPE_LIMIT = 1.0
MEASURED_FOR = 30.0


class Options(msgspec.Struct, kw_only=True):
    """How to run: see `--help`."""

    minutes: float = 60.0
    seed: int = 1
    rate: int = 500
    drain: float = 300.0


class Result(msgspec.Struct, kw_only=True):
    """What was seen; `faults` says in words what should not be."""

    minutes: float
    seed: int
    met: list[str] = []
    left_out: list[str] = []
    acknowledged: int = 0
    lost: dict[str, int] = {}
    duplicates: dict[str, int] = {}
    windows: dict[str, int] = {}
    rss_first: float = 0.0
    rss_last: float = 0.0
    rss_most: float = 0.0
    measured_minutes: float = 0.0
    slope: float | None = None
    faults: list[str] = []


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount an ext4 of its own on the folder; False where that may not be."""
    image, is_mounted = folder.with_suffix(".image"), False
    make, mount = find("mkfs.ext4"), find("mount")
    try:
        if make and mount:
            with image.open("wb") as file:
                file.truncate(DISK)  # sparse: it takes room as it is used
            is_mounted = _works(make, "-q", image) and _works(mount, "-o", "loop", image, folder)
        yield is_mounted
    finally:
        if is_mounted:
            umount = find("umount") or "umount"
            until(lambda: _works(umount, folder), what=f"umount {folder}")
        image.unlink(missing_ok=True)


def _works(*command: str | Path) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(options: Options, folder: Path, say: Callable[[str], None] = print) -> Result:
    """Run it below `folder`; `say` takes a line each minute."""
    with ExitStack() as stack:
        for name in ("mosquitto", "influx", "flows", "data"):
            (folder / name).mkdir()
        has_disk = stack.enter_context(small_disk(folder / "data"))
        keep = f"persistence true\npersistence_location {folder / 'mosquitto'}/\n"
        broker = Mosquitto(folder / "mosquitto", extra=f"{keep}autosave_interval 0")
        broker.argv.remove("-v")
        front = InfluxFront(folder / "influx")
        stack.callback(front.stop)
        stack.callback(broker.stop)
        broker.start()
        front.start()
        front.create("soak")
        secrets = write_pipeline(folder / "flows", broker, front, with_time=True)
        address = f"{LOOPBACK}:{free_port()}"
        engine = FlowProcess(
            folder / "flows", "--metrics", address, data=folder / "data" / "engine", env=secrets
        )
        stack.enter_context(engine)
        devices = Devices(broker.port, options.rate, with_time=True)
        soak = _Soak(options, Parts(broker, front, engine, devices), address, say)
        if not has_disk:
            soak.result.left_out.append("disk-full: this may not mount a disk of its own")
        return soak.run()


class _Soak:
    """One run, from the first start to the comparison."""

    def __init__(
        self, options: Options, parts: Parts, address: str, say: Callable[[str], None]
    ) -> None:
        self.options, self.say, self.address = options, say, address
        self.broker, self.front, self.engine, self.devices = parts
        self.written, self.windows = Written(self.engine), Windows(self.engine)
        self.chance = random.Random(options.seed)  # noqa: S311  # repeatable
        self.result = Result(minutes=options.minutes, seed=options.seed)
        self.ages: list[float] = []
        self.memory: list[float] = []
        self.born = 0.0
        self._reloads = 0
        self._done = threading.Event()

    def run(self) -> Result:
        """Fault after fault, then heal, drain and compare."""
        self.engine.until_ready()
        self.born = began = time.monotonic()
        watch = threading.Thread(target=self._watch, name="memory")
        watch.start()
        try:
            with self.devices:
                minute = 0
                with suppress(KeyboardInterrupt):
                    while time.monotonic() - began < self.options.minutes * 60 - 30:
                        minute += 1
                        self._minute(minute, began + 60 * minute)
        finally:
            self._done.set()
            watch.join()
        self._drain()
        self._compare()
        self._judge_memory()
        return self.result

    # -- faults

    def _minute(self, minute: int, until_: float) -> None:
        deadly = minute <= self.options.minutes / 4
        choice = {**FAULTS, **(DEADLY if deadly else {})}
        if self.result.left_out:
            del choice["disk-full"]
        fault = self.chance.choices(list(choice), list(choice.values()))[0]
        # At least half a minute of every minute is for coming back.
        seconds = self.chance.uniform(5, 25)
        time.sleep(self.chance.uniform(0, 5))
        getattr(self, f"_{fault.replace('-', '_')}")(seconds)
        self.result.met.append(fault)
        time.sleep(max(0.0, until_ - time.monotonic()))
        self._tell(minute, f"{fault} {seconds:.0f} s")

    def _tell(self, minute: int, fault: str) -> None:
        self.written.look()
        known, there = self.devices.acknowledged.count, self.written.marks.count
        spooled = scraped_sum(self.address, "flowengine_spool_records")
        self.say(
            f"{minute} min  {fault:<18} {known} acknowledged, {there} in the file "
            f"({max(0, known - there)} on their way), InfluxDB {points(self.front)}; "
            f"{self.memory[-1] if self.memory else 0:.1f} MB, {spooled:.0f} on disk"
        )

    def _engine_stop(self, seconds: float) -> None:
        self.engine.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.engine.process.send_signal(signal.SIGCONT)

    def _engine_kill(self, _: float) -> None:
        self.engine.kill()
        self._again()

    def _engine_term(self, _: float) -> None:
        self.engine.stop(30)
        self._again()

    def _again(self) -> None:
        self.engine.start()
        self.engine.until_ready(60)
        self.born = time.monotonic()
        self.ages, self.memory = [], []

    def _broker_kill(self, seconds: float) -> None:
        with self.devices.quiet():
            database = self.broker.folder / "mosquitto.db"
            before = database.stat().st_mtime_ns if database.exists() else 0
            self.broker.send(signal.SIGUSR1)
            until(lambda: database.stat().st_mtime_ns != before, what="mosquitto's database saved")
            time.sleep(0.1)
            self.broker.kill()
        time.sleep(seconds)
        self.broker.start()

    def _broker_stop(self, seconds: float) -> None:
        self.broker.send(signal.SIGSTOP)
        time.sleep(seconds)
        self.broker.send(signal.SIGCONT)

    def _influx_kill(self, seconds: float) -> None:
        self.front.server.kill()
        time.sleep(seconds)
        self.front.server.start()

    def _influx_stop(self, seconds: float) -> None:
        self.front.server.send(signal.SIGSTOP)
        time.sleep(seconds)
        self.front.server.send(signal.SIGCONT)

    def _front_kill(self, seconds: float) -> None:
        self.front.front.kill()
        time.sleep(seconds)
        self.front.front.start()

    def _reload(self, _: float) -> None:
        """The sink's batches become longer or shorter: it restarts, the connections do not."""
        self._reloads += 1
        (flow,) = self.engine.argv[4:5]
        path = next(Path(flow).glob("*.json"))
        document = msgspec.json.decode(path.read_bytes())
        age = f"{1000 + self._reloads % 2}ms"
        document["nodes"]["influx"]["config"]["batch"] = {"age": age}
        path.write_bytes(msgspec.json.encode(document))
        self.engine.process.send_signal(signal.SIGHUP)

    def _disk_full(self, seconds: float) -> None:
        """All but 64 kB of the data folder's disk is taken, and given back."""
        folder = self.engine.data.parent
        ballast = folder / "ballast"
        free = shutil.disk_usage(folder).free
        take = find("fallocate") or "fallocate"
        subprocess.run([take, "-l", str(max(4096, free - 65_536)), str(ballast)], check=False)
        time.sleep(seconds)
        ballast.unlink(missing_ok=True)

    # -- memory

    def _watch(self) -> None:
        """Note the engine's resident memory each second, in MB."""
        while not self._done.wait(1.0):
            with suppress(OSError, KeyError):
                rss = self.engine.memory()["VmRSS"] / 1e6
                self.ages.append(time.monotonic() - self.born)
                self.memory.append(rss)

    def _judge_memory(self) -> None:
        result = self.result
        warm_up = min(600.0, self.options.minutes * 15)
        seen = [(a, m) for a, m in zip(self.ages, self.memory, strict=True) if a >= warm_up]
        if len(seen) < 60:
            return
        ages, memory = [age for age, _ in seen], [rss for _, rss in seen]
        result.rss_first, result.rss_last = round(memory[0], 1), round(memory[-1], 1)
        result.rss_most = round(max(memory), 1)
        result.measured_minutes = round((ages[-1] - ages[0]) / 60, 1)
        result.slope = round(statistics.linear_regression(ages, memory).slope * 3600, 2)
        if result.measured_minutes >= MEASURED_FOR and result.slope > SLOPE_LIMIT:
            result.faults.append(f"memory grows by {result.slope:g} MB an hour")

    # -- the end

    def _drain(self) -> None:
        wanted = self.devices.acknowledged.count
        last = (0, 0, 0)

        def look() -> tuple[int, int, int]:
            nonlocal last
            self.written.look()
            told = self.windows.look()
            last = (self.written.marks.count, points(self.front), told.messages + told.late)
            return last

        try:
            until(lambda: min(look()) >= wanted, self.options.drain, "everything arrives")
        except NotReady:
            self.result.faults.append(
                f"not drained within {self.options.drain:g} s: of {wanted} messages "
                f"{last[0]} are in the file, {last[1]} in InfluxDB, {last[2]} in windows"
            )
        settle(look, 2.0, 60.0, "no more arrives")
        self.engine.stop(30)

    def _compare(self) -> None:
        result = self.result
        result.acknowledged = self.devices.acknowledged.count
        found = compare(self.devices.acknowledged, self.written, self.front, self.engine)
        result.lost, result.duplicates = found.lost, found.duplicates
        result.faults += found.faults
        told = self.windows.look()
        result.windows = {**told._asdict(), "expected": self.written.marks.count}
        if told.messages + told.late < self.written.marks.count:
            result.faults.append(
                f"the windows counted {told.messages} messages and {told.late} were late, of "
                f"{self.written.marks.count}"
            )


def main() -> int:
    """Run the soak as the command line says; 0 if all holds, 1 if not, 3 without its parts."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Options()
    parser.add_argument("--minutes", type=float, default=default.minutes, help="how long (60)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of the faults (1)")
    parser.add_argument("--rate", type=int, default=default.rate, help="messages a second (500)")
    parser.add_argument("--drain", type=float, default=default.drain, help="s at the end (300)")
    options = Options(**vars(parser.parse_args()))
    try:
        with tempfile.TemporaryDirectory(prefix="flowengine-soak-") as folder:
            result = run(options, Path(folder), lambda line: print(line, flush=True))
    except (pytest.skip.Exception, pytest.fail.Exception) as err:  # a program is not installed
        print(err, file=sys.stderr)
        return 3
    print(msgspec.json.format(msgspec.json.encode(result)).decode())
    for fault in result.faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
