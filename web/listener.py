"""One socket's side of the live view: what it listens to, and what waits to be sent to it.

Keyed topics hold no queue at all: a mark says that there is something newer, and the frame is made
when the socket is free. Streams wait in a short queue of their own; what does not fit is dropped,
oldest first, and counted. A slow browser can so hold a fixed amount of memory and no more.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec

from flowengine.web.problem import to_json
from flowengine.web.rights import Caller

QUEUE = 64
"""Frames of one stream that wait for a slow socket."""
ORDERED = 512
"""Operations that wait; beyond them the client is told to read the flow again."""

Render = Callable[[int], tuple[int, Any] | None]
"""The frame of a keyed topic for a client that has seen a tick: the tick now, and the data."""


class Listener:
    """What one socket gets."""

    def __init__(self, name: str, caller: Caller) -> None:
        self.id = name
        self.caller = caller
        self._keyed: dict[str, tuple[Render, int]] = {}
        self._stale: dict[str, None] = {}
        self._streams: dict[str, deque[Any]] = {}
        self._lost: dict[str, int] = {}
        self._ordered: deque[dict[str, Any]] = deque()
        self._seq: dict[str, int] = {}
        self._wake = asyncio.Event()
        self.close_code: int | None = None

    @property
    def topics(self) -> set[str]:
        """What it listens to."""
        return {*self._keyed, *self._streams}

    # -- what comes

    def listen_keyed(self, topic: str, render: Render) -> None:
        """From now on, the newest of a keyed topic; first all of it."""
        self._keyed[topic] = (render, 0)
        self.renewed(topic)

    def listen(self, topic: str) -> None:
        """From now on, everything of a stream."""
        self._streams.setdefault(topic, deque())

    def stop_listening(self, topic: str) -> None:
        """Nothing of this topic any more."""
        for table in (self._keyed, self._stale, self._streams, self._lost, self._seq):
            table.pop(topic, None)

    def renewed(self, topic: str) -> None:
        """There is something newer of a keyed topic."""
        if topic in self._keyed:
            self._stale[topic] = None
            self._wake.set()

    def push(self, topic: str, data: Any) -> None:
        """A frame of a stream; the oldest goes when there is no room."""
        queue = self._streams.get(topic)
        if queue is None:
            return
        if len(queue) >= QUEUE:
            queue.popleft()
            self._lost[topic] = self._lost.get(topic, 0) + 1
        queue.append(data)
        self._wake.set()

    def tell(self, frame: dict[str, Any]) -> None:
        """A frame that must come in order: operations, answers, errors."""
        if len(self._ordered) >= ORDERED:
            self._ordered.clear()
            self.close(1013)
            return
        self._ordered.append(frame)
        self._wake.set()

    def close(self, code: int) -> None:
        """End the connection once what is being sent is sent."""
        self.close_code = code
        self._wake.set()

    @property
    def waiting(self) -> int:
        """Frames that wait for the socket."""
        return len(self._ordered) + sum(len(queue) for queue in self._streams.values())

    # -- what goes

    async def run(self, send: Callable[[str], Awaitable[None]]) -> int:
        """Send what comes until it is to be closed; the close code."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for frame in self.frames():
                await send(frame)
            if self.close_code is not None:
                return self.close_code

    def frames(self) -> Iterator[str]:
        """Everything that waits, each frame made when it is its turn."""
        while self._ordered:
            frame = self._ordered.popleft()
            if "d" in frame and frame["t"] != "hello":
                frame = {"t": frame["t"], "seq": self._next(frame["t"]), "d": frame["d"]}
            yield _text(frame)
        for topic in list(self._stale):
            self._stale.pop(topic, None)
            known = self._keyed.get(topic)
            made = known[0](known[1]) if known is not None else None
            if known is None or made is None:
                continue
            self._keyed[topic] = (known[0], made[0])
            yield _text({"t": topic, "seq": self._next(topic), "d": made[1]})
        for topic, queue in list(self._streams.items()):
            lost = self._lost.pop(topic, 0)
            if lost:
                yield _text({"t": "lost", "topic": topic, "n": lost})
            while queue:
                yield _text({"t": topic, "seq": self._next(topic), "d": queue.popleft()})

    def _next(self, topic: str) -> int:
        number = self._seq[topic] = self._seq.get(topic, 0) + 1
        return number


def _text(frame: Any) -> str:
    return to_json(frame).decode()


def read_frame(text: str) -> dict[str, Any] | None:
    """A client's frame, None for what is none."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("op"), str) else None
