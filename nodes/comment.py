"""Comment: words beside the nodes of a flow."""

from pydantic import Field

from flowengine import NodeConfig, Note, node


class CommentConfig(NodeConfig):
    """What it says."""

    text: str | list[str] = Field(
        default="", description="Markdown, as one text or as a list of lines."
    )


@node("comment")
class Comment(Note[CommentConfig]):
    """Say something about the flow, for whoever reads it; it takes no part in the work."""
