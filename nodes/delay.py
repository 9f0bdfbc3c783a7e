"""Delay: pass every message a fixed time after it came."""

import msgspec
from pydantic import Field

from flowengine import KeyedConfig, Message, Node, NodeState, node
from flowengine.errors import NodeError
from flowengine.nodes.keyed import Steady, bare, key_of
from flowengine.nodes.spans import Span


class DelayConfig(KeyedConfig):
    """How long messages wait."""

    for_: Span = Field(alias="for", description="How long every message waits.")
    capacity: int = Field(
        default=100_000,
        ge=1,
        description="Messages that wait at most, over all keys; more take the error route.",
    )


@node("delay", scope="keyed", boundary=True)
class Delay(Node[DelayConfig]):
    """Pass every message `for` later, in order.

    In: anything. Out: the message unchanged.
    State, per key: the messages that wait; they keep their acknowledgement open and survive a
    restart. The time runs on the monotonic clock, not on event time.
    Raises: NodeError `full` when `capacity` messages wait already.
    """

    class State(NodeState):
        """The messages that wait, oldest first, and when each is due (steady time).

        `first` is the number of the oldest, as its receipt is kept by number.
        """

        waiting: list[Message] = msgspec.field(default_factory=list)
        due: list[int] = msgspec.field(default_factory=list)
        first: int = 0
        key: str = ""

    def setup(self) -> None:
        """Bind the key."""
        self._key_of = key_of(self.config, self.context)
        self._steady = Steady(self.context)
        self._for = self.config.for_
        self._number = 0

    def receive(self, message: Message, state: State) -> None:
        """Lay the message by."""
        if self._number >= self.config.capacity:
            raise NodeError(
                f"{self._number} messages wait here already",
                slug="full",
                mend='Raise "capacity", or look for a loop that makes messages.',
            )
        self._number += 1
        if not state.waiting:
            state.key = self._key_of(message)
        self.context.keep(message, _held(state.key, state.first + len(state.waiting)))
        state.waiting.append(bare(message))
        state.due.append(self._steady.now() + self._for)
        if len(state.waiting) == 1:
            self._set_timer(state.key, state)

    def wake(self, key: str, state: State) -> list[Message] | None:
        """Pass what is due."""
        now, due = self._steady.now(), state.due
        number = 0
        while number < len(due) and due[number] <= now:
            number += 1
        leaving = [
            self.context.give(message, _held(key, state.first + index))
            for index, message in enumerate(state.waiting[:number])
        ]
        del state.waiting[:number], due[:number]
        state.first += number
        self._number -= number
        if due:
            self._set_timer(key, state)
        return leaving or None

    def resume(self, key: str, state: State) -> None:
        """Set the timer of what waits; nothing waits longer than the whole time once more."""
        self._number += len(state.waiting)
        if state.waiting:
            latest = self._steady.now() + self._for
            state.due = [min(moment, latest) for moment in state.due]
            self._set_timer(key, state)

    def _set_timer(self, key: str, state: State) -> None:
        self.context.wake_at(key, self._steady.monotonic(state.due[0]))


def _held(key: str, number: int) -> str:
    """Under which name the engine keeps the receipt of one message that waits."""
    return f"{key}\0{number}"
