"""Field paths (R9): `payload.values[0].t`, `payload['room temp']`, `meta.qos`, `topic`.

A path is read once, with `compile_path`; then it gets, sets and deletes one place of a message.
Setting and deleting change the payload's containers in place (the engine hands over a payload the
node owns); `meta` is shared between messages, so it gets a new map every time.
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from flowengine.errors import NodeError, SyntaxFault, describe_value
from flowengine.message import Message
from flowengine.moments import ns_to_seconds, parse_time, seconds_to_ns

Part = str | int
"""One step of a path: a key of a map, or an index of a list."""

ROOTS = ("payload", "topic", "key", "time", "meta")
MAX_PARTS = 64
MAX_CHARACTERS = 4000

MISSING: Any = object()
"""What `get_or` can be told to give where nothing is."""

_NAME = re.compile(r"[\w-]+")
_PART = re.compile(
    r"""\.(?P<name>[\w-]+)
      | \[(?P<index>-?[0-9]{1,9})\]
      | \[(?P<quote>['"])(?P<quoted>(?:\\.|(?!(?P=quote))[^\\])*)(?P=quote)\]""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def compile_path(text: str) -> "Path":
    """Read a field path; raises SyntaxFault `bad-path` with the nearest right spelling."""
    if len(text) > MAX_CHARACTERS:
        raise SyntaxFault("bad-path", f"a path of {len(text)} characters: the limit is 4,000.")
    match = _NAME.match(text)
    root = match.group() if match else ""
    if root not in ROOTS:
        raise _no_root(text, root)
    parts: list[Part] = []
    at = len(root)
    while at < len(text):
        step = _PART.match(text, at)
        if step is None:
            raise _bad_step(text, at)
        if step["index"] is not None:
            parts.append(int(step["index"]))
        else:
            parts.append(step["name"] or _ESCAPE.sub(r"\1", step["quoted"] or ""))
        at = step.end()
    if parts and root not in {"payload", "meta"}:
        what = "a number of seconds" if root == "time" else "text"
        raise SyntaxFault(
            "bad-path", f'"{text}": {root} is {what} and has no parts.', f'Write "{root}".'
        )
    if len(parts) > MAX_PARTS:
        raise SyntaxFault("bad-path", f'"{text[:60]}…" has more than {MAX_PARTS} steps.')
    if parts and root == "meta" and isinstance(parts[0], int):
        raise SyntaxFault("bad-path", f'"{text}": meta is a map, not a list.', "Write meta.name.")
    return Path(root, tuple(parts))


def path_text(root: str, parts: tuple[Part, ...]) -> str:
    """The one spelling of a path: names with dots where they can be, else quoted."""
    text = root
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _NAME.fullmatch(part):
            text += f".{part}"
        else:
            text += "['" + part.replace("\\", "\\\\").replace("'", "\\'") + "']"
    return text


class Path:
    """One place in a message: `text` (canonical spelling), `root` and the `parts` below it.

    Two paths are equal when they name the same place.
    """

    __slots__ = ("parts", "root", "text")

    def __init__(self, root: str, parts: tuple[Part, ...] = ()) -> None:
        self.root = root
        self.parts = parts
        self.text = path_text(root, parts)

    def __repr__(self) -> str:
        return f"Path({self.text!r})"

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Path) and (self.root, self.parts) == (other.root, other.parts)

    def __hash__(self) -> int:
        return hash((self.root, self.parts))

    def get(self, message: Message) -> Any:
        """What stands there (`time` in seconds); NodeError `missing` where nothing is."""
        value = self.get_or(message, MISSING)
        if value is MISSING:
            raise self._missing()
        return value

    def get_or(self, message: Message, default: Any) -> Any:
        """What stands there, or `default` where nothing is; null is a value."""
        if self.root == "time":
            return ns_to_seconds(message.time)
        value = getattr(message, self.root)
        for part in self.parts:
            if isinstance(part, str):
                if not isinstance(value, dict) or part not in value:
                    return default
            elif not isinstance(value, list) or not -len(value) <= part < len(value):
                return default
            value = value[part]
        return value

    def getter(self) -> Callable[[Message], Any]:
        """The fastest `get` for a hot loop: 50-70 ns for `payload` and names below it."""
        if self.root == "payload" and all(isinstance(part, str) for part in self.parts):
            if not self.parts:
                return _payload
            if len(self.parts) <= 2:
                return _names_getter(self, *self.parts)
        return self.get

    def set(self, message: Message, value: Any) -> None:
        """Put `value` there; missing parents, and null ones, become objects.

        Raises NodeError and changes nothing: an index beyond its list, a parent that is neither map
        nor list, a topic or key that is no text, a time that is neither seconds nor RFC 3339 text.
        """
        if not self.parts:
            setattr(message, self.root, self._root_value(value))
        elif self.root == "meta":
            message.meta = _copy_along(message.meta, self.parts)
            self._assign(message.meta, value)
        else:
            top = {} if message.payload is None else message.payload
            self._assign(top, value)
            message.payload = top

    def check(self, message: Message, value: Any) -> None:
        """Raise what `set` would raise, and change nothing: for nodes that set several paths."""
        if self.parts:
            top = getattr(message, self.root)
            self._place({} if top is None else top, value)
        else:
            self._root_value(value)

    def delete(self, message: Message) -> None:
        """Take away what stands there; nothing where nothing is. Roots become empty.

        Raises NodeError for `time`: a message always has one.
        """
        if self.root == "time":
            raise self._refused("a message always has a time", "Set it instead.")
        if not self.parts:
            empty: Any = {"payload": None, "meta": {}}.get(self.root, "")
            setattr(message, self.root, empty)
            return
        if self.get_or(message, MISSING) is MISSING:
            return
        if self.root == "meta":
            message.meta = _copy_along(message.meta, self.parts)
        holder = getattr(message, self.root)
        for part in self.parts[:-1]:
            holder = holder[part]
        del holder[self.parts[-1]]

    def contains(self, other: "Path") -> bool:
        """Whether `other` is this place or lies below it."""
        return self.root == other.root and other.parts[: len(self.parts)] == self.parts

    def _root_value(self, value: Any) -> Any:
        """What is stored for `value` in a message's own field."""
        if self.root == "time":
            return self._time(value)
        if self.root in {"topic", "key"} and not isinstance(value, str):
            raise self._refused(f"{describe_value(value)} is no text", "Write text(...) for it.")
        if self.root == "meta":
            if not isinstance(value, dict):
                raise self._refused(f"{describe_value(value)} is no map", "Set one of its parts.")
            return dict(value)
        return value

    def _assign(self, top: Any, value: Any) -> None:
        holder, part, value = self._place(top, value)
        holder[part] = value

    def _place(self, top: Any, value: Any) -> tuple[Any, Part, Any]:
        """The one assignment to make: container, part, and the value in its missing parents."""
        holder = top
        for depth, part in enumerate(self.parts[:-1]):
            self._check_holder(holder, depth, part)
            below = holder.get(part) if isinstance(part, str) else holder[part]
            if below is None:
                return holder, part, self._wrapped(value, depth + 1)
            holder = below
        self._check_holder(holder, len(self.parts) - 1, self.parts[-1])
        return holder, self.parts[-1], value

    def _wrapped(self, value: Any, depth: int) -> Any:
        for at in range(len(self.parts) - 1, depth - 1, -1):
            part = self.parts[at]
            if isinstance(part, int):
                raise self._beyond(at, None)
            value = {part: value}
        return value

    def _check_holder(self, holder: Any, depth: int, part: Part) -> None:
        if isinstance(part, str):
            if not isinstance(holder, dict):
                where = path_text(self.root, self.parts[:depth])
                raise self._refused(f"{where} is {describe_value(holder)}, not a map")
        elif not isinstance(holder, list) or not -len(holder) <= part < len(holder):
            raise self._beyond(depth, holder)

    def _time(self, value: Any) -> int:
        try:
            if isinstance(value, str):
                return parse_time(value, "rfc3339")
            if isinstance(value, int | float) and not isinstance(value, bool):
                return seconds_to_ns(value)
        except ValueError as err:
            raise self._refused(
                str(err).rstrip("."), "Give seconds since 1970 or RFC 3339 text."
            ) from err
        raise self._refused(f"{describe_value(value)} is no time", "Give seconds or RFC 3339 text.")

    def _missing(self) -> NodeError:
        return NodeError(f"{self.text} is absent.", slug="missing", path=self.text)

    def _beyond(self, depth: int, holder: Any) -> NodeError:
        where = path_text(self.root, self.parts[:depth])
        kind = f"has {len(holder)} items" if isinstance(holder, list) else "is no list"
        return NodeError(
            f"{self.text}: {where} {kind}; an index must lie within it.",
            slug="missing",
            path=self.text,
        )

    def _refused(self, why: str, mend: str = "") -> NodeError:
        return NodeError(
            f"{self.text} cannot be set: {why}.", slug="bad-value", mend=mend, path=self.text
        )


def _payload(message: Message) -> Any:
    return message.payload


def _names_getter(path: Path, first: Part, second: Part | None = None) -> Callable[[Message], Any]:
    def get_one(message: Message) -> Any:
        try:
            return message.payload[first]
        except (KeyError, TypeError, IndexError):
            return path.get(message)

    def get_two(message: Message) -> Any:
        try:
            return message.payload[first][second]
        except (KeyError, TypeError, IndexError):
            return path.get(message)

    return get_one if second is None else get_two


def _copy_along(top: dict[str, Any], parts: tuple[Part, ...]) -> dict[str, Any]:
    """Copy the containers that a change at `parts` touches, and share the rest."""
    copy: Any = dict(top)
    holder = copy
    for part in parts[:-1]:
        below = holder.get(part) if isinstance(holder, dict) else _item(holder, part)
        if not isinstance(below, dict | list):
            break
        holder[part] = dict(below) if isinstance(below, dict) else list(below)
        holder = holder[part]
    result: dict[str, Any] = copy
    return result


def _item(holder: list[Any], part: Part) -> Any:
    inside = isinstance(part, int) and -len(holder) <= part < len(holder)
    return holder[part] if isinstance(part, int) and inside else None


def _no_root(text: str, root: str) -> SyntaxFault:
    if root == "id" and text == "id":
        return SyntaxFault("bad-path", 'the "id" of a message is fixed.', "Use key or meta.")
    near = get_close_matches(root, ROOTS, n=1, cutoff=0.75)
    if not root:
        mend = f"A path starts with one of {', '.join(ROOTS)}."
    elif near:
        mend = f'Did you mean "{near[0]}{text[len(root) :]}"?'
    else:
        mend = f'Did you mean "payload.{text}"?'
    return SyntaxFault(
        "bad-path", f'the path "{text[:60]}" starts with no part of a message.', mend
    )


def _bad_step(text: str, at: int) -> SyntaxFault:
    mend = "Steps are .name, [0] or ['any key'], as in \"payload.values[0].t\"."
    odd = re.match(r"\.?([^.\[\]'\"]+)", text[at:])
    if odd and odd[1].strip():
        # the name before the odd sign belongs to the key: payload.room temp
        start = max(text.rfind(".", 0, at), text.rfind("]", 0, at) + 1)
        if text[at] != "." and start > 0 and text[start] == ".":
            key = text[start + 1 : at] + odd[1]
            rest = text[at + len(odd[0]) :]
            mend = f"Did you mean \"{text[:start]}['{key}']{rest}\"?"
        elif text[at] == ".":
            mend = f"Did you mean \"{text[:at]}['{odd[1]}']{text[at + len(odd[0]) :]}\"?"
    return SyntaxFault(
        "bad-path", f'the path "{text[:60]}" cannot be read at column {at + 1}.', mend
    )
