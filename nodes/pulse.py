"""Sources that are driven by one timer: what timers and sensors have in common."""

from typing import Any, TypeVar

from pydantic import Field

from flowengine import Message, NodeConfig, Source
from flowengine.errors import NodeError
from flowengine.fields import ExpressionField
from flowengine.nodes.keyed import shortest


class PulseConfig(NodeConfig):
    """What every such source takes beside its own fields (R10)."""

    key: ExpressionField | None = Field(
        default=None,
        description="Device or series of a message; the node's or device's id if left out.",
    )


C = TypeVar("C", bound=PulseConfig)


class Pulse(Source[C]):
    """Waits for one moment after another; while the flow is full, moments go by.

    A subclass calls `wait_until` in `open` and gives `fire`, which runs at that moment or a little
    before or after it, and at once when the flow has room again.
    """

    def setup(self) -> None:
        """Bind the key."""
        key = self.config.key
        self._key = key.bind(self.context.params, self.context.now) if key else None
        self._timer: Any = None
        self._is_open = False
        self._is_paused = False

    def fire(self) -> None:
        """Let in what is due, and wait for the next moment."""
        raise NotImplementedError(f"{type(self).__name__} has no fire")

    def wait_until(self, when: int) -> None:
        """Call `fire` at monotonic `when`, unless the flow is full."""
        self._is_open = True
        self._cancel()
        if not self._is_paused:
            self._timer = self.clock.call_at(when, self.fire)

    def let_in(self, messages: list[Message]) -> None:
        """Hand over messages, with the key that the config gives them; one it cannot give is "".

        Their time is that of now, by the wall clock; if it is not set, they are marked.
        """
        trust = self.clock.trust
        trust.look()
        if not trust.is_synced:
            trust.mark(messages)
        if self._key is not None:
            for message in messages:
                message.key = self._key_of(message)
        if messages:
            self.emit(messages)

    def _key_of(self, message: Message) -> str:
        assert self._key is not None  # noqa: S101  # only called where there is one
        try:
            key = self._key(message)
        except NodeError:
            key = None
        if isinstance(key, str) and key:
            return key
        if isinstance(key, int | float) and not isinstance(key, bool):
            return shortest(key)
        self.context.count("no-key")
        return ""

    async def close(self) -> None:
        """Stop."""
        self._is_open = False
        self._cancel()

    def pause(self) -> None:
        """The flow is full."""
        self._is_paused = True
        self._cancel()

    def resume_reading(self) -> None:
        """The flow has room: look at once what went by."""
        self._is_paused = False
        if self._is_open:
            self.wait_until(self.clock.monotonic())

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
