"""The ledger beside real programs says what was published, while the engine runs and after a kill.

A real mosquitto, `flowengine run` and `flowengine ledger` as processes of their own.
"""

import json
from pathlib import Path
from typing import Any

from tests.flow_process import FlowProcess, flowengine, write_flow
from tests.system.brokers import Mosquitto
from tests.system.publisher import Publisher
from tests.system.real import LOOPBACK, until

MESSAGES = 2000
"""Every tenth is filtered."""
KEPT = MESSAGES * 9 // 10


def write_pipeline(folder: Path, broker: Mosquitto) -> None:
    write_flow(
        folder,
        "room",
        {
            "readings": {"type": "mqtt.in", "broker": "site", "topic": "device/+/telemetry"},
            "range": {"type": "filter.range", "field": "payload.value", "max": 90},
            "log": {"type": "file.append", "path": "log.jsonl"},
        },
        ["readings -> range", "range -> log"],
        {"site": {"type": "mqtt.broker", "host": LOOPBACK, "port": broker.port}},
    )


def publish(broker: Mosquitto, first: int, number: int) -> None:
    """Values of 1 to 100, ten times as many within the range as beyond it."""
    with Publisher(broker.port) as devices:
        devices.publish(
            (f"device/dev-{n % 7}/telemetry", json.dumps({"value": n % 100 + 1, "n": n}).encode())
            for n in range(first, first + number)
        )
        assert len(devices.acknowledged) == number


def ledger(engine: FlowProcess) -> dict[str, Any]:
    """What it says of the flow; it balances, whenever it is asked."""
    ran = flowengine("ledger", "--json", "--data", engine.data)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads(ran.stdout)
    assert told["balanced"]
    flow: dict[str, Any] = told["flows"]["room"]
    kinds = ("delivered", "filtered", "quarantined", "spooled", "in_flight", "dropped")
    assert flow["received"] == sum(flow[kind] for kind in kinds)
    assert flow["missing"] == 0
    return flow


def settled(engine: FlowProcess, number: int) -> dict[str, Any]:
    """What it says once so many messages came and none is on the way."""

    def look() -> dict[str, Any]:
        flow = ledger(engine)
        return flow if flow["received"] == number and not flow["in_flight"] else {}

    return until(look, 20, f"{number} messages in the ledger, none in flight")


def lines(engine: FlowProcess) -> list[int]:
    log = engine.data / "files" / "log.jsonl"
    if not log.exists():
        return []
    return [
        json.loads(line)["n"]
        for line in log.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]


def test_it_equals_what_was_published_while_the_engine_runs(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    write_pipeline(tmp_path, mosquitto)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        publish(mosquitto, 0, MESSAGES)
        ledger(engine)
        flow = settled(engine, MESSAGES)
        engine.stop()
        stopped = ledger(engine)
    assert (flow["delivered"], flow["filtered"]) == (KEPT, MESSAGES - KEPT)
    assert flow["filtered_by"] == {"range": MESSAGES - KEPT}
    source = {"received": MESSAGES, "redelivered": 0, "acknowledged": MESSAGES}
    assert stopped["sources"] == {"readings": source}
    assert (stopped["delivered"], stopped["filtered"]) == (KEPT, MESSAGES - KEPT)
    assert stopped["sinks"]["log"]["written"] == KEPT


def test_a_kill_in_the_middle_costs_it_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    write_pipeline(tmp_path, mosquitto)
    with FlowProcess(tmp_path) as engine:
        engine.until_ready()
        publish(mosquitto, 0, MESSAGES // 2)
        until(lambda: lines(engine), 20, "the first lines")
        engine.kill()
        killed = ledger(engine)
        # What came was noted before it was written.
        assert len(lines(engine)) <= killed["received"] <= MESSAGES // 2
        publish(mosquitto, MESSAGES // 2, MESSAGES // 2)  # the session waits for the engine
        engine.start()
        engine.until_ready()
        flow = settled(engine, MESSAGES)
        engine.kill()
        again = ledger(engine)
        written = lines(engine)
    assert (flow["delivered"], flow["filtered"]) == (KEPT, MESSAGES - KEPT)
    for name in ("received", "delivered", "filtered", "in_flight"):
        assert again[name] == flow[name]
    assert len(set(written)) == KEPT
