"""A flow that was found whole is not checked again until it, or what checks it, changes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowengine import check
from flowengine.engine.checked import CheckedFlows
from flowengine.errors import Finding
from flowengine.flow import Flow, parse_flow
from flowengine.registry import Registry

WHOLE: dict[str, Any] = {
    "format": 1,
    "params": {"limit": {"type": "number", "default": 8}},
    "nodes": {
        "tick": {"type": "timer.tick", "config": {"every": "1s"}},
        "show": {"type": "debug"},
    },
    "wires": ["tick -> show"],
}
WARNED = {**WHOLE, "wires": []}
FAULTY = {**WHOLE, "wires": ["tick -> nobody"]}

Counted = Callable[[], int]


def flow_of(source: dict[str, Any], *, flow_id: str = "hall", file: str | None = None) -> Flow:
    flow, findings = parse_flow(json.dumps(source), flow_id=flow_id, file=file)
    assert flow is not None
    assert findings == []
    return flow


def look(data: Path, *flows: Flow, **params: Any) -> list[Finding]:
    """What a process that starts now finds."""
    values = {flow.id: params for flow in flows}
    return CheckedFlows(data, Registry()).check(flows, values)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """How often flows were checked so far."""
    calls: list[int] = []
    real = check.check_flows

    def counted(*given: Any) -> list[Finding]:
        calls.append(1)
        return real(*given)

    monkeypatch.setattr(check, "check_flows", counted)
    return lambda: len(calls)


def test_the_second_start_checks_nothing(tmp_path: Path, checks: Counted) -> None:
    assert look(tmp_path, flow_of(WHOLE)) == []
    assert look(tmp_path, flow_of(WHOLE)) == []
    assert checks() == 1


def test_warnings_are_told_again(tmp_path: Path, checks: Counted) -> None:
    first = look(tmp_path, flow_of(WARNED))
    assert {finding.severity for finding in first} == {"warning"}
    assert look(tmp_path, flow_of(WARNED)) == first
    assert checks() == 1


def test_a_fault_is_looked_for_at_every_start(tmp_path: Path, checks: Counted) -> None:
    first = look(tmp_path, flow_of(FAULTY))
    assert "error" in {finding.severity for finding in first}
    assert look(tmp_path, flow_of(FAULTY)) == first
    assert checks() == 2


@pytest.mark.parametrize(
    "changed",
    [
        lambda: flow_of({**WHOLE, "title": "Hall"}),
        lambda: flow_of(WHOLE, flow_id="cellar"),
        lambda: flow_of(WHOLE, file="flows/hall.json"),
    ],
    ids=["its text", "its name", "its place"],
)
def test_a_change_is_checked(tmp_path: Path, checks: Counted, changed: Callable[[], Flow]) -> None:
    look(tmp_path, flow_of(WHOLE))
    look(tmp_path, changed())
    assert checks() == 2


def test_a_changed_param_is_checked(tmp_path: Path, checks: Counted) -> None:
    look(tmp_path, flow_of(WHOLE), limit=7)
    look(tmp_path, flow_of(WHOLE), limit=7)
    assert checks() == 1
    look(tmp_path, flow_of(WHOLE), limit=9)
    assert checks() == 2


def test_other_code_checks_again(
    tmp_path: Path, checks: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "site"
    package.mkdir()
    monkeypatch.syspath_prepend(package)
    look(tmp_path / "", flow_of(WHOLE))
    (package / "flowengine_modbus-2.0.dist-info").mkdir()
    look(tmp_path / "", flow_of(WHOLE))
    assert checks() == 2


def test_a_new_flow_beside_known_ones_is_checked(tmp_path: Path, checks: Counted) -> None:
    look(tmp_path, flow_of(WHOLE))
    found = look(tmp_path, flow_of(WHOLE), flow_of(FAULTY, flow_id="cellar"))
    assert {finding.where.flow for finding in found} == {"cellar"}
    assert checks() == 2


def test_two_flows_of_one_name_are_told_though_both_are_known(tmp_path: Path) -> None:
    for _ in range(2):
        found = look(tmp_path, flow_of(WHOLE), flow_of(WHOLE))
        assert [finding.slug for finding in found] == ["bad-id"]


@pytest.mark.parametrize("written", [b"", b"{", b"[]", b'{"ground": 1}'])
def test_a_damaged_record_is_done_without(tmp_path: Path, checks: Counted, written: bytes) -> None:
    look(tmp_path, flow_of(WHOLE))
    (tmp_path / "checked.json").write_bytes(written)
    assert look(tmp_path, flow_of(WHOLE)) == []
    assert look(tmp_path, flow_of(WHOLE)) == []
    assert checks() == 2


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path, checks: Counted) -> None:
    missing = tmp_path / "missing"
    assert look(missing, flow_of(WHOLE)) == []
    assert look(missing, flow_of(WHOLE)) == []
    assert checks() == 2


def test_families_of_ours_are_not_looked_for_elsewhere_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(tmp_path, flow_of(WHOLE))
    registry = Registry()
    monkeypatch.setattr(registry, "_entry_points", lambda: pytest.fail("it looked"))
    monkeypatch.delitem(sys.modules, "flowengine.nodes.timer")
    CheckedFlows(tmp_path, registry)
    assert registry.find("timer.tick").name == "timer.tick"


def test_a_restart_does_not_load_networkx(tmp_path: Path) -> None:
    flow = tmp_path / "hall.json"
    flow.write_text(json.dumps(WHOLE))
    program = (
        "import sys; from pathlib import Path\n"
        "from flowengine.commands.run import RunOptions, load\n"
        "options = RunOptions(paths=[Path(sys.argv[1])], data=Path(sys.argv[2]))\n"
        "assert len(load(options, lambda name: None).plans) == 1\n"
        "print('networkx' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(flow), str(tmp_path)]
    said = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)
    ]
    assert said == ["True\n", "False\n"]
