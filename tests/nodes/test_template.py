"""template fills its text with the message, as text or as JSON, at the place it is told."""

from typing import Any

import pytest

from flowengine.errors import FindingsError
from flowengine.nodes.template import TemplateConfig
from flowengine.testing import NodeBench


@pytest.mark.parametrize(
    ("config", "payload", "expected"),
    [
        ({"text": "plain"}, 1, "plain"),
        ({"text": "{payload:.1f} °C at {key}"}, 21.46, "21.5 °C at dev-1"),
        ({"text": ["one", "two {payload}"]}, 1, "one\ntwo 1"),
        ({"text": "{{ {payload} }}"}, 1, "{ 1 }"),
        ({"text": '{{"t": {payload.t}}}', "format": "json"}, {"t": 21.5}, {"t": 21.5}),
        ({"text": ["[1,", "2]"], "format": "json"}, 0, [1, 2]),
        ({"text": "{payload}", "format": "json"}, {"a": [1]}, {"a": [1]}),
        ({"text": "{payload.t}", "into": "payload.label"}, {"t": 1}, {"t": 1, "label": "1"}),
        ({"text": "{payload.t}", "into": "payload.x.y"}, {"t": 1}, {"t": 1, "x": {"y": "1"}}),
    ],
)
def test_r8_the_text_is_filled(config: dict[str, Any], payload: Any, expected: Any) -> None:
    out = NodeBench("template", config).send(payload)
    assert out["out"][0].payload == expected


def test_it_can_fill_topic_key_and_meta() -> None:
    bench = NodeBench("template", {"text": "site/{key}", "into": "topic"})
    assert bench.send(1, key="a", topic="old")["out"][0].topic == "site/a"


@pytest.mark.parametrize(
    ("config", "payload", "slug"),
    [
        ({"text": "{payload.absent}"}, {}, "missing"),
        ({"text": "{{t: {payload.t}}}", "format": "json"}, {"t": 1}, "not-json"),
        ({"text": '"{payload}"', "format": "json"}, 'a"b', "not-json"),
        ({"text": "{payload}", "format": "json"}, float("nan"), "not-json"),
        ({"text": '{{"a": 1, "a": 2}}', "format": "json"}, 0, "not-json"),
        ({"text": "x", "into": "payload.a"}, 5, "bad-value"),
    ],
)
def test_what_cannot_be_filled_takes_the_error_route(
    config: dict[str, Any], payload: Any, slug: str
) -> None:
    out = NodeBench("template", config).send(payload)
    assert list(out) == ["error"]
    assert out["error"][0].meta["error"]["slug"] == slug
    assert repr(out["error"][0].payload) == repr(payload)


def test_a_text_that_cannot_be_read_is_a_finding() -> None:
    with pytest.raises(FindingsError) as caught:
        NodeBench("template", {"text": "{payload."})
    assert caught.value.findings[0].slug == "bad-template"


@pytest.mark.parametrize(
    ("into", "writes"), [("payload", "top"), ("payload.a", "top"), ("payload.a.b", "anything")]
)
def test_it_says_how_much_it_writes(into: str, writes: str) -> None:
    config = {"text": "x", "into": into}
    kind = NodeBench("template", config).type
    assert kind.writes_of(TemplateConfig.model_validate(config)) == writes
