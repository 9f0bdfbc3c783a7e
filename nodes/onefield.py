"""What nodes share that change one field of a message: its config, and a loop over numbers."""

import sys
from typing import Any, Literal, TypeVar

from pydantic import Field

from flowengine import Message, Node, NodeConfig, finite_number
from flowengine.errors import PayloadError
from flowengine.fields import PathField

LARGEST = sys.float_info.max


class FieldConfig(NodeConfig):
    """The field that is read; the result stands at the same place."""

    field: PathField = Field(default="payload", description="Where it stands.")


def is_top(path: Any) -> bool:
    """Whether a path is the payload or a key of it: then a change leaves all below alone."""
    return path.root == "payload" and len(path.parts) <= 1


def writes(config: FieldConfig) -> Literal["top", "anything"]:
    """How much of the payload a node changes that writes its `field`."""
    return "top" if is_top(config.field) else "anything"


def without(messages: list[Message], failed: list[Message]) -> list[Message]:
    """The messages of a batch that did not fail, in order."""
    if not failed:
        return messages
    gone = {id(message) for message in failed}
    return [message for message in messages if id(message) not in gone]


C = TypeVar("C", bound=FieldConfig)


class NumberChange(Node[C]):
    """Changes the number at one field: subclasses give `change`, and `line` where it is a line.

    `line` is (factor, addend, divisor, least, most): in a batch, `(x × factor + addend) / divisor`
    stands for `change` wherever it lies between `least` and `most`.
    """

    line: tuple[float, float, float, float, float] | None = None

    def setup(self) -> None:
        """Bind the field."""
        path = self.config.field
        self._get = path.getter()
        self._name: Any = path.parts[0] if is_top(path) and path.parts else None
        self._quick = self.line is not None and is_top(path)

    def change(self, value: float) -> float:
        """The number that replaces a finite `value`."""
        raise NotImplementedError

    def receive(self, message: Message) -> Message:
        """Change one message; PayloadError for what is no finite number, before or after."""
        path = self.config.field
        value = finite_number(self._get(message), path.text)
        try:
            changed = self.change(value)
            is_finite = -LARGEST <= changed <= LARGEST
        except (OverflowError, ValueError) as err:
            raise PayloadError(
                f"{path.text} is {value}, which has no result: {err}.",
                slug="not-a-number",
                path=path.text,
            ) from err
        if not is_finite:
            raise PayloadError(
                f"{path.text} is {value}, and the result is too large for a number.",
                slug="not-a-number",
                path=path.text,
            )
        path.set(message, changed)
        return message

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Change a batch; `receive` again only where a number is not plainly changed."""
        failed: list[Message] = []
        if self._quick and self.line is not None:
            factor, addend, divisor, least, most = self.line
            name = self._name
            for message in messages:
                try:
                    value = message.payload if name is None else message.payload[name]
                    kind = type(value)
                    if kind is float or kind is int:
                        value = (value * factor + addend) / divisor
                        if least <= value <= most:
                            if name is None:
                                message.payload = value
                            else:
                                message.payload[name] = value
                            continue
                except (KeyError, TypeError, IndexError, OverflowError):
                    pass  # said by `receive`
                self._careful(message, failed)
        else:
            for message in messages:
                self._careful(message, failed)
        return {"out": without(messages, failed)}

    def _careful(self, message: Message, failed: list[Message]) -> None:
        try:
            self.receive(message)
        except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
            self.context.fail(message, err)
            failed.append(message)
