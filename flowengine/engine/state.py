"""Node state: one entry a key, saved to disk in checkpoints, restored after a restart or deploy.

The engine owns it. Entries that changed since the last checkpoint are encoded on the event loop and
written by the store; once they are on disk, receipts that the node holds are secured.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from flowengine.message import packer, unpacker
from flowengine.node import NodeState

S = TypeVar("S", bound=NodeState)

MAX_KEYS = 1_000_000


class NoState(NodeState):
    """The state of a node that declares none."""


class Entries(Generic[S]):
    """The states of one node, by key."""

    def __init__(self, state: type[S], max_keys: int = MAX_KEYS) -> None:
        self.state = state
        self.max_keys = max_keys
        self.dirty: set[str] = set()
        self.gone: set[str] = set()
        self.overflowed = 0
        self._entries: dict[str, tuple[S, list[int]]] = {}
        self._encoder = packer()
        self._decoder = unpacker(state)

    def __len__(self) -> int:
        return len(self._entries)

    def touch(self, key: str, now: int) -> S:
        """The state of `key`, made new if there is none, and noted as changed at `now`."""
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self.max_keys:
                self._forget_oldest()
            entry = self._entries[key] = (self.state(), [now])
            self.gone.discard(key)
        else:
            entry[1][0] = now
        self.dirty.add(key)
        return entry[0]

    def get(self, key: str) -> S | None:
        """The state of `key`, None if there is none."""
        entry = self._entries.get(key)
        return entry[0] if entry else None

    def keys(self) -> list[str]:
        """All keys."""
        return list(self._entries)

    def put(self, key: str, state: S, now: int) -> None:
        """Set a state, as a test or a migration does."""
        self._entries[key] = (state, [now])
        self.dirty.add(key)

    def forget(self, key: str) -> None:
        """Drop the state of `key`."""
        if self._entries.pop(key, None) is not None:
            self.dirty.discard(key)
            self.gone.add(key)

    def forget_idle(self, before: int) -> int:
        """Drop every state that was last touched before monotonic `before`; returns how many."""
        idle = [key for key, (_, touched) in self._entries.items() if touched[0] < before]
        for key in idle:
            self.forget(key)
        return len(idle)

    def _forget_oldest(self) -> None:
        oldest = min(self._entries, key=lambda key: self._entries[key][1][0])
        self.forget(oldest)
        self.overflowed += 1

    def checkpoint(self) -> tuple[list[tuple[str, bytes]], list[str]]:
        """What changed since the last call: encoded states, and keys that are gone."""
        encode = self._encoder.encode
        changed = [
            (key, encode(self._entries[key][0])) for key in self.dirty if key in self._entries
        ]
        gone = list(self.gone)
        self.dirty.clear()
        self.gone.clear()
        return changed, gone

    def restore(
        self,
        rows: list[tuple[str, int, bytes]],
        now: int,
        lost: Callable[[str, str], None] = lambda _key, _why: None,
    ) -> None:
        """Take saved states `(key, version, encoded)`; what cannot be read is told to `lost`."""
        for key, version, encoded in rows:
            try:
                if version == self.state.version:
                    state = self._decoder.decode(encoded)
                else:
                    old = msgspec.msgpack.decode(encoded)
                    state = msgspec.convert(self.state.migrate(old, version), self.state)
            except (msgspec.MsgspecError, ValueError, TypeError) as err:
                lost(key, str(err))
                continue
            self._entries[key] = (state, [now])
