"""Compute: set parts of a message to the values of expressions, and delete parts."""

import math
from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, ValidatorFunctionWrapHandler, field_validator, model_validator

from flowengine import Message, Node, NodeConfig, node
from flowengine.errors import NodeError
from flowengine.fields import ExpressionField, PathField, fault
from flowengine.nodes.onefield import LARGEST, is_top, without

MAX_DEPTH = 64
_SCALARS = frozenset({int, str, bool, type(None)})


class ComputeConfig(NodeConfig):
    """What is set, and what is deleted afterwards."""

    set: dict[PathField, ExpressionField] = Field(
        default_factory=dict,
        description="Path to expression; all of them read the message as it came in.",
    )
    delete: list[PathField] = Field(
        default_factory=list, description="Paths taken away afterwards; absent ones are no matter."
    )

    @field_validator("set", mode="wrap")
    @classmethod
    def _each_path_once(cls, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        done = handler(value)
        if len(done) != len(value):
            raise fault("bad-path", "two of the paths are the same place.", "Keep one of them.")
        return done

    @model_validator(mode="after")
    def _paths_apart(self) -> Self:
        paths = [*self.set, *self.delete]
        if not paths:
            raise ValueError('there is nothing to do: give "set", "delete" or both')
        for at, path in enumerate(paths):
            for other in paths[at + 1 :]:
                if path.contains(other) or other.contains(path):
                    raise fault(
                        "bad-path",
                        f"{path} and {other} overlap: one would undo the other.",
                        "Use a second compute, or drop one of them.",
                    )
        if any(path.root == "time" for path in self.delete):
            raise fault("bad-path", "time cannot be deleted.", 'Set it instead: {"time": "now"}.')
        return self


def writes(config: ComputeConfig) -> Literal["top", "anything"]:
    """The payload's top level if every path is a key of it."""
    paths = [*config.set, *config.delete]
    return "top" if all(is_top(path) and path.parts for path in paths) else "anything"


@node("compute", writes=writes)
class Compute(Node[ComputeConfig]):
    """Set parts of a message to the values of expressions, then delete parts.

    In: any message. `time` takes seconds since 1970 or RFC 3339 text, `topic` and `key` text.
    Out: the message, changed. Every expression reads it as it came in; missing parents are made.
    Raises: NodeError when one expression fails, gives NaN or does not fit; nothing is written then.
    """

    def setup(self) -> None:
        """Bind the expressions."""
        params, now = self.context.params, self.context.now
        self._sets: list[tuple[Any, Callable[[Message], Any]]] = [
            (path, expression.bind(params, now)) for path, expression in self.config.set.items()
        ]
        self._deletes = sorted(self.config.delete, key=_last_index_first)
        paths = [*self.config.set, *self.config.delete]
        self._flat = bool(self._sets) and all(is_top(path) and path.parts for path in paths)
        self._names = [path.parts[0] for path in self.config.set if path.parts]
        self._gone = [path.parts[0] for path in self._deletes if path.parts]

    def receive(self, message: Message) -> Message:
        """Change one message, or raise and leave it as it was."""
        values = []
        for path, evaluate in self._sets:
            value = _writable(evaluate(message), path.text, 1)
            path.check(message, value)
            values.append(value)
        for (path, _), value in zip(self._sets, values, strict=True):
            path.set(message, value)
        for path in self._deletes:
            path.delete(message)
        return message

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Change a batch; keys of the payload have loops of their own."""
        failed: list[Message] = []
        if not self._flat:
            for message in messages:
                self._careful(message, failed)
        elif len(self._names) == 1 and not self._gone:
            self._set_one(messages, failed)
        else:
            self._set_many(messages, failed)
        return {"out": without(messages, failed)}

    def _set_one(self, messages: list[Message], failed: list[Message]) -> None:
        name, evaluate, least, most = self._names[0], self._sets[0][1], -LARGEST, LARGEST
        for message in messages:
            try:
                value = evaluate(message)
                kind = type(value)
                if least <= value <= most if kind is float else kind in _SCALARS:
                    message.payload[name] = value
                    continue
            except Exception:  # noqa: BLE001, S110  # said by `receive`
                pass
            self._careful(message, failed)

    def _set_many(self, messages: list[Message], failed: list[Message]) -> None:
        gone, least, most = self._gone, -LARGEST, LARGEST
        evaluates = [(path.parts[0], evaluate) for path, evaluate in self._sets]
        for message in messages:
            try:
                payload = message.payload
                made: dict[str, Any] = {}
                for name, evaluate in evaluates:
                    value = evaluate(message)
                    kind = type(value)
                    if not (least <= value <= most if kind is float else kind in _SCALARS):
                        break
                    made[name] = value
                else:
                    payload.update(made)
                    for name in gone:
                        payload.pop(name, None)
                    continue
            except Exception:  # noqa: BLE001, S110  # said by `receive`
                pass
            self._careful(message, failed)

    def _careful(self, message: Message, failed: list[Message]) -> None:
        try:
            self.receive(message)
        except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
            self.context.fail(message, err)
            failed.append(message)


def _last_index_first(path: Any) -> tuple[bool, int]:
    """Deletes in lists go from the end, so that none moves what another one names."""
    last = path.parts[-1] if path.parts else ""
    if not isinstance(last, int):
        return False, 0
    # negative ones count from the end: -2 before -1; the others: 3 before 1
    return True, last if last < 0 else -last


def _writable(value: Any, path: str, level: int) -> Any:
    """The value, lists and maps copied (they can be parts of the message); NodeError for NaN."""
    kind = type(value)
    if kind is float:
        if math.isfinite(value):
            return value
        raise NodeError(f"the value for {path} is {value}.", slug="not-a-number", path=path)
    if kind is dict or kind is list:
        if level > MAX_DEPTH:
            raise NodeError(
                f"the value for {path} is nested deeper than {MAX_DEPTH} levels.",
                slug="too-deep",
                path=path,
            )
        if kind is dict:
            return {name: _writable(part, path, level + 1) for name, part in value.items()}
        return [_writable(part, path, level + 1) for part in value]
    return value
