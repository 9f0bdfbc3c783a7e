"""Node state: one entry a key, saved to disk in checkpoints, restored after a restart or deploy.

The engine owns it. Entries that changed since the last checkpoint are encoded on the event loop and
written by the store; once they are on disk, receipts that the node holds are secured.
"""

from collections.abc import Callable, Collection
from heapq import nsmallest
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
        self.unsaved: dict[str, str] = {}
        """Keys whose state the last checkpoint could not encode, and why."""
        self.on_forget: Callable[[list[str]], None] = lambda _keys: None
        """Called with keys whose state is forgotten, whatever it held."""
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
                self._forget_oldest()  # a hundredth at once: each search looks at all of them
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

    def forget_idle(self, before: int, waiting: Collection[str] = ()) -> int:
        """Drop every state that was last touched before monotonic `before`; returns how many.

        Those of keys in `waiting` are not idle: something will still come of them.
        """
        idle = [
            key
            for key, (_, touched) in self._entries.items()
            if touched[0] < before and key not in waiting
        ]
        self._forget(idle)
        return len(idle)

    def _forget_oldest(self) -> None:
        number = max(1, self.max_keys // 100)
        self._forget(nsmallest(number, self._entries, key=lambda key: self._entries[key][1][0]))

    def _forget(self, keys: list[str]) -> None:
        for key in keys:
            self.forget(key)
        if keys:
            self.on_forget(keys)

    def is_unsaved(self, name: str) -> bool:
        """Whether what is kept under `name` (a key, or a key, NUL and more) is not on disk."""
        unsaved = self.unsaved
        return bool(unsaved) and (name in unsaved or name.rpartition("\0")[0] in unsaved)

    def checkpoint(self) -> tuple[list[tuple[str, bytes]], list[str]]:
        """What changed since the last call: encoded states, and keys that are gone.

        A state that cannot be encoded is `unsaved`, stays as it is and is tried again.
        """
        encode, entries = self._encoder.encode, self._entries
        changed: list[tuple[str, bytes]] = []
        unsaved: dict[str, str] = {}
        for key in self.dirty:
            if key in entries:
                try:
                    changed.append((key, encode(entries[key][0])))
                except (TypeError, ValueError, OverflowError) as err:
                    unsaved[key] = str(err)
        gone = list(self.gone)
        self.unsaved = unsaved
        self.dirty = set(unsaved)
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
            except Exception as err:  # noqa: BLE001  # a `migrate` may fail in any way
                lost(key, f"{type(err).__name__}: {err}")
                continue
            self._entries[key] = (state, [now])
