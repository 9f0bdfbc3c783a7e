"""What a listener answers: paths, methods, blocks, observers (RFC 7252, 7641, 7959).

    request -> who answers this path? -> all its blocks -> the node -> committed -> 2.04

aiocoap hands over each request in a pipe that takes any number of answers; what is raised as
`Refused` becomes one of them.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from aiocoap import Code, Message
from aiocoap.numbers.optionnumbers import OptionNumber

from flowengine.nodes.coap.answers import Asked, Refused, Reply
from flowengine.nodes.coap.formats import LINKS
from flowengine.nodes.coap.paths import Directory, PathPattern, path_link, path_text
from flowengine.nodes.coap.transfers import Transfers
from flowengine.nodes.coap.values import Value, Values

SECOND = 1_000_000_000
COME_AGAIN = 5
"""Seconds (Max-Age) after which a device that met a full flow may come again."""
_ABSENCE = 60 * SECOND  # how long a path that has gone is "not now" and not "not found"
_POLL = SECOND // 20  # how often an unacknowledged notification is looked at
_KNOWN = frozenset(
    {
        OptionNumber.URI_HOST,
        OptionNumber.URI_PORT,
        OptionNumber.URI_PATH,
        OptionNumber.URI_QUERY,
        OptionNumber.ACCEPT,
        OptionNumber.BLOCK1,
        OptionNumber.BLOCK2,
    }
)


class Answering(Protocol):
    """A node that answers a path."""

    methods: frozenset[str]
    observable: bool

    @property
    def has_room(self) -> bool:
        """Whether a request can be taken in now."""

    def take(self, asked: Asked, answer: Callable[[Reply], None]) -> None:
        """Take a request in; `answer` is called once, when it is committed or refused."""


class Site:
    """All paths of one listener.

    `is_busy(remote)` tells whether a notification to an observer is still unacknowledged.
    """

    def __init__(
        self, clock: Any, max_size: int, *, needs_claim: bool, is_busy: Callable[[Any], bool]
    ) -> None:
        self._clock = clock
        self._needs_claim = needs_claim
        self._is_busy = is_busy
        self._nodes: Directory[Answering] = Directory()
        self._gone: list[tuple[PathPattern, int]] = []
        self._had_nodes = False
        self._transfers = Transfers(max_size, clock.monotonic)
        self._values = Values()
        self._waiting: set[asyncio.Future[Reply]] = set()

    def join(self, pattern: PathPattern, node: Answering) -> None:
        """A node answers this path from now on."""
        self._had_nodes = True
        self._nodes.add(pattern, node)

    def leave(self, node: Answering) -> None:
        """It does no more; for a minute the path is "not now", as another may take its place."""
        until = self._clock.monotonic() + _ABSENCE
        self._gone = [(p, at) for p, at in self._gone if at > self._clock.monotonic()]
        self._gone += [(pattern, until) for pattern, who in self._nodes if who is node]
        self._nodes.remove(node)

    async def close(self) -> None:
        """Answer everyone who waits: not now."""
        for waiting in list(self._waiting):
            if not waiting.done():
                waiting.set_result(Reply("5.03", "stopping", COME_AGAIN))
        for _ in range(5):  # turns of the loop, in which the answers are sent
            await asyncio.sleep(0)

    # -- called by aiocoap

    async def render_to_pipe(self, pipe: Any) -> None:
        """Answer one request, or a block of it."""
        request = pipe.request
        try:
            await self._answer(pipe, request)
        except Refused as refused:
            pipe.add_response(_message(refused.reply, request), is_last=True)

    async def _answer(self, pipe: Any, request: Any) -> None:
        _check_options(request)
        if self._needs_claim and not request.remote.authenticated_claims:
            raise Refused("4.01", "protect the request with OSCORE")
        path, method = request.opt.uri_path, str(request.code).upper()
        if path == (".well-known", "core"):
            if method != "GET":
                raise Refused("4.05", "allowed: GET")
            pipe.add_response(_content(self._links(), request), is_last=True)
            return
        found = self._nodes.find(path)
        if not found:
            raise self._unknown(path)
        if method == "GET":
            for node, holes in found:
                if node.observable:
                    await self._show(pipe, request, path_text(path), bool(holes))
                    return
        for node, holes in found:
            if method in node.methods:
                await self._take(pipe, request, node, holes)
                return
        allowed = sorted({m for node, _ in found for m in node.methods})
        raise Refused("4.05", f"allowed: {', '.join(allowed)}")

    def _unknown(self, path: tuple[str, ...]) -> Refused:
        now = self._clock.monotonic()
        is_gone = any(at > now and p.match(path) is not None for p, at in self._gone)
        if is_gone or not self._had_nodes:
            return Refused("5.03", "not now", max_age=COME_AGAIN)
        return Refused("4.04", "/.well-known/core lists the paths")

    # -- what devices send

    async def _take(self, pipe: Any, request: Any, node: Answering, holes: dict[str, str]) -> None:
        if not node.has_room:
            raise Refused("5.03", "the flow is full", max_age=COME_AGAIN)
        data = self._whole(request)
        if data is None:
            pipe.add_response(_message(Reply("2.31"), request), is_last=True)
            return
        opt = request.opt
        asked = Asked(
            method=str(request.code).upper(),
            path=path_text(opt.uri_path),
            holes=holes,
            payload=data,
            format=None if opt.content_format is None else int(opt.content_format),
            query=tuple(opt.uri_query),
            remote=request.remote.hostinfo,
        )
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)

        def answer(reply: Reply) -> None:
            # The device may have gone meanwhile; what it sent is committed all the same.
            if node.observable and reply.code.startswith("2."):
                self._note(asked)
            if not waiting.done():
                waiting.set_result(reply)

        node.take(asked, answer)
        pipe.add_response(_message(await waiting, request), is_last=True)

    def _whole(self, request: Any) -> bytes | None:
        """The request's whole payload, None while blocks of it are missing."""
        block, told = request.opt.block1, request.opt.size1
        payload: bytes = request.payload
        most = self._transfers.max_size
        if block is None:
            if len(payload) > most:
                raise Refused("4.13", f"at most {most} bytes", size=most)
            return payload
        if block.size_exponent == 7:  # reserved over UDP (RFC 7959 §2.2)
            raise Refused("4.00", "no such block size")
        # what RFC 7959 §2.5 and §2.4 name to tell two transfers apart: endpoint and cache key
        key = (
            request.remote.blockwise_key,
            request.get_cache_key([OptionNumber.BLOCK1, OptionNumber.BLOCK2, OptionNumber.OBSERVE]),
        )
        return self._transfers.add(
            key, block.block_number, more=block.more, size=block.size, data=payload, told=told
        )

    # -- what devices ask for

    def _note(self, asked: Asked) -> None:
        """The newest payload of a path has changed."""
        if asked.method == "DELETE":
            self._values.remove(asked.path)
        else:
            self._values.put(asked.path, Value(asked.payload, asked.format))

    def _links(self) -> Value:
        """The list of paths (RFC 6690); a path with holes is followed by those that were filled."""
        lines = []
        for pattern, node in self._nodes:
            kind = ";obs" if node.observable else ""
            if pattern.holes:
                title = f';title="{" ".join(pattern.holes)}: any"'
                lines.append(f"<{path_link(pattern.text)}>{title}{kind}")
            else:
                lines.append(f"<{path_link(pattern.text)}>{kind}")
        fixed = {pattern.text for pattern, _ in self._nodes}
        lines += [f"<{path_link(p)}>;obs" for p in self._values.paths() if p not in fixed]
        return Value(",".join(dict.fromkeys(lines)).encode(), LINKS)

    async def _show(self, pipe: Any, request: Any, path: str, has_holes: bool) -> None:
        """The newest payload; with Observe, every newer one too until the device loses interest."""
        value = self._value(path, has_holes)
        block = request.opt.block2
        is_first = block is None or not block.block_number
        if request.opt.observe != 0 or not is_first or not self._values.has_room:
            pipe.add_response(_content(value, request), is_last=True)
            return
        with self._values.watch(path) as changed:
            number = self._values.next_number()
            pipe.add_response(_content(value, request, number), is_last=False)
            while True:
                await changed.wait()
                changed.clear()
                # One unacknowledged notification an observer, then the newest (RFC 7641 §4.5.1).
                while self._is_busy(request.remote):
                    await self._clock.sleep(_POLL)
                changed.clear()
                value = self._value(path, has_holes)
                number = self._values.next_number()
                pipe.add_response(_content(value, request, number), is_last=False)

    def _value(self, path: str, has_holes: bool) -> Value:
        value = self._values.get(path)
        if value is None:
            if has_holes:
                raise Refused("4.04", "nothing has come yet")
            return Value(b"", None)
        return value


def _check_options(request: Any) -> None:
    """An option that must be understood, and is not, ends it (RFC 7252 §5.4.1)."""
    for option in request.opt.option_list():
        number = option.number
        if number in {OptionNumber.PROXY_URI, OptionNumber.PROXY_SCHEME}:
            raise Refused("5.05", "this is no proxy")
        if number & 1 and number not in _KNOWN:
            raise Refused("4.02", f"option {int(number)} is not understood")


def _code(text: str) -> Any:
    return Code(int(text[0]) * 32 + int(text[2:]))


def _message(reply: Reply, request: Any) -> Any:
    """A reply as it is sent; an error's text is for people (RFC 7252 §5.5.2)."""
    message = Message(code=_code(reply.code), payload=reply.text.encode())
    message.opt.max_age = reply.max_age
    message.opt.size1 = reply.size
    message.opt.block1 = request.opt.block1
    message.opt.no_response = request.opt.no_response
    return message


def _content(value: Value, request: Any, observe: int | None = None) -> Any:
    """A value, or the block of it that was asked for."""
    opt = request.opt
    if opt.accept is not None and value.format != int(opt.accept):
        raise Refused("4.06", "it has another Content-Format")
    block = opt.block2
    if block is not None and block.size_exponent == 7:
        raise Refused("4.00", "no such block size")
    exponent = 6 if block is None else block.size_exponent
    number = 0 if block is None else block.block_number
    size = 16 << exponent
    if number and number * size >= len(value.payload):
        raise Refused("4.00", "there is no such block")
    message = Message(code=Code.CONTENT, payload=value.payload[number * size : (number + 1) * size])
    if not number and value.etag in opt.etags:
        message = Message(code=Code.VALID)
    elif more := (number + 1) * size < len(value.payload):
        message.opt.block2 = (number, more, exponent)
    elif block is not None:
        message.opt.block2 = (number, False, exponent)
    message.opt.content_format = value.format if message.code == Code.CONTENT else None
    message.opt.etag = value.etag
    message.opt.observe = observe
    if not number and message.opt.block2 is not None:
        message.opt.size2 = len(value.payload)
    message.opt.no_response = opt.no_response
    return message
