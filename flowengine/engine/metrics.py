"""The engine's counters as Prometheus metrics (R47).

Counters are plain integers that the engine keeps anyway; nothing is done per message for this page,
and prometheus-client is imported only when someone asks for it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from flowengine.clock import SECOND
from flowengine.engine.fates import FATES
from flowengine.engine.runtime import Engine

if TYPE_CHECKING:
    from prometheus_client.registry import CollectorRegistry


class Sample(NamedTuple):
    """One number: metric name (without prefix), kind, help, labels, value."""

    name: str
    kind: str
    help: str
    labels: dict[str, str]
    value: float


def samples(engine: Engine) -> Iterator[Sample]:
    """Every number of every flow, and of the process."""
    if (memory := engine.memory) is not None:
        paused = float(memory.is_paused)
        yield Sample("memory_paused", "gauge", "1 while sources wait for memory.", {}, paused)
        yield Sample("memory_pauses", "counter", "How often they had to.", {}, memory.pauses)
        yield Sample("memory_resident_bytes", "gauge", "Resident memory.", {}, memory.rss)
        yield Sample("memory_cap_bytes", "gauge", "What it is to stay below.", {}, memory.cap)
    for flow in list(engine.flows.values()):
        for name, running in list(flow.nodes.items()):
            step = running.step
            if step is None:
                continue
            at = {"flow": flow.id, "node": name}
            for output, outlet in step.outlets.items():
                yield Sample(
                    "messages",
                    "counter",
                    "Messages that left by an output.",
                    {**at, "output": output},
                    outlet.count,
                )
                if outlet.unwired:
                    yield _dropped(at, f"unwired-{output}", outlet.unwired)
            yield Sample("received", "counter", "Messages that a node got.", at, step.received)
            yield Sample("failed", "counter", "Messages on the error route.", at, step.failed)
            yield Sample("slow", "counter", "Batches that took over 50 ms.", at, step.slow)
            yield _dropped(at, "filtered", step.filtered)
            for reason, number in list(step.counts.items()):
                yield _dropped(at, reason, number)
            if running.wire is not None:
                yield Sample("wire_depth", "gauge", "Messages waiting.", at, running.wire.depth)
                oldest = running.wire.oldest
                age = 0 if oldest is None else (engine.clock.monotonic() - oldest) / SECOND
                yield Sample("wire_oldest_seconds", "gauge", "Age of the oldest.", at, age)
                yield _dropped(at, "wire-full", running.wire.dropped)
            runner = running.runner
            if runner is not None:
                yield Sample("written", "counter", "Records committed.", at, runner.written)
                yield Sample("retries", "counter", "Writes tried again.", at, runner.retries)
                yield Sample("spool_records", "gauge", "Records on disk.", at, runner.stored)
                if runner.backlog is not None:
                    yield _dropped(at, "store-on-disk", runner.backlog.dropped)
            yield Sample(
                "node_up", "gauge", "1 while the node runs.", at, float(running.state == "running")
            )
        for name, intake in list(flow.intakes.items()):
            at = {"flow": flow.id, "node": name}
            yield Sample("source_received", "counter", "Let in.", at, intake.received)
            yield Sample("source_acknowledged", "counter", "Safe.", at, intake.acknowledged)
            yield Sample("source_in_flight", "gauge", "Fate open.", at, intake.in_flight)
            for fate, number in zip(FATES, intake.fates, strict=True):
                yield Sample(
                    "source_fate",
                    "counter",
                    "What became of messages.",
                    {**at, "fate": fate},
                    number,
                )


def _dropped(at: dict[str, str], reason: str, number: int) -> Sample:
    return Sample(
        "dropped", "counter", "Messages that ended here.", {**at, "reason": reason}, number
    )


def collector(engine: Engine) -> "CollectorRegistry":
    """A prometheus-client registry that reads the engine when it is scraped."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415
    from prometheus_client.registry import Collector, CollectorRegistry  # noqa: PLC0415

    class EngineCollector(Collector):
        def collect(self) -> Iterator[Any]:
            families: dict[str, Any] = {}
            for sample in samples(engine):
                family = families.get(sample.name)
                if family is None:
                    make = CounterMetricFamily if sample.kind == "counter" else GaugeMetricFamily
                    family = families[sample.name] = make(
                        f"flowengine_{sample.name}", sample.help, labels=list(sample.labels)
                    )
                family.add_metric(list(sample.labels.values()), sample.value)
            yield from families.values()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(EngineCollector())
    return registry


def serve_metrics(engine: Engine, host: str, port: int) -> Any:
    """Serve /metrics from a thread; returns what `shutdown()` stops. Raises OSError."""
    from prometheus_client import start_http_server  # noqa: PLC0415  # only when asked for

    server, _ = start_http_server(port, addr=host, registry=collector(engine))
    return server
