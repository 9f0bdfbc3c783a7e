"""Functions of expressions that make, take apart and search text (R7).

Patterns go to RE2 (google-re2), whose time grows with the length of the text and never with the
cleverness of a pattern (S-24). It is imported when a flow first uses `match` or `sub`.
"""

import re
from functools import lru_cache
from typing import Any

from flowengine.errors import ExpressionError
from flowengine.values import (
    MAX_TEXT,
    bounded,
    bounded_text,
    is_number,
    show,
    text,
    text_of,
)

MAX_PATTERN = 1000
MAX_MATCHES = 4096  # of one sub(): RE2's binding takes about 5 us for each

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_WORDS = {"true": True, "on": True, "yes": True, "1": True}
_WORDS |= {"false": False, "off": False, "no": False, "0": False}
_GROUP = re.compile(r"\\(?:([0-9]{1,2})|g<(\w+)>|(.)|$)", re.DOTALL)
_ESCAPES = {"\\": "\\", "n": "\n", "t": "\t", "r": "\r"}
_NONE = object()


def length(x: Any) -> int:
    """The number of characters, items, keys or bytes."""
    if isinstance(x, str | list | dict | bytes):
        return len(x)
    raise ExpressionError(f"len() needs text, a list, a map or bytes, not {show(x)}.")


def to_text(x: Any) -> str:
    """Anything as text, as a template puts it: `21.0`, `true`, compact JSON; bytes as UTF-8."""
    return bounded_text(text_of(x))


def to_number(x: Any, default: Any = _NONE) -> Any:
    """Text such as `"21.5"` as a number; numbers stay, true is 1, false is 0; else the default."""
    if is_number(x):
        return bounded(x)
    if isinstance(x, bool):
        return int(x)
    if isinstance(x, str) and len(x) <= 400 and _NUMBER.fullmatch(x.strip()):
        digits = x.strip()
        value = int(digits) if _WHOLE.fullmatch(digits) else float(digits)
        return bounded(value)
    if default is not _NONE:
        return default
    raise ExpressionError(
        f"number() cannot read {show(x)}.",
        slug="not-a-number",
        mend="Give a default: number(x, 0).",
    )


def to_int(x: Any) -> int:
    """A number without its fraction, towards zero; text such as `"21"` as an integer."""
    if isinstance(x, str) and not (len(x) <= 400 and _WHOLE.fullmatch(x.strip())):
        raise ExpressionError(
            f"int() cannot read {show(x)}.", slug="not-a-number", mend="Write int(number(...))."
        )
    try:
        return bounded(int(to_number(x)))  # type: ignore[no-any-return]  # an int stays one
    except (ValueError, OverflowError) as err:
        raise ExpressionError(f"int() of {x}.", slug="not-a-number") from err


def to_bool(x: Any) -> bool:
    """True or false from a number (0 is false), null (false), or true/on/yes/1, false/off/no/0."""
    if x is None or isinstance(x, bool):
        return x is True
    if is_number(x) and x == x:  # noqa: PLR0124  # NaN is neither
        return bool(x != 0)
    word = _WORDS.get(x.strip().lower()) if isinstance(x, str) else None
    if word is None:
        raise ExpressionError(f"bool() cannot read {show(x)}.", mend="Compare it: x == 'open'.")
    return word


def lower(s: Any) -> str:
    """The text in lower case."""
    return bounded_text(text(s, "lower()").lower())


def upper(s: Any) -> str:
    """The text in upper case."""
    return bounded_text(text(s, "upper()").upper())


def strip(s: Any) -> str:
    """The text without white space at its ends."""
    return text(s, "strip()").strip()


def replace(s: Any, old: Any, new: Any) -> str:
    """The text with every `old` replaced by `new`."""
    whole, old, new = (text(item, "replace()") for item in (s, old, new))
    if not old:
        raise ExpressionError("replace() of an empty text.", mend="Say which text to replace.")
    # bytes, before the work: the result may be thousands of times as long as what it is made of
    added = (len(new.encode("utf-8", "surrogatepass")) - len(old)) * whole.count(old)
    if len(whole) + added > MAX_TEXT:
        raise ExpressionError("replace() makes a text longer than 64 KiB.", slug="too-large")
    return bounded_text(whole.replace(old, new))


def split(s: Any, separator: Any) -> list[str]:
    """The parts of a text between separators, as a list."""
    whole, separator = text(s, "split()"), text(separator, "split()")
    if not separator:
        raise ExpressionError(
            "split() by an empty text.", mend="Name the separator: split(s, ',')."
        )
    return whole.split(separator)


def join(items: Any, separator: Any) -> str:
    """The items of a list as one text, the separator between; numbers in shortest form."""
    if not isinstance(items, list):
        raise ExpressionError(f"join() needs a list, not {show(items)}.")
    between, parts, size = text(separator, "join()"), [], 0
    for item in items:
        parts.append(to_text(item))
        size += len(parts[-1]) + len(between)
        if size > MAX_TEXT + len(between):
            raise ExpressionError("join() makes a text longer than 64 KiB.", slug="too-large")
    return bounded_text(between.join(parts))


def starts_with(s: Any, start: Any) -> bool:
    """Whether the text begins so."""
    return text(s, "startswith()").startswith(text(start, "startswith()"))


def ends_with(s: Any, end: Any) -> bool:
    """Whether the text ends so."""
    return text(s, "endswith()").endswith(text(end, "endswith()"))


def contains(x: Any, item: Any) -> bool:
    """Whether a text holds a text, a list an item, or a map a key."""
    if isinstance(x, str):
        return text(item, "contains()") in x
    if isinstance(x, list) or (isinstance(x, dict) and isinstance(item, str | int)):
        return item in x
    raise ExpressionError(f"contains() cannot look for {show(item)} in {show(x)}.")


@lru_cache(maxsize=256)
def compiled(pattern: str) -> Any:
    """An RE2 pattern; ExpressionError for one that RE2 does not take or that is too large."""
    import re2  # noqa: PLC0415  # 20 ms that flows without patterns need not pay

    if len(pattern) > MAX_PATTERN:
        raise ExpressionError("a pattern is longer than 1,000 characters.", slug="too-large")
    options = re2.Options()
    options.log_errors = False
    # caps the compiled program too: the time is its size times the text's length at worst
    options.max_mem = 1 << 18
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as err:
        why = err.args[0].decode() if isinstance(err.args[0], bytes) else err.args[0]
        raise ExpressionError(
            f"the pattern {show(pattern)} cannot be used: {why}.",
            mend="Patterns are RE2: no look-around, no back references.",
        ) from err


def match(s: Any, pattern: Any) -> bool:
    """Whether the text matches the pattern from its start, as Python's `re.match`; `$` ends it."""
    return compiled(text(pattern, "match()")).match(text(s, "match()")) is not None


def sub(s: Any, pattern: Any, new: Any) -> str:
    r"""The text with every match of the pattern replaced; `\1` and `\g<name>` stand for groups."""
    whole, expression = text(s, "sub()"), compiled(text(pattern, "sub()"))
    pieces = _replacement(
        text(new, "sub()"), expression.groups, tuple(expression.groupindex.items())
    )
    out, size, end, found = [], 0, 0, 0
    for hit in expression.finditer(whole):
        made = [hit.group(piece) or "" if isinstance(piece, int) else piece for piece in pieces]
        out += [whole[end : hit.start()], *made]
        size += sum(map(len, made))
        end, found = hit.end(), found + 1
        if size > MAX_TEXT or found > MAX_MATCHES:
            raise ExpressionError(
                "sub() makes a text longer than 64 KiB or replaces more than 4,096 times.",
                slug="too-large",
            )
    return bounded_text("".join(out) + whole[end:])


@lru_cache(maxsize=256)
def _replacement(new: str, groups: int, names: tuple[tuple[str, int], ...]) -> list[str | int]:
    """The replacement as literal texts and numbers of groups."""
    pieces: list[str | int] = []
    at = 0
    for hit in _GROUP.finditer(new):
        pieces.append(new[at : hit.start()])
        at = hit.end()
        if hit[3] in _ESCAPES:
            pieces.append(_ESCAPES[hit[3]])
            continue
        name = hit[1] or hit[2]
        number = int(name) if name and name.isdecimal() else dict(names).get(name or "", -1)
        if not 0 <= number <= groups:
            raise ExpressionError(
                f"sub(): {show(hit[0])} is no group of the pattern.", mend=r"Groups are \1, \2, …"
            )
        pieces.append(number)
    return [*pieces, new[at:]]
