"""What an expression can be: the nodes of its tree, after the grammar has let it through (R7).

Every node knows the text it came from, so that an error can quote it.
"""

from typing import Any

import msgspec

from flowengine.path import Path


class Node(msgspec.Struct, frozen=True):
    """One piece of an expression; `source` is its text."""

    source: str


class Literal(Node, frozen=True):
    """A number, text, true, false, null, or a list or map of these."""

    value: Any


class Field(Node, frozen=True):
    """A place of the message with fixed steps: `payload.values[0].t`, `topic`, `time`."""

    path: Path


class Params(Node, frozen=True):
    """The flow's parameters as a map; steps below it are `Item`s."""


class Now(Node, frozen=True):
    """The engine's clock, in seconds."""


class Item(Node, frozen=True):
    """`of[index]`, or `of.name` with the name as a text literal."""

    of: Node
    index: Node


class Slice(Node, frozen=True):
    """`of[start:stop]`; either end may be left out."""

    of: Node
    start: Node | None
    stop: Node | None


class Arithmetic(Node, frozen=True):
    """`left operator right` with one of `+ - * / // % **`."""

    operator: str
    left: Node
    right: Node


class Sign(Node, frozen=True):
    """`-x` or `+x`."""

    operator: str
    of: Node


class Not(Node, frozen=True):
    """`not x`."""

    of: Node


class Compare(Node, frozen=True):
    """A chain of comparisons: `terms[0] operators[0] terms[1] operators[1] …`."""

    operators: tuple[str, ...]
    terms: tuple[Node, ...]


class Logic(Node, frozen=True):
    """`and` or `or` between truths, which stops at the first that decides."""

    operator: str
    terms: tuple[Node, ...]


class Choice(Node, frozen=True):
    """`yes if test else no`; only the chosen side is evaluated."""

    test: Node
    yes: Node
    no: Node


class Call(Node, frozen=True):
    """A function of the library."""

    name: str
    arguments: tuple[Node, ...]


class Get(Node, frozen=True):
    """`get('path', default)`: the default, or null, where nothing is."""

    path: Path
    default: Node


class Has(Node, frozen=True):
    """`has('path')`: whether something is there; null is something."""

    path: Path


class Default(Node, frozen=True):
    """`default(x, y)`: y where x is null."""

    of: Node
    default: Node


ORDER = frozenset({"<", "<=", ">", ">="})
"""The comparisons that need two numbers or two texts."""
