"""Packs of modules: every module is in them once, means the same, and needs no other request."""

import re
import subprocess
from pathlib import Path

import pytest

from flowengine.web import packing
from flowengine.web.assets import PACKS, Assets
from tests.web.tools import program

ASSETS = Assets()
MODULES = [str(p.relative_to(ASSETS.folder)) for p in ASSETS.paths() if p.suffix == ".js"]


def texts(name: str) -> str | None:
    """A module as it stands in the folder."""
    path = ASSETS.find(name)
    return None if path is None else path.read_text("utf-8")


def packs() -> packing.Packs:
    """The editor's packs."""
    return packing.Packs(PACKS, texts)


def run(tmp_path: Path, modules: dict[str, str], entries: list[str]) -> str:
    """What Node.js prints when it runs the first of these packs."""
    made = packing.Packs(entries, modules.get)
    for name in modules:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(made.text(name) or "")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    node = program("node")
    done = subprocess.run(
        [node, str(tmp_path / entries[0])], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_packs_mean_what_their_modules_mean(tmp_path: Path) -> None:
    modules = {
        "main.js": (
            "import { add as plus, ONE } from './lib/sum.js';\n"
            "import * as all from './lib/sum.js';\n"
            "import given from './lib/many.js';\n"
            "import {\n  list,\n} from './lib/many.js';\n"
            "const later = async () => (await import('./lib/late.js')).say();\n"
            "console.log(plus(ONE, 1), all.add(2, 2), given[0], list(), new all.Box().size);\n"
            "void import('./rest.js').then(async ({ rest }) => console.log(await rest(), await later()));\n"  # noqa: E501
        ),
        "lib/sum.js": (
            "/** A comment\n * of lines. */\nexport const ONE = 1;\n// and one\n"
            "export function add(a, b) {\n  return a + b;\n}\n"
            "export class Box {\n  size = 3;\n}\n"
        ),
        "lib/many.js": (
            "function list() {\n  return 'l';\n}\nexport default ['first'];\nexport { list };\n"
        ),
        "rest.js": (
            "import { add } from './lib/sum.js';\nimport { even } from './lib/even.js';\n"
            "export async function rest() {\n  return [add(1, 1), even(4)].join();\n}\n"
        ),
        "lib/even.js": (
            "import { odd } from './odd.js';\nexport function even(n) {\n"
            "  return n === 0 || odd(n - 1);\n}\n"
        ),
        "lib/odd.js": (
            "import { even } from './even.js';\nexport function odd(n) {\n"
            "  return n !== 0 && even(n - 1);\n}\n"
        ),
        "lib/late.js": (
            "import { Box } from './sum.js';\nimport { odd } from './odd.js';\n"
            "export const say = () => `${new Box().size} ${odd(3)}`;\n"
        ),
    }
    assert run(tmp_path, modules, ["main.js", "rest.js"]) == "2 4 first l 3\n2,true 3 true"


def test_a_module_is_in_one_pack_only() -> None:
    found = [name for members in packs().members.values() for name in members]
    assert len(found) == len(set(found)) > 40


def test_every_module_is_served_whole(tmp_path: Path) -> None:
    made, node = packs(), program("node")
    for name in MODULES:
        path = tmp_path / "module.mjs"
        path.write_text(made.text(name) or "")
        done = subprocess.run(
            [node, "--check", path], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_shape_that_packs_read(name: str) -> None:
    text = texts(name) or ""
    assert len(packing.IMPORT.findall(text)) == len(re.findall(r"^import\b", text, re.MULTILINE))
    said = r"^export (?!(?:async )?function |class |const |default |\{)"
    assert re.findall(said, text, re.MULTILINE) == []


@pytest.mark.parametrize("name", MODULES)
def test_what_is_packed_is_asked_for_nowhere_else(name: str) -> None:
    made = packs()
    packed = {each for members in made.members.values() for each in members} - set(PACKS)
    text = made.text(name) or ""
    asked = re.findall(r"""(?:from|import\() ?'(\.[^']+)'""", text)
    at = Path("/") / name
    targets = {
        str((at.parent / path).resolve().relative_to("/")) for path in asked if "@" not in path
    }
    assert targets & packed == set()
    assert all(ASSETS.find(target) is not None for target in targets)
