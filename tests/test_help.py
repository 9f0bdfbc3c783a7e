"""What the help pages tell a person to type, to watch and to open is there."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from flowengine.cli import COMMANDS, make_parser
from flowengine.engine.doctor_folder import KNOWN

ROOT = Path(__file__).resolve().parents[1]
PAGES = {page.name: page.read_text(encoding="utf-8") for page in (ROOT / "web/help").glob("*.md")}
OPERATE = PAGES["operate.md"]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
OWN_PATH = re.compile(r"(?<![\w.$~-])/(?:work|tmp|home|opt|root|Users|venv)\b")
METRIC = re.compile(r"\bflowengine_[a-z_]+")


def commands() -> Iterator[tuple[str, str]]:
    """Every `flowengine ...` of the pages: in a block, or in a line of text."""
    for name, text in sorted(PAGES.items()):
        lines = [line for _, block in BLOCK.findall(text) for line in block.splitlines()]
        for line in [*lines, *CODE.findall(BLOCK.sub("", text))]:
            if line.startswith("flowengine "):
                yield name, re.split(r" [<>] ", line)[0]


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_can_be_given(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    assert words[0] in COMMANDS, page
    if len(words) > 1:  # alone it is only the command's name
        make_parser(words[0]).parse_args(words)


def test_a_command_with_an_unknown_option_would_be_found() -> None:
    with pytest.raises(SystemExit):
        make_parser("doctor").parse_args(["doctor", "--mendd"])


def section(title: str) -> str:
    """The text of one section of `operate.md`."""
    return OPERATE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def calls_of(function: str, path: Path) -> Iterator[list[object]]:
    """The constant arguments of each call of a function in a file, None where there is none."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == function:
            yield [a.value if isinstance(a, ast.Constant) else None for a in node.args]


def metrics() -> set[str]:
    """What `/metrics` calls each number; prometheus-client ends the name of a counter."""
    found = calls_of("Sample", ROOT / "flowengine/engine/metrics.py")
    return {f"flowengine_{name}" + "_total" * (kind == "counter") for name, kind, *_ in found}


def test_every_metric_is_explained_and_no_other() -> None:
    assert set(METRIC.findall(section("What to watch"))) == metrics()


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_metric_named_exists(page: str) -> None:
    assert set(METRIC.findall(PAGES[page])) <= metrics()


def test_every_reason_for_a_drop_is_explained_and_no_other() -> None:
    reasons = {
        str(place)
        for path in (ROOT / "flowengine/engine").glob("*.py")
        for _, place in (args for args in calls_of("fate_at", path) if len(args) == 2)
        if place and f'DROPPED, "{place}"' in path.read_text(encoding="utf-8")
    }
    lines = [line for line in section("Why a message was dropped").splitlines() if "`:" in line]
    heads = [line.partition(":")[0] for line in lines if line.startswith("- ")]
    assert {name for head in heads for name in CODE.findall(head)} == reasons


def said() -> str:
    """All constant texts of the program, one a line; what is filled in is left out."""
    texts: list[str] = []
    for room in ("engine", "commands", "nodes"):
        for path in (ROOT / "flowengine" / room).rglob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            constants = (node.value for node in nodes if isinstance(node, ast.Constant))
            texts += (text for text in constants if isinstance(text, str))
    return "\n".join(texts)


def test_every_line_of_the_log_that_it_quotes_can_be_said() -> None:
    rows = [row for row in section("What speaks up").splitlines() if row.startswith("| `")]
    quoted = [CODE.findall(row)[0] for row in rows]
    pieces = [piece.strip() for quote in quoted for piece in quote.split("…") if piece.strip()]
    texts = said()
    assert len(quoted) > 15
    assert [piece for piece in pieces if piece not in texts] == []


def test_every_small_file_of_the_data_folder_has_its_line() -> None:
    told = set(CODE.findall(section("The data folder")))
    assert set(KNOWN) <= told


@pytest.mark.parametrize("page", sorted(PAGES))
def test_every_link_leads_somewhere(page: str) -> None:
    for link in LINK.findall(PAGES[page]):
        name, _, place = link.partition("#")
        target = (ROOT / "web/help" / name).resolve() if name else ROOT / "web/help" / page
        assert target.exists(), link
        if place:
            headings = HEADING.findall(target.read_text(encoding="utf-8"))
            marks = {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}
            assert place in marks, link


@pytest.mark.parametrize("page", sorted(PAGES))
def test_no_path_of_a_machine_is_shown(page: str) -> None:
    assert OWN_PATH.findall(PAGES[page]) == []


@pytest.mark.parametrize("page", ["operate.md", "delivery.md"])
def test_readme_leads_to_it(page: str) -> None:
    assert f"(web/help/{page})" in (ROOT / "README.md").read_text(encoding="utf-8")
