"""Every node type keeps the common contract, whoever wrote it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from flowengine import Connection, Node, Source, message_to_json
from flowengine.config import validate_config
from flowengine.flow import find_flows, load_flow
from flowengine.flow.model import SLUG
from flowengine.node import NodeConfig, NodeType
from flowengine.registry import REGISTRY

TYPES, BROKEN = REGISTRY.everything()
NODES = {name: kind for name, kind in TYPES.items() if kind.kind != "connection"}
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
