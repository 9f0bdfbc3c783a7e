"""Route: send each message to the outputs whose conditions it meets."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from flowengine import Message, Node, NodeConfig, copy_tree, node
from flowengine.fields import ExpressionField, fault

HELD_BACK = ""
_SLUG = re.compile(r"[a-z][a-z0-9-]*")


def _output(name: str) -> str:
    if name == "error":
        raise fault("bad-value", '"error" is every node\'s own output.', 'Call it "faulty".')
    if not _SLUG.fullmatch(name):
        guess = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")
        raise fault(
            "bad-value",
            f'"{name}" is no name for an output: small letters, digits and "-".',
            f'Write "{guess}".' if guess else 'Write one like "warm".',
        )
    return name


Output = Annotated[str, AfterValidator(_output)]


class Rule(NodeConfig):
    """One rule: where to, and when."""

    to: Output = Field(description="Output for messages that meet the condition.")
    when: ExpressionField = Field(description="Condition, as payload.temperature > 8.")


class RouteConfig(NodeConfig):
    """Rules in order; each output has the name that rules give it."""

    rules: list[Rule] = Field(min_length=1, description="Tried in this order.")
    otherwise: Output | None = Field(
        default=None, description="Output for messages that meet no rule; left out: held back."
    )
    first_only: bool = Field(
        default=False, description="Only the first rule that holds counts, as in if/elif/else."
    )


def outputs(config: RouteConfig) -> tuple[str, ...]:
    """The distinct `to` in order, then `otherwise`."""
    names = [rule.to for rule in config.rules]
    if config.otherwise is not None:
        names.append(config.otherwise)
    return tuple(dict.fromkeys(names))


@node("route", outputs=outputs)
class Route(Node[RouteConfig]):
    """Send each message to every output with a rule that holds, once to each.

    In: any message; it is not changed.
    Out: the names in `to`, and `otherwise` for what meets no rule. Copies are independent.
    Raises: ExpressionError if a condition fails or gives neither true nor false.
    """

    def setup(self) -> None:
        """Bind the conditions."""
        params, now = self.context.params, self.context.now
        config = self.config
        self._rules = [(rule.to, rule.when.condition(params, now)) for rule in config.rules]
        self._otherwise = HELD_BACK if config.otherwise is None else config.otherwise
        self._first_only = config.first_only
        self._names = outputs(config)

    def receive(self, message: Message) -> dict[str, Message] | None:
        """Sort one message."""
        names = self._met(message)
        if not names:
            return None if self._otherwise == HELD_BACK else {self._otherwise: message}
        copies = [message, *(_copy(message) for _ in names[1:])]
        return dict(zip(names, copies, strict=True))

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Sort a batch; a single rule has a loop of its own."""
        outs: dict[str, list[Message]] = {name: [] for name in (*self._names, HELD_BACK)}
        (to, holds), otherwise = self._rules[0], outs[self._otherwise]
        single = outs[to] if len(self._rules) == 1 else None
        for message in messages:
            try:
                if single is not None:
                    (single if holds(message) else otherwise).append(message)
                    continue
                names = self._met(message)
            except Exception as err:  # noqa: BLE001  # one message fails, the others go on (R6)
                self.context.fail(message, err)
                continue
            if not names:
                otherwise.append(message)
                continue
            outs[names[0]].append(message)
            if len(names) > 1:
                self._send_copies(message, names[1:], outs)
        return outs

    def _send_copies(
        self, message: Message, names: list[str], outs: dict[str, list[Message]]
    ) -> None:
        message.receipt.take(len(names))
        for name in names:
            outs[name].append(_copy(message))

    def _met(self, message: Message) -> list[str]:
        """The outputs whose rules hold, in order, each once."""
        met: list[str] = []
        for to, holds in self._rules:
            if holds(message) and to not in met:
                met.append(to)
                if self._first_only:
                    break
        return met


def _copy(message: Message) -> Message:
    """Another message, so that a node behind one output cannot change what another gets."""
    copied = message.copy()
    copied.payload = copy_tree(message.payload)
    return copied
