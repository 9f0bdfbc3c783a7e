"""The MQTT nodes let each message in once, acknowledge it late and send what they are told."""

import asyncio
import re
from typing import Any

import pytest

from flowengine.errors import FindingsError, Unavailable
from flowengine.nodes import mqtt
from flowengine.nodes.mqtt import Broker, BrokerConfig
from flowengine.nodes.mqtt.link import Incoming
from flowengine.testing import NodeBench


class FakeLink:
    """A link that notes what it is asked for."""

    def __init__(self, options: Any, *, on_messages: Any, on_state: Any, **_seams: Any) -> None:
        self.options, self.on_messages, self.on_state = options, on_messages, on_state
        self.protocol = "5"
        self.subscribed: list[tuple[str, int]] = []
        self.numbers: dict[str, int] = {}
        self.unsubscribed: list[str] = []
        self.acked: list[int] = []
        self.published: list[Any] = []
        self.is_paused = False
        self.is_open = False

    async def open(self) -> None:
        self.is_open = True

    async def close(self) -> None:
        self.is_open = False

    def subscribe(self, topic: str, qos: int, number: int = 0) -> None:
        self.subscribed.append((topic, qos))
        self.numbers[topic] = number

    def unsubscribe(self, topic: str) -> None:
        self.unsubscribed.append(topic)

    def ack(self, incoming: list[Incoming]) -> None:
        self.acked += [packet.mid for packet in incoming]

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False

    async def publish(self, messages: Any) -> None:
        self.published += messages


class Site:
    """A broker connection over a fake link, and benches for its nodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **config: Any) -> None:
        self.links: list[FakeLink] = []

        def make(*args: Any, **kwargs: Any) -> FakeLink:
            self.links.append(FakeLink(*args, **kwargs))
            return self.links[-1]

        monkeypatch.setattr(mqtt, "MqttLink", make)
        self.bench = NodeBench("debug")
        self.broker = Broker(
            BrokerConfig.model_validate({"host": "127.0.0.1", **config}), self.bench.context
        )
        asyncio.run(self.broker.open())

    @property
    def link(self) -> FakeLink:
        """The one link."""
        [link] = self.links
        return link

    def source(self, **config: Any) -> NodeBench:
        """An `mqtt.in`, open."""
        bench = NodeBench(
            "mqtt.in", {"broker": "b", **config}, connections={"b": self.broker}, node_id="in"
        )
        bench.open()
        return bench

    def sink(self, **config: Any) -> NodeBench:
        """An `mqtt.out`."""
        return NodeBench(
            "mqtt.out", {"broker": "b", **config}, connections={"b": self.broker}, node_id="out"
        )


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def packet(topic: str, payload: bytes = b"1", qos: int = 1, mid: int = 1, **more: Any) -> Incoming:
    return Incoming(
        topic, payload, qos, more.get("retain", False), False, mid, more.get("properties"), 1
    )


def left(bench: NodeBench) -> list[Any]:
    return [message.payload for message in bench.advance(0).get("out", [])]


# -- R11: defaults ---------------------------------------------------------------------------------


def test_r11_the_defaults_keep_the_session(site: Site) -> None:
    options = site.link.options
    assert re.fullmatch("flowengine-[0-9a-f]{8}-node", options.client_id)
    assert (options.port, options.keepalive, options.session_expiry) == (1883, 60, 86_400)
    assert (options.clean_start, options.receive_maximum, options.protocol) == (False, 1000, "auto")


def test_r11_the_client_id_stays_and_is_the_flow_s_own(site: Site) -> None:
    ids = []
    for flow in ("bench", "other", "bench"):
        site.bench.context.flow = flow
        broker = Broker(site.broker.config, site.bench.context)
        asyncio.run(broker.open())
        ids.append(site.links[-1].options.client_id)
    assert ids[0] == ids[2] == site.links[0].options.client_id
    assert ids[1] != ids[0]


def test_r11_with_tls_the_port_is_8883_and_the_broker_is_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = Site(monkeypatch, tls={}).link.options
    assert options.port == 8883
    assert options.tls.check_hostname is True
    assert options.tls.minimum_version.name == "TLSv1_2"


def test_r11_a_source_asks_for_qos_1_and_decodes_by_itself(site: Site) -> None:
    bench = site.source(topic="device/+/telemetry")
    assert site.link.subscribed == [("device/+/telemetry", 1)]
    site.broker._received([packet("device/d1/telemetry", b'{"t": 21.5}')])
    [message] = bench.advance(0)["out"]
    assert (message.payload, message.topic, message.key) == (
        {"t": 21.5},
        "device/d1/telemetry",
        "d1",
    )
    assert message.meta == {"qos": 1, "retained": False, "duplicate": False}


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"21.5", 21.5),
        (b"ON", "ON"),
        (b'"ON"', "ON"),
        (b"", ""),
        (b"\xff\xfe", b"\xff\xfe"),
        (b'{"a": [1, null]}', {"a": [1, None]}),
    ],
)
def test_r11_decode_auto_never_fails(site: Site, raw: bytes, value: Any) -> None:
    bench = site.source(topic="t")
    site.broker._received([packet("t", raw)])
    assert left(bench) == [value]


def test_r11_content_type_and_properties_of_mqtt_5_are_kept(site: Site) -> None:
    bench = site.source(topic="t")
    properties = {"content_type": "text/plain", "user_properties": (("site", "a"),)}
    site.broker._received([packet("t", b"21.5", properties=properties)])
    [message] = bench.advance(0)["out"]
    assert message.payload == "21.5"
    assert message.meta["content_type"] == "text/plain"
    assert message.meta["properties"] == {"site": "a"}


def test_r11_what_does_not_decode_takes_the_error_route_and_is_acknowledged(site: Site) -> None:
    bench = site.source(topic="t", decode="json")
    site.broker._received([packet("t", b"no json", mid=1), packet("t", b"2", mid=2)])
    out = bench.advance(0)
    assert [m.payload for m in out["out"]] == [2]
    assert out["error"][0].payload == b"no json"
    assert out["error"][0].meta["error"]["slug"] == "not-json"
    assert site.link.acked == [1, 2]


def test_r43_retained_messages_can_be_ignored(site: Site) -> None:
    bench = site.source(topic="t", retained="ignore")
    site.broker._received([packet("t", b"1", retain=True, mid=1), packet("t", b"2", mid=2)])
    assert left(bench) == [2]
    assert site.link.acked == [1, 2]


# -- R10, R58: keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "topic", "key"),
    [
        ("device/+/telemetry", "device/d1/telemetry", "d1"),
        ("+/+/x", "a/b/x", "a"),
        ("device/#", "device/d1/x", "device/d1/x"),
        ("plain", "plain", "plain"),
        ("$share/g/device/+/telemetry", "device/d1/telemetry", "d1"),
        (["other/+", "device/+/t"], "device/d9/t", "d9"),
    ],
)
def test_r10_r58_the_default_key(site: Site, filters: Any, topic: str, key: str) -> None:
    bench = site.source(topic=filters)
    site.broker._received([packet(topic)])
    assert bench.advance(0)["out"][0].key == key


def test_r10_a_key_expression_wins(site: Site) -> None:
    bench = site.source(topic="t", key="payload.id")
    site.broker._received([packet("t", b'{"id": "d7"}'), packet("t", b"{}")])
    assert [m.key for m in bench.advance(0)["out"]] == ["d7", ""]
    assert bench.counts["no-key"] == 1


# -- R2, R55: time ---------------------------------------------------------------------------------


def test_r55_two_messages_of_one_read_never_share_an_arrival_time(site: Site) -> None:
    bench = site.source(topic="t")
    site.broker._received([packet("t") for _ in range(3)])
    site.broker._received([packet("t")])
    times = [m.time for m in bench.advance(0)["out"]]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("value", "quality"),
    [
        (b'{"ts": 1767225601}', None),
        (b'{"ts": 1767225601000}', None),
        (b'{"ts": "2026-01-01T00:00:01Z"}', None),
        (b'{"ts": "yesterday"}', "arrival"),
        (b"{}", "arrival"),
        (b'{"ts": 4102444800}', "arrival"),
    ],
)
def test_r2_event_time_comes_from_the_payload_or_is_the_arrival(
    site: Site, value: bytes, quality: str | None
) -> None:
    bench = site.source(topic="t", time="payload.ts")
    site.broker._received([packet("t", value)])
    [message] = bench.advance(0)["out"]
    assert message.meta.get("time_quality") == quality
    expected = bench.clock.now() if quality else 1_767_225_601_000_000_000
    assert abs(message.time - expected) < 1000


# -- R42, acknowledgement --------------------------------------------------------------------------


def test_r42_overlapping_filters_give_each_source_each_message_once(site: Site) -> None:
    first, second = site.source(topic="a/#"), site.source(topic=["a/+", "a/b"])
    site.broker._received([packet("a/b", b"1")])
    assert (left(first), left(second)) == ([1], [1])
    assert site.link.acked == [1]


def test_r42_a_copy_for_each_filter_is_one_message_to_each_source(site: Site) -> None:
    """MQTT 5.0 §3.3.4: a broker may send one copy with every number, or a copy for each."""
    first, second = site.source(topic="a/#"), site.source(topic=["a/+", "a/b"])
    alone = site.source(topic="else")
    numbers = site.link.numbers
    assert numbers["else"] == 0
    assert len({numbers["a/#"], numbers["a/+"], numbers["a/b"]} - {0}) == 3
    copies = [numbers["a/b"], numbers["a/#"], numbers["a/+"], 12345]
    incoming = [
        packet("a/b", b"1", mid=mid, properties={"subscription_ids": (number,)})
        for mid, number in enumerate(copies, 1)
    ]
    incoming.append(packet("a/b", b"2", mid=5, properties={"subscription_ids": tuple(copies)}))
    site.broker._received(incoming)
    assert (left(first), left(second), left(alone)) == ([1, 2], [1, 2], [])
    assert site.link.acked == [1, 2, 3, 4, 5]


def test_r42_a_filter_is_numbered_while_another_meets_it(site: Site) -> None:
    one = site.source(topic="a/#")
    assert site.link.numbers == {"a/#": 0}
    other = site.source(topic="a/b")
    assert all(site.link.numbers.values())
    other.close()
    site.source(topic="c")
    assert site.link.numbers["a/#"] == 0
    one.close()


def test_a_message_is_acknowledged_when_every_source_has_settled_it_in_order(site: Site) -> None:
    one, other = site.source(topic="a/#"), site.source(topic="+/b")
    held: list[Any] = []
    for bench in (one, other):
        bench.node.emit = lambda messages, settled, failed, read: held.append(settled)
    site.broker._received([packet("a/b", mid=1)])
    site.broker._received([packet("a/b", mid=2)])
    for index in (2, 3, 0):
        held[index]()
    assert site.link.acked == []
    held[1]()
    assert site.link.acked == [1, 2]


def test_a_message_that_no_source_takes_is_acknowledged(site: Site) -> None:
    site.source(topic="a")
    site.broker._received([packet("else", mid=9)])
    assert site.link.acked == [9]


def test_a_full_flow_stops_the_reading(site: Site) -> None:
    one, other = site.source(topic="a"), site.source(topic="b")
    one.node.pause()
    other.node.pause()
    one.node.resume_reading()
    assert site.link.is_paused
    other.node.resume_reading()
    assert not site.link.is_paused


def test_a_source_that_goes_leaves_only_what_nobody_else_wants(site: Site) -> None:
    one = site.source(topic=["a", "b"])
    site.source(topic="a")
    one.close()
    assert site.link.unsubscribed == ["b"]


def test_a_held_broker_keeps_its_subscriptions_and_lets_nothing_in(site: Site) -> None:
    one = site.source(topic=["a", "b"])
    site.broker.hold()
    assert site.link.is_paused
    one.close()
    assert site.link.unsubscribed == []
    site.source(topic="a")
    site.broker.release()
    assert site.link.unsubscribed == ["b"]
    assert not site.link.is_paused


def test_r54_the_window_follows_the_protocol(site: Site) -> None:
    bench = site.source(topic="a")
    assert bench.node.window == 1000
    site.link.protocol = "3.1.1"
    assert bench.node.window == 20
    assert site.source(topic="a", qos=0).node.window is None


# -- mqtt.out --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "payload", "sent"),
    [
        ({}, {"b": 1, "a": [True]}, (b'{"b":1,"a":[true]}', 1, False)),
        ({}, "text", (b"text", 1, False)),
        ({}, b"\x00", (b"\x00", 1, False)),
        ({}, None, (b"", 1, False)),
        ({}, 21.5, (b"21.5", 1, False)),
        ({"payload": "ON"}, 21.5, (b"ON", 1, False)),
        ({"payload": "{payload:.1f} C"}, 21.54, (b"21.5 C", 1, False)),
        ({"qos": 0, "retain": True, "encode": "json"}, "x", (b'"x"', 0, True)),
    ],
)
def test_r11_what_is_published(site: Site, config: Any, payload: Any, sent: Any) -> None:
    bench = site.sink(topic="out/{key}", **config)
    bench.send(payload, key="d1")
    [(topic, raw, qos, retain, properties)] = site.link.published
    assert topic == "out/d1"
    assert (raw, qos, retain) == sent
    assert properties is None


@pytest.mark.parametrize("key", ["a/b", "+", "#", "", "a\0"])
def test_r8_a_device_cannot_choose_anothers_topic(site: Site, key: str) -> None:
    out = site.sink(topic="out/{key}").send(1, key=key)
    assert len(out["error"]) == 1
    assert site.link.published == []


def test_an_expiry_is_told_in_seconds(site: Site) -> None:
    bench = site.sink(topic="t", expiry="2m")
    bench.send(1)
    assert site.link.published[0][4] == {"message_expiry": 120}


def test_a_closed_connection_is_waited_for(site: Site) -> None:
    bench = site.sink(topic="t")
    asyncio.run(site.broker.close())
    with pytest.raises(Unavailable):
        bench.send(1)


@pytest.mark.parametrize(
    ("node_type", "config", "slug"),
    [
        ("mqtt.in", {"topic": "a/#/b"}, "bad-value"),
        ("mqtt.in", {"topic": "a+"}, "bad-value"),
        ("mqtt.in", {"topic": "$share/g"}, "bad-value"),
        ("mqtt.in", {"topic": []}, "bad-value"),
        ("mqtt.in", {"topic": "a", "qos": 3}, "bad-value"),
        ("mqtt.in", {"topic": "a", "time": "payload."}, "bad-expression"),
        ("mqtt.out", {"topic": "a/{key"}, "bad-template"),
        ("mqtt.out", {"topic": "a/+"}, "bad-template"),
        ("mqtt.out", {"topic": "a", "payload": "{payload.x +}"}, "bad-template"),
        ("mqtt.out", {"topic": "a", "expiry": 5}, "bad-duration"),
    ],
)
def test_what_cannot_work_is_a_finding(node_type: str, config: Any, slug: str) -> None:
    with pytest.raises(FindingsError) as caught:
        NodeBench(node_type, {"broker": "b", **config})
    assert slug in {finding.slug for finding in caught.value.findings}


def test_a_password_stands_only_as_a_secret() -> None:
    from flowengine.config import validate_config  # noqa: PLC0415

    _, faults = validate_config(BrokerConfig, {"host": "h", "password": "hunter2"})
    assert [fault.slug for fault in faults] == ["literal-secret"]
    assert "hunter2" not in str(faults)


@pytest.mark.parametrize(("eco", "coalesce"), [(False, 0.0), (True, 0.005)])
def test_eco_lets_the_socket_rest_between_reads(
    monkeypatch: pytest.MonkeyPatch, eco: bool, coalesce: float
) -> None:
    site = Site(monkeypatch)
    site.bench.context.eco = eco
    assert site.broker._options().coalesce == coalesce
