"""Every rule of the contract that concerns what exists is held by a test that carries its number.

A test carries `R7` in its name, as `test_r7_...` or `test_r10_r58_...`, or in the id of a case, as
`"R7 a chain of comparisons"`. The rules' full text is the page of semantics; here are their titles.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

RULES = {
    1: "threshold and switches: what leaves, and when",
    2: "event time",
    3: "windows",
    4: "integers and floats in InfluxDB",
    5: "compute reads the message as it came in",
    6: "the error route, and refused",
    7: "expressions",
    8: "templates",
    9: "field paths",
    10: "keys",
    11: "MQTT's defaults, and payloads from bytes",
    12: "ready",
    13: "check --json, warnings and exit codes",
    14: "test files",
    15: "the message as JSON, and debug",
    16: "every source message has one fate, the worst",
    17: "connection types, and the CoAP server",
    18: "which files are flows",
    19: "params, environment variables and secrets",
    20: "filter.outlier",
    21: "filter.deadband",
    22: "filter.range and filter.duplicate",
    23: "route",
    24: "debounce, throttle, delay and queue",
    25: "split and join",
    26: "enrich",
    27: "sensor.simulated",
    28: "timers",
    29: "modbus.read",
    30: "units of sizes, batches and retries",
    31: "two absent sinks, one present",
    32: "series.write and reading it back",
    33: "json.decode",
    34: "numbers and wires in canonical form",
    35: "what single nodes depend on",
    36: "actuator.switch",
    37: "python",
    38: "filters before acknowledgement",
    39: "diff",
    40: "disabled nodes",
    41: "wires with settings",
    42: "overlapping filters",
    43: "retained messages",
    44: "what a node does not name it keeps",
    45: "scale and convert",
    46: "select",
    47: "the log and the metrics",
    48: "signals",
    49: "the data folder of two folders",
    50: "a folder with no flow",
    51: "layouts",
    52: "statuses of requests",
    53: "who takes no part in unconnected",
    54: "how much may be in flight",
    55: "times of arrival are all different",
    56: "time from arrival is warned of",
    57: "when a sink has committed",
    58: "shared subscriptions",
    59: "the order of a sink",
    60: "a Node-RED file",
    61: "diff of equal flows",
    62: "a site's values are what is checked and run",
    63: "what a node may return",
    64: "unconnected outputs",
    65: "status",
    66: "CSV and text",
    67: "SenML",
    68: "DTLS and OSCORE",
}
LATER = {
    25: "split and join are not built",
    26: "enrich is not built",
    29: "modbus.read is not built",
    37: "the python node is not built",
}
IN_ID = re.compile(r"[Rr](\d+)[ -]\S")


def numbers(name: str) -> Iterator[int]:
    """The rules that a test's name opens with: `test_r10_r58_the_default_key` gives 10 and 58."""
    for part in name.removeprefix("test_").split("_"):
        if not re.fullmatch(r"[rf]\d+", part):  # f61: a failure mode, which may stand between
            return
        if part[0] == "r":
            yield int(part[1:])


def ids(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[int]:
    """The rules that ids of the test's own cases open with."""
    for mark in function.decorator_list:
        for part in ast.walk(mark):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                found = IN_ID.match(part.value)
                if found:
                    yield int(found[1])


def carried() -> dict[int, list[str]]:
    """The tests that carry each number."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not part.name.startswith("test_"):
                continue
            for number in {*numbers(part.name), *ids(part)}:
                found[number].append(f"{path.relative_to(TESTS)}::{part.name}")
    return found


CARRIED = carried()


def test_the_table_has_every_rule() -> None:
    assert sorted(RULES) == list(range(1, 69))
    assert LATER.keys() < RULES.keys()


@pytest.mark.parametrize("number", sorted(RULES.keys() - LATER.keys()), ids="R{}".format)
def test_a_test_carries_its_number(number: int) -> None:
    assert CARRIED.get(number), f'no test carries R{number} ("{RULES[number]}") in its name'


@pytest.mark.parametrize("number", sorted(LATER), ids="R{}".format)
def test_what_is_not_built_is_not_claimed(number: int) -> None:
    """When it comes, its tests carry the number and it leaves the set."""
    assert CARRIED.get(number, []) == [], f"R{number} is tested: take it out of LATER"


def test_no_test_carries_a_number_that_is_no_rule() -> None:
    assert CARRIED.keys() <= RULES.keys()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_r7_gives", [7]),
        ("test_r10_r58_the_default_key", [10, 58]),
        ("test_r28_f64_daylight_saving", [28]),
        ("test_f11_r13_a_second_engine", [13]),
        ("test_reads_r7_too", []),
        ("test_r7x_no", []),
    ],
)
def test_a_number_is_read_from_where_a_name_opens(name: str, expected: list[int]) -> None:
    assert list(numbers(name)) == expected
