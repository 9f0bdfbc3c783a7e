"""Queue: a place where messages may wait, so that what is before it need not."""

from typing import Literal

from pydantic import Field

from flowengine import Message, Node, NodeConfig, node
from flowengine.fields import Size


class QueueConfig(NodeConfig):
    """How much may wait, and what happens when that much does."""

    capacity: int = Field(default=10_000, ge=1, description="Messages that wait at most.")
    bytes: Size = Field(default="64MB", description="Bytes that wait at most, about.")
    when_full: Literal["block", "drop-oldest", "drop-newest", "spill"] = Field(
        default="block",
        description="When full: push back to the source, drop and count, or write to disk.",
    )


@node("queue", boundary=True)
class Queue(Node[QueueConfig]):
    """Let messages wait until what follows has time for them.

    In: anything. Out: the message unchanged, in order.
    What waits keeps its acknowledgement open. A full queue pushes back to the source (`block`),
    drops and counts (`drop-oldest`, `drop-newest`), or writes to disk (`spill`).
    """

    # The wire in front of this node is the queue; the engine makes it from the config.

    def receive(self, message: Message) -> Message:
        """Pass on what waited."""
        return message

    def receive_batch(self, messages: list[Message]) -> dict[str, list[Message]]:
        """Pass on all that waited."""
        return {"out": messages}
