"""A diff as people read it: lines for a terminal, or a Mermaid picture for a review."""

import difflib
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from flowengine.diff import FlowChange, FlowDiff
from flowengine.flow.json_lines import to_line
from flowengine.flow.model import Flow

SIGNS = {"change": "~", "add": "+", "remove": "-", "rename": ">"}
COLOURS = {"change": "yellow", "add": "green", "remove": "red", "rename": "yellow"}
MAX_VALUE = 120

Paint = Callable[[str, str], str]


def _plain(text: str, _colour: str) -> str:
    return text


def diff_text(diff: FlowDiff, paint: Paint = _plain) -> str:
    """The lines of a diff, `""` when nothing changed (R61); `paint(text, colour)` colours."""
    if diff.same and not diff.layout:
        return ""
    width = min(24, max((len(_name(change)) for change in diff.changes), default=0))
    lines = [diff.flow]
    said: tuple[str, str, str] | None = None
    for change in diff.changes:
        thing = (change.op, change.kind, change.id)
        again = change.path is not None and thing == said
        lines += _lines(change, width, paint, again=again)
        said = thing if change.path is not None else None
    if diff.layout:
        moved = f"{diff.layout} node{'' if diff.layout == 1 else 's'} moved"
        lines.append(paint(f"  = {'layout':<{width}}  {moved}", "dim"))
    if diff.changes:
        restarts = ", ".join(diff.restarts) or "nothing"
        line = f"Restarts on deploy: {restarts}."
        lines.append(f"{line}  Kept: {', '.join(diff.kept)}." if diff.kept else line)
    return "\n".join(lines) + "\n"


def _name(change: FlowChange) -> str:
    if change.kind in {"node", "title", "doc"}:
        return change.id if change.kind == "node" else change.kind
    return "wire" if change.kind == "wire" else f"{change.kind} {change.id}"


def _lines(change: FlowChange, width: int, paint: Paint, *, again: bool) -> list[str]:
    op = change.op if change.path is None else "change"  # the thing was there, and still is
    name = "" if again else _name(change)
    head = f"  {SIGNS[op]} {name:<{width}}  "
    body, more = _body(change)
    lines = [paint(f"{head}{body}".rstrip(), COLOURS[op])]
    indent = " " * len(head)
    return lines + [paint(f"{indent}{line}", _line_colour(line)) for line in more]


def _line_colour(line: str) -> str:
    return {"+": "green", "-": "red"}.get(line[:1], "dim")


def _body(change: FlowChange) -> tuple[str, list[str]]:
    """What changed, on one line, and the lines below it."""
    if change.op == "rename":
        return f"was {change.old}", []
    if change.path is None:
        return _whole(change)
    label = f"{change.id}: {change.path}" if change.kind == "wire" else change.path
    return _from_to(label, change.old, change.new)


def _from_to(label: str, old: Any, new: Any) -> tuple[str, list[str]]:
    """`label: old -> new`; for texts of several lines those that differ, below."""
    before, after = _text_lines(old), _text_lines(new)
    if before is not None and after is not None and max(len(before), len(after)) > 1:
        found = difflib.unified_diff(before, after, lineterm="", n=1)
        kept = [line for line in list(found)[2:] if not line.startswith("@@")]
        return f"{label}:" if label else "", [f"{line[:1]} {line[1:]}" for line in kept]
    start = f"{label}: " if label else ""
    return f"{start}{_value(old)} -> {_value(new)}", []


def _whole(change: FlowChange) -> tuple[str, list[str]]:
    value = change.new if change.op == "add" else change.old
    if change.kind == "wire":
        settings = "" if value in ({}, UNSET) else f"  {_value(value)}"
        return f"{change.id}{settings}", []
    if change.kind in {"title", "doc"}:
        return _from_to("", change.old, change.new)
    if change.kind == "param":
        return _value(value), []
    return str(value.get("type", "")) if type(value) is dict else "", []


def _text_lines(value: Any) -> list[str] | None:
    """A text, or a list of texts, as its lines, nothing as no line; None for anything else."""
    if value is UNSET:
        return []
    if type(value) is str:
        return value.split("\n")
    if type(value) is list and value and all(type(line) is str for line in value):
        return value
    return None


def _value(value: Any) -> str:
    if value is UNSET:
        return "not set"
    text = to_line(value)
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


_CLASSES = {
    "added": "fill:#d6f5d6,stroke:#1a7f37,color:#000",
    "removed": "fill:#ffd7d5,stroke:#cf222e,color:#000,stroke-dasharray:4",
    "changed": "fill:#fff3c4,stroke:#9a6700,color:#000",
}
_SIGNED = {"added": "+ ", "removed": "- ", "changed": "~ "}


def mermaid(diff: FlowDiff, old: Flow | None, new: Flow | None) -> str:
    """Both versions as one Mermaid flowchart; what differs has a sign, a colour and a style."""
    states = _states(diff)
    specs = {**(old.nodes if old else {}), **(new.nodes if new else {})}
    renamed = {c.old for c in diff.changes if c.op == "rename" and c.kind == "node"}
    names = sorted(name for name in specs if name not in renamed)
    numbers = {name: f"n{index}" for index, name in enumerate(names)}
    lines = ["flowchart LR"]
    for name in names:
        state = states.get(("node", name))
        label = f"{_SIGNED.get(state or '', '')}{name}<br/>{specs[name].type}"
        lines.append(f'  {numbers[name]}["{_escaped(label)}"]' + (f":::{state}" if state else ""))
    gone = {c.id for c in diff.changes if c.kind == "wire" and c.op == "remove"}
    wires = [
        (wire, states.get(("wire", f"{wire.start} -> {wire.target}"), ""))
        for wire in (new.wires if new else [])
    ]
    wires += [
        (wire, "removed")
        for wire in (old.wires if old else [])
        if f"{wire.start} -> {wire.target}" in gone
    ]
    for wire, state in wires:
        if wire.source not in numbers or wire.target not in numbers:
            continue
        label = f"{_SIGNED.get(state, '')}{wire.output or ''}".strip()
        arrow = "-.->" if state == "removed" else "==>" if state == "added" else "-->"
        text = f'|"{_escaped(label)}"|' if label else ""
        lines.append(f"  {numbers[wire.source]} {arrow}{text} {numbers[wire.target]}")
    lines += [f"  classDef {name} {style}" for name, style in _CLASSES.items()]
    return "\n".join(lines) + "\n"


def _states(diff: FlowDiff) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for change in diff.changes:
        whole = change.path is None and change.op in {"add", "remove"}
        state = {"add": "added", "remove": "removed"}[change.op] if whole else "changed"
        found[change.kind, change.id] = state
    return found


def _escaped(text: str) -> str:
    """Text within quotes of Mermaid; its line breaks stay."""
    safe = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return safe.replace("&lt;br/>", "<br/>")
