"""The kill test: an engine under load is killed again and again; nothing may be lost.

    python -m tests.faults.kills --count 200 --seed 1
    python -m tests.faults.kills --count 20 --variant arrival --json result.json

A real mosquitto, a real InfluxDB behind the v2 write path, the flow of `tests.faults.endurance`,
and 1,000 messages a second at QoS 1, which go on while the engine is down. A kill comes at a random
moment of the 5 s after "ready"; every tenth one comes before it, while the engine starts and
goes through what the one before has left. The engine is started again at once.

At the end the devices stop, what is under way arrives, and every store is compared with what the
broker has acknowledged. The exit code is 0 if all of that holds:

    lost          no acknowledged message is missing in any store
    duplicates    none in InfluxDB and in the series store; in the file, where a repeat is a second
                  line, at most `--window` for each kill
    windows       count and sum over all windows are those of the messages, exactly
    ready         within `--ready-limit` seconds of each start
    ledger        balances, and says the publisher's number (once `flowengine ledger` exists)

Moment `n` of seed `s` is the same in every run, so `--first 101 --count 100` goes on where a run of
100 ended. Ctrl-C ends the killing early and compares what there is.

    --variant time      the payload tells its time, by which a repeat falls on what is there
    --variant arrival   no time in the payload: a message redelivered must be known again
    --variant down      InfluxDB is away from before the first kill until after the last
    --power             the power is cut, not only the process killed: the data folder is on a disk
                        of its own, which keeps what was synced (root, loop devices)
    --plant BUG         with a bug planted on purpose (`tests.faults.planted`): it must be found
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.faults.endurance import (
    FLOW,
    Devices,
    Parts,
    Told,
    Windows,
    Written,
    compare,
    points,
    settle,
    write_pipeline,
)
from tests.faults.planted import BUGS, hooked
from tests.faults.power import PowerDisk
from tests.flow_process import ROOT, FlowProcess, flowengine
from tests.system.brokers import Mosquitto
from tests.system.real import NotReady, until
from tests.system.stores import InfluxFront

VARIANTS = ("time", "arrival", "down")
STARTING = 0.6
"""Seconds after its start within which an engine is killed that is not to become ready."""


class Options(msgspec.Struct, kw_only=True):
    """How to run: see `--help`."""

    count: int = 200
    seed: int = 1
    first: int = 1
    variant: str = "time"
    rate: int = 1000
    window: int = 1000
    longest: float = 5.0
    ready_limit: float = 3.0
    drain: float = 180.0
    lateness: str = "10s"
    power: bool = False
    plant: str = ""


class Kill(msgspec.Struct, kw_only=True):
    """One kill, and how many lines of those the next engine wrote were there already."""

    number: int
    repeats: int = 0


class Result(msgspec.Struct, kw_only=True):
    """What was seen; `faults` says in words what should not be, and is empty if all is well."""

    variant: str
    seed: int
    kills: int = 0
    published: int = 0
    acknowledged: int = 0
    lost: dict[str, int] = {}
    duplicates: dict[str, int] = {}
    most_repeats_of_a_kill: int = 0
    windows: dict[str, int] = {}
    ready_median: float = 0.0
    ready_most: float = 0.0
    drained_after: float | None = None
    ledger: dict[str, Any] | None = None
    faults: list[str] = []


def moment(seed: int, number: int, longest: float) -> tuple[bool, float]:
    """Whether kill `number` waits for ready, and the seconds it comes after that (or the start)."""
    chance = random.Random(f"{seed}-{number}")  # noqa: S311  # repeatable, not secret
    if number % 10 == 0:
        return False, chance.uniform(0, STARTING)
    return True, chance.uniform(0, longest)


def run(options: Options, folder: Path, say: Callable[[str], None] = print) -> Result:
    """Run it all below `folder`; `say` takes lines of progress."""
    with ExitStack() as stack:
        for name in ("mosquitto", "influx", "flows"):
            (folder / name).mkdir()
        keep = f"persistence true\npersistence_location {folder / 'mosquitto'}/\n"
        broker = Mosquitto(folder / "mosquitto", extra=f"{keep}autosave_interval 0")
        broker.argv.remove("-v")  # a line of log for a packet would be most of its work
        front = InfluxFront(folder / "influx")
        stack.callback(front.stop)
        stack.callback(broker.stop)
        broker.start()
        front.start()
        front.create("kills")
        with_time = options.variant != "arrival"
        secrets = write_pipeline(
            folder / "flows", broker, front, with_time=with_time, lateness=options.lateness
        )
        disk = None
        if options.power:
            disk = stack.enter_context(PowerDisk(folder))
        if options.plant:
            secrets |= hooked(folder, options.plant, ROOT)
        engine = FlowProcess(
            folder / "flows",
            "--ready-after",
            "2s",
            data=disk.place / "data" if disk is not None else None,
            env=secrets,
        )
        stack.enter_context(engine)
        devices = Devices(broker.port, options.rate, with_time=with_time)
        return _Run(options, Parts(broker, front, engine, devices), say, disk).run()


class _Run:
    """One run of the test, from the first start to the comparison."""

    def __init__(
        self,
        options: Options,
        parts: Parts,
        say: Callable[[str], None],
        disk: PowerDisk | None = None,
    ) -> None:
        self.options = options
        self.disk = disk
        self.broker, self.front, self.engine, self.devices = parts
        self.written, self.windows = Written(self.engine), Windows(self.engine)
        self.kills: list[Kill] = []
        self.ready: list[float] = []
        self.say = say
        self.result = Result(variant=options.variant, seed=options.seed)

    def run(self) -> Result:
        self._until_ready()
        if self.options.variant == "down":
            self.front.stop()
        with self.devices:
            try:
                for number in range(self.options.first, self.options.first + self.options.count):
                    self._kill(number)
            except KeyboardInterrupt:
                self.say(f"ended early, after {len(self.kills)} kills")
            if self.engine.process.poll() is not None:  # between a kill and its start
                self.engine.start()
            self._until_ready()
        self._drain()
        self._compare()
        return self.result

    def _until_ready(self) -> None:
        """Wait, and note how long it took; the engine was started a moment before."""
        began = time.monotonic()
        self.engine.until_ready(60)
        self.ready.append(time.monotonic() - began)

    def _kill(self, number: int) -> None:
        """Wait for the moment, kill, count what the kill before made twice, start again."""
        waits, after = moment(self.options.seed, number, self.options.longest)
        if number > self.options.first:
            self.engine.start()
            if waits:
                self._until_ready()
        time.sleep(after)
        if self.disk is not None:
            self.disk.cut()
        self.engine.kill()
        if self.disk is not None:
            self.disk.again()
        self._count(Kill(number=number))
        done = len(self.kills)
        if done % 10 == 0 or done == self.options.count:
            self.say(
                f"{done} kills: {self.devices.acknowledged.count} messages acknowledged, "
                f"{self.written.marks.count} in the file and {self.written.repeats} of them "
                f"twice; ready after {statistics.median(self.ready):.2f} s "
                f"({max(self.ready):.2f} s at most)"
            )

    def _count(self, kill: Kill) -> None:
        """Repeats written since the kill before belong to that one."""
        repeats = self.written.look()
        if self.kills:
            self.kills[-1].repeats = repeats
        self.kills.append(kill)

    def _drain(self) -> None:
        """Wait until what is under way has arrived, as far as it will."""
        if self.options.variant == "down":
            self.front.start()
        wanted, began = self.devices.acknowledged.count, time.monotonic()
        last: tuple[int, int, int] = (0, 0, 0)

        def look() -> tuple[int, int, int]:
            nonlocal last
            self.written.look()
            last = (self.written.marks.count, points(self.front), self.windows.look().messages)
            return last

        try:
            until(lambda: min(look()) >= wanted, self.options.drain, "everything arrives")
            self.result.drained_after = round(time.monotonic() - began, 1)
        except NotReady:
            self.result.faults.append(
                f"not drained within {self.options.drain:g} s: of {wanted} messages "
                f"{last[0]} are in the file, {last[1]} in InfluxDB, {last[2]} in windows"
            )
        settle(look, 1.0, 30.0, "no more arrives")
        if self.kills:
            self.kills[-1].repeats = self.written.repeats - sum(k.repeats for k in self.kills[:-1])
        self.result.ledger = self._ledger()
        self.engine.stop()

    def _ledger(self) -> dict[str, Any] | None:
        """What `flowengine ledger` says beside the running engine; None without that command."""
        if find_spec("flowengine.commands.ledger") is None:
            return None
        ran = flowengine("ledger", "--json", "--data", self.engine.data)
        try:
            told: dict[str, Any] = json.loads(ran.stdout)
        except ValueError:
            told = {"said": (ran.stdout + ran.stderr)[-2000:]}
        told["exit"] = ran.returncode
        return told

    # -- the comparison

    def _compare(self) -> None:
        result, devices, options = self.result, self.devices, self.options
        result.kills = len(self.kills)
        result.published, result.acknowledged = devices.published, devices.acknowledged.count
        found = compare(devices.acknowledged, self.written, self.front, self.engine)
        result.lost, result.duplicates = found.lost, found.duplicates
        result.faults += found.faults
        most = max(self.kills, key=lambda kill: kill.repeats, default=None)
        if most is not None:
            result.most_repeats_of_a_kill = most.repeats
            if most.repeats > options.window:
                result.faults.append(
                    f"kill {most.number} made {most.repeats} lines twice, more than were in flight "
                    f"({options.window})"
                )
        self._compare_windows(self.windows.look())
        self._compare_ledger()
        result.ready_median = round(statistics.median(self.ready), 3)
        result.ready_most = round(max(self.ready), 3)
        if result.ready_most > options.ready_limit:
            late = sum(ready > options.ready_limit for ready in self.ready)
            result.faults.append(
                f"{late} of {len(self.ready)} starts took longer than {options.ready_limit:g} s, "
                f"up to {result.ready_most:g} s"
            )

    def _compare_windows(self, found: Told) -> None:
        result, known = self.result, self.devices.acknowledged
        result.windows = {**found._asdict(), "expected": known.count}
        if found.messages + found.late != known.count:
            result.faults.append(
                f"the windows counted {found.messages} messages, and {found.late} were late; "
                f"it should be {known.count} ({found.messages + found.late - known.count:+})"
            )
        elif not found.late and found.sum != sum(known):
            result.faults.append(f"the windows' sum is {found.sum}, not {sum(known)}")
        if found.differing:
            result.faults.append(f"{found.differing} windows were told twice, and not alike")

    def _compare_ledger(self) -> None:
        told, wanted = self.result.ledger, self.devices.acknowledged.count
        if told is None:
            return
        flow = told.get("flows", {}).get(FLOW, {})
        received = flow.get("received")
        if told.get("exit") != 0 or not told.get("balanced"):
            self.result.faults.append(f"the ledger does not balance: {json.dumps(told)[:600]}")
        if received != wanted:
            self.result.faults.append(f"the ledger says {received} received, not {wanted}")
        if flow.get("delivered") != wanted:
            self.result.faults.append(
                f"the ledger says {flow.get('delivered')} delivered, not {wanted}"
            )


def main() -> int:
    """Run the kill test as the command line says; 0 if all holds, 1 if not, 3 without its parts."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.kills",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default = Options()
    parser.add_argument("--count", type=int, default=default.count, help="how many kills (200)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of the moments (1)")
    parser.add_argument("--first", type=int, default=1, help="number of the first moment (1)")
    parser.add_argument("--variant", choices=VARIANTS, default=default.variant, help="see above")
    parser.add_argument("--rate", type=int, default=default.rate, help="messages a second (1000)")
    parser.add_argument(
        "--window", type=int, default=default.window, help="repeats allowed for a kill (1000)"
    )
    parser.add_argument("--ready-limit", type=float, default=default.ready_limit, help="s (3)")
    parser.add_argument("--longest", type=float, default=default.longest, help="s after ready (5)")
    parser.add_argument("--drain", type=float, default=default.drain, help="s at the end (180)")
    parser.add_argument("--lateness", default=default.lateness, help="of the windows (10s)")
    parser.add_argument("--power", action="store_true", help="cut the power")
    parser.add_argument("--plant", choices=sorted(BUGS), default="", help="with this bug")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="run there, and leave it all")
    given = vars(parser.parse_args())
    file, keep = given.pop("json"), given.pop("keep")
    options = Options(**given)
    try:
        if keep is not None:
            keep.mkdir(parents=True)
            result = run(options, keep, _say)
        else:
            with tempfile.TemporaryDirectory(prefix="flowengine-kills-") as folder:
                result = run(options, Path(folder), _say)
    except (pytest.skip.Exception, pytest.fail.Exception) as err:  # a program is not installed
        print(err, file=sys.stderr)
        return 3
    text = msgspec.json.format(msgspec.json.encode(result)).decode()
    print(text)
    if file is not None:
        file.write_text(text + "\n")
    for fault in result.faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    return 1 if result.faults else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
