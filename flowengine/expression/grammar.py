"""From the text of an expression to its tree: the allow-list of the language (R7, S-21).

Python's own parser reads the text; only the constructs named here come through. Nothing is run,
and whatever is not understood is refused with a SyntaxFault `bad-expression`.
"""

import ast
import keyword
import re
import warnings
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Any

from flowengine.errors import ExpressionError, SyntaxFault
from flowengine.expression.tree import (
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
from flowengine.functions import CONSTANTS, FORMS, FUNCTIONS
from flowengine.functions.text import compiled
from flowengine.path import ROOTS, Path, compile_path
from flowengine.values import MAX_BITS

MAX_CHARACTERS = 4000
MAX_DEPTH = 32

_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
}
_NAMES = (*ROOTS, "params", "now")
_REFUSED: dict[type[ast.AST], str] = {
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a generator",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star",
    ast.Set: "a set",
    ast.Tuple: "a tuple",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
}
# what users of JavaScript type
_FOREIGN = {"&&": "and", "||": "or", "===": "==", "!": "not", "?": "yes if test else no"}
# spellings that Python's parser warns of, and only those need the (global) filter changed
_WARNS = re.compile(r"\\|[0-9][A-Za-z_]")
_DASHED = re.compile(r"([\w.\[\]]+)\.(\w+-)$")
_DASHES = re.compile(r"\w+(?:-\w+)*")
_WORD_AFTER_DOT = re.compile(r"\.\s*(\w+)")


def parse(text: str, names: Collection[str] | None = None) -> tuple[Node, list[str], list[str]]:
    """Read an expression.

    Args:
        text: one line of at most 4,000 characters.
        names: the parameters that the flow declares; None where they are not known.

    Returns:
        The tree, the texts of the field paths that it reads, and the parameters that it names.
    """
    if len(text) > MAX_CHARACTERS:
        raise _fault(f"an expression of {len(text)} characters: the limit is 4,000.")
    if not text.strip():
        raise _fault("an empty expression.", "Write '' for an empty text.")
    start = len(text) - len(text.lstrip(" \t"))
    source = text.strip(" \t\r\n")
    try:
        tree = _python_tree(source)
    except SyntaxError as err:
        raise _unreadable(source, err, start) from err
    except (ValueError, MemoryError, RecursionError, OverflowError) as err:
        raise _fault("the expression cannot be read.", "Make it shorter and less nested.") from err
    grammar = _Grammar(source, start, names)
    node = grammar.node(tree, 1)
    return node, list(dict.fromkeys(grammar.paths)), list(dict.fromkeys(grammar.params))


def _python_tree(source: str) -> ast.expr:
    """Python's tree of an expression; its warnings of odd escapes are not for users of flows."""
    if not _WARNS.search(source):
        return ast.parse(source, mode="eval").body
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(source, mode="eval").body


class _Grammar:
    """Turns Python's tree into ours, piece by piece, and collects what it reads."""

    def __init__(self, source: str, start: int, names: Collection[str] | None) -> None:
        self.source = source
        self.encoded = source.encode()
        self.start = start
        self.names = names
        self.paths: list[str] = []
        self.params: list[str] = []

    def node(self, tree: ast.AST, depth: int) -> Node:
        """One piece and all below it."""
        if depth > MAX_DEPTH:
            raise self._fault(
                tree, "the expression is nested more than 32 deep", "Use two computes."
            )
        make = self._makers.get(type(tree))
        if make is None:
            what = _REFUSED.get(type(tree), f"{type(tree).__name__.lower()}")
            raise self._fault(tree, f"{what} is not part of the language")
        return make(self, tree, depth)

    def _constant(self, tree: ast.Constant, _depth: int) -> Node:
        return Literal(self._text(tree), self._value(tree))

    def _value(self, tree: ast.AST) -> Any:
        """The value of a literal; lists and maps hold literals only."""
        match tree:
            case ast.Constant(value=None | bool() | str() as value):
                return value
            case ast.Constant(value=int() as value):
                if value.bit_length() > MAX_BITS:
                    raise self._fault(tree, "an integer of more than 256 bits")
                return value
            case ast.Constant(value=float() as value):
                if value == float("inf"):
                    raise self._fault(tree, "a number too large for a float")
                return value
            case ast.Constant():
                raise self._fault(
                    tree, f"{self._text(tree)} is no number, text, true, false or null"
                )
            case ast.Name() if tree.id in CONSTANTS:
                return CONSTANTS[tree.id]
            case ast.UnaryOp(
                op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int() | float())
            ):
                value = self._value(tree.operand)
                if not isinstance(value, bool):
                    return -value if isinstance(tree.op, ast.USub) else value
        raise self._fault(
            tree, f"{self._text(tree)} is no literal", "A list or map here holds literals only."
        )

    def _list(self, tree: ast.List, depth: int) -> Node:
        return Literal(self._text(tree), self._list_value(tree, depth))

    def _list_value(self, tree: ast.AST, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self._fault(tree, "the expression is nested more than 32 deep")
        if isinstance(tree, ast.List):
            return [self._list_value(item, depth + 1) for item in tree.elts]
        if not isinstance(tree, ast.Dict):
            return self._value(tree)
        made: dict[str, Any] = {}
        for key, value in zip(tree.keys, tree.values, strict=True):
            if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
                raise self._fault(tree, "a key of a map is text in quotes")
            made[key.value] = self._list_value(value, depth + 1)
        return made

    def _name(self, tree: ast.Name, _depth: int) -> Node:
        text, name = self._text(tree), tree.id
        if name in CONSTANTS:
            return Literal(text, CONSTANTS[name])
        if name in ROOTS:
            self.paths.append(name)
            return Field(text, Path(name))
        if name == "params":
            return Params(text)
        if name == "now":
            return Now(text)
        raise self._unknown_name(tree, name)

    def _attribute(self, tree: ast.Attribute, depth: int) -> Node:
        name = self._spelled(tree)
        if name.startswith("__") and name.endswith("__"):
            raise self._fault(
                tree, f'"{name}" is no field', f"Write ['{name}'] for a key of that name."
            )
        return self._step(tree, self.node(tree.value, depth + 1), Literal(name, name))

    def _subscript(self, tree: ast.Subscript, depth: int) -> Node:
        of = self.node(tree.value, depth + 1)
        if not isinstance(tree.slice, ast.Slice):
            return self._step(tree, of, self.node(tree.slice, depth + 1))
        if tree.slice.step is not None:
            raise self._fault(tree, "a slice has no step here", "Write x[start:stop].")
        ends = [
            None if end is None else self.node(end, depth + 1)
            for end in (tree.slice.lower, tree.slice.upper)
        ]
        return Slice(self._text(tree), of, *ends)

    def _step(self, tree: ast.expr, of: Node, index: Node) -> Node:
        """One step further: a longer field path where both are fixed, else a look-up."""
        fixed = _fixed_index(index)
        if isinstance(of, Field) and fixed is not None:
            if of.path.root not in {"payload", "meta"} and isinstance(fixed, str):
                what = "a number" if of.path.root == "time" else "text"
                raise self._fault(tree, f"{of.path.root} is {what} and has no field {fixed!r}")
            if of.path.root in {"payload", "meta"}:
                # the longer path takes the place of the shorter one, which was noted last
                if self.paths and self.paths[-1] == of.path.text:
                    self.paths.pop()
                path = Path(of.path.root, (*of.path.parts, fixed))
                self.paths.append(path.text)
                return Field(self._text(tree), path)
        if isinstance(of, Params) and isinstance(fixed, str):
            self.params.append(fixed)
            if self.names is not None and fixed not in self.names:
                raise self._fault(
                    tree, f'no parameter "{fixed}"', _near(fixed, self.names, "params.")
                )
        return Item(self._text(tree), of, index)

    def _binary(self, tree: ast.BinOp, depth: int) -> Node:
        operator = _ARITHMETIC.get(type(tree.op))
        if operator is None:
            raise self._fault(
                tree, "bits are not reached by & | ^ << >> @", "Write bits(n, from, count)."
            )
        left, right = self.node(tree.left, depth + 1), self.node(tree.right, depth + 1)
        return Arithmetic(self._text(tree), operator, left, right)

    def _unary(self, tree: ast.UnaryOp, depth: int) -> Node:
        if isinstance(tree.op, ast.USub | ast.UAdd):
            number = tree.operand
            if isinstance(number, ast.Constant) and type(number.value) in {int, float}:
                return Literal(self._text(tree), self._value(tree))
            sign = "-" if isinstance(tree.op, ast.USub) else "+"
            return Sign(self._text(tree), sign, self.node(tree.operand, depth + 1))
        if isinstance(tree.op, ast.Not):
            return Not(self._text(tree), self.node(tree.operand, depth + 1))
        raise self._fault(tree, "~ is not part of the language")

    def _compare(self, tree: ast.Compare, depth: int) -> Node:
        terms = tuple(self.node(term, depth + 1) for term in (tree.left, *tree.comparators))
        operators = tuple(_COMPARE[type(operator)] for operator in tree.ops)
        for operator, term in zip(operators, terms[1:], strict=True):
            if operator.startswith("is") and not (isinstance(term, Literal) and term.value is None):
                raise self._fault(tree, f'"{operator}" compares with None only', "Write == or !=.")
        return Compare(self._text(tree), operators, terms)

    def _logic(self, tree: ast.BoolOp, depth: int) -> Node:
        operator = "and" if isinstance(tree.op, ast.And) else "or"
        terms = tuple(self.node(term, depth + 1) for term in tree.values)
        return Logic(self._text(tree), operator, terms)

    def _choice(self, tree: ast.IfExp, depth: int) -> Node:
        test, yes, no = (self.node(part, depth + 1) for part in (tree.test, tree.body, tree.orelse))
        return Choice(self._text(tree), test, yes, no)

    def _call(self, tree: ast.Call, depth: int) -> Node:
        name = self._called(tree)
        if tree.keywords:
            raise self._fault(tree, f"{name}() takes its arguments by position", self._usage(name))
        count = len(tree.args)
        if name in FORMS:
            least, most = {"get": (1, 2), "has": (1, 1), "default": (2, 2)}[name]
        else:
            least, most = FUNCTIONS[name].least, FUNCTIONS[name].most or count
        if not least <= count <= max(most, least):
            raise self._fault(tree, f"{name}() does not take {count} arguments", self._usage(name))
        if name in {"get", "has"}:
            path = self._path(tree, name)
            if name == "has":
                return Has(self._text(tree), path)
            rest = [self.node(part, depth + 1) for part in tree.args[1:]]
            return Get(self._text(tree), path, rest[0] if rest else Literal("null", None))
        arguments = tuple(self.node(part, depth + 1) for part in tree.args)
        if name == "default":
            return Default(self._text(tree), *arguments)
        pattern = arguments[1] if name in {"match", "sub"} else None
        if isinstance(pattern, Literal) and isinstance(pattern.value, str):
            try:
                compiled(pattern.value)
            except ExpressionError as err:
                raise self._fault(tree.args[1], err.what.rstrip("."), err.mend) from err
        return Call(self._text(tree), name, arguments)

    def _called(self, tree: ast.Call) -> str:
        """The name of the function that is called, if there is one of that name."""
        if isinstance(tree.func, ast.Attribute):
            name, of = tree.func.attr, self._text(tree.func.value)
            known = name in FUNCTIONS or name in FORMS
            mend = (
                f"Write {name}({of})."
                if known
                else "Functions take their value in brackets: len(x)."
            )
            raise self._fault(tree, f'".{name}()" is a method, and there are none', mend)
        if not isinstance(tree.func, ast.Name):
            raise self._fault(tree, "only functions can be called")
        name = tree.func.id
        if name in FUNCTIONS or name in FORMS:
            return name
        if name in _NAMES or name in CONSTANTS:
            raise self._fault(tree, f"{name} is no function", f"Write {name}.")
        raise self._fault(tree, f'no function "{name}"', _near(name, (*FUNCTIONS, *FORMS)))

    def _path(self, tree: ast.Call, name: str) -> Path:
        first = tree.args[0]
        if not isinstance(first, ast.Constant) or not isinstance(first.value, str):
            raise self._fault(first, f"{name}() takes a path as text in quotes", self._usage(name))
        try:
            path = compile_path(first.value)
        except SyntaxFault as err:
            raise self._fault(first, err.what.rstrip("."), err.mend) from err
        self.paths.append(path.text)
        return path

    def _usage(self, name: str) -> str:
        usage = FORMS.get(name) or FUNCTIONS[name].usage
        return f"It is written {usage}."

    def _unknown_name(self, tree: ast.Name, name: str) -> SyntaxFault:
        if self.names is not None and name in self.names:
            return self._fault(tree, f'no name "{name}"', f"Write params.{name}.")
        if name in FUNCTIONS or name in FORMS:
            return self._fault(tree, f"{name} is a function", self._usage(name))
        dashed = _DASHED.search(self.source[: self._char(tree)])
        if dashed:
            rest = _DASHES.match(self.source, self._char(tree))
            key = f"{dashed[2]}{rest[0] if rest else name}"
            return self._fault(
                tree, f'no name "{name}"', f"Write {dashed[1]}['{key}'] for a key with a dash."
            )
        near = get_close_matches(name, (*_NAMES, *CONSTANTS), n=1, cutoff=0.75)
        return self._fault(
            tree, f'no name "{name}"', f"Did you mean {near[0] if near else 'payload.' + name}?"
        )

    def _spelled(self, tree: ast.Attribute) -> str:
        """The name as it was written: Python's parser folds `µ` and ligatures to other letters."""
        if tree.attr.isascii():
            return tree.attr
        end = tree.value.end_col_offset or 0
        found = _WORD_AFTER_DOT.search(self.encoded[end : tree.end_col_offset].decode())
        return found[1] if found else tree.attr

    def _text(self, tree: ast.AST) -> str:
        start, end = getattr(tree, "col_offset", 0), getattr(tree, "end_col_offset", None)
        return self.encoded[start:end].decode(errors="replace")

    def _char(self, tree: ast.AST) -> int:
        return len(self.encoded[: getattr(tree, "col_offset", 0)].decode(errors="replace"))

    def _fault(self, tree: ast.AST, what: str, mend: str = "") -> SyntaxFault:
        return _fault(f"{what} (column {self._char(tree) + self.start + 1}).", mend)

    _makers: dict[type[ast.AST], Callable[[Any, Any, int], Node]] = {  # noqa: RUF012  # a constant table
        ast.Constant: _constant,
        ast.List: _list,
        ast.Dict: _list,
        ast.Name: _name,
        ast.Attribute: _attribute,
        ast.Subscript: _subscript,
        ast.BinOp: _binary,
        ast.UnaryOp: _unary,
        ast.Compare: _compare,
        ast.BoolOp: _logic,
        ast.IfExp: _choice,
        ast.Call: _call,
    }


def _fixed_index(index: Node) -> str | int | None:
    """The step of a path, where the index is a literal text or integer."""
    if isinstance(index, Literal) and (isinstance(index.value, str) or type(index.value) is int):
        return index.value
    return None


def _near(name: str, known: Collection[str], prefix: str = "") -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return f"Did you mean {prefix}{near[0]}?"
    return f"Known are {', '.join(sorted(known))}." if known else ""


def _fault(what: str, mend: str = "") -> SyntaxFault:
    return SyntaxFault("bad-expression", what, mend)


def _unreadable(source: str, err: SyntaxError, start: int) -> SyntaxFault:
    """What Python's parser said, with the mends for what users of other tools type."""
    column = min(max(err.offset or 1, 1), len(source) + 1)
    mend = ""
    for found in _WORD_AFTER_DOT.finditer(source):
        if keyword.iskeyword(found[1]) or found[1][0].isdigit():
            column, mend = found.start() + 1, f"Write ['{found[1]}'] for a key of that name."
            break
    if not mend:
        for sign, word in _FOREIGN.items():
            if sign in source.replace("!==", "===").replace("!=", ""):
                mend = f'Write "{word}" for "{sign}".'
                break
    if not mend and re.search(r"(?<![=!<>])=(?!=)", source):
        mend = 'Write "==" to compare.'
    if "\n" in source:
        mend = "Write it on one line."
    if not mend:
        mend = "Is something missing there: a value, a sign, a bracket?"
    return _fault(f"the expression cannot be read at column {column + start}: {err.msg}.", mend)
