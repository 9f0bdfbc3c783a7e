"""The fast code of expressions: one code object, 50-200 ns where the values are as usual.

The tree becomes a Python syntax tree made of look-ups, arithmetic and type checks, compiled to a
function of the message that has no builtins. It is optimistic: a number is expected where the
language needs one, each such place carries the cheapest check that holds, and whatever else is met
(by a check or by an exception) is evaluated again by `expression_careful`, which gives the right
value or the exact error. A wrong value cannot come out, only a slower right one.

Integers are checked where they come in (64 bits) and then only where the operations that follow
could pass 256 bits, which is known from the tree.

The code is written at the first message: 0.15 ms then, not at the start of a flow with thousands of
expressions. The function stays the same object and changes its code, so a later call costs nothing.
"""

import ast
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any

from flowengine.expression.careful import evaluate
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
from flowengine.path import MISSING
from flowengine.values import MAX_BITS, MAX_TEXT, power

ANY, FLOAT, NUMBER, TEXT, TRUTH, LIST = "any", "float", "number", "text", "truth", "list"

_FIELD_BITS = 64
_QUICK_POWER = 16

_OPERATORS: dict[str, Callable[[], ast.operator]] = {
    "+": ast.Add,
    "-": ast.Sub,
    "*": ast.Mult,
    "/": ast.Div,
    "//": ast.FloorDiv,
    "%": ast.Mod,
    "**": ast.Pow,
}
_COMPARISONS: dict[str, Callable[[], ast.cmpop]] = {
    "==": ast.Eq,
    "!=": ast.NotEq,
    "<": ast.Lt,
    "<=": ast.LtE,
    ">": ast.Gt,
    ">=": ast.GtE,
    "in": ast.In,
    "not in": ast.NotIn,
    "is": ast.Is,
    "is not": ast.IsNot,
}


class _UnexpectedError(Exception):
    """A value that the fast code did not expect."""


def _unexpected() -> Any:
    raise _UnexpectedError


def fast_function(
    tree: Node,
    params: Mapping[str, Any],
    now: Callable[[], float],
    then: Callable[[Any], Any],
    condition: bool,
) -> Callable[[Message], Any]:
    """A function of the message for `tree`.

    Args:
        tree: what to evaluate.
        params: the flow's parameters; their values go into the code.
        now: the engine's clock, in seconds.
        then: what the careful evaluation's value goes through (it may raise).
        condition: whether a value other than true and false is unexpected.
    """
    params = dict(params)

    def careful(message: Message) -> Any:
        return then(evaluate(tree, message, params, now))

    def first(message: Message) -> Any:
        writer = _Writer(params, now, careful)
        code = writer.code(tree, condition)
        made.__globals__.update(writer.globals)
        made.__globals__.pop("first", None)
        made.__code__ = code
        return made(message)

    # made from its code object, so that nothing is ever run by exec or eval (S-21, S-26)
    made = FunctionType(_BEGIN, {"__builtins__": {}, "first": first})
    return made


def _code_of(source: str | ast.Module) -> CodeType:
    """The code of the one function in `source`."""
    return next(
        part
        for part in compile(source, "<expression>", "exec", dont_inherit=True).co_consts
        if isinstance(part, CodeType)
    )


_BEGIN = _code_of("def evaluate(message): return first(message)")
"""What every expression is before its first message."""


class _Code:
    """A piece of written code, the kind of its value, and the most bits of an integer in it."""

    __slots__ = ("bits", "kind", "tree")

    def __init__(self, tree: ast.expr, kind: str = ANY, bits: int = 0) -> None:
        self.tree = tree
        self.kind = kind
        self.bits = bits


class _Writer:
    """Writes the code of one expression."""

    def __init__(
        self,
        params: dict[str, Any],
        now: Callable[[], float],
        careful: Callable[[Message], Any],
    ) -> None:
        self.params = params
        self.shares = False
        self.locals = 0
        self.globals: dict[str, Any] = {
            "__builtins__": {},
            "Exception": Exception,
            "type": type,
            "isinstance": isinstance,
            "len": len,
            "float": float,
            "int": int,
            "str": str,
            "dict": dict,
            "unexpected": _unexpected,
            "copy": copy_tree,
            "power": power,
            "now": now,
            "careful": careful,
            "MISSING": MISSING,
        }

    def code(self, tree: Node, condition: bool) -> CodeType:
        """Return the code's value, and whatever exception it meets, the careful evaluation's."""
        code = self.write(tree)
        value = code.tree
        if condition:
            value = self.truth(code)
        elif self.shares and code.kind in {ANY, LIST}:
            value = _call(_name("copy"), value)
        body: list[ast.stmt] = [
            ast.Try(
                body=[ast.Return(value)],
                handlers=[ast.ExceptHandler(_name("Exception"), None, [ast.Pass()])],
                orelse=[],
                finalbody=[],
            ),
            ast.Return(_call(_name("careful"), _name("message"))),
        ]
        # the frame is parsed: its nodes have more fields from one Python to the next
        module = ast.parse("def evaluate(message): pass")
        module.body[0].body = body  # type: ignore[attr-defined]  # the def of the line above
        return _code_of(ast.fix_missing_locations(module))

    def write(self, node: Node) -> _Code:
        """The code of one node."""
        return self._writers[type(node)](self, node)

    # -- checks ---------------------------------------------------------------------------------

    def number(self, code: _Code, small: bool = True) -> _Code:
        """The code with the check that it gives a number, if `small` of at most 64 bits."""
        if code.kind in {FLOAT, NUMBER}:
            return code
        if code.kind != ANY:
            return _Code(_call(_name("unexpected")), NUMBER, 1)
        keep, again = self._keep(code.tree)
        whole: ast.expr = _is_type(again(), "int")
        if small:
            whole = _both(whole, _within(again(), _FIELD_BITS))
        check = ast.BoolOp(ast.Or(), [_is_type(keep, "float"), whole])
        return _Code(_if(check, again()), NUMBER, _FIELD_BITS if small else MAX_BITS)

    def within(self, code: _Code) -> _Code:
        """The code with a check of 256 bits, where its integers could have more."""
        if code.kind == FLOAT or code.bits <= MAX_BITS:
            return code
        keep, again = self._keep(code.tree)
        check = ast.BoolOp(ast.Or(), [_is_type(keep, "float"), _within(again(), MAX_BITS)])
        return _Code(_if(check, again()), code.kind, MAX_BITS)

    def text(self, code: _Code) -> ast.expr:
        """The code with the check that it gives text."""
        if code.kind == TEXT:
            return code.tree
        if code.kind != ANY:
            return _call(_name("unexpected"))
        keep, again = self._keep(code.tree)
        return _if(_is_type(keep, "str"), again())

    def truth(self, code: _Code) -> ast.expr:
        """The code with the check that it gives true or false."""
        if code.kind == TRUTH:
            return code.tree
        keep, again = self._keep(code.tree)
        true = ast.Compare(keep, [ast.Is()], [ast.Constant(True)])
        false = ast.Compare(again(), [ast.Is()], [ast.Constant(False)])
        return _if(ast.BoolOp(ast.Or(), [true, false]), again())

    def index(self, code: _Code, text: bool) -> ast.expr:
        """The code with the check that it gives an integer, or where allowed text."""
        if isinstance(code.tree, ast.Constant) and type(code.tree.value) is int:
            return code.tree
        if text and code.kind == TEXT:
            return code.tree
        keep, again = self._keep(code.tree)
        check: ast.expr = _is_type(keep, "int")
        if text:
            check = ast.BoolOp(ast.Or(), [check, _is_type(again(), "str")])
        return _if(check, again())

    def _keep(self, tree: ast.expr) -> tuple[ast.expr, Callable[[], ast.expr]]:
        """The value kept in a new local, and a maker of further readings of it."""
        self.locals += 1
        name = f"v{self.locals}"
        return ast.NamedExpr(ast.Name(name, ast.Store()), tree), lambda: _name(name)

    def _quiet(self, tree: ast.expr) -> ast.expr:
        """What may be a literal goes by way of a local: Python warns of `5[0]` and `5 is None`."""
        if isinstance(tree, ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.NamedExpr):
            return tree
        return self._keep(tree)[0]

    def _global(self, value: Any) -> ast.expr:
        name = f"g{len(self.globals)}"
        self.globals[name] = value
        return _name(name)

    # -- one writer for each kind of node -------------------------------------------------------

    def _literal(self, node: Literal) -> _Code:
        return self._value(node.value)

    def _value(self, value: Any) -> _Code:
        tree = _constant(value)
        if isinstance(value, bool):
            return _Code(tree, TRUTH)
        if isinstance(value, int):
            return _Code(tree, NUMBER, value.bit_length())
        kinds = {float: FLOAT, str: TEXT, list: LIST}
        return _Code(tree, kinds.get(type(value), ANY))

    def _field(self, node: Field) -> _Code:
        root = ast.Attribute(_name("message"), node.path.root, ast.Load())
        if node.path.root == "time":
            return _Code(ast.BinOp(root, ast.Div(), ast.Constant(1_000_000_000)), FLOAT)
        if node.path.root in {"topic", "key"}:
            return _Code(root, TEXT)
        tree: ast.expr = root
        for part in node.path.parts:
            tree = ast.Subscript(tree, _constant(part), ast.Load())
        return _Code(tree)

    def _now(self, _node: Now) -> _Code:
        return _Code(_call(_name("now")))

    def _params(self, _node: Params) -> _Code:
        self.shares = True
        return _Code(self._global(self.params))

    def _item(self, node: Item) -> _Code:
        known = _parameter(node, self.params)
        if type(known) is int and known.bit_length() > MAX_BITS:
            return _Code(_call(_name("unexpected")))
        if known is None or isinstance(known, bool | int | float | str):
            return self._value(known)
        if known is not MISSING:
            self.shares = True
            return _Code(self._global(known))
        of, index = self.write(node.of), self.index(self.write(node.index), text=True)
        tree = ast.Subscript(self._quiet(of.tree), index, ast.Load())
        return _Code(tree, TEXT if of.kind == TEXT else ANY)

    def _slice(self, node: Slice) -> _Code:
        of = self.write(node.of)
        ends = [
            None if end is None else self.index(self.write(end), text=False)
            for end in (node.start, node.stop)
        ]
        kind = of.kind if of.kind in {TEXT, LIST} else ANY
        tree = ast.Subscript(self._quiet(of.tree), ast.Slice(*ends), ast.Load())
        return _Code(tree, kind)

    def _arithmetic(self, node: Arithmetic) -> _Code:
        left, right = self.write(node.left), self.write(node.right)
        if node.operator == "+" and TEXT in {left.kind, right.kind}:
            return self._concatenation(left, right)
        left, right = self.number(left), self.number(right)
        kind = FLOAT if FLOAT in {left.kind, right.kind} else NUMBER
        bits = max(left.bits, right.bits)
        if node.operator == "**":
            exponent = right.tree.value if isinstance(right.tree, ast.Constant) else None
            if type(exponent) is not int or not 0 <= exponent <= _QUICK_POWER:
                return _Code(_call(_name("power"), left.tree, right.tree), NUMBER, MAX_BITS)
            kind, bits = left.kind, left.bits * exponent + 1
        elif node.operator == "/":
            kind = FLOAT
        elif node.operator == "*":
            bits = left.bits + right.bits
        elif node.operator in "+-":
            bits += 1
        tree = ast.BinOp(left.tree, _OPERATORS[node.operator](), right.tree)
        return self.within(_Code(tree, kind, bits))

    def _concatenation(self, left: _Code, right: _Code) -> _Code:
        keep, again = self._keep(ast.BinOp(self.text(left), ast.Add(), self.text(right)))
        # a quarter of the bound in characters is within it in UTF-8, whatever they are
        short = ast.Compare(_call(_name("len"), keep), [ast.LtE()], [ast.Constant(MAX_TEXT // 4)])
        return _Code(_if(short, again()), TEXT)

    def _sign(self, node: Sign) -> _Code:
        code = self.number(self.write(node.of))
        sign = ast.USub() if node.operator == "-" else ast.UAdd()
        return _Code(ast.UnaryOp(sign, code.tree), code.kind, code.bits)

    def _not(self, node: Not) -> _Code:
        return _Code(ast.UnaryOp(ast.Not(), self.truth(self.write(node.of))), TRUTH)

    def _logic(self, node: Logic) -> _Code:
        operator = ast.And() if node.operator == "and" else ast.Or()
        return _Code(
            ast.BoolOp(operator, [self.truth(self.write(term)) for term in node.terms]), TRUTH
        )

    def _compare(self, node: Compare) -> _Code:
        codes = [self.write(term) for term in node.terms]
        trees = [code.tree for code in codes]
        for at, operator in enumerate(node.operators):
            if operator.startswith("is"):
                trees[at] = self._quiet(trees[at])
            if operator not in ORDER:
                continue
            as_text = TEXT in {codes[at].kind, codes[at + 1].kind}
            for side in (at, at + 1):
                # checked once: a term in the middle of a chain takes part in two comparisons
                checked = (
                    self.text(codes[side]) if as_text else self.number(codes[side], False).tree
                )
                codes[side] = _Code(checked, TEXT if as_text else NUMBER, MAX_BITS)
                trees[side] = checked
        operators = [_COMPARISONS[operator]() for operator in node.operators]
        return _Code(ast.Compare(trees[0], operators, trees[1:]), TRUTH)

    def _choice(self, node: Choice) -> _Code:
        test = self.truth(self.write(node.test))
        yes, no = self.write(node.yes), self.write(node.no)
        return _either(test, yes, no)

    def _call(self, node: Call) -> _Code:
        function = FUNCTIONS[node.name]
        arguments = [self.write(argument) for argument in node.arguments]
        quick = function.quick is not None and (function.most is not None or len(arguments) > 1)
        if quick and all(code.kind in {ANY, FLOAT, NUMBER} for code in arguments):
            arguments = [self.number(code) for code in arguments]
            tree = _call(self._global(function.quick), *(code.tree for code in arguments))
            if function.gives == TRUTH:
                return _Code(tree, TRUTH)
            if node.name in {"abs", "min", "max"}:
                return _Code(tree, NUMBER, max(code.bits for code in arguments))
            return _Code(tree, FLOAT)
        if node.name == "round" and len(arguments) == 2:
            quick_round = self._round(*arguments)
            if quick_round is not None:
                return quick_round
        tree = _call(self._global(function.call), *(code.tree for code in arguments))
        return _Code(tree, function.gives, MAX_BITS)

    def _round(self, value: _Code, digits: _Code) -> _Code | None:
        n = digits.tree.value if isinstance(digits.tree, ast.Constant) else None
        if type(n) is not int or not 0 <= n <= 15 or value.kind not in {ANY, FLOAT, NUMBER}:
            return None
        value = self.number(value)
        return _Code(_call(self._global(round), value.tree, digits.tree), value.kind, value.bits)

    def _get(self, node: Get) -> _Code:
        default = self.write(node.default)
        found = self._present(node)
        if found is not None:
            return _either(found[0], _Code(found[1]), default)
        # an index among the steps: the path's own look-up is as fast as checking here
        keep, again = self._keep(
            _call(self._global(node.path.get_or), _name("message"), _name("MISSING"))
        )
        there = ast.Compare(keep, [ast.IsNot()], [_name("MISSING")])
        return _either(there, _Code(again()), default)

    def _has(self, node: Has) -> _Code:
        found = self._present(node)
        if found is not None:
            return _Code(found[0], TRUTH)
        look_up = _call(self._global(node.path.get_or), _name("message"), _name("MISSING"))
        return _Code(ast.Compare(look_up, [ast.IsNot()], [_name("MISSING")]), TRUTH)

    def _present(self, node: Get | Has) -> tuple[ast.expr, ast.expr] | None:
        """The test that a path of names is there, and the value after it; None for other paths."""
        path = node.path
        if not path.parts or not all(isinstance(part, str) for part in path.parts):
            return None
        value: ast.expr = ast.Attribute(_name("message"), path.root, ast.Load())
        tests: list[ast.expr] = []
        for part in path.parts:
            keep, again = self._keep(value)
            tests.append(_call(_name("isinstance"), keep, _name("dict")))
            tests.append(ast.Compare(_constant(part), [ast.In()], [again()]))
            value = ast.Subscript(again(), _constant(part), ast.Load())
        return ast.BoolOp(ast.And(), tests), value

    def _default(self, node: Default) -> _Code:
        of, default = self.write(node.of), self.write(node.default)
        keep, again = self._keep(of.tree)
        there = ast.Compare(keep, [ast.IsNot()], [ast.Constant(None)])
        return _either(there, _Code(again(), of.kind, of.bits), default)

    _writers: dict[type[Node], Callable[[Any, Any], _Code]] = {  # noqa: RUF012  # a constant table
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


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _call(function: ast.expr, *arguments: ast.expr) -> ast.expr:
    return ast.Call(function, list(arguments), [])


def _constant(value: Any) -> ast.expr:
    """A literal; lists and maps are made anew each time, so that no two messages share one."""
    if isinstance(value, list):
        return ast.List([_constant(item) for item in value], ast.Load())
    if isinstance(value, dict):
        keys: list[ast.expr | None] = [ast.Constant(key) for key in value]
        return ast.Dict(keys, [_constant(item) for item in value.values()])
    return ast.Constant(value)


def _is_type(value: ast.expr, name: str) -> ast.expr:
    return ast.Compare(_call(_name("type"), value), [ast.Is()], [_name(name)])


def _within(value: ast.expr, bits: int) -> ast.expr:
    limit = 1 << bits
    return ast.Compare(ast.Constant(-limit), [ast.Lt(), ast.Lt()], [value, ast.Constant(limit)])


def _both(first: ast.expr, second: ast.expr) -> ast.expr:
    return ast.BoolOp(ast.And(), [first, second])


def _if(check: ast.expr, value: ast.expr) -> ast.expr:
    return ast.IfExp(check, value, _call(_name("unexpected")))


def _either(test: ast.expr, yes: _Code, no: _Code) -> _Code:
    kind = yes.kind if yes.kind == no.kind else ANY
    if {yes.kind, no.kind} == {FLOAT, NUMBER}:
        kind = NUMBER
    return _Code(ast.IfExp(test, yes.tree, no.tree), kind, max(yes.bits, no.bits))


def _parameter(node: Node, params: Mapping[str, Any]) -> Any:
    """The value of `params.a.b` where its steps are fixed and there, else MISSING."""
    if isinstance(node, Params):
        return params
    if isinstance(node, Item) and isinstance(node.index, Literal):
        of, index = _parameter(node.of, params), node.index.value
        if isinstance(of, Mapping) and isinstance(index, str):
            return of.get(index, MISSING)
        if isinstance(of, list) and type(index) is int and -len(of) <= index < len(of):
            return of[index]
    return MISSING
