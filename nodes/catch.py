"""Catch: take the messages that other nodes of the flow could not handle."""

from pydantic import Field

from flowengine import NodeConfig, Source, node
from flowengine.fields import NodeList


class CatchConfig(NodeConfig):
    """Whose errors."""

    nodes: NodeList | None = Field(
        default=None, description="Ids of nodes; all others of this flow if left out."
    )


@node("catch")
class Catch(Source[CatchConfig]):
    """Let in what other nodes of the flow could not handle.

    Out: the message, payload as it came in there, with `meta.error = {node, type, slug, what,
    path}`. An `error` output that is wired goes first. What fails on the way from here goes to
    quarantine, never round again (R6).
    """

    # The engine puts failed messages straight out of this node.
    listens = "errors"
