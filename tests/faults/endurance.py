"""What the kill test and the soak have in common: devices that publish, a flow, and the counting.

    devices --QoS 1--> mosquitto --> mqtt.in --> influxdb.write   one point per message, or a repeat
                                        |                         of it on the same place
                                        |------> series.write     the same, on this box
                                        |------> file.append      a repeat is a second line
                                        '------> window           count and sum of every second

Every message has a number of its own, so that each can be told to be missing or to be twice.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from flowengine.nodes.series.read import export_series
from tests.flow_process import FlowProcess, write_flow
from tests.system.brokers import Mosquitto
from tests.system.publisher import Publisher
from tests.system.real import LOOPBACK, until
from tests.system.stores import InfluxFront, http_get

FLOW = "endurance"
DEVICES = 10
MOST_AT_ONCE = 500
"""Messages published in one go, when the machine has held the publisher up."""


class Marks:
    """A set of message numbers: a byte each, for there may be millions."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.count = 0

    def add(self, number: int) -> bool:
        """Mark a number; False if it was marked already."""
        if number >= len(self._bytes):
            self._bytes.extend(bytes(number + 10_000 - len(self._bytes)))
        if self._bytes[number]:
            return False
        self._bytes[number] = 1
        self.count += 1
        return True

    def __contains__(self, number: int) -> bool:
        return number < len(self._bytes) and bool(self._bytes[number])

    def __iter__(self) -> Iterator[int]:
        return (number for number, mark in enumerate(self._bytes) if mark)

    def without(self, other: "Marks") -> list[int]:
        """The numbers marked here and not there."""
        return [number for number in self if number not in other]


class Devices:
    """Ten devices that publish at a steady rate; a context manager, ended by `stop` or the block.

    What a broker that went away did not acknowledge is not published again: it may arrive or not.

    Attributes:
        acknowledged: numbers that the broker has acknowledged.
        published: how many numbers were given out.
    """

    def __init__(self, port: int, rate: int, *, with_time: bool) -> None:
        """Publish to the port `rate` messages a second, whose payload tells their time or not."""
        self._port, self._rate, self._with_time = port, rate, with_time
        self.acknowledged = Marks()
        self.published = 0
        self._times = [0] * DEVICES
        self._end, self._go = threading.Event(), threading.Event()
        self._go.set()
        self._idle = threading.Event()
        self._thread = threading.Thread(target=self._run, name="devices")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Publish no more; returns once what was published is acknowledged."""
        self._end.set()
        self._thread.join()

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """A while in which nothing is published, and everything published is acknowledged."""
        self._idle.clear()
        self._go.clear()
        try:
            until(self._idle.is_set, 60, "the devices are quiet")
            yield
        finally:
            self._go.set()

    def _run(self) -> None:
        while not self._end.is_set():
            first = self.published
            try:
                with Publisher(self._port, f"devices-{first}") as link:
                    self._publish(link, first)
            except OSError:
                # The broker is away, or came back without an answer to what was under way.
                self._end.wait(0.05)

    def _publish(self, link: Publisher, first: int) -> None:
        began = time.monotonic()
        try:
            while not self._end.wait(0.01):
                if not self._go.is_set():
                    self._idle.set()
                    continue
                due = int((time.monotonic() - began) * self._rate) - (self.published - first)
                numbers = range(self.published, self.published + min(due, MOST_AT_ONCE))
                if due > MOST_AT_ONCE:  # it was held up for long: no flood afterwards
                    began += (due - MOST_AT_ONCE) / self._rate
                self.published = numbers.stop
                link.publish(map(self._message, numbers))
                self._take(link, first)
        finally:
            self._take(link, first)

    def _take(self, link: Publisher, first: int) -> None:
        for index in link.acknowledged:
            self.acknowledged.add(first + index)
        link.acknowledged.clear()

    def _message(self, number: int) -> tuple[str, bytes]:
        device = number % DEVICES
        payload = {"number": number}
        if self._with_time:
            # Ever increasing for one device, so that it names one message.
            self._times[device] = max(self._times[device] + 1, time.time_ns() // 1_000_000)
            payload["timestamp"] = self._times[device]
        return f"device/dev-{device}/telemetry", json.dumps(payload).encode()


def write_pipeline(
    folder: Path, broker: Mosquitto, front: InfluxFront, *, with_time: bool, lateness: str = "10s"
) -> dict[str, str]:
    """Write the flow of this module's picture; returns the environment that it wants.

    A window is told `lateness` after its end; what is held up for longer is counted as late.
    """
    readings = {"type": "mqtt.in", "broker": "site", "topic": "device/+/telemetry"}
    if with_time:
        readings["time"] = "payload.timestamp"
    point = {"tags": {"device": "key"}, "fields": {"number": "payload.number"}}
    result = {"count": "payload.count", "sum": "payload.number_sum"}
    series = {"type": "series.write", "tags": {"device": "key"}}
    seconds = {"type": "window", "every": "1s", "lateness": lateness}
    nodes = {
        "in": readings,
        "influx": {"type": "influxdb.write", "server": "influx", "measurement": "room", **point},
        "series": {**series, "series": "room", "field": {"number": "payload.number"}},
        "file": {"type": "file.append", "path": "readings.jsonl"},
        "seconds": {**seconds, "fields": ["payload.number"], "functions": ["sum"]},
        "seconds-file": {"type": "file.append", "path": "seconds.jsonl", "content": "message"},
        "seconds-series": {**series, "series": "seconds", "field": result},
        "late": {"type": "file.append", "path": "late.jsonl"},
    }
    wires = ["in -> influx", "in -> series", "in -> file", "in -> seconds"]
    wires += ["seconds -> seconds-file", "seconds -> seconds-series", "seconds.late -> late"]
    connections = {
        "site": {"type": "mqtt.broker", "host": LOOPBACK, "port": broker.port},
        "influx": {
            "type": "influxdb.server",
            "url": front.url,
            "bucket": front.bucket,
            "token": {"$secret": "influx-token"},
        },
    }
    write_flow(folder, FLOW, nodes, wires, connections)
    return {"FLOWENGINE_SECRET_INFLUX_TOKEN": front.token}


class Parts(NamedTuple):
    """All that takes part; `engine` and `broker` are processes that may be killed."""

    broker: Mosquitto
    front: InfluxFront
    engine: FlowProcess
    devices: Devices


class Lines:
    """A file of JSON lines that grows: read on from where the last look ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0

    def new(self) -> list[dict[str, Any]]:
        """The whole lines that came since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        rows = []
        for line in whole.splitlines():
            with suppress(ValueError):  # a line torn by a kill, ended by the next start
                rows.append(json.loads(line))
        return rows


class Written:
    """What file.append has written of the messages, and which of it is a repeat."""

    def __init__(self, engine: FlowProcess) -> None:
        self._lines = Lines(engine.data / "files" / "readings.jsonl")
        self.marks = Marks()
        self.repeats = 0

    def look(self) -> int:
        """Read on; returns how many of the new lines were repeats."""
        new = sum(not self.marks.add(row["number"]) for row in self._lines.new())
        self.repeats += new
        return new


class Stored(NamedTuple):
    """The messages of a store: which are there, and how many more than once."""

    marks: Marks
    repeats: int


def stored(numbers: Iterable[float]) -> Stored:
    """Count the numbers that a store gives back."""
    marks, repeats = Marks(), 0
    for number in numbers:
        repeats += not marks.add(int(number))
    return Stored(marks, repeats)


def points(front: InfluxFront) -> int:
    """How many points InfluxDB has; cheap."""
    rows = front.query("SELECT count(number) AS n FROM room")
    return int(rows[0]["n"]) if rows else 0


def in_influx(front: InfluxFront) -> Stored:
    """Every message in InfluxDB."""
    devices = (f"dev-{n}" for n in range(DEVICES))
    return stored(
        row["number"]
        for device in devices
        for row in front.query(f"SELECT number FROM room WHERE device = '{device}'")  # noqa: S608
    )


def in_series(engine: FlowProcess) -> Stored:
    """Every message in the series store."""
    file = engine.data / "series.db"
    return stored(row["value"] for row in export_series(file, "room", None, None))


class Compared(NamedTuple):
    """The stores beside what the broker acknowledged, by store; `faults` in words."""

    lost: dict[str, int]
    duplicates: dict[str, int]
    faults: list[str]


def compare(
    acknowledged: Marks, written: Written, front: InfluxFront, engine: FlowProcess
) -> Compared:
    """Compare every store: nothing missing in any, nothing twice where a repeat vanishes."""
    written.look()
    stores = {
        "file": Stored(written.marks, written.repeats),
        "influxdb": in_influx(front),
        "series": in_series(engine),
    }
    found = Compared({}, {}, [])
    for name, store in stores.items():
        missing = acknowledged.without(store.marks)
        found.lost[name], found.duplicates[name] = len(missing), store.repeats
        if missing:
            found.faults.append(
                f"{len(missing)} acknowledged messages are not in {name}, the first {missing[:5]}"
            )
        if store.repeats and name != "file":
            found.faults.append(f"{store.repeats} messages are twice in {name}")
    return found


class Told(NamedTuple):
    """What the windows of all devices have counted together.

    Attributes:
        messages: in them, each window taken once.
        sum: of the messages' numbers.
        late: messages that came when their window had closed.
        repeats: windows told twice alike: a repeat after a crash.
        differing: windows told twice with another content: counted wrongly, once at least.
    """

    messages: int
    sum: int
    late: int
    repeats: int
    differing: int


class Windows:
    """The windows in their file, where a repeat shows as a second line."""

    def __init__(self, engine: FlowProcess) -> None:
        files = engine.data / "files"
        self._windows, self._late = Lines(files / "seconds.jsonl"), Lines(files / "late.jsonl")
        self._told: dict[tuple[str, str], set[tuple[int, int]]] = {}
        self._repeats = 0
        self._came_late = 0

    def look(self) -> Told:
        """Read on, and say what they tell together."""
        for row in self._windows.new():
            found = row["payload"]
            contents = self._told.setdefault((row["key"], found["start"]), set())
            content = (found["count"], int(found["number_sum"]))
            self._repeats += content in contents
            contents.add(content)
        self._came_late += len(self._late.new())
        last = [max(contents) for contents in self._told.values()]
        return Told(
            messages=sum(count for count, _ in last),
            sum=sum(total for _, total in last),
            late=self._came_late,
            repeats=self._repeats,
            differing=sum(len(contents) > 1 for contents in self._told.values()),
        )


def scraped_sum(address: str, name: str) -> float:
    """The sum of one metric over all its labels; 0 where nobody answers just now."""
    try:
        page = http_get(f"http://{address}/metrics").text
    except ConnectionError:
        return 0.0
    found = (line for line in page.splitlines() if line.startswith(f"{name}{{"))
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def settle(look: Callable[[], object], quiet: float, timeout: float, what: str) -> None:
    """Wait until `look` has answered the same for `quiet` seconds."""
    last, since = look(), time.monotonic()

    def is_quiet() -> bool:
        nonlocal last, since
        now = look()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > quiet

    until(is_quiet, timeout, what)
