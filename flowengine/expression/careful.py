"""The meaning of expressions: careful evaluation, to the value or to exactly what is wrong.

This is the truth that the fast code of `expression_fast` must agree with; it runs (in a few
microseconds) whenever the fast code meets a value it did not expect.
"""

from collections.abc import Callable, Mapping
from typing import Any

from flowengine.errors import ExpressionError
from flowengine.expression.tree import (
    ORDER,
    Arithmetic,
    Call,
    Choice,
    Compare,
    Default,
    Field,
    Get,
    Has,
    Item,
    Literal,
    Logic,
    Node,
    Not,
    Now,
    Params,
    Sign,
    Slice,
)
from flowengine.functions import FUNCTIONS
from flowengine.message import Message, copy_tree
from flowengine.moments import ns_to_seconds
from flowengine.path import MISSING, path_text
from flowengine.values import Number, bounded, bounded_text, is_number, power, show


def evaluate(
    tree: Node, message: Message, params: Mapping[str, Any], now: Callable[[], float]
) -> Any:
    """The value of an expression for one message; lists and maps of `params` come as copies.

    Raises ExpressionError, and nothing else whatever the payload holds.
    """
    try:
        return _Evaluation(message, params, now).value(tree)
    except ExpressionError:
        raise
    # values of foreign types raise what they like; MemoryError and RecursionError come by size
    except Exception as err:
        raise ExpressionError(f"{tree.source[:200]} failed: {type(err).__name__}: {err}.") from err


class _Evaluation:
    """One walk over the tree."""

    def __init__(
        self, message: Message, params: Mapping[str, Any], now: Callable[[], float]
    ) -> None:
        self.message = message
        self.params = params
        self.now = now

    def value(self, node: Node) -> Any:
        """The value of one node."""
        return self._meanings[type(node)](self, node)

    def _literal(self, node: Literal) -> Any:
        return copy_tree(node.value)

    def _field(self, node: Field) -> Any:
        path = node.path
        if path.root == "time":
            return ns_to_seconds(self.message.time)
        value = getattr(self.message, path.root)
        for depth, part in enumerate(path.parts):
            value = self._look_up(value, part, path.root, path.parts[: depth + 1], path.text)
        return value

    def _look_up(
        self, value: Any, part: Any, root: str, parts: tuple[str | int, ...], whole: str
    ) -> Any:
        found = _item(value, part)
        if found is MISSING:
            here, above = path_text(root, parts), path_text(root, parts[:-1])
            why = f"{here} is absent"
            if not isinstance(value, dict if isinstance(part, str) else list | dict | str | bytes):
                why += f"; {above} is {show(value)}"
            raise ExpressionError(
                f"{why}.", slug="missing", mend=f"Write get({_quoted(whole)}, default).", path=whole
            )
        return found

    def _params(self, _node: Params) -> Any:
        return copy_tree(dict(self.params))

    def _now(self, _node: Now) -> Any:
        return self.now()

    def _item(self, node: Item) -> Any:
        of, index = self.value(node.of), self.value(node.index)
        if type(index) is not int and not isinstance(index, str):
            raise ExpressionError(
                f"{node.index.source} is {show(index)}; an index is a whole number or text."
            )
        found = _item(of, index)
        if found is MISSING:
            raise ExpressionError(
                f"{node.of.source} has no {show(index)}.", slug="missing", path=_path(node.of)
            )
        return found

    def _slice(self, node: Slice) -> Any:
        of = self.value(node.of)
        ends = [None if end is None else self.value(end) for end in (node.start, node.stop)]
        if not isinstance(of, list | str | bytes):
            raise ExpressionError(
                f"{node.of.source} is {show(of)}, not text or a list.", path=_path(node.of)
            )
        for end in ends:
            if end is not None and type(end) is not int:
                raise ExpressionError(
                    f"the ends of {node.source} are whole numbers, not {show(end)}."
                )
        return of[slice(*ends)]

    def _arithmetic(self, node: Arithmetic) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if node.operator == "+" and isinstance(left, str) and isinstance(right, str):
            return bounded_text(left + right)
        if node.operator == "+" and (isinstance(left, str) or isinstance(right, str)):
            other, value = (node.right, right) if isinstance(left, str) else (node.left, left)
            raise ExpressionError(
                f"{other.source} is {show(value)}, not text; + adds two numbers or two texts.",
                slug="not-text" if is_number(value) else "not-a-number",
                mend=f"Write text({other.source}), or number(...) to add.",
                path=_path(other),
            )
        return self._calculate(node, self._number(node.left, left), self._number(node.right, right))

    def _calculate(  # noqa: PLR0911  # one for each operator
        self, node: Arithmetic, left: Number, right: Number
    ) -> Any:
        try:
            match node.operator:
                case "+":
                    return bounded(left + right)
                case "-":
                    return bounded(left - right)
                case "*":
                    return bounded(left * right)
                case "/":
                    return left / right
                case "//":
                    return bounded(left // right)
                case "%":
                    return bounded(left % right)
            return power(left, right)
        except ZeroDivisionError as err:
            raise ExpressionError(
                f"{node.source[:100]} divides by zero.",
                slug="divide-by-zero",
                mend=f"Write ... if {node.right.source} != 0 else ...",
                path=_path(node.right),
            ) from err
        except OverflowError as err:
            raise ExpressionError(f"{node.source[:100]} is too large.", slug="too-large") from err

    def _number(self, node: Node, value: Any) -> Number:
        """A number for arithmetic; true, false, null and text are none (R7)."""
        if is_number(value):
            return bounded(value)  # type: ignore[no-any-return]  # a number stays one
        if isinstance(node, Literal):
            raise ExpressionError(f"{node.source} is not a number.", slug="not-a-number")
        mend = "Give a number."
        if isinstance(value, str | bool):
            mend = f"Write number({node.source})."
        elif value is None:
            mend = f"Write default({node.source}, 0)."
        raise ExpressionError(
            f"{node.source} is {show(value)}, not a number.",
            slug="not-a-number",
            mend=mend,
            path=_path(node),
        )

    def _sign(self, node: Sign) -> Any:
        value = self._number(node.of, self.value(node.of))
        return -value if node.operator == "-" else value

    def _truth(self, node: Node) -> bool:
        """True or false of a condition; numbers, texts and null are none: a typo does not pass."""
        value = self.value(node)
        if value is True or value is False:
            return value
        raise ExpressionError(
            f"{node.source[:100]} is {show(value)}; a condition must give true or false.",
            mend="Compare it, as in x != 0 or x == 'open'.",
            path=_path(node),
        )

    def _not(self, node: Not) -> Any:
        return not self._truth(node.of)

    def _logic(self, node: Logic) -> Any:
        decides = node.operator == "or"
        for term in node.terms:
            if self._truth(term) is decides:
                return decides
        return not decides

    def _compare(self, node: Compare) -> Any:
        left_node = node.terms[0]
        left = self.value(left_node)
        for operator, right_node in zip(node.operators, node.terms[1:], strict=True):
            right = self.value(right_node)
            if operator in ORDER:
                _check_order(operator, left_node, left, right_node, right)
            if not _holds(operator, left, right, right_node):
                return False
            left_node, left = right_node, right
        return True

    def _choice(self, node: Choice) -> Any:
        return self.value(node.yes if self._truth(node.test) else node.no)

    def _call(self, node: Call) -> Any:
        arguments = [self.value(argument) for argument in node.arguments]
        try:
            return FUNCTIONS[node.name].call(*arguments)
        except ExpressionError as err:
            if err.path is None and node.arguments:
                err.path = _path(node.arguments[0])
            raise

    def _get(self, node: Get) -> Any:
        found = node.path.get_or(self.message, MISSING)
        return self.value(node.default) if found is MISSING else found

    def _has(self, node: Has) -> Any:
        return node.path.get_or(self.message, MISSING) is not MISSING

    def _default(self, node: Default) -> Any:
        value = self.value(node.of)
        return self.value(node.default) if value is None else value

    _meanings: dict[type[Node], Callable[[Any, Any], Any]] = {  # noqa: RUF012  # a constant table
        Literal: _literal,
        Field: _field,
        Params: _params,
        Now: _now,
        Item: _item,
        Slice: _slice,
        Arithmetic: _arithmetic,
        Sign: _sign,
        Not: _not,
        Logic: _logic,
        Compare: _compare,
        Choice: _choice,
        Call: _call,
        Get: _get,
        Has: _has,
        Default: _default,
    }


def _item(of: Any, index: Any) -> Any:
    """`of[index]` of a map, list, text or bytes, or MISSING; never an attribute."""
    try:
        if isinstance(of, dict) or (isinstance(of, list | str | bytes) and type(index) is int):
            return of[index]
    except (KeyError, IndexError):
        pass
    return MISSING


def _check_order(operator: str, left_node: Node, left: Any, right_node: Node, right: Any) -> None:
    if (is_number(left) and is_number(right)) or (isinstance(left, str) and isinstance(right, str)):
        return
    at_fault, value = (left_node, left) if not is_number(left) else (right_node, right)
    raise ExpressionError(
        f"{left_node.source[:100]} is {show(left)} and {right_node.source[:100]} is {show(right)}; "
        f"{operator} compares two numbers or two texts.",
        slug="not-a-number",
        mend=f"Write number({at_fault.source})." if isinstance(value, str) else "",
        path=_path(at_fault),
    )


def _holds(operator: str, left: Any, right: Any, right_node: Node) -> bool:
    if operator in {"in", "not in"}:
        try:
            return (left in right) is (operator == "in")
        except TypeError as err:
            raise ExpressionError(
                f"{right_node.source[:100]} is {show(right)}; {show(left)} cannot be in it.",
                path=_path(right_node),
            ) from err
    return bool(_COMPARISONS[operator](left, right))


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "is": lambda a, _none: a is None,
    "is not": lambda a, _none: a is not None,
}


def _path(node: Node) -> str | None:
    """The path to name in an error: the field itself, or the first one that a piece reads."""
    if isinstance(node, Field | Get | Has):
        return node.path.text
    if isinstance(node, Item | Slice | Sign | Not | Default):
        return _path(node.of)
    return None


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
