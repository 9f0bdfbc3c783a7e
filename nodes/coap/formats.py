"""CoAP Content-Formats and the content types they stand for (RFC 7252 §12.3, RFC 8428 §12.3.2)."""

from typing import Any

CONTENT_TYPES = {
    0: "text/plain",
    40: "application/link-format",
    42: "application/octet-stream",
    50: "application/json",
    60: "application/cbor",
    110: "application/senml+json",
    112: "application/senml+cbor",
}
LINKS = 40

_BY_ENCODING = {"json": 50, "text": 0, "bytes": 42, "cbor": 60}


def content_type(number: int | None) -> str | None:
    """The content type of a Content-Format; None for none, and for one that is not in the table."""
    return None if number is None else CONTENT_TYPES.get(number)


def format_of(payload: Any, encode: str) -> int | None:
    """The Content-Format of a payload that was encoded by this name; null has none."""
    if encode != "auto":
        return _BY_ENCODING[encode]
    if payload is None:
        return None
    kind = type(payload)
    return 42 if kind is bytes else 0 if kind is str else 50
