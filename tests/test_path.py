"""A field path names one place of a message, reads it, sets it and takes it away (R9)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowengine.errors import NodeError, SyntaxFault
from flowengine.message import Message
from flowengine.path import Path, compile_path


def message() -> Message:
    """A message with something at every kind of place."""
    return Message(
        {
            "temperature": 21.5,
            "room temp": 4,
            "0": "nought",
            "none": None,
            "values": [{"t": 1}, {"t": 2}],
            "it's": 1,
            "deep": {"deeper": {"x": 1}},
        },
        topic="site/a",
        time=1_767_225_600_250_000_000,
        key="dev-1",
        meta={"qos": 1, "parts": {"id": "p", "list": [1]}},
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("payload.temperature", 21.5),
        ("payload['room temp']", 4),
        ('payload["room temp"]', 4),
        ("payload.0", "nought"),
        ("payload.values[0].t", 1),
        ("payload.values[-1].t", 2),
        ("payload['it\\'s']", 1),
        ("payload.none", None),
        ("payload.deep.deeper.x", 1),
        ("topic", "site/a"),
        ("key", "dev-1"),
        ("time", 1_767_225_600.25),
        ("meta.qos", 1),
        ("meta.parts.list[0]", 1),
    ],
)
def test_r9_reads(text: str, expected: Any) -> None:
    path = compile_path(text)
    assert path.get(message()) == expected
    assert path.get_or(message(), "default") == expected
    assert path.getter()(message()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "payload.gone",
        "payload.gone.deeper",
        "payload.temperature.x",
        "payload[0]",
        "payload.values.t",
        "payload.values[2]",
        "payload.values[-3].t",
        "payload.room.temp",
        "payload.deep.x",
        "payload.none.x",
        "meta.gone",
    ],
)
def test_r9_names_what_is_absent(text: str) -> None:
    path = compile_path(text)
    assert path.get_or(message(), 7) == 7
    for read in (path.get, path.getter()):
        with pytest.raises(NodeError, match="is absent") as caught:
            read(message())
        assert (caught.value.slug, caught.value.path) == ("missing", path.text)


def test_r9_text_and_bytes_have_no_items() -> None:
    for payload in ("text", b"bytes", 5, None):
        with pytest.raises(NodeError, match="absent"):
            compile_path("payload[0]").getter()(Message(payload))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("temperature", 'Did you mean "payload.temperature"?'),
        ("room.temp", 'Did you mean "payload.room.temp"?'),
        ("paylod.x", 'Did you mean "payload.x"?'),
        ("payload.room temp", "Did you mean \"payload['room temp']\"?"),
        ("payload.a b.c", "Did you mean \"payload['a b'].c\"?"),
        ("payload.x!", "column 10"),
        ("id", 'the "id" of a message is fixed'),
        ("params.limit", "starts with no part"),
        ("", "starts with one of payload"),
        ("payload.", "column 8"),
        ("payload..x", "column 8"),
        ("payload[x]", "column 8"),
        ("payload[0", "column 8"),
        ("payload['x]", "column 8"),
        ("topic.x", "topic is text"),
        ("time[0]", "time is a number"),
        ("meta[0]", "Write meta.name."),
        ("payload" + ".a" * 65, "more than 64 steps"),
        ("payload." + "a" * 4000, "limit is 4,000"),
    ],
)
def test_r9_refuses_with_the_right_spelling(text: str, words: str) -> None:
    with pytest.raises(SyntaxFault) as caught:
        compile_path(text)
    assert caught.value.slug == "bad-path"
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("payload.temperature", 1, {"temperature": 1}),
        ("payload.new.deep", 1, {"temperature": 2, "new": {"deep": 1}}),
        ("payload['a b'].c", [], {"temperature": 2, "a b": {"c": []}}),
        ("payload", "all", "all"),
    ],
)
def test_r5_sets_and_makes_missing_parents(text: str, value: Any, expected: Any) -> None:
    one = Message({"temperature": 2})
    compile_path(text).set(one, value)
    assert one.payload == expected


def test_r5_null_parents_become_objects() -> None:
    one = Message(None)
    compile_path("payload.a.b").set(one, 1)
    assert one.payload == {"a": {"b": 1}}
    one = Message({"a": None, "l": [None]})
    compile_path("payload.a.b").set(one, 1)
    compile_path("payload.l[0].c").set(one, 2)
    assert one.payload == {"a": {"b": 1}, "l": [{"c": 2}]}


@pytest.mark.parametrize(
    ("text", "value", "slug"),
    [
        ("payload.values[2]", 1, "missing"),
        ("payload.values[-3].t", 1, "missing"),
        ("payload.new[0]", 1, "missing"),
        ("payload.new.list[0].t", 1, "missing"),
        ("payload[0]", 1, "missing"),
        ("payload.temperature.x", 1, "bad-value"),
        ("payload.values.x", 1, "bad-value"),
        ("topic", 5, "bad-value"),
        ("key", None, "bad-value"),
        ("meta", 5, "bad-value"),
        ("meta.qos.x", 5, "bad-value"),
        ("meta.parts.list[1]", 5, "missing"),
        ("time", "yesterday", "bad-value"),
        ("time", True, "bad-value"),
        ("time", None, "bad-value"),
        ("time", float("nan"), "bad-value"),
        ("time", 1e30, "bad-value"),
    ],
)
def test_r5_refuses_to_set_and_changes_nothing(text: str, value: Any, slug: str) -> None:
    path, one, before = compile_path(text), message(), message()
    for attempt in (path.check, path.set):
        with pytest.raises(NodeError) as caught:
            attempt(one, value)
        assert (caught.value.slug, caught.value.path) == (slug, text)
        assert one == before


def test_check_is_silent_where_set_succeeds_and_changes_nothing() -> None:
    one = message()
    compile_path("payload.new.deep").check(one, 1)
    compile_path("meta.new").check(one, 1)
    compile_path("topic").check(one, "x")
    assert one == message()


@pytest.mark.parametrize(
    ("value", "ns"),
    [
        (1_795_449_204.25, 1_795_449_204_250_000_000),
        (1_795_449_204, 1_795_449_204_000_000_000),
        ("2026-01-01T00:00:00.000000001Z", 1_767_225_600_000_000_001),
        ("2026-01-01T01:00:00+01:00", 1_767_225_600_000_000_000),
    ],
)
def test_r2_time_is_set_in_seconds_or_text(value: Any, ns: int) -> None:
    one = message()
    compile_path("time").set(one, value)
    assert one.time == ns


def test_a_shared_meta_is_never_changed() -> None:
    for text in ("meta.new", "meta.parts.id", "meta.parts.list[0]", "meta.a.b"):
        shared = message().meta
        one = Message(None, meta=shared)
        compile_path(text).set(one, "set")
        assert shared == message().meta
        assert compile_path(text).get(one) == "set"
        compile_path(text).delete(one)
        assert shared == message().meta
        assert one.meta is not shared


def test_r5_delete_takes_away_and_is_nothing_where_nothing_is() -> None:
    one = message()
    for text in ("payload.temperature", "payload.values[0]", "payload.deep.deeper.x", "meta.qos"):
        compile_path(text).delete(one)
    assert "temperature" not in one.payload
    assert one.payload["values"] == [{"t": 2}]
    assert one.payload["deep"] == {"deeper": {}}
    assert one.meta == {"parts": {"id": "p", "list": [1]}}
    before = one.copy()
    for text in ("payload.gone.x", "payload.values[9]", "payload.temperature.y", "meta.gone"):
        compile_path(text).delete(one)
    assert one == before
    for text in ("payload", "topic", "key", "meta"):
        compile_path(text).delete(one)
    assert (one.payload, one.topic, one.key, one.meta) == (None, "", "", {})
    with pytest.raises(NodeError, match="always has a time"):
        compile_path("time").delete(one)


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("payload", "payload.a", True),
        ("payload.a", "payload.a", True),
        ("payload.a", "payload['a'].b[0]", True),
        ("payload.a", "payload.ab", False),
        ("payload.a.b", "payload.a", False),
        ("payload", "meta.a", False),
        ("payload.0", "payload[0]", False),
    ],
)
def test_r5_knows_which_path_contains_which(outer: str, inner: str, expected: bool) -> None:
    assert compile_path(outer).contains(compile_path(inner)) is expected


PARTS = st.lists(st.text(max_size=6) | st.integers(-3, 3), min_size=1, max_size=5)
NAMES = st.lists(st.text(max_size=6), min_size=1, max_size=5)


@given(PARTS)
def test_r9_a_path_is_read_as_it_is_written(parts: list[str | int]) -> None:
    path = Path("payload", tuple(parts))
    assert compile_path(path.text) == path
    assert hash(compile_path(path.text)) == hash(path)


@given(NAMES, st.integers())
def test_get_gives_what_set_put(parts: list[str], value: int) -> None:
    path = Path("payload", tuple(parts))
    one = Message({})
    path.set(one, value)
    assert path.get(one) == path.getter()(one) == value
    path.delete(one)
    assert path.get_or(one, "gone") == "gone"


@given(st.text(max_size=40) | st.text("payload.ab[0]'\"\\ -", max_size=20))
def test_the_parser_raises_nothing_but_syntax_faults(text: str) -> None:
    try:
        path = compile_path(text)
    except SyntaxFault as fault:
        assert fault.slug == "bad-path"  # noqa: PT017  # a path is as good
    else:
        assert compile_path(path.text) == path


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=6,
)
SHORT = st.lists(st.sampled_from(["a", "b", 0, -1, 1]), min_size=1, max_size=3)


@given(SHORT, TREES)
def test_getter_agrees_with_get_and_set_with_check(parts: list[str | int], payload: Any) -> None:
    path, one = Path("payload", tuple(parts)), Message(payload)
    marker = object()
    found = path.get_or(one, marker)
    try:
        assert path.getter()(one) is found
    except NodeError:
        assert found is marker
    try:
        path.check(one, 1)
    except NodeError:
        with pytest.raises(NodeError):
            path.set(one, 1)
    else:
        path.set(one, 1)
        assert path.get(one) == 1
