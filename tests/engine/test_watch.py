"""A node that holds the event loop is named."""

import asyncio
import logging
import time
from typing import Any

import pytest

from flowengine import Message, NodeConfig, node
from flowengine.engine.region import Region
from flowengine.engine.watch import STANDS_STILL, LoopWatch
from flowengine.testing import NodeBench


@node("passes")
def passes(message: Message, config: NodeConfig) -> Message:
    """Pass everything on."""
    return message


def test_f09_a_node_that_does_not_return_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        watch = LoopWatch(lambda: "room/slow")
        watch.start()
        now = time.monotonic()
        watch.look(now + STANDS_STILL / 2)
        assert caplog.messages == []
        watch.look(now + STANDS_STILL + 1)
        watch.look(now + STANDS_STILL + 2)
        assert caplog.messages == ['nothing has moved for 3 s: node "room/slow" does not return']
        watch.look(now)
        assert caplog.messages[1:] == ["the event loop turns again"]
        watch.stop()

    with caplog.at_level(logging.WARNING, "flowengine.engine"):
        asyncio.run(scene())


@pytest.mark.parametrize(("took_ms", "named"), [(49, False), (51, True)])
def test_a_node_that_holds_the_loop_for_more_than_50_ms_is_named(
    caplog: pytest.LogCaptureFixture, took_ms: int, named: bool
) -> None:
    now = [0]

    def ticks() -> int:
        now[0] += took_ms * 1_000_000
        return now[0]

    bench = NodeBench(passes, node_id="slow")
    bench.region = Region(bench.clock, bench.region.fail, ticks)
    bench.region.set_steps([bench.step])
    with caplog.at_level(logging.WARNING, "flowengine.engine"):
        bench.send(1)
    said: list[Any] = [m for m in caplog.messages if "slow" in m]
    assert said == (["slow held the event loop for 51 ms with 1 message"] if named else [])
