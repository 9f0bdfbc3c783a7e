"""The peer of flow tests: it shows what it is sent, and agrees."""

from collections.abc import Callable

from flowengine import Message, decode
from flowengine.errors import Unavailable
from flowengine.nodes.coap.answers import Answer
from flowengine.nodes.coap.formats import content_type


class StandIn:
    """Has the methods of a `coap.peer` that nodes call."""

    def __init__(self, sent: Callable[[Message], None], is_up: Callable[[], bool]) -> None:
        self._sent = sent
        self._is_up = is_up

    def uri(self, path: str) -> str:
        """The URI of a path."""
        return f"coap://test{path}"

    async def request(
        self,
        method: str,
        path: str,
        payload: bytes = b"",
        *,
        content_format: int | None = None,
        confirmable: bool = True,
    ) -> Answer | None:
        """Show the request: topic = path, payload decoded, meta.method."""
        if not self._is_up():
            raise Unavailable("the peer is away.", is_unanswered=False)
        shown = decode(payload, "auto", content_type(content_format))
        self._sent(Message(shown, path, meta={"method": method}))
        return Answer("2.05" if method in {"GET", "FETCH"} else "2.04") if confirmable else None
