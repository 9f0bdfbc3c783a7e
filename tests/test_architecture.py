"""The rooms of the tree stay in their places: arrows between them point down.

The table says which room may import which. A new module needs a room; a new arrow is a change to
this table, argued in its commit.
"""

import ast
import graphlib
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = {"flowengine": "flowengine", "flows": "flowengine.flows", "nodes": "flowengine.nodes"}
TOP["web"] = "flowengine.web"
ANY = frozenset({"*"})


class Room(NamedTuple):
    """Some modules of `flowengine` (patterns), the rooms below that they may use, and libraries."""

    modules: tuple[str, ...]
    below: tuple[str, ...]
    libraries: frozenset[str]


CELLAR = (
    "accounts",
    "arrivals",
    "cursorfile",
    "delivery",
    "disk",
    "fates",
    "frames",
    "gate",
    "leaving",
    "ledger",
    "opening",
    "origins",
    "parts",
    "quarantine_rows",
    "replayreceipt",
    "rewrite",
    "salvage",
    "segment",
    "seqset",
    "spool",
    "state",
    "store",
    "wire",
)
BASE = ("words", "language", "contract")
CHECKED = (*BASE, "documents", "graph", "registry", "checks")
ROOMS = {
    "words": Room(("errors", "logs", "message"), (), frozenset({"msgspec"})),
    "language": Room(
        (
            "clock",
            "content*",
            "expression*",
            "functions*",
            "moments",
            "path",
            "template",
            "trust",
            "values",
        ),
        ("words",),
        frozenset({"cbor2", "msgspec", "re2"}),
    ),
    "contract": Room(
        ("fields", "node", "stamping"),
        ("words", "language"),
        frozenset({"msgspec", "pydantic", "pydantic_core"}),
    ),
    "documents": Room(
        ("cases", "cases.model", "cases.reader", "config", "flow*", "secrets*"),
        BASE,
        frozenset({"msgspec", "pydantic", "pydantic_core", "cryptography"}),
    ),
    "graph": Room(("graph",), (*BASE, "documents"), frozenset({"networkx"})),
    "registry": Room(("registry",), BASE, frozenset()),
    "checks": Room(
        ("bundle", "check*", "diff*"),
        (*BASE, "documents", "graph", "registry"),
        frozenset({"msgspec", "pydantic", "pydantic_core"}),
    ),
    "cellar": Room(  # of the engine: knows messages and disks, and nothing of flows
        tuple(f"engine.{name}" for name in CELLAR),
        BASE,
        frozenset({"msgspec"}),
    ),
    "engine": Room(
        ("engine", "engine.*"),
        (*CHECKED, "cellar"),
        frozenset({"msgspec", "pydantic", "psutil", "prometheus_client", "cryptography"}),
    ),
    "tools": Room(
        ("testing*", "docs", "schema*", "cases.match", "cases.run", "broker"),
        (*CHECKED, "cellar", "engine"),
        ANY,
    ),
    "commands": Room(
        ("__main__", "cli*", "commands*", "git", "table"),
        (*CHECKED, "cellar", "engine", "tools"),
        ANY,
    ),
}
FOR_NODES = {"flowengine", "flowengine.errors", "flowengine.fields"}
FOR_WEB = ("words", "language", "contract", "documents", "checks", "registry", "engine")
TOOLS_FOR_WEB = {"flowengine.docs", "flowengine.schema", "flowengine.cases.run"}
FAMILY_MARKS = {"node", "connection_type"}


class Import(NamedTuple):
    """One imported module, with the line, and whether it is imported only when a function runs."""

    module: str
    line: int
    late: bool


@cache
def modules() -> dict[str, Path]:
    """Every Python module that ships, by its import name."""
    found = {}
    for folder, package in TOP.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inner = path.relative_to(ROOT / folder)
            # In flowengine/, three names are links to their neighbours at the top.
            if folder == "flowengine" and inner.parts[0] in TOP:
                continue
            steps = [package, *inner.with_suffix("").parts]
            found[".".join(step for step in steps if step != "__init__")] = path
    return found


def imports(source: str, module: str, *, package: bool = False) -> list[Import]:
    """Read the imports of a module; of `from x import y`, the narrowest that is a module."""
    found = []
    tree = ast.parse(source)
    late = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for entry in ast.walk(tree):
        names: list[str] = []
        if isinstance(entry, ast.Import):
            names = [alias.name for alias in entry.names]
        elif isinstance(entry, ast.ImportFrom):
            start = module.split(".")
            base = start[: len(start) - entry.level + package] if entry.level else []
            origin = ".".join([*base, *filter(None, [entry.module])])
            for alias in entry.names:
                name = f"{origin}.{alias.name}"
                told_apart = origin != "flowengine" or alias.name not in public()
                names.append(name if name in modules() and told_apart else origin)
            if origin == "flowengine" and [a.name for a in entry.names] == ["__version__"]:
                names = []  # a fact, not an arrow
        found += [Import(name, getattr(entry, "lineno", 0), id(entry) in late) for name in names]
    return found


@cache
def public() -> set[str]:
    """The names that `flowengine` gives; `node` among them is the mark, not the module."""
    tree = ast.parse(modules()["flowengine"].read_text())
    froms = [entry for entry in ast.walk(tree) if isinstance(entry, ast.ImportFrom)]
    return {alias.asname or alias.name for entry in froms for alias in entry.names}


@cache
def arrows(module: str) -> list[Import]:
    """The imports of a module that ships."""
    path = modules()[module]
    return imports(path.read_text(), module, package=path.name == "__init__.py")


def room_of(module: str) -> str:
    """The room of a module of the core, by the first pattern that fits."""
    short = module.removeprefix("flowengine.")
    for name, room in ROOMS.items():
        if any(fnmatch(short, pattern) for pattern in room.modules):
            return name
    return ""


def is_ours(module: str) -> bool:
    """Say whether it is a module of flowengine."""
    return module.partition(".")[0] == "flowengine"


def library_of(module: str) -> str:
    """The library that a foreign module belongs to; empty for the standard library and for ours."""
    top = module.partition(".")[0]
    return "" if top in sys.stdlib_module_names or is_ours(module) else top


def within(package: str) -> list[str]:
    """The modules below a package, and itself."""
    return [name for name in modules() if name == package or name.startswith(f"{package}.")]


CORE = [
    name
    for name in modules()
    if name != "flowengine"
    and not any(name in within(TOP[top]) for top in ("flows", "nodes", "web"))
]


@pytest.mark.parametrize("module", CORE)
def test_arrows_point_down(module: str) -> None:
    name = room_of(module)
    assert name, f"give {module} a room in the table above"
    room = ROOMS[name]
    allowed = {name, *room.below}
    for found in arrows(module):
        where = f"{modules()[module].relative_to(ROOT)}:{found.line}"
        if library := library_of(found.module):
            assert room.libraries == ANY or library in room.libraries, f"{where}: {library}"
        elif found.module in within("flowengine.web"):
            assert name == "commands", f"{where}: only the commands may import the editor"
            assert found.late, f"{where}: import the editor inside the command that serves it"
        elif found.module in within("flowengine.nodes"):
            assert name == "commands", f"{where}: only a command may read with a node's codec"
            assert found.late, f"{where}: import the codec inside the command that reads with it"
            assert not is_family(modules()[found.module].read_text()), f"{where}: no codec"
        elif found.module == "flowengine":
            assert name in {"tools", "commands"}, f"{where}: import the module where it lives"
        elif is_ours(found.module) and found.module != "flowengine.flows":
            other = room_of(found.module) or "no room"
            assert other in allowed, f"{where}: {name} may not use {found.module} ({other})"


def test_there_is_no_circle() -> None:
    graph = {name: {found.module for found in arrows(name)} & set(CORE) for name in CORE}
    graphlib.TopologicalSorter(graph).prepare()


def test_nothing_stands_on_the_runtime_but_what_shows_it() -> None:
    users = {
        name
        for name in CORE
        if room_of(name) in {"engine", "cellar"}
        and any(found.module == "flowengine.engine.runtime" for found in arrows(name))
    }
    assert users <= {"flowengine.engine", "flowengine.engine.metrics"}


def unit_of(module: str) -> str:
    """The family or codec that a module below `flowengine.nodes` belongs to."""
    return module.removeprefix("flowengine.nodes").strip(".").partition(".")[0]


def is_family(source: str) -> bool:
    """Say whether the source marks something as a node type or a connection type."""
    for entry in ast.walk(ast.parse(source)):
        for mark in getattr(entry, "decorator_list", []):
            called = mark.func if isinstance(mark, ast.Call) else mark
            if getattr(called, "id", getattr(called, "attr", "")) in FAMILY_MARKS:
                return True
    return False


@pytest.mark.parametrize("module", within("flowengine.nodes"))
def test_nodes_use_the_public_modules_and_codecs(module: str) -> None:
    families = {
        unit_of(n) for n in within("flowengine.nodes") if is_family(modules()[n].read_text())
    }
    for found in arrows(module):
        where = f"{modules()[module].relative_to(ROOT)}:{found.line}"
        if found.module in within("flowengine.nodes"):
            unit = unit_of(found.module)
            assert unit == unit_of(module) or unit not in families, (
                f"{where}: another family, {unit}"
            )
        elif is_ours(found.module):
            assert found.module in FOR_NODES, f"{where}: nodes may not use {found.module}"


@pytest.mark.parametrize("module", within("flowengine.web"))
def test_the_editor_knows_no_node(module: str) -> None:
    for found in arrows(module):
        where = f"{modules()[module].relative_to(ROOT)}:{found.line}"
        if is_ours(found.module) and found.module not in within("flowengine.web"):
            fits = room_of(found.module) in FOR_WEB or found.module in TOOLS_FOR_WEB
            assert fits, f"{where}: the editor may not use {found.module}"


def test_the_packages_are_the_folders_with_code() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        path.parent: name if path.name == "__init__.py" else name.rpartition(".")[0]
        for name, path in modules().items()
    }
    assert sorted(settings["packages"]) == sorted(set(folders.values()))
    assert [str(p.relative_to(ROOT)) for p in folders if not (p / "__init__.py").exists()] == []


def test_importing_flowengine_loads_no_driver() -> None:
    heavy = {"aiocoap", "paho", "influxdb_client", "starlette", "uvicorn", "jinja2", "networkx"}
    heavy |= {"amqtt", "psycopg", "pymodbus", "cryptography", "pint", "httpx", "websockets"}
    code = "import sys, flowengine; print(*{name.split('.')[0] for name in sys.modules})"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=60,
    )
    loaded = set(ran.stdout.split())
    assert "flowengine" in loaded
    assert loaded & heavy == set()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import json, os.path", ["json", "os.path"]),
        ("from flowengine import errors", ["flowengine.errors"]),
        ("from flowengine import Message, node", ["flowengine", "flowengine"]),
        ("from flowengine import __version__", []),
        ("from flowengine.errors import NodeError", ["flowengine.errors"]),
        ("from . import delivery", ["flowengine.engine.delivery"]),
        ("from ..errors import NodeError", ["flowengine.errors"]),
        ("if TYPE_CHECKING:\n    import paho.mqtt", ["paho.mqtt"]),
    ],
)
def test_this_reader_sees_an_import(line: str, expected: list[str]) -> None:
    assert [found.module for found in imports(line, "flowengine.engine.wire")] == expected


def test_this_reader_tells_late_imports_from_early_ones() -> None:
    source = "import a\ndef f():\n    import b\n"
    assert [(i.module, i.late) for i in imports(source, "x")] == [("a", False), ("b", True)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("@node('scale')\ndef scale(): ...", True),
        ("@fe.node('scale', outputs=('a',))\nclass Scale: ...", True),
        ("@connection_type('mqtt')\nclass Link: ...", True),
        ("@cache\ndef node(): ...", False),
    ],
)
def test_this_reader_knows_a_family(source: str, expected: bool) -> None:
    assert is_family(source) is expected
