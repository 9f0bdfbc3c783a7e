"""A batch that the far side refuses: the bad record is found by halves, all others are written.

    [ . . . . . x . . ]  refused        1
    [ . . . . ]          written        2   so the bad one is behind it
              [ . x ]    refused        3
              [ . ]      written        4   so it is the one behind it
                [ x ]    refused        5   it takes the error route
                  [ . . ]  written      6   what is left, in one piece

One bad record of n costs three tries more than log2(n) at most, wherever it lies, and the order of
the records stays. Where more than one is bad, what is left is halved again.
"""

from typing import Any, NamedTuple

from flowengine.message import Message


class Part(NamedTuple):
    """Neighbours in a batch: their messages and the records made of them."""

    messages: list[Message]
    records: list[Any]
    is_left: bool = False
    """The left half of a part with a bad record: if it is good, the right half is not."""

    def halves(self, *, has_bad: bool) -> tuple["Part", "Part"]:
        """Left and right half; `has_bad` if a record of the part is known to be bad."""
        half = len(self.messages) // 2
        left = Part(self.messages[:half], self.records[:half], has_bad)
        return left, Part(self.messages[half:], self.records[half:])


class Halves:
    """What of a batch is still to be written, in order; false when nothing is left."""

    def __init__(self, messages: list[Message], records: list[Any]) -> None:
        self._parts = [Part(messages, records)] if messages else []  # the next one is the last
        self._has_joined = False

    def __bool__(self) -> bool:
        """Whether something is left."""
        return bool(self._parts)

    def take(self) -> Part:
        """The next part to be tried; tell what became of it, or ask for the `rest`."""
        return self._parts.pop()

    def written(self, part: Part) -> None:
        """A part was written whole."""
        if part.is_left and len(self._parts[-1].messages) > 1:
            self._split(self._parts.pop(), has_bad=True)

    def refused(self, part: Part, *, has_bad: bool) -> bool:
        """A part was refused; True if it is one record, which is then in the caller's hands.

        `has_bad` says that it was for a record, not for the size of the whole.
        """
        if len(part.messages) > 1:
            self._split(part, has_bad=has_bad)
            return False
        if not self._has_joined:
            # Mostly there was one bad record. Only once: where all are bad, halves cost less.
            self._has_joined = True
            messages, records = self._rest_of(Part([], []))
            self._parts = [Part(messages, records)] if messages else []
        return True

    def rest(self, part: Part) -> list[Message]:
        """The messages of a part that was not written, and of all behind it, in order."""
        return self._rest_of(part)[0]

    def _split(self, part: Part, *, has_bad: bool) -> None:
        self._parts += reversed(part.halves(has_bad=has_bad))

    def _rest_of(self, part: Part) -> tuple[list[Message], list[Any]]:
        messages, records = list(part.messages), list(part.records)
        for behind in reversed(self._parts):
            messages += behind.messages
            records += behind.records
        return messages, records
