"""What an expression can be: the nodes of its tree, after the grammar has let it through (R7).

Every node knows the text it came from, so that an error can quote it.
"""

from dataclasses import dataclass
from typing import Any

from flowengine.path import Path


@dataclass(frozen=True, slots=True)
class Node:
    """One piece of an expression; `source` is its text."""

    source: str


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A number, text, true, false, null, or a list or map of these."""

    value: Any


@dataclass(frozen=True, slots=True)
class Field(Node):
    """A place of the message with fixed steps: `payload.values[0].t`, `topic`, `time`."""

    path: Path


@dataclass(frozen=True, slots=True)
class Params(Node):
    """The flow's parameters as a map; steps below it are `Item`s."""


@dataclass(frozen=True, slots=True)
class Now(Node):
    """The engine's clock, in seconds."""


@dataclass(frozen=True, slots=True)
class Item(Node):
    """`of[index]`, or `of.name` with the name as a text literal."""

    of: Node
    index: Node


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """`of[start:stop]`; either end may be left out."""

    of: Node
    start: Node | None
    stop: Node | None


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """`left operator right` with one of `+ - * / // % **`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Sign(Node):
    """`-x` or `+x`."""

    operator: str
    of: Node


@dataclass(frozen=True, slots=True)
class Not(Node):
    """`not x`."""

    of: Node


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """A chain of comparisons: `terms[0] operators[0] terms[1] operators[1] …`."""

    operators: tuple[str, ...]
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Logic(Node):
    """`and` or `or` between truths, which stops at the first that decides."""

    operator: str
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice(Node):
    """`yes if test else no`; only the chosen side is evaluated."""

    test: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function of the library."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Get(Node):
    """`get('path', default)`: the default, or null, where nothing is."""

    path: Path
    default: Node


@dataclass(frozen=True, slots=True)
class Has(Node):
    """`has('path')`: whether something is there; null is something."""

    path: Path


@dataclass(frozen=True, slots=True)
class Default(Node):
    """`default(x, y)`: y where x is null."""

    of: Node
    default: Node


ORDER = frozenset({"<", "<=", ">", ">="})
"""The comparisons that need two numbers or two texts."""
