"""A link keeps its promises against mosquitto: nothing lost, nothing acknowledged by itself."""

import asyncio
import contextlib
import json
import logging
import signal
import ssl
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowengine.nodes.mqtt import paho as mqtt_paho
from flowengine.nodes.mqtt.link import LinkDown, PublishRefused, Will
from flowengine.nodes.mqtt_wire import Outgoing
from tests.nodes.mqtt_witness import Witness, run
from tests.system.authority import Authority, Identity
from tests.system.brokers import MakeMosquitto, Mosquitto
from tests.system.real import free_port, need, until

PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


@pytest.fixture(params=["fast", "stock"])
def any_paho(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test twice: as always, and as with a paho that lacks a private name."""
    if request.param == "stock":
        monkeypatch.setattr(mqtt_paho, "NEEDED", ("_gone",))


def outgoing(count: int, qos: int, topic: str = "flood/1") -> list[Outgoing]:
    return [(topic, b"%d" % number, qos, False, None) for number in range(count)]


async def in_a_thread(condition: Callable[[], object]) -> None:
    """Wait for something outside the loop without stopping it."""
    await asyncio.to_thread(until, condition)


# --- receiving and acknowledging


@PROTOCOLS
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_receives_everything_once_and_in_order(
    mosquitto: Mosquitto, any_paho: None, protocol: str, qos: int
) -> None:
    async def work() -> None:
        async with (
            Witness(mosquitto.port, protocol=protocol) as receiver,
            Witness(mosquitto.port, protocol=protocol, client_id="sender") as sender,
        ):
            await receiver.subscribed("flood/#", qos)
            await sender.running()
            await sender.link.publish(outgoing(500, qos))
            await receiver.until(lambda: len(receiver.messages) >= 500)
            assert receiver.payloads == [b"%d" % number for number in range(500)]
            assert {(m.topic, m.qos, m.dup) for m in receiver.messages} == {("flood/1", qos, False)}
            await sender.link.publish([("flood/end", b"", qos, False, None)])
            await receiver.until(lambda: receiver.messages[-1].topic == "flood/end")
            assert len(receiver.messages) == 501

    run(work())


@PROTOCOLS
@pytest.mark.parametrize("qos", [1, 2])
def test_what_is_not_acknowledged_comes_again(
    mosquitto: Mosquitto, protocol: str, qos: int
) -> None:
    async def work() -> None:
        settings: dict[str, Any] = {"protocol": protocol, "acks": False}
        async with Witness(mosquitto.port, client_id="sender") as sender:
            await sender.running()
            async with Witness(mosquitto.port, **settings) as first:
                await first.subscribed("flood/#", qos)
                await sender.link.publish(outgoing(10, qos))
                await first.until(lambda: len(first.messages) == 10)
                first.link.ack(first.messages[:4])
                # The broker reads in order: with this answer it has read the acknowledgements.
                await first.link.publish([("other", b"", 1, False, None)])
            async with Witness(mosquitto.port, **settings) as second:
                await second.until(lambda: len(second.messages) == 6)
                assert second.link.session_present
                assert second.payloads == [b"%d" % number for number in range(4, 10)]
                assert all(message.dup for message in second.messages)
                second.link.ack(second.messages)
            async with Witness(mosquitto.port, **settings) as third:
                await third.running()
                await sender.link.publish([("flood/end", b"end", qos, False, None)])
                await third.until(lambda: third.messages)
                assert third.payloads == [b"end"]

    run(work())


@PROTOCOLS
def test_a_session_outlives_the_link(mosquitto: Mosquitto, protocol: str) -> None:
    async def work() -> None:
        async with Witness(mosquitto.port, client_id="sender") as sender:
            await sender.running()
            await sender.link.publish([("flood/kept", b"retained", 1, True, None)])
            async with Witness(mosquitto.port, protocol=protocol) as first:
                await first.subscribed("flood/#")
                await first.until(lambda: first.messages)
                assert first.messages[0].retain
            await sender.link.publish(outgoing(3, 1))
            async with Witness(mosquitto.port, protocol=protocol) as second:
                await second.until(lambda: len(second.messages) == 3)
                assert second.payloads == [b"0", b"1", b"2"]
                # A new process asks again; MQTT 5 brokers then do not repeat retained messages.
                await second.subscribed("flood/#")
                await sender.link.publish([("flood/end", b"end", 1, False, None)])
                await second.until(lambda: second.messages[-1].payload == b"end")
                again = [message for message in second.messages if message.retain]
                assert len(again) == (0 if protocol == "5" else 1)

    run(work())


def test_a_clean_start_forgets_the_session(mosquitto: Mosquitto) -> None:
    async def work() -> None:
        async with Witness(mosquitto.port) as first:
            await first.subscribed("flood/#")
        async with Witness(mosquitto.port, clean_start=True) as second:
            await second.running()
            assert not second.link.session_present

    run(work())


def test_leaves_a_filter(mosquitto: Mosquitto, any_paho: None) -> None:
    async def work() -> None:
        async with Witness(mosquitto.port) as witness:
            await witness.subscribed("flood/#")
            await witness.subscribed("end")
            witness.link.unsubscribe("flood/#")
            await asyncio.sleep(0)  # the turn of the loop in which it is sent
            await witness.link.publish([("flood/1", b"", 1, False, None)])
            await witness.link.publish([("end", b"", 1, False, None)])
            await witness.until(lambda: witness.messages)
            assert [message.topic for message in witness.messages] == ["end"]

    run(work())


def test_carries_the_properties_of_mqtt_5(mosquitto: Mosquitto, any_paho: None) -> None:
    properties = {
        "content_type": "application/json",
        "response_topic": "answers",
        "correlation_data": b"\0\1",
        "user_properties": (("unit", "°C"), ("unit", "K")),
    }

    async def work() -> None:
        async with Witness(mosquitto.port) as witness:
            await witness.subscribed("t")
            await witness.link.publish([("t", b"21.5", 1, False, properties)])
            await witness.until(lambda: witness.messages)
            assert witness.messages[0].properties == properties

    run(work())


# --- the broker goes away


@pytest.mark.parametrize("persistence", [True, False])
def test_comes_back_after_the_broker_was_killed(
    make_mosquitto: MakeMosquitto, any_paho: None, persistence: bool
) -> None:
    broker = make_mosquitto(persistence=persistence)

    async def work() -> None:
        async with (
            Witness(broker.port) as receiver,
            Witness(broker.port, client_id="sender") as sender,
        ):
            await receiver.subscribed("flood/#")
            await sender.running()
            before = receiver.link.epoch
            broker.kill()
            await receiver.until(lambda: receiver.link.state == "connecting")
            await sender.until(lambda: sender.link.state == "connecting")
            broker.start()
            await receiver.running()
            await sender.running()
            await receiver.link.wait_subscribed()
            assert receiver.link.epoch > before
            assert receiver.link.session_present is persistence
            lost = "had lost the session" in receiver.states[-1][1]
            assert lost is not persistence
            await sender.link.publish(outgoing(10, 1))
            await receiver.until(lambda: len(receiver.messages) == 10)

    run(work())


def test_loses_nothing_when_the_broker_is_killed_amid_a_flood(
    make_mosquitto: MakeMosquitto,
) -> None:
    broker = make_mosquitto(persistence=True)

    async def work() -> None:
        async with (
            Witness(broker.port) as receiver,
            Witness(broker.port, client_id="sender") as sender,
        ):
            await receiver.subscribed("flood/#")
            await sender.running()
            sending = sender.link.publish(outgoing(600, 1))
            await receiver.until(lambda: len(receiver.messages) > 60)
            broker.kill()
            with contextlib.suppress(LinkDown):
                await sending
            broker.start()
            await sender.until(lambda: sender.link.state == "connecting")
            await sender.running()
            await sender.link.publish(outgoing(600, 1))
            await receiver.until(lambda: len(set(receiver.payloads)) == 600)

    run(work())


def test_notices_a_broker_that_hangs(mosquitto: Mosquitto) -> None:
    async def work() -> None:
        async with Witness(mosquitto.port, keepalive=1) as witness:
            await witness.running()
            mosquitto.send(signal.SIGSTOP)
            try:
                await witness.said("stopped answering", "connecting")
            finally:
                mosquitto.send(signal.SIGCONT)
            await witness.running()
            assert witness.link.session_present

    run(work())


def test_two_links_with_one_id_notice_each_other(mosquitto: Mosquitto) -> None:
    async def work() -> None:
        async with Witness(mosquitto.port) as first:
            await first.running()
            async with Witness(mosquitto.port) as second:
                told = asyncio.wait(
                    [
                        asyncio.ensure_future(side.said('use the client_id "witness"', "failed"))
                        for side in (first, second)
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                _, waiting = await told
                for one in waiting:
                    one.cancel()

    run(work())


# --- the broker says no


@PROTOCOLS
def test_says_that_the_password_is_wrong(make_mosquitto: MakeMosquitto, protocol: str) -> None:
    broker = make_mosquitto(password={"box": "right"})

    async def work() -> None:
        settings: dict[str, Any] = {"protocol": protocol, "username": "box"}
        async with Witness(broker.port, **settings | {"password": "wrong"}) as witness:
            what = await witness.said("refused the connection: not authorized", "failed")
            assert "Correct username and password" in what
            assert "wrong" not in what
        async with Witness(broker.port, **settings | {"password": "right"}) as witness:
            await witness.running()

    run(work())


def test_names_the_message_and_the_filter_that_rules_forbid(
    make_mosquitto: MakeMosquitto, any_paho: None
) -> None:
    # Without a limit, mosquitto 2.0.11 hangs up after refusing, at times before it has said so.
    broker = make_mosquitto(acl="topic readwrite open/#\n", extra="max_queued_messages 1000")

    async def work() -> None:
        async with Witness(broker.port) as witness:
            await witness.subscribed("open/#")
            with pytest.raises(PublishRefused, match=r'"secret/1".*not authorized \(0x87\)') as no:
                await witness.link.publish([*outgoing(2, 1, "open/1"), *outgoing(1, 1, "secret/1")])
            assert no.value.index == 2
            assert list(no.value.refused) == [2]
            await witness.until(lambda: len(witness.messages) == 2)

    run(work())


def test_names_the_filter_that_the_broker_refuses(
    make_mosquitto: MakeMosquitto, tmp_path: Path, any_paho: None
) -> None:
    plugin = need("mosquitto_dynamic_security.so", "/usr/lib/*/mosquitto_dynamic_security.so")
    may = {"acltype": "subscribePattern", "topic": "open/#", "priority": 0, "allow": True}
    rules = {
        "defaultACLAccess": {
            "publishClientSend": True,
            "publishClientReceive": True,
            "subscribe": False,
            "unsubscribe": True,
        },
        "roles": [{"rolename": "all", "acls": [may]}],
        "groups": [{"groupname": "all", "roles": [{"rolename": "all"}], "clients": []}],
        "anonymousGroup": "all",
        "clients": [],
    }
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    broker = make_mosquitto(
        extra=f"plugin {plugin}\nplugin_opt_config_file {tmp_path / 'rules.json'}"
    )

    async def work() -> None:
        async with Witness(broker.port) as witness:
            witness.link.subscribe("open/#", 1)
            witness.link.subscribe("secret/#", 1)
            await witness.link.wait_subscribed()
            what = await witness.said("refused the subscription", "failed")
            assert '"secret/#": not authorized (0x87)' in what
            await witness.link.publish([("open/1", b"", 1, False, None)])
            await witness.received(1)
            witness.link.unsubscribe("secret/#")
            await witness.said("subscribed.", "running")

    run(work())


# --- much at once


@pytest.mark.parametrize("max_inflight", [20, 1000])
@PROTOCOLS
def test_publishes_five_thousand_in_one_call(
    make_mosquitto: MakeMosquitto, protocol: str, max_inflight: int
) -> None:
    broker = make_mosquitto(max_inflight=max_inflight)

    async def work() -> None:
        async with (
            Witness(broker.port) as receiver,
            Witness(broker.port, protocol=protocol, client_id="sender") as sender,
        ):
            await receiver.subscribed("flood/#")
            await sender.running()
            await sender.link.publish(outgoing(5000, 1))
            await receiver.until(lambda: len(receiver.messages) == 5000)
            assert receiver.payloads == [b"%d" % number for number in range(5000)]
            assert max(receiver.reads) > 1

    run(work())


@pytest.mark.parametrize("qos", [0, 1])
def test_holds_messages_while_paused_and_keeps_the_connection(
    mosquitto: Mosquitto, qos: int
) -> None:
    async def work() -> None:
        async with (
            Witness(mosquitto.port, keepalive=2, hold_size=50_000) as receiver,
            Witness(mosquitto.port, client_id="sender") as sender,
        ):
            await receiver.subscribed("flood/#", qos)
            await sender.running()
            receiver.link.pause()
            await sender.link.publish(outgoing(900, qos))
            pings = mosquitto.log_text().count("Received PINGREQ from witness")
            await in_a_thread(
                lambda: mosquitto.log_text().count("Received PINGREQ from witness") >= pings + 3
            )
            assert receiver.messages == []
            assert receiver.link.state == "running"
            receiver.link.resume()
            await receiver.until(lambda: len(receiver.messages) == 900)
            assert receiver.payloads == [b"%d" % number for number in range(900)]
            assert receiver.link.epoch == 1

    run(work())


def test_a_pause_holds_no_more_than_it_may(mosquitto: Mosquitto) -> None:
    async def work() -> None:
        async with (
            Witness(mosquitto.port, hold_size=100_000) as receiver,
            Witness(mosquitto.port, client_id="sender") as sender,
        ):
            await receiver.subscribed("flood/#", 0)
            await sender.running()
            receiver.link.pause()
            payload = bytes(50_000)
            await sender.link.publish([("flood/1", payload, 1, False, None)] * 200)
            receiver.link.resume()
            await receiver.until(lambda: receiver.messages)
            # One read above hold_size at most; the rest stayed in the broker and in TCP.
            assert receiver.reads[0] * 50_000 <= 100_000 + 2 * 262_144
            await receiver.until(lambda: len(receiver.messages) == 200)

    run(work())


# --- will and birth


def test_announces_itself_and_leaves_a_will(mosquitto: Mosquitto, any_paho: None) -> None:
    async def work() -> None:
        async with Witness(mosquitto.port, client_id="observer") as observer:
            await observer.subscribed("state/#")
            settings: dict[str, Any] = {
                "birth": Will("state/box", b"here"),
                "will": Will("state/box", b"gone"),
            }
            async with Witness(mosquitto.port, **settings) as witness:
                await observer.until(lambda: observer.payloads == [b"here"])
                assert witness.link._task is not None
                witness.link._task.cancel()  # as a power cut would: without DISCONNECT
                await observer.until(lambda: observer.payloads == [b"here", b"gone"])

    run(work())


# --- brokers without MQTT 5


@pytest.fixture
def amqtt_port() -> Iterator[int]:
    """A port for amqtt, whose own deprecations are none of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        yield free_port()


@contextlib.asynccontextmanager
async def amqtt(port: int) -> AsyncIterator[None]:
    """Run the amqtt broker in this process."""
    from amqtt.broker import Broker  # noqa: PLC0415  # slow to import, and used here only

    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
    broker = Broker({"listeners": {"default": listener}, "plugins": plugins})
    await broker.start()
    try:
        yield
    finally:
        await broker.shutdown()


def test_auto_falls_back_for_amqtt(amqtt_port: int, any_paho: None) -> None:
    async def work() -> None:
        async with (
            amqtt(amqtt_port),
            Witness(amqtt_port, protocol="auto", connect_timeout=2) as witness,
        ):
            await witness.subscribed("t/#")
            assert witness.link.protocol == "3.1.1"
            await witness.link.publish(outgoing(20, 1, "t/1"))
            await witness.until(lambda: len(witness.messages) == 20)

    run(work())


# --- TLS


def context(authority: Authority, own: Identity | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.ca))
    if own is not None:
        made.load_cert_chain(own.cert, own.key)
    return made


def test_floods_over_tls_with_a_client_certificate(
    make_mosquitto: MakeMosquitto, any_paho: None
) -> None:
    broker = make_mosquitto(tls="mutual")
    assert broker.authority is not None
    tls = context(broker.authority, broker.authority.issue("box-1"))

    async def work() -> None:
        async with (
            Witness(broker.port, tls=tls) as receiver,
            Witness(broker.port, tls=tls, client_id="sender") as sender,
        ):
            await receiver.subscribed("flood/#")
            await sender.running()
            await sender.link.publish(outgoing(1000, 1))
            large = bytes(1_000_000)
            await sender.link.publish([("flood/2", large, 1, False, None)])
            await receiver.until(lambda: len(receiver.messages) == 1001)
            assert receiver.payloads[-1] == large

    run(work())


def test_says_what_is_wrong_with_certificates(make_mosquitto: MakeMosquitto) -> None:
    broker = make_mosquitto(tls="mutual")
    authority = broker.authority
    assert authority is not None
    other = Authority(broker.folder / "other", "another authority")
    box, rogue = authority.issue("box-1"), other.issue("rogue")
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"tls": context(other, box)}, "is not accepted", "Set tls.ca"),
        (
            {"tls": context(authority, box), "server_name": "elsewhere.example"},
            "is not accepted",
            "tls.server_name",
        ),
        # In TLS 1.3 the refusal comes after the handshake, as an alert or as a mere close.
        ({"tls": context(authority)}, "", "Set tls.cert and tls.key"),
        ({"tls": context(authority, rogue)}, "", "Set tls.cert and tls.key"),
        ({}, "closed the connection", "whether it wants TLS"),
    ]

    async def work() -> None:
        for settings, words, mend in cases:
            async with Witness(broker.port, **settings) as witness:
                assert words in await witness.said(mend)

    run(work())


def test_uses_the_server_name_of_the_certificate(make_mosquitto: MakeMosquitto) -> None:
    broker = make_mosquitto(tls=True)
    assert broker.authority is not None
    tls = context(broker.authority)

    async def work() -> None:
        async with Witness(broker.port, tls=tls, server_name="localhost") as witness:
            await witness.running()

    run(work())
