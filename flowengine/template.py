"""Templates (R8): text with holes, `{expression}` or `{expression:format}`: `{payload.t:.1f} °C`.

`{{` and `}}` are literal braces. A hole holds text as it is, numbers in shortest form, true, false,
null, lists and maps as compact JSON. Where the text goes decides what a hole may put into it: in a
topic no level and no wildcard, in a file path no way out of its folder, in a URI nothing unencoded.
"""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal
from urllib.parse import quote

from flowengine.errors import ExpressionError, SyntaxFault
from flowengine.expression import Expression, compile_expression
from flowengine.message import Message
from flowengine.values import is_number, show, text_of

__all__ = ["Template", "compile_template"]

Place = Literal["text", "topic", "path", "uri"]

MAX_CHARACTERS = 64 * 1024
MAX_WIDTH = 1000

_OPEN, _CLOSE = "([{", ")]}"
_FORMAT = re.compile(
    r"(?:[^{}]?[<>=^])?[-+ ]?z?#?0?(?P<width>[0-9]{1,9})?[,_]?"
    r"(?:\.(?P<precision>[0-9]{1,9}))?[bdeEfFgGoxX%s]?"
)
_MUSTACHE = re.compile(r"\{\{\{?\s*[A-Za-z_][^{}]*\}\}")
_FORBIDDEN = {"topic": "/+#\0", "path": "/+#\0\\"}
_DOTS = re.compile(r"(?:^|/)\.\.?(?:/|$)")


def compile_template(
    text: str | list[str], *, where: Place = "text", names: Collection[str] | None = None
) -> "Template":
    """Read a template; raises SyntaxFault `bad-template` with the column and the mend.

    Args:
        text: the text, or its lines.
        where: what the filled text is.
        names: the parameters that the flow declares, None where they are not known.
    """
    whole = text if isinstance(text, str) else "\n".join(text)
    if len(whole) > MAX_CHARACTERS:
        raise _fault(f"a template of {len(whole)} characters: the limit is 65,536.")
    pieces = _Reader(whole, names).pieces()
    _check_literals(whole, pieces, where)
    return Template(whole, pieces, where)


class Hole:
    """One hole: its expression and its format, `""` where there is none."""

    __slots__ = ("expression", "format")

    def __init__(self, expression: Expression, format: str) -> None:  # noqa: A002  # Python's own word
        self.expression = expression
        self.format = format


class Template:
    """A template that was read; two are equal when their text and their place are.

    Attributes:
        text: as it was written, lines joined.
        where: what the filled text is: text, topic, path or uri.
        paths: the field paths that its holes read.
        params: the parameters that its holes name.
        is_constant: whether it has no hole.
        warnings: (slug, what, mend) of what is allowed and probably not meant.
    """

    __slots__ = ("_pieces", "is_constant", "params", "paths", "text", "warnings", "where")

    def __init__(self, text: str, pieces: list[str | Hole], where: Place) -> None:
        holes = [piece for piece in pieces if isinstance(piece, Hole)]
        self.text = text
        self.where = where
        self.is_constant = not holes
        self.paths = list(dict.fromkeys(path for hole in holes for path in hole.expression.paths))
        self.params = list(dict.fromkeys(name for hole in holes for name in hole.expression.params))
        self.warnings: list[tuple[str, str, str]] = []
        self._pieces = pieces
        found = _MUSTACHE.search(text)
        if found:
            name = found.group().strip("{} \t\n")
            self.warnings.append(
                (
                    "mustache-template",
                    f'"{found.group()[:60]}" is text: flowengine\'s holes have one brace.',
                    f"Write {{{name[:60]}}} to fill it in.",
                )
            )

    def __repr__(self) -> str:
        return f"Template({self.text!r}, where={self.where!r})"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Template) and (self.text, self.where) == (other.text, other.where)

    def __hash__(self) -> int:
        return hash((self.text, self.where))

    def shape(self, hole: str) -> str:
        """The text with `hole` in the place of every hole."""
        return "".join(piece if isinstance(piece, str) else hole for piece in self._pieces)

    def bind(self, params: Mapping[str, Any], now: Callable[[], float]) -> Callable[[Message], str]:
        """The function of a message that gives the filled text; it raises ExpressionError.

        Args:
            params: the flow's parameters, read once, here.
            now: the engine's clock, in seconds since 1970.
        """
        pieces = [
            piece if isinstance(piece, str) else _filler(piece, self.where, params, now)
            for piece in self._pieces
        ]
        fill = _joined(pieces)
        if self.where in {"path", "uri"} and not self.is_constant:
            return _without_dots(fill, self.text)
        return fill


class _Reader:
    """Cuts a template into literal texts and holes."""

    def __init__(self, text: str, names: Collection[str] | None) -> None:
        self.text = text
        self.names = names

    def pieces(self) -> list[str | Hole]:
        """Literal texts, never two in a row, and holes."""
        pieces: list[str | Hole] = []
        literal, at, text = "", 0, self.text
        while at < len(text):
            if text[at : at + 2] in {"{{", "}}"}:
                literal, at = literal + text[at], at + 2
            elif text[at] == "}":
                raise _fault(f'a single "}}" ({self._place(at)}).', 'Write "}}" for a brace.')
            elif text[at] == "{":
                pieces += [literal] if literal else []
                literal = ""
                hole, at = self._hole(at)
                pieces.append(hole)
            else:
                end = min(
                    (e for e in (text.find("{", at), text.find("}", at)) if e >= 0),
                    default=len(text),
                )
                literal, at = literal + text[at:end], end
        return [*pieces, literal] if literal or not pieces else pieces

    def _hole(self, start: int) -> tuple[Hole, int]:
        """The hole that opens at `start`, and where the text goes on."""
        text, quoted, depth, colon = self.text, "", 0, -1
        at = start + 1
        while at < len(text):
            sign = text[at]
            if colon >= 0:
                if sign == "}":
                    break
            elif quoted:
                at += sign == "\\"
                quoted = "" if sign == quoted else quoted
            elif sign in "'\"":
                quoted = sign
            elif sign == "}" and depth == 0:
                break
            elif sign in _OPEN:
                depth += 1
            elif sign in _CLOSE:
                depth -= 1
            elif sign == ":" and depth == 0:
                colon = at
            at += 1
        if at >= len(text):
            raise _fault(
                f'a "{{" that is never closed ({self._place(start)}).', 'Write "{{" for a brace.'
            )
        source = text[start + 1 : at if colon < 0 else colon]
        spec = "" if colon < 0 else text[colon + 1 : at]
        return self._made(source, spec, colon >= 0, start), at + 1

    def _made(self, source: str, spec: str, has_format: bool, start: int) -> Hole:
        place = self._place(start)
        json = 'Braces that are text are doubled: "{{" and "}}".'
        if not source.strip():
            raise _fault(f"an empty hole ({place}).", json)
        if has_format and not _is_format(spec):
            looks_like_json = source.strip()[0] in "'\""
            mend = json if looks_like_json else "Formats are Python's, as in {payload.t:.1f}."
            raise _fault(f'"{spec[:40]}" is no format ({place}).', mend)
        try:
            return Hole(compile_expression(source, names=self.names), spec)
        except SyntaxFault as err:
            raise _fault(
                f"in the hole {{{source[:60]}}} ({place}): {err.what}", err.mend or json
            ) from err

    def _place(self, at: int) -> str:
        line = self.text.count("\n", 0, at)
        column = at - self.text.rfind("\n", 0, at)
        return f"line {line + 1}, column {column}" if "\n" in self.text else f"column {column}"


def _is_format(spec: str) -> bool:
    """Whether Python takes the format for some value, and its width is bounded."""
    match = _FORMAT.fullmatch(spec)
    if match is None or int(match["width"] or 0) > MAX_WIDTH or int(match["precision"] or 0) > 100:
        return False
    for value in (1, 1.5, "text"):
        try:
            format(value, spec)
        except ValueError:
            continue
        return True
    return False


def _check_literals(text: str, pieces: list[str | Hole], where: Place) -> None:
    """Refuse what is wrong whatever the holes hold."""
    if where == "topic":
        literal = "".join(piece for piece in pieces if isinstance(piece, str))
        wrong = next((sign for sign in "+#\0" if sign in literal), None)
        if wrong is not None:
            raise _fault(
                f'a topic to publish to holds "{wrong}".', "Wildcards are for subscribing."
            )
        if not text:
            raise _fault("a topic is empty.", "Name at least one level.")
    elif where in {"path", "uri"}:
        # a hole stands as a letter: only what is written can be a step up
        skeleton = "".join(piece if isinstance(piece, str) else "x" for piece in pieces)
        if (
            _DOTS.search(re.split(r"[?#]", skeleton)[0] if where == "uri" else skeleton)
            or "\0" in skeleton
        ):
            raise _fault(f'"{text[:60]}" holds a step "." or "..".', "Write the path without it.")


def _filler(
    hole: Hole, where: Place, params: Mapping[str, Any], now: Callable[[], float]
) -> Callable[[Message], str]:
    """The function that fills one hole."""
    value = hole.expression.bind(params, now)
    shape = _formatter(hole) if hole.format else text_of
    if where == "text":
        return lambda message: shape(value(message))
    guard = _encoded if where == "uri" else _guard(hole, where)
    return lambda message: guard(shape(value(message)))


def _formatter(hole: Hole) -> Callable[[Any], str]:
    source, spec, paths = hole.expression.text.strip(), hole.format, hole.expression.paths

    def shape(value: Any) -> str:
        if is_number(value) or isinstance(value, str):
            try:
                return format(value, spec)
            except (ValueError, OverflowError):
                pass
        raise ExpressionError(
            f"{source} is {show(value)}, which the format {spec} does not take.",
            slug="not-a-number",
            mend=f"Write {{int({source}):{spec}}}." if type(value) is float else "",
            path=paths[0] if len(paths) == 1 else None,
        )

    return shape


def _guard(hole: Hole, where: Place) -> Callable[[str], str]:
    forbidden, source, paths = (
        _FORBIDDEN[where],
        hole.expression.text.strip(),
        hole.expression.paths,
    )
    bad = re.compile(f"[{re.escape(forbidden)}]" + (r"|\.\." if where == "path" else "")).search

    def guard(text: str) -> str:
        if text and not bad(text):
            return text
        raise ExpressionError(
            f"{source} is {show(text)}; in a {where} a hole is not empty and holds none of "
            + ("/ + # NUL." if where == "topic" else "/ + # \\ .. NUL."),
            slug="bad-hole",
            mend=f"Write {{replace({source}, '/', '-')}}." if "/" in text else "",
            path=paths[0] if len(paths) == 1 else None,
        )

    return guard


def _encoded(text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as err:
        raise ExpressionError(f"{show(text)} is no UTF-8 text.", slug="bad-hole") from err


def _joined(pieces: list[Any]) -> Callable[[Message], str]:
    """The function that puts literal texts and filled holes together."""
    if len(pieces) == 1 and isinstance(pieces[0], str):
        only = pieces[0]
        return lambda _message: only
    holes = [piece for piece in pieces if not isinstance(piece, str)]
    if len(holes) == 1:
        at = pieces.index(holes[0])
        before, fill, after = "".join(pieces[:at]), holes[0], "".join(pieces[at + 1 :])
        return lambda message: before + fill(message) + after
    fillers = [
        (lambda _message, text=piece: text) if isinstance(piece, str) else piece for piece in pieces
    ]
    return lambda message: "".join([fill(message) for fill in fillers])


def _without_dots(fill: Callable[[Message], str], source: str) -> Callable[[Message], str]:
    """Refuse a step that holes side by side, or a hole behind a dot, made to `.` or `..`."""

    def checked(message: Message) -> str:
        text = fill(message)
        # most texts have no dot at the start of a step, and are done here
        if (text[:1] == "." or "/." in text) and _DOTS.search(re.split(r"[?#]", text)[0]):
            raise ExpressionError(
                f"{source[:60]} makes {show(text)}, with a step up.", slug="bad-hole"
            )
        return text

    return checked


def _fault(what: str, mend: str = "") -> SyntaxFault:
    return SyntaxFault("bad-template", what, mend)
