"""Every node type keeps the common contract, whoever wrote it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from flowengine import Connection, Node, Source, message_to_json
from flowengine.config import validate_config
from flowengine.flow import find_flows, load_flow
from flowengine.flow.model import SLUG
from flowengine.node import (
    BatchConfig,
    NodeConfig,
    NodeType,
    SinkConfig,
    SourceConfig,
    SpoolConfig,
)
from flowengine.registry import REGISTRY
from flowengine.testing import NodeBench
from tests.flow_process import environment

TYPES, BROKEN = REGISTRY.everything()
NODES = {name: kind for name, kind in TYPES.items() if kind.kind != "connection"}
S = 1_000_000_000
FLOWS = Path(__file__).parents[2] / "flows"


def test_no_family_is_broken() -> None:
    assert BROKEN == {}


def every(kinds: dict[str, NodeType]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds.values(), ids=kinds.keys())


@every(TYPES)
def test_the_name_begins_with_the_family_which_is_the_module(kind: NodeType) -> None:
    family = kind.name.partition(".")[0]
    assert kind.target.__module__ == f"flowengine.nodes.{family}"
    assert all(part.replace("-", "").isalnum() and part.islower() for part in kind.name.split("."))


@every(TYPES)
def test_the_docstring_opens_with_one_sentence(kind: NodeType) -> None:
    assert kind.summary.endswith(".")
    assert 10 <= len(kind.summary) <= 100
    assert not kind.summary.startswith(("A node", "This"))


def fields_of(model: type[BaseModel], at: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, info in model.model_fields.items():
        found.append((f"{at}{info.alias or name}", info))
        for inner in models_in(info.annotation):
            found += fields_of(inner, f"{at}{name}.")
    return found


def models_in(annotation: Any) -> list[type[NodeConfig]]:
    if isinstance(annotation, type) and issubclass(annotation, NodeConfig):
        return [annotation]
    return [m for part in getattr(annotation, "__args__", ()) for m in models_in(part)]


@every(TYPES)
def test_every_field_says_what_it_is(kind: NodeType) -> None:
    silent = [
        name
        for name, info in fields_of(kind.config)
        if not info.description or not info.description.rstrip().endswith((".", "?", ")"))
    ]
    assert silent == []


@every(TYPES)
def test_the_config_has_a_json_schema_that_refuses_unknown_keys(kind: NodeType) -> None:
    schema = kind.config.model_json_schema(by_alias=True)
    json.dumps(schema)
    assert schema["additionalProperties"] is False


@every(TYPES)
def test_unknown_keys_are_refused_with_a_slug(kind: NodeType) -> None:
    _, faults = validate_config(kind.config, {"surely-no-setting": 1})
    assert "unknown-key" in {fault.slug for fault in faults}


@every(NODES)
def test_outputs_are_slugs_and_error_is_not_declared(kind: NodeType) -> None:
    config, _ = validate_config(kind.config, example_config(kind.name))
    outputs = kind.outputs_of(config)
    assert all(SLUG.fullmatch(output) for output in outputs)
    assert len(set(outputs)) == len(outputs)
    assert "error" not in outputs
    assert kind.optional <= set(outputs) | {"response"}


@every(NODES)
def test_what_it_remembers_is_plain_and_comes_back_from_its_encoding(kind: NodeType) -> None:
    state = getattr(kind.target, "State", None)
    if kind.scope not in {"keyed", "singleton"} or state is None:
        return
    from flowengine.message import packer, unpacker  # noqa: PLC0415

    fresh = state()
    assert unpacker(state).decode(packer().encode(fresh)) == fresh
    with pytest.raises(ValueError, match="version"):
        state.migrate({}, state.version + 1)


@every({name: kind for name, kind in NODES.items() if kind.scope == "keyed"})
def test_r10_a_keyed_node_takes_a_key_and_forgets(kind: NodeType) -> None:
    assert {"key", "forget"} <= set(kind.config.model_fields)


@every({name: kind for name, kind in NODES.items() if kind.kind == "sink"})
def test_a_sink_writes_and_never_retries_by_itself(kind: NodeType) -> None:
    assert asyncio.iscoroutinefunction(kind.target.write)


SINKS = {name: kind for name, kind in NODES.items() if issubclass(kind.config, SinkConfig)}
AT_ONCE = {"mqtt.out", "actuator.switch", "actuator.level"}


@every({name: kind for name, kind in SINKS.items() if name.endswith((".write", ".append"))})
def test_r30_a_store_is_written_in_batches_of_5000_or_a_second(kind: NodeType) -> None:
    assert (kind.target.batch_size, kind.target.batch_age) == (5000, 1_000_000_000)
    assert BatchConfig() == BatchConfig(size=5000, age="1s")


@every({name: kind for name, kind in SINKS.items() if name in AT_ONCE})
def test_r30_what_leads_to_a_device_is_sent_at_once(kind: NodeType) -> None:
    assert kind.target.batch_age == 0


@every(SINKS)
def test_r30_r31_r59_a_sink_keeps_trying_keeps_order_and_has_a_store(kind: NodeType) -> None:
    """Every sink that tells something to a far side has the spool, without asking for it."""
    fields = kind.config.model_fields
    retry, spool = fields["retry"].get_default(call_default_factory=True), SpoolConfig()
    assert (retry.first, retry.max, retry.give_up) == (S, 60 * S, None)
    assert (spool.size, spool.age, spool.when_full) == (10**9, 7 * 86_400 * S, "block")
    assert fields["order"].default == "oldest-first"
    is_far = not kind.name.startswith(("file.", "series.")) and not kind.name.endswith(".query")
    assert kind.target.spools is is_far


SOURCES = {name: kind for name, kind in NODES.items() if issubclass(kind.config, SourceConfig)}


def test_r2_r10_sources_take_a_key_and_those_with_a_payload_a_time() -> None:
    own = {name for name, kind in NODES.items() if kind.kind == "source"} - {"catch", "status"}
    assert own > set(SOURCES)
    assert {name for name in own if "key" not in NODES[name].config.model_fields} == set()
    assert set(SOURCES) == {"mqtt.in", "coap.server", "coap.observe"}
    for kind in SOURCES.values():
        fields = kind.config.model_fields
        assert (fields["time"].default, fields["time_format"].default) == (None, "auto")
        assert fields["max_ahead"].get_default() in {"1h", 3600 * S}


OPTIONAL = {"cleared", "late", "refused", "unmatched", "confirmed", "failed", "response"}


@every(NODES)
def test_r64_an_output_may_stay_unwired_if_the_contract_says_so(kind: NodeType) -> None:
    outputs = set() if callable(kind.outputs) else set(kind.outputs)
    assert set(kind.optional) == outputs & OPTIONAL


KEEPING: list[tuple[str, dict[str, Any], Any]] = [
    ("cbor.decode", {}, b"\x01"),
    ("cbor.encode", {}, 1),
    ("compute", {"set": {"payload": "1"}}, 0),
    ("convert", {"from": "degC", "to": "K"}, 1),
    ("csv.decode", {}, "a\n1\n"),
    ("csv.encode", {}, {"a": 1}),
    ("debounce", {"for": "1s"}, 1),
    ("delay", {"for": "1s"}, 1),
    ("filter.deadband", {"absolute": 1}, 1),
    ("filter.duplicate", {}, 1),
    ("filter.outlier", {}, 1),
    ("filter.range", {"min": 0}, 1),
    ("json.decode", {}, "1"),
    ("json.encode", {}, 1),
    ("queue", {}, 1),
    ("route", {"rules": [{"to": "a", "when": "true"}]}, 1),
    ("scale", {"factor": 2}, 1),
    ("select", {"keep": ["payload.a"]}, {"a": 1, "b": 2}),
    ("template", {"text": "x"}, 1),
    ("text.decode", {}, b"a"),
    ("text.encode", {}, "a"),
    ("throttle", {"per": "1s"}, 1),
]


@pytest.mark.parametrize(("name", "config", "payload"), KEEPING, ids=[k[0] for k in KEEPING])
def test_r44_a_transform_keeps_what_it_does_not_name(
    name: str, config: dict[str, Any], payload: Any
) -> None:
    bench = NodeBench(name, config)
    given: dict[str, Any] = {"key": "k", "topic": "t", "time": 5, "meta": {"qos": 1}}
    left = bench.send(payload, **given) or bench.advance("2s")
    ((message,),) = left.values()
    assert (message.key, message.topic, message.time, message.meta) == tuple(given.values())


def test_r44_every_transform_is_looked_at() -> None:
    """But those whose answer is another message than the one that came."""
    transforms = {name for name, kind in NODES.items() if kind.kind == "transform"}
    others = {"senml.decode", "senml.encode", "threshold", "window"}
    assert transforms - others == {name for name, _, _ in KEEPING}


FLOW_OF = """
import sys
from flowengine.cli import main
code = main(["check", "flow.json"])
print(code, *sorted(set(sys.argv[1:]) & set(sys.modules)))
"""
DRIVERS = ["aiocoap", "cbor2", "paho", "pint", "psutil", "jsonschema_rs", "httpx", "tzdata"]


@pytest.mark.parametrize(
    ("spec", "loaded"),
    [
        ({"type": "scale", "config": {"factor": 2}}, []),
        ({"type": "convert", "config": {"from": "degC", "to": "K"}}, ["pint"]),
        ({"type": "cbor.decode"}, []),
    ],
    ids=["none", "convert", "cbor waits for a message"],
)
def test_r35_a_driver_is_loaded_by_the_flow_that_needs_it(
    tmp_path: Path, spec: dict[str, Any], loaded: list[str]
) -> None:
    nodes = {
        "tick": {"type": "timer.tick", "config": {"every": "1s"}},
        "it": spec,
        "log": {"type": "debug"},
    }
    flow = {"format": 1, "nodes": nodes, "wires": ["tick -> it", "it -> log"]}
    (tmp_path / "flow.json").write_text(json.dumps(flow))
    ran = subprocess.run(
        [sys.executable, "-c", FLOW_OF, *DRIVERS],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    code, *found = ran.stdout.splitlines()[-1].split()
    assert (code, found) == ("0", loaded)


@every({name: kind for name, kind in TYPES.items() if not kind.is_function})
def test_a_class_stands_in_the_tree_of_its_kind(kind: NodeType) -> None:
    base = {"connection": Connection, "source": Source}.get(kind.kind, Node)
    assert issubclass(kind.target, base)


# -- example flows ---------------------------------------------------------------------------------


def example_nodes() -> dict[str, tuple[str, dict[str, Any]]]:
    """Type name -> (flow, config) of its first use in a shipped flow."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for file in find_flows([FLOWS]):
        flow, _ = load_flow(file)
        assert flow is not None, file
        for node in flow.nodes.values():
            found.setdefault(node.type, (flow.id, node.config))
        for link in flow.connections.values():
            found.setdefault(link.type, (flow.id, link.config))
    return found


EXAMPLES = example_nodes()


def example_config(name: str) -> dict[str, Any]:
    """The config of the type's example, references replaced by nothing."""
    return EXAMPLES[name][1] if name in EXAMPLES else {}


@every(TYPES)
def test_an_example_flow_shows_it(kind: NodeType) -> None:
    assert kind.name in EXAMPLES, f"no flow in flows/ uses {kind.name}"


def test_r15_a_message_shows_itself_as_json() -> None:
    from flowengine import Message  # noqa: PLC0415

    shown = message_to_json(Message(b"\0", "t", 1, "k", {"qos": 1}, "id"))
    assert json.loads(json.dumps(shown)) == {
        "id": "id",
        "time": "1970-01-01T00:00:00.000000001Z",
        "topic": "t",
        "key": "k",
        "payload": {"$bytes": "AA=="},
        "meta": {"qos": 1},
    }
    assert msgspec.json.encode(shown)
