"""Nodes that only got another id: equal type, config and wires (R39)."""

from collections.abc import Collection, Mapping

from flowengine.check.types import TypeBook
from flowengine.diff.values import same
from flowengine.flow.model import NodeSpec

Ends = tuple[str, str | None, str]
"""A wire: source, output (None: unknown), target."""


def find_renames(
    old: Mapping[str, NodeSpec],
    new: Mapping[str, NodeSpec],
    old_wires: Collection[Ends],
    new_wires: Collection[Ends],
    book: TypeBook,
) -> dict[str, str]:
    """Old id -> new id. Where two nodes could have become the same one, none is told."""
    # an id that a wire of the other version names, without the node, is not free to be another
    gone = set(old) - set(new) - _ends_of(new_wires)
    fresh = set(new) - set(old) - _ends_of(old_wires)
    if not gone or not fresh or len(gone) * len(fresh) > 100_000:
        return {}
    old_shapes, new_shapes = _shapes(old_wires, gone), _shapes(new_wires, fresh)
    likely = [
        (before, after)
        for before in sorted(gone)
        for after in sorted(fresh)
        if old_shapes.get(before) == new_shapes.get(after) and _alike(old[before], new[after], book)
    ]
    befores, afters = [pair[0] for pair in likely], [pair[1] for pair in likely]
    found = {b: a for b, a in likely if befores.count(b) == 1 and afters.count(a) == 1}
    while True:
        kept = _confirmed(found, old_wires, new_wires)
        if len(kept) == len(found):
            return found
        found = kept


def _ends_of(wires: Collection[Ends]) -> set[str]:
    return {end for source, _, target in wires for end in (source, target)}


def _alike(one: NodeSpec, other: NodeSpec, book: TypeBook) -> bool:
    return (
        one.type == other.type
        and one.disabled == other.disabled
        and same(one.config, other.config, book.schema(one.type))
    )


def _shapes(wires: Collection[Ends], names: Collection[str]) -> dict[str, list[tuple[str, ...]]]:
    """The wires of each of `names`, with a `?` for ends that have no name in the other version."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for source, output, target in wires:
        if source in names:
            to = "?" if target in names else target
            found.setdefault(source, []).append(("out", output or "", to))
        if target in names:
            origin = "?" if source in names else source
            found.setdefault(target, []).append(("in", output or "", origin))
    for shape in found.values():
        shape.sort()
    return found


def _confirmed(
    found: Mapping[str, str], old_wires: Collection[Ends], new_wires: Collection[Ends]
) -> dict[str, str]:
    """The renames after which the wires of the node are those of the new version."""
    named = {(found.get(s, s), output, found.get(t, t)) for s, output, t in old_wires}
    present = set(new_wires)
    names = set(found.values())
    odd = {
        end
        for source, _, target in named.symmetric_difference(present)
        for end in (source, target)
        if end in names
    }
    return {before: after for before, after in found.items() if after not in odd}
