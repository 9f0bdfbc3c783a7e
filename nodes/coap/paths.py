"""Paths with holes, `/telemetry/{device}`, and which of several answers a request."""

import re
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar
from urllib.parse import quote

_HOLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SEGMENT_BYTES = 255  # RFC 7252 §5.10: Uri-Path

T = TypeVar("T")


class PathPattern:
    """A path whose segments are words or holes.

    Attributes:
        text: as it was written.
        holes: the names of the holes, in order.
        rank: sorts words before holes, so that the narrower of two paths comes first.
    """

    def __init__(self, text: str) -> None:
        """Read a path; ValueError says what is wrong with it."""
        if not text.startswith("/"):
            raise ValueError(f'"{text}" does not start with a slash: write "/{text}"')
        self.text = text
        self._words: list[str | None] = []
        self.holes: list[str] = []
        for segment in text[1:].split("/"):
            hole = _HOLE.fullmatch(segment)
            if hole is not None:
                if hole[1] in self.holes:
                    raise ValueError(f'"{text}" has two holes named "{hole[1]}"')
                self.holes.append(hole[1])
            elif "{" in segment or "}" in segment:
                raise ValueError(
                    f'a hole is a whole segment with a name, as "/{{device}}"; "{segment}" is none'
                )
            elif not segment and text != "/":
                raise ValueError(f'"{text}" has an empty segment')
            elif len(segment.encode("utf-8", "replace")) > _SEGMENT_BYTES:
                raise ValueError(f"a segment has at most {_SEGMENT_BYTES} bytes")
            self._words.append(None if hole else segment)
        if text == "/":
            self._words = []
        if text == "/.well-known/core":
            raise ValueError("/.well-known/core lists what there is, and is always there")
        self.rank = tuple(word is None for word in self._words)

    def __eq__(self, other: object) -> bool:
        """Whether it was written the same."""
        return isinstance(other, PathPattern) and self.text == other.text

    def __hash__(self) -> int:
        """By its text."""
        return hash(self.text)

    def match(self, path: Sequence[str]) -> dict[str, str] | None:
        """What fills the holes for a path's segments, None where it does not fit.

        A hole is never empty and holds no slash, so that no device can pass for another.
        """
        if len(path) != len(self._words):
            return None
        filled = []
        for word, segment in zip(self._words, path, strict=True):
            if word is None:
                if not segment or "/" in segment or "\0" in segment:
                    return None
                filled.append(segment)
            elif word != segment:
                return None
        return dict(zip(self.holes, filled, strict=True))


def path_text(path: Sequence[str]) -> str:
    """Segments as one text with a leading slash."""
    return "/" + "/".join(path)


def path_segments(text: str) -> tuple[str, ...]:
    """The segments of a text that `path_text` made."""
    inner = text.removeprefix("/")
    return tuple(inner.split("/")) if inner else ()


def path_link(text: str) -> str:
    """A path as a link names it: percent-encoded (RFC 6690 §2)."""
    return quote(text, safe="/!$&'()*+,;=:@-._~")


class Directory(Generic[T]):
    """Who answers which path; the narrowest path is asked first."""

    def __init__(self) -> None:
        self._entries: list[tuple[PathPattern, T]] = []

    def add(self, pattern: PathPattern, who: T) -> None:
        """Take in one more."""
        self._entries.append((pattern, who))
        self._entries.sort(key=lambda entry: entry[0].rank)

    def remove(self, who: T) -> None:
        """Forget it."""
        self._entries = [entry for entry in self._entries if entry[1] is not who]

    def find(self, path: Sequence[str]) -> list[tuple[T, dict[str, str]]]:
        """All whose path fits, with what fills its holes."""
        found = []
        for pattern, who in self._entries:
            holes = pattern.match(path)
            if holes is not None:
                found.append((who, holes))
        return found

    def __iter__(self) -> Iterator[tuple[PathPattern, T]]:
        """Paths and who answers them, the narrowest first."""
        return iter(self._entries)
