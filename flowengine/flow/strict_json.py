"""Strict JSON with places: what a file says, every fault in it, and where each value stands.

`read_json` takes the quick way (the standard library's C scanner) and falls back to a scanner of
its own when something is wrong or a place is asked for. Refused are a BOM, CRLF, duplicate keys,
NaN, comments, trailing commas, numbers no float holds, text no UTF-8 holds, more than 10 MB and
more than 64 levels. What can be mended in the mind is: so one reading finds the faults behind it.
"""

import json
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from flowengine.flow.json_scanner import MAX_DEPTH, MAX_FAULTS, JsonFault, Lines, Place, Scanner

__all__ = ["MAX_DEPTH", "MAX_FAULTS", "MAX_SIZE", "Document", "JsonFault", "read_json", "too_large"]

MAX_SIZE = 10_000_000  # bytes
MAX_VALUES = 2_000_000  # 40 for each of 50,000 nodes; the scanner needs about 2 us for each


class Document:
    """A JSON text, its value (UNSET when it has none) and its faults in order."""

    def __init__(self, text: str, value: Any = UNSET, faults: Sequence[JsonFault] = ()) -> None:
        self.text = text
        self.value = value
        self.faults = list(faults)
        self.root: Place | None = None
        self._lines: Lines | None = None

    @property
    def lines(self) -> Lines:
        """The lines of the text, counted when they are first asked for."""
        if self._lines is None:
            self._lines = Lines(self.text)
        return self._lines

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of a character, both from 1."""
        return self.lines.place(offset)

    def position(self, path: Sequence[str | int], *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `path`, or of its key.

        A path that leads to nothing gives the place of the last thing on the way.
        """
        if self.root is None:
            scanner = Scanner(self.text, self.lines)
            scanner.run()
            self.root = scanner.root
        here = self.root
        found = 0
        for step in path:
            inside = here.step(step)
            if inside is None:
                break
            here, found = inside, found + 1
        of_key = key and found == len(path) and here.key >= 0
        return self.place(here.key if of_key else here.value)


def read_json(source: bytes | str, *, max_size: int = MAX_SIZE) -> Document:
    """Read a JSON text; never raises for what the text holds."""
    raw = source.encode("utf-8", "surrogatepass") if isinstance(source, str) else source
    if len(raw) > max_size:
        return Document("", UNSET, [too_large(len(raw), max_size)])
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as err:
        return _not_utf8(raw, err.start)
    values = text.count(",") + text.count(":")
    if values > MAX_VALUES:
        what = f"the file holds more than {MAX_VALUES:,} values."
        return Document("", UNSET, [JsonFault("too-large", what, _SPLIT, 0, ())])
    if not text.startswith("\ufeff") and "\r" not in text and "\\ud" not in text.lower():
        value = _quick(text)
        if value is not UNSET:
            return Document(text, value)
    return _careful(text)


_SPLIT = "Split it; data that a flow looks up belongs in a file of its own."


def too_large(size: int, limit: int = MAX_SIZE) -> JsonFault:
    """The fault of a file with `size` bytes."""
    return JsonFault(
        "too-large",
        f"the file has {size:,} bytes, more than {limit:,}.",
        _SPLIT,
        0,
        (),
    )


def _not_utf8(raw: bytes, start: int) -> Document:
    text = raw[:start].decode("utf-8")
    if raw[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        what = "the file is UTF-16, not UTF-8."
    else:
        what = f"the byte 0x{raw[start]:02x} is not UTF-8."
    fault = JsonFault("bad-encoding", what, "Save the file as UTF-8 without BOM.", len(text), ())
    return Document(text, UNSET, [fault])


class _NotQuick(ValueError):
    """The quick way cannot say what is wrong."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotQuick
    return found


def _constant(_: str) -> Any:
    raise _NotQuick


_QUICK = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def _quick(text: str) -> Any:
    try:
        value = _QUICK.decode(text)
    except (ValueError, RecursionError):
        return UNSET
    return value if _is_ordinary([value], 0) else UNSET


def _is_ordinary(values: Any, depth: int) -> bool:
    """Whether nothing is too deep and no number is infinite (`1e400`)."""
    if depth > MAX_DEPTH:
        return False
    for value in values:
        kind = type(value)
        if kind is dict:
            if not _is_ordinary(value.values(), depth + 1):
                return False
        elif kind is list:
            if not _is_ordinary(value, depth + 1):
                return False
        elif kind is float and value - value != 0.0:
            return False
    return True


def _careful(text: str) -> Document:
    faults: list[JsonFault] = []
    if text.startswith("\ufeff"):
        text = text[1:]
        mend = "Save the file as UTF-8 without BOM."
        faults.append(JsonFault("bad-encoding", "the file starts with a BOM.", mend, 0, ()))
    if "\0" in text[:4] and '"' in text:
        what = "the file is UTF-16, not UTF-8."
        mend = "Save the file as UTF-8 without BOM."
        return Document(text, UNSET, [JsonFault("bad-encoding", what, mend, 0, ())])
    returns = text.count("\r")
    if returns:
        what = f"lines end in CR or CRLF ({returns:,} of them), not LF."
        mend = 'Save the file with LF line ends ("Unix"); `flowengine git-setup` keeps them so.'
        faults.append(JsonFault("bad-encoding", what, mend, text.index("\r"), ()))
    document = Document(text, UNSET, faults)
    scanner = Scanner(text, document.lines)
    document.value = scanner.run()
    document.faults += scanner.faults
    document.faults.sort(key=lambda fault: fault.offset)
    document.root = scanner.root
    return document
