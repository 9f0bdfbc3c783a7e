"""The queue node is a place to wait: the engine's wire in front of it, and what waited leaves."""

import pytest

from flowengine import Message
from flowengine.errors import FindingsError
from flowengine.testing import NodeBench


def test_r24_its_defaults_are_the_wire_that_the_engine_makes() -> None:
    bench = NodeBench("queue")
    assert bench.type.boundary
    assert bench.config.model_dump() == {
        "capacity": 10_000,
        "bytes": 64_000_000,
        "when_full": "block",
    }


def test_r44_messages_leave_as_they_came_in_order() -> None:
    messages = [Message(n) for n in range(3)]
    out = NodeBench("queue").send_many(list(messages))["out"]
    assert all(a is b for a, b in zip(out, messages, strict=True))
    assert NodeBench("queue").node.receive(messages[0]) is messages[0]


@pytest.mark.parametrize(
    "config", [{"capacity": 0}, {"when_full": "forget"}, {"bytes": 64}], ids=str
)
def test_r24_settings_that_mean_nothing_are_findings(config: dict[str, object]) -> None:
    with pytest.raises(FindingsError):
        NodeBench("queue", config)
