"""Asking a peer, in as many blocks as it takes (RFC 7959), within a limit of what it may answer.

    exchange = Exchange(network)
    response = await exchange.ask(message)                 # Block1 out, Block2 in
    response, stop = await exchange.observe(message, told)  # and `told` of every notification

Messages here are aiocoap's. Errors are aiocoap's too: `NetworkError` and its kin.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiocoap import Code
from aiocoap.error import Error, ResourceChanged, UnexpectedBlock1Option, UnexpectedBlock2
from aiocoap.pipe import Pipe

from flowengine.nodes.coap.wiring import Network

MAX_ANSWER = 16_000_000
"""Bytes of an answer at most; what is larger is not a reading."""
_LARGEST = 6  # the exponent of 1024 bytes, the largest block over UDP


class AnswerTooLarge(Error):  # type: ignore[misc]  # aiocoap ships no types
    """A peer's answer goes on and on."""


class Exchange:
    """Requests over one network."""

    def __init__(self, network: Network) -> None:
        self._network = network

    async def ask(self, message: Any) -> Any:
        """The whole answer to a message, which is sent in blocks if it is large."""
        response = await self._send_blocks(message)
        return await self.complete(message, response)

    async def observe(
        self, message: Any, told: Callable[[Any, Exception | None], None]
    ) -> tuple[Any, Callable[[], None] | None]:
        """The answer to a GET with Observe, and what ends the observation (None if there is none).

        Until then, `told(response, None)` is called for each notification, whose blocks behind the
        first are still to be fetched by `complete`, and once `told(None, error)` or
        `told(response, None)` without Observe when the observation has ended.
        """
        response, stop = await self._send(message, told)
        if response.opt.observe is None:
            stop()
            return await self.complete(message, response), None
        try:
            return await self.complete(message, response), stop
        except BaseException:
            stop()
            raise

    async def send(self, message: Any) -> None:
        """Send a message and want no answer; raises if the peer's address cannot be found."""
        interface = await self._network.context.find_remote_and_interface(message)
        pipe = Pipe(message, self._network.context.log)
        stop = pipe.on_event(lambda _event: False)
        interface.request(pipe)
        stop()

    async def complete(self, message: Any, response: Any) -> Any:
        """Fetch the blocks of an answer behind its first (RFC 7959 §2.4)."""
        block = response.opt.block2
        if block is None or not block.more:
            return response
        if block.block_number or block.size_exponent > _LARGEST:
            raise UnexpectedBlock2("the answer does not start with its first block")
        data, etag = bytearray(response.payload), response.opt.etag
        while block.more:
            if len(data) > MAX_ANSWER:
                raise AnswerTooLarge(f"the answer is larger than {MAX_ANSWER} bytes")
            if len(data) != (block.block_number + 1) * block.size:
                raise UnexpectedBlock2("a block is not full")
            number = len(data) // block.size
            wanted = message.copy(
                payload=b"", block1=None, observe=None, block2=(number, False, block.size_exponent)
            )
            wanted.mid, wanted.token, wanted.remote = None, b"", response.remote
            part, stop = await self._send(wanted)
            stop()
            block = part.opt.block2
            if block is None or not part.code.is_successful():
                return part
            if part.opt.etag != etag:
                raise ResourceChanged("it changed between two blocks")
            if block.block_number * block.size != len(data) or block.size_exponent > _LARGEST:
                raise UnexpectedBlock2("a block is missing")
            data += part.payload
        whole = response.copy(payload=bytes(data), block2=None)
        whole.remote = response.remote
        return whole

    async def _send_blocks(self, message: Any) -> Any:
        """Send a request, a large one block by block (RFC 7959 §2.5)."""
        payload, exponent, at = message.payload, _LARGEST, 0
        while True:
            size = 16 << exponent
            part = message
            if at or len(payload) > size:
                more = at + size < len(payload)
                part = message.copy(
                    payload=payload[at : at + size], block1=(at // size, more, exponent)
                )
                if not at:
                    part.opt.size1 = len(payload)
            response, stop = await self._send(part)
            stop()
            message.remote = response.remote
            block = response.opt.block1
            if block is None or part is message:
                return response
            smaller = min(exponent, block.size_exponent)
            if response.code == Code.REQUEST_ENTITY_TOO_LARGE and not at and smaller < exponent:
                exponent = smaller  # a hint for smaller blocks: RFC 7959 §2.9.3
                continue
            if response.code != Code.CONTINUE:
                return response
            if block.block_number != at // size or not part.opt.block1.more:
                raise UnexpectedBlock1Option("an answer to another block")
            at += size
            exponent = smaller

    async def _send(
        self, message: Any, told: Callable[[Any, Exception | None], None] | None = None
    ) -> tuple[Any, Callable[[], None]]:
        """The first answer to one message, and what ends the interest in more of them."""
        context = self._network.context
        first: asyncio.Future[Any] = context.loop.create_future()

        def came(event: Any) -> bool:
            if first.done():
                if told is not None:
                    told(event.message, event.exception)
            elif event.exception is not None:
                first.set_exception(event.exception)
            else:
                first.set_result(event.message)
            return not event.is_last

        interface = await context.find_remote_and_interface(message)
        pipe = Pipe(message, context.log)
        stop: Callable[[], None] = pipe.on_event(came)
        interface.request(pipe)
        try:
            return await first, stop
        except BaseException:
            stop()
            raise
