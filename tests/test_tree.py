"""The tree holds nothing that makes code from data, and nothing of the machine it was made on."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKS = ("flows", "nodes", "web")
EVALUATES = "flowengine/expression.py"  # one place: a code object made from an allow-listed tree
UNSAFE_MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle"}
MADE = {
    ".git",
    ".venv",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
}
MADE |= {"build", "dist", "node_modules", ".flowengine", "htmlcov"}


def dangers(source: str) -> list[str]:
    """What S-26 of the security rules forbids: code or objects made from data."""
    found = []
    for entry in ast.walk(ast.parse(source)):
        if isinstance(entry, ast.Import | ast.ImportFrom):
            names = [getattr(entry, "module", None) or "", *(alias.name for alias in entry.names)]
            found += [name for name in names if name.partition(".")[0] in UNSAFE_MODULES]
        elif isinstance(entry, ast.Name) and entry.id in {"eval", "exec"}:
            found.append(entry.id)
        elif isinstance(entry, ast.Attribute) and isinstance(entry.value, ast.Name):
            name = f"{entry.value.id}.{entry.attr}"
            found += [name] if name in {"yaml.load", "yaml.unsafe_load", "builtins.eval"} else []
    return found


def files() -> Iterator[Path]:
    """Every file of the tree that a person wrote, once."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        made = any(part in MADE or part.endswith(".egg-info") for part in parts)
        linked = parts[0] == "flowengine" and len(parts) > 1 and parts[1] in LINKS
        if not made and not linked and path.is_file():
            yield path


def test_no_code_is_made_from_data() -> None:
    found = [
        (str(path.relative_to(ROOT)), danger)
        for path in files()
        if path.suffix == ".py"
        for danger in dangers(path.read_text())
    ]
    assert [entry for entry in found if entry[0] != EVALUATES] == []
    assert len(found) <= 1


PLACES = re.compile(
    r"(?<![\w.$}])/(?:work|root|tmp)(?![\w-])"  # folders of one machine
    r"|pypi\.org|pythonhosted\.org|registry\.npmjs|deb\.debian\.org"
)


def test_no_file_names_a_machine_or_a_registry() -> None:
    found = []
    for path in files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        spots = [(number, PLACES.search(line)) for number, line in enumerate(lines, 1)]
        found += [f"{path.relative_to(ROOT)}:{number}: {hit[0]}" for number, hit in spots if hit]
    assert found == []


def test_the_links_lead_to_the_folders() -> None:
    for name in LINKS:
        link = ROOT / "flowengine" / name
        assert link.is_symlink(), f"{link} is no link: clone with core.symlinks=true"
        assert link.readlink() == Path("..") / name


@pytest.mark.parametrize(
    "source",
    ["import pickle", "from marshal import loads", "eval('1')", "run = exec", "yaml.load(text)"],
)
def test_this_reader_finds_danger(source: str) -> None:
    assert len(dangers(source)) == 1


@pytest.mark.parametrize(
    ("line", "names_one"),
    [
        (f"see {'/'}work/main", True),
        (f"--data {'/'}tmp/box", True),
        (f"cd {'/'}root", True),
        (f"from pypi{'.'}org", True),
        ("a/work/b", False),
        ("/workers/3", False),
        ("/templates", False),
    ],
)
def test_this_reader_knows_a_machine(line: str, names_one: bool) -> None:
    assert bool(PLACES.search(line)) is names_one
