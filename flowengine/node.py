"""What a node is: its config, its state, its class, and the mark that gives it a type name.

A node type is a plain function `(message, config) -> result`, or a class:

    Node        work within: `receive(message)` or, with memory, `receive(message, state)`
    Source      lets messages in: `open`, then `emit`
    Sink        lets records out: `prepare` each message, then `write` them in batches
    Note        takes no part: a comment
    Connection  a link that several nodes share: a broker, a server

A result is None, a message (to the first output), a list of messages, or a map from an output's
name to a message or a list (R63). In a `receive_batch` result the name `""` stands for messages
held back; they count as filtered.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from flowengine.clock import Clock
from flowengine.fields import Duration, ExpressionField, Size
from flowengine.message import Message

Result = Message | list[Message] | Mapping[str, Message | list[Message]] | None
Writes = Literal["nothing", "top", "anything"]
Scope = Literal["stateless", "keyed", "singleton", "source", "sink"]
Kind = Literal["source", "transform", "sink", "note", "connection"]


class NodeConfig(BaseModel):
    """The config of a node or connection: frozen, strict, unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        defer_build=True,
        validate_default=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
    )


class NodeState(msgspec.Struct):
    """What a node remembers, per key or once: plain data, small, versioned.

    `version` rises when the fields change meaning; `migrate` turns an older state (a map) into
    today's fields, or raises ValueError with the reason why it cannot.
    """

    version: ClassVar[int] = 1

    @classmethod
    def migrate(cls, old: dict[str, Any], version: int) -> dict[str, Any]:
        """Today's fields from those of an older `version`."""
        raise ValueError(f"state version {version} cannot become version {cls.version}")


class SourceConfig(NodeConfig):
    """What every source with a payload takes beside its own fields (R2, R10)."""

    key: ExpressionField | None = Field(
        default=None, description="Device or series of a message; the type's own rule if left out."
    )
    time: ExpressionField | None = Field(
        default=None,
        description="Event time taken from the message; arrival if left out, mended if the clock "
        "was not set (`meta.time_quality`).",
    )
    time_format: Literal["auto", "unix", "unix_ms", "unix_us", "unix_ns", "rfc3339"] = Field(
        default="auto", description="How `time` is written."
    )
    max_ahead: Duration = Field(
        default="1h", description="A time further in the future than this is not believed."
    )


class KeyedConfig(NodeConfig):
    """What every node with one state per key takes beside its own fields (R10)."""

    key: ExpressionField | None = Field(
        default=None, description="Whose state it is; the message's key if left out, `''` for one."
    )
    forget: Duration = Field(default="30d", description="Idle state is forgotten after this long.")


class BatchConfig(NodeConfig):
    """When a sink writes: at `size` messages, or when the oldest waited for `age`."""

    size: int = Field(default=5000, ge=1, description="Messages in one write at most.")
    age: Duration = Field(default="1s", description="Longest wait for a batch to fill.")


class RetryConfig(NodeConfig):
    """How a sink tries again while its far side is absent."""

    first: Duration = Field(default="1s", description="Wait before the second try.")
    max: Duration = Field(default="60s", description="Longest wait between two tries.")
    give_up: Duration | None = Field(
        default=None, description="Quarantine a record after this long; left out: never."
    )


class SpoolConfig(NodeConfig):
    """The sink's store on disk for the time when its far side is absent."""

    size: Size = Field(default="1GB", description="Bytes on disk at most.")
    age: Duration = Field(default="7d", description="Older records are dropped and counted.")
    when_full: Literal["block", "drop-oldest", "drop-newest"] = Field(
        default="block", description="What happens at `size`: push back, or drop and count."
    )
    drain_rate: int | None = Field(
        default=None,
        ge=1,
        description="Records a second at most when it is emptied; left out: as fast as the far "
        "side takes them. Unless `order` is live-first, what comes meanwhile waits behind and "
        "counts too: give more than comes in.",
    )


class SinkConfig(NodeConfig):
    """What every sink takes beside its own fields."""

    batch: BatchConfig | None = Field(default=None, description="When it writes.")
    retry: RetryConfig = Field(default_factory=RetryConfig, description="How it tries again.")
    spool: SpoolConfig = Field(default_factory=SpoolConfig, description="Its store on disk.")
    order: Literal["oldest-first", "live-first"] = Field(
        default="oldest-first",
        description="After an absence: in order of arrival, or new data first (gives up order).",
    )


class Context(Protocol):
    """What the engine lends a node: its name, its clock, its connections and its way out."""

    flow: str
    node: str
    clock: Clock
    params: Mapping[str, Any]
    folder: str
    """The folder of the flow file; relative paths of a flow start here."""
    files: str
    """The folder below which nodes may write files."""
    data: str
    """The data folder."""
    install_id: str
    """Eight hexadecimal digits that stay with the data folder."""
    eco: bool
    """Whether sources may gather what comes for some milliseconds to save CPU (`--eco`)."""
    insecure_bind: bool
    """Whether servers may listen beyond this box unprotected (`--insecure-bind`, S-01)."""

    def now(self) -> float:
        """Wall time in seconds since 1970, as expressions see it."""

    def connection(self, name: str) -> Any:
        """The open connection with this id (a `Connection`)."""

    def emit(self, output: str, messages: list[Message]) -> None:
        """Let messages out by `output`, outside `receive` (after a timer, a confirmation)."""

    def receive(
        self,
        messages: list[Message],
        settled: Callable[[], None] | None,
        failed: Sequence[tuple[Message, Exception]] = (),
        read: "Read | None" = None,
    ) -> None:
        """Take in messages of a source; `settled` is called once all are committed.

        `failed` are messages that came with the same read and could not be understood: they take
        the error route (R6), and are part of the acknowledgement.
        """

    def arrivals(self) -> "Recogniser":
        """What of this source's messages may come again after a lost link or a crash."""

    def fail(self, message: Message, error: Exception) -> None:
        """Send one message by the error route (R6)."""

    def keep(self, message: Message, key: str) -> None:
        """Hold a message's receipt under `key`: what comes of it leaves later."""

    def give(self, message: Message, key: str) -> Message:
        """Attach every receipt kept under `key` to `message`, which answers for them all."""

    def drop_kept(self, key: str, messages: int = 1, *, oldest: bool = False) -> None:
        """Settle kept receipts as filtered: the newest, or the oldest, `messages` of `key`."""

    def state(self, key: str) -> Any:
        """A sink's own `State` for a key, made new if there is none; it is saved like any other.

        Nodes within are handed theirs by `receive`.
        """

    def keys(self) -> list[str]:
        """The keys for which there is a state."""

    def again(self, message: Message) -> None:
        """Put a message that a sink kept for later into its own wire, to be written now."""

    def wake_at(self, key: str, when: int) -> None:
        """Call the node's `wake(key, state)` at monotonic `when`; a later call replaces it."""

    def behind(self, asked_for: int) -> int | None:
        """None if nothing waits in front of this node; else after how many ns to ask again.

        Silence means something only while nothing waits (R3). `asked_for`: for how many ns the
        answer has been waited for.
        """

    def status(self, state: str, what: str = "") -> None:
        """Say how the node is: starting, connecting, running, waiting, failed, stopped (R65)."""

    def count(self, reason: str, number: int = 1) -> None:
        """Count something under a reason (`collided`, `not-finite`); shown in the metrics."""

    def log(self, level: str, what: str, **facts: Any) -> None:
        """Log a sentence about this node with its facts."""


C = TypeVar("C", bound=NodeConfig)


class Node(Generic[C]):
    """Work within a flow. Subclasses give `receive`, and `State` if they remember."""

    State: ClassVar[type[NodeState] | None] = None

    def __init__(self, config: C, context: Context) -> None:
        self.config = config
        self.context = context
        self.clock = context.clock
        self.setup()

    def setup(self) -> None:
        """Prepare for work, once, without I/O: bind expressions, make closures."""

    async def open(self) -> None:
        """Take what the node needs; raise to be tried again later with backoff."""

    async def close(self) -> None:
        """Give back what `open` took; harmless when called twice or without `open`."""

    def receive(self, message: Message, *state: Any) -> Result:
        """Answer one message."""
        raise NotImplementedError(f"{type(self).__name__} has no receive")

    receive_batch: Callable[[list[Message]], Mapping[str, list[Message]]] | None = None
    """Stateless nodes on hot paths may answer a whole list; failures go to `context.fail`."""

    def wake(self, key: str, state: Any) -> Result:
        """Answer a timer that was set by `context.wake_at`."""

    def resume(self, key: str, state: Any) -> None:
        """A state was restored after a restart or deploy: set its timers again."""

    def clock_set(self, jump: int) -> None:
        """The wall clock was set by `jump` ns: what came by arrival is stamped by so much later."""


class Known(NamedTuple):
    """A message that came before: checksum, number, arrival time (ns)."""

    mark: int
    number: int
    time: int


class Recogniser(Protocol):
    """Tells the messages of one source that came before."""

    def find(self, packet: int, mark: int, *, is_marked: bool) -> Known | None:
        """The first copy of a message with this packet id, checksum and DUP flag."""

    def is_done(self, number: int) -> bool:
        """Whether it is committed: it only has to be acknowledged once more."""

    def is_former(self, number: int) -> bool:
        """Whether a former run let it in and did not finish it."""

    def session_lost(self) -> None:
        """The far side has forgotten us: what was not acknowledged will not come again."""


class Read:
    """What one read brought, of a source whose far side may send a message again.

    `arrivals` are those of new messages, in the order in which they are emitted (what failed last):
    (packet id, checksum, arrival time). `again` are numbers of messages that a former run of the
    engine did not finish, by their place among those emitted. `redelivered` is how many came again.
    """

    __slots__ = ("again", "arrivals", "redelivered")

    def __init__(self) -> None:
        self.arrivals: list[Any] = []
        self.again: dict[int, int] = {}
        self.redelivered = 0


class Source(Node[C]):
    """Lets messages in: calls `self.emit` from its callbacks or tasks once it is open."""

    listens: ClassVar[Literal["", "errors", "status"]] = ""
    runs_in_tests: ClassVar[bool] = False
    """Whether flow tests open it for real: sources that need only the clock (a tick)."""
    window: int | None = None
    """How many messages it may have unacknowledged before its far side stalls; None: any."""

    def emit(
        self,
        messages: list[Message],
        settled: Callable[[], None] | None = None,
        failed: Sequence[tuple[Message, Exception]] = (),
        read: Read | None = None,
    ) -> None:
        """Hand over what one read gave; `settled` is called when every message is committed.

        `settled` calls of one source come in the order of the `emit` calls. `failed` are messages
        that could not be understood: they take the error route. `read` tells messages apart that
        may come again.
        """
        self.context.receive(messages, settled, failed, read)

    def feed(self, topic: str, payload: bytes, meta: dict[str, Any]) -> bool:
        """A flow test published this: take it in if it is this source's (R14)."""
        return False

    def pause(self) -> None:
        """The flow is full: stop reading until `resume_reading`."""

    def resume_reading(self) -> None:
        """The flow has room again."""


class Sink(Node[C]):
    """Lets records out. The engine batches, retries, spools and bisects; a sink only writes.

    A sink that declares a `State` reaches it by `context.state(key)`.

    `batch_size`, `batch_age` (ns) are this type's defaults for `batch`; `concurrency` is how many
    writes may be under way at once (more than one gives up order); `spools` is False for sinks that
    need no store, as their far side is the box itself.
    """

    batch_size: ClassVar[int] = 5000
    batch_age: ClassVar[int] = 1_000_000_000
    concurrency: ClassVar[int] = 1
    spools: ClassVar[bool] = True

    def prepare(self, message: Message) -> Any:
        """The record to write for a message; raises NodeError to send it by the error route."""
        return message

    async def write(self, records: list[Any]) -> Sequence[Result] | None:
        """Write and commit all records.

        Returns None, or one result a record to send on by the outputs. Raises `Unavailable` to be
        called again with the same records, `RecordRefused` for records refused for good.
        """
        raise NotImplementedError(f"{type(self).__name__} has no write")


class Note(Node[C]):
    """Takes no part in the flow."""


class Connection(Generic[C]):
    """A link that several nodes of a flow share, opened before them and closed after them."""

    def __init__(self, config: C, context: Context) -> None:
        self.config = config
        self.context = context
        self.clock = context.clock
        self.setup()

    def setup(self) -> None:
        """Prepare, once, without I/O."""

    async def open(self) -> None:
        """Begin to connect; an absent far side is no error, it is tried again in the background."""

    async def close(self) -> None:
        """Close; harmless when called twice."""

    async def ready(self) -> None:
        """Wait until the far side has answered (and subscriptions stand)."""

    def hold(self) -> None:
        """Let in nothing more, though its sources close: the flow stops, or they are made anew.

        What was let in may still be settled. What comes meanwhile stays unacknowledged, so that it
        comes again: here after `release`, or to the next engine.
        """

    def release(self) -> None:
        """The sources of a deploy are open: let in again."""

    @classmethod
    def stand_in(cls, sent: Callable[[Message], None], is_up: Callable[[], bool]) -> Any:
        """What a node gets in place of this connection in flow tests; None: its writes are caught.

        The object has the methods that nodes call; it tells `sent` each message that would leave
        (topic and payload as sent) and raises Unavailable while `is_up` says no.
        """
        return None


class NodeType(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of a node or connection type, from its class or function."""

    name: str
    kind: Kind
    target: Any
    config: type[NodeConfig]
    outputs: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    optional: frozenset[str]
    scope: Scope
    writes: Writes | Callable[[Any], Writes]
    boundary: bool
    identity: str | None
    time_keyed: bool
    summary: str
    doc: str
    origin: str = "flowengine"

    @property
    def is_function(self) -> bool:
        """Whether the type is a plain function."""
        return not inspect.isclass(self.target)

    def outputs_of(self, config: Any) -> tuple[str, ...]:
        """The declared outputs for a config; the implicit `error` is not among them."""
        return self.outputs(config) if callable(self.outputs) else self.outputs

    def writes_of(self, config: Any) -> Writes:
        """How much of a payload the node changes in place."""
        return self.writes(config) if callable(self.writes) else self.writes

    def connection_fields(self) -> dict[str, tuple[str, ...]]:
        """Config fields that name a connection, with the connection types they take."""
        found: dict[str, tuple[str, ...]] = {}
        for name, info in self.config.model_fields.items():
            extra = info.json_schema_extra
            if isinstance(extra, dict) and "x-connection" in extra:
                types = extra["x-connection"]
                found[name] = tuple(str(t) for t in types) if isinstance(types, list) else ()
        return found


MARK = "__flowengine_type__"
_T = TypeVar("_T")


class EmptyConfig(NodeConfig):
    """A node without settings."""


def node(
    name: str,
    *,
    outputs: tuple[str, ...] | Callable[[Any], tuple[str, ...]] | None = None,
    optional: tuple[str, ...] = (),
    scope: Scope | None = None,
    writes: Writes | Callable[[Any], Writes] = "nothing",
    boundary: bool = False,
    identity: str | None = None,
    time_keyed: bool = False,
) -> Callable[[_T], _T]:
    """Mark a function or class as a node type; it is returned unchanged.

    Args:
        name: `family` or `family.part`; the family is the module.
        outputs: named outputs, the first may be left out in a wire; or a function of the config.
            Default: `("out",)`, and `()` for sinks and notes.
        optional: outputs that may stay unwired without a warning (R64).
        scope: `stateless`, `keyed`, `singleton`; sources and sinks have their own.
        writes: what of the payload it changes in place: nothing, its top level, anything.
        boundary: work waits here in a bounded wire of its own (`queue`).
        identity: what makes a repeat harmless (`"series + time"`); None: it is a second record.
        time_keyed: records are told apart by event time (`time-from-arrival` warns).
    """

    def mark(target: _T) -> _T:
        kind, default_scope = _kind(target)
        given = outputs
        if given is None:
            given = ("out",) if kind in {"source", "transform"} else ()
        doc = inspect.getdoc(target) or ""
        found = NodeType(
            name=name,
            kind=kind,
            target=target,
            config=_config_of(target),
            outputs=given,
            optional=frozenset(optional),
            scope=scope or default_scope,
            writes=writes,
            boundary=boundary or kind == "sink",
            identity=identity,
            time_keyed=time_keyed,
            summary=doc.partition("\n")[0],
            doc=doc,
        )
        setattr(target, MARK, found)
        return target

    return mark


def connection_type(name: str) -> Callable[[_T], _T]:
    """Mark a `Connection` class with its type name; node and connection names never collide."""
    return node(name, outputs=(), scope="singleton")


def _kind(target: Any) -> tuple[Kind, Scope]:
    if inspect.isclass(target):
        if issubclass(target, Connection):
            return "connection", "singleton"
        if issubclass(target, Source):
            return "source", "source"
        if issubclass(target, Sink):
            return "sink", "sink"
        if issubclass(target, Note):
            return "note", "stateless"
    return "transform", "stateless"


def _config_of(target: Any) -> type[NodeConfig]:
    """The config model: from `Node[Config]`, or a function's second parameter."""
    if inspect.isclass(target):
        for base in target.__mro__:
            for generic in getattr(base, "__orig_bases__", ()):
                for argument in getattr(generic, "__args__", ()):
                    if inspect.isclass(argument) and issubclass(argument, NodeConfig):
                        return argument
        return EmptyConfig
    parameters = list(inspect.signature(target, eval_str=True).parameters.values())
    if len(parameters) > 1 and inspect.isclass(parameters[1].annotation):
        annotation = parameters[1].annotation
        if issubclass(annotation, NodeConfig):
            return annotation
    return EmptyConfig
