"""Messages set aside are let into the flow again, at the node that refused them.

`flowengine quarantine replay` marks rows of the quarantine, beside a running engine or a stopped
one; the engine looks for marks once a second, right after it has saved the states. A message enters
by the node's input, as it came, with `meta.replayed` = `{"id", "time"}`: its number in quarantine,
and when the replay was asked for. To a source its bytes are given to be decoded once more.

A row is removed one look after its message has settled, when the states that it changed are on disk
too. So a crash loses nothing, and repeats at most what was on its way. A message that is refused
again comes back under a new number; the same transaction removes the old one.
"""

import base64
import binascii
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from flowengine.engine import quarantine_rows
from flowengine.engine.quarantine_rows import Marked
from flowengine.engine.region import Region
from flowengine.engine.replayreceipt import Replayed, ReplayReceipt
from flowengine.engine.running import Running
from flowengine.engine.store import Store
from flowengine.message import Message
from flowengine.moments import format_time, parse_time
from flowengine.node import Source

LOG = logging.getLogger("flowengine.engine")
AT_ONCE = 500
LOOK_ANYWAY = 30
"""Looks after which the store is asked though its file seems untouched: times are coarse."""
MOST_OPEN = 1_000
"""Replayed messages on their way above which no more are let in: so many would be repeated (P2)."""

Failed = Sequence[tuple[Message, Exception]]


class ReplayFlow(Protocol):
    """What a replay needs of a flow that runs."""

    region: Region

    @property
    def nodes(self) -> Mapping[str, Running]:
        """Its nodes by id."""


class CannotReplay(ValueError):
    """This message cannot be let in again; says why."""


class Replay:
    """Lets in what is marked, and removes it from the quarantine once it is settled."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._log = Path(f"{store.path}-wal") if store.path is not None else None
        self._seen: tuple[int, int] | None = None
        self._unlooked = 0
        self._open: set[int] = set()
        self._settled: list[Replayed] = []  # since the last look
        self._ripe: list[Replayed] = []  # before it: what they changed is saved

    async def look(self, flows: Mapping[str, ReplayFlow]) -> int:
        """Let marked messages in; to be called once the states are saved. Returns how many.

        Raises sqlite3.Error where the store cannot be used; the next look goes on.
        """
        await self.flush(settled=False)
        most = min(AT_ONCE, MOST_OPEN - len(self._open))
        if most <= 0 or not self._may_be_news():
            return 0
        if not await self._store.run(quarantine_rows.any_marked):
            return 0
        self._seen = None  # some may have to wait for their flow: look again
        names, under_way = list(flows), frozenset(self._open)
        full = {
            (name, node)
            for name, flow in flows.items()
            for node, running in flow.nodes.items()
            if is_full(running)
        }
        rows = await self._store.run(
            lambda db: quarantine_rows.marked(db, most, under_way, names, full)
        )
        refused: list[tuple[int, str]] = []
        let_in: Counter[tuple[str, str]] = Counter()
        for row in rows:
            flow = flows.get(row.flow)  # a deploy may have removed it meanwhile
            if flow is None or row.id in self._open:
                continue
            try:
                self._let_in(row, flow)
            except CannotReplay as err:
                refused.append((row.id, str(err)))
            else:
                let_in[row.flow, row.node] += 1
        for (name, node), number in let_in.items():
            facts = {"flow": name, "node": node, "number": number}
            LOG.info("messages are replayed from quarantine", extra={"facts": facts})
        for flow in flows.values():
            flow.region.run()
        if refused:
            LOG.warning("%d messages cannot be replayed: %s", len(refused), refused[0][1])
            await self._store.run(lambda db: quarantine_rows.unmark(db, refused))
        return sum(let_in.values())

    def _may_be_news(self) -> bool:
        """Whether the store was written since the last look; costs an idle engine 2 us."""
        stamp = None
        if self._log is not None:
            with contextlib.suppress(OSError):
                found = self._log.stat()
                stamp = found.st_mtime_ns, found.st_size
        self._unlooked += 1
        if stamp is not None and stamp == self._seen and self._unlooked < LOOK_ANYWAY:
            return False
        self._seen, self._unlooked = stamp, 0
        return True

    async def flush(self, *, settled: bool = True) -> None:
        """Remove what is settled and whose effects are saved; `settled`: all that is settled."""
        gone = self._ripe + self._settled if settled else self._ripe
        if gone:
            await self._store.run(lambda db: quarantine_rows.end(db, gone))
        self._ripe = [] if settled else self._settled
        self._settled = []
        self._open.difference_update(row.id for row in gone)

    def _done(self, row: Replayed) -> None:
        self._settled.append(row)

    def _let_in(self, row: Marked, flow: ReplayFlow) -> None:
        """Let one message in; raises CannotReplay before anything is changed."""
        running = flow.nodes.get(row.node)
        if running is None or running.step is None:
            raise CannotReplay(f'the flow "{row.flow}" has no node "{row.node}" now')
        message = read_message(row.message)
        facts = {"id": row.id, "time": format_time(row.asked)}
        message.meta = {**message.meta, "replayed": facts}
        message.meta.pop("error", None)
        if isinstance(running.thing, Source):
            self._feed(running, row, message)
            return
        message.receipt = ReplayReceipt(Replayed(row.id, row.asked), self._done)
        self._open.add(row.id)
        (running.wire or running.step).put([message])

    def _feed(self, running: Running, row: Marked, message: Message) -> None:
        """Let a source decode a message once more."""
        source, step = running.thing, running.step
        assert isinstance(source, Source)  # noqa: S101  # asked before
        assert step is not None  # noqa: S101  # asked before
        messages, failed = decoded_again(source, message)
        parts = len(messages) + len(failed)
        receipt = ReplayReceipt(Replayed(row.id, row.asked), self._done, parts)
        keeps_time = getattr(source.config, "time", None) is None
        for made in (*messages, *(one for one, _ in failed)):
            made.id, made.receipt = message.id, receipt
            made.meta = {**made.meta, "replayed": message.meta["replayed"]}
            if keeps_time:
                made.time = message.time
        self._open.add(row.id)
        if messages:
            step.received += len(messages)
            step.first.put(messages)
        for made, error in failed:
            step.fail(made, error)


def is_full(running: Running) -> bool:
    """Whether what leads to a node, or from it, has no room."""
    wire, feeder = running.wire, running.feeder
    return (wire is not None and wire.blocked) or (feeder is not None and bool(feeder.full_wires))


def decoded_again(source: Source[Any], message: Message) -> tuple[list[Message], Failed]:
    """What a source makes of a message's bytes, and what it cannot make anything of."""
    payload = message.payload
    if not isinstance(payload, bytes):
        raise CannotReplay("a source refused it, and its bytes were not kept")
    messages: list[Message] = []
    refused: list[tuple[Message, Exception]] = []

    def catch(
        made: list[Message],
        settled: Callable[[], None] | None = None,
        failed: Failed = (),
        *_more: Any,
    ) -> None:
        messages.extend(made)
        refused.extend(failed)

    source.__dict__["emit"] = catch  # instead of its method, for this call
    try:
        is_taken = source.feed(message.topic, payload, message.meta)
    finally:
        del source.__dict__["emit"]
    if not is_taken or not (messages or refused):
        raise CannotReplay(f'the source takes nothing from "{message.topic}" now')
    return messages, refused


def read_message(text: str) -> Message:
    """The message that was written as JSON (R15), bytes and times as they were."""
    try:
        shown = json.loads(text)
        payload = shown["payload"]
        if type(payload) is not dict or payload.keys() != {"$repr"}:
            return Message(
                from_plain(payload),
                shown["topic"],
                parse_time(shown["time"], "rfc3339"),
                shown["key"],
                from_plain(shown["meta"]),
                shown["id"],
            )
    except (KeyError, TypeError, ValueError) as err:
        raise CannotReplay(f"it is not whole: {type(err).__name__}: {err}") from err
    raise CannotReplay("its payload could not be kept as it was, only shown")


def from_plain(value: Any) -> Any:
    """A payload out of JSON: `{"$bytes": base64}` becomes bytes (R15)."""
    if type(value) is list:
        return [from_plain(part) for part in value]
    if type(value) is not dict:
        return value
    if len(value) == 1 and type(value.get("$bytes")) is str:
        try:
            return base64.b64decode(value["$bytes"], validate=True)
        except binascii.Error:
            return value  # it was no bytes: a payload may look like anything
    return {name: from_plain(part) for name, part in value.items()}
