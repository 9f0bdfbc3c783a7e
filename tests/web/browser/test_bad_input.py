"""Whatever a flow or a device brings, the editor opens, shows a part of it and stays quick."""

import socket
import struct
import time
from typing import Any

import pytest
from playwright.sync_api import expect

from flowengine.web.door import COOKIE
from tests.web.box import Box
from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk

HUNDRED_THOUSAND = 100_000
PAYLOADS: dict[str, Any] = {
    "a text of 1 MB": "x" * 1_000_000,
    "a list of 100,000": list(range(HUNDRED_THOUSAND)),
    "100,000 keys": {f"key-{at}": at for at in range(HUNDRED_THOUSAND)},
    "one long line without a space": {"k" * 5000: "v" * 5000},
    "control characters": "\x00\x01\x1b[31m\u202e\u2028\ud7ff\ufeff",
    "numbers at their ends": [1e308, -1e-308, 2**53, 2**63 - 1, -0.0],
}


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    found: Any = "bottom"
    for _ in range(levels):
        found = [found]
    return found


@pytest.fixture
def desk(sit: Sit) -> Desk:
    """A flow that runs and waits for what is sent by hand."""
    made = sit()
    nodes = {
        "tick": {"type": "timer.tick", "config": {"every": "1h"}},
        "pass": {"type": "queue"},
        "pack": {"type": "cbor.encode"},
        "show": {"type": "debug", "config": {"to": ["panel"]}},
    }
    wires = ["tick -> pass", "pass -> show", "pack -> show"]
    made.make("fed", nodes, wires, deploy=True)
    made.open("fed")
    return made


def test_large_deep_and_binary_payloads_are_shown_in_part_and_the_page_stays_quick(
    desk: Desk,
) -> None:
    page = desk.page
    desk.run("show-debug")
    desk.node("pass").click()
    page.click("#tab-data")
    rows = page.locator(".debug-row")
    expect(rows).to_have_count(1)  # the tick at the start
    payloads = {**PAYLOADS, "deep": deep(60)}
    for number, (name, payload) in enumerate(payloads.items(), 2):
        desk.call("POST", "/flows/fed/nodes/pass/inject", {"payload": payload})
        expect(rows, name).to_have_count(number)
    desk.call("POST", "/flows/fed/nodes/pack/inject", {"payload": {"a": [1, 2, 3]}})
    expect(rows).to_have_count(len(payloads) + 2)
    for each in page.locator(".debug-row summary").all():
        each.click()
    assert page.evaluate("document.querySelectorAll('*').length") < 6000
    held = page.evaluate(
        """new Promise((done) => { const at = performance.now(); requestAnimationFrame(() =>
          requestAnimationFrame(() => done(performance.now() - at))); })"""
    )
    assert held < 1000
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440
    expect(page.locator("#inspector-body .pane").first).to_be_visible()


def test_a_flow_of_ten_thousand_nodes_opens(sit: Sit) -> None:
    desk = sit()
    count = 10_000
    nodes = {f"n{at}": {"type": "queue", "title": f"Step {at}"} for at in range(count)}
    places = {f"n{at}": [40 + at % 100 * 240, 40 + at // 100 * 100] for at in range(count)}
    wires = [f"n{at} -> n{at + 1}" for at in range(count - 1) if at % 100 != 99]
    desk.make("vast", nodes, wires, places)
    page = desk.open("vast")
    expect(page.locator("#counts")).to_have_text("10,000 nodes, 9,900 wires")
    assert page.evaluate("document.querySelectorAll('.node').length") < 300
    page.evaluate("flowengine.view.zoomTo(1), flowengine.view.fit({x: 40, y: 40, w: 400, h: 200})")
    expect(desk.node("n0")).to_be_visible()
    desk.node("n0").click()
    desk.press("Alt+ArrowDown")
    desk.saved()
    assert desk.call("GET", "/flows/vast")["layout"]["n0"] == [40, 50]


def masked(payload: bytes) -> bytes:
    """A text frame of a client (RFC 6455, 5.2), masked by nothing."""
    return struct.pack("!BB4x", 0x81, 0x80 | len(payload)) + payload


def stalled(box: Box, topics: list[str]) -> socket.socket:
    """A tab that asks for these topics and then reads nothing."""
    port = int(box.url.rpartition(":")[2])
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    made.sendall(
        f"GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Origin: {box.url}\r\nCookie: {COOKIE}={box.session('vera')}\r\n\r\n".encode()
    )
    made.settimeout(20)
    assert b"101" in made.recv(200)
    for topic in topics:
        made.sendall(masked(f'{{"op":"sub","topic":"{topic}"}}'.encode()))
    return made


def test_a_browser_that_reads_nothing_grows_nothing_and_holds_nobody_up(
    sit: Sit, empty: Box
) -> None:
    desk = sit()
    payload = {"text": "x" * 3000}
    nodes = {
        "tick": {"type": "timer.tick", "config": {"every": "5ms", "payload": payload}},
        "show": {"type": "debug", "config": {"to": ["panel"]}},
    }
    desk.make("flood", nodes, ["tick -> show"], deploy=True)
    page = desk.open("flood")
    desk.run("show-debug")
    topics = ["flow/flood/debug", "flow/flood/tap/tick.out", "flow/flood/values", "log", "status"]
    with stalled(empty, topics):
        hub = empty.services.hub
        most, ends = 0, time.monotonic() + 4
        while time.monotonic() < ends:
            page.wait_for_timeout(100)
            most = max(most, *(each.waiting for each in hub.listeners.values()))
        assert len(hub.listeners) >= 2
        assert most < 700
        expect(page.locator(".debug-row").first).to_contain_text("xxx")
        before = page.evaluate("flowengine.now.nodes.get('tick').out.out")
        desk.until(f"flowengine.now.nodes.get('tick').out.out > {before}")
