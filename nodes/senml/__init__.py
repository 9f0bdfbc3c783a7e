"""SenML: packs of sensor readings become messages, and messages a pack (RFC 8428)."""

from typing import Any, Literal

from pydantic import Field

from flowengine import Message, Node, node
from flowengine.errors import NodeError, PayloadError, describe_value
from flowengine.nodes.decoding import Decoding
from flowengine.nodes.onefield import FieldConfig
from flowengine.nodes.senml import records as senml

Record = senml.Record


@node("senml.decode", outputs=("out", "refused"), optional=("refused",))
class SenmlDecode(Decoding[FieldConfig]):
    """Make one message of each record of a pack, in the order of time.

    In: text or bytes (JSON or CBOR, told apart by the first byte) at `field`, or a decoded pack.
    Out `out`: payload `{"name", "unit", "value"}`, with a sum `{"name", "unit", "sum"}`; unit null
    if none is given. time is the record's, a relative one counted from the message's; key the base
    name, else the name up to its last `/` or `:`; `meta.update_time` in seconds, if there is one.
    Out `refused`: the message unchanged with `meta.refused`; the reason is `not-senml`, `not-json`,
    `not-cbor`, `not-utf8` or `missing`, and never a part of the pack is used.
    """

    reasons = {  # noqa: RUF012  # a constant table
        "duplicate-key": "not-senml",
        "too-deep": "not-senml",
        "too-large": "not-senml",
    }

    def read(self, content: Any) -> Any:
        """The pack as it stands."""
        return senml.read(content)

    def results(self, message: Message, content: Any, value: Any) -> Message | list[Message]:
        """One message a record."""
        records = senml.resolve(value, message.time)
        return [self._message(message, index, record) for index, record in enumerate(records)]

    def _message(self, message: Message, index: int, record: Record) -> Message:
        payload: dict[str, Any] = {"name": record.name, "unit": record.unit}
        if record.value is not None:
            payload["value"] = record.value
        if record.sum is not None:
            payload["sum"] = record.sum
        made = message.with_payload(payload)
        made.time = record.time
        made.key = record.base or senml.device_of(record.name)
        made.id = f"{message.id}/{self.context.node}/{index}" if message.id else ""
        if record.update is not None:
            made.meta = {**message.meta, "update_time": record.update}
        return made


class SenmlEncodeConfig(FieldConfig):
    """How the pack is written."""

    format: Literal["json", "cbor"] = Field(
        default="json", description="json gives text, cbor bytes (about half the size)."
    )


@node("senml.encode")
class SenmlEncode(Node[SenmlEncodeConfig]):
    """Put the readings of a batch into one pack.

    In: at `field` what senml.decode gives; or a number, text, true or false, which takes the
    message's key as its name; or a map of them, each named `key/name`.
    Out: one message a batch with the pack as payload and `meta.content_type`; key, topic and the
    rest of meta are the first reading's, time is the newest's.
    Raises: NodeError for a reading without a usable name, time or value; the others are packed.
    """

    def receive(self, message: Message) -> Message:
        """A pack of one message."""
        return self._packed([message], self._records(message))

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """A pack of all messages; it answers for them."""
        records: list[Record] = []
        packed: list[Message] = []
        for message in messages:
            try:
                found = self._records(message)
                senml.pack(found)  # so that one that cannot be packed spoils no other
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                self.context.fail(message, err)
                continue
            records += found
            packed.append(message)
        if not packed:
            return {}
        made = self._packed(packed, records)
        for message in packed:
            self.context.keep(message, "")
        return {"out": [self.context.give(made, "")], "": packed}

    def _packed(self, messages: list[Message], records: list[Record]) -> Message:
        form = self.config.format
        made = messages[0].with_payload(senml.write(senml.pack(records), form))
        made.time = max(message.time for message in messages)
        made.meta = {**made.meta, "content_type": f"application/senml+{form}"}
        return made

    def _records(self, message: Message) -> list[Record]:
        value = self.config.field.get(message)
        if isinstance(value, dict):
            name = value.get("name")
            if isinstance(name, str) and ("value" in value or "sum" in value):
                return [_as_decoded(value, name, message)]
            if not value:
                raise NodeError("the map is empty: there is nothing to pack.", slug="bad-value")
            return [_named(f"{message.key}/{part}", one, message) for part, one in value.items()]
        return [_named(message.key, value, message)]


def _named(name: str, value: Any, message: Message) -> Record:
    if value is None:
        raise NodeError(f"{name[:60]} is null: there is nothing to pack.", slug="bad-value")
    return Record(name=name, time=message.time, value=value)


def _as_decoded(value: dict[str, Any], name: str, message: Message) -> Record:
    unit, total = value.get("unit"), value.get("sum")
    if unit is not None and not isinstance(unit, str):
        raise PayloadError(f"unit is {describe_value(unit)}, not text.", slug="not-text")
    if total is not None and type(total) not in {int, float}:
        raise PayloadError(f"sum is {describe_value(total)}, not a number.", slug="not-a-number")
    if total is None and value.get("value") is None:
        raise NodeError(f"{name[:60]} is null: there is nothing to pack.", slug="bad-value")
    return Record(
        name=name,
        unit=unit,
        time=message.time,
        value=value.get("value"),
        sum=total,
        update=message.meta.get("update_time"),
    )
