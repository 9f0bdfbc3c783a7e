"""The engine as a CoAP client: one network, opened when it is first needed, and plain answers.

Every failure to get an answer is `Unavailable`: no route, no name, no answer in time, a reset, a
key that does not fit. aiocoap is imported with the first request.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flowengine.errors import RecordRefused, StartError, Unavailable
from flowengine.nodes.coap.answers import Answer
from flowengine.nodes.coap.config import DtlsConfig, OscoreConfig
from flowengine.nodes.coap.extras import need_extras
from flowengine.nodes.coap.gate import Gate
from flowengine.nodes.coap.quiet import quiet_logger

T = TypeVar("T")
_ANY_RATE = 1_000_000  # a client reads answers only; the gate looks at their shape


class Caller:
    """Asks peers."""

    def __init__(
        self,
        clock: Any,
        timeout: int,
        log: Callable[..., None],
        *,
        name: str,
        base: str = "",
        dtls: DtlsConfig | None = None,
        oscore: OscoreConfig | None = None,
        data: str = "",
    ) -> None:
        """Take the settings; `base` (`coap://host:port`) is put before paths, all else is a URI."""
        self._clock = clock
        self._timeout = timeout
        self._log = log
        self._name = name
        self._base = base
        self._dtls = dtls
        self._oscore = oscore
        self._data = data
        self._network: Any = None
        self._exchange: Any = None
        self._keys: Any = None
        self._link: Any = None  # aiocoap keeps a DTLS session for as long as somebody holds it
        self._opening = asyncio.Lock()

    def uri(self, target: str) -> str:
        """The whole URI of a path, or of a URI."""
        return self._base + target if target.startswith("/") else target

    async def open(self) -> None:
        """Take a socket and the keys; StartError names what is missing."""
        async with self._opening:
            if self._network is not None:
                return
            need_extras(dtls=self._dtls is not None, oscore=self._oscore is not None)
            from flowengine.nodes.coap.exchange import Exchange  # noqa: PLC0415  # aiocoap: only now
            from flowengine.nodes.coap.wiring import Network  # noqa: PLC0415

            logger = f"flowengine.coap.{self._name}"
            quiet_logger(logger, self._warn)
            network = Network(None, logger, self._clock.monotonic)
            if self._oscore is not None:
                self._keys = await asyncio.to_thread(self._open_keys)
                network.context.client_credentials[f"{self._base}/*"] = self._keys
            if self._dtls is not None:
                network.context.client_credentials.load_from_dict(
                    {
                        f"{self._base}/*": {
                            "dtls": {
                                "psk": self._dtls.psk.reveal().encode(),
                                "client-identity": self._dtls.identity.encode(),
                            }
                        }
                    }
                )
            try:
                await network.connect(
                    Gate(_ANY_RATE, self._clock.monotonic, self._warn),
                    is_dtls=self._dtls is not None,
                    is_oscore=self._oscore is not None,
                )
            except OSError as err:
                self._close_keys()
                raise Unavailable(f"no socket for CoAP: {err}", is_unanswered=False) from err
            self._network, self._exchange = network, Exchange(network)

    def _open_keys(self) -> Any:
        from flowengine.nodes.coap.oscore import open_context  # noqa: PLC0415  # only with oscore

        assert self._oscore is not None  # noqa: S101  # only called with it
        return open_context(self._oscore, self._data)

    def _close_keys(self) -> None:
        keys, self._keys = self._keys, None
        if keys is not None:
            keys.close()

    def _warn(self, what: str) -> None:
        self._log("warning", what)

    async def close(self) -> None:
        """Give the socket and the keys back; harmless when called twice."""
        network, self._network, self._exchange, self._link = self._network, None, None, None
        if network is not None:
            await network.close()
        self._close_keys()

    async def request(
        self,
        method: str,
        target: str,
        payload: bytes = b"",
        *,
        content_format: int | None = None,
        confirmable: bool = True,
    ) -> Answer | None:
        """The answer of a path or URI; None for what is sent once without waiting for an answer.

        A request that is not confirmable waits all the same if it is larger than a datagram, or
        goes over DTLS or OSCORE, where only an answer tells that it could be sent.
        """
        message = await self._message(method, target, payload, content_format, confirmable)
        if not confirmable and len(payload) <= 1024 and not (self._dtls or self._oscore):
            await self._within(self._exchange.send(message), message)
            return None
        return _answer(await self._within(self._exchange.ask(message), message))

    async def observe(
        self, target: str, told: Callable[[Answer | None], None]
    ) -> tuple[Answer, Callable[[], None] | None]:
        """The first answer, and what ends the observation; None if the peer does not support it.

        `told` gets each notification, and None when the observation is over.
        """
        message = await self._message("GET", target, b"", None, True)
        message.opt.observe = 0
        exchange = self._exchange
        fetches: set[asyncio.Task[None]] = set()

        async def fetch(response: Any) -> None:
            try:
                told(_answer(await self._within(exchange.complete(message, response), message)))
            except Unavailable:
                told(None)

        def came(response: Any, error: Exception | None) -> None:
            if error is not None or response is None or response.opt.observe is None:
                told(None)
            elif response.opt.block2 is not None and response.opt.block2.more:
                task = asyncio.create_task(fetch(response))
                fetches.add(task)
                task.add_done_callback(fetches.discard)
            else:
                told(_answer(response))

        response, stop = await self._within(exchange.observe(message, came), message)
        if stop is None:
            return _answer(response)._replace(observe=None), None

        def end() -> None:
            stop()
            for task in fetches:
                task.cancel()

        return _answer(response), end

    async def _message(
        self, method: str, target: str, payload: bytes, content_format: int | None, reliable: bool
    ) -> Any:
        """A request as aiocoap sends it; RecordRefused for a URI that is none."""
        try:
            await self.open()
        except StartError as err:
            raise Unavailable(err.what, err.mend, is_unanswered=False) from err
        from aiocoap import Code, Message, Unreliable  # noqa: PLC0415  # loaded by `open`

        code = getattr(Code, "iPATCH" if method == "IPATCH" else method)
        uri = self.uri(target)
        try:
            message = Message(code=code, payload=payload, uri=uri)
        except ValueError as err:
            raise RecordRefused(f'"{uri:.200}" is no CoAP URI.') from err
        if not reliable:
            message.transport_tuning = Unreliable()
        if payload and content_format is not None:
            message.opt.content_format = content_format
        return message

    async def _within(self, work: Coroutine[Any, Any, T], message: Any) -> T:
        """The outcome of work within the time for one answer; whatever goes wrong: Unavailable."""
        from aiocoap.error import ConRetransmitsExceeded, Error  # noqa: PLC0415  # loaded by `open`

        uri, task, is_late = message.get_request_uri(), asyncio.ensure_future(work), False

        def end() -> None:
            nonlocal is_late
            is_late = True
            task.cancel()

        timer = self._clock.call_at(self._clock.monotonic() + self._timeout, end)
        try:
            result = await task
        except asyncio.CancelledError:
            if not is_late:
                raise
            self._give_up(message, ConRetransmitsExceeded("no answer in time"))
            raise Unavailable(
                f"{uri} did not answer within {self._timeout / 1e9:g} s.", "Is the peer there?"
            ) from None
        except (Error, OSError, RuntimeError, ValueError) as err:
            self._give_up(message, ConRetransmitsExceeded("no way to it"))
            raise Unavailable(f"{uri}: {_words(err)}.", "Is the peer there?") from err
        finally:
            timer.cancel()
        if self._dtls is not None:
            self._link = message.remote
        return result

    def _give_up(self, message: Any, error: Exception) -> None:
        """Nothing of this exchange is sent again: whoever asks next begins anew."""
        if self._network is not None:
            self._network.give_up(message.remote, error)
        link, self._link = self._link or (message.remote if self._dtls else None), None
        if link is not None and hasattr(link, "shutdown"):
            link.shutdown()


def _answer(response: Any) -> Answer:
    opt, code = response.opt, response.code
    return Answer(
        code=f"{int(code) >> 5}.{int(code) & 31:02d}",
        payload=response.payload,
        format=None if opt.content_format is None else int(opt.content_format),
        max_age=60 if opt.max_age is None else int(opt.max_age),
        observe=opt.observe,
    )


_KNOWN = {
    "ConRetransmitsExceeded": "no answer to any of the repeats",
    "MessageError": "the peer reset the exchange",
    "ResolutionError": "its name is not known",
    "CloseNotifyReceived": "the peer closed the session",
    "FatalDTLSError": "the peer refuses the session: the key may differ",
    "NotAProtectedMessage": "the answer is not protected: the OSCORE keys may differ",
    "ProtectionInvalid": "the answer cannot be verified: the OSCORE keys may differ",
}


def _words(err: BaseException) -> str:
    """What an error of the network says, or what it is called."""
    cause = err.__cause__ or err  # aiocoap wraps what the system says in a NetworkError
    for each in (cause, err):
        if type(each).__name__ in _KNOWN:
            return _KNOWN[type(each).__name__]
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    said = " ".join(str(cause).split())[:200]
    return said or type(cause).__name__


def base_uri(host: str, port: int | None, *, is_dtls: bool) -> str:
    """The URI of a peer without its path."""
    scheme, usual = ("coaps", 5684) if is_dtls else ("coap", 5683)
    try:
        name = f"[{host}]" if ipaddress.ip_address(host.strip("[]")).version == 6 else host
    except ValueError:
        name = host
    name = name.replace("[[", "[").replace("]]", "]")
    return f"{scheme}://{name}" + ("" if port in {None, usual} else f":{port}")
