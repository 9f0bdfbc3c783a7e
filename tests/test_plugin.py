"""Another package's node family stands equal to the shipped ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flowengine.registry import BrokenFamily, Registry, UnknownType

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "flowengine-acme"
version = "1.0"

[project.entry-points."flowengine.nodes"]
acme = "flowengine_acme"
{more}

[tool.setuptools]
py-modules = ["flowengine_acme", "flowengine_broken"]
"""

MODULE = '''
"""Nodes of another company."""

from pydantic import Field

from flowengine import Message, NodeConfig, node


class TimesConfig(NodeConfig):
    """How often."""

    factor: float = Field(default=2.0, description="What the number is multiplied by.")


@node("acme.times")
def times(message: Message, config: TimesConfig) -> Message:
    """Multiply the payload."""
    return message.with_payload(message.number() * config.factor)
'''

USE = """
import sys
from flowengine.registry import REGISTRY
from flowengine.testing import NodeBench

kind = REGISTRY.find("acme.times")
out = NodeBench("acme.times", {"factor": 3}).send(7)["out"][0].payload
print(kind.origin, out, "acme" in REGISTRY.families())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the second distribution installed in it."""
    source = tmp_path_factory.mktemp("acme")
    more = 'scale = "flowengine_acme"\nbroken = "flowengine_broken"'
    (source / "pyproject.toml").write_text(PYPROJECT.format(more=more))
    (source / "flowengine_acme.py").write_text(MODULE)
    (source / "flowengine_broken.py").write_text("import a_driver_that_is_not_there\n")
    target = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", str(target), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return target


def run(code: str, site: Path) -> str:
    env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{Path(__file__).parents[1]}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_family_is_found_by_its_entry_point(site: Path) -> None:
    assert run(USE, site) == "flowengine-acme 21.0 True"


def test_two_owners_of_a_family_are_an_error_that_names_both(site: Path) -> None:
    said = run(
        "from flowengine.registry import *\n"
        "try: REGISTRY.find('scale')\n"
        "except BrokenFamily as err: print(err)",
        site,
    )
    assert 'family "scale" has two owners: flowengine and flowengine-acme' in said


def test_a_family_that_cannot_be_imported_says_why(site: Path) -> None:
    said = run(
        "from flowengine.registry import *\n"
        "try: REGISTRY.find('broken.thing')\n"
        "except BrokenFamily as err: print(err)\n"
        "print(REGISTRY.find('scale.x' if False else 'compute').name)",
        site,
    )
    assert "a_driver_that_is_not_there" in said
    assert said.endswith("compute")


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("mqt.in", 'Did you mean "mqtt.in"?'),
        ("mqtt.inn", 'Did you mean "mqtt.in"?'),
        ("treshold", 'Did you mean "threshold"?'),
        ("filter.rang", 'Did you mean "filter.range"?'),
        ("nothing.like.it", "`flowengine nodes` lists what there is."),
    ],
)
def test_an_unknown_type_is_guessed(name: str, guess: str) -> None:
    with pytest.raises(UnknownType) as caught:
        Registry().find(name)
    assert caught.value.what == f'no node type "{name}"'
    assert caught.value.mend == guess


def test_families_are_listed_without_importing_them() -> None:
    code = (
        "import sys; from flowengine.registry import REGISTRY; REGISTRY.families();"
        "print(sorted(m for m in sys.modules if m.startswith('flowengine.nodes.')))"
    )
    assert run(code, Path()) == "[]"


def test_a_broken_family_is_no_reason_to_fail_for_others() -> None:
    registry = Registry()
    assert registry.family("no_such_family") == {}
    assert BrokenFamily("x").mend == ""
