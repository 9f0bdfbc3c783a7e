"""What a keyed topic tells: the newest entries, to each client only those it has not seen.

The table is renewed at each tick; an entry remembers the tick at which it last changed. A client
that is slow misses nothing but what was overwritten, and costs no memory.
"""

from collections.abc import Mapping
from typing import Any


class Keyed:
    """Named entries, each with the tick of its last change."""

    def __init__(self) -> None:
        self.tick = 1
        self.entries: dict[str, Any] = {}
        self._changed: dict[str, int] = {}
        self._gone: dict[str, int] = {}

    def renew(self, entries: Mapping[str, Any], *, is_whole: bool = True) -> bool:
        """Take the entries of a new tick; with `is_whole` others are gone. Whether any changed."""
        self.tick += 1
        before = self.tick
        has_changed = False
        for name, entry in entries.items():
            if self.entries.get(name) != entry or name not in self.entries:
                self.entries[name] = entry
                self._changed[name] = before
                self._gone.pop(name, None)
                has_changed = True
        if is_whole and len(self.entries) > len(entries):
            for name in [name for name in self.entries if name not in entries]:
                del self.entries[name], self._changed[name]
                self._gone[name] = before
                has_changed = True
        return has_changed

    def since(self, tick: int) -> dict[str, Any]:
        """The entries that changed after a tick; 0 for all of them."""
        if tick <= 0:
            return dict(self.entries)
        return {name: self.entries[name] for name, at in self._changed.items() if at > tick}

    def gone_since(self, tick: int) -> list[str]:
        """The entries that went after a tick."""
        return [name for name, at in self._gone.items() if at > tick] if tick > 0 else []
