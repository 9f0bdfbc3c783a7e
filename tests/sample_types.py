"""A registry of node types made up for tests of checking and comparing: one of every kind."""

from typing import Any

from hypothesis import strategies as st
from pydantic import Field, model_validator

from flowengine import (
    Connection,
    KeyedConfig,
    Message,
    Node,
    NodeConfig,
    Note,
    Sink,
    SinkConfig,
    Source,
    SourceConfig,
    connection_type,
    node,
)
from flowengine.fields import (
    Duration,
    ExpressionField,
    NodeList,
    PathField,
    Port,
    SecretField,
    Size,
    TemplateField,
    TopicFilter,
    connection,
    fault,
)
from flowengine.flow import Flow, parse_flow
from flowengine.flow.json_lines import to_lines
from flowengine.node import MARK, NodeType
from flowengine.registry import BrokenFamily, Registry


class BrokerConfig(NodeConfig):
    """Where the broker is."""

    host: str = Field(description="Name or address.")
    port: Port = Field(default=1883, description="TCP port.")
    password: SecretField | None = Field(default=None, description="Password.")


@connection_type("link.broker")
class Broker(Connection[BrokerConfig]):
    """A broker."""


@connection_type("link.database")
class Database(Connection[BrokerConfig]):
    """A database."""


class FeedConfig(SourceConfig):
    """What to take in."""

    broker: str = connection("link.broker", description="The broker.")
    topic: TopicFilter = Field(default="#", description="Filter.")
    qos: int = Field(default=1, ge=0, le=2, description="Quality of service.")


@node("feed")
class Feed(Source[FeedConfig]):
    """Messages of a broker."""


class TickConfig(NodeConfig):
    """How often."""

    every: Duration = Field(default="1s", description="Interval.")


@node("tick")
class Tick(Source[TickConfig]):
    """A message at an interval."""

    runs_in_tests = True


class LimitConfig(KeyedConfig):
    """Two limits."""

    field: PathField = Field(default="payload", description="Where the reading stands.")
    low: float | None = Field(default=None, description="Lower limit.")
    high: float = Field(description="Upper limit.")
    count: int = Field(default=1, description="How many.")
    hold: Duration = Field(default="0s", description="How long.")
    room: Size = Field(default="1MB", description="How much.")

    @model_validator(mode="after")
    def _in_order(self) -> "LimitConfig":
        if self.low is not None and self.low > self.high:
            raise fault("limits-crossed", f"low ({self.low}) is above high ({self.high}).", "Swap.")
        return self


@node("limit", outputs=("raised", "cleared"), optional=("cleared",), scope="keyed")
class Limit(Node[LimitConfig]):
    """Say when a reading crosses a limit.

    In: a finite number.
    Out `raised`: the reading.
    """


class WorkConfig(NodeConfig):
    """What to compute."""

    set: dict[str, ExpressionField] = Field(default_factory=dict, description="Path: expression.")
    code: list[str] = Field(default_factory=list, description="Lines of code.")
    name: str | int = Field(default="x", description="Text or number.")


@node("work")
def work(message: Message, _config: WorkConfig) -> Message:
    """Compute."""
    return message


class SortConfig(NodeConfig):
    """Where to."""

    to: list[str] = Field(description="Names of outputs.")


@node("sort", outputs=lambda config: tuple(config.to))
class Sort(Node[SortConfig]):
    """Send to named outputs."""


@node("wait", boundary=True)
class Wait(Node[TickConfig]):
    """Let messages wait."""


class StoreConfig(SinkConfig):
    """Where to store."""

    database: str | None = connection("link.database", description="Where.", optional=True)
    series: TemplateField = Field(default="x", description="Name.")
    time: ExpressionField = Field(default="time", description="Event time.")


@node("store", identity="series + time", time_keyed=True)
class Store(Sink[StoreConfig]):
    """Store readings."""


class OutConfig(SinkConfig):
    """What to send."""

    broker: str = connection("link.broker", description="The broker.")
    payload: TemplateField | None = Field(default=None, description="Text instead of the payload.")


@node("out", outputs=("response",), optional=("response",))
class Out(Sink[OutConfig]):
    """Send messages."""


@node("note")
class Remark(Note[NodeConfig]):
    """Say something."""


class ScopeConfig(NodeConfig):
    """Of which nodes."""

    nodes: NodeList | None = Field(default=None, description="Node ids.")


@node("hear")
class Hear(Source[ScopeConfig]):
    """Errors of other nodes."""

    listens = "errors"


@node("watch")
class Watch(Source[ScopeConfig]):
    """States of other nodes."""

    listens = "status"


ALL: list[Any] = [Broker, Database, Feed, Tick, Limit, work, Sort, Wait]
ALL += [Store, Out, Remark, Hear, Watch]


class Samples(Registry):
    """Knows the types above, and a family `broken` that cannot be imported."""

    def __init__(self) -> None:
        super().__init__()
        self.types: dict[str, NodeType] = {
            mark.name: mark for target in ALL if (mark := target.__dict__[MARK])
        }

    def family(self, family: str) -> dict[str, NodeType]:
        """The types of one family."""
        if family == "broken":
            raise BrokenFamily('the node family "broken" cannot be imported: no module "driver".')
        return {n: kind for n, kind in self.types.items() if n.partition(".")[0] == family}

    def families(self) -> list[str]:
        """All families."""
        return sorted({"broken", *(name.partition(".")[0] for name in self.types)})


SAMPLES = Samples()


def flow_of(document: Any, flow_id: str = "room", file: str | None = None) -> Flow:
    """The flow in a document, `format` put to it; it must be whole."""
    text = to_lines({"format": 1, "nodes": {}, **document})
    flow, findings = parse_flow(text, flow_id=flow_id, file=file)
    assert flow is not None, findings
    assert flow.whole, findings
    return flow


ids = st.sampled_from(["a", "b", "c", "d", "e-2", "far"])
scalars: Any = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False, width=16)
    | st.sampled_from(["payload", "payload.t > params.limit", "5s", "1m", "60s", "1MB", "site"])
    | st.text(max_size=6)
    | st.sampled_from([{"$param": "limit"}, {"$param": "no"}, {"$env": "V", "default": 3}])
)
values: Any = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
settings_keys = st.sampled_from(
    [
        *("field", "low", "high", "count", "hold", "room", "key", "forget", "set", "code", "to"),
        *("broker", "topic", "qos", "time", "every", "nodes", "series", "payload", "x-note"),
    ]
)
specs: Any = st.fixed_dictionaries(
    {
        "type": st.sampled_from([*Samples().types, "none.such", "broken.one"]),
        "config": st.dictionaries(settings_keys, values, max_size=4),
    },
    optional={"title": st.text(max_size=4), "disabled": st.booleans(), "doc": st.text(max_size=9)},
)
outputs = st.sampled_from(["", ".out", ".raised", ".cleared", ".error", ".x"])
wires: Any = st.builds("{}{} -> {}".format, ids, outputs, ids) | st.fixed_dictionaries(
    {"from": ids, "to": ids, "capacity": st.integers(1, 3)}
)
documents: Any = st.fixed_dictionaries(
    {
        "nodes": st.dictionaries(ids, specs, max_size=6),
        "wires": st.lists(wires, max_size=8),
        "connections": st.dictionaries(st.sampled_from(["site", "db"]), specs, max_size=2).map(
            lambda found: {
                name: {key: spec[key] for key in ("type", "config")} for name, spec in found.items()
            }
        ),
    },
    optional={
        "params": st.just({"limit": {"type": "number", "default": 5}}),
        "title": st.text(max_size=5),
        "x-note": values,
    },
)
"""Flows that can be read, right and wrong ones."""
