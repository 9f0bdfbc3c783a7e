"""Values of params: whether they fit the declared type, from `--params` files and `--set` (R19)."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from flowengine.errors import UsageError, describe_value
from flowengine.flow.model import Flow
from flowengine.flow.strict_json import MAX_SIZE, read_json, too_large
from flowengine.moments import parse_duration

_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")
_WORDS = {"true": True, "false": False}


def fit(value: Any, kind: str) -> Any:
    """`value` if it is of the param type `kind`; raises ValueError with what it is instead."""
    fits = {
        "number": type(value) in {int, float} and value - value == 0,
        "integer": type(value) is int,
        "text": type(value) is str,
        "boolean": type(value) is bool,
        "duration": type(value) is str,
        "list": type(value) is list,
        "map": type(value) is dict,
    }[kind]
    if not fits:
        raise ValueError(f"{describe_value(value)} is no {kind}.")
    if kind == "duration":
        parse_duration(value)
    return value


def from_text(text: str, kind: str) -> Any:
    """`text` read as `kind`; raises ValueError with what was found."""
    if kind in {"number", "integer"}:
        return number_of(text, kind)
    if kind == "boolean":
        if text.strip().lower() not in _WORDS:
            raise ValueError(f"{describe_value(text)} is neither true nor false.")
        return _WORDS[text.strip().lower()]
    if kind in {"list", "map"}:
        document = read_json(text)
        if document.faults:
            raise ValueError(f"{describe_value(text)} is no JSON {kind}: {document.faults[0].what}")
        return fit(document.value, kind)
    return fit(text, kind)


def number_of(text: str, kind: str) -> int | float:
    """A number or integer written as text."""
    text = text.strip()
    if _INTEGER.fullmatch(text):
        return int(text)
    if kind == "number":
        try:
            value = float(text) if re.fullmatch(r"[-+0-9.eE]+", text) else float("nan")
        except ValueError:
            value = float("nan")
        if value - value == 0:
            return value
    raise ValueError(f"{describe_value(text)} is no {kind}.")


def a_kind(kind: str) -> str:
    """A kind with its article, as messages say it."""
    return f"an {kind}" if kind == "integer" else kind if kind == "text" else f"a {kind}"


def load_params(path: Path | str) -> dict[str, Any]:
    """The object in a `--params` file; raises UsageError with its first fault and its place."""
    path = Path(path)
    try:
        size = path.stat().st_size
        raw = path.read_bytes() if size <= MAX_SIZE else b""
    except OSError as err:
        raise UsageError(f"{path} cannot be read: {err.strerror}.", "Look at its name.") from err
    document = read_json(raw)
    faults = [too_large(size)] if size > MAX_SIZE else document.faults
    if faults:
        line, column = document.place(faults[0].offset)
        raise UsageError(f"{path}:{line}:{column}: {faults[0].what}", faults[0].mend)
    if type(document.value) is not dict:
        raise UsageError(f"{path} holds no object.", 'Write {"limit": 7}.')
    values: dict[str, Any] = document.value
    return values


def read_params(
    file_values: Mapping[str, Any], set_options: Sequence[str], flows: Collection[Flow]
) -> dict[str, dict[str, Any]]:
    """The param values of each flow by its id, from `--params` and `--set` (R19).

    A name holds for every flow that has such a param; `{"cold-room": {...}}` and
    `cold-room.limit=7` for one flow. Later wins, `--set` over `--params`. Raises UsageError for a
    name that no flow has, and for a value that does not fit.
    """
    by_id = {flow.id: flow for flow in flows}
    found: dict[str, dict[str, Any]] = {flow_id: {} for flow_id in by_id}
    for name, value in file_values.items():
        if name in by_id and type(value) is dict:
            for inner, inner_value in value.items():
                _put(found, [by_id[name]], inner, inner_value, f"{name}.{inner}", is_text=False)
        else:
            _put(found, by_id.values(), name, value, name, is_text=False)
    for option in set_options:
        name, equals, text = option.partition("=")
        if not equals:
            raise UsageError(f'--set "{option}" has no "=".', "Write --set limit=7.")
        flow_id, dot, inner = name.partition(".")
        if not dot:
            _put(found, by_id.values(), name, text, name, is_text=True)
        elif flow_id in by_id:
            _put(found, [by_id[flow_id]], inner, text, name, is_text=True)
        else:
            known = ", ".join(by_id) or "none"
            raise UsageError(f'no flow "{flow_id}" for "{name}".', f"Flows: {known}.")
    return found


def _put(
    found: dict[str, dict[str, Any]],
    flows: Collection[Flow],
    name: str,
    value: Any,
    said: str,
    *,
    is_text: bool,
) -> None:
    having = [flow for flow in flows if name in flow.params]
    if not having:
        known = sorted({param for flow in flows for param in flow.params})
        mend = f"Params: {', '.join(known)}." if known else "No flow has params."
        raise UsageError(f'no flow has a param "{said}".', mend)
    for flow in having:
        kind = flow.params[name].type
        try:
            found[flow.id][name] = from_text(value, kind) if is_text else fit(value, kind)
        except ValueError as err:
            raise UsageError(
                f'param "{said}" of {flow.id}: {err}', f"Give {a_kind(kind)}, as {_EXAMPLES[kind]}."
            ) from err


_EXAMPLES = {
    "number": "7.5",
    "integer": "7",
    "text": "hall",
    "boolean": "true",
    "duration": "5s",
    "list": "[1, 2]",
    "map": '{"a": 1}',
}
