"""SenML packs resolve as RFC 8428 says or are refused whole; a batch of readings makes a pack."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine import Message, encode
from flowengine.errors import NodeError, PayloadError
from flowengine.nodes.senml.records import Record, device_of, pack, read, resolve, write
from flowengine.testing import NodeBench

SECOND = 1_000_000_000
NOW = 1_767_225_600 * SECOND
OW = "urn:dev:ow:10e2073a01080063"

# -- RFC 8428 §5.1 ---------------------------------------------------------------------------------

EX_5_1_1 = '[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]'
EX_5_1_2 = """[
  {"bn":"urn:dev:ow:10e2073a01080063:","n":"voltage","u":"V","v":120.1},
  {"n":"current","u":"A","v":1.2}
]"""
EX_5_1_2_TIMES = """[
  {"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,
   "bu":"A","bver":5,
   "n":"voltage","u":"V","v":120.1},
  {"n":"current","t":-5,"v":1.2},
  {"n":"current","t":-4,"v":1.3},
  {"n":"current","t":-3,"v":1.4},
  {"n":"current","t":-2,"v":1.5},
  {"n":"current","t":-1,"v":1.6},
  {"n":"current","v":1.7}
]"""
EX_5_1_3 = """[
  {"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},
  {"u":"lon","v":24.30621},
  {"u":"lat","v":60.07965},
  {"t":60,"v":20.3},
  {"u":"lon","t":60,"v":24.30622},
  {"u":"lat","t":60,"v":60.07965},
  {"t":120,"v":20.7},
  {"u":"lon","t":120,"v":24.30623},
  {"u":"lat","t":120,"v":60.07966},
  {"u":"%EL","t":150,"v":98},
  {"t":180,"v":21.2},
  {"u":"lon","t":180,"v":24.30628},
  {"u":"lat","t":180,"v":60.07967}
]"""
EX_5_1_4_RESOLVED = [
    ("%RH", 1320067464, 20),
    ("lon", 1320067464, 24.30621),
    ("lat", 1320067464, 60.07965),
    ("%RH", 1320067524, 20.3),
    ("lon", 1320067524, 24.30622),
    ("lat", 1320067524, 60.07965),
    ("%RH", 1320067584, 20.7),
    ("lon", 1320067584, 24.30623),
    ("lat", 1320067584, 60.07966),
    ("%EL", 1320067614, 98),
    ("%RH", 1320067644, 21.2),
    ("lon", 1320067644, 24.30628),
    ("lat", 1320067644, 60.07967),
]
EX_5_1_5 = """[
  {"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},
  {"n":"label","vs":"Machine Room"},
  {"n":"open","vb":false},
  {"n":"nfc-reader","vd":"aGkgCg"}
]"""
EX_5_1_6 = """[
  {"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":27.2},
  {"n":"humidity","u":"%RH","v":80}
]"""
# §6: the pack of EX_5_1_2_TIMES in CBOR
EX_6 = bytes.fromhex(
    "87a721781b75726e3a6465763a6f773a3130653230373361303130383030363a22fb41d303a15b00106223614120"
    "050067766f6c7461676501615602fb405e066666666666a3006763757272656e74062402fb3ff3333333333333a3"
    "006763757272656e74062302fb3ff4cccccccccccda3006763757272656e74062202fb3ff6666666666666a30067"
    "63757272656e74062102f93e00a3006763757272656e74062002fb3ff999999999999aa3006763757272656e7406"
    "0002fb3ffb333333333333"
)


def brief(records: list[Record]) -> list[tuple[str, str | None, int, Any]]:
    """Name, unit, time and value of each record."""
    return [(record.name, record.unit, record.time, record.value) for record in records]


def test_a_single_record_without_a_time_is_now() -> None:
    assert brief(resolve(read(EX_5_1_1), NOW)) == [(OW, "Cel", NOW, 23.1)]


def test_the_base_name_stands_before_each_name() -> None:
    assert brief(resolve(read(EX_5_1_2), NOW)) == [
        (f"{OW}:voltage", "V", NOW, 120.1),
        (f"{OW}:current", "A", NOW, 1.2),
    ]


@pytest.mark.parametrize("content", [EX_5_1_2_TIMES, EX_5_1_2_TIMES.encode(), EX_6])
def test_records_stand_in_the_order_of_their_times(content: Any) -> None:
    base, at = "urn:dev:ow:10e2073a0108006:", 1_276_020_076_001_000_000
    currents = [
        (base + "current", "A", at - (5 - n) * SECOND, value)
        for n, value in enumerate([1.2, 1.3, 1.4, 1.5, 1.6])
    ]
    assert brief(resolve(read(content), NOW)) == [
        *currents,
        (base + "voltage", "V", at, 120.1),
        (base + "current", "A", at, 1.7),
    ]


def test_r67_the_resolved_example_is_as_printed() -> None:
    expected = [(OW, unit, time * SECOND, value) for unit, time, value in EX_5_1_4_RESOLVED]
    assert brief(resolve(read(EX_5_1_3), NOW)) == expected


def test_values_have_four_types() -> None:
    values = [record.value for record in resolve(read(EX_5_1_5), NOW)]
    assert values == [23.1, "Machine Room", False, b"hi \n"]


def test_cbor_carries_bytes_as_they_are() -> None:
    content = encode([{"0": "a", "8": b"\x00\xff"}], "cbor")
    assert resolve(read(content), NOW)[0].value == b"\x00\xff"


@pytest.mark.parametrize(
    ("fields", "value", "total"),
    [
        ({"bv": 20, "v": 1.5}, 21.5, None),
        ({"bv": 20}, 20, None),
        ({"v": 1, "s": 5}, 1, 5),
        ({"s": 5}, None, 5),
        ({"bs": 100, "s": 5}, None, 105),
        ({"bs": 100, "v": 1}, 1, 100),
        ({"bv": 20, "vs": "x"}, "x", None),
    ],
)
def test_base_value_and_base_sum_are_added(
    fields: dict[str, Any], value: Any, total: float | None
) -> None:
    (record,) = resolve(read(json.dumps([{"n": "a", **fields}])), NOW)
    assert (record.value, record.sum) == (value, total)


@pytest.mark.parametrize(
    ("seconds", "time"),
    [
        (0, NOW),
        (-1.5, NOW - 1_500_000_000),
        (2**28 - 1, NOW + (2**28 - 1) * SECOND),
        (2**28, 2**28 * SECOND),
        (1795449204.25, 1_795_449_204_250_000_000),
    ],
)
def test_a_time_below_2_28_counts_from_now(seconds: float, time: int) -> None:
    assert resolve(read(json.dumps([{"n": "a", "v": 1, "t": seconds}])), NOW)[0].time == time


def test_base_fields_alone_set_what_follows() -> None:
    content = '[{"bn":"a/","bu":"V","bt":1e9},{"n":"x","v":1},{"bn":"b/"},{"n":"y","v":2}]'
    assert brief(resolve(read(content), NOW)) == [
        ("a/x", "V", 10**9 * SECOND, 1),
        ("b/y", "V", 10**9 * SECOND, 2),
    ]


def test_unknown_fields_are_ignored() -> None:
    assert len(resolve(read('[{"n":"a","v":1,"loc":[1,2],"bx":5}]'), NOW)) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "list of records"),
        ("[1]", "list of records"),
        ("21.5", "list of records"),
        ('[{"n":"a","v":1,"tag_":5}]', '"tag_" must be understood'),
        ('[{"bver":11,"n":"a","v":1}]', '"bver"'),
        ('[{"bver":0,"n":"a","v":1}]', '"bver"'),
        ('[{"bver":5,"n":"a","v":1},{"bver":10,"n":"b","v":1}]', "one version"),
        ('[{"n":"a","v":1},{"bver":5,"n":"b","v":1}]', "one version"),
        ('[{"v":1}]', "no name"),
        ('[{"n":"","v":1}]', "no name"),
        ('[{"n":"_a","v":1}]', "no name"),
        ('[{"n":"a b","v":1}]', "no name"),
        ('[{"n":"a\\n","v":1}]', "no name"),
        ('[{"n":"ä","v":1}]', "no name"),
        ('[{"n":"a"}]', "no value"),
        ('[{"n":"a","v":1,"vs":"x"}]', "two values"),
        ('[{"n":"a","v":"1"}]', '"v"'),
        ('[{"n":"a","v":true}]', '"v"'),
        ('[{"n":"a","vb":1}]', '"vb"'),
        ('[{"n":"a","vs":1}]', '"vs"'),
        ('[{"n":5,"v":1}]', '"n"'),
        ('[{"n":"a","vd":"a+/b"}]', '"vd"'),
        ('[{"n":"a","vd":"a"}]', '"vd"'),
        ('[{"n":"a","t":"now","v":1}]', '"t"'),
        ('[{"n":"a","t":1e300,"v":1}]', "years"),
        ('[{"bv":1e308,"n":"a","v":1e308}]', "too large"),
        ('[{"n":"a","0":"b","v":1}]', '"n" stands twice'),
        ('[{"n":"a","v":1},{"n":"b"}]', "no value"),
    ],
)
def test_a_pack_that_breaks_a_rule_is_refused_whole(content: str, words: str) -> None:
    (got,) = NodeBench("senml.decode").send(content)["refused"]
    assert got.payload == content
    assert got.meta["refused"]["reason"] == "not-senml"
    assert words in got.meta["refused"]["limit"]


@pytest.mark.parametrize("label", ["v", "s", "t", "ut", "bt", "bv", "bs"])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_a_decoded_pack_with_nan_is_refused(label: str, number: float) -> None:
    out = NodeBench("senml.decode").send([{"n": "a", "vs": "x", label: number}])
    assert f'"{label}"' in out["refused"][0].meta["refused"]["limit"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("ON", "not-json"),
        (b"\xff", "not-cbor"),
        (b"\x82\x01", "not-cbor"),
        (b'[{"n":"\xff"}]', "not-utf8"),
        ("[" * 100_000, "not-senml"),
        ('[{"n":"a","n":"b","v":1}]', "not-senml"),
        (21.5, "not-senml"),
        (None, "not-senml"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_pack_is_refused(content: Any, reason: str) -> None:
    out = NodeBench("senml.decode").send(content)
    assert out["refused"][0].meta["refused"]["reason"] == reason


# -- the nodes -------------------------------------------------------------------------------------


def test_r67_decode_makes_one_message_a_record() -> None:
    bench = NodeBench("senml.decode")
    first, second = bench.send(EX_5_1_6, topic="t", key="old", meta={"qos": 1})["out"]
    assert first.payload == {"name": "2001:db8::2/temperature", "unit": "Cel", "value": 27.2}
    assert second.payload == {"name": "2001:db8::2/humidity", "unit": "%RH", "value": 80}
    assert first.time == second.time == 1_320_078_429 * SECOND
    assert (first.key, first.topic, first.meta) == ("2001:db8::2/", "t", {"qos": 1})
    assert bench.unsettled == 0
    assert bench.fates["delivered"] == 1


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ({"bn": "dev-1", "n": "/t"}, "dev-1"),
        ({"bn": "urn:dev:ow:1:", "n": "t"}, "urn:dev:ow:1:"),
        ({"n": "urn:dev:ow:1:t"}, "urn:dev:ow:1"),
        ({"n": "house/room/t"}, "house/room"),
        ({"n": "a/b:c"}, "a/b"),
        ({"n": "t"}, "t"),
    ],
)
def test_r67_the_key_is_the_base_name_or_the_name_up_to_its_last_mark(
    record: dict[str, str], key: str
) -> None:
    out = NodeBench("senml.decode").send([{**record, "v": 1}])["out"]
    assert out[0].key == key


def test_r67_decode_keeps_sums_and_update_times() -> None:
    (got,) = NodeBench("senml.decode").send('[{"n":"a","s":5.5,"ut":60}]')["out"]
    assert got.payload == {"name": "a", "unit": None, "sum": 5.5}
    assert got.meta == {"update_time": 60}


def test_a_relative_time_counts_from_the_messages_time() -> None:
    (got,) = NodeBench("senml.decode").send('[{"n":"a","v":1,"t":-10}]', time=NOW)["out"]
    assert got.time == NOW - 10 * SECOND


def test_an_empty_pack_is_filtered() -> None:
    bench = NodeBench("senml.decode")
    assert bench.send("[]") == {}
    assert (bench.filtered, bench.unsettled) == (1, 0)


def test_r67_encode_makes_one_pack_of_a_batch() -> None:
    bench = NodeBench("senml.encode")
    batch = [
        Message({"t": 21.5, "h": 40}, "a", NOW, "dev-1", {"qos": 1}),
        Message({"t": 22}, "b", NOW + 1_500_000_000, "dev-2"),
        Message(True, "c", NOW, "dev-2/door"),
    ]
    out = bench.send_many(batch)
    (got,) = out["out"]
    assert json.loads(got.payload) == [
        {"bn": "dev-1", "bt": 1767225600, "n": "/t", "v": 21.5},
        {"n": "/h", "v": 40},
        {"bn": "dev-2", "n": "/t", "v": 22, "t": 1.5},
        {"n": "/door", "vb": True},
    ]
    assert (got.topic, got.key, got.time) == ("a", "dev-1", NOW + 1_500_000_000)
    assert got.meta == {"qos": 1, "content_type": "application/senml+json"}
    assert (bench.unsettled, bench.filtered) == (0, 0)
    assert bench.fates["delivered"] == 3


def test_a_reading_that_cannot_be_packed_spoils_no_other() -> None:
    bench = NodeBench("senml.encode", {"format": "cbor"})
    payloads = [1, [1], math.nan, {"t": {"x": 1}}, {}, None, {"name": "a", "value": None}, 2]
    batch = [Message(payload, "", NOW, f"d{at}") for at, payload in enumerate(payloads)]
    batch += [Message(1, "", NOW, "ä"), Message(1, "", 5, "old")]
    out = bench.send_many(batch)
    assert [record.name for record in resolve(read(out["out"][0].payload), NOW)] == ["d0", "d7"]
    assert len(out["error"]) == len(batch) - 2
    assert bench.unsettled == 0
    assert bench.fates["delivered"] == len(batch)


def test_a_batch_of_failures_makes_no_pack() -> None:
    bench = NodeBench("senml.encode")
    assert list(bench.send_many([Message([1], "", NOW, "a")])) == ["error"]
    assert bench.unsettled == 0


def test_a_pack_of_one_has_no_base_name() -> None:
    (got,) = NodeBench("senml.encode").send(21.5, key="dev-1/t", time=NOW)["out"]
    assert json.loads(got.payload) == [{"bt": 1767225600, "n": "dev-1/t", "v": 21.5}]


@pytest.mark.parametrize("form", ["json", "cbor"])
@pytest.mark.parametrize("example", [EX_5_1_2, EX_5_1_2_TIMES, EX_5_1_3, EX_5_1_5, EX_5_1_6])
def test_what_was_decoded_can_be_encoded_again(form: str, example: str) -> None:
    decoded = NodeBench("senml.decode").send(example)["out"]
    wanted = [(m.payload, m.time) for m in decoded]
    packed = NodeBench("senml.encode", {"format": form}).send_many(decoded)["out"][0]
    again = NodeBench("senml.decode").send(packed.payload)["out"]
    assert [(m.payload, m.time) for m in again] == wanted


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9:./_-]{0,12}", fullmatch=True)
RECORDS = st.lists(
    st.builds(
        Record,
        name=NAMES,
        unit=st.none() | st.sampled_from(["Cel", "%RH", "V"]),
        time=st.integers(2**28 * 10**6, 4 * 10**15).map(lambda us: us * 1000),
        value=st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.booleans()
        | st.text(st.characters(codec="utf-8"), max_size=5)
        | st.binary(max_size=5),
        sum=st.none() | st.integers(-9, 9),
        update=st.none() | st.integers(1, 99),
    ),
    max_size=6,
)


@pytest.mark.parametrize("form", ["json", "cbor"])
@given(records=RECORDS)
def test_packing_loses_nothing(form: Any, records: list[Record]) -> None:
    again = resolve(read(write(pack(records), form)), NOW)
    expected = sorted(records, key=lambda record: record.time)
    for got, wanted in zip(again, expected, strict=True):
        assert got.base + got.name[len(got.base) :] == wanted.name
        assert (got.unit, got.value, type(got.value)) == (
            wanted.unit,
            wanted.value,
            type(wanted.value),
        )
        assert (got.sum, got.update) == (wanted.sum, wanted.update)
        assert abs(got.time - wanted.time) <= 1000  # ns; a float carries microseconds


@given(st.binary() | st.text() | st.lists(st.dictionaries(st.text(max_size=4), st.integers())))
def test_reading_raises_payload_errors_only(content: Any) -> None:
    try:
        resolve(read(content), NOW)
    except PayloadError as err:
        message = err.what
    else:
        message = "resolved."
    assert message.endswith(".")


NUMBERS = st.integers(-5, 12) | st.floats()
TEXTS = NAMES | st.text(max_size=3)
FIELDS = {
    **dict.fromkeys(("bt", "bv", "bs", "bver", "v", "s", "t", "ut"), NUMBERS),
    **dict.fromkeys(("bn", "bu", "n", "u", "vs", "vd"), TEXTS),
    "vb": st.booleans() | st.none(),
    "x": st.none(),
}


@given(st.lists(st.fixed_dictionaries({}, optional=FIELDS), max_size=4))
def test_every_resolved_record_is_a_whole_one(content: list[dict[str, Any]]) -> None:
    try:
        records = resolve(read(content), NOW)
    except PayloadError:
        return
    for record in records:
        assert record.value is not None or record.sum is not None
        assert record.name.startswith(record.base)


def test_a_name_without_a_mark_is_its_own_device() -> None:
    assert [device_of(name) for name in ("a", "a/b", "a:b/c", "/a")] == ["a", "a", "a:b", "/a"]


def test_a_record_that_cannot_be_packed_says_why() -> None:
    with pytest.raises(NodeError, match="before July 1978"):
        pack([Record(name="a", value=1, time=5)])
    with pytest.raises(NodeError, match="no SenML name"):
        pack([Record(name="a b", value=1, time=NOW)])
