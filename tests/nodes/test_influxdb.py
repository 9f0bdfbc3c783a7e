"""The InfluxDB nodes lose no message, whatever the server answers, and no value becomes a query."""

import asyncio
import gzip
import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest

from flowengine import Message
from flowengine.clock import TOLD_START, ToldClock
from flowengine.errors import FindingsError, NodeError, RecordRefused, Unavailable
from flowengine.nodes.influxdb import InfluxServer
from flowengine.nodes.influxdb.client import _seconds, is_this_box
from flowengine.testing import NodeBench

TOKEN = "s3cret-t0ken=="  # noqa: S105  # of a stub
MS = 1_000_000


class Request(NamedTuple):
    """What the stub was asked."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}


class Answer(NamedTuple):
    """What the stub answers."""

    status: int = 204
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Stub(ThreadingHTTPServer):
    """An HTTP server that answers from a list, then 204, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = []
        self.requests: list[Request] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub

    def do_POST(self) -> None:  # the base class's name
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.requests.append(Request(parts.path, query, dict(self.headers), body))
        self.give(self.server.answers.pop(0) if self.server.answers else Answer())

    def do_GET(self) -> None:  # the base class's name
        self.give(self.server.answers.pop(0) if self.server.answers else Answer())

    def give(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body.encode())))
        self.end_headers()
        self.wfile.write(answer.body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def server_bench(url: str, clock: ToldClock | None = None, **config: Any) -> NodeBench:
    settings = {"url": url, "org": "o", "bucket": "b", "token": NodeBench.secret(TOKEN), **config}
    return NodeBench("influxdb.server", settings, clock=clock)


class Influx:
    """A writing or asking node on a connection, closed with the test."""

    def __init__(self, node_type: str, stub: Stub, server: dict[str, Any], **config: Any) -> None:
        self.connection = server_bench(stub.url, **server)
        self.bench = NodeBench(
            node_type,
            {"server": "influx", **config},
            connections={"influx": self.connection.node},
            params={"site": "s-1"},
        )

    def __enter__(self) -> NodeBench:
        return self.bench

    def __exit__(self, *_: object) -> None:
        self.bench.close()
        self.bench.close()
        self.connection.close()


def writing(stub: Stub, server: dict[str, Any] | None = None, **config: Any) -> Influx:
    usual = {"measurement": "room", "fields": {"t": "payload.t"}}
    return Influx("influxdb.write", stub, server or {}, **{**usual, **config})


def asking(
    stub: Stub, language: str, server: dict[str, Any] | None = None, **config: Any
) -> Influx:
    return Influx("influxdb.query", stub, server or {}, language=language, **config)


# -- what is written


def test_batch_is_one_request_of_lines(stub: Stub) -> None:
    tags = {"device": "key", "site": "params.site", "none": "payload.absent"}
    fields = {"t": "payload.t", "n": "payload.n", "h": "payload.humidity"}
    with writing(stub, tags=tags, fields=fields, integers=["n"]) as bench:
        bench.send_many([Message({"t": 21 + i, "n": i}, time=i, key="d 1") for i in range(3)])
        assert bench.unsettled == 0
    (request,) = stub.requests
    assert request.path == "/api/v2/write"
    assert request.query == {"org": "o", "bucket": "b", "precision": "ns"}
    assert request.headers["Authorization"] == f"Token {TOKEN}"
    assert request.headers["Content-Type"].startswith("text/plain")
    assert request.body.decode().split("\n") == [
        "room,device=d\\ 1,site=s-1 n=0i,t=21 0",
        "room,device=d\\ 1,site=s-1 n=1i,t=22 1",
        "room,device=d\\ 1,site=s-1 n=2i,t=23 2",
    ]


def test_own_bucket_and_measurement_from_the_message(stub: Stub) -> None:
    with writing(stub, bucket="other", measurement="room {key}") as bench:
        bench.send({"t": 1}, key="a,b")
    assert stub.requests[0].query["bucket"] == "other"
    assert stub.requests[0].body.startswith(b"room\\ a\\,b t=1 ")


@pytest.mark.parametrize(
    ("bucket", "query"),
    [
        ("db", {"db": "db", "precision": "u"}),
        ("db/week", {"db": "db", "rp": "week", "precision": "u"}),
    ],
)
def test_version_1_takes_database_policy_and_password(
    stub: Stub, bucket: str, query: dict[str, str]
) -> None:
    settings = {"version": "1", "bucket": bucket, "token": NodeBench.secret("user:pass\n")}
    with writing(stub, settings, precision="us") as bench:
        bench.send({"t": 1})
    (request,) = stub.requests
    assert request.path == "/write"
    assert request.query == query
    assert request.headers["Authorization"] == "Basic dXNlcjpwYXNz"


def test_no_token_sends_no_authorization(stub: Stub) -> None:
    with writing(stub, {"version": "1", "token": None}) as bench:
        bench.send({"t": 1})
    assert "Authorization" not in stub.requests[0].headers


@pytest.mark.parametrize(
    ("time", "precision", "expected"),
    [
        ("time", "ns", TOLD_START + 1_234_567_891),
        ("time", "ms", TOLD_START // MS + 1234),
        ("payload.at", "ns", 1_795_449_204_250_000_000),
        ("iso(payload.at)", "ns", 1_795_449_204_250_000_000),
        ("payload.at", "s", 1_795_449_204),
    ],
)
def test_r2_time_is_exact(stub: Stub, time: str, precision: str, expected: int) -> None:
    with writing(stub, time=time, precision=precision) as bench:
        bench.send({"t": 1, "at": 1795449204.25}, time=TOLD_START + 1_234_567_891)
    assert stub.requests[0].body == f"room t=1 {expected}".encode()
    assert stub.requests[0].query["precision"] == precision


@pytest.mark.parametrize(
    ("config", "payload", "slug"),
    [
        ({}, {"h": 1}, "no-fields"),
        ({}, {"t": None}, "no-fields"),
        ({}, {"t": [1]}, "bad-field"),
        ({"integers": ["t"]}, {"t": 1.5}, "not-an-integer"),
        ({"fields": {"t": "payload.t + 1"}}, {"t": "x"}, "not-text"),
        ({"measurement": "{payload.m}"}, {"t": 1}, "missing"),
        ({"measurement": "{payload.m}"}, {"t": 1, "m": ""}, "no-measurement"),
        ({"time": "payload.at"}, {"t": 1, "at": "noon"}, "bad-time"),
        ({"time": "payload.at"}, {"t": 1}, "missing"),
        ({}, {"t": "\ud800"}, "bad-text"),
    ],
)
def test_r4_message_that_no_line_can_hold_takes_the_error_route_alone(
    stub: Stub, config: dict[str, Any], payload: Any, slug: str
) -> None:
    good = {"t": 1, "m": "m", "at": 5}
    with writing(stub, **config) as bench:
        messages = [Message(payload, key="bad"), Message(good, key="good")]
        (failed,) = bench.send_many(messages)["error"]
        assert bench.unsettled == 0
    assert (failed.key, failed.meta["error"]["slug"]) == ("bad", slug)
    assert len(stub.requests[0].body.split(b"\n")) == 1


@pytest.mark.parametrize(
    ("config", "payload", "line"),
    [
        ({}, {"t": 21}, b"room t=21"),
        ({}, {"t": 21.0}, b"room t=21"),
        ({}, {"t": 21.5}, b"room t=21.5"),
        ({"integers": ["t"]}, {"t": 21}, b"room t=21i"),
        ({"integers": ["t"]}, {"t": 21.0}, b"room t=21i"),
        ({}, {"t": True}, b"room t=true"),
        ({}, {"t": "on"}, b'room t="on"'),
        ({"tags": {"d": "key", "x": "payload.x"}}, {"t": 1}, b"room,d=dev-1 t=1"),
        ({"tags": {"d": "key", "x": "payload.x"}}, {"t": 1, "x": None}, b"room,d=dev-1 t=1"),
        ({"tags": {"d": "key", "x": "payload.x"}}, {"t": 1, "x": ""}, b"room,d=dev-1 t=1"),
        ({"fields": {"t": "payload.t", "h": "payload.h"}}, {"t": 1}, b"room t=1"),
        ({"fields": {"t": "payload.t", "h": "payload.h"}}, {"t": 1, "h": None}, b"room t=1"),
    ],
)
def test_r4_numbers_are_floats_and_what_is_not_there_is_left_out(
    stub: Stub, config: dict[str, Any], payload: Any, line: bytes
) -> None:
    with writing(stub, **config) as bench:
        assert bench.send(payload, time=5) == {}
    assert stub.requests[0].body == line + b" 5"


def test_r4_numbers_that_are_not_finite_are_left_out_and_counted(stub: Stub) -> None:
    with writing(stub, fields={"t": "payload.t", "h": "payload.h"}) as bench:
        bench.send({"t": math.nan, "h": 1})
        bench.send({"t": math.inf, "h": -math.inf})
        assert bench.counts["not-finite"] == 3
    assert len(stub.requests) == 1


def test_r55_points_that_fall_on_one_tick_are_counted_and_said_once(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    with writing(stub, tags={"d": "key"}, precision="ms") as bench:
        batch = [
            Message({"t": i}, time=i * MS // 2, key=key) for i in range(4) for key in ("a", "b")
        ]
        bench.send_many(batch)
        bench.send_many(batch)
        assert bench.counts["collided"] == 8
        bench.send_many([batch[0], batch[0].copy()])  # the same point twice is one point
        assert bench.counts["collided"] == 8
    assert caplog.text.count("fall on the time of another") == 1


def test_r55_points_of_one_batch_never_collide_at_full_precision(stub: Stub) -> None:
    with writing(stub) as bench:
        bench.send_many([Message({"t": i}, time=5) for i in range(2)])
        assert bench.counts["collided"] == 0


@pytest.mark.parametrize(
    ("compress", "packed"), [("always", True), ("never", False), ("auto", False)]
)
def test_large_bodies_are_compressed_where_it_pays(stub: Stub, compress: str, packed: bool) -> None:
    with writing(stub, {"compress": compress}) as bench:
        bench.send_many([Message({"t": i}, time=i) for i in range(1000)])
        bench.send({"t": 1})
    large, small = stub.requests
    assert (large.headers.get("Content-Encoding") == "gzip") is packed
    body = gzip.decompress(large.body) if packed else large.body
    assert body.count(b"\n") == 999
    assert "Content-Encoding" not in small.headers


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8086", True),
        ("http://127.0.1.1", True),
        ("http://[::1]:8086", True),
        ("https://influx.example", False),
        ("http://10.0.0.1:8086", False),
    ],
)
def test_loopback_is_this_box(url: str, expected: bool) -> None:
    assert is_this_box(url) is expected


# -- what the server answers


@pytest.mark.parametrize(
    ("answer", "retry_after", "words"),
    [
        (Answer(429, headers=(("Retry-After", "7"),)), 7.0, "429"),
        (Answer(503, headers=(("Retry-After", "2.5"),)), 2.5, "503"),
        (Answer(503, headers=(("Retry-After", "Thu, 01 Jan 2026 00:00:09 GMT"),)), 9.0, "503"),
        (Answer(503, headers=(("Retry-After", "soon"),)), None, "503"),
        (Answer(503), None, "503"),
        (Answer(500, '{"code":"internal error","message":"disk on fire"}'), None, "disk on fire"),
        (Answer(502, "<html>Bad Gateway</html>"), None, "Bad Gateway"),
        (Answer(408), None, "408"),
        (Answer(401, '{"code":"unauthorized","message":"unauthorized access"}'), None, "token"),
        (Answer(403, '{"code":"forbidden","message":"no write"}'), None, "token"),
        (
            Answer(404, '{"code":"not found","message":"bucket \\"b\\" not found"}'),
            None,
            'bucket "b"',
        ),
        (Answer(302, headers=(("Location", "http://127.0.0.1:1/"),)), None, "302"),
        (Answer(405), None, "url"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else None,
)
def test_nothing_is_lost_while_the_server_does_not_take_it(
    stub: Stub, answer: Answer, retry_after: float | None, words: str
) -> None:
    stub.answers = [answer]
    with writing(stub) as bench:
        with pytest.raises(Unavailable) as caught:
            bench.send({"t": 1})
        assert caught.value.retry_after == retry_after
        assert words in str(caught.value)
        bench.send({"t": 1})
    assert stub.requests[0].body == stub.requests[1].body


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_wrong_setting_shows_on_the_node_until_it_is_mended(stub: Stub, status: int) -> None:
    stub.answers = [Answer(status, '{"message":"no"}')]
    with writing(stub) as bench:
        with pytest.raises(Unavailable):
            bench.send({"t": 1})
        assert bench.statuses[-1][0] == "failed"
        bench.send({"t": 1})
        assert bench.statuses[-1] == ("running", "")


def test_missing_bucket_names_both_places(stub: Stub) -> None:
    with writing(stub, {"bucket": ""}) as bench, pytest.raises(Unavailable, match="bucket"):
        bench.send({"t": 1})
    assert stub.requests == []


def test_absent_server_is_waited_for() -> None:
    with Stub() as closed:
        pass
    with writing(closed) as bench, pytest.raises(Unavailable) as caught:
        bench.send({"t": 1})
    assert closed.url in caught.value.what
    assert "running" in caught.value.mend
    assert not caught.value.is_unanswered  # there was no connection to send by


def test_silent_server_is_waited_for_no_longer_than_the_timeout() -> None:
    with (
        Stub() as silent,  # it listens and never accepts
        writing(silent, {"timeout": "100ms"}) as bench,
        pytest.raises(Unavailable) as caught,
    ):
        bench.send({"t": 1})
    assert caught.value.is_unanswered  # it may have been written


def unread(*times: int) -> str:
    return "\n".join(f"unable to parse 'room t={time} {time}': no" for time in times)


CONFLICT = 'input field "t" on measurement "room" is type string, already exists as type float'


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (400, {"code": "invalid", "message": unread(1)}, set()),
        (422, {"code": "unprocessable entity", "message": "failure writing points"}, set()),
        (413, {}, set()),
        (400, {"error": f"partial write: field type conflict: {CONFLICT} dropped=1"}, set()),
        (400, {"error": f"partial write: field type conflict: {CONFLICT} dropped=3"}, {0, 1, 2}),
        (400, {"error": f"partial write: {unread(1)} dropped=0"}, {1}),
        (400, {"error": f"partial write: {unread(1, 2)} dropped=0"}, {1, 2}),
        (400, {"error": f"partial write: {unread(1, 9)} dropped=0"}, set()),
        (400, {"error": f"partial write: {unread(1)} dropped=1"}, set()),
        (400, ["no", "map"], set()),
    ],
)
def test_refused_lines_are_named_only_where_all_others_were_written(
    stub: Stub, status: int, body: Any, refused: set[int]
) -> None:
    stub.answers = [Answer(status, json.dumps(body))]
    with writing(stub) as bench:
        with pytest.raises(RecordRefused) as caught:
            bench.send_many([Message({"t": i}, time=i) for i in range(3)])
        assert set(caught.value.refused) == refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("5", 5.0),
        ("-5", 0.0),
        ("nan", None),
        ("inf", None),
        ("99999999", 3600.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 99 Jan", None),
        ("", None),
    ],
)
def test_retry_after_is_read_with_bounds(text: str | None, expected: float | None) -> None:
    assert _seconds(text, 10.0) == expected


def test_token_is_in_no_text_whatever_the_server_echoes(
    stub: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    echo = json.dumps({"message": f"bad token {TOKEN} in Token {TOKEN}"})
    texts = []
    stub.answers = [Answer(status, echo) for status in (400, 401, 404, 500, 302, 503)]
    with writing(stub) as bench:
        while stub.answers:
            with pytest.raises((Unavailable, RecordRefused)) as caught:
                bench.send({"t": 1})
            texts += [str(caught.value), repr(caught.value), repr(caught.value.__cause__)]
        texts += [what for _, what in bench.statuses] + [caplog.text, repr(bench.config)]
    with writing(stub, {"token": NodeBench.secret(f"{TOKEN}\nX-Evil: 1")}) as bench:
        with pytest.raises(Unavailable) as caught:
            bench.send({"t": 1})
        texts += [str(caught.value), repr(caught.value.__cause__)]
    assert not [text for text in texts if TOKEN in text]
    assert all("X-Evil" not in request.headers for request in stub.requests)


# -- asking


SERIES = {
    "results": [
        {
            "statement_id": 0,
            "series": [
                {
                    "name": "room",
                    "tags": {"device": name},
                    "columns": ["time", "mean"],
                    "values": [["2026-01-01T00:00:00Z", 21.5], ["2026-01-01T00:01:00Z", None]],
                }
                for name in ("a", "b")
            ],
        }
    ]
}
HOSTILE = ['x" or true or r.a == "', "' or 1=1 --", '") |> drop()', "a\\", "$d", "a\nb"]


def test_influxql_answers_with_rows(stub: Stub) -> None:
    stub.answers = [Answer(200, json.dumps(SERIES))]
    query = ["select mean(t) from room", "where device = $d and time > $since group by device"]
    with asking(
        stub, "influxql", query=query, params={"d": "key", "since": "payload.since"}
    ) as bench:
        (message,) = bench.send({"since": 5}, key="dev-1", topic="ask")["out"]
    assert message.topic == "ask"
    assert message.payload == [
        {"device": name, "time": time, "mean": mean}
        for name in ("a", "b")
        for time, mean in (("2026-01-01T00:00:00Z", 21.5), ("2026-01-01T00:01:00Z", None))
    ]
    (request,) = stub.requests
    assert request.path == "/query"
    assert request.form["db"] == "b"
    assert request.form["q"] == "\n".join(query)
    assert json.loads(request.form["params"]) == {"d": "dev-1", "since": 5}


@pytest.mark.parametrize("device", HOSTILE)
def test_influxql_sends_values_beside_the_query(stub: Stub, device: str) -> None:
    stub.answers = [Answer(200, '{"results":[{}]}')]
    query = "select t from room where device = $d"
    with asking(stub, "influxql", query=query, params={"d": "key"}) as bench:
        assert bench.send(None, key=device)["out"][0].payload == []
    form = stub.requests[0].form
    assert (form["q"], json.loads(form["params"])) == (query, {"d": device})


CSV = """\
#datatype,string,long,dateTime:RFC3339,double,string\r
#group,false,false,false,false,true\r
#default,_result,,,,\r
,result,table,_time,_value,device\r
,,0,2026-01-01T00:00:00Z,21.5,a\r
,,1,2026-01-01T00:00:00Z,22,b\r
"""


def test_flux_answers_with_one_message_a_row(stub: Stub) -> None:
    stub.answers = [Answer(200, CSV)]
    query = "from(bucket: b) |> range(start: start)"
    with asking(stub, "flux", query=query, into="payload.row", each=True) as bench:
        messages = bench.send({"keep": 1})["out"]
        assert bench.unsettled == 0
    assert [message.payload for message in messages] == [
        {"keep": 1, "row": {"_time": "2026-01-01T00:00:00Z", "_value": 21.5, "device": "a"}},
        {"keep": 1, "row": {"_time": "2026-01-01T00:00:00Z", "_value": 22.0, "device": "b"}},
    ]
    (request,) = stub.requests
    assert request.path == "/api/v2/query"
    assert request.query == {"org": "o"}
    body = json.loads(request.body)
    assert body["query"] == query
    assert body["dialect"]["annotations"] == ["datatype", "group", "default"]


@pytest.mark.parametrize("device", HOSTILE)
def test_flux_declares_values_before_the_query(stub: Stub, device: str) -> None:
    query = "from(bucket: b) |> filter(fn: (r) => r.device == _dev)"
    params = {"_dev": "key", "_n": "4", "_on": "true", "_list": "['a', 'b']"}
    with asking(stub, "flux", query=query, params=params) as bench:
        stub.answers = [Answer(200, "")]
        bench.send(None, key=device)
    body = json.loads(stub.requests[0].body)
    assert body["query"] == query
    literals = {
        statement["assignment"]["id"]["name"]: statement["assignment"]["init"]
        for statement in body["extern"]["body"]
    }
    assert literals["_dev"] == {"type": "StringLiteral", "value": device}
    assert literals["_n"] == {"type": "IntegerLiteral", "value": "4"}
    assert literals["_on"] == {"type": "BooleanLiteral", "value": True}
    assert [item["value"] for item in literals["_list"]["elements"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("language", "answer", "words"),
    [
        ("influxql", Answer(400, '{"error":"error parsing query: found EOF"}'), "found EOF"),
        ("influxql", Answer(200, '{"results":[{"error":"database not found: b"}]}'), "not found"),
        ("flux", Answer(400, '{"code":"invalid","message":"undefined identifier"}'), "undefined"),
        ("flux", Answer(200, "error,reference\r\ntype conflict,\r\n"), "type conflict"),
        ("flux", Answer(200, CSV + "\r\nerror,reference\r\nread failed,\r\n"), "read failed"),
    ],
)
def test_query_that_the_server_refuses_is_an_error_of_its_message(
    stub: Stub, language: str, answer: Answer, words: str
) -> None:
    stub.answers = [answer]
    with asking(stub, language, query="?") as bench, pytest.raises(NodeError) as caught:
        bench.send(None)
    assert caught.value.slug == "query-refused"
    assert words in caught.value.what


@pytest.mark.parametrize("language", ["influxql", "flux"])
@pytest.mark.parametrize(
    "answer",
    [Answer(401, "{}"), Answer(404, "{}"), Answer(503, "busy"), Answer(200, "<html>\r\n,,")],
)
def test_query_waits_for_a_server_that_cannot_answer(
    stub: Stub, language: str, answer: Answer
) -> None:
    stub.answers = [answer]
    with asking(stub, language, query="?") as bench, pytest.raises(Unavailable):
        bench.send(None)


def test_batch_that_is_asked_again_asks_the_same(stub: Stub) -> None:
    stub.answers = [Answer(200, json.dumps(SERIES)), Answer(503)]
    with asking(stub, "influxql", query="?", params={"d": "payload.device"}) as bench:
        batch = [Message({"device": name}) for name in ("a", "b")]
        with pytest.raises(Unavailable):
            bench.send_many(batch)
        stub.answers = [Answer(200, '{"results":[{}]}')] * 2
        assert [message.payload for message in bench.send_many(batch)["out"]] == [[], []]
    asked = [json.loads(request.form["params"])["d"] for request in stub.requests]
    assert asked == ["a", "b", "a", "b"]


@pytest.mark.parametrize(
    ("language", "value"),
    [("influxql", [1]), ("influxql", None), ("flux", {"a": 1}), ("flux", [1, "a"]), ("flux", [])],
)
def test_value_that_cannot_be_bound_takes_the_error_route(
    stub: Stub, language: str, value: Any
) -> None:
    with asking(stub, language, query="?", params={"v": "payload"}) as bench:
        (failed,) = bench.send(value)["error"]
    assert failed.meta["error"]["slug"] == "bad-param"
    assert stub.requests == []


# -- settings, opening and closing


@pytest.mark.parametrize(
    ("node_type", "config", "slug"),
    [
        ("influxdb.server", {"url": "localhost:8086"}, "bad-value"),
        ("influxdb.server", {"url": "ftp://x"}, "bad-value"),
        ("influxdb.server", {"url": "http://u:p@x"}, "literal-secret"),
        ("influxdb.server", {"url": "http://x/?a=b"}, "bad-value"),
        ("influxdb.server", {"url": "http://x", "token": "t"}, "literal-secret"),
        ("influxdb.write", {"fields": {}}, "bad-value"),
        ("influxdb.write", {"fields": {"time": "1"}}, "bad-value"),
        ("influxdb.write", {"fields": {"t": "1"}, "tags": {"": "1"}}, "bad-value"),
        ("influxdb.write", {"fields": {"t\\": "1"}}, "bad-value"),
        ("influxdb.write", {"fields": {"t": "1"}, "integers": ["n"]}, "bad-value"),
        ("influxdb.write", {"fields": {"t": "1 +"}}, "bad-expression"),
        ("influxdb.query", {"language": "flux", "query": "x", "params": {"a b": "1"}}, "bad-value"),
    ],
)
def test_setting_that_cannot_work_is_a_finding(
    node_type: str, config: dict[str, Any], slug: str
) -> None:
    usual = {} if node_type == "influxdb.server" else {"server": "influx"}
    if node_type == "influxdb.write":
        usual["measurement"] = "m"
    with pytest.raises(FindingsError) as caught:
        NodeBench(node_type, {**usual, **config})
    assert [finding.slug for finding in caught.value.findings] == [slug]


def test_connection_is_ready_once_the_server_has_answered(stub: Stub) -> None:
    stub.answers = [Answer(500), Answer(500)]
    clock = ToldClock()
    bench = server_bench(stub.url, clock)
    server: InfluxServer = bench.node

    async def scenario() -> None:
        await server.open()
        ready = asyncio.create_task(server.ready())
        while not ready.done():
            await asyncio.sleep(0)
            clock.advance(60_000 * MS)
        await server.close()
        await server.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))
    assert [state for state, _ in bench.statuses] == ["connecting", "connecting", "running"]


def test_connection_closes_while_it_still_looks() -> None:
    with Stub() as closed:
        pass
    bench = server_bench(closed.url)

    async def scenario() -> None:
        await bench.node.open()
        await asyncio.sleep(0)
        await bench.node.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_bad_certificate_file_is_said(stub: Stub) -> None:
    with writing(stub, {"tls": {"ca": "no-such-file.pem"}}) as bench:
        with pytest.raises(Unavailable, match="certificates"):
            bench.send({"t": 1})
        assert bench.statuses[-1][0] == "failed"


@pytest.mark.alone
def test_requests_leave_the_event_loop_free(stub: Stub) -> None:
    with writing(stub) as bench:
        ticks = 0

        async def scenario() -> None:
            nonlocal ticks
            record = bench.node.prepare(Message({"t": 1}))
            write = asyncio.create_task(bench.node.write([record]))
            while not write.done():
                ticks += 1
                await asyncio.sleep(0)
            await write
            await bench.node.close()

        asyncio.run(scenario())
    assert ticks > 5
