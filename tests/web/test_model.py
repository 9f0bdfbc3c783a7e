"""The editor's modules are sound: their own tests pass under node, and their types fit."""

import json
import re
import subprocess

from tests.web.tools import ROOT, package, program

STATIC = ROOT / "web" / "static"
LONGEST = 500
ALTOGETHER = 9700


def test_the_model_passes_its_tests_without_a_browser() -> None:
    node = program("node")
    files = sorted(str(path) for path in (ROOT / "tests/web/model").glob("*.test.js"))
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", *files],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    failed = [line for line in done.stdout.splitlines() if line.lstrip().startswith("not ok")]
    assert done.returncode == 0, "\n".join(failed) or done.stderr
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) > 100


def test_every_module_fits_its_types() -> None:
    tsc = package("typescript") / "bin" / "tsc"
    done = subprocess.run(
        [program("node"), str(tsc), "--noEmit", "-p", str(ROOT / "web" / "tsconfig.json")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_type_check_is_strict() -> None:
    options = json.loads((ROOT / "web" / "tsconfig.json").read_text("utf-8"))["compilerOptions"]
    assert {"allowJs", "checkJs", "strict", "noEmit"} <= {k for k, v in options.items() if v}


def test_every_module_is_short_and_says_first_what_it_is() -> None:
    total = 0
    for path in sorted(STATIC.rglob("*.js")):
        lines = path.read_text("utf-8").splitlines()
        total += len(lines)
        assert lines[0].startswith(("// ", "/**")), f"{path} says not what it is"
        assert len(lines) <= LONGEST, f"{path} has {len(lines)} lines"
    assert total <= ALTOGETHER


def test_the_model_knows_no_page() -> None:
    for path in (STATIC / "model").glob("*.js"):
        code = re.sub(r"//.*|/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
        assert not re.search(r"\b(document\.|window\.|localStorage|fetch\()", code), path


def test_nothing_is_set_as_html_and_nothing_is_evaluated() -> None:
    banned = re.compile(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    )
    for path in STATIC.rglob("*.js"):
        assert not banned.search(path.read_text("utf-8")), path


def test_nothing_comes_from_another_host() -> None:
    for path in [*STATIC.rglob("*"), *(ROOT / "web/templates").glob("*.html")]:
        if path.suffix not in {".js", ".css", ".svg", ".html"}:
            continue
        text = path.read_text("utf-8").replace("http://www.w3.org/", "")
        assert not re.search(
            r"""(?:src|href|url\(|from|import\()\s*=?\s*["']?(?:https?:)?//""", text
        ), path
