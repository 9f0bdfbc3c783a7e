"""Debug: show the messages that come, in the log and in the editor."""

from collections import deque
from typing import Any, Literal

import msgspec
from pydantic import Field

from flowengine import Message, NodeConfig, Sink, message_to_json, node, plain, rfc3339
from flowengine.fields import PathField

_A_SECOND = 1_000_000_000
_LINES = 10
_SHOWN = 100


class DebugConfig(NodeConfig):
    """What is shown, and where."""

    to: list[Literal["log", "panel"]] = Field(
        default=["log", "panel"], description="The log, the editor's panel, or both."
    )
    field: PathField | None = Field(
        default=None, description="Show only this; the whole message if left out."
    )


@node("debug")
class Debug(Sink[DebugConfig]):
    """Show messages as JSON, one object a line.

    In: anything. The object is the whole message with `flow` and `node` before it, or with `field`
    `{"flow", "node", "time", "key", "value"}` (an absent field shows as null). The log gets at most
    10 a second and then how many more there were; the panel has the last 100.
    """

    batch_size = 256
    batch_age = 0
    spools = False

    def setup(self) -> None:
        """Begin with nothing shown."""
        self.recent: deque[dict[str, Any]] = deque(maxlen=_SHOWN)
        self._to_log = "log" in self.config.to
        self._to_panel = "panel" in self.config.to
        self._second = -_A_SECOND
        self._lines = 0
        self._more = 0
        self._timer: Any = None

    def prepare(self, message: Message) -> Message:
        """The message itself: it is made into JSON only if it is shown."""
        return message

    async def write(self, records: list[Message]) -> None:
        """Show a batch: in the log what the second allows, in the panel the last 100."""
        lines = self._allowed(len(records)) if self._to_log else 0
        first = max(0, len(records) - _SHOWN) if self._to_panel else len(records)
        for index, message in enumerate(records):
            if index >= lines and index < first:
                continue
            shown = self._shown(message)
            if index < lines:
                self.context.log("info", _json(shown))
            if index >= first:
                self.recent.append(shown)

    async def close(self) -> None:
        """Say what was not shown."""
        self._sum_up()

    def _shown(self, message: Message) -> dict[str, Any]:
        named = {"flow": self.context.flow, "node": self.context.node}
        if self.config.field is None:
            return {**named, **message_to_json(message)}
        value = self.config.field.get_or(message, None)
        told = {"time": rfc3339(message.time), "key": message.key, "value": plain(value)}
        return {**named, **told}

    def _allowed(self, number: int) -> int:
        """How many of so many messages may still be logged in this second."""
        now = self.clock.monotonic()
        if now - self._second >= _A_SECOND:
            self._sum_up()
            self._second, self._lines = now, 0
        lines = min(number, _LINES - self._lines)
        self._lines += lines
        self._more += number - lines
        if self._more and self._timer is None:
            self._timer = self.clock.call_at(self._second + _A_SECOND, self._sum_up)
        return lines

    def _sum_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._more:
            more, self._more = self._more, 0
            self.context.count("not-logged", more)
            self.context.log("info", f"{more} more messages in this second", more=more)


def _json(shown: dict[str, Any]) -> str:
    return msgspec.json.encode(shown).decode()
