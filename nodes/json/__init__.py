"""JSON: text that holds JSON becomes a value, and a value becomes text (RFC 8259)."""

from collections.abc import Callable
from typing import Any, ClassVar

from pydantic import Field, field_validator

from flowengine import encode, node, parse_json
from flowengine.nodes.decoding import Encoding, QuickDecoding
from flowengine.nodes.onefield import FieldConfig, writes


class JsonDecodeConfig(FieldConfig):
    """What is read, and what the value must look like."""

    schema_: dict[str, Any] | None = Field(
        default=None,
        alias="schema",
        description="JSON Schema (draft 2020-12) that the value must fit; needs the extra schema.",
    )

    @field_validator("schema_")
    @classmethod
    def _schema_holds(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None:
            _checker(schema)
        return schema


def _checker(schema: dict[str, Any]) -> Callable[[Any], None]:
    from flowengine.nodes.json.schema import checker  # noqa: PLC0415  # 60 ms, and an extra

    return checker(schema)


@node("json.decode", outputs=("out", "refused"), optional=("refused",), writes=writes)
class JsonDecode(QuickDecoding[JsonDecodeConfig]):
    """Read text or bytes that hold JSON.

    In: text or bytes at `field`; a number, list or map is decoded already and passes unchanged.
    Out `out`: the value at the same place.
    Out `refused`: the message unchanged with `meta.refused`; the reason is `not-json` (also for a
    key that stands twice, NaN, more than 64 levels, 64 bits or 16 MiB), `not-utf8`, `schema` or
    `missing`.
    """

    reasons: ClassVar[dict[str, str]] = {
        "duplicate-key": "not-json",
        "too-deep": "not-json",
        "too-large": "not-json",
    }

    def setup(self) -> None:
        """Make the schema's check."""
        schema = self.config.schema_
        self._check = None if schema is None else _checker(schema)

    def read(self, content: Any) -> Any:
        """The value of a JSON text."""
        kind = type(content)
        value = parse_json(content, unique=True) if kind is bytes or kind is str else content
        if self._check is not None:
            self._check(value)
        return value


@node("json.encode", writes=writes)
class JsonEncode(Encoding[FieldConfig]):
    """Write a value as compact JSON text, keys in order.

    In: anything at `field`; bytes inside it become base64 text.
    Out: text at the same place.
    Raises: PayloadError `not-a-number` for NaN and infinity, `not-json` for what JSON cannot hold.
    """

    def write(self, value: Any) -> str:
        """JSON text for a value."""
        return encode(value, "json").decode()
