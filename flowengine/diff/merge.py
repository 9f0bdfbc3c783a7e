"""Three versions of a flow merged by node, wire and config key; the result is always a valid flow.

Where both sides changed one thing, ours stays; what one side removed and the other changed stays,
too. Each such place is a conflict that a person must look at.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from flowengine.check import check_flow
from flowengine.check.types import TypeBook, book_of
from flowengine.diff import outputs_of
from flowengine.diff.values import same
from flowengine.errors import Finding
from flowengine.flow import parse_flow
from flowengine.flow.canonical import canonical, document
from flowengine.flow.json_lines import to_line, to_lines
from flowengine.flow.model import Flow, Wire, field_path, reference_of
from flowengine.registry import Registry

MergePath = tuple[str, ...]


class Conflict(msgspec.Struct, kw_only=True, frozen=True):
    """A place that both sides changed, or that is wrong only in the merged flow."""

    path: str
    what: str


class Merged(msgspec.Struct, kw_only=True):
    """The merged text, and what a person must look at; without conflicts it is clean."""

    text: str
    conflicts: list[Conflict]


def merge_flows(base: Flow | None, ours: Flow, theirs: Flow, registry: Registry) -> Merged:
    """Merge two versions of a flow; `base` is what both came from, None if there was none.

    The flows must be whole. Raises ValueError if they are not.
    """
    book = book_of(registry)
    conflicts: list[Conflict] = []
    forms = [None if flow is None else _form(flow, book) for flow in (base, ours, theirs)]
    merger = Merger(conflicts, quiet=("layout",), same_at=_by_field(ours, theirs, book))
    found = merger.maps(forms[0] or {}, forms[1] or {}, forms[2] or {}, ())
    _restore_ends(found, forms, conflicts)
    text = _text(found, ours, book)
    merged, faults = parse_flow(text, flow_id=ours.id, file=ours.file)
    if merged is None or not merged.whole:
        what = "; ".join(str(fault) for fault in faults) or "it cannot be read"
        conflict = Conflict(path="", what=f"the merged flow is not valid: {what}")
        return Merged(text=_text(_form(ours, book), ours, book), conflicts=[conflict])
    sides = [
        parse_flow(_text(_form(side, book), side, book), flow_id=side.id)[0]
        for side in (ours, theirs)
    ]
    conflicts += _new_faults(merged, [side for side in sides if side is not None], registry)
    return Merged(text=text, conflicts=conflicts)


SameAt = Callable[[Any, Any, MergePath], bool]
"""Whether two values at a path of the document mean the same."""


def _plainly(one: Any, other: Any, _path: MergePath) -> bool:
    return same(one, other)


def _by_field(ours: Flow, theirs: Flow, book: TypeBook) -> SameAt:
    """Sameness by the type of a config's field: `"120s"` is no change of `"2m"`."""

    def same_at(one: Any, other: Any, path: MergePath) -> bool:
        if path[0] == "wires":
            # the key has the ends in full; how a wire spells them is no change
            return path[2:3] in {("from",), ("to",)} or same(_bare(one), _bare(other))
        if len(path) < 3 or path[0] not in {"nodes", "connections"} or path[2] != "config":
            return same(one, other)
        types = {
            spec.type
            for flow in (ours, theirs)
            if (spec := getattr(flow, path[0]).get(path[1])) is not None
        }
        schema = book.schema(types.pop()) if len(types) == 1 else None
        return same(one, other, schema, path[3:])

    return same_at


def _bare(wire: Any) -> Any:
    if type(wire) is not dict:
        return wire
    return {key: value for key, value in wire.items() if key not in {"from", "to"}}


class Merger:
    """Merges maps key by key; below the keys in `quiet` ours wins without a word."""

    def __init__(
        self,
        conflicts: list[Conflict],
        quiet: tuple[str, ...] = (),
        same_at: SameAt = _plainly,
    ) -> None:
        self.conflicts = conflicts
        self.quiet = quiet
        self.same_at = same_at

    def maps(
        self,
        base: Mapping[str, Any],
        ours: Mapping[str, Any],
        theirs: Mapping[str, Any],
        path: MergePath,
    ) -> dict[str, Any]:
        """Merge every key of three maps, in our order, then theirs."""
        found: dict[str, Any] = {}
        for key in [*ours, *(key for key in theirs if key not in ours)]:
            sides = [side.get(key, UNSET) for side in (base, ours, theirs)]
            value = self.values(sides[0], sides[1], sides[2], (*path, key))
            if value is not UNSET:
                found[key] = value
        return found

    def values(self, base: Any, ours: Any, theirs: Any, path: MergePath) -> Any:
        """Merge three values; UNSET stands for none."""
        if self.same_at(ours, theirs, path) or self.same_at(base, theirs, path):
            return ours
        if self.same_at(base, ours, path):
            return theirs
        if _is_map(ours) and _is_map(theirs):
            return self.maps(base if _is_map(base) else {}, ours, theirs, path)
        if path[0] not in self.quiet:
            what = f"ours is {_said(ours)}, theirs is {_said(theirs)}"
            self.conflicts.append(Conflict(path=field_path(path), what=what))
        return theirs if ours is UNSET else ours


def _is_map(value: Any) -> bool:
    return type(value) is dict and reference_of(value) is None


def _said(value: Any) -> str:
    if value is UNSET:
        return "removed"
    text = to_line(value)
    return text if len(text) <= 100 else text[:99] + "…"


def by_name(cases: Any) -> dict[str, Any] | None:
    """A list of tests as a map by their names; None if they have none, or one twice."""
    if type(cases) is not list:
        return None
    found: dict[str, Any] = {}
    for case in cases:
        name = case.get("name") if type(case) is dict else None
        if type(name) is not str or name in found:
            return None
        found[name] = [case]  # in a list, so that one test is one value
    return found


def _form(flow: Flow, book: TypeBook) -> dict[str, Any]:
    """The flow's document with wires (and tests) as maps, so that each is a key."""
    form = document(flow, model_order=book.schema, first_output=book.first_output)
    wires = form.pop("wires", None)
    if wires is not None:
        form["wires"] = _wire_map(flow, book)
    named = by_name(form.get("tests"))
    if named is not None:
        form["tests"] = named
    return form


def _wire_map(flow: Flow, book: TypeBook) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for wire in flow.wires:
        key = _wire_key(flow, wire, book)
        while key in found:  # a wire that is there twice is a fault, and stays one
            key += " "
        found[key] = _settings(wire)
    return found


def _wire_key(flow: Flow, wire: Wire, book: TypeBook) -> str:
    output = wire.output
    if output is None and wire.source in flow.nodes:
        outputs = outputs_of(flow.nodes[wire.source], book)
        output = outputs[0] if outputs else None
    start = wire.source if output is None else f"{wire.source}.{output}"
    return f"{start} -> {wire.target}"


def _settings(wire: Wire) -> dict[str, Any]:
    found = {
        "from": wire.start,
        "to": wire.target,
        "capacity": wire.capacity,
        "bytes": wire.bytes,
        "when_full": wire.when_full,
        "doc": wire.doc,
    }
    return {key: value for key, value in found.items() if value is not None} | wire.extra


def _restore_ends(
    found: dict[str, Any], forms: list[dict[str, Any] | None], conflicts: list[Conflict]
) -> None:
    """Bring back a node that one side removed while the other one wired it."""
    nodes = found.setdefault("nodes", {})
    for key, wire in found.get("wires", {}).items():
        start, _, target = key.partition(" -> ")
        for end in (start.partition(".")[0], target.strip()):
            having = [form["nodes"] for form in forms[1:] if form and key in form.get("wires", {})]
            # a side that had the wire without the node is at fault by itself
            if end not in nodes and all(end in side for side in having):
                nodes[end] = having[-1][end]
                what = f'one side removed the node, the other has the wire "{wire["from"]} -> ...".'
                conflicts.append(Conflict(path=field_path(("nodes", end)), what=what))


def _text(form: Mapping[str, Any], like: Flow, book: TypeBook) -> str:
    """The canonical text of a merged form."""
    whole = dict(form)
    wires = whole.get("wires")
    if wires is not None:
        whole["wires"] = [_wire(wire) for wire in wires.values()]
    tests = whole.get("tests")
    if type(tests) is dict:
        whole["tests"] = [case for cases in tests.values() for case in cases]
    text = to_lines(whole)
    flow, _ = parse_flow(text, flow_id=like.id, file=like.file)
    if flow is None or not flow.whole:
        return text
    return canonical(flow, model_order=book.schema, first_output=book.first_output)


def _wire(wire: Mapping[str, Any]) -> Any:
    if set(wire) == {"from", "to"}:
        return f"{wire['from']} -> {wire['to']}"
    return dict(wire)


def _new_faults(merged: Flow, sides: Sequence[Flow], registry: Registry) -> list[Conflict]:
    """Errors that neither side had: two limits that cross, a wire there twice."""
    known = {_mark(fault) for side in sides for fault in check_flow(side, registry)}
    return [
        Conflict(path=_place(fault), what=f"only in the merged flow: {fault.what}")
        for fault in check_flow(merged, registry)
        if fault.severity == "error" and _mark(fault) not in known
    ]


def _mark(fault: Finding) -> tuple[Any, ...]:
    where = fault.where
    field = None if where.wire is not None else where.field  # a number in the list
    return fault.slug, where.node, where.connection, where.wire, field


def _place(fault: Finding) -> str:
    return str(msgspec.structs.replace(fault.where, file=None, line=None, flow=None))
