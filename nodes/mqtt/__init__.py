"""MQTT: a broker's messages in, messages out. MQTT 5.0 and 3.1.1 (OASIS)."""

import ssl
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

from pydantic import Field, model_validator

from flowengine import (
    Connection,
    Message,
    NodeConfig,
    Read,
    Sink,
    SinkConfig,
    Source,
    SourceConfig,
    Stamper,
    connection_type,
    decode,
    decoder,
    encoder,
    node,
)
from flowengine.errors import NodeError, RecordRefused, Unavailable
from flowengine.fields import (
    Duration,
    Host,
    Port,
    SecretField,
    TemplateField,
    TopicFilter,
    TopicTemplate,
    connection,
    fault,
)
from flowengine.nodes.mqtt.link import Incoming, LinkOptions, MqttLink, Will
from flowengine.nodes.mqtt_topics import (
    filter_fault,
    filter_number,
    filter_pattern,
    filters_meet,
    topic_fault,
)

SECOND = 1_000_000_000
_ECO = 0.005
"""Seconds between two reads in eco mode: fewer wake-ups on a quiet line, up to 5 ms more delay."""
_REMEMBERED = 10_000

Qos = Literal[0, 1, 2]


class TlsConfig(NodeConfig):
    """TLS 1.2 or newer, the broker's certificate always checked (S-60)."""

    ca: str | None = Field(default=None, description="CA certificates (PEM); the system's if none.")
    cert: str | None = Field(default=None, description="Our certificate (PEM), to be known by.")
    key: str | None = Field(default=None, description="Its private key (PEM).")
    key_password: SecretField | None = Field(default=None, description="Password of the key.")
    server_name: str | None = Field(default=None, description="Name in the broker's certificate.")
    min_version: Literal["1.2", "1.3"] = Field(default="1.2", description="Oldest TLS accepted.")
    alpn: list[str] | None = Field(default=None, description="Application protocols to offer.")

    @model_validator(mode="after")
    def _pair(self) -> "TlsConfig":
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key go together: give both, or neither")
        return self


class WillConfig(NodeConfig):
    """A message about the box itself: the last will, or the birth at each connect."""

    topic: str = Field(description="Where it is published.")
    payload: str = Field(default="", description="What is published.")
    qos: Qos = Field(default=1, description="Quality of service.")
    retain: bool = Field(default=True, description="Whether the broker keeps it.")


class BrokerConfig(NodeConfig):
    """Where the broker is, and who we are to it."""

    host: Host = Field(description="The broker's name or address.")
    port: Port | None = Field(default=None, description="1883, or 8883 with `tls`, if left out.")
    protocol: Literal["auto", "5", "3.1.1"] = Field(
        default="auto", description="`auto` asks for MQTT 5 and falls back to 3.1.1."
    )
    client_id: str | None = Field(
        default=None, description="Made from the box, the flow and this connection if left out."
    )
    username: str | None = Field(default=None, description="User name.")
    password: SecretField | None = Field(default=None, description="Password.")
    tls: TlsConfig | None = Field(default=None, description="Encrypt, and check who answers.")
    keepalive: Duration = Field(default="60s", description="A silent link is tested this often.")
    session_expiry: Duration = Field(
        default="1d", description="How long the broker keeps our messages while we are away."
    )
    clean_start: bool = Field(default=False, description="Throw the kept session away at start.")
    receive_maximum: int = Field(
        default=1000, ge=1, le=65535, description="Unacknowledged messages at most (MQTT 5)."
    )
    will: WillConfig | None = Field(default=None, description="Published when we are lost.")
    birth: WillConfig | None = Field(default=None, description="Published at each connect.")


@connection_type("mqtt.broker")
class Broker(Connection[BrokerConfig]):
    """One client of one broker, shared by the flow's MQTT nodes.

    It connects by itself, again and again, and keeps its session. Every `mqtt.in` gets each message
    once (R42); a message is acknowledged when all of them have settled it, in order of receipt.
    """

    def setup(self) -> None:
        """Nobody listens yet."""
        self._sources: list[In] = []
        self._left: set[str] = set()
        self._told: dict[str, tuple[int, int]] = {}
        self._is_held = False
        self._unacknowledged: deque[_Read] = deque()
        self._link: MqttLink | None = None

    async def open(self) -> None:
        """Begin to connect."""
        self._link = MqttLink(
            self._options(),
            on_messages=self._received,
            on_state=self.context.status,
            on_gap=partial(self.context.log, "warning"),
            on_new_session=self._session_lost,
            clock=self.clock,
            random=self.clock.random.random,
        )
        self._told.clear()
        self._subscribe()
        await self._link.open()

    async def close(self) -> None:
        """Say goodbye."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def ready(self) -> None:
        """Wait for the broker's answer, and its answer to every subscription (R12)."""
        if self._link is not None:
            await self._link.wait_subscribed()

    def _options(self) -> LinkOptions:
        config, context = self.config, self.context
        # Two flows of an installation may both call their broker "site": they are two clients.
        own = sha256(f"{context.install_id}/{context.flow}".encode()).hexdigest()[:8]
        return LinkOptions(
            host=config.host,
            port=config.port or (8883 if config.tls else 1883),
            protocol=config.protocol,
            client_id=config.client_id or f"flowengine-{own}-{context.node}",
            username=config.username,
            password=config.password.reveal() if config.password else None,
            keepalive=max(1, config.keepalive // SECOND),
            session_expiry=config.session_expiry // SECOND,
            clean_start=config.clean_start,
            receive_maximum=config.receive_maximum,
            tls=tls_context(config.tls, Path(context.folder)) if config.tls else None,
            server_name=config.tls.server_name if config.tls else None,
            will=_will(config.will),
            birth=_will(config.birth),
            coalesce=_ECO if self.context.eco else 0.0,
        )

    @property
    def window(self) -> int:
        """How many messages may be unacknowledged before the broker stops sending."""
        is_old = self._link is not None and self._link.protocol != "5"
        return 20 if is_old else self.config.receive_maximum

    # -- for mqtt.in

    def join(self, source: "In") -> None:
        """A source wants its topics."""
        self._sources.append(source)
        self._subscribe()

    def leave(self, source: "In") -> None:
        """A source is gone; filters that nobody else wants are unsubscribed, unless we are held."""
        if source in self._sources:
            self._sources.remove(source)
        self._left.update(source.topics)
        if not self._is_held:
            self._unsubscribe()

    def hold(self) -> None:
        """Keep what comes, unacknowledged, and the subscriptions: sources close for a while."""
        self._is_held = True
        self.update_reading()

    def release(self) -> None:
        """The sources that are to be are there: leave what none of them wants."""
        self._is_held = False
        self._unsubscribe()
        self.update_reading()

    def _unsubscribe(self) -> None:
        wanted = {topic for source in self._sources for topic in source.topics}
        left, self._left = self._left - wanted, set()
        for topic in sorted(left):
            self._told.pop(topic, None)
            if self._link is not None:
                self._link.unsubscribe(topic)

    def _subscribe(self) -> None:
        """Ask for what is new or changed.

        A message that two filters match comes twice by MQTT 5 (§3.3.4): such filters are numbered,
        so that a source can tell which of them a copy is for.
        """
        if self._link is None:
            return
        wanted: dict[str, int] = {}
        for source in self._sources:
            for topic in source.topics:
                wanted[topic] = max(source.config.qos, wanted.get(topic, 0))
        for topic, qos in wanted.items():
            meets = any(filters_meet(topic, other) for other in wanted if other != topic)
            how = qos, filter_number(topic) if meets else 0
            if self._told.get(topic) != how:
                self._told[topic] = how
                self._link.subscribe(topic, *how)

    def _received(self, incoming: list[Incoming]) -> None:
        """Hand each source what is for it, and remember what to acknowledge."""
        read = _Read(incoming, len(self._sources))
        self._unacknowledged.append(read)
        if not self._sources:
            self._acknowledge()
        for source in self._sources:
            source.take(incoming, partial(self._settled, read))
        for packet in incoming:  # until it is acknowledged, only its number is wanted
            packet.payload = b""

    def _session_lost(self) -> None:
        """The broker has no session of ours: what was not acknowledged will not come again."""
        for source in self._sources:
            source.arrivals.session_lost()

    def _settled(self, read: "_Read") -> None:
        read.open -= 1
        if not read.open:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Acknowledge what is complete, in order of receipt (MQTT 5.0 §4.6)."""
        done: list[Incoming] = []
        while self._unacknowledged and self._unacknowledged[0].open <= 0:
            done += self._unacknowledged.popleft().incoming
        if done and self._link is not None:
            self._link.ack(done)

    def update_reading(self) -> None:
        """Stop reading while any source's flow is full, or sources are being made anew."""
        if self._link is None:
            return
        if self._is_held or any(source.is_full for source in self._sources):
            self._link.pause()
        else:
            self._link.resume()

    # -- for mqtt.out and other families

    async def publish(self, messages: Sequence[tuple[str, bytes, int, bool, Any]]) -> None:
        """Publish (topic, payload, qos, retain, properties); returns once all are committed."""
        if self._link is None:
            raise Unavailable("the connection to the broker is closed.", is_unanswered=False)
        try:
            await self._link.publish(messages)
        except RecordRefused as err:
            named = {
                index: f'the broker refused a message to "{messages[index][0]}": {why}.'
                for index, why in err.refused.items()
            }
            raise RecordRefused(err.what, err.mend, refused=named) from err

    @classmethod
    def stand_in(cls, sent: Callable[[Message], None], is_up: Callable[[], bool]) -> "StandIn":
        """The broker of flow tests."""
        return StandIn(sent, is_up)


class _Read:
    """What one read of the socket gave, and how many sources have not settled it."""

    __slots__ = ("incoming", "open")

    def __init__(self, incoming: list[Incoming], open_: int) -> None:
        self.incoming = incoming
        self.open = open_


class _Came:
    """By what the messages of one read are recognised: new ones, and copies, by their place."""

    __slots__ = ("again", "arrivals", "places")

    def __init__(self) -> None:
        self.arrivals: list[tuple[int, int, int]] = []
        """(packet id, checksum, arrival time) of new ones; packet id 0 for QoS 0."""
        self.again: dict[int, int] = {}
        self.places = 0

    def note(self, packet: int, mark: int, time: int, number: int) -> None:
        """One more; `number` is that of its first copy, 0 for a new one."""
        if number:
            self.again[self.places] = number
        else:
            self.arrivals.append((packet, mark, time))
        self.places += 1

    def read(self, behind: "_Came", places: int, redelivered: int) -> Read:
        """These and, `places` further on, those behind."""
        read = Read()
        read.redelivered = redelivered
        read.arrivals = self.arrivals + behind.arrivals if behind.arrivals else self.arrivals
        read.again = self.again
        for place, number in behind.again.items():
            read.again[places + place] = number
        return read


class StandIn:
    """A broker in a flow test: it shows what is published to it."""

    window = 1000

    def __init__(self, sent: Callable[[Message], None], is_up: Callable[[], bool]) -> None:
        self._sent = sent
        self._is_up = is_up

    async def publish(self, messages: Sequence[tuple[str, bytes, int, bool, Any]]) -> None:
        """Show the messages, their payload decoded."""
        if not self._is_up():
            raise Unavailable("the broker is away.", is_unanswered=False)
        for topic, payload, qos, retain, _ in messages:
            self._sent(Message(decode(payload), topic, meta={"qos": qos, "retained": retain}))

    def join(self, source: "In") -> None:
        """Messages come by `feed`."""

    def leave(self, source: "In") -> None:
        """Nothing to leave."""

    def update_reading(self) -> None:
        """Nothing to stop."""


def _will(config: WillConfig | None) -> Will | None:
    if config is None:
        return None
    return Will(config.topic, config.payload.encode(), config.qos, config.retain)


def tls_context(config: TlsConfig, folder: Path) -> ssl.SSLContext:
    """The TLS settings of a connection; NodeError names a file that cannot be used."""
    made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    made.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if config.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    name = config.ca or config.cert or ""
    try:
        if config.ca is not None:
            made = ssl.create_default_context(cafile=str(folder / config.ca))
            made.minimum_version = (
                ssl.TLSVersion.TLSv1_3 if config.min_version == "1.3" else ssl.TLSVersion.TLSv1_2
            )
        if config.cert is not None and config.key is not None:
            name = config.cert
            password = config.key_password.reveal() if config.key_password else None
            made.load_cert_chain(str(folder / config.cert), str(folder / config.key), password)
    except (OSError, ssl.SSLError) as err:
        raise NodeError(
            f'the TLS file "{name}" cannot be used: {err}',
            slug="bad-tls",
            mend="Look at its name, its rights and whether it is PEM.",
        ) from err
    if config.alpn:
        made.set_alpn_protocols(config.alpn)
    return made


class InConfig(SourceConfig):
    """Which topics, and how their payloads are read."""

    broker: str = connection("mqtt.broker", description="The broker.")
    topic: TopicFilter | list[TopicFilter] = Field(
        description="Topic filter, or a list of them; `$share/group/` before it shares the load."
    )
    qos: Qos = Field(default=1, description="Highest quality of service asked for.")
    decode: Literal["auto", "json", "text", "bytes", "cbor"] = Field(
        default="auto", description="How payloads are read; `auto` goes by what they are."
    )
    retained: Literal["accept", "ignore"] = Field(
        default="accept", description="Whether messages kept by the broker are taken."
    )

    @model_validator(mode="after")
    def _filters(self) -> "InConfig":
        for topic in self.topics():
            wrong = filter_fault(topic)
            if wrong:
                raise fault("bad-value", f'"{topic}" is no topic filter: {wrong}.')
        if not self.topics():
            raise fault("bad-value", "the list of topics is empty.", "Name a topic filter.")
        return self

    def topics(self) -> list[str]:
        """The filters, always a list."""
        return [self.topic] if isinstance(self.topic, str) else self.topic


@node("mqtt.in", identity="session + packet id")
class In(Source[InConfig]):
    """Messages of a broker's topics.

    Out: payload decoded, topic as published, key = the level that the first `+` matched, else the
    topic. meta: qos, retained, duplicate; content_type and properties if the broker gave them.
    A message is acknowledged (QoS 1 and 2) only after every branch has committed it. What does not
    decode takes the error route; `decode: auto` always decodes.
    """

    def setup(self) -> None:
        """Prepare the reading of payloads and topics."""
        self.topics = self.config.topics()
        self.is_full = False
        self._decode = decoder(self.config.decode)
        self._stamper = Stamper(self.config, self.context)
        self._patterns = [filter_pattern(topic) for topic in self.topics]
        self._numbers = [filter_number(topic) for topic in self.topics]
        self._keys: dict[str, str | None] = {}
        self._number: dict[str, int] = {}
        self._metas: dict[tuple[int, bool, bool], dict[str, Any]] = {}
        self._ignores = self.config.retained == "ignore"
        self._broker: Any = self.context.connection(self.config.broker)
        self._marks: dict[str, int] = {}
        self.arrivals = self.context.arrivals()
        self._comes_again = self.config.qos > 0

    @property
    def window(self) -> int | None:  # type: ignore[override]  # it follows the protocol in use
        """What the broker lets stand unacknowledged."""
        window: int | None = self._broker.window if self.config.qos else None
        return window

    async def open(self) -> None:
        """Ask the broker for the topics."""
        self._broker.join(self)

    async def close(self) -> None:
        """Ask for them no more."""
        self._broker.leave(self)

    def pause(self) -> None:
        """The flow is full."""
        self.is_full = True
        self._broker.update_reading()

    def resume_reading(self) -> None:
        """The flow has room."""
        self.is_full = False
        self._broker.update_reading()

    def feed(self, topic: str, payload: bytes, meta: dict[str, Any]) -> bool:
        """A flow test published this."""
        if self._key_of(topic) is None:
            return False
        qos = int(meta.get("qos", self.config.qos))
        retained = bool(meta.get("retained", False))
        properties = {"content_type": meta["content_type"]} if "content_type" in meta else None
        self.take([Incoming(topic, payload, qos, retained, False, 0, properties, 0)], None)
        return True

    def take(  # noqa: PLR0912, PLR0915  # the hot path, written out
        self, incoming: list[Incoming], settled: Callable[[], None] | None
    ) -> None:
        """Let in what is ours of one read; `settled` when all of it is committed.

        What came before and is on its way, or committed, is not let in again: its turn to be
        acknowledged comes with this read.
        """
        messages: list[Message] = []
        failed: list[tuple[Message, Exception]] = []
        came, came_failed = _Came(), _Came()
        keys, metas, decode = self._keys, self._metas, self._decode
        marks, find = self._marks, self.arrivals.find
        at = self._stamper.arrivals(len(incoming))
        redelivered = 0
        for packet in incoming:
            topic = packet.topic
            key = keys[topic] if topic in keys else self._key_of(topic)
            if key is None or (self._ignores and packet.retain):
                continue
            properties = packet.properties
            if properties is None:
                facts = packet.qos, packet.retain, packet.dup
                meta = metas.get(facts) or self._meta(facts)
                content_type = None
            else:
                numbers = properties.get("subscription_ids")
                if numbers and self._number[topic] not in numbers:
                    continue  # the copy for another filter
                meta = self._meta_with(packet, properties)
                content_type = properties.get("content_type")
            time, packet_id, mark, number = at, 0, 0, 0
            if packet.qos:
                packet_id = packet.mid
                mark = crc32(packet.payload, marks.get(topic) or self._mark_of(topic))
                known = find(packet_id, mark, is_marked=packet.dup)
                if known is not None:
                    redelivered += 1
                    _, number, time = known
                    if not self.arrivals.is_former(number):
                        continue
            try:
                if packet.too_large:
                    raise too_large(packet)  # it takes the same way
                payload = decode(packet.payload, content_type)
            except NodeError as err:
                kept = None if packet.too_large else packet.payload
                failed.append((Message(kept, topic, time, key, meta), err))
                came_failed.note(packet_id, mark, time, number)
            else:
                messages.append(Message(payload, topic, time, key, meta))
                if number:
                    came.again[len(messages) - 1] = number
                else:
                    came.arrivals.append((packet_id, mark, time))
            at += 1
        if not self._stamper.is_plain:
            self._stamper.read(messages)
        read = came.read(came_failed, len(messages), redelivered) if self._comes_again else None
        self.emit(messages, settled, failed, read)

    def _mark_of(self, topic: str) -> int:
        """The checksum of a topic, remembered."""
        mark = self._marks.get(topic)
        if mark is None:
            if len(self._marks) >= _REMEMBERED:
                self._marks.clear()
            mark = self._marks[topic] = crc32(topic.encode())
        return mark

    def _key_of(self, topic: str) -> str | None:
        """The default key of a topic (R10), None if it is not ours; remembered."""
        key: str | None = None
        number = 0
        for pattern, number in zip(self._patterns, self._numbers, strict=True):  # noqa: B007
            match = pattern.fullmatch(topic)
            if match is not None:
                key = match[1] if match.re.groups else topic
                break
        if len(self._keys) >= _REMEMBERED:
            self._keys.clear()
            self._number.clear()
        self._keys[topic], self._number[topic] = key, number
        return key

    def _meta(self, facts: tuple[int, bool, bool]) -> dict[str, Any]:
        qos, retained, duplicate = facts
        made = {"qos": qos, "retained": retained, "duplicate": duplicate}
        return self._metas.setdefault(facts, made)

    def _meta_with(self, packet: Incoming, properties: dict[str, Any]) -> dict[str, Any]:
        made = {**self._meta((packet.qos, packet.retain, packet.dup))}
        if "content_type" in properties:
            made["content_type"] = properties["content_type"]
        users = dict(properties.get("user_properties") or ())
        if users:
            made["properties"] = users
        return made


def too_large(packet: Incoming) -> NodeError:
    """The error for a message whose payload was not kept."""
    return NodeError(
        f"the message has {packet.too_large:,} bytes, more than can be taken in; its payload was "
        "not kept.",
        slug="too-large",
        mend="Send it in parts, or by another way.",
        path="payload",
    )


class OutConfig(SinkConfig):
    """Where to publish, and what."""

    broker: str = connection("mqtt.broker", description="The broker.")
    topic: TopicTemplate = Field(description="The topic; `{expression}` holes fill one level.")
    payload: TemplateField | None = Field(
        default=None, description="Text sent in place of the payload."
    )
    qos: Qos = Field(default=1, description="Quality of service.")
    retain: bool = Field(default=False, description="Whether the broker keeps the message.")
    encode: Literal["auto", "json", "text", "bytes", "cbor"] = Field(
        default="auto", description="How the payload is written."
    )
    expiry: Duration | None = Field(
        default=None, description="The broker throws an undelivered message away (MQTT 5)."
    )


@node("mqtt.out")
class Out(Sink[OutConfig]):
    """Messages published to a broker.

    Committed: PUBACK (QoS 1), PUBCOMP (QoS 2), written to the socket (QoS 0) (R57). A broker that
    is away is waited for; a message that it refuses for good takes the error route.
    """

    batch_size = 2000
    batch_age = 0

    def setup(self) -> None:
        """Bind topic and payload."""
        params, now = self.context.params, self.context.now
        self._topic = self.config.topic.bind(params, now)
        payload = self.config.payload
        self._payload = payload.bind(params, now) if payload is not None else None
        self._encode = encoder(self.config.encode)
        expiry = self.config.expiry
        self._properties = (
            {"message_expiry": max(1, expiry // SECOND)} if expiry is not None else None
        )
        self._broker: Any = self.context.connection(self.config.broker)
        self._fixed = self._topic(Message()) if self.config.topic.is_constant else None

    def prepare(self, message: Message) -> tuple[str, bytes, int, bool, Any]:
        """(topic, payload, qos, retain, properties)."""
        topic = self._fixed
        if topic is None:
            topic = self._topic(message)
            wrong = topic_fault(topic)
            if wrong:
                raise NodeError(f"nothing can be published to {wrong}.", slug="bad-topic")
        if self._payload is not None:
            payload = self._payload(message).encode()
        else:
            payload = self._encode(message.payload)
        config = self.config
        return topic, payload, config.qos, config.retain, self._properties

    async def write(self, records: list[Any]) -> None:
        """Publish; returns once the broker has them."""
        await self._broker.publish(records)
