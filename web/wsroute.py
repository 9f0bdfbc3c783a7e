"""The WebSocket route: lets in, reads what a client asks, sends what it listens to."""

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from flowengine import __version__
from flowengine.web.door import caller_of
from flowengine.web.listener import Listener, read_frame
from flowengine.web.problem import Problem
from flowengine.web.throttle import Throttle

if TYPE_CHECKING:
    from flowengine.web.services import Services

LOG = logging.getLogger("flowengine.web")
LOG_IN_AGAIN = 4401
TRY_LATER = 1013
BURST, EVERY = 300, 0.01
"""Frames a client may send at once, and then one in so many seconds."""
LOOK_AGAIN = 5.0
"""Seconds between two looks whether the session still holds."""


async def live(socket: WebSocket, services: "Services") -> None:
    """One client from its first frame to its last."""
    caller = caller_of(socket, services.people)
    await socket.accept()
    if caller is None or "view" not in caller.rights:
        await socket.close(LOG_IN_AGAIN)
        return
    hub = services.hub
    listener = Listener(secrets.token_hex(4), caller)
    if not hub.enter(listener):
        await socket.close(TRY_LATER)
        return
    hello = {
        "client": listener.id,
        "user": caller.told(),
        "version": __version__,
        "server": hub.server,
    }
    listener.tell({"t": "hello", "d": hello})
    tasks = {
        asyncio.create_task(_read(socket, services, listener)),
        asyncio.create_task(listener.run(socket.send_text)),
        asyncio.create_task(_watch_session(socket, services, listener)),
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        hub.leave(listener)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            is_quiet = isinstance(
                result, asyncio.CancelledError | WebSocketDisconnect | RuntimeError | OSError
            )
            if isinstance(result, Exception) and not is_quiet:
                LOG.error("a live view failed", exc_info=result)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, OSError):
            await socket.close(listener.close_code or 1000)


async def _read(socket: WebSocket, services: "Services", listener: Listener) -> None:
    throttle = Throttle(BURST, EVERY)
    while True:
        text = await socket.receive_text()
        if throttle.wait("") > 0:
            listener.close(TRY_LATER)
            return
        throttle.spend("")
        frame = read_frame(text)
        if frame is None:
            _error(listener, None, "bad-request", "A frame is one JSON object with op.")
            continue
        await _take(services, listener, frame)


async def _take(services: "Services", listener: Listener, frame: dict[str, Any]) -> None:
    hub, op, topic = services.hub, frame["op"], frame.get("topic")
    if op == "ping":
        listener.tell({"t": "pong"})
        return
    if not isinstance(topic, str) or len(topic) > 400:
        _error(listener, None, "bad-request", "topic is missing.")
        return
    if op == "sub":
        try:
            await hub.subscribe(listener, topic)
        except Problem as problem:
            _error(listener, topic, problem.slug, problem.detail)
    elif op == "unsub":
        hub.unsubscribe(listener, topic)
    elif op in {"edit", "here"}:
        room = hub.rooms.get(topic.removeprefix("flow/").removesuffix("/ops"))
        if room is None or listener.id not in room.people:
            _error(listener, topic, "bad-request", "Subscribe to it first.")
        elif op == "here":
            room.here(listener, frame.get("selection"), frame.get("doing"))
        else:
            await room.edit(listener, frame)
            hub.state_changed()
    else:
        _error(listener, topic, "bad-request", f'There is no op "{op[:40]}".')


def _error(listener: Listener, topic: str | None, slug: str, what: str) -> None:
    listener.tell({"t": "error", "topic": topic, "slug": slug, "what": what})


async def _watch_session(socket: WebSocket, services: "Services", listener: Listener) -> None:
    """Close when the session has ended, by a command or by the clock, or the rights are others."""
    while True:
        await asyncio.sleep(LOOK_AGAIN)
        caller = caller_of(socket, services.people)
        if caller is None or caller.rights != listener.caller.rights:
            listener.close(LOG_IN_AGAIN)
            return
