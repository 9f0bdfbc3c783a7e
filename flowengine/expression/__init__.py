"""The safe expression language: `payload.celsius * 9 / 5 + 32`, `payload.t > params.limit` (R7).

A small subset of Python, read by an allow-list (`expression_grammar`) into a tree
(`expression_tree`) whose meaning is written down in `expression_careful` and which
`expression_fast` compiles to one code object of 50-200 ns a message.

What the language leaves open elsewhere, decided here: `and`, `or`, `not` and the test of
`a if c else b` take true and false only; `==` is Python's (so `true == 1` holds, and text never
equals a number); `<` wants two numbers or two texts; `+` adds two numbers or two texts; only
numbers multiply. `get`, `has` and `default` evaluate their default only when it is needed.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from flowengine.errors import ExpressionError
from flowengine.expression.fast import fast_function
from flowengine.expression.grammar import parse
from flowengine.expression.tree import Literal, Node
from flowengine.message import Message
from flowengine.values import show

__all__ = ["Expression", "compile_expression"]


def compile_expression(text: str, *, names: Collection[str] | None = None) -> "Expression":
    """Read an expression; raises SyntaxFault `bad-expression` with the column and the mend.

    Args:
        text: one line of at most 4,000 characters.
        names: the parameters that the flow declares, so that `params.limt` is a finding;
            None where they are not known yet.
    """
    return Expression(text, *parse(text, names))


class Expression:
    """An expression that was read and allowed; two are equal when their text is.

    Attributes:
        text: as it was written.
        paths: the field paths that it reads, in order, so that dead fields can be found.
        params: the parameters that it names.
    """

    __slots__ = ("_tree", "params", "paths", "text")

    def __init__(self, text: str, tree: Node, paths: list[str], params: list[str]) -> None:
        self.text = text
        self.paths = paths
        self.params = params
        self._tree = tree

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def is_constant(self) -> bool:
        """Whether it is a single literal, such as `''` for one state for all (R10)."""
        return isinstance(self._tree, Literal)

    def bind(self, params: Mapping[str, Any], now: Callable[[], float]) -> Callable[[Message], Any]:
        """The function of a message that gives the value; it raises ExpressionError, nothing else.

        The value may be a part of the message's payload itself, never a shared part of `params`.

        Args:
            params: the flow's parameters, read once, here.
            now: the engine's clock, in seconds since 1970.
        """
        return fast_function(self._tree, params, now, _as_it_is, condition=False)

    def condition(
        self, params: Mapping[str, Any], now: Callable[[], float]
    ) -> Callable[[Message], bool]:
        """As `bind`; a value other than true and false is an ExpressionError."""
        text = self.text

        def truth(value: Any) -> bool:
            if value is True or value is False:
                return value
            raise ExpressionError(
                f"{text[:100]} is {show(value)}; a condition must give true or false.",
                mend="Compare it, as in x != 0 or x == 'open'.",
            )

        return fast_function(self._tree, params, now, truth, condition=True)


def _as_it_is(value: Any) -> Any:
    return value
