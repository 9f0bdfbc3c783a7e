"""The ways to an actuator: how "on" and "off" become something that a device understands.

A way makes a record of a message and a state, and sends records; it neither waits nor repeats. Its
fields stand in the config of the actuator beside those of the other ways. A new way (a pin, a
Modbus coil) is a class here, its name in `WAYS` and its fields in the config.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

from flowengine import Context, Message
from flowengine.errors import NodeError, RecordRefused, Unavailable
from flowengine.nodes.mqtt_topics import topic_fault

_TEXT = 0
"""Content-Format of text/plain (RFC 7252 §12.3)."""
_LATER = frozenset({"4.08", "4.29"})


class Way(Protocol):
    """One way to an actuator."""

    needs: ClassVar[tuple[str, ...]]
    """Config fields that must be given."""
    fields: ClassVar[tuple[str, ...]]
    """Config fields that belong to this way alone."""
    connection: ClassVar[str]
    """The config field that names the connection."""

    def record(self, message: Message, content: str) -> Any:
        """What is sent for a message; raises NodeError."""

    async def send(self, records: Sequence[Any]) -> None:
        """Send in order; returns once all are committed. Raises Unavailable, RecordRefused."""


class MqttWay:
    """A message on a topic; committed when the broker has it (PUBACK, R57)."""

    needs: ClassVar[tuple[str, ...]] = ("broker", "topic")
    fields: ClassVar[tuple[str, ...]] = ("broker", "topic", "qos", "retain")
    connection: ClassVar[str] = "broker"

    def __init__(self, config: Any, context: Context) -> None:
        self._topic = config.topic.bind(context.params, context.now)
        self._broker: Any = context.connection(config.broker)
        self._qos = config.qos
        self._retain = config.retain

    def record(self, message: Message, content: str) -> Any:
        """(topic, payload, qos, retain, properties)."""
        topic = self._topic(message)
        wrong = topic_fault(topic)
        if wrong:
            raise NodeError(f"nothing can be published to {wrong}.", slug="bad-topic")
        return topic, content.encode(), self._qos, self._retain, None

    async def send(self, records: Sequence[Any]) -> None:
        """Publish."""
        await self._broker.publish(records)


class CoapWay:
    """A confirmable PUT of text; committed when the device answered 2.xx."""

    needs: ClassVar[tuple[str, ...]] = ("peer", "path")
    fields: ClassVar[tuple[str, ...]] = ("peer", "path")
    connection: ClassVar[str] = "peer"

    def __init__(self, config: Any, context: Context) -> None:
        self._path = config.path.bind(context.params, context.now)
        self._peer: Any = context.connection(config.peer)

    def record(self, message: Message, content: str) -> Any:
        """(path, payload)."""
        path = self._path(message)
        if not path.startswith("/"):
            raise NodeError(f'the path "{path}" does not start with a slash.', slug="bad-uri")
        return path, content.encode()

    async def send(self, records: Sequence[Any]) -> None:
        """Ask one after the other, as they may be for one device."""
        refused: dict[int, str] = {}
        for index, (path, payload) in enumerate(records):
            answer = await self._peer.request("PUT", path, payload, content_format=_TEXT)
            if not answer.is_good:
                said = f"PUT {path} is answered {answer.text}."
                if answer.code in _LATER or answer.code.startswith("5."):
                    raise Unavailable(said, is_unanswered=index > 0)  # those before were taken
                refused[index] = said
        if refused:
            raise RecordRefused(next(iter(refused.values())), refused=refused)


WAYS: dict[str, type[MqttWay] | type[CoapWay]] = {"mqtt": MqttWay, "coap": CoapWay}
