"""Timers: let a message in at an interval, or at times of the day."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

from flowengine import Message, copy_tree, node
from flowengine.fields import fault
from flowengine.nodes.pulse import Pulse, PulseConfig
from flowengine.nodes.spans import Span
from flowengine.nodes.timer.crontab import Schedule, parse_cron

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOOK = 30_000_000_000
"""How often the wall clock is looked at, for it may be set while a cron timer waits."""
_NEW_TIME = timedelta(hours=3)
_MOST_MISSED = 1000


class _TimerConfig(PulseConfig):
    """What the timers have in common."""

    payload: Any = Field(default=None, description="What the message holds.")


C = TypeVar("C", bound=_TimerConfig)


class _Timer(Pulse[C]):
    runs_in_tests = True

    def tell(self, missed: int) -> None:
        """Let one message in."""
        meta = {"missed": missed} if missed else {}
        payload = copy_tree(self.config.payload)
        self.let_in([Message(payload, "", self.clock.now(), self.context.node, meta)])


class TickConfig(_TimerConfig):
    """How often."""

    every: Span = Field(description="From one message to the next.")
    at_start: bool = Field(default=True, description="Whether one leaves at once.")


@node("timer.tick")
class Tick(_Timer[TickConfig]):
    """Let a message in at an interval.

    Out: `payload`, key = the node's id, time = now. The interval runs on the monotonic clock from
    the start of the node. What was missed while the flow was full or the box asleep is one message,
    with `meta.missed` = how many more there would have been.
    """

    async def open(self) -> None:
        """Begin."""
        now = self.clock.monotonic()
        self._due = now if self.config.at_start else now + self.config.every
        self.wait_until(self._due)

    def fire(self) -> None:
        """Tell that the moment has come, and how many went by unseen."""
        every, late = self.config.every, self.clock.monotonic() - self._due
        if late >= 0:
            self._due += (late // every + 1) * every
            self.tell(late // every)
        self.wait_until(self._due)


def _zone(name: str) -> "ZoneInfo":
    """The time zone; zone data is read when a flow needs it (R35)."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise fault(
            "bad-value",
            f'there is no time zone "{name[:60]}" here.',
            'Names are of the IANA database, as "Europe/Berlin" or "UTC".',
        ) from err


def _zone_name(name: str) -> str:
    _zone(name)
    return name


def _cron(text: str) -> str:
    schedule = parse_cron(text)
    if schedule.after(_EPOCH, UTC) is None:
        raise ValueError(f'"{text}" never fires: there is no such day')
    return text


class CronConfig(_TimerConfig):
    """Which times, and where."""

    expression: Annotated[str, AfterValidator(_cron)] = Field(
        description='Minute, hour, day of month, month, day of week: "30 6 * * mon-fri".',
        json_schema_extra={"format": "cron"},
    )
    timezone: Annotated[str, AfterValidator(_zone_name)] = Field(
        default="UTC", description="IANA name of the time zone of these times."
    )


@node("timer.cron")
class Cron(_Timer[CronConfig]):
    """Let a message in at times of the day, of the week or of the year.

    Out: `payload`, key = the node's id, time = now. A time that daylight saving skips fires at the
    next minute there is, one that comes twice fires once. Times that went by while the flow was
    full or the box asleep are one message, with `meta.missed` = how many more there were. A wall
    clock that is set back by less than three hours makes nothing fire twice; one that is set by
    more, as that of a box that has booted in 1970, shows a new time with nothing to make up for.
    """

    def setup(self) -> None:
        """Read the expression."""
        super().setup()
        self._schedule: Schedule = parse_cron(self.config.expression)

    async def open(self) -> None:
        """Begin with the next time."""
        self._zone = _zone(self.config.timezone)
        self._last = self._now()
        self._next = self._schedule.after(self._last, self._zone)
        self._wait()

    def _now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.clock.now() // 1000)

    def _wait(self) -> None:
        """Wait for the next time, but never long: only the wall clock says when it is reached."""
        left = _LOOK
        if self._next is not None:
            # up to the microsecond that `_now` cuts off
            to_next = (self._next - _EPOCH) // timedelta(microseconds=1) * 1000 - self.clock.now()
            left = max(0, min(_LOOK, to_next))
        self.wait_until(self.clock.monotonic() + left)

    def fire(self) -> None:
        """Look at the wall clock; tell if one or more times were reached."""
        self.clock.trust.look()  # a clock that was set is a new time, and no sleep
        now, last = self._now(), self._last
        self._last = now
        if now < last - _NEW_TIME:
            # cron(8): a larger correction is a new time, with nothing to make up for
            self._next = self._schedule.after(now, self._zone)
        if self._next is None or now < self._next:
            self._wait()
            return
        missed = -1
        while self._next is not None and self._next <= now:
            missed += 1
            if missed == _MOST_MISSED:
                self._next = self._schedule.after(now, self._zone)
                break
            self._next = self._schedule.after(self._next, self._zone)
        self.tell(missed)
        self._wait()

    def clock_set(self, jump: int) -> None:
        """By more than three hours: the next time is one after now."""
        if self._is_open and abs(jump) > _NEW_TIME // timedelta(microseconds=1) * 1000:
            self._last = self._now()
            self._next = self._schedule.after(self._last, self._zone)
            self._wait()
