"""The programs of the web tests: node, its packages as `.ci/web-tools` pins them, and Chromium.

Where one is absent the test is skipped with the reason; where CI is set it fails.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINNED = ROOT / ".ci" / "web-tools"
MODULES = ROOT / "node_modules"


def absent(what: str) -> NoReturn:
    """Skip, or fail where CI is set: there everything is to be installed."""
    why = f"{what} is not here. Get it: make real-parts"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def program(*names: str) -> str:
    """The first of these programs that is installed."""
    for name in names:
        if found := shutil.which(name):
            return found
    absent(names[0])


@cache
def pinned() -> dict[str, str]:
    """Package -> version."""
    lines = PINNED.read_text("utf-8").splitlines()
    pairs = (line.rpartition("@") for line in lines if line and not line.startswith("#"))
    return {name: version for name, _, version in pairs}


def package(name: str) -> Path:
    """The folder of an npm package in its pinned version, installed when first asked for."""
    folder = MODULES / name
    stamp = folder / "package.json"
    wanted = f'"version": "{pinned()[name]}"'
    if not stamp.exists() or wanted not in stamp.read_text("utf-8"):
        npm = program("npm")
        specs = [f"{each}@{version}" for each, version in pinned().items()]
        how = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(
            [npm, "install", *how, "--prefix", str(ROOT), *specs],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if done.returncode:
            absent(f"the npm package {name} ({done.stderr.strip()[-300:]})")
    return folder
