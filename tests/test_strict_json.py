"""The strict reader says what a JSON text holds, every fault in it, and where each value stands."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from flowengine.flow.strict_json import MAX_SIZE, read_json

FAULTS = {
    "empty": (b"", "not-json", 1, 1, "empty", "nodes"),
    "only space": (b" \n \n", "not-json", 1, 1, "empty", "nodes"),
    "BOM": (b'\xef\xbb\xbf{"a": 1}', "bad-encoding", 1, 1, "BOM", "without BOM"),
    "CRLF": (b'{\r\n"a": 1\r\n}', "bad-encoding", 1, 2, "CRLF", "LF"),
    "not UTF-8": (b'{\n"a": "\xe9"}', "bad-encoding", 2, 7, "0xe9", "UTF-8"),
    "UTF-16 with BOM": ('{"a": 1}'.encode("utf-16"), "bad-encoding", 1, 1, "UTF-16", "UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16-le"), "bad-encoding", 1, 1, "UTF-16", "UTF-8"),
    "half a surrogate": (b'{"a": "\\ud83d"}', "bad-encoding", 1, 7, "other half", "UTF-8"),
    "duplicate key": (b'{"a": 1,\n  "a": 2}', "duplicate-key", 2, 3, "line 1", "Rename"),
    "NaN": (b'{"a": NaN}', "not-json", 1, 7, "NaN", "null"),
    "minus Infinity": (b"[-Infinity]", "not-json", 1, 2, "-Infinity", "null"),
    "comma before }": (b'{"a": 1,\n}', "not-json", 1, 8, "comma", "Remove"),
    "comma before ]": (b"[1, 2,]", "not-json", 1, 6, "comma", "Remove"),
    "missing comma": (b'{"a": 1\n"b": 2}', "not-json", 1, 8, "comma is missing", "Write"),
    "comment": (b'{"a": 1 // why\n}', "not-json", 1, 9, "comments", "doc"),
    "hash comment": (b'# why\n{"a": 1}', "not-json", 1, 1, "comments", "doc"),
    "Python's True": (b'{"a": True}', "not-json", 1, 7, "True", "Write true"),
    "single quotes": (b"{'a': 1}", "not-json", 1, 2, "single quotes", "double quotes"),
    "single quoted text": (b"['a']", "not-json", 1, 2, "single quotes", "double quotes"),
    "key without quotes": (b"{abc: 1}", "not-json", 1, 2, "abc has no quotes", '"abc"'),
    "text without quotes": (b'{"a": abc}', "not-json", 1, 7, "abc has no quotes", '"abc"'),
    "no colon": (b'{"a" 1}', "not-json", 1, 6, '":"', "before the value"),
    "no value": (b'{"a": }', "not-json", 1, 7, "where a value belongs", "line"),
    "end inside": (b'{"a": [1,\n2', "not-json", 2, 1, '"[" of line 1', "Close"),
    "text over lines": (b'["a\nb"]', "not-json", 1, 4, "end of its line", "lines"),
    "open text": (b'["ab', "not-json", 1, 2, "not closed", "Close"),
    "tab in text": (b'["a\tb"]', "not-json", 1, 4, "control character", "escape"),
    "bad escape": (b'["a\\qb"]', "not-json", 1, 4, "backslash", "\\\\"),
    "leading zero": (b"[007]", "not-json", 1, 3, "no JSON number", "decimal"),
    "hexadecimal": (b"[0x10]", "not-json", 1, 3, "no JSON number", "decimal"),
    "no digit before": (b"[.5]", "not-json", 1, 2, "begin", "0.5"),
    "too large a float": (b"[1e400]", "bad-value", 1, 2, "larger", "smaller"),
    "too long an integer": (b"[" + b"9" * 10_000 + b"]", "bad-value", 1, 2, "larger", "smaller"),
    "too deep": (b"[" * 65 + b"]" * 65, "too-deep", 1, 65, "64 levels", "flatter"),
    "far too deep": (b'{"a":' * 100_000, "too-deep", 1, 321, "64 levels", "flatter"),
    "too large": (b" " * (MAX_SIZE + 1), "too-large", 1, 1, "10,000,001", "Split"),
    "too many values": (b"[" + b"1," * 2_000_001 + b"1]", "too-large", 1, 1, "values", "Split"),
    "two values": (b'{"a": 1}\n{"b": 2}', "not-json", 2, 1, "after the end", "one value"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_names_the_fault_its_place_and_the_mend(name: str) -> None:
    source, slug, line, column, what, mend = FAULTS[name]
    document = read_json(source)
    fault = document.faults[0]
    assert (fault.slug, *document.place(fault.offset)) == (slug, line, column)
    assert what in fault.what
    assert mend in fault.mend


def test_goes_on_behind_what_can_be_mended() -> None:
    document = read_json(b'\xef\xbb\xbf{"a": NaN, // why\r\n "b": [1, 2,],\r\n "b": True\r\n}')
    assert [fault.slug for fault in document.faults] == [
        "bad-encoding",
        "not-json",
        "not-json",
        "bad-encoding",
        "not-json",
        "duplicate-key",
        "not-json",
    ]
    assert document.value == {"a": None, "b": True}


def test_leads_to_the_value_that_is_wrong() -> None:
    faults = read_json('{"a": [[1], {"b": 2}, NaN], "c": {"d": [NaN], "d": 1}}').faults
    assert [fault.path for fault in faults] == [("a", 2), ("c", "d", 0), ("c", "d")]


def test_stops_after_a_hundred_faults() -> None:
    assert len(read_json(b"[" + b"NaN," * 5_000 + b"1]").faults) == 100


@pytest.mark.parametrize("depth", [1, 63, 64])
def test_reads_sixty_four_levels(depth: Any) -> None:
    assert read_json("[" * depth + "]" * depth).faults == []


@pytest.mark.parametrize("depth", [64, 65])
def test_counts_levels_the_same_on_both_ways(depth: Any) -> None:
    text = "[" * depth + "]" * depth
    slow = read_json(text + "\r")  # CR takes the careful way
    assert ("too-deep" in {fault.slug for fault in slow.faults}) == (depth > 64)
    assert bool(read_json(text).faults) == (depth > 64)


TEXT = """{
  "nodes": {
    "door": {
      "type": "mqt.in",
      "rules": [{"to": "a"}, 7, "ä"]
    }
  },
  "x": "é€", "y": 1
}
"""
PLACES = [
    ((), False, (1, 1)),
    (("nodes",), False, (2, 12)),
    (("nodes", "door"), True, (3, 5)),
    (("nodes", "door", "type"), False, (4, 15)),
    (("nodes", "door", "type"), True, (4, 7)),
    (("nodes", "door", "rules", 0, "to"), False, (5, 24)),
    (("nodes", "door", "rules", 2), False, (5, 33)),
    (("nodes", "door", "rules", 9), False, (5, 16)),
    (("nodes", "gone", "type"), False, (2, 12)),
    (("nodes", "gone"), True, (2, 12)),
    (("y",), True, (8, 14)),
]


@pytest.mark.parametrize(("path", "key", "place"), PLACES)
def test_finds_the_line_and_column_of_a_path(path: Any, key: Any, place: Any) -> None:
    assert read_json(TEXT).position(path, key=key) == place


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(TREES, st.booleans())
def test_both_ways_give_the_value_that_was_written(tree: Any, ascii_only: Any) -> None:
    text = json.dumps(tree, ensure_ascii=ascii_only, indent=1)
    quick = read_json(text.encode("utf-8", "surrogatepass"))
    careful = read_json((text + "\r").encode("utf-8", "surrogatepass"))
    assert quick.faults == []
    assert [fault.slug for fault in careful.faults] == ["bad-encoding"]
    assert repr(quick.value) == repr(careful.value) == repr(tree)


@given(TREES)
def test_the_place_of_every_value_is_where_it_stands(tree: Any) -> None:
    document = read_json(json.dumps(tree, ensure_ascii=False, indent=1))
    lines = document.text.split("\n")

    def look(path: Any, value: Any) -> None:
        line, column = document.position(path)
        found, _ = json.JSONDecoder().raw_decode(document.text, _offset(lines, line, column))
        assert repr(found) == repr(value)
        inside = value if isinstance(value, dict) else {}
        if isinstance(value, list):
            inside = dict(enumerate(value))
        for step, inner in inside.items():
            look((*path, step), inner)

    look((), tree)


def _offset(lines: Any, line: Any, column: Any) -> Any:
    return sum(len(text) + 1 for text in lines[: line - 1]) + column - 1


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_never_raises_on_any_bytes(source: Any) -> None:
    document = read_json(source)
    assert bool(document.faults) or document.value is not UNSET
    for fault in document.faults:
        line, column = document.place(fault.offset)
        assert line >= 1
        assert column >= 1


SCRAPS = st.lists(
    st.sampled_from([*list("{}[],:\"\\'/#*+-.0123456789eE \n\r\t"), "true", "NaN", '"a"', "\\ud8"]),
    max_size=40,
).map("".join)


@given(SCRAPS)
def test_accepts_exactly_what_json_allows(text: str) -> None:
    document = read_json(text)
    try:
        value = json.loads(text, parse_constant=lambda name: math.nan)
        text.encode()
    except (ValueError, RecursionError):
        assert document.faults
        return
    if not document.faults:
        assert repr(document.value) == repr(value)
    else:  # stricter than the standard library in these alone
        stricter = {"NaN", "Infinity", "\r", "\\ud", "twice", "second", "larger"}
        said = text + "".join(fault.what for fault in document.faults)
        assert any(word in said for word in stricter)
