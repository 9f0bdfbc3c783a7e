"""An annotated CSV gives its rows with their types, and a query that failed is no short one."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from influxdb_client.client import flux_csv_parser as official

from flowengine.nodes.influxdb.csv import BadAnswer, QueryFailed, Row, parse_rows

TWO_TABLES = """\
#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339Nano,double,string,string\r
#group,true,true,true,true,false,false,true,true\r
#default,_result,,,,,,,\r
,result,table,_start,_stop,_time,_value,_field,device_id\r
,,0,2023-11-14T00:00:00Z,2023-11-15T00:00:00Z,2023-11-14T22:13:20.123456789Z,21.5,t,d-1\r
,,0,2023-11-14T00:00:00Z,2023-11-15T00:00:00Z,2023-11-14T22:14:20Z,,t,"d, ""1"" x"\r
\r
#datatype,string,long,boolean,long,unsignedLong,string\r
#group,false,false,false,false,false,true\r
#default,total,,,,,none\r
,result,table,ok,n,u,note\r
,,1,true,-7,18446744073709551615,\r
,,1,false,,,"two\r
lines"\r
\r
"""


def test_two_tables_read_with_their_types() -> None:
    day = {"_start": "2023-11-14T00:00:00Z", "_stop": "2023-11-15T00:00:00Z"}
    assert list(parse_rows(TWO_TABLES)) == [
        Row(
            "_result",
            0,
            {
                **day,
                "_time": "2023-11-14T22:13:20.123456789Z",
                "_value": 21.5,
                "_field": "t",
                "device_id": "d-1",
            },
        ),
        Row(
            "_result",
            0,
            {
                **day,
                "_time": "2023-11-14T22:14:20Z",
                "_value": None,
                "_field": "t",
                "device_id": 'd, "1" x',
            },
        ),
        Row("total", 1, {"ok": True, "n": -7, "u": 18446744073709551615, "note": "none"}),
        Row("total", 1, {"ok": False, "n": None, "u": None, "note": "two\r\nlines"}),
    ]


def test_schema_that_repeats_without_an_empty_line_starts_a_new_table() -> None:
    text = "#datatype,string,long,long\n,result,table,a\n,,0,1\n#datatype,string,long,double\n"
    rows = parse_rows(text + ",result,table,a\n,,1,2\n")
    assert [(row.table, row.values) for row in rows] == [(0, {"a": 1}), (1, {"a": 2.0})]


@pytest.mark.parametrize("text", ["", "\r\n", "\r\n\r\n"])
def test_nothing_found_is_no_row(text: str) -> None:
    assert list(parse_rows(text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "#datatype,string,string\n#group,true,true\n#default,,\n,error,reference\n,no bucket,897\n",
        "error,reference\nno bucket,\n",
    ],
)
def test_error_table_is_an_error(text: str) -> None:
    with pytest.raises(QueryFailed, match="no bucket"):
        list(parse_rows(text))


def test_error_after_rows_is_an_error() -> None:
    with pytest.raises(QueryFailed, match="engine: read failed"):
        list(parse_rows(TWO_TABLES + "\r\nerror,reference\r\nengine: read failed,\r\n"))


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf"])
def test_number_that_json_cannot_hold_is_null(text: str) -> None:
    (row,) = parse_rows(f"#datatype,string,long,double\n,result,table,v\n,,0,{text}\n")
    assert row.values == {"v": None}


@pytest.mark.parametrize(
    "text",
    [
        "#datatype,string,long\n,result,table,v\n,,0,1\n",
        ",result,table,v\n,,0\n",
        "#datatype,string,long,long\n,result,table,v\n,,0,x\n",
        "#datatype,string,long,boolean\n,result,table,v\n,,0,yes\n",
    ],
)
def test_text_that_is_no_table_is_refused(text: str) -> None:
    with pytest.raises(BadAnswer):
        list(parse_rows(text))


cells = st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])))


@given(
    st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.floats(allow_nan=False, allow_infinity=False),
            st.booleans(),
            cells,
        ),
        min_size=1,
        max_size=8,
    )
)
def test_rows_equal_the_official_clients(rows: list[tuple[Any, ...]]) -> None:
    body = io.StringIO()
    writer = csv.writer(body)
    writer.writerow(["#datatype", "string", "long", "long", "double", "boolean", "string"])
    writer.writerow(["#group", "false", "false", "false", "false", "false", "true"])
    writer.writerow(["#default", "_result", "", "", "", "", ""])
    writer.writerow(["", "result", "table", "i", "f", "b", "s"])
    for number, real, flag, text in rows:
        writer.writerow(["", "", "0", number, real, "true" if flag else "false", text or ""])

    class Answer(io.BytesIO):
        def release_conn(self) -> None:
            """The client gives its connection back."""

    make: Any = official.FluxCsvParser
    parser = make(Answer(body.getvalue().encode()), official.FluxSerializationMode.stream)
    theirs = [
        {name: record.values[name] for name in ("i", "f", "b", "s")}
        for record in parser.generator()
    ]
    assert [row.values for row in parse_rows(body.getvalue())] == theirs
