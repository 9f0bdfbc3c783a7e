"""A scanner of JSON texts that notes where each value stands and goes on behind most faults."""

import json
import re
from bisect import bisect_right
from json.decoder import scanstring  # type: ignore[attr-defined]  # what its decoder is made of
from typing import Any, NamedTuple

from msgspec import UNSET

MAX_DEPTH = 64  # the top object is level 1
MAX_FAULTS = 100  # a file of nothing but commas need not be told a million times

Path = tuple[str | int, ...]


class JsonFault(NamedTuple):
    """One fault of a JSON text; `offset` counts characters from 0, `path` leads to the value."""

    slug: str
    what: str
    mend: str
    offset: int
    path: Path


class Lines:
    """The lines of a text."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


class Place:
    """Offsets of a value and its key (-1: none), and the places of what is in it."""

    __slots__ = ("below", "key", "value")

    def __init__(self, key: int, value: int) -> None:
        self.key = key
        self.value = value
        self.below: dict[str, Place] | list[Place | int] | None = None

    def step(self, step: str | int) -> "Place | None":
        """The place of one of the things in it."""
        if isinstance(self.below, dict):
            return self.below.get(step) if isinstance(step, str) else None
        if not isinstance(self.below, list) or not isinstance(step, int):
            return None
        if not 0 <= step < len(self.below):
            return None
        inside = self.below[step]
        return Place(-1, inside) if isinstance(inside, int) else inside


_NOWHERE = Place(-1, -1)


class _Stop(Exception):  # control flow, not an error that anyone sees
    """Nothing after this place can be understood."""


_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORD = re.compile(r"[+-]?[A-Za-z_$][A-Za-z0-9_$]*")
_COMMENT = re.compile(r"//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_CONSTANTS = {"true": True, "false": False, "null": None}
_SPELLINGS = {
    "true": "true",
    "yes": "true",
    "on": "true",
    "false": "false",
    "no": "false",
    "off": "false",
    "none": "null",
    "null": "null",
    "undefined": "null",
}
_NOT_FINITE = {"nan", "infinity", "inf"}


class Scanner:
    """Reads a text value by value, noting places; its faults are in order of the text."""

    def __init__(self, text: str, lines: Lines) -> None:
        self.text = text
        self.lines = lines
        self.faults: list[JsonFault] = []
        self.root = Place(-1, 0)
        self._path: list[str | int] = []
        self._open: list[int] = []

    def run(self) -> Any:
        """The value, UNSET if the text breaks off or goes astray."""
        try:
            at = self._skip(0)
            self.root.value = min(at, max(0, len(self.text) - 1))
            if at == len(self.text):
                mend = 'A flow is at least {"format": 1, "nodes": {}}.'
                self._stop("the file is empty.", mend, 0)
            value, at = self._value(at, self.root)
            at = self._skip(at)
            if at < len(self.text):
                self._stop(
                    f"{self._here(at)} stands after the end of the JSON value.",
                    "Remove it; a file holds one value.",
                    at,
                )
        except _Stop:
            return UNSET
        return value

    def _fault(self, slug: str, what: str, mend: str, offset: int) -> None:
        if len(self.faults) >= MAX_FAULTS:
            raise _Stop
        self.faults.append(JsonFault(slug, what, mend, offset, tuple(self._path)))

    def _stop(self, what: str, mend: str, offset: int, slug: str = "not-json") -> None:
        self._fault(slug, what, mend, offset)
        raise _Stop

    def _here(self, at: int) -> str:
        char = self.text[at : at + 1]
        return json.dumps(char) if char == '"' or not char.isprintable() else f'"{char}"'

    def _skip(self, at: int) -> int:
        at = _SPACE.match(self.text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        while self.text[at : at + 1] in {"/", "#"}:
            comment = _COMMENT.match(self.text, at)
            if comment is None:
                return at
            mend = 'Write it as "doc", or under a key that begins with "x-".'
            self._fault("not-json", "JSON has no comments.", mend, at)
            at = _SPACE.match(self.text, comment.end()).end()  # type: ignore[union-attr]
        return at

    def _value(self, at: int, place: Place) -> tuple[Any, int]:
        char = self.text[at : at + 1]
        if char == '"':
            return self._string(at)
        if char in {"{", "["}:
            self._open.append(at)
            if len(self._open) > MAX_DEPTH:
                self._stop(
                    f"more than {MAX_DEPTH} levels inside each other.",
                    "Make it flatter; no flow needs this.",
                    at,
                    "too-deep",
                )
            inside = self._object(at, place) if char == "{" else self._list(at, place)
            self._open.pop()
            return inside
        number = _NUMBER.match(self.text, at)
        if number is not None:
            return self._number(number)
        return self._word(at)

    def _object(self, at: int, place: Place) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        below: dict[str, Place] = {}
        place.below = below
        at = self._skip(at + 1)
        while self.text[at : at + 1] != "}":
            key_at = at
            if self.text[at : at + 1] != '"':
                self._no_key(at)
            key, at = self._string(at)
            self._path.append(key)
            if key in found:
                line = self.lines.place(below[key].key)[0]
                what = f'"{key}" stands here a second time; the first is in line {line}.'
                self._fault("duplicate-key", what, "Rename or remove one of them.", key_at)
            at = self._skip(at)
            if self.text[at : at + 1] != ":":
                self._stop(f'a ":" is missing after "{key}".', "Write it before the value.", at)
            at = self._skip(at + 1)
            here = below[key] = Place(key_at, at)
            found[key], at = self._value(at, here)
            self._path.pop()
            at = self._comma(at, "}", '"')
        return found, at + 1

    def _list(self, at: int, place: Place) -> tuple[list[Any], int]:
        found: list[Any] = []
        below: list[Place | int] = []  # the offset alone where nothing is inside: much lighter
        place.below = below
        at = self._skip(at + 1)
        while self.text[at : at + 1] != "]":
            self._path.append(len(found))
            if self.text[at : at + 1] in {"{", "["}:
                here = Place(-1, at)
                below.append(here)
            else:
                below.append(at)
                here = _NOWHERE
            value, at = self._value(at, here)
            found.append(value)
            self._path.pop()
            at = self._comma(at, "]", '"{[-0123456789tfn')
        return found, at + 1

    def _comma(self, end: int, close: str, starts: str) -> int:
        """Go from the end of one item to the start of the next, or to the closing bracket."""
        at = self._skip(end)
        char = self.text[at : at + 1]
        if char == ",":
            after = self._skip(at + 1)
            if self.text[after : after + 1] == close:
                self._fault("not-json", f'a comma stands before "{close}".', "Remove it.", at)
            return after
        if char == close:
            return at
        if not char:
            self._unclosed(at)
        if char in starts:
            self._fault("not-json", "a comma is missing here.", 'Write "," between the two.', end)
            return at
        self._stop(
            f'{self._here(at)} stands where "," or "{close}" belongs.', "Look at this line.", at
        )
        return at

    def _no_key(self, at: int) -> None:
        char = self.text[at : at + 1]
        if not char:
            self._unclosed(at)
        word = _WORD.match(self.text, at)
        if char == "'":
            self._stop("a key stands in single quotes.", 'Put it in double quotes: "key".', at)
        elif word is not None:
            what = f"the key {word[0][:60]} has no quotes."
            self._stop(what, f'Write "{word[0][:60]}".', at)
        else:
            self._stop(f"{self._here(at)} stands where a key belongs.", "Look at this line.", at)

    def _unclosed(self, at: int) -> None:
        opened = self._open[-1]
        line = self.lines.place(opened)[0]
        what = f'the file ends while the "{self.text[opened]}" of line {line} is open.'
        self._stop(what, "Close it, or bring back the end of the file.", max(0, at - 1))

    def _string(self, at: int) -> tuple[str, int]:
        try:
            value, end = scanstring(self.text, at + 1, True)
        except json.JSONDecodeError as err:
            if "control" in err.msg:
                char = self.text[err.pos : err.pos + 1]
                what = "a text goes over the end of its line."
                mend = 'Close it with ", or write a list of lines.'
                if char not in {"\n", "\r"}:
                    what = f"a text holds the control character {json.dumps(char)}."
                    mend = "Write it as an escape, as \\t or \\u0007."
                self._stop(what, mend, err.pos)
            elif "escape" in err.msg:
                mend = "Write \\\\ for a backslash."
                self._stop("a backslash is followed by no known letter.", mend, err.pos)
            self._stop("a text is not closed.", 'Close it with ".', at)
            raise  # never reached: _stop raises
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            what = "a \\ud... escape stands without its other half."
            self._fault("bad-encoding", what, "Write the character itself in UTF-8.", at)
            value = value.encode("utf-8", "replace").decode()
        return value, end

    def _number(self, number: re.Match[str]) -> tuple[Any, int]:
        end = number.end()
        written = number[0]
        rest = self.text[end : end + 1]
        if rest.isdecimal() or rest in {".", "x", "X", "_", "e", "E"}:
            what = f"{written}{rest}... is no JSON number."
            self._stop(what, "Write it in decimal, without leading zeros, as 7 or 0.5.", end)
        value: float
        try:
            value = int(written) if number.lastindex is None else float(written)
        except ValueError:  # Python reads integers of 4,300 digits at most
            value = float("inf")
        if value in {float("inf"), float("-inf")}:
            what = f"{written[:20]}... is larger than any number that can be held."
            self._fault("bad-value", what, "Write a smaller number.", number.start())
            value = 0
        return value, end

    def _word(self, at: int) -> tuple[Any, int]:
        char = self.text[at : at + 1]
        if not char:
            self._unclosed(at) if self._open else self._stop("a value is missing.", "", at)
        word = _WORD.match(self.text, at)
        name = word[0] if word else ""
        if word is not None and name in _CONSTANTS:
            return _CONSTANTS[name], word.end()
        if word is not None and name.lstrip("+-").lower() in _NOT_FINITE:
            what = f"{name} is no JSON number."
            self._fault("not-json", what, "Write a number, null, or leave the key out.", at)
            return None, word.end()
        if word is not None and name.lower() in _SPELLINGS:
            spelt = _SPELLINGS[name.lower()]
            self._fault("not-json", f"{name} is no JSON value.", f"Write {spelt}.", at)
            return _CONSTANTS[spelt], word.end()
        if char == "'":
            self._stop("a text stands in single quotes.", 'Put it in double quotes: "text".', at)
        if word is not None:
            self._stop(f"{name[:60]} has no quotes.", f'Write "{name[:60]}".', at)
        if char in {".", "+"}:
            mend = "Write it in decimal, as 7 or 0.5."
            self._stop(f'a number does not begin with "{char}".', mend, at)
        self._stop(f"{self._here(at)} stands where a value belongs.", "Look at this line.", at)
        return None, at
