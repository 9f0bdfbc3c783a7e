"""catch and status are sources that the engine fills, and comment takes no part (R6, R53, R65)."""

from typing import Any

import pytest

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.registry import REGISTRY
from flowengine.testing import NodeBench


@pytest.mark.parametrize(("name", "listens"), [("catch", "errors"), ("status", "status")])
def test_they_listen_and_let_in_what_the_engine_hands_them(name: str, listens: str) -> None:
    bench = NodeBench(name, {"nodes": ["a", "b"]})
    assert (bench.type.kind, bench.type.outputs, bench.node.listens) == (
        "source",
        ("out",),
        listens,
    )
    bench.open()
    told = Message({"node": "a"}, key="a", meta={"error": {"slug": "failed"}})
    bench.node.emit([told])
    assert bench.advance("0s") == {"out": [told]}
    bench.close()


@pytest.mark.parametrize("name", ["catch", "status"])
def test_r6_r65_without_nodes_they_listen_to_all(name: str) -> None:
    assert NodeBench(name).node.config.nodes is None


@pytest.mark.parametrize("nodes", ["a", [1]], ids=str)
def test_nodes_is_a_list_of_ids(nodes: Any) -> None:
    with pytest.raises(FindingsError, match="node ids"):
        NodeBench("catch", {"nodes": nodes})


@pytest.mark.parametrize("text", ["", "one **line**", ["two", "lines"]], ids=str)
def test_r53_a_comment_has_words_and_no_outputs(text: Any) -> None:
    found = REGISTRY.find("comment")
    assert (found.kind, found.outputs) == ("note", ())
    assert found.config.model_validate({"text": text}).model_dump() == {"text": text}
