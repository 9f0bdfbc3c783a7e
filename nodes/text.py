"""Text: bytes become text and text becomes bytes, in any encoding that Python knows."""

import codecs
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from flowengine import node
from flowengine.errors import PayloadError
from flowengine.fields import fault
from flowengine.nodes.decoding import Encoding, QuickDecoding, quoted
from flowengine.nodes.onefield import FieldConfig, writes

MAX_BYTES = 16 * 1024 * 1024


_NO_CHARACTERS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape", "utf-7"}
"""Python's notations that are no device's character set, some of them slow on purpose-made text."""


def _encoding(name: str) -> str:
    try:
        found = codecs.lookup(name).name
        if found not in _NO_CHARACTERS:
            "".encode(found)  # refuses what makes no bytes of text: zip, base64, rot13
            return found
    except (LookupError, ValueError):
        pass
    raise fault("bad-value", f'there is no text encoding "{name}".', 'Most devices send "utf-8".')


class TextConfig(FieldConfig):
    """How the text is written in bytes."""

    encoding: Annotated[str, AfterValidator(_encoding)] = Field(
        default="utf-8", description="As utf-8, latin-1, cp1252, utf-16-le or shift_jis."
    )


@node("text.decode", outputs=("out", "refused"), optional=("refused",), writes=writes)
class TextDecode(QuickDecoding[TextConfig]):
    """Read bytes as text.

    In: bytes at `field`; what is no bytes is decoded already and passes unchanged.
    Out `out`: text at the same place.
    Out `refused`: the message unchanged with `meta.refused`; the reason is `not-utf8`, for another
    encoding `bad-encoding`, above 16 MiB `too-large`, or `missing`.
    """

    def read(self, content: Any) -> Any:
        """The text of bytes."""
        if type(content) is not bytes:
            return content
        if len(content) > MAX_BYTES:
            raise PayloadError(f"it has {len(content):,} bytes, above 16 MiB.", slug="too-large")
        encoding = self.config.encoding
        try:
            return content.decode(encoding)
        except UnicodeError as err:
            slug = "not-utf8" if encoding == "utf-8" else "bad-encoding"
            where = f" at byte {err.start}" if isinstance(err, UnicodeDecodeError) else ""
            raise PayloadError(f"it is not {encoding}{where}.", slug=slug) from err


@node("text.encode", writes=writes)
class TextEncode(Encoding[TextConfig]):
    """Write text as bytes.

    In: text at `field`; bytes pass unchanged.
    Out: bytes at the same place.
    Raises: PayloadError `not-text`, or `bad-encoding` for a character that the encoding lacks.
    """

    def write(self, value: Any) -> bytes:
        """The bytes of a text."""
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise PayloadError(
                f"{quoted(value)} is not text.", slug="not-text", mend="Put a template before it."
            )
        try:
            return value.encode(self.config.encoding)
        except UnicodeError as err:
            raise PayloadError(
                f"{quoted(value)} does not fit into {self.config.encoding}.", slug="bad-encoding"
            ) from err
