"""The table of faults tells what ran: every row is there, has a test or says why not."""

import json
import re
from pathlib import Path

import pytest

from tests.faults.__main__ import PAGE
from tests.faults.catalogue import BY_ID, ROWS, UNTESTED, by_row, rows_of
from tests.faults.page import headline, page, read_report, table

LINE = re.compile(r"^\| (F-\d\d) \|", re.MULTILINE)


def said(**more: object) -> dict[str, object]:
    return {"runs": 1, "lost": None, "duplicates": None, "recovery": None, "figures": {}, **more}


def report(tmp_path: Path, *tests: tuple[str, str, list[dict[str, object]]]) -> Path:
    path = tmp_path / "faults.jsonl"
    lines = [
        {"row": "F-01", "test": f"tests/test_x.py::{name}", "outcome": outcome, "said": told}
        for name, outcome, told in tests
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_every_row_that_can_be_tested_has_a_test() -> None:
    """A row in UNTESTED that has one by now leaves that list."""
    tested = set(by_row())
    assert tested <= set(BY_ID), "a test is named for a row that the catalogue has not"
    assert {row.id for row in ROWS if not row.absent} - tested == UNTESTED


def test_a_row_for_a_missing_part_has_no_test() -> None:
    """Else the part is there by now, and the row counts."""
    assert {row.id for row in ROWS if row.absent} & set(by_row()) == set()


def test_ids_are_unique_and_in_order() -> None:
    assert len(BY_ID) == len(ROWS) == 77
    assert [row.id for row in ROWS] == sorted(BY_ID)


@pytest.mark.skipif(not PAGE.exists(), reason="make faults has not made it yet")
def test_the_page_has_the_rows_of_the_catalogue() -> None:
    text = PAGE.read_text()
    assert LINE.findall(text) == [row.id for row in ROWS]
    assert "FAILED" not in text
    assert not re.search(r"/(home|root|tmp|work)/|\b20\d\d-\d\d-\d\d\b", text)


def test_the_page_adds_up_what_tests_have_said(tmp_path: Path) -> None:
    outcomes = read_report(
        report(
            tmp_path,
            ("test_f01_killed[a]", "passed", [said(runs=200, lost=0, duplicates=2, recovery=0.5)]),
            ("test_f01_killed[b]", "passed", [said(runs=5, lost=1, figures={"rss_mb": 74})]),
            ("test_f01_f02_cut", "passed", []),
            ("test_f20_broker", "failed", [said(runs=7, lost=9)]),
            ("test_f50_full", "skipped", []),
        )
    )
    assert outcomes["F-01"][:7] == (3, (), 0, 206, 1, 2, 0.5)
    assert outcomes["F-02"][:4] == (1, (), 0, 1)
    assert headline(outcomes) == "2 faults, 207 runs, 1 acknowledged messages lost"
    text = page(outcomes)
    assert LINE.findall(text) == [row.id for row in ROWS]
    row = {found[2:6]: found for found in text.splitlines() if LINE.match(found)}
    assert row["F-01"].endswith("| 3 | 206 | 1 | 2 | 0.5 s | rss mb 74 |")
    assert row["F-20"].endswith("|  |  |  |  |  | FAILED: test_f20_broker |")
    assert row["F-50"].endswith("| could not run on this machine |")
    assert row["F-76"].endswith("| there is no such part yet: LoRaWAN |")
    assert row["F-12"].endswith("| not run |")


def test_the_table_shows_the_rows_that_were_asked_for(tmp_path: Path) -> None:
    outcomes = read_report(report(tmp_path, ("test_f20_broker", "passed", [said(recovery=2.04)])))
    lines = table(outcomes, [BY_ID["F-20"]]).splitlines()
    assert [line[:5].strip() for line in lines] == ["Row", "F-20", "", "1 fau"]
    assert " 2.0 s" in lines[1]


@pytest.mark.parametrize(
    ("test", "rows"),
    [
        ("tests/a/test_f.py::test_f01_killed[time]", ["F-01"]),
        ("tests/a/test_f.py::TestX::test_f01_f02_cut", ["F-01", "F-02"]),
        ("tests/test_f99_x.py::test_files", []),
        ("tests/nodes/test_file.py::test_format", []),
    ],
)
def test_a_test_belongs_to_the_rows_in_its_own_name(test: str, rows: list[str]) -> None:
    assert rows_of(test) == rows
