"""Throttle: pass so many messages in so much time, and no more."""

from typing import Literal

import msgspec
from pydantic import Field

from flowengine import KeyedConfig, Message, Node, NodeState, node
from flowengine.nodes.keyed import Steady, bare, key_of
from flowengine.nodes.spans import Span


class ThrottleConfig(KeyedConfig):
    """How many messages pass in which time, per key."""

    count: int = Field(default=1, ge=1, le=100_000, description="Messages that pass at most.")
    per: Span = Field(description="In any stretch of this length.")
    excess: Literal["drop", "latest"] = Field(
        default="drop",
        description="What comes of the rest: dropped and counted, or the newest sent when allowed.",
    )


@node("throttle", scope="keyed")
class Throttle(Node[ThrottleConfig]):
    """Pass at most `count` messages of a key in any stretch of `per`.

    In: anything. Out: the message unchanged; the rest counts as filtered. With `excess: "latest"`
    the newest of the rest waits until it is allowed; it keeps its acknowledgement open and survives
    a restart. The time runs on the monotonic clock, not on event time.
    State, per key: when the last `count` messages passed, and the one that waits.
    """

    class State(NodeState):
        """When messages passed (steady time, oldest first), and the message that waits."""

        passed: list[int] = msgspec.field(default_factory=list)
        waiting: Message | None = None
        key: str = ""

    def setup(self) -> None:
        """Bind the key."""
        self._key_of = key_of(self.config, self.context)
        self._steady = Steady(self.context)
        self._keeps_latest = self.config.excess == "latest"

    def receive(self, message: Message, state: State) -> Message | None:
        """Pass the message, lay it by or drop it."""
        now = self._steady.now()
        if self._has_room(state, now):
            if state.waiting is not None:
                state.waiting = None
                self.context.drop_kept(state.key)
            state.passed.append(now)
            return message
        if self._keeps_latest:
            if state.waiting is None:
                state.key = self._key_of(message)
                self._set_timer(state.key, state)
            else:
                self.context.drop_kept(state.key)
            self.context.keep(message, state.key)
            state.waiting = bare(message)
        return None

    def wake(self, key: str, state: State) -> Message | None:
        """Pass the message that waits, now that it is allowed."""
        message, now = state.waiting, self._steady.now()
        if message is None:
            return None
        if not self._has_room(state, now):
            self._set_timer(key, state)
            return None
        state.waiting = None
        state.passed.append(now)
        return self.context.give(message, key)

    def resume(self, key: str, state: State) -> None:
        """Set the timer of a message that waits; moments of a clock that was ahead become now."""
        now = self._steady.now()
        state.passed = [min(moment, now) for moment in state.passed]
        if state.waiting is not None:
            self._set_timer(key, state)

    def _has_room(self, state: State, now: int) -> bool:
        passed, limit = state.passed, self.config.count
        if len(passed) < limit:
            return True
        # Only the last `count` matter; they are cut off in one go, half a list at a time.
        if now - passed[-limit] < self.config.per:
            return False
        if len(passed) >= 2 * limit:
            del passed[:-limit]
        return True

    def _set_timer(self, key: str, state: State) -> None:
        free = state.passed[-self.config.count] if len(state.passed) >= self.config.count else 0
        self.context.wake_at(key, self._steady.monotonic(free + self.config.per))
