"""What a node author imports: Message, Node, NodeConfig, NodeState, node."""

from flowengine.content import decode, decoder, encode, encoder, parse_json
from flowengine.message import Message, copy_tree, finite_number, message_to_json, plain, rfc3339
from flowengine.moments import format_duration, parse_time
from flowengine.node import (
    BatchConfig,
    Connection,
    Context,
    KeyedConfig,
    Known,
    Node,
    NodeConfig,
    NodeState,
    Note,
    Read,
    Recogniser,
    Result,
    Sink,
    SinkConfig,
    Source,
    SourceConfig,
    connection_type,
    node,
)
from flowengine.stamping import Stamper

__version__ = "0.1.0"

__all__ = [
    "BatchConfig",
    "Connection",
    "Context",
    "KeyedConfig",
    "Known",
    "Message",
    "Node",
    "NodeConfig",
    "NodeState",
    "Note",
    "Read",
    "Recogniser",
    "Result",
    "Sink",
    "SinkConfig",
    "Source",
    "SourceConfig",
    "Stamper",
    "connection_type",
    "copy_tree",
    "decode",
    "decoder",
    "encode",
    "encoder",
    "finite_number",
    "format_duration",
    "message_to_json",
    "node",
    "parse_json",
    "parse_time",
    "plain",
    "rfc3339",
]
