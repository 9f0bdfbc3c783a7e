"""CSV: text in rows and columns becomes maps, and maps become text (RFC 4180)."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from flowengine import Message, node
from flowengine.errors import PayloadError
from flowengine.fields import fault
from flowengine.nodes.csv.rows import read_rows, write_rows
from flowengine.nodes.decoding import Decoding, Encoding, one_each
from flowengine.nodes.onefield import FieldConfig, writes


def _separator(text: str) -> str:
    if len(text) != 1 or text in '"\r\n\0' or ord(text) > 0xFFFF:
        raise fault(
            "bad-value", f'"{text}" is no separator.', 'Give one character: ",", ";", "\\t".'
        )
    return text


def _names(columns: list[str]) -> list[str]:
    if len(set(columns)) != len(columns):
        raise fault("bad-value", "a column stands twice.", "Give each column its own name.")
    return columns


Columns = Annotated[list[str], AfterValidator(_names)]
Separator = Annotated[str, AfterValidator(_separator)]


class CsvDecodeConfig(FieldConfig):
    """How the rows are read."""

    columns: Columns | None = Field(
        default=None, min_length=1, description="Names of the columns; left out: the first row."
    )
    separator: Separator = Field(default=",", description="One character between two cells.")
    each: bool = Field(default=False, description="One message a row, in place of a list of maps.")


@node("csv.decode", outputs=("out", "refused"), optional=("refused",), writes=writes)
class CsvDecode(Decoding[CsvDecodeConfig]):
    """Read text in rows and columns.

    In: text, or bytes in UTF-8, at `field`; a list or map is decoded already and passes unchanged.
    Out `out`: a list of maps at the same place, numbers where they are; with `each` one message a
    row, the map in place of the text, and none for a table without rows.
    Out `refused`: the message unchanged with `meta.refused`; the reason is `not-csv`, `not-utf8`,
    `too-large` or `missing`.
    """

    def read(self, content: Any) -> Any:
        """The rows of a text."""
        if isinstance(content, bytes):
            try:
                content = content.decode()
            except UnicodeDecodeError as err:
                raise PayloadError(
                    f"it is not UTF-8 at byte {err.start}.", slug="not-utf8"
                ) from err
        if not isinstance(content, str):
            return content
        return read_rows(content, self.config.separator, self.config.columns)

    def results(self, message: Message, content: Any, value: Any) -> Message | list[Message]:
        """The message with all rows, or one message a row."""
        if not self.config.each or value is content:
            return super().results(message, content, value)
        return one_each(message, self.config.field, value, self.context.node)


class CsvEncodeConfig(FieldConfig):
    """How the rows are written."""

    columns: Columns | None = Field(
        default=None, min_length=1, description="Columns and their order; left out: all keys."
    )
    separator: Separator = Field(default=",", description="One character between two cells.")
    header: bool = Field(default=True, description="Whether the names of the columns come first.")


@node("csv.encode", writes=writes)
class CsvEncode(Encoding[CsvEncodeConfig]):
    """Write maps as text in rows and columns.

    In: a map (one row), a list of maps or a list of lists at `field`.
    Out: text at the same place; null and absent cells are empty, lists and maps in a cell are JSON.
    Raises: PayloadError `not-csv` for what has no rows, `not-a-number` for NaN and infinity.
    """

    def write(self, value: Any) -> str:
        """CSV text for rows."""
        config = self.config
        return write_rows(value, config.separator, config.columns, config.header)
