"""The canonical form of flow, layout and test files: what `flowengine fmt` and the editor write.

Two flows that say the same, wire order and key order apart, have the same bytes; and formatting
twice changes nothing. Comments of a person (`x-` keys) and configs of unknown types are kept.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from flowengine.cases.model import CASE_KEYS, FILE_KEYS, MESSAGE_KEYS
from flowengine.flow.json_lines import Inline, to_lines
from flowengine.flow.model import ConnectionSpec, Flow, NodeSpec, Param, Wire, reference_of
from flowengine.flow.schema_paths import Schema, below, by_model, keys_in_order

ModelOrder = Callable[[str], Sequence[str] | Schema | None]
FirstOutput = Callable[[str], str | None]


def canonical(
    flow: Flow,
    *,
    model_order: ModelOrder | None = None,
    first_output: FirstOutput | None = None,
) -> str:
    """The text of a flow file (R34).

    Args:
        flow: a flow that was read whole; its shared connections are left out.
        model_order: for a type's name the config's keys in order, or its JSON Schema, by which maps
            further inside are ordered, too; None for a type that is not known, whose config
            is kept word for word.
        first_output: the first output of a type, None if it is not known or depends on the config.

    Raises:
        ValueError: something in the file is not in the model; writing it back would lose it.
    """
    found = document(flow, model_order=model_order, first_output=first_output)
    if "wires" in found:
        found["wires"] = [Inline(wire) for wire in found["wires"]]
    if "tests" in found:
        found["tests"] = [_case_lines(case) for case in found["tests"]]
    return to_lines(found)


def document(
    flow: Flow,
    *,
    model_order: ModelOrder | None = None,
    first_output: FirstOutput | None = None,
) -> dict[str, Any]:
    """The flow as a plain JSON object in canonical order; arguments and errors as `canonical`."""
    if not flow.whole:
        raise ValueError(f"{flow.file or flow.id} has faults; writing it would lose what they say")
    order = model_order or _unknown
    own = {name: spec for name, spec in flow.connections.items() if name not in flow.shared}
    whole: dict[str, Any] = {
        "$schema": flow.schema,
        "format": flow.format,
        "title": flow.title,
        "doc": _text(flow.doc),
        "params": {name: _param(flow.params[name]) for name in sorted(flow.params)},
        "connections": {name: _spec(own[name], order) for name in sorted(own)},
    }
    found = {key: value for key, value in whole.items() if value is not None and value != {}}
    found["nodes"] = {name: _spec(flow.nodes[name], order) for name in sorted(flow.nodes)}
    wires = _wires(flow, first_output or _unknown)
    if wires:
        found["wires"] = wires
    if flow.layout:
        found["layout"] = {name: list(flow.layout[name]) for name in sorted(flow.layout)}
    if flow.tests is not None:
        found["tests"] = [case_document(case) for case in flow.tests]
    return found | _sorted(flow.extra)


def canonical_layout(
    layout: Mapping[str, tuple[int, int]], nodes: Collection[str] | None = None
) -> str:
    """The text of a layout file, one node a line (R51); only of `nodes`, if they are given."""
    kept = sorted(name for name in layout if nodes is None or name in nodes)
    return to_lines({"format": 1, "nodes": {name: list(layout[name]) for name in kept}})


_SORTED_KEYS = ("params", "env", "secrets", "state", "expect_state")


def canonical_cases(cases: Mapping[str, Any]) -> str:
    """The text of a test file, one message a line (R14); `cases` is the file's whole object."""
    top = {key: cases[key] for key in by_model(FILE_KEYS, list(cases))}
    if type(top.get("tests")) is list:
        top["tests"] = [_case_lines(case_document(case)) for case in top["tests"]]
    return to_lines(top)


def case_document(case: Any) -> Any:
    """One test in canonical order; what is no test is kept as it is."""
    if type(case) is not dict:
        return case
    found = {key: case[key] for key in by_model(CASE_KEYS, list(case))}
    for key in _SORTED_KEYS:
        if type(found.get(key)) is dict:
            found[key] = _sorted(found[key])
    for key in ("input", "expect_findings"):
        found[key] = _messages(found.get(key))
    expect = found.get("expect")
    if type(expect) is dict:
        found["expect"] = {name: _messages(expect[name]) for name in sorted(expect)}
    return {key: value for key, value in found.items() if key in case}


def _messages(raw: Any) -> Any:
    """A list of messages, their keys in order; what is none is kept as it is."""
    if type(raw) is not list:
        return raw
    return [
        {key: item[key] for key in by_model(MESSAGE_KEYS, list(item))}
        if type(item) is dict
        else item
        for item in raw
    ]


def _case_lines(case: Any) -> Any:
    """One test with each of its messages on one line."""
    if type(case) is not dict:
        return case
    found = dict(case)
    for key in ("input", "expect_findings"):
        if type(found.get(key)) is list:
            found[key] = [Inline(item) for item in found[key]]
    if type(found.get("expect")) is dict:
        found["expect"] = {
            name: [Inline(item) for item in items] if type(items) is list else items
            for name, items in found["expect"].items()
        }
    return found


def _unknown(_: str) -> None:
    return None


def _sorted(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: raw[key] for key in sorted(raw)}


def _text(text: str | None) -> str | list[str] | None:
    """Text of several lines as a list of them, so that one changed line is one changed line."""
    return text.split("\n") if text is not None and "\n" in text else text


def _param(param: Param) -> dict[str, Any]:
    found: dict[str, Any] = {"type": param.type}
    if param.default is not UNSET:
        found["default"] = param.default
    if param.unit is not None:
        found["unit"] = param.unit
    if param.doc is not None:
        found["doc"] = _text(param.doc)
    return found | _sorted(param.extra)


def _spec(spec: NodeSpec | ConnectionSpec, order: ModelOrder) -> dict[str, Any]:
    found: dict[str, Any] = {"type": spec.type}
    if spec.title is not None:
        found["title"] = spec.title
    if spec.doc is not None:
        found["doc"] = _text(spec.doc)
    if isinstance(spec, NodeSpec) and spec.disabled:
        found["disabled"] = True
    if spec.config:
        found["config"] = _config(spec.config, order(spec.type))
    return found | _sorted(spec.extra)


def _config(config: dict[str, Any], order: Sequence[str] | Schema | None) -> dict[str, Any]:
    if order is None:
        return config
    schema = order if isinstance(order, Mapping) else {"properties": {key: {} for key in order}}
    ordered: dict[str, Any] = _ordered(config, [schema], schema)
    return ordered


def _ordered(value: Any, schemas: list[Schema], root: Schema) -> Any:
    """A config value with the keys of every map in it in the order the schema gives."""
    if type(value) is list:
        return [
            _ordered(item, [way for schema in schemas for way in below(schema, root, index)], root)
            for index, item in enumerate(value)
        ]
    if type(value) is not dict:
        return value
    if reference_of(value) is not None:
        return {key: value[key] for key in sorted(value, key=lambda key: (key[0] != "$", key))}
    return {
        key: _ordered(
            value[key], [way for schema in schemas for way in below(schema, root, key)], root
        )
        for key in keys_in_order(schemas, root, list(value))
    }


def _wires(flow: Flow, first_output: FirstOutput) -> list[Any]:
    written = []
    for wire in flow.wires:
        start = wire.start
        node = flow.nodes.get(wire.source)
        if wire.output == "out" and node is not None and first_output(node.type) == "out":
            start = wire.source
        written.append((start, wire.target, _wire(wire, start)))
    written.sort(key=lambda each: each[:2])
    return [text for _, _, text in written]


def _wire(wire: Wire, start: str) -> Any:
    settings = {
        "capacity": wire.capacity,
        "bytes": wire.bytes,
        "when_full": wire.when_full,
        "doc": wire.doc,
    }
    given = {key: value for key, value in settings.items() if value is not None}
    given |= _sorted(wire.extra)
    if not given:
        return f"{start} -> {wire.target}"
    return {"from": start, "to": wire.target, **given}
