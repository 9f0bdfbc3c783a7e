"""Publishing over one MQTT connection: batches, the in-flight window and their acknowledgements.

Packets of many messages leave in one write. No I/O of its own: it writes through a function it is
given and is told what was acknowledged.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from flowengine.errors import RecordRefused, Unavailable
from flowengine.nodes.mqtt_wire import (
    PUBCOMP,
    PUBREC,
    PUBREL,
    REFUSED,
    Ack,
    Outgoing,
    PublishWriter,
    acks,
)

_SLICE = 2000
"""Messages written at once at most, so that a large batch in QoS 0 waits for a slow socket."""

_SOON = 0.001  # seconds


class LinkDown(Unavailable):
    """There is no connection to the broker, or it was lost before everything was acknowledged."""


class PublishRefused(RecordRefused):
    """The broker refused messages of a batch for good; `refused` has reasons by index.

    All other messages of the batch are acknowledged.
    """

    @property
    def index(self) -> int:
        """Index of the first refused message."""
        return min(self.refused)


class Limits(NamedTuple):
    """What the broker said it takes (MQTT 5.0 §3.2.2.3); for MQTT 3.1.1 the usual."""

    in_flight: int
    qos: int = 2
    retain: bool = True
    packet: int = 268_435_460
    in_flight_qos2: int = 65535


class Batch:
    """The messages of one `publish` call and what has become of them."""

    __slots__ = ("at", "future", "messages", "refused", "waiting")

    def __init__(self, messages: Sequence[Outgoing], future: "asyncio.Future[None]") -> None:
        self.messages, self.future = messages, future
        self.at = self.waiting = 0
        self.refused: dict[int, str] = {}

    def settle(self) -> None:
        """Answer the caller, once nothing is left to send or to wait for."""
        if self.waiting or self.at < len(self.messages) or self.future.done():
            return
        if not self.refused:
            self.future.set_result(None)
            return
        index, reason = min(self.refused.items())
        topic = self.messages[index][0]
        more = f" (and {len(self.refused) - 1} more)" if len(self.refused) > 1 else ""
        self.future.set_exception(
            PublishRefused(f'"{topic[:200]}" was refused: {reason}{more}.', refused=self.refused)
        )

    def fail(self, what: str) -> None:
        """Answer the caller that the connection is gone."""
        if not self.future.done():
            self.future.set_exception(LinkDown(what))


class Outbox:
    """Sends batches in order, with no more in flight than the broker takes.

    Exactly once (QoS 2) holds within a connection. What is in flight when it ends fails with
    LinkDown and may be repeated by the caller, as at least once.
    """

    def __init__(
        self,
        write: Callable[[bytes], bool],
        *,
        version5: bool,
        limits: Limits,
        mids: Iterator[int],
        name_reason: Callable[[int, str], str],
    ) -> None:
        """`write` answers whether everything has reached the socket; `mids` never ends."""
        self._write, self._mids, self._limits, self._name_reason = write, mids, limits, name_reason
        self._writer = PublishWriter(version5=version5)
        self._in_flight: dict[int, tuple[Batch, int]] = {}
        self._queue: deque[Batch] = deque()
        self._unwritten: list[Batch] = []
        self._later: asyncio.TimerHandle | None = None
        self._is_pumping = False
        self._strict = limits.qos < 2 or not limits.retain or limits.packet < 268_435_460

    @property
    def is_narrow(self) -> bool:
        """Whether sending waits for each acknowledgement, the broker's window being small."""
        return bool(self._in_flight) and self._limits.in_flight < 200

    def next_mid(self) -> int:
        """Return a packet id that no message in flight uses."""
        for mid in self._mids:
            if mid not in self._in_flight:
                return mid
        raise AssertionError("packet ids never end")

    def offer(self, messages: Sequence[Outgoing]) -> "asyncio.Future[None]":
        """Send messages; the future resolves when all are acknowledged (QoS 0: in the socket)."""
        batch = Batch(messages, asyncio.get_running_loop().create_future())
        self._queue.append(batch)
        self._pump()
        return batch.future

    def written(self) -> None:
        """The socket has taken everything: go on."""
        done, self._unwritten = self._unwritten, []
        for batch in done:
            batch.waiting -= 1
            batch.settle()
        self._pump()

    def settle(self, received: list[Ack]) -> list[int]:
        """Take in acknowledgements, answer them and send on. Returns the packet ids of PUBRELs."""
        in_flight, released, recorded = self._in_flight, [], []
        for ack in received:
            head = ack.head
            if head == PUBREL:
                released.append(ack.mid)
                continue
            if head == PUBREC and ack.code < REFUSED:
                recorded.append(ack.mid)
                continue
            entry = in_flight.pop(ack.mid, None)
            if entry is None:
                continue
            batch, index = entry
            if ack.code >= REFUSED and head != PUBCOMP:
                batch.refused[index] = self._name_reason(ack.code, ack.text)
            batch.waiting -= 1
            if not batch.waiting:
                batch.settle()
        if recorded or released:
            self._write(acks(PUBREL, recorded) + acks(PUBCOMP, released))
        if self._queue:
            self._refill()
        return released

    def _refill(self) -> None:
        """Send on once half the window is open, or a little later.

        A window opens by single acknowledgements, and answering each costs a write. Waiting for
        more of them alone would stall on brokers that leave Nagle's algorithm on, as mosquitto
        does: they hold the second acknowledgement until our next packet acknowledges the first.
        """
        if len(self._in_flight) * 2 <= self._limits.in_flight:
            self._pump()
        elif self._later is None:
            self._later = asyncio.get_running_loop().call_later(_SOON, self._pump)

    def fail(self, what: str) -> None:
        """The connection is gone: no batch will be answered any more."""
        batches = {id(batch): batch for batch, _ in self._in_flight.values()}
        batches |= {id(batch): batch for batch in (*self._queue, *self._unwritten)}
        self._in_flight.clear()
        self._queue.clear()
        self._unwritten.clear()
        self._no_later()
        for batch in batches.values():
            batch.fail(what)

    def _no_later(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _pump(self) -> None:
        self._no_later()
        if self._is_pumping:
            return  # a TLS transport may say within a write that everything is written
        self._is_pumping = True
        try:
            self._send_all()
        finally:
            self._is_pumping = False

    def _send_all(self) -> None:
        queue = self._queue
        while queue and not self._unwritten:
            batch = queue[0]
            if batch.future.cancelled():
                queue.popleft()
                continue
            if not self._send_some(batch) and batch.at < len(batch.messages):
                return
            if batch.at == len(batch.messages):
                queue.popleft()
                batch.settle()

    def _send_some(self, batch: Batch) -> bool:
        """Write the next messages of a batch, as far as the window goes; False if it is full."""
        messages, start = batch.messages, batch.at
        free = self._limits.in_flight - len(self._in_flight)
        # The wider window may be used by QoS 1 only.
        kept = max(0, self._limits.in_flight - self._limits.in_flight_qos2)
        chosen, mids = [], []
        for index in range(start, min(start + _SLICE, len(messages))):
            message = messages[index]
            if message[2]:
                if free <= (kept if message[2] == 2 else 0):
                    break
                free -= 1
                mid = self.next_mid()
                self._in_flight[mid] = batch, index
                mids.append(mid)
            else:
                mids.append(0)
            chosen.append(message)
        batch.at += len(chosen)
        batch.waiting += len(chosen) - mids.count(0)
        packets = self._build(batch, chosen, mids)
        if packets and not self._write(b"".join(packets)):
            self._unwritten.append(batch)
            batch.waiting += 1
        return bool(chosen)

    def _build(self, batch: Batch, chosen: list[Outgoing], mids: list[int]) -> list[bytes]:
        if not self._strict:
            try:
                return self._writer.run(chosen, mids)
            except ValueError:
                pass  # some message cannot be built: find out which, below
        packets = []
        for index, (message, mid) in enumerate(
            zip(chosen, mids, strict=True), batch.at - len(chosen)
        ):
            reason = self._fault(message)
            if not reason:
                packets += self._writer.run([message], [mid])
                continue
            batch.refused[index] = reason
            if mid:
                del self._in_flight[mid]
                batch.waiting -= 1
        return packets

    def _fault(self, message: Outgoing) -> str:
        _, _, qos, retain, _ = message
        limits = self._limits
        if qos > limits.qos:
            return f"the broker takes QoS {limits.qos} at most, not {qos}"
        if retain and not limits.retain:
            return "the broker keeps no retained messages"
        reason = self._writer.fault(message)
        if not reason and limits.packet < 268_435_460:
            size = len(self._writer.run([message])[0]) + 2 * bool(qos)
            if size > limits.packet:
                return f"{size} bytes are above the broker's packet limit of {limits.packet} bytes"
        return reason
