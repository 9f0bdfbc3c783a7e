"""How the commands write for people: colour on a terminal alone, counts with their nouns."""

import os
from typing import TextIO

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


def has_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal that shows colour, and nobody said NO_COLOR."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def paint(text: str, colour: str, stream: TextIO) -> str:
    """`text` in a colour (red, green, yellow, bold, dim) where `stream` shows it."""
    if not text or not has_colour(stream):
        return text
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"


def count(number: int, noun: str) -> str:
    """`1 flow`, `2 flows`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
