"""The programs of the web tests: node, its packages as `.ci/web-tools` pins them, and Chromium.

`make setup` installs the packages. Where something is absent the test is skipped with the reason;
where CI is set it fails.
"""

import json
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".ci" / "web-tools"


def absent(what: str, mend: str = "make real-parts") -> NoReturn:
    """Skip, or fail where CI is set: there everything is to be installed."""
    why = f"{what} is not here. Get it: {mend}"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def program(*names: str) -> str:
    """The first of these programs that is installed."""
    for name in names:
        if found := shutil.which(name):
            return found
    absent(names[0])


def package(name: str) -> Path:
    """The folder of an npm package, in the version that is pinned for it."""
    pinned = json.loads((TOOLS / "package.json").read_text("utf-8"))["devDependencies"][name]
    folder = TOOLS / "node_modules" / name
    stamp = folder / "package.json"
    if not stamp.exists():
        absent(f"the npm package {name}", "make setup")
    if (found := json.loads(stamp.read_text("utf-8"))["version"]) != pinned:
        absent(f"the npm package {name} {pinned} ({found} is)", "make setup")
    return folder
