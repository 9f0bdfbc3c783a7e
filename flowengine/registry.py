"""Finding node types by name: the families in `flowengine.nodes`, and entry points beside them.

A type's name starts with its family and the family is the module, so nothing is imported before a
flow names it. Two owners of one family are an error that names both.
"""

import difflib
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flowengine.errors import FlowengineError
from flowengine.node import MARK, NodeType

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "flowengine.nodes"
PACKAGE = "flowengine.nodes"


class UnknownType(FlowengineError):
    """No family gives this type; `guess` is the nearest name."""


class BrokenFamily(FlowengineError):
    """A family that is there but cannot be used; the reason is in `what`."""


class Registry:
    """name -> NodeType, filled family by family as flows name them."""

    def __init__(self) -> None:
        self._families: dict[str, dict[str, NodeType]] = {}
        self._outside: dict[str, list[EntryPoint]] | None = None
        self._alone: set[str] = set()

    def find(self, name: str) -> NodeType:
        """The type called `name`; raises UnknownType or BrokenFamily."""
        found = self.family(name.partition(".")[0]).get(name)
        if found is None:
            raise self._unknown(name)
        return found

    def family(self, family: str) -> dict[str, NodeType]:
        """All types of a family, importing its module; empty when there is no such family."""
        if family not in self._families:
            self._families[family] = self._load(family)
        return self._families[family]

    def trust(self, families: Iterable[str]) -> None:
        """Take these families for ours alone: it was looked up, and no package came since."""
        self._alone.update(families)

    def ours(self) -> list[str]:
        """The families in use that flowengine has, and nobody else."""
        return sorted(
            name
            for name, types in self._families.items()
            if any(kind.origin == "flowengine" for kind in types.values())
        )

    def families(self) -> list[str]:
        """The names of all families that can be found, without importing them."""
        package = importlib.import_module(PACKAGE)
        inside = {module.name for module in pkgutil.iter_modules(package.__path__)}
        return sorted(inside | set(self._entry_points()))

    def everything(self) -> tuple[dict[str, NodeType], dict[str, str]]:
        """Every type by name, and every family that cannot be used with the reason."""
        types: dict[str, NodeType] = {}
        broken: dict[str, str] = {}
        for family in self.families():
            try:
                types.update(self.family(family))
            except BrokenFamily as err:
                broken[family] = str(err)
        return dict(sorted(types.items())), broken

    def _entry_points(self) -> "dict[str, list[EntryPoint]]":
        if self._outside is None:
            from importlib.metadata import entry_points  # noqa: PLC0415  # 10 ms and 1.4 MB

            self._outside = {}
            for point in entry_points(group=GROUP):
                self._outside.setdefault(point.name, []).append(point)
        return self._outside

    def _load(self, family: str) -> dict[str, NodeType]:
        if not family.isidentifier():
            return {}
        inside = importlib.util.find_spec(f"{PACKAGE}.{family}") is not None
        # Reading every installed package's entry points costs 10-20 ms: only when needed.
        known = family in self._alone or f"{PACKAGE}.{family}" in sys.modules
        outside = [] if inside and known else self._outside_of(family)
        owners = (["flowengine"] if inside else []) + [_package(point) for point in outside]
        if len(owners) > 1:
            raise BrokenFamily(
                f'the node family "{family}" has two owners: {" and ".join(owners)}.',
                "Remove one of the packages.",
            )
        if not owners:
            return {}
        try:
            module = importlib.import_module(f"{PACKAGE}.{family}" if inside else outside[0].value)
        except ImportError as err:
            raise BrokenFamily(
                f'the node family "{family}" of {owners[0]} cannot be imported: {err}.',
                f"Install what it needs: pip install 'flowengine[{family}]'.",
            ) from err
        except Exception as err:  # a third party's module may raise anything
            raise BrokenFamily(
                f'the node family "{family}" of {owners[0]} fails when imported: '
                f"{type(err).__name__}: {err}."
            ) from err
        return collect(module, owners[0])

    def _outside_of(self, family: str) -> "list[EntryPoint]":
        return self._entry_points().get(family, [])

    def _unknown(self, name: str) -> UnknownType:
        family = name.partition(".")[0]
        known = list(self._families.get(family, {}))
        near = difflib.get_close_matches(family, self.families(), n=3, cutoff=0.6)
        for other in near:
            try:
                known += self.family(other)
            except BrokenFamily:
                continue
        guess = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        if not guess and "." in name:
            wanted = name.partition(".")[2]
            guess = [other for other in known if other.partition(".")[2] == wanted][:1]
        mend = f'Did you mean "{guess[0]}"?' if guess else "`flowengine nodes` lists what there is."
        return UnknownType(f'no node type "{name}"', mend)


def collect(module: Any, origin: str) -> dict[str, NodeType]:
    """Every marked type of a module, by name."""
    found: dict[str, NodeType] = {}
    for value in list(vars(module).values()):
        mark = getattr(value, "__dict__", {}).get(MARK)
        if isinstance(mark, NodeType) and getattr(value, "__module__", None) == module.__name__:
            changes = {name: getattr(mark, name) for name in mark.__struct_fields__}
            found[mark.name] = NodeType(**{**changes, "origin": origin})
    return found


def _package(point: "EntryPoint") -> str:
    return point.dist.name if point.dist is not None else point.value


REGISTRY = Registry()
"""The registry that the commands and the engine share."""
