"""What is asked and answered over CoAP, in plain values: no socket and no library in sight.

2.xx                  done
4.08, 4.29, 5.xx      not now: wait and ask again (R52)
every other code      no, for good: this record takes the error route
"""

from typing import NamedTuple

from flowengine.errors import RecordRefused, Unavailable

MAX_WAIT = 3600
"""Seconds that an answer's Max-Age may hold a sink back at most."""


class Asked(NamedTuple):
    """One whole request, as a device sent it; `path` starts with a slash, `format` may be None."""

    method: str
    path: str
    holes: dict[str, str]
    payload: bytes
    format: int | None
    query: tuple[str, ...]
    remote: str


class Reply(NamedTuple):
    """What a request is answered: code, a sentence for people, and two options."""

    code: str
    text: str = ""
    max_age: int | None = None
    size: int | None = None
    """Size1: the largest request that would be taken (RFC 7959 §4)."""


class Refused(Exception):  # a turn of the way, not an error
    """A request that is answered without being taken in."""

    def __init__(self, code: str, text: str, *, max_age: int | None = None, size: int = 0) -> None:
        super().__init__(text)
        self.reply = Reply(code, text, max_age, size or None)


class Answer(NamedTuple):
    """What a peer answered; `observe` is the sequence number of a notification, else None."""

    code: str
    payload: bytes = b""
    format: int | None = None
    max_age: int = 60
    """Seconds for which the answer is fresh (RFC 7252 §5.10.5: 60 if it says nothing)."""
    observe: int | None = None

    @property
    def is_good(self) -> bool:
        """Whether the peer did what it was asked."""
        return self.code.startswith("2.")

    @property
    def text(self) -> str:
        """The code, with the peer's explanation behind it (RFC 7252 §5.5.2), short."""
        said = " ".join(self.payload[:300].decode("utf-8", "replace").split())
        return f"{self.code} ({said})" if said and not self.is_good else self.code


def judge(answer: Answer, what: str) -> None:
    """Raise Unavailable or RecordRefused for an answer that is not 2.xx (R52); `what` was asked."""
    if answer.is_good:
        return
    said = f"{what} is answered {answer.text}."
    if answer.code in {"5.03", "4.29"}:  # Max-Age tells when to come again: RFC 7252 §5.9.3.4, 8516
        wait = float(min(answer.max_age, MAX_WAIT))
        raise Unavailable(said, retry_after=wait, is_unanswered=False)
    if answer.code == "4.08" or answer.code.startswith("5."):
        raise Unavailable(said, is_unanswered=False)
    raise RecordRefused(said)


def is_newer(number: int, last: int, seconds: float) -> bool:
    """Whether a notification is newer than the last one, `seconds` ago (RFC 7641 §3.4)."""
    half = 1 << 23
    return (
        (last < number and number - last < half)
        or (last > number and last - number > half)
        or seconds > 128
    )
