"""Sensors of the box itself, and simulated ones to try a flow with."""

from typing import Any, Literal

from pydantic import Field, model_validator

from flowengine import Message, NodeConfig, node
from flowengine.nodes.pulse import Pulse, PulseConfig
from flowengine.nodes.sensor import simulated
from flowengine.nodes.spans import Span

_TOGETHER = 2_000_000
"""Readings that fall due within this time (ns) leave together, so that many devices cost little."""

Metric = Literal["cpu", "memory", "disk", "temperature", "network"]


class ProfileConfig(NodeConfig):
    """How the simulated temperature goes, and what goes wrong with it."""

    base: float = Field(default=21.0, description="Mean temperature, °C.")
    daily_swing: float = Field(
        default=3.0,
        ge=0,
        description="From the mean to the day's highest, °C; highest at 15:00 UTC.",
    )
    noise: float = Field(default=0.2, ge=0, description="Standard deviation of a reading, °C.")
    drift: float = Field(default=0.0, description="Slow error of the sensor, °C per day.")
    stuck: float = Field(
        default=0.0, ge=0, le=1, description="Chance that a reading repeats the one before it."
    )
    spikes: float = Field(
        default=0.0, ge=0, le=1, description="Chance that a reading is 20 to 60 °C off."
    )
    dropouts: float = Field(default=0.0, ge=0, le=1, description="Chance that a reading is lost.")
    seed: int = Field(default=1, description="Another seed gives other readings.")


class SimulatedConfig(PulseConfig):
    """Which devices, how often."""

    every: Span = Field(default="1s", description="From one reading of a device to its next.")
    devices: int | list[str] = Field(
        default=3, description='Their number (named "dev-0001" and so on), or a list of their ids.'
    )
    profile: ProfileConfig = Field(
        default_factory=ProfileConfig, description="What they measure, and what goes wrong."
    )

    @model_validator(mode="after")
    def _some_devices(self) -> "SimulatedConfig":
        ids = self.ids()
        if not 1 <= len(ids) <= 100_000:
            raise ValueError(f"devices: there are {len(ids)}; 1 to 100,000 can be simulated")
        if len(set(ids)) < len(ids) or "" in ids:
            raise ValueError("devices: an id is empty or stands there twice")
        return self

    def ids(self) -> list[str]:
        """The devices' ids."""
        if isinstance(self.devices, list):
            return self.devices
        return [f"dev-{number:04}" for number in range(1, min(self.devices, 100_001) + 1)]


@node("sensor.simulated")
class Simulated(Pulse[SimulatedConfig]):
    """Readings of made-up devices, the same ones for the same seed and clock.

    Out: `{"sensor_id": "dev-0001", "temperature": 21.3 (°C), "humidity": 45.1 (%), "battery": 3.61
    (V), "timestamp": 1767225600000 (Unix ms)}` on `device/<id>/telemetry`, key = id, time =
    timestamp. The devices' phases are spread evenly over `every`. A stretch that was missed is left
    out; the next reading of each device tells it by `meta.missed`, the readings it lost.
    """

    runs_in_tests = True

    def setup(self) -> None:
        """Name the devices."""
        super().setup()
        self._ids = self.config.ids()

    async def open(self) -> None:
        """Begin with the first device's first reading."""
        self._begin = self.clock.monotonic()
        self._begin_wall = self.clock.now()
        self._next = 0
        self._missed = [0] * len(self._ids)
        self._before: list[tuple[float, float] | None] = [None] * len(self._ids)
        self.wait_until(self._begin)

    def _due(self, number: int) -> int:
        """When the reading is due: monotonic, for readings counted over all devices."""
        every: int = self.config.every
        turn, device = divmod(number, len(self._ids))
        return self._begin + turn * every + device * every // len(self._ids)

    def fire(self) -> None:
        """Let in every reading that is due."""
        now, wall = self.clock.monotonic(), self.clock.now()
        turns = (now - self._due(self._next)) // self.config.every
        if turns > 0:
            self._next += turns * len(self._ids)
            self._missed = [missed + turns for missed in self._missed]
        messages = []
        while (due := self._due(self._next)) <= now:
            message = self._read(self._next, wall - (now - due))
            if message is not None:
                messages.append(message)
            self._next += 1
        wait = self._due(self._next)
        if len(self._ids) * _TOGETHER > self.config.every:
            wait = max(wait, now + _TOGETHER)
        self.let_in(messages)
        self.wait_until(wait)

    def _read(self, number: int, wall: int) -> Message | None:
        """The reading of one device at one time; None if it is lost on its way."""
        turn, index = divmod(number, len(self._ids))
        device, profile = self._ids[index], self.config.profile
        millis = wall // 1_000_000
        drawn = simulated.chances(profile.seed, device, turn)
        days = (wall - self._begin_wall) / 86_400e9
        true = simulated.temperature(millis, base=profile.base, swing=profile.daily_swing)
        measured = true + simulated.noise(drawn[0], profile.noise) + profile.drift * days
        air = simulated.humidity(true - profile.base, drawn[1])
        before = self._before[index]
        if drawn[2] < profile.stuck and before is not None:
            measured, air = before
        self._before[index] = (measured, air)
        if drawn[3] < profile.spikes:
            measured += simulated.spike(drawn[4])
        if drawn[5] < profile.dropouts:
            return None
        payload = {
            "sensor_id": device,
            "temperature": round(measured, 2),
            "humidity": round(air, 1),
            "battery": round(simulated.battery(days, drawn[6]), 2),
            "timestamp": millis,
        }
        missed, self._missed[index] = self._missed[index], 0
        meta = {"missed": missed} if missed else {}
        return Message(payload, f"device/{device}/telemetry", millis * 1_000_000, device, meta)


class SystemConfig(PulseConfig):
    """What of the box is measured, how often."""

    every: Span = Field(default="10s", description="From one reading to the next.")
    metrics: list[Metric] = Field(
        default=["cpu", "memory", "disk", "temperature", "network"],
        min_length=1,
        description="What is measured.",
    )
    device: str | None = Field(
        default=None, description="Id of the box; its host name if left out."
    )
    path: str = Field(default="/", description="A folder on the disk that is measured.")


@node("sensor.system")
class System(Pulse[SystemConfig]):
    """What the box says of itself.

    Out: `{"cpu": 12.5 (% of all cores since the last reading), "memory": 43.1 (% in use), "disk":
    71.0 (% in use), "temperature": 48.5 (°C, the hottest sensor), "network_received": 123456,
    "network_sent": 6543 (bytes since the box started)}` on `system/<device>`, key = the device's
    id. What the box has no sensor for is left out. What was missed is one reading, with
    `meta.missed`.
    """

    async def open(self) -> None:
        """Begin; the first reading is due after one interval, as cpu load needs a beginning."""
        import platform  # noqa: PLC0415  # with psutil, only where a flow needs them

        import psutil  # noqa: PLC0415

        self._psutil = psutil
        self._device = self.config.device or platform.node() or "box"
        psutil.cpu_percent()
        self._next = self.clock.monotonic() + self.config.every
        self.wait_until(self._next)

    def fire(self) -> None:
        """Measure, if it is time."""
        now, every = self.clock.monotonic(), self.config.every
        if now < self._next:
            self.wait_until(self._next)
            return
        missed = (now - self._next) // every
        self._next += (missed + 1) * every
        payload: dict[str, Any] = {}
        for metric in self.config.metrics:
            try:
                payload.update(getattr(self, f"_{metric}")())
            except OSError as err:
                self.context.count(f"unreadable-{metric}")
                self.context.log("debug", f"{metric} cannot be read: {err}")
        meta = {"missed": missed} if missed else {}
        topic = f"system/{self._device}"
        self.let_in([Message(payload, topic, self.clock.now(), self._device, meta)])
        self.wait_until(self._next)

    def _cpu(self) -> dict[str, float]:
        return {"cpu": self._psutil.cpu_percent()}

    def _memory(self) -> dict[str, float]:
        return {"memory": self._psutil.virtual_memory().percent}

    def _disk(self) -> dict[str, float]:
        return {"disk": self._psutil.disk_usage(self.config.path).percent}

    def _temperature(self) -> dict[str, float]:
        read = getattr(self._psutil, "sensors_temperatures", None)  # Linux and FreeBSD only
        found = [one.current for chip in read().values() for one in chip] if read else []
        return {"temperature": max(found)} if found else {}

    def _network(self) -> dict[str, int]:
        totals = self._psutil.net_io_counters()
        if totals is None:
            return {}
        return {"network_received": totals.bytes_recv, "network_sent": totals.bytes_sent}
