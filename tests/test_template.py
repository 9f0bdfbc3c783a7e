"""A template fills its holes with values, in the form and within the bounds of its place (R8)."""

import json
import string
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.errors import ExpressionError, NodeError, SyntaxFault
from flowengine.message import Message
from flowengine.template import compile_template

Place = Literal["text", "topic", "path", "uri"]

PAYLOAD: dict[str, Any] = {
    "t": 21.04,
    "whole": 21.0,
    "n": 21,
    "on": True,
    "none": None,
    "name": "dev",
    "list": [1, {"a": "é"}],
    "slash": "a/b",
    "plus": "a+",
    "hash": "#",
    "nul": "a\0",
    "empty": "",
    "dot": ".",
    "up": "..",
    "back": "a\\b",
    "odd": "a b&c/é?#",
    "bytes": b"hi",
    "bad": b"\xff",
}


def filled(text: str | list[str], where: Place = "text", payload: Any = None) -> str:
    """The filled text, for the payload above."""
    fill = compile_template(text, where=where).bind({"limit": 8, "site": "north"}, lambda: 5.0)
    one = Message(PAYLOAD if payload is None else payload, topic="site/a", key="dev-1")
    return fill(one)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text", "plain text"),
        ("", ""),
        ("{payload.name}", "dev"),
        ("<{payload.name}>", "<dev>"),
        ("{payload.name}{payload.n}", "dev21"),
        ("{payload.whole}", "21.0"),
        ("{payload.n}", "21"),
        ("{payload.on} {payload.none}", "true null"),
        ("{payload.list}", '[1,{"a":"é"}]'),
        ("{payload.bytes}", "hi"),
        ("{payload.t:.1f} °C", "21.0 °C"),
        ("{payload.n:05d}", "00021"),
        ("{payload.n:x}", "15"),
        ("{payload.n:+,.2f}", "+21.00"),
        ("{payload.t:>8.1f}|", "    21.0|"),
        ("{payload.t:*^8.1f}", "**21.0**"),
        ("{payload.t / 100:.1%}", "21.0%"),
        ("{payload.name:>6}", "   dev"),
        ("{{", "{"),
        ("}}", "}"),
        ('{{"state": "ON"}}', '{"state": "ON"}'),
        ('{{"t": {payload.n}}}', '{"t": 21}'),
        ('{{"a": {{"t": {payload.n}}}}}', '{"a": {"t": 21}}'),
        ("{payload.list[0:1]}", "[1]"),
        ("{payload.list[0:1][0]:03d}", "001"),
        ("{'a:b'}", "a:b"),
        ("{'}'}", "}"),
        ("{'it\\'s }'}", "it's }"),
        ("{payload['name']}", "dev"),
        ("{ {'a': 1}['a'] }", "1"),
        ("{ payload.n + 1 }", "22"),
        ("{'warm' if payload.t > 20 else 'cold'}", "warm"),
        ("{params.limit} {topic} {key} {now}", "8 site/a dev-1 5.0"),
        ("{get('payload.gone', '-')}", "-"),
        ("{json(payload.name)}", '"dev"'),
    ],
)
def test_r8_fills(text: str, expected: str) -> None:
    assert filled(text) == expected


def test_r8_lines_are_joined() -> None:
    assert filled(["a", "b {payload.n}"]) == "a\nb 21"


@pytest.mark.parametrize(
    ("text", "slug", "words", "path"),
    [
        ("{payload.gone}", "missing", "payload.gone is absent", "payload.gone"),
        ("{payload.name:.1f}", "not-a-number", 'payload.name is "dev"', "payload.name"),
        ("{payload.none:.1f}", "not-a-number", "payload.none is null", "payload.none"),
        ("{payload.on:d}", "not-a-number", "payload.on is true", "payload.on"),
        ("{payload.t:d}", "not-a-number", "Write {int(payload.t):d}.", "payload.t"),
        ("{payload.bad}", "not-text", "not UTF-8", None),
        ("{payload.name + 1}", "not-text", "not text", None),
    ],
)
def test_r8_takes_the_error_route(text: str, slug: str, words: str, path: str | None) -> None:
    with pytest.raises(ExpressionError) as caught:
        filled(text)
    assert words in str(caught.value)
    assert (caught.value.slug, caught.value.path) == (slug, path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"state": "ON"}', 'doubled: "{{" and "}}"'),
        ("{}", "an empty hole (column 1)"),
        ("a {  } b", "an empty hole (column 3)"),
        ("a }", 'a single "}" (column 3)'),
        ("a {payload.n", "never closed (column 3)"),
        (["a", "b {payload.n"], "never closed (line 2, column 3)"),
        ("{temperature}", "Did you mean payload.temperature?"),
        ("{lowr(topic)}", "Did you mean lower?"),
        ("{payload.t!r}", "in the hole {payload.t!r}"),
        ("{payload.t:.1q}", '".1q" is no format'),
        ("{payload.t:n}", "is no format"),
        ("{payload.t:c}", "is no format"),
        ("{payload.t:{payload.n}}", "is no format"),
        ("{payload.t:9999999999d}", "is no format"),
        ("{payload.t:10000d}", "is no format"),
        ("{payload.t:.999999999f}", "is no format"),
        ("{lambda: 1}", "in the hole {lambda}"),
        ("x" * 65537, "limit is 65,536"),
    ],
)
def test_r8_refuses_at_check(text: str | list[str], words: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        compile_template(text)
    assert caught.value.slug == "bad-template"
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "mend"),
    [
        ("{{payload.x}}", "Write {payload.x} to fill it in."),
        ("T: {{ states('sensor.t') }}", "Write {states('sensor.t')}"),
        ("{{{payload}}}", "Write {payload}"),
    ],
)
def test_r8_mustaches_are_warned_of(text: str, mend: str) -> None:
    ((slug, what, mended),) = compile_template(text).warnings
    assert slug == "mustache-template"
    assert "flowengine's holes have one brace" in what
    assert mend in mended


def test_r8_json_is_no_mustache() -> None:
    assert compile_template('{{"state": "{payload.name}", "n": {{}}}}').warnings == []
    assert compile_template("{payload.name}").warnings == []


@pytest.mark.parametrize("name", ["slash", "plus", "hash", "nul", "empty"])
@pytest.mark.parametrize("where", ["topic", "path"])
def test_r8_s39_no_hole_adds_a_level_or_a_wildcard(name: str, where: Place) -> None:
    with pytest.raises(ExpressionError) as caught:
        filled("site/{payload." + name + "}/x", where)
    assert (caught.value.slug, caught.value.path) == ("bad-hole", f"payload.{name}")


@pytest.mark.parametrize(
    "text",
    [
        "logs/{payload.up}",
        "logs/{payload.back}",
        "logs/{payload.dot}",
        "logs/{payload.dot}{payload.dot}/x",
        "logs/.{payload.dot}/x",
        "{payload.dot}{payload.dot}",
        "logs/{'a..b'}",
    ],
)
def test_r8_no_hole_of_a_path_leaves_its_folder(text: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        filled(text, "path")
    assert caught.value.slug == "bad-hole"


def test_r8_places_that_are_filled() -> None:
    assert filled("device/{key}/{payload.n}", "topic") == "device/dev-1/21"
    assert filled("{payload.up}", "topic") == ".."
    assert filled("logs/{key}.{payload.n}.jsonl", "path") == "logs/dev-1.21.jsonl"
    assert filled("http://h/{payload.odd}?q={payload.list}", "uri") == (
        "http://h/a%20b%26c%2F%C3%A9%3F%23?q=%5B1%2C%7B%22a%22%3A%22%C3%A9%22%7D%5D"
    )
    assert filled("http://h/{payload.empty}?a=..", "uri") == "http://h/?a=.."
    with pytest.raises(ExpressionError, match="a step up"):
        filled("http://h/{payload.up}/x", "uri")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a/#", "topic"),
        ("a/+/{key}", "topic"),
        ("a\0", "topic"),
        ("", "topic"),
        ("../{key}", "path"),
        ("a/./{key}", "path"),
        ("a/..", "path"),
        ("a\0", "path"),
        ("http://h/../x", "uri"),
    ],
)
def test_r8_refuses_what_no_message_can_mend(text: str, where: Place) -> None:
    with pytest.raises(SyntaxFault) as caught:
        compile_template(text, where=where)
    assert caught.value.slug == "bad-template"


def test_says_what_it_reads() -> None:
    template = compile_template("{payload.a} {params.x + payload.a} {topic}")
    assert (template.paths, template.params) == (["payload.a", "topic"], ["x"])
    assert not template.is_constant
    assert compile_template("a {{b}}").is_constant
    assert compile_template(["a", "b"]) == compile_template("a\nb")
    assert compile_template("a") != compile_template("a", where="topic")
    with pytest.raises(SyntaxFault, match=r"params\.limit"):
        compile_template("{params.limt}", names=["limit"])


@given(st.text())
def test_r8_plain_text_comes_through(text: str) -> None:
    assert filled(text.replace("{", "{{").replace("}", "}}")) == text


@given(st.text(), st.text(), st.text())
def test_r8_text_in_a_hole_is_put_in_as_it_is(before: str, value: str, after: str) -> None:
    text = "{payload}".join(part.replace("{", "{{").replace("}", "}}") for part in (before, after))
    assert compile_template(text).bind({}, lambda: 0.0)(Message(value)) == before + value + after


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 60), 1 << 60)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(JSON)
def test_r8_values_that_are_no_text_come_out_as_json(value: Any) -> None:
    assert json.loads(filled("{payload.v}", payload={"v": value})) == value


@given(
    st.floats(allow_nan=False),
    st.sampled_from([".1f", "8.3f", "+.2e", "g", ",.0f", "08.2f", ".1%"]),
)
def test_r8_formats_are_pythons(value: float, spec: str) -> None:
    assert filled("{payload.v:" + spec + "}", payload={"v": value}) == format(value, spec)


@given(
    st.text("{}payload.ab:'\"[]() .1fx+", max_size=30) | st.text(max_size=30),
    st.sampled_from(["text", "topic", "path", "uri"]),
)
def test_the_parser_raises_nothing_but_syntax_faults(text: str, where: Place) -> None:
    try:
        template = compile_template(text, where=where)
    except SyntaxFault as fault:
        assert fault.slug == "bad-template"  # noqa: PT017  # a template is as good
        return
    try:
        assert isinstance(template.bind({}, lambda: 0.0)(Message({"a": 1.5, "b": "x"})), str)
    except NodeError as error:
        assert error.what  # noqa: PT017  # a text is as good


@given(
    st.text(max_size=10) | st.text("./\\+#ab\0", max_size=6), st.text(string.printable, max_size=4)
)
def test_r8_a_filled_topic_and_path_keep_their_levels(value: str, other: str) -> None:
    one = Message({"a": value, "b": other})
    for where in ("topic", "path"):
        place: Place = "topic" if where == "topic" else "path"
        fill = compile_template("x/{payload.a}{payload.b}/y/{payload.a}", where=place).bind(
            {}, lambda: 0.0
        )
        try:
            levels = fill(one).split("/")
        except NodeError:
            continue
        assert len(levels) == 4
        assert not set("".join(levels)) & set("+#\0")
        assert place == "topic" or not {"", ".", ".."} & set(levels)
