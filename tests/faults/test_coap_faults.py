"""Whatever UDP does to CoAP, each request is taken in once; a flood harms nobody else."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from aiocoap.numbers.codes import Code
from paho.mqtt.enums import CallbackAPIVersion

from tests.faults.proxy import Conditions, FaultProxy
from tests.faults.record import Seen
from tests.faults.traffic import compare, link
from tests.flow_process import ROOT, FlowProcess, environment, write_flow
from tests.nodes.coap_device import ACK, CON, NON, RST, Device, device, packet, run
from tests.system.brokers import MakeMosquitto
from tests.system.coap_peers import CoapClient, CoapServer
from tests.system.real import LOOPBACK, free_port, until

FILE = "seen.jsonl"
ALL_TWICE = Conditions(duplicate=1.0, reorder=0.5, hold=0.02)
SENT_TWICE = Conditions(duplicate=1.0, up_only=True)
RADIO = Conditions(delay=0.01, jitter=0.02, loss=0.12, duplicate=0.3, reorder=0.3, hold=0.04)


@contextmanager
def serving(folder: Path, **listen: Any) -> Iterator[tuple[FlowProcess, int]]:
    """A flow that writes what devices send to a file; the process and its UDP port."""
    port = free_port()
    server = {"type": "coap.server", "server": "box", "path": "/t/{device}", "observable": True}
    out = {"type": "file.append", "path": FILE, "batch": {"age": "10ms"}}
    connections = {"box": {"type": "coap.listen", "port": port, **listen}}
    write_flow(folder, "devices", {"in": server, "out": out}, ["in -> out"], connections)
    with FlowProcess(folder) as engine:
        engine.until_ready()
        yield engine, port


def taken(engine: FlowProcess) -> list[Any]:
    """The payloads that the flow wrote, in order."""
    path = engine.data / "files" / FILE
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def passed(counts: Counter[str]) -> dict[str, int]:
    """What the proxy did to datagrams."""
    return {f"{what}_datagrams": counts[what] for what in ("lost", "twice", "late")}


# --- F-34: what UDP does


@pytest.mark.parametrize(
    ("line", "number"),
    [(ALL_TWICE, 40), pytest.param(RADIO, 120, marks=[pytest.mark.long, pytest.mark.timeout(200)])],
    ids=["all twice", "a bad radio"],
)
def test_f34_requests_that_come_twice_late_or_not_at_first_are_taken_in_once(
    coap_client: CoapClient, tmp_path: Path, seen: Seen, line: Conditions, number: int
) -> None:
    """libcoap's client repeats what is not acknowledged; each of its requests is one line."""
    with serving(tmp_path) as (engine, port), FaultProxy(port, udp=True, seed=34) as air:
        air.set(line)

        def put(each: int) -> str:
            uri = f"coap://{LOOPBACK}:{air.port}/t/dev-{each % 5}"
            return coap_client(
                "-v", "6", "-B", "90", "-m", "put", "-e", str(each), uri, timeout=100
            )

        with ThreadPoolExecutor(8) as devices:
            answers = list(devices.map(put, range(number)))
        answered = {each for each, said in enumerate(answers) if "c:2.04" in said}
        until(lambda: not compare(answered, taken(engine))[0], what="every answered request")
        lost, twice = compare(answered, taken(engine))
        counts = air.counts
    seen(lost=len(lost), duplicates=twice, answered=len(answered), **passed(counts))
    assert len(answered) == number
    assert twice == 0
    assert counts["twice"] >= number // 4
    assert counts["lost"] >= number // 10 * bool(line.loss)


@pytest.mark.parametrize(
    "seed", [1, pytest.param(2, marks=pytest.mark.long), pytest.param(3, marks=pytest.mark.long)]
)
def test_f34_a_block_that_is_lost_and_blocks_that_come_twice_are_one_whole_request(
    coap_client: CoapClient, tmp_path: Path, seen: Seen, seed: int
) -> None:
    """libcoap sends 40 blocks: one of them is lost once, the others come twice.

    Not out of order: libcoap 4.3 then begins to send several blocks at once, and never ends.
    """
    payload = {"x": "y" * 20_000}
    (tmp_path / "sent").write_text(json.dumps(payload))
    with (
        serving(tmp_path / "flows") as (engine, port),
        FaultProxy(port, udp=True, seed=seed) as air,
    ):
        air.set(SENT_TWICE)
        at, count = 3 + air.random.randrange(30), 0

        def lose(data: bytes) -> list[bytes]:
            nonlocal count
            count += 1
            return [] if count == at else [data]

        air.datagram = lose
        uri = f"coap://{LOOPBACK}:{air.port}/t/dev-1"
        coap_client("-m", "put", "-t", "json", "-b", "512", "-f", str(tmp_path / "sent"), uri)
        until(lambda: taken(engine))
        assert taken(engine) == [payload]
    assert count > 40
    seen(lost=0, duplicates=0, blocks=count)


def talk(engine_port: int, work: Any) -> None:
    """Run a device's part of a test."""

    async def with_device() -> None:
        async with device(engine_port) as each:
            await work(each)

    run(with_device())


def test_f34_a_message_id_that_comes_again_is_answered_again_and_not_taken_in(
    tmp_path: Path, seen: Seen
) -> None:
    """RFC 7252 §4.5: at once, after others, and with another payload, which is no new request."""

    async def work(radio: Device) -> None:
        first = await radio.ask(Code.PUT, "/t/a", b"1", mid=7, token=b"x")
        assert (first.mtype, first.mid, str(first.code)) == (ACK, 7, "2.04 Changed")
        for number in range(20):
            await radio.ask(Code.PUT, "/t/a", b"%d" % (100 + number), mid=1000 + number)
        for payload in (b"1", b"2"):
            again = await radio.ask(Code.PUT, "/t/a", payload, mid=7, token=b"x")
            assert (again.mtype, again.mid, again.token) == (ACK, 7, b"x")
            assert (again.code, again.payload) == (first.code, first.payload)

    with serving(tmp_path) as (engine, port):
        talk(port, work)
        assert taken(engine) == [1, *range(100, 120)]
    seen(runs=2, lost=0, duplicates=0)


def test_f34_a_token_that_is_used_again_is_a_request_of_its_own(tmp_path: Path, seen: Seen) -> None:
    """RFC 7252 §5.3.1: a token tells a client's answers apart, not its requests; empty too."""

    async def work(radio: Device) -> None:
        for number, token in enumerate([b"same", b"same", b"", b"", b"8 bytes.", b"same"]):
            answer = await radio.ask(Code.PUT, "/t/a", b"%d" % number, token=token)
            assert (answer.token, str(answer.code)) == (token, "2.04 Changed")
        # Not waiting for the answers: each has its message id.
        for number in range(6, 16):
            radio.send(packet(Code.PUT, "/t/a", b"%d" % number, token=b"same"))
        got = [await radio.receive() for _ in range(10)]
        assert {answer.token for answer in got} == {b"same"}
        assert len({answer.mid for answer in got}) == 10

    with serving(tmp_path) as (engine, port):
        talk(port, work)
        until(lambda: len(taken(engine)) == 16)
        assert sorted(taken(engine)) == list(range(16))
    seen(runs=16, lost=0, duplicates=0)


def test_f34_a_block_that_is_missing_is_said_and_the_whole_comes_again(
    tmp_path: Path, seen: Seen
) -> None:
    """RFC 7959 §2.9.2: 4.08; and blocks of another transfer are not mixed in."""
    whole = json.dumps("z" * 100).encode()
    blocks = [whole[at : at + 32] for at in range(0, len(whole), 32)]

    async def send(radio: Device, number: int) -> str:
        more = number < len(blocks) - 1
        answer = await radio.ask(Code.PUT, "/t/a", blocks[number], block1=(number, more, 1))
        return str(answer.code)[:4]

    async def work(radio: Device) -> None:
        assert await send(radio, 0) == "2.31"
        assert await send(radio, 2) == "4.08"
        assert await send(radio, 1) == "4.08"
        codes = [await send(radio, number) for number in range(len(blocks))]
        assert codes == ["2.31", "2.31", "2.31", "2.04"]
        assert await send(radio, 0) == "2.31"
        assert await send(radio, 1) == "2.31"
        assert await send(radio, 1) == "2.31"  # its answer was lost
        assert [await send(radio, number) for number in (2, 3)] == ["2.31", "2.04"]

    with serving(tmp_path) as (engine, port):
        talk(port, work)
        assert taken(engine) == ["z" * 100] * 2
    seen(runs=2, lost=0, duplicates=0)


def test_f34_resets_and_empty_messages_are_answered_as_they_must_be(
    tmp_path: Path, seen: Seen
) -> None:
    """RFC 7252 §4.2, §4.3: a ping is reset; a reset or an acknowledgement of nothing is ignored.

    RFC 7641 §3.6: a reset of a notification ends the observation.
    """

    async def work(radio: Device) -> None:
        radio.send(packet(Code.EMPTY, kind=CON, mid=1, token=b""))
        pong = await radio.receive()
        assert (pong.mtype, pong.mid, pong.code) == (RST, 1, Code.EMPTY)
        for kind in (RST, ACK):
            radio.send(packet(Code.EMPTY, kind=kind, mid=2, token=b""))
        radio.send(packet(Code.EMPTY, kind=NON, mid=3, token=b""))
        await radio.ping()
        assert radio.is_idle
        await radio.ask(Code.PUT, "/t/a", b"1")
        first = await radio.ask(Code.GET, "/t/a", token=b"watch", observe=0)
        assert first.opt.observe is not None
        radio.send(packet(Code.PUT, "/t/a", b"2", token=b"put"))
        got = [await radio.receive(), await radio.receive()]
        [told] = [answer for answer in got if answer.token == b"watch"]
        assert told.payload == b"2"
        radio.acknowledge(told, RST)
        await radio.ping()
        answer = await radio.ask(Code.PUT, "/t/a", b"3", token=b"put")
        assert answer.token == b"put"
        await radio.ping()
        assert radio.is_idle

    with serving(tmp_path) as (engine, port):
        talk(port, work)
        assert taken(engine) == [1, 2, 3]
    seen(runs=6, lost=0, duplicates=0)


def test_f34_an_observed_value_that_comes_twice_or_late_is_taken_in_once(
    coap_server: CoapServer, tmp_path: Path, seen: Seen
) -> None:
    """RFC 7641 §3.4: libcoap tells the time each second; its numbers give the order."""
    out = {"type": "file.append", "path": FILE, "batch": {"age": "10ms"}}
    with FaultProxy(coap_server.port, udp=True, seed=35) as air:
        air.set(ALL_TWICE)
        source = {"type": "coap.observe", "uri": f"coap://{LOOPBACK}:{air.port}/time"}
        write_flow(tmp_path, "clock", {"in": source, "out": out}, ["in -> out"])
        with FlowProcess(tmp_path) as engine:
            engine.until_ready()
            until(lambda: len(taken(engine)) >= 4, 20)
            got = taken(engine)
        counts = air.counts
    assert len(set(got)) == len(got)
    assert counts["twice"] >= 4
    seen(lost=0, duplicates=len(got) - len(set(got)), notifications=len(got), **passed(counts))


@pytest.mark.parametrize(
    ("line", "number"),
    [(ALL_TWICE, 12), pytest.param(RADIO, 60, marks=[pytest.mark.long, pytest.mark.timeout(240)])],
    ids=["all twice", "a bad radio"],
)
def test_f34_requests_of_ours_over_such_a_line_arrive_in_order_with_one_response_each(
    coap_server: CoapServer, tmp_path: Path, seen: Seen, line: Conditions, number: int
) -> None:
    port = free_port()
    write_flow(
        tmp_path,
        "relay",
        {
            "in": {"type": "coap.server", "server": "box", "path": "/set/{name}"},
            "valve": {
                "type": "coap.request",
                "peer": "valve",
                "method": "PUT",
                "path": "/state-{payload}",
            },
            "out": {
                "type": "file.append",
                "path": FILE,
                "content": "message",
                "batch": {"age": "10ms"},
            },
        },
        ["in -> valve", "valve.response -> out"],
        {
            "box": {"type": "coap.listen", "port": port},
            "valve": {"type": "coap.peer", "host": LOOPBACK, "port": coap_server.port},
        },
    )
    with FaultProxy(coap_server.port, udp=True, seed=36) as air:
        air.set(line)
        path = tmp_path / "relay.json"
        path.write_text(path.read_text().replace(str(coap_server.port), str(air.port)))

        async def work(radio: Device) -> None:
            for each in range(number):
                radio.send(packet(Code.PUT, f"/set/{each}", b"%d" % each, kind=NON))
            await radio.ping()

        with FlowProcess(tmp_path) as engine:
            engine.until_ready()
            talk(port, work)
            until(lambda: len(taken(engine)) >= number, 200, "a response to each")
            codes = [response["meta"]["code"] for response in taken(engine)]
            assert [response["key"] for response in taken(engine)] == list(map(str, range(number)))
            counts = air.counts
    assert len(codes) == number
    assert set(codes) <= {"2.01", "2.04"}
    seen(lost=0, duplicates=len(codes) - number, requests=number, **passed(counts))


# --- F-35: a flood


class Delays:
    """How long numbered messages take through a flow, from publishing to receiving."""

    def __init__(self, port: int) -> None:
        self.took: list[float] = []
        self._sent: list[float] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = self._came
        # Without this, TCP holds small packets back for up to 40 ms, and that is what is measured.
        self._client.on_socket_open = _without_delay
        self._client.connect(LOOPBACK, port)
        self._client.subscribe("out", 0)
        self._client.loop_start()

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _came(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.took.append(time.monotonic() - self._sent[int(message.payload)])

    def measure(self, seconds: float, rate: float = 100.0) -> list[float]:
        """Publish for so long, wait for the last, and return the delays in ms, sorted."""
        before, pause = len(self._sent), threading.Event()
        began, sent = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            self._sent.append(time.monotonic())
            self._client.publish("in", str(len(self._sent) - 1), 0)
            sent += 1
            pause.wait(max(0.0, began + sent / rate - time.monotonic()))
        until(lambda: len(self.took) == len(self._sent), 20, "every message of the other flow")
        return sorted(1000 * each for each in self.took[before:])


def _without_delay(_client: Any, _data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def share(delays: Sequence[float], part: float) -> float:
    """The delay that this part of all does not exceed."""
    return delays[min(len(delays) - 1, int(len(delays) * part))]


@pytest.mark.long  # on a machine with other work it is not steady yet
@pytest.mark.parametrize(
    ("rate", "seconds"),
    [(20_000, 3), pytest.param(50_000, 20, marks=[pytest.mark.long, pytest.mark.timeout(180)])],
)
def test_f35_a_flood_from_one_device_is_dropped_and_the_other_flow_is_unharmed(
    make_mosquitto: MakeMosquitto, tmp_path: Path, seen: Seen, rate: int, seconds: int
) -> None:
    """What was dropped is counted and said in a few lines.

    The other flow's p99 at most doubles, or stays below 10 ms: undisturbed it is about 1 ms, and
    on a box of two cores the flood itself takes one of them.
    """
    mosquitto = make_mosquitto(extra="set_tcp_nodelay true")
    mosquitto.argv.remove("-v")
    mosquitto.restart()
    nodes = {
        "from": {"type": "mqtt.in", "broker": "site", "topic": "in"},
        "to": {"type": "mqtt.out", "broker": "site", "topic": "out"},
    }
    write_flow(tmp_path, "other", nodes, ["from -> to"], {"site": link(mosquitto.port)})
    with serving(tmp_path, max_rate=1000) as (engine, port):
        delays = Delays(mosquitto.port)
        engine.until_said("other/site", "running: connected")
        delays.measure(0.5)
        before = delays.measure(seconds)
        argv = [sys.executable, "-m", "tests.faults.udp_flood", str(port), str(rate), str(seconds)]
        flood = subprocess.Popen(argv, cwd=ROOT, env=environment(), stdout=subprocess.PIPE)
        try:
            engine.until_said("devices/box", "more than 1000 datagrams a second")
            during = delays.measure(seconds - 1)
            engine_memory = engine.memory()["VmHWM"] / 1e6
        finally:
            out = flood.communicate()[0].split()
        delays.close()
        lines = [line for line in engine.said.splitlines() if "datagrams a second" in line]
    sent, took = int(out[0]), float(out[1])
    p99 = share(before, 0.99), share(during, 0.99)
    seen(
        lost=0,
        sent=sent,
        per_second=round(sent / took),
        p50_ms=(round(share(before, 0.5), 1), round(share(during, 0.5), 1)),
        p99_ms=(round(p99[0], 1), round(p99[1], 1)),
        p99_ratio=round(p99[1] / p99[0], 1),
        high_mb=round(engine_memory),
    )
    assert len(lines) <= 7
    assert p99[1] <= max(2 * p99[0], 10)
