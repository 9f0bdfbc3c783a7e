"""csv.decode reads rows with their numbers, csv.encode writes them, and neither guesses."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.errors import FindingsError
from flowengine.nodes.csv.rows import cell_value, read_rows, write_rows
from flowengine.testing import NodeBench


def rows(text: Any, **config: Any) -> Any:
    """The payload that leaves by `out`."""
    out = NodeBench("csv.decode", config).send(text)
    assert list(out) == ["out"], out
    return out["out"][0].payload


@pytest.mark.parametrize(
    ("text", "config", "expected"),
    [
        ("a,b\n1,x\n2.5,y\n", {}, [{"a": 1, "b": "x"}, {"a": 2.5, "b": "y"}]),
        ("a,b\r\n1,x\r\n", {}, [{"a": 1, "b": "x"}]),
        ("a,b\n1,x", {}, [{"a": 1, "b": "x"}]),
        ("1,x\n", {"columns": ["a", "b"]}, [{"a": 1, "b": "x"}]),
        ("1;2,5\n", {"columns": ["a", "b"], "separator": ";"}, [{"a": 1, "b": "2,5"}]),
        ("a\tb\n1\t2\n", {"separator": "\t"}, [{"a": 1, "b": 2}]),
        ('a,b\n"x, ""y""\nz",1\n', {}, [{"a": 'x, "y"\nz', "b": 1}]),
        ("a,b\n1\n", {}, [{"a": 1}]),
        ("a,b\n,\n", {}, [{"a": "", "b": ""}]),
        ("\ufeffa\n1\n", {}, [{"a": 1}]),
        (" a , b\n 1 , x\n", {}, [{"a": 1, "b": " x"}]),
        ("a\n\n1\n\n", {}, [{"a": 1}]),
        ("a,b\n", {}, []),
        ("", {}, []),
        (b"a\n1\n", {}, [{"a": 1}]),
        ("t\n21 °C\n".encode(), {}, [{"t": "21 °C"}]),
        ([{"a": 1}], {}, [{"a": 1}]),
        (21.5, {}, 21.5),
    ],
)
def test_r66_rows_become_maps(text: Any, config: dict[str, Any], expected: Any) -> None:
    assert rows(text, **config) == expected


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("21", 21),
        ("-0.5", -0.5),
        ("1e3", 1000.0),
        (" 7 ", 7),
        ("007", "007"),
        ("+1", "+1"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        (".5", ".5"),
        ("5.", "5."),
        ("nan", "nan"),
        ("Infinity", "Infinity"),
        ("1e999", "1e999"),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("9" * 5000, "9" * 5000),
        ("٣", "٣"),
        ("true", "true"),
        ("", ""),
    ],
)
def test_r66_a_cell_is_a_number_where_json_has_one(cell: str, value: Any) -> None:
    got = cell_value(cell)
    assert (got, type(got)) == (value, type(value))


def test_r66_each_gives_one_message_a_row() -> None:
    bench = NodeBench("csv.decode", {"each": True})
    out = bench.send("a,b\n1,x\n2,y\n", topic="t", key="k", time=5, meta={"qos": 1})["out"]
    assert [message.payload for message in out] == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert {(m.topic, m.key, m.time, m.meta["qos"]) for m in out} == {("t", "k", 5, 1)}
    assert len({message.id for message in out}) == len(out) or out[0].id == ""
    assert bench.unsettled == 0
    assert bench.fates["delivered"] == 1


def test_each_in_a_field_keeps_the_rest_and_shares_nothing() -> None:
    bench = NodeBench("csv.decode", {"each": True, "field": "payload.log"})
    first, second = bench.send({"log": "a\n1\n2\n", "box": {"id": 7}})["out"]
    assert (first.payload, second.payload) == (
        {"log": {"a": 1}, "box": {"id": 7}},
        {"log": {"a": 2}, "box": {"id": 7}},
    )
    first.payload["box"]["id"] = 8
    assert second.payload["box"]["id"] == 7


def test_each_of_no_rows_is_filtered() -> None:
    bench = NodeBench("csv.decode", {"each": True})
    assert bench.send("a,b\n") == {}
    assert (bench.filtered, bench.unsettled) == (1, 0)


@pytest.mark.parametrize(
    ("content", "reason", "words"),
    [
        ("a,b\n1,2,3\n", "not-csv", "line 2: 3 cells for 2 columns"),
        ("a,a\n1,2\n", "not-csv", "'a' stands twice"),
        ('a\n"open\n', "not-csv", "line 2"),
        ('a\n"x"y\n', "not-csv", "line 2"),
        (b"a\n\xff\n", "not-utf8", "byte 2"),
        ("x" * (16 * 1024 * 1024 + 1), "too-large", "16 MiB"),
        ("a,b\n" + "1,2\n" * 250_001, "too-large", "500,000"),
        ("a\n" + "x" * 200_000 + "\n", "not-csv", "field larger"),
    ],
    ids=lambda value: repr(value)[:20],
)
@pytest.mark.parametrize("each", [False, True])
def test_what_is_no_table_is_refused_unchanged(
    content: Any, reason: str, words: str, each: bool
) -> None:
    (got,) = NodeBench("csv.decode", {"each": each}).send(content)["refused"]
    assert got.payload is content
    assert got.meta["refused"]["reason"] == reason
    assert words in got.meta["refused"]["limit"]


@pytest.mark.parametrize(
    ("value", "config", "text"),
    [
        ({"a": 1, "b": "x"}, {}, "a,b\n1,x\n"),
        ([{"a": 1}, {"b": 2.0, "a": 3}], {}, "a,b\n1,\n3,2.0\n"),
        ([{"a": 1, "b": 2}], {"columns": ["b", "c"]}, "b,c\n2,\n"),
        ([[1, 2], [3, "x,y"]], {}, '1,2\n3,"x,y"\n'),
        ([[1, 2]], {"columns": ["a", "b"]}, "a,b\n1,2\n"),
        ({"a": 1, "b": "x"}, {"header": False}, "1,x\n"),
        ({"a": 1, "b": "x;y"}, {"separator": ";"}, 'a;b\n1;"x;y"\n'),
        ({"a": None, "b": True, "c": [1, {"d": 2}]}, {}, 'a,b,c\n,true,"[1,{""d"":2}]"\n'),
        ({"a": 'say "hi"\nnow'}, {}, 'a\n"say ""hi""\nnow"\n'),
        ([], {}, ""),
    ],
)
def test_r66_maps_become_rows(value: Any, config: dict[str, Any], text: str) -> None:
    assert NodeBench("csv.encode", config).send(value)["out"][0].payload == text


@pytest.mark.parametrize(
    ("value", "slug"),
    [
        (21.5, "not-csv"),
        ("a,b", "not-csv"),
        ([1, 2], "not-csv"),
        (None, "not-csv"),
        ({"a": math.nan}, "not-a-number"),
        ([{"a": [math.inf]}], "not-a-number"),
    ],
)
def test_encode_says_what_has_no_rows(value: Any, slug: str) -> None:
    out = NodeBench("csv.encode").send(value)
    assert out["error"][0].meta["error"]["slug"] == slug


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"separator": ",,"}, "config.separator"),
        ({"separator": ""}, "config.separator"),
        ({"separator": '"'}, "config.separator"),
        ({"separator": "\n"}, "config.separator"),
        ({"columns": []}, "config.columns"),
        ({"columns": ["a", "a"]}, "config.columns"),
    ],
)
@pytest.mark.parametrize("kind", ["csv.decode", "csv.encode"])
def test_a_config_that_makes_no_table_is_a_finding(
    kind: str, config: dict[str, Any], field: str
) -> None:
    with pytest.raises(FindingsError) as caught:
        NodeBench(kind, config)
    assert {finding.where.field for finding in caught.value.findings} == {field}


CELLS = (
    st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\r\0")).filter(
        lambda text: cell_value(text) == text
    )
)
TABLES = st.lists(st.sampled_from("abc;,\"' x"), unique=True, min_size=2, max_size=4).flatmap(
    lambda names: st.tuples(
        st.just(names), st.lists(st.tuples(*(CELLS for _ in names)), max_size=5)
    )
)


@given(table=TABLES, separator=st.sampled_from([",", ";", "\t", "|"]))
def test_what_is_written_reads_the_same(table: tuple[list[str], Any], separator: str) -> None:
    names, cells = table
    value = [dict(zip(names, row, strict=True)) for row in cells]
    text = write_rows(value, separator, names, header=False)
    assert read_rows(text, separator, names) == value


@given(st.text() | st.binary(), st.booleans())
def test_decoding_gives_rows_or_refuses(content: Any, each: bool) -> None:
    bench = NodeBench("csv.decode", {"each": each})
    assert set(bench.send(content)) <= {"out", "refused"}
    assert bench.unsettled == 0
