"""CBOR: bytes that hold CBOR become a value, and a value becomes bytes (RFC 8949)."""

from typing import Any

from flowengine import decode, encode, node
from flowengine.errors import PayloadError
from flowengine.nodes.decoding import Encoding, QuickDecoding, quoted
from flowengine.nodes.onefield import FieldConfig, writes


@node("cbor.decode", outputs=("out", "refused"), optional=("refused",), writes=writes)
class CborDecode(QuickDecoding[FieldConfig]):
    """Read bytes that hold one CBOR item.

    In: bytes at `field`; a number, list or map is decoded already and passes unchanged.
    Out `out`: the value at the same place; integer keys are text, tags give their plain value.
    Out `refused`: the message unchanged with `meta.refused`; the reason is `not-cbor`,
    `duplicate-key`, `not-a-number` (NaN, infinity), `too-deep`, `too-large` or `missing`.
    """

    def read(self, content: Any) -> Any:
        """The value of a CBOR item."""
        if type(content) is bytes:
            return decode(content, "cbor")
        if type(content) is str:
            raise PayloadError(f"{quoted(content)} is text, not CBOR.", slug="not-cbor")
        return content


@node("cbor.encode", writes=writes)
class CborEncode(Encoding[FieldConfig]):
    """Write a value as one CBOR item.

    In: anything at `field`.
    Out: bytes at the same place.
    Raises: PayloadError `not-a-number` for NaN and infinity, `too-deep` for more than 64 levels.
    """

    def write(self, value: Any) -> bytes:
        """A CBOR item for a value."""
        return encode(value, "cbor")
