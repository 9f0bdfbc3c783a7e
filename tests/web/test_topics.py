"""Topics are seen without a broker of our own: what MQTT sources hear, while someone asks."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from flowengine.message import Message
from flowengine.web.redact import Redactor
from flowengine.web.topicwatch import MOST, PER_SECOND, WATCH_FOR, TopicWatch


class Outlet:
    """An outlet with its taps alone."""

    def __init__(self) -> None:
        self.taps: list[Any] = []

    def send(self, *messages: Message) -> None:
        """Messages leave."""
        for tap in self.taps:
            tap(list(messages))


def node(type_name: str, kind: str, outlet: Outlet) -> Any:
    """A running node of a type."""
    kind_of = SimpleNamespace(name=type_name, kind=kind)
    return SimpleNamespace(
        planned=SimpleNamespace(type=kind_of), step=SimpleNamespace(first=outlet)
    )


class Bench:
    """An engine with an MQTT source and another one, and a clock that is told."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.heard, self.other = Outlet(), Outlet()
        nodes = {
            "in": node("mqtt.in", "source", self.heard),
            "tick": node("timer.tick", "source", self.other),
            "out": node("mqtt.out", "sink", self.other),
        }
        self.engine = SimpleNamespace(flows={"hall": SimpleNamespace(nodes=nodes)})
        self.redactor = Redactor()
        engine: Any = self.engine
        self.watch = TopicWatch(engine, self.redactor, lambda: self.now)

    def look(self) -> None:
        """Someone asks, without the task that looks again."""
        self.watch._until = self.now + WATCH_FOR
        self.watch.attach()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A bench at which someone has asked."""
    made = Bench()
    made.look()
    yield made
    made.watch.close()
    assert not made.heard.taps


def test_what_an_mqtt_source_hears_is_seen_with_who_hears_it(bench: Bench) -> None:
    bench.heard.send(Message({"t": 1}, "device/a"), Message(2, "device/b"), Message(3))
    assert not bench.other.taps
    assert list(bench.watch.topics) == ["device/a", "device/b"]
    seen = bench.watch.topics["device/a"]
    assert (seen["last"], seen["flow"], seen["node"]) == ('{"t":1}', "hall", "in")


def test_nothing_is_looked_at_a_minute_after_the_last_question(bench: Bench) -> None:
    bench.now += WATCH_FOR - 1
    bench.watch.attach()
    assert bench.heard.taps
    bench.now += 2
    bench.watch.attach()
    assert not bench.heard.taps
    bench.look()
    bench.look()
    assert len(bench.heard.taps) == 1


def test_a_deploy_moves_the_look_to_what_runs_now(bench: Bench) -> None:
    fresh = Outlet()
    bench.engine.flows["hall"].nodes["in"] = node("mqtt.in", "source", fresh)
    bench.watch.attach()
    assert (len(fresh.taps), len(bench.heard.taps)) == (1, 0)
    bench.engine.flows.clear()
    bench.watch.attach()
    assert not fresh.taps


def test_a_flood_costs_a_bounded_number_of_looks_and_topics(bench: Bench) -> None:
    for start in range(0, 10_000, 1_000):
        bench.heard.send(*[Message(1, f"t/{n}") for n in range(start, start + 1_000)])
    assert len(bench.watch.topics) == PER_SECOND
    for _ in range(10):
        bench.now += 1
        bench.heard.send(*[Message(1, f"{bench.now}/{n}") for n in range(PER_SECOND)])
    assert len(bench.watch.topics) == MOST
    assert f"{bench.now}/0" in bench.watch.topics


def test_a_secret_is_not_shown(bench: Bench) -> None:
    bench.redactor.learn("hunter2hunter2")
    bench.heard.send(Message("hunter2hunter2", "a/hunter2hunter2"))
    assert "hunter2" not in str(bench.watch.topics)
