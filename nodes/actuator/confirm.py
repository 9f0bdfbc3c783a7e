"""What devices tell of their state after they were asked for one, by MQTT."""

from collections.abc import Callable, Sequence
from typing import Any

from flowengine import Context, Message, decode
from flowengine.errors import NodeError
from flowengine.nodes.actuator.rules import as_state
from flowengine.nodes.mqtt_topics import filter_pattern


class Confirmations:
    """Listens on the broker connection as a source does; `told(key, on)` is called for each word.

    A message that the broker had kept is no answer: it was sent before the device was asked.
    """

    is_full = False

    def __init__(self, config: Any, context: Context, told: Callable[[str, bool], None]) -> None:
        self.config = config
        self.context = context
        confirm = config.confirm
        self.topic: Callable[[Message], str] = confirm.topic.bind(context.params, context.now)
        levels = confirm.topic.shape("+").split("/")
        self.topics = ["/".join("+" if "+" in level else level for level in levels)]
        self._pattern = filter_pattern(self.topics[0])
        self._value = confirm.value.bind(context.params, context.now)
        self._told = told
        self._keys: dict[str, set[str]] = {}
        self._broker: Any = context.connection(config.broker)

    def open(self) -> None:
        """Subscribe."""
        self._broker.join(self)

    def close(self) -> None:
        """Unsubscribe."""
        self._broker.leave(self)

    def expect(self, key: str, message: Message) -> None:
        """The switch `key` was asked by `message`: its word will come on that message's topic."""
        self._keys.setdefault(self.topic(message), set()).add(key)

    def take(self, incoming: Sequence[Any], settled: Callable[[], None] | None) -> None:
        """What one read of the broker gave."""
        for packet in incoming:
            if not packet.retain:
                self._hear(packet.topic, packet.payload)
        if settled is not None:
            settled()

    def feed(self, topic: str, payload: bytes) -> bool:
        """A flow test published this."""
        if self._pattern.fullmatch(topic) is None:
            return False
        self._hear(topic, payload)
        return True

    def _hear(self, topic: str, payload: bytes) -> None:
        keys = self._keys.get(topic)
        if not keys:
            return
        try:
            on = self._state(topic, payload)
        except NodeError as err:
            self.context.count("unreadable-confirmation")
            self.context.log("debug", f"{topic}: {err}")
            return
        for key in sorted(keys):
            self._told(key, on)

    def _state(self, topic: str, payload: bytes) -> bool:
        """The state that an answer tells: in the words of the command, or as a value (R1)."""
        for word, on in ((self.config.on, True), (self.config.off, False)):
            if payload == word.encode():
                return on
        return as_state(self._value(Message(decode(payload), topic)))
