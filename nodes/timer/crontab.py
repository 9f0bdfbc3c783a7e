"""The five fields of a cron expression, and the moment at which one fires next.

The fields are those of crontab(5): minute, hour, day of month, month, day of week, each a list of
numbers, names, ranges `a-b` and steps `/n`. Where both days are restricted, either one fits. Times
of day are local: one that daylight saving skips fires at the next minute that exists, one that
comes twice fires the first time only (R28).
"""

from bisect import bisect_right
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MINUTE = timedelta(minutes=1)
_FARTHEST = 8 * 366 + 1
"""Days to look ahead: 29 February is at most eight years away (1896 to 1904, 2096 to 2104)."""


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


class Schedule(NamedTuple):
    """When to fire: minutes of the day in order, days of the month, months, days of the week."""

    minutes: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    """Whether one of the two day fields starts with `*`, so that both must fit."""

    def _fits(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        in_month, in_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return in_month and in_week if self.any_day else in_month or in_week

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first time to fire later than `moment`, in UTC; None if there is none in 8 years."""
        local = moment.astimezone(zone)
        # Of two equal local times the first is meant, so look again from where the clock went back.
        now, minute = local.date(), local.hour * 60 + local.minute
        for ahead in range(_FARTHEST):
            day = now + timedelta(days=ahead)
            if not self._fits(day):
                continue
            start = bisect_right(self.minutes, minute) if ahead == 0 else 0
            for at in self.minutes[start:]:
                found = _in_utc(datetime.combine(day, datetime.min.time()), at, zone)
                if found > moment:
                    return found
        return None


def _in_utc(midnight: datetime, minute: int, zone: tzinfo) -> datetime:
    """A local minute in UTC: the first of two, the next that exists for one that was skipped."""
    local = midnight + minute * _MINUTE
    while True:
        utc = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if utc.astimezone(zone).replace(tzinfo=None) == local:
            return utc
        local += _MINUTE


def parse_cron(text: str) -> Schedule:
    """Read a cron expression; raises ValueError that names the field and what it takes."""
    parts = text.lower().split()
    if len(parts) != len(_FIELDS):
        raise ValueError(
            f'"{text[:60]}" has {len(parts)} fields; there are five: minute, hour, day of month, '
            'month, day of week, as in "30 6 * * mon-fri"'
        )
    minutes, hours, days, months, weekdays = (
        _numbers(part, field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    return Schedule(
        tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes)),
        days,
        months,
        frozenset(day % 7 for day in weekdays),
        parts[2].startswith("*") or parts[4].startswith("*"),
    )


def _numbers(text: str, field: _Field) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, field, text) if slash else 1
        if step < 1:
            raise ValueError(f'the step of "{part}" in the {field.name} field must be 1 or more')
        if span == "*":
            low, high = field.low, field.high if field.high != 7 else 6
        else:
            first, dash, last = span.partition("-")
            low = _number(first, field, text)
            high = _number(last, field, text) if dash else (field.high if slash else low)
        if not field.low <= low <= high <= field.high:
            raise ValueError(
                f'"{part}" in the {field.name} field: it takes {field.low} to {field.high}, '
                "the lower one first"
            )
        found.update(range(low, high + 1, step))
    return frozenset(found)


def _number(text: str, field: _Field, whole: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    if text.isascii() and text.isdigit() and len(text) <= 3:
        return int(text)
    takes = f"{field.low} to {field.high}"
    if field.names:
        takes += f" or {field.names[0]} to {field.names[-1]}"
    raise ValueError(f'"{text}" in "{whole[:60]}" is no {field.name}: it takes {takes}')
