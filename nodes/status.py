"""Status: tell the flow when the state of its nodes changes."""

from pydantic import Field

from flowengine import NodeConfig, Source, node
from flowengine.fields import NodeList


class StatusConfig(NodeConfig):
    """Whose state."""

    nodes: NodeList | None = Field(
        default=None, description="Ids of nodes; all others of this flow if left out."
    )


@node("status")
class Status(Source[StatusConfig]):
    """Let a message in when the state of a node changes.

    Out: `{"node", "state", "what", "since"}`, key = the node's id; the state is one of `starting`,
    `connecting`, `running`, `waiting`, `failed`, `stopped` (R65).
    """

    # The engine makes these messages and puts them out of this node.
    listens = "status"
