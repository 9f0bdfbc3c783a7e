"""Debounce: wait until a device is quiet, then pass its newest message."""

from pydantic import Field

from flowengine import KeyedConfig, Message, Node, NodeState, node
from flowengine.nodes.keyed import NO_MOMENT, Steady, bare, key_of
from flowengine.nodes.spans import Span


class DebounceConfig(KeyedConfig):
    """How long it must be quiet."""

    for_: Span = Field(alias="for", description="Pass the newest once no other came for so long.")


@node("debounce", scope="keyed")
class Debounce(Node[DebounceConfig]):
    """Pass the newest message of a key once no other came for a while (trailing edge).

    In: anything. Out: the newest message unchanged; the ones it replaced count as filtered.
    State, per key: the message that waits; it keeps its acknowledgement open and survives a
    restart. The time runs on the monotonic clock, not on event time.
    """

    class State(NodeState):
        """The message that waits, when it is due, and for when its timer is set (steady time)."""

        waiting: Message | None = None
        due: int = 0
        timer: int = NO_MOMENT
        key: str = ""

    def setup(self) -> None:
        """Bind the key."""
        self._key_of = key_of(self.config, self.context)
        self._steady = Steady(self.context)
        self._for = self.config.for_

    def receive(self, message: Message, state: State) -> Message | None:
        """Lay the message by; what it replaces leaves only if its time has just come."""
        now, due = self._steady.now(), None
        if state.waiting is None:
            state.key = self._key_of(message)
        elif now < state.due:
            self.context.drop_kept(state.key)
        else:
            due = self.context.give(state.waiting, state.key)
        self.context.keep(message, state.key)
        state.waiting, state.due = bare(message), now + self._for
        if state.timer == NO_MOMENT:
            self._set_timer(state.key, state)
        return due

    def wake(self, key: str, state: State) -> Message | None:
        """Pass the message if it is due; one timer serves many messages, so it may be early."""
        state.timer = NO_MOMENT
        message = state.waiting
        if message is None:
            return None
        if self._steady.now() < state.due:
            self._set_timer(key, state)
            return None
        state.waiting = None
        return self.context.give(message, key)

    def resume(self, key: str, state: State) -> None:
        """Set the timer of a message that waits."""
        state.timer = NO_MOMENT
        if state.waiting is not None:
            state.due = min(state.due, self._steady.now() + self._for)
            self._set_timer(key, state)

    def _set_timer(self, key: str, state: State) -> None:
        state.timer = state.due
        self.context.wake_at(key, self._steady.monotonic(state.due))
