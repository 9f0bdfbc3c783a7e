"""Edit operations of the live editor: applied to a document, and told apart where they meet.

The operations are those of `static/model/ops.js`: `put` a value at a path (or remove it), `wire`,
`unwire`, `move`, `rename`. Two people meet only where one touched what the other did: the same
property, one inside the other, the same wire.
"""

import copy
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from flowengine.errors import FlowengineError
from flowengine.flow import SLUG
from flowengine.web.door import Body

Step = str | int
Mark = tuple[Step, ...]
GROUPS = "x-groups"


class BadOp(FlowengineError):
    """An operation that cannot be applied: what it names is not there, or it has no such form."""


class WireSpec(Body):
    """A wire as the editor's model has it; `output` "" is a first output left out."""

    id: str
    from_: str = Field(alias="from")
    output: str
    to: str
    settings: dict[str, Any]


class Put(Body):
    """Set one value of the document; without `value` it is removed."""

    op: Literal["put"]
    path: Annotated[list[Step], Field(min_length=1, max_length=64)]
    value: Any = None


class AddWire(Body):
    """Add a wire, or change the settings of one."""

    op: Literal["wire"]
    wire: WireSpec


class RemoveWire(Body):
    """Remove a wire by its text."""

    op: Literal["unwire"]
    id: str


class Move(Body):
    """Give nodes other places; null takes a place away."""

    model_config = ConfigDict(extra="forbid", strict=True)

    op: Literal["move"]
    at: dict[str, Annotated[list[int | float], Field(min_length=2, max_length=2)] | None]


class Rename(Body):
    """Give a node another id, in all that names it."""

    op: Literal["rename"]
    from_: str = Field(alias="from")
    to: str


Op = Annotated[Put | AddWire | RemoveWire | Move | Rename, Field(discriminator="op")]
_OPS: TypeAdapter[list[Op]] = TypeAdapter(
    Annotated[list[Op], Field(min_length=1, max_length=5_000)]
)


def read_ops(raw: Any) -> list[Op]:
    """Operations as they came; BadOp with the first fault."""
    try:
        return _OPS.validate_python(raw)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise BadOp(f"{place}: {first['msg']}") from err


def marks(ops: list[Op]) -> set[Mark]:
    """What operations touch, as paths: two that are equal, or one inside the other, meet."""
    found: set[Mark] = set()
    for op in ops:
        if isinstance(op, Put):
            found.add(tuple(op.path))
        elif isinstance(op, AddWire):
            found |= {("wires", op.wire.id)}
        elif isinstance(op, RemoveWire):
            found.add(("wires", op.id))
        elif isinstance(op, Move):
            found |= {("layout", name) for name in op.at}
        else:
            found |= {("nodes", op.from_), ("nodes", op.to)}
    return found


def meetings(mine: set[Mark], theirs: set[Mark]) -> list[Mark]:
    """The marks of `mine` that meet one of `theirs`."""
    return sorted(
        (m for m in mine if any(_meet(m, t) for t in theirs)), key=lambda m: [str(s) for s in m]
    )


def _meet(one: Mark, other: Mark) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def apply_ops(
    document: Mapping[str, Any], places: Mapping[str, Any], ops: list[Op]
) -> tuple[dict[str, Any], dict[str, tuple[int, int]]]:
    """The document and the layout after all operations; BadOp if one of them fails."""
    doc: dict[str, Any] = copy.deepcopy(dict(document))
    at = {name: (int(place[0]), int(place[1])) for name, place in places.items()}
    for op in ops:
        if isinstance(op, Put):
            _put(doc, op)
        elif isinstance(op, AddWire):
            _add_wire(doc, op.wire)
        elif isinstance(op, RemoveWire):
            doc["wires"] = [w for w in doc.get("wires", []) if wire_text(w) != _plain(op.id)]
        elif isinstance(op, Move):
            for name, place in op.at.items():
                if place is None:
                    at.pop(name, None)
                else:
                    at[name] = (round(place[0]), round(place[1]))
        else:
            _rename(doc, at, op.from_, op.to)
    return doc, at


def _put(doc: dict[str, Any], op: Put) -> None:
    removes = "value" not in op.model_fields_set
    path = op.path
    if path[0] == "nodes" and len(path) == 2 and removes and _wired(doc, str(path[1])):
        raise BadOp(f'node "{path[1]}" still has wires')
    if path[0] == "nodes" and len(path) > 2 and path[1] not in doc.get("nodes", {}):
        raise BadOp(f'no node "{path[1]}"')
    place: Any = doc
    for number, step in enumerate(path[:-1]):
        inside = _get(place, step)
        if not isinstance(inside, dict | list):
            if removes:
                return
            inside = {}
            _set(place, step, inside, path[: number + 1])
        place = inside
    if not removes:
        _set(place, path[-1], copy.deepcopy(op.value), path)
    elif isinstance(place, list):
        raise BadOp("a list is put as a whole")
    else:
        place.pop(str(path[-1]), None)


def _get(place: Any, step: Step) -> Any:
    if isinstance(place, list):
        return place[step] if isinstance(step, int) and 0 <= step < len(place) else None
    return place.get(str(step))


def _set(place: Any, step: Step, value: Any, path: list[Step]) -> None:
    if isinstance(place, dict):
        place[str(step)] = value
    elif isinstance(step, int) and 0 <= step < len(place):
        place[step] = value
    elif step == len(place):
        place.append(value)
    else:
        raise BadOp(f"{path} is no place in a list of {len(place)}")


def _wired(doc: Mapping[str, Any], name: str) -> bool:
    return any(name in _ends(wire) for wire in doc.get("wires", []))


def _ends(wire: Any) -> tuple[str, str]:
    start, _, target = wire_text(wire).partition(" -> ")
    return start.partition(".")[0], target


def wire_text(wire: Any) -> str:
    """The text of a wire of a document, whichever of its two forms it has."""
    if isinstance(wire, Mapping):
        return f"{wire.get('from', '')} -> {wire.get('to', '')}"
    return _plain(str(wire))


def _plain(text: str) -> str:
    start, _, target = text.partition("->")
    return f"{start.strip()} -> {target.strip()}"


def _add_wire(doc: dict[str, Any], spec: WireSpec) -> None:
    for end in (spec.from_, spec.to):
        if end not in doc.get("nodes", {}):
            raise BadOp(f'no node "{end}"')
    start = f"{spec.from_}.{spec.output}" if spec.output else spec.from_
    text = f"{start} -> {spec.to}"
    made: Any = {"from": start, "to": spec.to, **spec.settings} if spec.settings else text
    rest = [wire for wire in doc.get("wires", []) if wire_text(wire) != text]
    doc["wires"] = [*rest, made]


def _rename(doc: dict[str, Any], at: dict[str, tuple[int, int]], old: str, new: str) -> None:
    nodes = doc.get("nodes", {})
    if old not in nodes:
        raise BadOp(f'no node "{old}"')
    if new in nodes:
        raise BadOp(f'there is a node "{new}" already')
    if not SLUG.fullmatch(new):
        raise BadOp(f'"{new}" is no id of a node')

    def named(name: str) -> str:
        return new if name == old else name

    doc["nodes"] = {named(name): spec for name, spec in nodes.items()}
    wires = []
    for wire in doc.get("wires", []):
        start, target = wire_text(wire).split(" -> ", 1)
        name, dot, output = start.partition(".")
        start, target = f"{named(name)}{dot}{output}", named(target)
        is_text = not isinstance(wire, Mapping)
        wires.append(f"{start} -> {target}" if is_text else {**wire, "from": start, "to": target})
    if wires:
        doc["wires"] = wires
    if old in at:
        at[new] = at.pop(old)
    lists = [spec.get("config") for spec in doc["nodes"].values() if isinstance(spec, dict)]
    groups = doc.get(GROUPS)
    lists += list(groups.values()) if isinstance(groups, dict) else []
    for each in lists:
        if isinstance(each, dict) and isinstance(each.get("nodes"), list):
            each["nodes"] = [named(n) if isinstance(n, str) else n for n in each["nodes"]]
