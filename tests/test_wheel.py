"""The wheel works as users get it: built, installed into an empty environment, run elsewhere."""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pyproject.toml", "LICENSE", "README.md", "flowengine", "nodes", "web", "flows")
# What a build or a run leaves behind; in a stale `build` folder, removed modules would live on.
MADE = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", ".flowengine")


def run(*command: str | Path, cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run without anything that would lead Python back to the checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, **extra},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive, which is built from a copy of the checkout.

    Without the network: the build tools are those of this environment.
    """
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=MADE)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, tree / name)
    built = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, cwd=tree)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment with flowengine from the wheel; the libraries are shared with this one.

    A path line in a .pth file shares the folder without reading its own .pth files, so an
    editable install of the checkout stays invisible.
    """
    home = tmp_path_factory.mktemp("empty")
    made = run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    assert made.returncode == 0, made.stderr
    python = home / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    done = run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    asked = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=home)
    shared = sysconfig.get_path("purelib")
    Path(asked.stdout.strip(), "shared.pth").write_text(f"{shared}\n")
    yield home
    shutil.rmtree(home)


def shipped(folder: str, *patterns: str) -> set[str]:
    """The files of a folder that must be in the wheel, as paths in it."""
    inside = folder if folder == "flowengine" else f"flowengine/{folder}"
    return {
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for pattern in patterns
        for path in (ROOT / folder).glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize(
    ("folder", "patterns"),
    [
        ("flowengine", ("*.py", "engine/*.py", "py.typed", "CHANGELOG.md")),
        ("nodes", ("**/*.py",)),
        ("web", ("**/*.py", "templates/**/*.html", "static/**/*", "help/*.md")),
        ("flows", ("*.py", "*.json")),
    ],
)
def test_holds_every_file_of(wheel: Path, folder: str, patterns: tuple[str, ...]) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert shipped(folder, *patterns) - names == set()


def test_holds_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top.partition("-")[0] for top in tops} == {"flowengine"}
    assert len(tops) == 2  # the package and its metadata
    names = [Path(name).name for name in zipfile.ZipFile(wheel).namelist()]
    assert [name for name in names if name.startswith(("test_", "conftest"))] == []


def test_says_who_may_use_it(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    facts = email.message_from_bytes(archive.read(metadata))
    assert (facts["Name"], facts["License-Expression"]) == ("flowengine", "Apache-2.0")
    assert [name for name in archive.namelist() if name.endswith("licenses/LICENSE")] != []


def test_is_what_gets_imported(environment: Path, tmp_path: Path) -> None:
    code = "import flowengine.nodes, flowengine.web, flowengine.flows as f; print(f.__file__)"
    ran = run(environment / "bin" / "python", "-c", code, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert Path(ran.stdout.strip()).is_relative_to(environment)


def test_installs_no_module_beside_its_own(environment: Path, tmp_path: Path) -> None:
    for name in ("nodes", "web", "flows"):
        ran = run(environment / "bin" / "python", "-c", f"import {name}", cwd=tmp_path)
        assert "ModuleNotFoundError" in ran.stderr, f"{name}: {ran.stderr}"


def test_checks_the_shipped_flows_from_another_folder(environment: Path, tmp_path: Path) -> None:
    code = "import flowengine.flows as f; print(f.__path__[0])"
    folder = Path(run(environment / "bin" / "python", "-c", code, cwd=tmp_path).stdout.strip())
    flows = [path for path in sorted(folder.glob("*.json")) if path.name.count(".") == 1]
    assert flows
    ran = run(environment / "bin" / "flowengine", "check", *flows, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
