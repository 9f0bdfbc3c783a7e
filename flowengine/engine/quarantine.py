"""Messages set aside: no node and no handler could take them. Kept on disk before they count."""

import asyncio
import json
from typing import Any

from flowengine.clock import SECOND, Clock
from flowengine.engine.fates import QUARANTINED, fate_at
from flowengine.engine.replayreceipt import rows_replaced
from flowengine.engine.store import Store
from flowengine.errors import FlowengineError, NodeError
from flowengine.message import Message, message_to_json

_RETRY = 2 * SECOND
_LONGEST = 64_000


class Quarantine:
    """Writes what is set aside to the store, and settles it once it is on disk."""

    def __init__(self, store: Store, clock: Clock, on_trouble: Any) -> None:
        self.store = store
        self.clock = clock
        self.count = 0
        self._on_trouble = on_trouble
        self._waiting: list[tuple[tuple[str, str, int, str, str, str], Message]] = []
        self._task: asyncio.Task[None] | None = None

    def put(self, flow: str, node: str, message: Message, error: Exception) -> None:
        """Set a message aside with the reason."""
        slug = error.slug if isinstance(error, NodeError) else "failed"
        what = error_text(error)
        row = (flow, node, self.clock.now(), slug, storable(what), as_text(message))
        self._waiting.append((row, message))
        self.count += 1
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            rows = [row for row, _ in batch]
            replaced = rows_replaced(message.receipt for _, message in batch)
            try:
                await self.store.run(self.store.quarantine(rows, replaced))
            except Exception as err:  # noqa: BLE001  # a full disk: keep the batch, say so, try again
                self._waiting = batch + self._waiting
                self._on_trouble(f"the quarantine cannot be written: {err}")
                await self.clock.sleep(_RETRY)
                continue
            for row, message in batch:
                message.receipt.settle(fate_at(QUARANTINED, row[1]))

    async def flush(self) -> None:
        """Wait until everything set aside is on disk."""
        if self._task is not None:
            await self._task


def as_text(message: Message) -> str:
    """A message as JSON, whatever it holds: one that cannot be written would hold up all others."""
    try:
        shown = message_to_json(message)
        text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"), default=repr)
    except Exception:  # noqa: BLE001  # a payload may be anything at all
        parts = {"id": message.id, "topic": message.topic, "key": message.key}
        text = json.dumps({**parts, "payload": {"$repr": _shown(message.payload)}}, default=repr)
    return storable(text)


def _shown(payload: Any) -> str:
    try:
        return repr(payload)[:_LONGEST]
    except Exception as err:  # noqa: BLE001  # it may be anything at all
        return f"{type(payload).__name__}, which cannot be shown: {type(err).__name__}"


def storable(text: str) -> str:
    """Text as a database takes it: half of a surrogate pair becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def error_text(error: Exception) -> str:
    """What went wrong in one line, never a traceback."""
    if isinstance(error, FlowengineError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def error_fact(node: str, kind: str, error: Exception) -> dict[str, Any]:
    """`meta.error` of a message on the error route (R6)."""
    return {
        "node": node,
        "type": kind,
        "slug": error.slug if isinstance(error, NodeError) else "failed",
        "what": error_text(error),
        "path": error.path if isinstance(error, NodeError) else None,
    }
