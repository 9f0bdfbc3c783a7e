"""Packs: many small modules in one answer, so that the editor's first load is few requests.

The files in `static` are what people read, test and mend; nothing is generated beside them. A pack
is an entry module with all that it reaches by static imports, each in a function of its own that
gives what the module exports, the imported ones before those that import them. Modules outside of
the packs have their imports of packed modules turned to the pack, so every module is there once.

This reads the modules' own shape, which `tests/web/test_packing.py` holds them to: imports and
exports begin a line, and what is exported is a function, a class, a const, or the default.
"""

import functools
import posixpath
import re
from collections.abc import Callable

Source = Callable[[str], str | None]
"""The text of a module by its path below `static`, with slashes; None if there is none."""

IMPORT = re.compile(
    r"""^import\s+(?:(?:(?P<names>\{[^}]*\})|\*\s+as\s+(?P<whole>\w+)|(?P<default>\w+))\s+from\s+)?'(?P<path>\.{1,2}/[^']+)';""",
    re.MULTILINE,
)
_LAZY = re.compile(r"""\bimport\('(?P<path>\.{1,2}/[^']+)'\)""")
_MADE = re.compile(
    r"^export (?=(?:async )?(?:function\*?|class|const) (?P<name>\w+))", re.MULTILINE
)
_LIST = re.compile(r"^export \{(?P<names>[^}]*)\};", re.MULTILINE)
_DEFAULT = re.compile(r"^export default ", re.MULTILINE)
_BLOCK = re.compile(r"^[ \t]*/\*\*(?:(?!\*/).)*\*/[ \t]*$", re.MULTILINE | re.DOTALL)
_LINE = re.compile(r"^[ \t]*//[^\n]*$", re.MULTILINE)
_AS = re.compile(r"\s+as\s+")


def reached(entry: str, source: Source) -> list[str]:
    """The modules that an entry reaches by static imports, those it needs first, itself last."""
    found: dict[str, None] = {}
    under_way: set[str] = set()

    def visit(name: str) -> None:
        text = source(name)
        if text is None or name in found or name in under_way:
            return
        under_way.add(name)
        for each in IMPORT.finditer(text):
            visit(_target(name, each["path"]))
        found[name] = None

    visit(entry)
    return list(found)


class Packs:
    """The packs of these entries, in order: a module is in the first that reaches it."""

    def __init__(self, entries: list[str], source: Source) -> None:
        self._source = source
        self.members: dict[str, list[str]] = {}
        self._home: dict[str, str] = {}
        """Module -> entry of the pack it is in."""
        for entry in entries:
            mine = [name for name in reached(entry, source) if name not in self._home]
            self.members[entry] = mine
            self._home |= dict.fromkeys(mine, entry)
        self._texts: dict[str, str] = {}

    def text(self, name: str) -> str | None:
        """What is served as this module: a pack, or the module with its imports turned to packs."""
        if name not in self._texts:
            text = self._source(name)
            if text is None:
                return None
            self._texts[name] = self._pack(name) if name in self.members else self._turned(name)
        return self._texts[name]

    def _pack(self, entry: str) -> str:
        parts, needed, done = [], dict[str, str](), set[str]()
        for name in self.members[entry]:
            text, exports = _exported(_bare(self._source(name) or ""))
            text = IMPORT.sub(functools.partial(self._local, name, needed, done), text)
            text = self._lazily(text, name, entry)
            parts.append(
                f"// {name}\nconst {_name(name)} = (() => {{{text}\nreturn {exports};\n}})();"
            )
            done.add(name)
        heads = [
            f"import {{ {_name(each)} }} from '{_relative(entry, home)}';"
            for each, home in needed.items()
        ]
        names = ", ".join(_name(each) for each in self.members[entry])
        return "\n".join([*heads, *parts, f"export {{ {names} }};", ""])

    def _local(self, at: str, needed: dict[str, str], done: set[str], found: re.Match[str]) -> str:
        """An import inside of a pack, where every packed module is a constant."""
        target = _target(at, found["path"])
        home = self._home.get(target)
        if home is None:
            raise ValueError(f"{at} imports {target}, which is not there")
        if home != self._home[at]:
            needed[target] = home
        elif target not in done:
            # Modules that need one another: what they import can only be called later on.
            return " ".join(
                f"const {mine} = (...given) => {_name(target)}.{theirs}(...given);"
                for theirs, mine in _pairs(found["names"] or "")
            )
        return _taken(found, target)

    def _turned(self, name: str) -> str:
        def turn(found: re.Match[str]) -> str:
            target = _target(name, found["path"])
            home = self._home.get(target)
            if home is None:
                return found[0]
            line = f"import {{ {_name(target)} }} from '{_relative(name, home)}';"
            return f"{line} {_taken(found, target)}"

        return self._lazily(IMPORT.sub(turn, _bare(self._source(name) or "")), name, name)

    def _lazily(self, text: str, at: str, served_as: str) -> str:
        """Turn `import()` of packed modules to their packs, and other paths to the served place."""

        def turn(found: re.Match[str]) -> str:
            target = _target(at, found["path"])
            home = self._home.get(target)
            if home is None:
                return f"import('{_relative(served_as, target)}')"
            return f"import('{_relative(served_as, home)}').then((pack) => pack.{_name(target)})"

        return _LAZY.sub(turn, text)


def _bare(text: str) -> str:
    """The module without its comments that stand on lines of their own; the lines stay."""
    return _LINE.sub("", _BLOCK.sub(lambda found: "\n" * found[0].count("\n"), text))


def _exported(text: str) -> tuple[str, str]:
    """The module without the word export, and an object of what it exports."""
    names: list[str] = []

    def made(found: re.Match[str]) -> str:
        names.append(found["name"])
        return ""

    def listed(found: re.Match[str]) -> str:
        names.extend(f"{theirs}: {mine}" for mine, theirs in _pairs(found["names"]))
        return ""

    text = _LIST.sub(listed, _MADE.sub(made, text))
    if _DEFAULT.search(text):
        text = _DEFAULT.sub("const $default = ", text)
        names.append("default: $default")
    return text, f"{{ {', '.join(names)} }}"


def _pairs(names: str) -> list[tuple[str, str]]:
    """`{ a, b as c }` as (a, a), (b, c)."""
    each = [part.strip() for part in names.strip("{} \n").split(",")]
    split = [_AS.split(part) for part in each if part]
    return [(part[0], part[-1]) for part in split]


def _taken(found: re.Match[str], target: str) -> str:
    if found["whole"]:
        return f"const {found['whole']} = {_name(target)};"
    if found["default"]:
        return f"const {found['default']} = {_name(target)}.default;"
    if not found["names"]:
        return ""
    inner = ", ".join(a if a == b else f"{a}: {b}" for a, b in _pairs(found["names"]))
    return f"const {{ {inner} }} = {_name(target)};"


def _name(path: str) -> str:
    """The constant that holds a module: ui/dom.js is $ui_dom."""
    return "$" + re.sub(r"\W", "_", path.removesuffix(".js"))


def _target(at: str, path: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(at), path))


def _relative(at: str, target: str) -> str:
    found = posixpath.relpath(target, posixpath.dirname(at) or ".")
    return found if found.startswith(".") else f"./{found}"
