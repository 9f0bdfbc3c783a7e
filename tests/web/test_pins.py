"""A pin gives the numbers at one path of an output, ten a second, and nothing when nobody looks."""

import time
from typing import Any

import pytest

from flowengine.message import Message
from flowengine.web.pins import numbers, pin_of
from flowengine.web.redact import Redactor
from flowengine.web.taps import Tap
from tests.system.real import until
from tests.web.box import API, Box


def told(path: str, *messages: Message) -> dict[str, Any]:
    """What a pin tells of these messages."""
    tap = Tap(Redactor())
    tap(list(messages))
    fresh, passed = tap.tick()
    pin = pin_of(f"pin/a.out/{path}")
    assert pin is not None
    assert pin[0] == "a.out"
    return numbers(fresh, pin[1], passed)


PAYLOADS = [
    ("payload", 21.5, [21.5]),
    ("payload.t", {"t": 3}, [3]),
    ("payload['room temp'].v[1]", {"room temp": {"v": [1, 2.5]}}, [2.5]),
    ("payload.t", {"t": True}, []),
    ("payload.t", {"t": "21"}, []),
    ("payload.t", {"t": float("nan")}, []),
    ("payload.t", {"u": 1}, []),
    ("payload.t", None, []),
    ("payload.t", {"t": 1, "rest": "x" * 10_000}, []),
]


@pytest.mark.parametrize(("path", "payload", "values"), PAYLOADS)
def test_only_numbers_are_told(path: str, payload: Any, values: list[float]) -> None:
    found = told(path, Message(payload))
    assert [value for _, value in found["points"]] == values
    assert found["passed"] == 1


@pytest.mark.parametrize(
    ("message", "unit"),
    [
        (Message({"t": 1, "unit": "°C"}), "°C"),
        (Message({"t": 1}, meta={"unit": "bar"}), "bar"),
        (Message({"t": 1, "unit": 5}), ""),
        (Message({"t": 1, "unit": "a very long word"}), ""),
    ],
)
def test_the_unit_is_what_the_message_says(message: Message, unit: str) -> None:
    assert told("payload.t", message)["unit"] == unit


@pytest.mark.parametrize(
    "kind",
    ["pin/", "pin/a.out", "pin/a.out/", "pin//payload", "pin/a/nowhere", "pin/a/topic", "tap/a"],
)
def test_what_names_no_number_is_no_pin(kind: str) -> None:
    assert pin_of(kind) is None


def test_a_pin_comes_by_the_socket_at_ten_a_second_and_ends_when_nobody_looks(box: Box) -> None:
    topic = "flow/ticks/pin/tick.out/payload.t"
    with box.live("vera") as tab:
        tab.sub(topic)
        began, points, passed = time.monotonic(), 0, 0
        while time.monotonic() - began < 2.0:
            data = tab.next(topic)["d"]
            points += len(data["points"])
            passed += data["passed"]
            assert all(value == 21.5 for _, value in data["points"])
        assert 0 < points <= 10 + 2.5 * 4 * 2 + 5
        assert passed > points
        taps = box.services.hub.watches["ticks"].taps
        assert list(taps.taps) == [("tick", "out")]
        tab.send(op="unsub", topic=topic)
        until(lambda: not taps.taps, 10, "nobody taps")
    with box.client("vera") as client:
        assert client.get(f"{API}/meta").json()["features"]["pins"] is True


@pytest.mark.parametrize("rest", ["pin/none.out/payload", "pin/tick.out/nowhere"])
def test_a_pin_of_what_is_not_there_is_an_error(box: Box, rest: str) -> None:
    with box.live("vera") as tab:
        tab.sub(f"flow/ticks/{rest}")
        while (frame := tab.any())["t"] != "error":
            pass
    assert frame["slug"] == "not-found"
