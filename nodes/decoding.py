"""What nodes share that turn one field's content into another: decoders and encoders.

A decoder judges what it reads: a message whose content it cannot read leaves unchanged by
`refused`, with the reason in `meta.refused` (R6). An encoder fails: the error route.
"""

from typing import Any, ClassVar, TypeVar

from flowengine import Message, Node, Result, copy_tree
from flowengine.errors import PayloadError
from flowengine.nodes.onefield import FieldConfig

SHOWN = 100  # characters or bytes of a refused content that its message quotes

_MISSING: Any = object()


C = TypeVar("C", bound=FieldConfig)


class Decoding(Node[C]):
    """A decoder: subclasses give `read`, which raises PayloadError for what it refuses.

    `reasons` maps the slugs of those errors to the reasons of `meta.refused` that differ from them.
    """

    reasons: ClassVar[dict[str, str]] = {}

    def read(self, content: Any) -> Any:
        """What `content` stands for; what needs no reading is returned as it is."""
        raise NotImplementedError

    def results(self, message: Message, content: Any, value: Any) -> Message | list[Message]:
        """What leaves by `out` for a value that was read; by default the message with it."""
        if value is not content:
            self.config.field.set(message, value)
        return message

    def receive(self, message: Message) -> Result:
        """Read one message."""
        name, result = self.answer(message)
        return {name: result}

    def answer(self, message: Message) -> tuple[str, Message | list[Message]]:
        """The output for one message, and what leaves by it."""
        content = self.config.field.get_or(message, _MISSING)
        if content is _MISSING:
            missing = PayloadError(f"{self.config.field} is absent.", slug="missing")
            return "refused", self.refuse(message, None, missing)
        try:
            return "out", self.results(message, content, self.read(content))
        except PayloadError as err:
            return "refused", self.refuse(message, content, err)

    def refuse(self, message: Message, content: Any, err: PayloadError) -> Message:
        """The message with `meta.refused`: `limit` says in words what was broken."""
        return message.with_meta(
            refused={
                "node": self.context.node,
                "reason": self.reasons.get(err.slug, err.slug),
                "value": shortened(content),
                "limit": err.what,
            }
        )


class QuickDecoding(Decoding[C]):
    """A decoder that makes one message of one: a payload that is the content has its own loop."""

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Read a batch."""
        out: list[Message] = []
        refused: list[Message] = []
        outs = {"out": out, "refused": refused}
        read = self.read
        whole = self.config.field.root == "payload" and not self.config.field.parts
        for message in messages:
            try:
                if whole:
                    message.payload = read(message.payload)
                    out.append(message)
                else:
                    name, result = self.answer(message)
                    outs[name] += result if isinstance(result, list) else [result]
            except PayloadError as err:
                refused.append(self.refuse(message, message.payload, err))
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                self.context.fail(message, err)
        return outs


class Encoding(Node[C]):
    """An encoder: subclasses give `write`, which raises PayloadError for what it cannot carry."""

    def write(self, value: Any) -> Any:
        """The content that stands for `value`."""
        raise NotImplementedError

    def receive(self, message: Message) -> Message:
        """Write one message."""
        path = self.config.field
        path.set(message, self.write(path.get(message)))
        return message


def one_each(message: Message, path: Any, values: list[Any], node: str) -> list[Message]:
    """One message for each value, which stands at `path`; none shares a payload with another."""
    whole = path.root == "payload" and not path.parts
    messages = []
    for index, value in enumerate(values):
        one = message.copy()
        one.id = f"{message.id}/{node}/{index}" if message.id else ""
        if not whole:
            one.payload = copy_tree(message.payload)
        path.set(one, value)
        messages.append(one)
    return messages


def shortened(content: Any) -> Any:
    """A refused content as `meta` can carry it: a scalar as it is, all else as short text."""
    if isinstance(content, bytes):
        content = content[: SHOWN + 1].decode("utf-8", "backslashreplace")
    elif isinstance(content, list | dict):
        content = f"a {type(content).__name__} of {len(content)}"
    if isinstance(content, str) and len(content) > SHOWN:
        return content[:SHOWN] + "…"
    return content


def quoted(content: Any) -> str:
    """A content inside an error message."""
    return repr(shortened(content))
