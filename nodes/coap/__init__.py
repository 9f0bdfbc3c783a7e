"""CoAP: devices that send to us, devices that are observed, devices that are asked (RFC 7252)."""

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable
from typing import Any

from flowengine import (
    Connection,
    Message,
    Result,
    Sink,
    Source,
    Stamper,
    connection_type,
    decode,
    decoder,
    encoder,
    node,
)
from flowengine.errors import NodeError, StartError
from flowengine.nodes.coap.answers import Answer, Asked, Reply, judge
from flowengine.nodes.coap.caller import Caller, base_uri
from flowengine.nodes.coap.config import (
    ListenConfig,
    ObserveConfig,
    PeerConfig,
    RequestConfig,
    ServerConfig,
    uri_fault,
)
from flowengine.nodes.coap.door import Door, make_door, port_of
from flowengine.nodes.coap.formats import content_type, format_of
from flowengine.nodes.coap.gate import Gate
from flowengine.nodes.coap.paths import path_segments
from flowengine.nodes.coap.stand_in import StandIn
from flowengine.nodes.coap.watch import Watch

WINDOW = 64
"""Requests that a node may have unanswered (R54)."""


@connection_type("coap.listen")
class Listen(Connection[ListenConfig]):
    """A UDP port where devices reach the flow's `coap.server` nodes.

    A repeated message is answered again and not taken in again. What is no CoAP, too much or too
    large is counted and said in one line; it stops nothing.
    """

    def setup(self) -> None:
        """Nobody listens yet."""
        self._sources: list[Server] = []
        self._door: Door | None = None
        self.gate = Gate(self.config.max_rate, self.clock.monotonic, self._warn)

    async def open(self) -> None:
        """Take the port; StartError if it is taken, unsafe, or an extra is missing."""
        self._check_bind()
        name = f"{self.context.flow}.{self.context.node}"
        door = await make_door(self.config, self.clock, name, self.context.data, self._warn)
        self._door = door  # sources may join from here on, while the port is being opened
        for source in self._sources:
            door.site.join(source.config.path, source)
        try:
            await door.listen(self.config, self.gate)
        except BaseException:
            await self.close()
            raise
        self.context.status("running", f"listening on {self.config.bind}:{port_of(self.config)}")

    def _check_bind(self) -> None:
        """Only this box may be served unprotected (S-01)."""
        config = self.config
        with contextlib.suppress(ValueError):
            if ipaddress.ip_address(config.bind.strip("[]")).is_loopback:
                return
        is_safe = config.dtls is not None or config.oscore is not None
        if config.bind != "localhost" and not is_safe and not self.context.insecure_bind:
            raise StartError(
                f"bind {config.bind} lets others on the network in: "
                "needs dtls/oscore or --insecure-bind.",
                'Give the coap.listen "dtls" or "oscore", or bind 127.0.0.1.',
            )

    def _warn(self, what: str) -> None:
        self.context.log("warning", what)

    async def close(self) -> None:
        """Tell those who wait to come again, and close the port; harmless when called twice."""
        door, self._door = self._door, None
        if door is not None:
            await door.close()

    # -- for coap.server

    def join(self, source: "Server") -> None:
        """A source answers its path from now on."""
        self._sources.append(source)
        if self._door is not None:
            self._door.site.join(source.config.path, source)

    def leave(self, source: "Server") -> None:
        """A source is gone."""
        if source in self._sources:
            self._sources.remove(source)
            if self._door is not None:
                self._door.site.leave(source)


@node("coap.server")
class Server(Source[ServerConfig]):
    """What devices send to a path.

    Out: payload decoded by its Content-Format, topic = the path, key = what fills the first hole,
    else the path. meta: method, remote, path (name and value of each hole); content_format and
    query where the device gave them.
    Answers 2.04 (2.02 to DELETE) once every branch has committed; 4.00 for what does not decode
    (it takes the error route), 5.03 with Max-Age while the flow is full. A commit that takes longer
    than 1.5 s is acknowledged first and answered later (RFC 7252 §5.2.2).
    """

    window = 1  # a device waits for its answer: sinks write at once and do not fill a batch

    def setup(self) -> None:
        """Prepare the reading of payloads."""
        self.methods: frozenset[str] = frozenset(self.config.methods)
        self.observable = self.config.observable
        self._decode = decoder(self.config.decode)
        self._stamper = Stamper(self.config, self.context)
        self._is_full = False
        self._unanswered = 0
        self._listener: Any = self.context.connection(self.config.server)

    async def open(self) -> None:
        """Answer the path."""
        self._listener.join(self)

    async def close(self) -> None:
        """Answer it no more."""
        self._listener.leave(self)

    def pause(self) -> None:
        """The flow is full."""
        self._is_full = True

    def resume_reading(self) -> None:
        """The flow has room."""
        self._is_full = False

    @property
    def has_room(self) -> bool:
        """Whether a request can be taken in now."""
        return not self._is_full and self._unanswered < WINDOW

    def feed(self, topic: str, payload: bytes, meta: dict[str, Any]) -> bool:
        """A flow test sent this to the path `topic`."""
        holes = self.config.path.match(path_segments(topic)) if topic.startswith("/") else None
        if holes is None:
            return False
        method = str(meta.get("method", self.config.methods[0]))
        number = meta.get("content_format")
        self.take(Asked(method, topic, holes, payload, number, (), "test"), lambda _reply: None)
        return True

    def take(self, asked: Asked, answer: Callable[[Reply], None]) -> None:
        """Let one request in; `answer` is called once it is committed."""
        meta: dict[str, Any] = {
            "method": asked.method,
            "remote": asked.remote,
            "path": asked.holes,
        }
        if asked.format is not None:
            meta["content_format"] = asked.format
        if asked.query:
            pairs = (part.partition("=") for part in asked.query)
            meta["query"] = {name: value for name, _, value in pairs}
        key = next(iter(asked.holes.values()), asked.path)
        message = Message(asked.payload, asked.path, 0, key, meta)
        messages, failed = [message], []
        reply = Reply("2.02" if asked.method == "DELETE" else "2.04")
        try:
            message.payload = self._decode(asked.payload, content_type(asked.format))
        except NodeError as err:
            messages, failed = [], [(message, err)]
            reply = Reply("4.00", err.what[:200])
            message.time = self._stamper.arrivals(1)
        self._unanswered += 1

        def settled() -> None:
            self._unanswered -= 1
            answer(reply)

        self.emit(self._stamper.stamp(messages), settled, failed)


@connection_type("coap.peer")
class Peer(Connection[PeerConfig]):
    """A device or server that is asked, by UDP, DTLS or OSCORE.

    There is no link to keep: a peer that is away is found out by the next request.
    """

    def setup(self) -> None:
        """Nothing is sent before somebody asks."""
        config = self.config
        self._caller = Caller(
            self.clock,
            config.timeout,
            self.context.log,
            name=f"{self.context.flow}.{self.context.node}",
            base=base_uri(config.host, config.port, is_dtls=config.dtls is not None),
            dtls=config.dtls,
            oscore=config.oscore,
            data=self.context.data,
        )

    async def open(self) -> None:
        """Take a socket and the keys."""
        await self._caller.open()
        self.context.status("running")

    async def close(self) -> None:
        """Give them back."""
        await self._caller.close()

    def uri(self, path: str) -> str:
        """The URI of a path at the peer."""
        return self._caller.uri(path)

    async def request(
        self,
        method: str,
        path: str,
        payload: bytes = b"",
        *,
        content_format: int | None = None,
        confirmable: bool = True,
    ) -> Answer | None:
        """The peer's answer, whatever its code; None for what is sent without waiting for one.

        Raises Unavailable if there is none. For `coap.request`, and for other families.
        """
        return await self._caller.request(
            method, path, payload, content_format=content_format, confirmable=confirmable
        )

    async def observe(
        self, path: str, told: Callable[[Answer | None], None]
    ) -> tuple[Answer, Callable[[], None] | None]:
        """The first answer, and what ends the observation; see `Caller.observe`."""
        return await self._caller.observe(path, told)

    @classmethod
    def stand_in(cls, sent: Callable[[Message], None], is_up: Callable[[], bool]) -> StandIn:
        """The peer of flow tests."""
        return StandIn(sent, is_up)


@node("coap.observe")
class Observe(Source[ObserveConfig]):
    """The state of something at a peer, whenever it changes.

    Out: payload decoded by its Content-Format, topic = the path, key = the URI. meta: uri, and
    observed: true for what the peer told by itself or at registration, false for what was polled.
    Registers again when freshness ends (Max-Age) or the peer was lost; a peer that does not support
    Observe is asked every `interval`. The peer's notifications are acknowledged when they arrive:
    they tell a state, and the newest comes again. While the flow is full, only the newest is kept.
    """

    def setup(self) -> None:
        """Prepare the reading of payloads."""
        config, context = self.config, self.context
        self._peer: Any = context.connection(config.peer) if config.peer is not None else None
        self._caller: Any = self._peer
        if config.uri is not None:
            self._caller = Caller(
                self.clock, 30 * 10**9, context.log, name=f"{context.flow}.{context.node}"
            )
        self._target = config.uri or config.path or "/"
        self._uri: str = self._caller.uri(self._target)
        self._topic = "/" + self._uri.partition("://")[2].partition("/")[2].partition("?")[0]
        self._decode = decoder(config.decode)
        self._stamper = Stamper(config, context)
        self._is_full = False
        self._newest: Answer | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to watch."""
        watch = Watch(
            self._caller,
            self._target,
            self.config.interval,
            self.clock,
            took=self._took,
            status=self.context.status,
        )
        self._task = asyncio.create_task(watch.run())

    async def close(self) -> None:
        """Watch no more; the peer's next notification is reset (RFC 7641 §3.6)."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._peer is None:
            await self._caller.close()

    def pause(self) -> None:
        """The flow is full."""
        self._is_full = True

    def resume_reading(self) -> None:
        """The flow has room: the newest state goes in."""
        self._is_full = False
        newest, self._newest = self._newest, None
        if newest is not None:
            self._took(newest)

    def feed(self, topic: str, payload: bytes, meta: dict[str, Any]) -> bool:
        """A flow test says that the URI, or its path, has this state."""
        if topic not in {self._uri, self._topic}:
            return False
        self._took(Answer("2.05", payload, meta.get("content_format"), observe=0))
        return True

    def _took(self, answer: Answer) -> None:
        if self._is_full:
            if self._newest is not None:
                self.context.count("superseded")
            self._newest = answer
            return
        meta = {"uri": self._uri, "observed": answer.observe is not None}
        message = Message(answer.payload, self._topic, 0, self._uri, meta)
        try:
            message.payload = self._decode(answer.payload, content_type(answer.format))
        except NodeError as err:
            message.time = self._stamper.arrivals(1)
            self.emit([], None, [(message, err)])
            return
        self.emit(self._stamper.stamp([message]))


@node("coap.request", outputs=("response",), optional=("response",))
class Request(Sink[RequestConfig]):
    """A request to a peer for each message, one after the other.

    Out `response`: the message with the answer as payload and meta.code, as "2.05".
    Committed: 2.xx; not confirmable: sent. 4.08, 4.29, 5.xx and no answer: tried again; every other
    code takes the error route. One request is under way at a time (RFC 7252 §4.7: NSTART is 1), so
    a peer gets them in order, and one that is away holds back what follows: give each its own node.
    """

    batch_size = 1
    batch_age = 0

    def setup(self) -> None:
        """Bind target and payload."""
        config, context = self.config, self.context
        params, now = context.params, context.now
        target = config.uri or config.path
        self._target = target.bind(params, now) if target is not None else (lambda _message: "/")
        self._payload = config.payload.bind(params, now) if config.payload is not None else None
        self._encode = encoder(config.encode)
        self._peer: Any = context.connection(config.peer) if config.peer is not None else None
        self._caller: Any = self._peer or Caller(
            self.clock, config.timeout, context.log, name=f"{context.flow}.{context.node}"
        )

    async def close(self) -> None:
        """Give the socket back."""
        if self._peer is None:
            await self._caller.close()

    def prepare(self, message: Message) -> tuple[str, bytes, int | None, Message]:
        """(path or URI, payload, Content-Format, message)."""
        target = self._target(message)
        if self._peer is None and (wrong := uri_fault(target)):
            raise NodeError(wrong, slug="bad-uri")
        if self._peer is not None and not target.startswith("/"):
            raise NodeError(f'the path "{target}" does not start with a slash.', slug="bad-uri")
        config = self.config
        if config.method in {"GET", "DELETE"}:
            return target, b"", None, message
        if self._payload is not None:
            text = self._payload(message)
            return target, text.encode(), self._format(text), message
        payload = message.payload
        return target, self._encode(payload), self._format(payload), message

    def _format(self, payload: Any) -> int | None:
        given: int | None = self.config.content_format
        return format_of(payload, self.config.encode) if given is None else given

    async def write(self, records: list[Any]) -> list[Result] | None:
        """Ask once for each record."""
        results: list[Result] = []
        for target, payload, content_format, message in records:
            answer = await self._caller.request(
                self.config.method,
                target,
                payload,
                content_format=content_format,
                confirmable=self.config.confirmable,
            )
            if answer is None:
                continue
            judge(answer, f"{self.config.method} {target}")
            value = decode(answer.payload, "auto", content_type(answer.format))
            results.append(message.with_payload(value).with_meta(code=answer.code))
        return results if len(results) == len(records) else None
