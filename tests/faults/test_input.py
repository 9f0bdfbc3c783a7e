"""Whatever comes in is read exactly, or refused with a reason, in bounded steps and memory.

Work is counted in calls and bytes and not in seconds, which a loaded machine makes its own of.
"""

import gzip
import json
import math
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cbor2
import pytest

from flowengine import Message, decode, encode
from flowengine.engine.outlet import ERROR
from flowengine.errors import NodeError, Unavailable
from flowengine.nodes.influxdb.client import MAX_ANSWER, InfluxClient
from flowengine.nodes.influxdb.csv import BadAnswer, QueryFailed, parse_rows
from flowengine.nodes.influxdb.lineprotocol import make_renderer
from flowengine.nodes.mqtt_wire import PacketReader, WireError
from flowengine.testing import NodeBench
from tests.faults.mutants import mutants
from tests.faults.record import Seen
from tests.system.publisher import packet, publish_packet, text
from tests.system.real import LOOPBACK

LIMIT = 16 * 1024 * 1024
READING = {
    "sensor_id": "dev-0001",
    "temperature": 21.5,
    "humidity": [40, None, True],
    "n": {"a": 1},
}
PACK: list[dict[str, Any]] = [
    {"bn": "urn:dev:ow:10e2073a01080063:", "bt": 1.276020076e9, "bu": "A", "bver": 5},
    {"u": "V", "n": "voltage", "v": 120.1},
    {"n": "current", "t": -5, "v": 1.2, "s": 7},
    {"n": "label", "vs": "a/b"},
    {"n": "open", "vb": True},
    {"n": "data", "vd": "3q2-7w"},
]
TO_CBOR = {"bn": -2, "bt": -3, "bu": -4, "n": 0, "u": 1, "v": 2, "t": 6, "s": 5, "vs": 3, "vb": 4}
CBOR_PACK = [{TO_CBOR[k]: v for k, v in record.items() if k in TO_CBOR} for record in PACK]

CORPORA: dict[str, tuple[str, list[bytes]]] = {
    "JSON": (
        "json.decode",
        [json.dumps(READING).encode(), b"21.5", b'"text"', b"[1,2,[3,{}]]", b'{"a":1,"a":2}'],
    ),
    "CBOR": (
        "cbor.decode",
        [
            cbor2.dumps(READING),
            cbor2.dumps([1, -5, 2**63, 1.5, b"\1\2", "text", None, {1: 2}]),
            cbor2.dumps(cbor2.CBORTag(1, 1_767_225_600)),
            b"\x9f\x01\x82\x02\x03\xff",
            b"\xbf\x61a\x01\xff",
            b"\xc4\x82\x21\x19\x6a\xb3",
        ],
    ),
    "SenML in JSON": ("senml.decode", [json.dumps(PACK).encode(), b'[{"n":"a/b","v":1}]']),
    "SenML in CBOR": ("senml.decode", [cbor2.dumps(CBOR_PACK), cbor2.dumps([{0: "a", 2: 1}])]),
    "CSV": (
        "csv.decode",
        [b'time,a,b\n1,2,x\n3,,"y ""z"""\n', b"a;b\n1;2", b"only\n", b"a,b\r\n1,2\r\n"],
    ),
    "text": ("text.decode", ["Zürich 21 °C".encode(), b"plain"]),
}

Steps = list[int]


@contextmanager
def counted() -> Iterator[Steps]:
    """Count the calls, Python's and C's, within: the steps of what is written in Python."""
    steps = [0]

    def step(_frame: Any, event: str, _arg: Any) -> None:
        steps[0] += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(step)
    try:
        yield steps
    finally:
        sys.setprofile(before)


@contextmanager
def weighed() -> Iterator[list[int]]:
    """The most bytes that were held at once within."""
    peak = [0]
    tracemalloc.start()
    try:
        yield peak
        peak[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def sound(value: Any, level: int = 1) -> bool:
    """A tree that nothing behind has to look at again: finite, 64 bits, text keys, 64 levels."""
    kind = type(value)
    if kind is float:
        return bool(math.isfinite(value))
    if kind is int:
        return bool(-(1 << 63) <= value < 1 << 64)
    if kind is dict:
        return level <= 64 and all(type(k) is str and sound(v, level + 1) for k, v in value.items())
    if kind is list:
        return level <= 64 and all(sound(part, level + 1) for part in value)
    return kind in {str, bytes, bool, type(None)}


# -- F-70: mutants


def _meet(form: str, number: int, seed: int) -> tuple[Counter[str], float, float]:
    """Send mutants through a decode node: where they left, and the most steps a byte and time."""
    node_type, corpus = CORPORA[form]
    bench = NodeBench(node_type)
    left: Counter[str] = Counter()
    most = slowest = 0.0
    for raw in mutants(corpus, seed=seed, number=number):
        message = Message(raw, "t", bench.clock.now(), "k")
        began = time.perf_counter()
        with counted() as steps:
            outs = bench.send_many([message])
        slowest = max(slowest, time.perf_counter() - began)
        most = max(most, steps[0] / (len(raw) + 100))
        assert set(outs) <= {"out", "refused", ERROR}
        assert ERROR not in outs, outs[ERROR][0].meta["error"]  # an answer, not an accident (R6)
        for name, messages in outs.items():
            left[name] += 1
            for out in messages:
                if name == "refused":
                    assert out.payload == raw
                    assert len(str(out.meta["refused"])) < 1000
                else:
                    assert sound(out.payload), raw
        left["nothing"] += not outs
    assert bench.unsettled == 0
    return left, most, slowest


@pytest.mark.parametrize("form", CORPORA)
def test_f70_a_thousand_mutants_are_read_or_refused_in_steps_that_their_size_bounds(
    form: str, seen: Seen
) -> None:
    left, most, slowest = _meet(form, 1_000, seed=70)
    seen(mutants=1_000, refused=left["refused"], calls_a_byte=round(most, 1))
    assert left["out"] > 20, "the mutants are too wild to show anything"
    assert left["refused"] > 20 or form == "text"
    assert most < 10
    assert slowest < 5  # a quadratic reader would take minutes


@pytest.mark.long
@pytest.mark.parametrize("form", CORPORA)
def test_f70_ten_thousand_mutants_more(form: str, seen: Seen) -> None:
    left, most, slowest = _meet(form, 10_000, seed=71)
    seen(
        mutants=10_000,
        refused=left["refused"],
        calls_a_byte=round(most, 1),
        slowest_ms=round(slowest * 1000, 1),
    )
    assert most < 10


@pytest.mark.parametrize("number", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_f70_auto_takes_every_mutant_of_everything(number: int, seen: Seen) -> None:
    """As a broker's payloads come in (R11): it never fails, and gives nothing unsound."""
    for form, (_, corpus) in CORPORA.items():
        for raw in mutants(corpus, seed=72, number=number):
            assert sound(decode(raw, "auto")), form
    seen(mutants=number * len(CORPORA), lost=0)


ANSWER = (
    b"#datatype,string,long,dateTime:RFC3339,double,boolean\r\n#default,_result,,,,\r\n"
    b",result,table,_time,_value,ok\r\n,,0,2026-01-01T00:00:00Z,21.5,true\r\n\r\n"
)


@pytest.mark.parametrize("number", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_f70_a_databases_answer_is_read_or_refused(number: int, seen: Seen) -> None:
    said: Counter[str] = Counter()
    for raw in mutants([ANSWER], seed=73, number=number):
        try:
            rows = list(parse_rows(raw.decode("utf-8", "replace")))
        except (BadAnswer, QueryFailed) as err:
            said[type(err).__name__] += 1
        else:
            said["read"] += 1
            assert all(sound(row.values) for row in rows), raw
    seen(mutants=number, refused=said["BadAnswer"])
    assert min(said["read"], said["BadAnswer"]) > 20


@pytest.mark.parametrize("number", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_f70_line_protocol_of_any_text_is_one_line_or_refused(number: int, seen: Seen) -> None:
    """Nothing that a device sends ends its line and begins one of its own."""
    corpus = [b"dev-1", "Zürich ".encode(), b"a,b=c d", b'say "x"\\', b"x\ny,t=1 v=2 3\nz"]
    render = make_renderer(["tag"], ["field"])
    said: Counter[str] = Counter()
    for raw in mutants(corpus, seed=74, number=number):
        hostile = raw.decode("utf-8", "surrogateescape")
        try:
            line = render(hostile, [hostile], [hostile], 5)
            line.encode()
        except (NodeError, UnicodeEncodeError):
            said["refused"] += 1
            continue
        said["written"] += 1
        head, quote, field = line.partition('field="')
        assert quote
        assert field.endswith('" 5')
        assert "\n" not in head
        # A line break may stand within the quotes of a text, where the protocol allows it.
        assert not _ends_early(field[: -len(" 5")]), line
    seen(mutants=number, refused=said["refused"])
    assert said["written"] > 100


def _ends_early(field: str) -> bool:
    """Whether a quote that is not escaped stands before the last sign."""
    at = 0
    while at < len(field) - 1:
        if field[at] == "\\" and field[at + 1 : at + 2] in {"\\", '"'}:
            at += 2
            continue
        if field[at] == '"':
            return True
        at += 1
    return False


# -- F-72: deep, wide, twice


DEEP, WIDE = 100_000, 1_000_000
HOSTILE: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "JSON lists": ("json.decode", lambda: b"[" * DEEP + b"]" * DEEP, "not-json"),
    "JSON maps": ("json.decode", lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP, "not-json"),
    "JSON, never closed": ("json.decode", lambda: b"[" * DEEP, "not-json"),
    "CBOR lists": ("cbor.decode", lambda: b"\x81" * DEEP + b"\x00", "too-deep"),
    "CBOR lists without a length": ("cbor.decode", lambda: b"\x9f" * DEEP, "too-deep"),
    "CBOR maps": ("cbor.decode", lambda: b"\xa1\x61a" * DEEP + b"\x00", "too-deep"),
    "CBOR tags": ("cbor.decode", lambda: b"\xc6" * DEEP + b"\x00", "too-deep"),
    "CBOR, a list of 2^63": ("cbor.decode", lambda: b"\x9b\x7f" + b"\xff" * 7, "not-cbor"),
    "CBOR, text of 2^63": ("cbor.decode", lambda: b"\x7b\x7f" + b"\xff" * 7, "not-cbor"),
    "CBOR, a map of 2^63": ("cbor.decode", lambda: b"\xbb\x7f" + b"\xff" * 7, "not-cbor"),
    "SenML lists": ("senml.decode", lambda: b"[" * DEEP + b"]" * DEEP, "not-senml"),
    "SenML in CBOR": ("senml.decode", lambda: b"\x81" * DEEP + b"\x00", "not-senml"),
    "a million keys": (
        "json.decode",
        lambda: b"{%b}" % ",".join(f'"{n}":{n}' for n in range(WIDE)).encode(),
        "not-json",
    ),
    "a million keys in CBOR": (
        "cbor.decode",
        lambda: b"\xba" + WIDE.to_bytes(4, "big") + b"".join(map(cbor2.dumps, range(2 * WIDE))),
        "too-large",
    ),
    "a key twice": ("json.decode", lambda: b'{"a":1,"b":{"c":2,"c":3}}', "not-json"),
    "a key twice in CBOR": ("cbor.decode", lambda: b"\xa2\x61a\x01\x61a\x02", "duplicate-key"),
    "above the limit": ("json.decode", lambda: b'"' + b"x" * LIMIT + b'"', "not-json"),
    "a CSV of commas": ("csv.decode", lambda: b"," * WIDE, "not-csv"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_f72_what_is_too_deep_too_wide_or_twice_is_refused_in_memory_of_its_size(
    name: str, seen: Seen
) -> None:
    node_type, make, reason = HOSTILE[name]
    raw = make()
    bench = NodeBench(node_type)
    message = Message(raw, "t", 0, "k")
    with weighed() as peak:
        outs = bench.send_many([message])
    seen(bytes=len(raw), peak_bytes=peak[0])
    assert list(outs) == ["refused"]
    assert outs["refused"][0].meta["refused"]["reason"] == reason
    assert peak[0] < 200_000 + 80 * len(raw)
    assert bench.send_many([Message(b"1" if node_type != "cbor.decode" else b"\x01")])


# -- F-73: bombs


@contextmanager
def bomb_server(status: int, size: int) -> Iterator[str]:
    """A server whose every answer is a short gzip of so many zeros."""
    packed = gzip.compress(b"0" * size, 9)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("language", ["influxql", "flux"])
def test_f73_a_databases_answer_that_unpacks_to_much_is_cut_off(
    status: int, language: str, seen: Seen
) -> None:
    """The only thing that is unpacked here at all: no node reads zip, gzip or zstd."""
    with bomb_server(status, 8 * MAX_ANSWER) as url:
        client = InfluxClient(
            url,
            org="o",
            token="",
            version="1" if language == "influxql" else "2",
            timeout=20,
            tls=None,
            compress=False,
            now=time.time,
        )
        ask = client.influxql if language == "influxql" else client.flux
        args: tuple[Any, ...] = ("b", "q", {}) if language == "influxql" else ("q", {})
        try:
            with weighed() as peak, pytest.raises((NodeError, Unavailable)):
                ask(*args)
        finally:
            client.close()
    seen(peak_mb=round(peak[0] / 1e6), bomb_mb=8 * MAX_ANSWER // 1_000_000)
    assert peak[0] < 4 * MAX_ANSWER


# -- F-74: numbers


NUMBERS: dict[str, Any] = {
    "NaN": None,
    "Infinity": None,
    "-Infinity": None,
    "1e400": None,
    "-1e400": None,
    "9" * 10_000: None,
    "18446744073709551616": None,
    "-9223372036854775809": None,
    "-0.0": -0.0,
    "0": 0,
    "9007199254740993": 9007199254740993,
    "18446744073709551615": 18446744073709551615,
    "-9223372036854775808": -9223372036854775808,
    "1e308": 1e308,
    "5e-324": 5e-324,
    "1e-400": 0.0,
    "0.1": 0.1,
    "9007199254740993.0": 9007199254740992.0,  # a float, and there is none between
}


@pytest.mark.parametrize("text_", NUMBERS, ids=lambda text_: text_[:22])
@pytest.mark.parametrize("frame", ["{}", '{{"v":{}}}', "[1,{}]"])
def test_f74_a_number_is_exact_or_refused(frame: str, text_: str) -> None:
    outs = NodeBench("json.decode").send(frame.format(text_))
    expected = NUMBERS[text_]
    if expected is None:
        (refused,) = outs["refused"]
        assert refused.meta["refused"]["reason"] == "not-json"
        assert len(refused.meta["refused"]["limit"]) < 400
        return
    (out,) = outs["out"]
    value = out.payload["v"] if "v" in frame else out.payload[1] if "[" in frame else out.payload
    assert (type(value), repr(value)) == (type(expected), repr(expected))
    again = json.loads(encode(out.payload, "json"))
    value = again["v"] if "v" in frame else again[1] if "[" in frame else again
    assert repr(value) == repr(expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
@pytest.mark.parametrize("node_type", ["json.encode", "cbor.encode", "csv.encode", "senml.encode"])
def test_f74_nan_is_never_written(node_type: str, bad: float) -> None:
    """An expression or a scale may make one: it takes the error route, and no 0 or null leaves."""
    outs = NodeBench(node_type).send({"v": bad}, key="dev/1")
    assert list(outs) == [ERROR]


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
def test_f74_nan_in_line_protocol_is_left_out_and_said(bad: float) -> None:
    line = make_renderer([], ["v", "w"])("m", [], [bad, 1.0], 5)
    assert line == "m w=1 5"


# -- F-75: packets


def _streams() -> list[bytes]:
    good = publish_packet("device/dev-1/telemetry", b'{"t": 21.5}', 7)
    return [
        good * 3,
        publish_packet("a/b", b"", 0) + good,
        b"\x40\x02\x00\x07" + good + b"\xd0\x00",
        packet(0x32, text("t/1") + b"\x00\x09" + b"\x00" + b"payload"),
        packet(0x32, text("t/2") + b"\x00\x0a" + b"\x07\x01\x01\x02\x00\x00\x00\x3c" + b"x"),
    ]


@pytest.mark.parametrize("version5", [False, True], ids=["3.1.1", "5"])
@pytest.mark.parametrize("number", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_f75_a_stream_of_any_bytes_gives_good_messages_or_ends_the_link(
    number: int, version5: bool, seen: Seen
) -> None:
    said: Counter[str] = Counter()
    longest = 0
    for raw in mutants(_streams(), seed=75, number=number):
        reader = PacketReader(version5=version5, max_size=100_000)
        try:
            for at in range(0, len(raw), 7):
                reader.feed(raw[at : at + 7])
        except WireError as err:
            said["ended"] += 1
            longest = max(longest, len(str(err)))
        for message in reader.messages:
            said["read"] += 1
            assert not {"+", "#", "\0"} & set(message.topic)
            assert message.topic
            message.topic.encode()
            assert message.qos in {0, 1, 2}
    seen(runs=number, ended=said["ended"])
    assert longest < 300
    assert min(said.values()) > number // 20


# -- F-78: names that devices choose

IDS = ("../../etc/x", "..", "/etc/x", "a/../../b", "\\..\\x", "a\0b", "a\nb", "x" * 10_000)


def test_f78_no_file_is_made_from_an_id_that_leads_elsewhere(tmp_path: Path, seen: Seen) -> None:
    files = tmp_path / "data" / "files"
    bench = NodeBench(
        "file.append", {"path": "by/{payload.id}.jsonl"}, files=str(files), data=str(files.parent)
    )
    bench.open()
    for given in (*IDS, "dev-1"):
        outs = bench.send({"id": given})
        assert (ERROR in outs) == (given != "dev-1"), given
    bench.close()
    made = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    seen(runs=len(IDS), files=len(made))
    assert made == ["data/files/by/dev-1.jsonl"]


@pytest.mark.parametrize("node_type", ["threshold", "window", "filter.duplicate", "throttle"])
def test_f78_a_key_of_10_kb_takes_the_error_route_and_leaves_no_state(node_type: str) -> None:
    configs: dict[str, dict[str, Any]] = {
        "threshold": {"above": 8},
        "window": {"every": "1m", "fields": ["payload"]},
        "throttle": {"per": "1s"},
    }
    bench = NodeBench(node_type, configs.get(node_type, {}))
    outs = bench.send(9, key="x" * 10_240)
    assert list(outs) == [ERROR]
    assert bench.context.keys() == []


def test_f78_the_same_reading_of_two_devices_is_two_readings() -> None:
    bench = NodeBench("filter.duplicate", {"by": "payload.id"})
    first, second = (bench.send({"id": 7}, key=key) for key in ("dev-1", "dev-2"))
    assert list(first) == list(second) == ["passed"]
    assert bench.send({"id": 7}, key="dev-1") == {}
