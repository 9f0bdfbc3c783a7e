"""A live table of devices: what came last, how much comes, what is wrong.

    taps on the flows' outlets --> Board (numbers) --> Screen (a terminal, or lines of a log)

Taps are there only while somebody looks, so a flow that is not shown pays nothing. On a terminal
the table is drawn again in place; elsewhere it is one line every few seconds.
"""

import asyncio
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TextIO

import msgspec

from flowengine.cli_text import paint
from flowengine.message import Message

__all__ = ["Board", "Row", "Screen"]

RATE_OVER = 5.0
REDRAW = 0.5
LINE_EVERY = 5.0
SHOWN_ROWS = 20
MOST_ROWS = 1000
"""Devices beyond these are not told apart: anyone may publish under any name."""
_COLUMNS = ("device", "last", "unit", "msg/s", "alarm")


class Row(msgspec.Struct, kw_only=True):
    """One device. Times are seconds of the monotonic clock; `since` is None without an alarm."""

    device: str
    unit: str
    value: float | str | None = None
    count: int = 0
    since: float | None = None
    alarm: str = ""
    switch: str = ""
    seen: deque[tuple[float, int]] = msgspec.field(default_factory=deque)

    def rate(self, now: float) -> float:
        """Messages a second over the last seconds."""
        self.seen.append((now, self.count))
        while now - self.seen[0][0] > RATE_OVER and len(self.seen) > 2:
            self.seen.popleft()
        first, before = self.seen[0]
        return (self.count - before) / (now - first) if now > first else 0.0


class Board:
    """What the table shows: a row for each device, in order of first appearance, and notes below.

    Attributes:
        first: seconds from the start to the first value, None before it.
        notes: lines below the table by name; the newest text of each is shown.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.started = clock()
        self.first: float | None = None
        self.rows: dict[str, Row] = {}
        self.notes: dict[str, str] = {}

    @property
    def messages(self) -> int:
        """Readings of all devices so far."""
        return sum(row.count for row in self.rows.values())

    def row(self, device: str, unit: str = "") -> Row:
        """The row of a device, made new if there is none."""
        found = self.rows.get(device)
        if found is None:
            if len(self.rows) >= MOST_ROWS:
                return Row(device=device, unit=unit)
            found = self.rows[device] = Row(device=_printable(device), unit=unit)
            found.seen.append((self.clock(), 0))
        return found

    # -- taps: what is given a batch of messages

    def values(self, field: str, unit: str) -> Callable[[list[Message]], None]:
        """Show `field` of the payload as the value of each message's device."""

        def tap(messages: list[Message]) -> None:
            if self.first is None:
                self.first = self.clock() - self.started
            for message in messages:
                row = self.row(message.key, unit)
                row.count += 1
                payload = message.payload
                row.value = payload.get(field) if type(payload) is dict else None

        return tap

    def alarms(self, words: str, *, raised: bool) -> Callable[[list[Message]], None]:
        """Show that an alarm of each message's device has begun, or is over."""

        def tap(messages: list[Message]) -> None:
            for message in messages:
                row = self.row(message.key)
                row.since = self.clock() if raised else None
                row.alarm = words if raised else ""

        return tap

    def switches(self, name: str) -> Callable[[list[Message]], None]:
        """Show the state of the switch of each message's device."""

        def tap(messages: list[Message]) -> None:
            for message in messages:
                on = message.meta.get("state") == "on"
                self.row(message.key).switch = f"{name} on" if on else ""

        return tap

    def note(self, name: str, text: str) -> None:
        """Show a line below the table."""
        self.notes[name] = text

    # -- what is drawn

    def lines(self, width: int, paint_as: Callable[[str, str], str]) -> list[str]:
        """The table, no line longer than `width`; `paint_as(text, colour)` colours a part."""
        now = self.clock()
        shown = list(self.rows.values())[:SHOWN_ROWS]
        cells = [self._cells(row, now) for row in shown]
        sizes = [max(map(len, column)) for column in zip(_COLUMNS, *cells, strict=True)]
        lines = [paint_as(_aligned(_COLUMNS, sizes)[:width], "dim")]
        for row, found in zip(shown, cells, strict=True):
            line = _aligned(found, sizes)[:width]
            lines.append(paint_as(line, "red") if row.since is not None else line)
        if len(self.rows) > SHOWN_ROWS:
            lines.append(f"  and {len(self.rows) - SHOWN_ROWS} more devices"[:width])
        lines += ["", *(f"  {text}"[:width] for text in self.notes.values())]
        return lines

    def _cells(self, row: Row, now: float) -> tuple[str, ...]:
        return (
            row.device,
            _number(row.value),
            row.unit,
            f"{row.rate(now):.1f}",
            self._alarm(row, now),
        )

    def _alarm(self, row: Row, now: float) -> str:
        words = []
        if row.since is not None:
            words.append(f"{row.alarm} for {now - row.since:.0f} s")
        if row.switch:
            words.append(row.switch)
        return ", ".join(words)

    def line(self) -> str:
        """Everything in one line, for a log."""
        now = self.clock()
        parts = []
        for row in self.rows.values():
            alarm = self._alarm(row, now)
            value = f"{row.device} {_number(row.value)} {row.unit} {row.rate(now):.1f}/s"
            parts.append(value + (f" ALARM: {alarm}" if row.since is not None else ""))
        return f"{now - self.started:5.0f} s  " + " | ".join([*parts, *self.notes.values()])


def _number(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else _printable(str(value))


def _printable(text: str) -> str:
    """Text from outside as a terminal may show it: no control characters, not long."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:24])


def _aligned(cells: Iterable[str], sizes: list[int]) -> str:
    """Cells under each other: the number and the rate to the right, the rest to the left."""
    parts = [
        cell.rjust(size) if index in {1, 3} else cell.ljust(size)
        for index, (cell, size) in enumerate(zip(cells, sizes, strict=True))
    ]
    return ("  " + "  ".join(parts)).rstrip()


class Screen:
    """Where a board is drawn."""

    def __init__(self, board: Board, stream: TextIO) -> None:
        self.board = board
        self.stream = stream
        self.is_live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = 0

    async def show(self) -> None:
        """Draw again and again until cancelled; the last picture stays."""
        pause = REDRAW if self.is_live else LINE_EVERY
        try:
            while True:
                await asyncio.sleep(pause)
                self.draw()
        finally:
            self.draw()

    def draw(self) -> None:
        """Draw once: in place of the last picture on a terminal, else one line more."""
        if not self.is_live:
            self.stream.write(self.board.line() + "\n")
            self.stream.flush()
            return
        size = shutil.get_terminal_size()
        lines = self.board.lines(size.columns - 1, lambda text, as_: paint(text, as_, self.stream))
        lines = lines[: max(1, size.lines - 2)]
        back, self._drawn = self._back(), len(lines)
        self.stream.write(back + "\n".join(lines) + "\n")
        self.stream.flush()

    def say(self, text: str) -> None:
        """Write lines that stay, above the table that is drawn next."""
        back, self._drawn = self._back(), 0
        self.stream.write(back + text + "\n")
        self.stream.flush()

    def _back(self) -> str:
        """Move to the start of the last picture and clear it (ECMA-48: CUU, ED)."""
        return f"\x1b[{self._drawn}A\x1b[J" if self._drawn else ""
