"""What was run of each row of the fault catalogue, and what was seen: the rows of the table.

A test belongs to a row by its name (`test_f06_...`), wherever it stands. A test of `tests/faults`
may say what it saw, by the fixture `seen`; every other one counts by passing. With
`--faults-report FILE` the run writes both as JSON lines, from which `python -m tests.faults` makes
the page that users read.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROW = re.compile(r"test_f(\d\d)_")


class Seen:
    """What a test saw of its row: called once or more, each call is a run."""

    def __init__(self, row: str, test: str) -> None:
        self.row = row
        self.test = test
        self.said: list[dict[str, Any]] = []

    def __call__(
        self,
        *,
        runs: int = 1,
        lost: int | None = None,
        duplicates: int | None = None,
        recovery: float | None = None,
        **figures: Any,
    ) -> None:
        """Say what was seen; `recovery` in seconds, None where a figure does not apply.

        `figures` are shown as they are named: `p99_ratio=1.3`, `rss_mb=74`.
        """
        self.said.append(
            {
                "row": self.row,
                "test": self.test,
                "runs": runs,
                "lost": lost,
                "duplicates": duplicates,
                "recovery": recovery,
                "figures": figures,
            }
        )


class Report:
    """Collects the outcome of every test that has a row, and what it said."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lines: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test's outcome."""
        found = ROW.search(report.nodeid.rpartition("::")[2])
        ended = report.when == "call" or (report.when == "setup" and report.outcome != "passed")
        if found is None or not ended:
            return
        said = dict(report.user_properties).get("seen", [])
        self.lines.append(
            {
                "row": f"F-{found[1]}",
                "test": report.nodeid,
                "outcome": report.outcome,
                "said": said,
            }
        )

    def pytest_sessionfinish(self) -> None:
        """Write what was seen."""
        if self.path is not None:
            text = "".join(json.dumps(line) + "\n" for line in self.lines)
            self.path.write_text(text)


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> Seen:
    """Says what a test saw of its row of the catalogue."""
    found = ROW.search(request.node.name)
    assert found is not None, "only a test of the catalogue (test_fNN_...) has something to say"
    said = Seen(f"F-{found[1]}", request.node.nodeid)
    request.node.user_properties.append(("seen", said.said))
    return said
