"""An MQTT link under observation: what it received and said, and waiting for more of it."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from flowengine.nodes.mqtt.link import Incoming, LinkOptions, MqttLink

T = TypeVar("T")
LOOPBACK = "127.0.0.1"


def run(work: Coroutine[Any, Any, T], timeout: float = 30.0) -> T:
    """Run a test's coroutine on a loop of its own; TimeoutError instead of hanging."""

    async def limited() -> T:
        return await asyncio.wait_for(work, timeout)

    return asyncio.run(limited())


class Witness:
    """A link with everything it told.

    Attributes:
        link: the link, not open yet.
        messages: what it received, in order; each acknowledged at once if `acks` is set.
        reads: the length of each handover.
        states: (state, sentence), in order.
    """

    def __init__(
        self,
        port: int,
        *,
        acks: bool = True,
        clock: Any = None,
        chance: float = 0.0,
        **options: Any,
    ) -> None:
        """Take the fields of LinkOptions by name; the client id is `witness` if none is given."""
        settings = {"host": LOOPBACK, "protocol": "5", "client_id": "witness", **options}
        self.messages: list[Incoming] = []
        self.reads: list[int] = []
        self.states: list[tuple[str, str]] = []
        self.acks = acks
        self._changed = asyncio.Event()
        self.link = MqttLink(
            LinkOptions(port=port, **settings),
            on_messages=self._received,
            on_state=self._said,
            clock=clock,
            random=lambda: chance,
        )

    async def __aenter__(self) -> "Witness":
        await self.link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.close()

    @property
    def payloads(self) -> list[bytes]:
        """The payloads received so far."""
        return [message.payload for message in self.messages]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition holds, looking whenever the link tells something."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def received(self, number: int) -> list[Incoming]:
        """Wait for so many messages, all in all."""
        await self.until(lambda: len(self.messages) >= number)
        return self.messages

    async def subscribed(self, topic_filter: str, qos: int = 1) -> "Witness":
        """Subscribe and wait for the answer."""
        self.link.subscribe(topic_filter, qos)
        await self.link.wait_subscribed()
        return self

    async def running(self) -> "Witness":
        """Wait until the broker has taken the link in."""
        await self.until(lambda: self.link.state == "running")
        return self

    async def said(self, words: str, state: str = "") -> str:
        """Wait for a sentence with these words, told with this state; the sentence."""

        def found() -> list[str]:
            return [what for told, what in self.states if words in what and state in (told, "")]

        await self.until(found)
        return found()[-1]

    def _received(self, messages: list[Incoming]) -> None:
        self.messages += messages
        self.reads.append(len(messages))
        if self.acks:
            self.link.ack(messages)
        self._changed.set()

    def _said(self, state: str, what: str) -> None:
        self.states.append((state, what))
        self._changed.set()
