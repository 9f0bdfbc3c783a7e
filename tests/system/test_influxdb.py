"""What the InfluxDB nodes send, a real server stores and answers as it was meant.

InfluxDB 1.6 behind the v2 write path, and VictoriaMetrics. Not run against an InfluxDB 2 or 3, nor
against any Flux engine: there is none to install here.
"""

import asyncio
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flowengine import Message
from flowengine.clock import TOLD_START
from flowengine.engine.sink import SinkRunner
from flowengine.engine.wire import Wire
from flowengine.errors import NodeError, RecordRefused, Unavailable
from flowengine.testing import NodeBench
from tests.system.real import until
from tests.system.stores import InfluxFront, Victoria

S = 1_000_000_000
AWKWARD = [
    "plain",
    "with space",
    "comma, equals = and \\ inside",
    "quote \" and 'apostrophe'",
    "ünï 日本",
    "a\\\\b",
    "tail=",
    ",",
    "=",
    "#hash",
    'x" or true or r.a == "',
    "'; DROP DATABASE b --",
]


@contextmanager
def node_on(url: str, node_type: str, server: dict[str, Any], **config: Any) -> Iterator[NodeBench]:
    connection = NodeBench("influxdb.server", {"url": url, "org": "tests", **server})
    bench = NodeBench(
        node_type, {"server": "influx", **config}, connections={"influx": connection.node}
    )
    yield bench
    bench.close()
    connection.close()


def access(influx: InfluxFront) -> dict[str, Any]:
    return {"bucket": influx.bucket, "token": NodeBench.secret(influx.token)}


@contextmanager
def writing(influx: InfluxFront, **config: Any) -> Iterator[NodeBench]:
    server = {**access(influx), **config.pop("connection", {})}
    usual = {"measurement": "room", "tags": {"device": "key"}, "fields": {"t": "payload.t"}}
    with node_on(influx.url, "influxdb.write", server, **{**usual, **config}) as bench:
        yield bench


@contextmanager
def asking(influx: InfluxFront, query: str, **config: Any) -> Iterator[NodeBench]:
    settings = {"language": "influxql", "query": query, **config}
    with node_on(influx.url, "influxdb.query", access(influx), **settings) as bench:
        yield bench


# -- writing to InfluxDB


def test_every_kind_of_value_is_stored_as_it_was(influx_front: InfluxFront) -> None:
    fields = {name: f"payload.{name}" for name in ("f", "whole", "i", "big", "on", "text", "tiny")}
    payload = {
        "f": -21.5,
        "whole": 21,
        "i": 7,
        "big": 2**63 - 1,
        "on": False,
        "text": 'say "hi"\\\nthere',
        "tiny": 5e-324,
    }
    with writing(influx_front, fields=fields, integers=["i", "big"]) as bench:
        bench.send(payload, time=TOLD_START + 123_456_789)
        bench.send({"f": 1e300, "whole": 21.5}, time=TOLD_START + 123_456_790)
        assert bench.unsettled == 0
    first, second = influx_front.query("select * from room")
    assert first == {"time": TOLD_START + 123_456_789, "device": "dev-1", **payload}
    assert (second["f"], second["whole"], second["time"]) == (1e300, 21.5, TOLD_START + 123_456_790)


@pytest.mark.parametrize("compress", ["always", "never"])
def test_thousands_of_points_arrive_in_one_write(influx_front: InfluxFront, compress: str) -> None:
    with writing(influx_front, connection={"compress": compress}) as bench:
        batch = [
            Message({"t": n / 4}, time=TOLD_START + n, key=f"dev-{n % 7}") for n in range(5000)
        ]
        for _ in range(2):  # a repeat is no second point
            bench.send_many([message.copy() for message in batch])
    rows = influx_front.query("select count(t), sum(t) from room")
    assert [(row["count"], row["sum"]) for row in rows] == [(5000, sum(range(5000)) / 4)]


def test_awkward_names_and_texts_read_back(influx_front: InfluxFront) -> None:
    with writing(
        influx_front,
        measurement="{payload.text}",
        tags={"tag, key = x": "payload.text"},
        fields={"field, key = y": "payload.text"},
    ) as bench:
        out = bench.send_many([Message({"text": text}, time=TOLD_START) for text in AWKWARD])
    refused = [message.payload["text"] for message in out["error"]]
    assert refused == ["comma, equals = and \\ inside", "#hash"]
    for text in set(AWKWARD) - set(refused):
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        (row,) = influx_front.query(f'select * from "{quoted}"')  # noqa: S608  # it is our own
        assert row == {"time": TOLD_START, "tag, key = x": text, "field, key = y": text}


@pytest.mark.parametrize("precision", ["ns", "us", "ms", "s"])
def test_time_is_exact_to_its_precision(influx_front: InfluxFront, precision: str) -> None:
    tick = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}[precision]
    at = 1_795_449_204_250_000_000
    with writing(influx_front, precision=precision, time="payload.at") as bench:
        bench.send({"t": 1, "at": 1795449204.25})
    (row,) = influx_front.query("select t from room")
    assert row["time"] == at // tick * tick


def test_wrong_token_loses_nothing(influx_front: InfluxFront) -> None:
    with writing(influx_front, connection={"token": NodeBench.secret("wrong")}) as bench:
        with pytest.raises(Unavailable, match="401"):
            bench.send({"t": 1})
        assert bench.statuses[-1][0] == "failed"
    assert influx_front.query("select * from room") == []


def test_stopped_server_gets_everything_once_it_runs_again(influx_front: InfluxFront) -> None:
    with writing(influx_front) as bench:
        bench.send({"t": 1}, time=TOLD_START)
        influx_front.server.kill()
        with pytest.raises(Unavailable):
            bench.send({"t": 2}, time=TOLD_START + 1)
        influx_front.start()
        bench.send({"t": 2}, time=TOLD_START + 1)
    assert [row["t"] for row in influx_front.query("select t from room")] == [1, 2]


def test_f44_conflict_is_found_by_halves_and_all_others_are_stored(
    influx_front: InfluxFront,
) -> None:
    size, bad = 256, 100
    with writing(influx_front, batch={"size": size, "age": "0s"}) as bench:
        bench.send({"t": 0.5}, time=TOLD_START)
        tries = _run_behind_the_engine(
            bench,
            [
                Message({"t": "text" if n == bad else n}, time=TOLD_START + n + 1)
                for n in range(size)
            ],
        )
        (failed,) = bench.advance(0)["error"]
    assert failed.time == TOLD_START + bad + 1
    assert "type string" in failed.meta["error"]["what"]
    assert tries <= 2 * math.log2(size) + 1
    assert influx_front.query("select count(t) from room")[0]["count"] == size


def test_f44_conflict_of_every_point_is_told_at_once(influx_front: InfluxFront) -> None:
    with writing(influx_front) as bench:
        bench.send({"t": 0.5}, time=TOLD_START)
        with pytest.raises(RecordRefused) as caught:
            bench.send_many([Message({"t": "text"}, time=TOLD_START + n) for n in range(50)])
    assert set(caught.value.refused) == set(range(50))


def _run_behind_the_engine(bench: NodeBench, messages: list[Message]) -> int:
    """Write messages as the engine does; how many writes that took."""
    tries = 0
    write = bench.node.write

    async def counted(records: list[Any]) -> Any:
        nonlocal tries
        tries += 1
        return await write(records)

    bench.node.write = counted
    wire = Wire(bench.clock)
    runner = SinkRunner(
        bench.step,
        wire,
        bench.region,
        bench.clock,
        open_spool=None,
        disk=None,
        status=lambda *_: None,
        log=lambda *_args, **_facts: None,
    )

    async def scene() -> None:
        task = asyncio.create_task(runner.run())
        bench.intake.let_in(messages, None)
        wire.put(messages)
        while bench.unsettled:  # noqa: ASYNC110  # the intake has no event to wait for
            await asyncio.sleep(0.001)
        runner.stop()
        await asyncio.wait_for(task, 10)
        await bench.node.close()

    asyncio.run(asyncio.wait_for(scene(), 60))
    return tries


# -- asking InfluxDB


@pytest.fixture
def filled(influx_front: InfluxFront) -> InfluxFront:
    """Ten readings a second apart, of as many devices as there are awkward names."""
    with writing(influx_front) as bench:
        bench.send_many(
            [
                Message({"t": n + index}, time=TOLD_START + n * S, key=device)
                for index, device in enumerate(AWKWARD)
                for n in range(10)
            ]
        )
    return influx_front


def test_rows_come_with_their_tags(filled: InfluxFront) -> None:
    query = (
        "select mean(t) from room where device = $d and time >= '2026-01-01T00:00:00Z'"
        " and time < '2026-01-01T00:00:10Z' group by time(5s), device"
    )
    with asking(filled, query, params={"d": "key"}) as bench:
        (message,) = bench.send(None, key="with space")["out"]
    assert message.payload == [
        {"device": "with space", "time": "2026-01-01T00:00:00Z", "mean": 3},
        {"device": "with space", "time": "2026-01-01T00:00:05Z", "mean": 8},
    ]


@pytest.mark.parametrize("device", AWKWARD)
def test_bound_value_finds_its_device_and_no_other(filled: InfluxFront, device: str) -> None:
    with asking(
        filled, "select first(t) as t from room where device = $d", params={"d": "key"}
    ) as bench:
        (message,) = bench.send(None, key=device)["out"]
    assert [row["t"] for row in message.payload] == [AWKWARD.index(device)]


@pytest.mark.parametrize("device", ["' or 'a'='a", "$d", "plain' or device <> '", "nobody"])
def test_hostile_value_finds_nothing(filled: InfluxFront, device: str) -> None:
    with asking(filled, "select t from room where device = $d", params={"d": "key"}) as bench:
        assert bench.send(None, key=device)["out"][0].payload == []


def test_number_and_boolean_are_bound_as_such(filled: InfluxFront) -> None:
    query = "select count(t) from room where t > $least and device = $d"
    with asking(filled, query, params={"least": "payload", "d": "'plain'"}) as bench:
        assert bench.send(6.5)["out"][0].payload[0]["count"] == 3
        assert bench.send(7)["out"][0].payload[0]["count"] == 2


@pytest.mark.parametrize("query", ["select", "select t from room where device = $absent"])
def test_query_that_is_none_is_an_error_of_its_message(filled: InfluxFront, query: str) -> None:
    with asking(filled, query) as bench, pytest.raises(NodeError) as caught:
        bench.send(None)
    assert caught.value.slug == "query-refused"


# -- VictoriaMetrics


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("compress", ["always", "never"])
def test_victoria_stores_every_point_at_its_time(
    victoria: Victoria, version: str, compress: str
) -> None:
    server = {"bucket": "b", "version": version, "compress": compress}
    config = {
        "measurement": "room",
        "tags": {"device": "payload.device"},
        "fields": {"t": "payload.t", "on": "payload.on"},
        "time": "payload.at",
    }
    points = [
        {"t": n + 0.5, "on": n % 2 == 0, "device": device, "at": 1795449204.25 + n}
        for n in range(200)
        for device in ("a b", 'c,"d"=')
    ]
    with node_on(victoria.url, "influxdb.write", server, **config) as bench:
        bench.send_many([Message(point) for point in points])
        assert bench.unsettled == 0

    def everything() -> list[dict[str, Any]]:
        found = victoria.export('{__name__="room_t"}')
        return found if sum(len(series["values"]) for series in found) == 400 else []

    found = until(everything, what="400 points in VictoriaMetrics")
    by_device = {series["metric"]["device"]: series for series in found}
    assert by_device.keys() == {"a b", 'c,"d"='}
    for series in by_device.values():
        assert series["timestamps"] == [1_795_449_204_250 + 1000 * n for n in range(200)]
        assert series["values"] == [n + 0.5 for n in range(200)]
    assert victoria.invalid_lines() == 0
