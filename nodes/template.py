"""Template: fill text with values of the message."""

from typing import Literal

from pydantic import Field

from flowengine import Message, Node, NodeConfig, node, parse_json
from flowengine.errors import NodeError, PayloadError
from flowengine.fields import PathField, TemplateField
from flowengine.nodes.onefield import is_top


class TemplateConfig(NodeConfig):
    """The text, and where it goes."""

    text: TemplateField = Field(
        description="Text or list of lines, with holes: {payload.temperature:.1f} °C."
    )
    format: Literal["text", "json"] = Field(
        default="text", description="json: the filled text is read as JSON."
    )
    into: PathField = Field(default="payload", description="Where the result stands.")


def writes(config: TemplateConfig) -> Literal["top", "anything"]:
    """How much of the payload `into` changes."""
    return "top" if is_top(config.into) else "anything"


@node("template", writes=writes)
class Template(Node[TemplateConfig]):
    """Fill a text's holes with values of the message.

    In: any message.
    Out: the message with the filled text, or with `format: json` its value, at `into`.
    Raises: ExpressionError for a hole without a value, NodeError `not-json` for a filled text that
    is no JSON.
    """

    def setup(self) -> None:
        """Bind the text."""
        self._fill = self.config.text.bind(self.context.params, self.context.now)

    def receive(self, message: Message) -> Message:
        """Fill the text for one message."""
        result = self._fill(message)
        if self.config.format == "json":
            try:
                result = parse_json(result, unique=True)
            except PayloadError as err:
                raise NodeError(
                    f"the filled text: {err.what}",
                    slug="not-json",
                    mend="Put texts in quotes, and write braces twice: {{ and }}.",
                ) from err
        self.config.into.set(message, result)
        return message
