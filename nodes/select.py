"""Select: keep named parts of the payload, or drop them."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from flowengine import Message, Node, NodeConfig, node
from flowengine.errors import PayloadError, describe_value
from flowengine.fields import PathField, fault
from flowengine.nodes.onefield import without

Tree = dict[str | int, Any]
"""Paths put together: part -> what is named below it; an empty one is the end of a path."""

_NOTHING: Any = object()


class SelectConfig(NodeConfig):
    """What stays, or what goes; topic, key, time and meta stay in any case."""

    keep: list[PathField] | None = Field(
        default=None, min_length=1, description="Paths under payload that stay, and nothing else."
    )
    drop: list[PathField] | None = Field(
        default=None, min_length=1, description="Paths under payload that go; all else stays."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.keep is None) == (self.drop is None):
            raise ValueError('give either "keep" or "drop", with the paths')
        for path in self.keep or self.drop or []:
            if path.root != "payload" or not path.parts:
                raise fault(
                    "bad-path",
                    f"{path} is no part of the payload.",
                    'Paths start with "payload.", as payload.temperature.',
                )
        return self


def writes(config: SelectConfig) -> Literal["top", "anything"]:
    """A kept payload is a new one; deeper parts are dropped where they stand."""
    is_flat = all(len(path.parts) == 1 for path in config.drop or [])
    return "top" if is_flat else "anything"


@node("select", writes=writes)
class Select(Node[SelectConfig]):
    """Keep named parts of the payload, or drop them.

    In: a map or list; for `drop` anything, which passes unchanged if it has no such part.
    Out: the message; absent paths are skipped, a list keeps its items in their order.
    Raises: PayloadError `bad-payload` if `keep` meets a payload that has no parts.
    """

    def setup(self) -> None:
        """Put the paths together."""
        self._tree: Tree = {}
        paths = self.config.keep or self.config.drop or []
        for path in paths:
            below = self._tree
            for part in path.parts:
                below = below.setdefault(part, {})
        for path in paths:  # a path that ends here takes all below, whatever else names it
            holder = self._tree
            for part in path.parts[:-1]:
                holder = holder.get(part, {})
            if path.parts[-1] in holder:
                holder[path.parts[-1]].clear()
        flat = all(len(path.parts) == 1 and isinstance(path.parts[0], str) for path in paths)
        self._names = [path.parts[0] for path in paths] if flat else None

    def receive(self, message: Message) -> Message:
        """Keep or drop in one message."""
        payload = message.payload
        if self.config.drop is not None:
            _drop(payload, self._tree)
            return message
        if type(payload) is not dict and type(payload) is not list:
            raise PayloadError(
                f"payload is {describe_value(payload)}, which has no parts to keep.",
                mend="Decode it first.",
                path="payload",
            )
        message.payload = _kept(payload, self._tree)
        return message

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Keep or drop in a batch; names of a flat map have loops of their own."""
        names, is_keep = self._names, self.config.keep is not None
        failed: list[Message] = []
        for message in messages:
            payload = message.payload
            if names is not None and type(payload) is dict:
                if is_keep:
                    message.payload = {name: payload[name] for name in names if name in payload}
                else:
                    for name in names:
                        payload.pop(name, None)
                continue
            try:
                self.receive(message)
            except PayloadError as err:
                self.context.fail(message, err)
                failed.append(message)
        return {"out": without(messages, failed)}


def _kept(value: Any, tree: Tree) -> Any:
    """The parts of `value` that `tree` names; `_NOTHING` for a scalar above them."""
    if not tree:
        return value
    if type(value) is dict:
        found = {name: _kept(value[name], below) for name, below in tree.items() if name in value}
        return {name: part for name, part in found.items() if part is not _NOTHING}
    if type(value) is list:
        items = [_kept(value[at], tree[wanted]) for at, wanted in _items(value, tree)]
        return [item for item in items if item is not _NOTHING]
    return _NOTHING


def _drop(value: Any, tree: Tree) -> None:
    if type(value) is dict:
        for name, below in tree.items():
            if name in value:
                if below:
                    _drop(value[name], below)
                else:
                    del value[name]
    elif type(value) is list:
        # from the end, so that none moves what another one names
        for at, wanted in reversed(_items(value, tree)):
            if tree[wanted]:
                _drop(value[at], tree[wanted])
            else:
                del value[at]


def _items(value: list[Any], tree: Tree) -> list[tuple[int, int]]:
    """Position from the front, and the index that names it, in order and each once."""
    size = len(value)
    found: dict[int, int] = {}
    for index in tree:
        if isinstance(index, int) and -size <= index < size:
            found.setdefault(index % size, index)
    return sorted(found.items())
