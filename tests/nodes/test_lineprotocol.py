"""A rendered line reads back, by the protocol's grammar, as exactly what was rendered."""

import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from influxdb_client.client.write import point as official

from flowengine.errors import NodeError
from flowengine.nodes.influxdb.lineprotocol import HEADS, make_renderer, series_and_time


def line_of(
    measurement: str,
    tags: dict[str, Any],
    fields: dict[str, Any],
    time: int = 0,
    **options: Any,
) -> str:
    render = make_renderer(list(tags), list(fields), **options)
    return render(measurement, list(tags.values()), list(fields.values()), time)


# The vectors were made by influxdb-client 1.50's Point.to_line_protocol; a time of 0 is added here.
VECTORS: list[tuple[str, str, dict[str, Any], dict[str, Any], list[str], str]] = [
    (
        "plain",
        "sensor_reading",
        {"device_id": "d-1", "location": "warehouse-1"},
        {"temperature": 21.5, "humidity": 40},
        ["humidity"],
        "sensor_reading,device_id=d-1,location=warehouse-1 humidity=40i,temperature=21.5",
    ),
    (
        "everything escaped",
        "my meas,a=b",
        {"tag key,x=": "tag val,=x"},
        {"field key,=": 'str "q" \\ back'},
        [],
        r'my\ meas\,a=b,tag\ key\,x\==tag\ val\,\=x field\ key\,\=="str \"q\" \\ back"',
    ),
    (
        "types",
        "m",
        {},
        {"i": 1, "f": 1.0, "b": True, "s": "x", "neg": -0.5, "big": 12345678901234567},
        ["i", "big"],
        'm b=true,big=12345678901234567i,f=1,i=1i,neg=-0.5,s="x"',
    ),
    ("backslash ends a tag", "m", {"t": "a\\"}, {"v": 1}, ["v"], "m,t=a\\  v=1i"),
    ("empty and null tags", "m", {"empty": "", "none": None}, {"v": 1}, ["v"], "m v=1i"),
    ("NaN left out", "m", {}, {"v": math.nan, "w": 2}, ["w"], "m w=2i"),
    ("sorted", "m", {"b": "2", "a": "1"}, {"z": 1, "y": 2}, ["z", "y"], "m,a=1,b=2 y=2i,z=1i"),
    ("unicode", "ünï", {"é": "ß"}, {"λ": "日本"}, [], 'ünï,é=ß λ="日本"'),
    ("newline in a tag", "m", {"nl": "x\ny"}, {"v": 1}, ["v"], r"m,nl=x\ny v=1i"),
    (
        "exponents",
        "m",
        {},
        {"int_f": 3.0, "tiny": 1e-7, "v": 1.5e300},
        [],
        "m int_f=3,tiny=1e-07,v=1.5e+300",
    ),
]


@pytest.mark.parametrize(
    ("measurement", "tags", "fields", "integers", "expected"),
    [vector[1:] for vector in VECTORS],
    ids=[vector[0] for vector in VECTORS],
)
def test_r4_line_equals_the_vector(
    measurement: str,
    tags: dict[str, Any],
    fields: dict[str, Any],
    integers: list[str],
    expected: str,
) -> None:
    assert line_of(measurement, tags, fields, integers=integers) == expected + " 0"


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("ns", "1700000000123456789"),
        ("us", "1700000000123456"),
        ("ms", "1700000000123"),
        ("s", "1700000000"),
    ],
)
def test_r4_time_is_cut_to_the_precision(precision: Any, expected: str) -> None:
    line = line_of("m", {}, {"v": 1.5}, 1_700_000_000_123_456_789, precision=precision)
    assert line == f"m v=1.5 {expected}"


def test_time_before_1970_is_cut_downwards() -> None:
    assert line_of("m", {}, {"v": 1.5}, -1, precision="s") == "m v=1.5 -1"


def test_r4_number_is_a_float_unless_it_is_named_an_integer() -> None:
    assert line_of("m", {}, {"v": 21}) == "m v=21 0"
    assert line_of("m", {}, {"v": 21}, integers=["v"]) == "m v=21i 0"
    assert line_of("m", {}, {"v": 21.0}, integers=["v"]) == "m v=21i 0"


@pytest.mark.parametrize(
    ("value", "integers", "slug", "word"),
    [
        (21.5, ["v"], "not-an-integer", "21.5"),
        (True, ["v"], "not-an-integer", "True"),
        ("21", ["v"], "not-an-integer", "'21'"),
        (1 << 63, ["v"], "not-an-integer", "64 bits"),
        ([1], [], "bad-field", "[1]"),
        (b"\x00", [], "bad-field", "b'"),
        (None, [], "no-fields", "none of the fields v"),
        (math.inf, [], "no-fields", "none of the fields v"),
        (10**400, [], "no-fields", "none of the fields v"),
        (math.nan, ["v"], "no-fields", "none of the fields v"),
    ],
)
def test_r4_value_that_no_field_can_hold_is_an_error(
    value: Any, integers: list[str], slug: str, word: str
) -> None:
    with pytest.raises(NodeError) as caught:
        line_of("m", {}, {"v": value}, integers=integers)
    assert caught.value.slug == slug
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("measurement", "slug"),
    [
        ("", "no-measurement"),
        ("#m", "bad-measurement"),
        ("m\\", "bad-measurement"),
        ("m\\ m", "bad-measurement"),
        ("m\\,m", "bad-measurement"),
        ("m\\=m", "bad-measurement"),
        ('m\\"m', "bad-measurement"),
        ("m\\\n", "bad-measurement"),
    ],
)
def test_measurement_that_would_not_be_found_again_is_an_error(measurement: str, slug: str) -> None:
    with pytest.raises(NodeError) as caught:
        line_of(measurement, {}, {"v": 1})
    assert caught.value.slug == slug


def test_tag_that_is_a_map_is_an_error() -> None:
    with pytest.raises(NodeError) as caught:
        line_of("m", {"t": {"a": 1}}, {"v": 1})
    assert caught.value.slug == "bad-tag"


def test_every_field_left_out_for_not_being_finite_is_named() -> None:
    seen: list[str] = []
    values = {"a": math.nan, "b": -math.inf, "c": 10**400, "d": 1}
    assert line_of("m", {}, values, not_finite=seen.append) == "m d=1 0"
    assert seen == ["a", "b", "c"]


def test_tags_of_equal_value_and_other_type_stay_apart() -> None:
    render = make_renderer(["t"], ["v"])
    lines = [render("m", [tag], [1], 0) for tag in (1, True, 1.0, "1")]
    assert lines == ["m,t=1 v=1 0", "m,t=true v=1 0", "m,t=1.0 v=1 0", "m,t=1 v=1 0"]


def test_memory_of_series_is_bounded_and_lines_stay_right_beyond_it() -> None:
    render = make_renderer(["t"], ["v"])
    for number in range(HEADS + 2):
        assert render("m", [f"d {number}"], [1], 0) == f"m,t=d\\ {number} v=1 0"
    memory = next(
        cell.cell_contents
        for function in (render,)
        for cell in function.__closure__ or ()
        if isinstance(cell.cell_contents, dict)
    )
    assert len(memory) == 2


# -- the law: what is rendered reads back


def unescape(text: str, special: str) -> str:
    out, index = "", 0
    while index < len(text):
        if text[index] == "\\" and index + 1 < len(text) and text[index + 1] in special:
            index += 1
        out += text[index]
        index += 1
    return out


def split_free(text: str, separator: str, *, quoted: bool = False) -> list[str]:
    """Split at separators that no backslash escapes and that stand in no quotes."""
    parts, index, inside = [""], 0, False
    while index < len(text):
        sign = text[index]
        if sign == "\\" and index + 1 < len(text):
            parts[-1] += text[index : index + 2]
            index += 2
            continue
        if quoted and sign == '"':
            inside = not inside
        if sign == separator and not inside:
            parts.append("")
        else:
            parts[-1] += sign
        index += 1
    return parts


def parse_value(text: str) -> Any:
    if text.startswith('"'):
        return unescape(text[1:-1], '"\\')
    if text in {"true", "false"}:
        return text == "true"
    return int(text[:-1]) if text.endswith("i") else float(text)


def parse(line: str) -> tuple[str, dict[str, str], dict[str, Any], int]:
    head, fields, time = split_free(line, " ", quoted=True)
    measurement, *tags = split_free(head, ",")
    pairs = [split_free(tag, "=") for tag in tags]
    columns = split_free(fields, ",", quoted=True)
    return (
        unescape(measurement, ", "),
        {unescape(name, ",= "): unescape(value, ",= ") for name, value in pairs},
        {
            unescape(name, ",= "): parse_value(value)
            for name, value in (split_free(column, "=", quoted=True) for column in columns)
        },
        int(time),
    )


# Names and tags hold no newline, CR or tab (not representable); a quote in a name is legal but the
# small parser above knows it only in values. Backslashes stand inside and not before a separator.
words = st.text(
    st.characters(codec="utf-8", exclude_characters='\n\r\t"\\'),
    min_size=1,
).map(lambda text: text.replace("#", "h"))
names = st.builds("\\".join, st.lists(words, min_size=1, max_size=3))
values = st.one_of(
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8")),
)


def readable(text: str) -> bool:
    # A backslash before a special sign stays and is doubled in effect: `\,` reads as a comma.
    return not any(pair in text for pair in ("\\,", "\\=", "\\ ", "\\\\"))


@given(
    names.filter(readable),
    st.dictionaries(names.filter(readable), names.filter(readable), max_size=4),
    st.dictionaries(names.filter(readable), values, min_size=1, max_size=4),
    st.integers(-(2**63), 2**63 - 1),
)
def test_reads_back(
    measurement: str, tags: dict[str, str], fields: dict[str, Any], time: int
) -> None:
    line = line_of(measurement, tags, fields, time)
    assert parse(line) == (measurement, tags, fields, time)


@given(names.filter(readable), st.dictionaries(names, names, max_size=3), st.integers(0, 2**63 - 1))
def test_series_and_time_are_found_in_any_line(
    measurement: str, tags: dict[str, str], time: int
) -> None:
    line = line_of(measurement, tags, {"f f": 'x, "y" = \\ z'}, time)
    series, found = series_and_time(line.encode())
    assert found == str(time).encode()
    assert line.encode().startswith(series + b" f\\ f=")


any_text = st.text(st.characters(codec="utf-8"), min_size=1)


@given(
    any_text.filter(lambda text: text[0] != "#" and "\\" not in text),
    st.dictionaries(any_text, st.text(st.characters(codec="utf-8")), max_size=4),
    st.dictionaries(any_text, values, min_size=1, max_size=4),
)
def test_line_equals_the_official_clients(
    measurement: str, tags: dict[str, str], fields: dict[str, Any]
) -> None:
    make_point: Any = official.Point
    point = make_point(measurement)
    for name, tag in tags.items():
        point.tag(name, tag)
    for name, value in fields.items():
        point.field(name, value)
    # The client closes a backslash only in tag values; one at the end of a name spoils its line.
    assume(not any(text.endswith("\\") for text in (measurement, *tags, *fields)))
    assert line_of(measurement, tags, fields) == point.to_line_protocol() + " 0"
