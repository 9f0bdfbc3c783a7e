"""A flow is tested in the editor: recorded from what passes, run on the draft, told apart."""

import json
from typing import Any

from playwright.sync_api import Route, expect

from tests.web.browser.conftest import Sit

NODES: dict[str, Any] = {
    "tick": {"type": "timer.tick", "config": {"every": "200ms", "payload": 21.5}},
    "double": {"type": "compute", "config": {"set": {"payload": "payload * 2"}}},
    "show": {"type": "debug", "config": {"to": ["panel"]}},
}
WIRES = ["tick -> double", "double -> show"]


def shorter(route: Route) -> None:
    """Ask for a recording of one second where the editor asks for ten."""
    body = {**json.loads(route.request.post_data or "{}"), "seconds": 1}
    route.continue_(post_data=json.dumps(body))


def test_a_test_is_recorded_passes_and_tells_what_a_change_makes_different(sit: Sit) -> None:
    desk = sit()
    desk.make("tested", NODES, WIRES, deploy=True)
    page = desk.open("tested")
    page.route("**/tests/capture", shorter)
    page.click("#tab-tests")
    body = page.locator("#inspector-body")
    expect(body).to_contain_text("No tests yet")
    page.get_by_role("button", name="Record…").click()
    page.locator("dialog[open] input").fill("it doubles")
    desk.press("Enter")
    expect(page.locator("#toast")).to_contain_text("is saved")
    (test,) = desk.call("GET", "/flows/tested/tests")["document"]["tests"]
    assert test["name"] == "it doubles"
    page.get_by_role("button", name="Run all").click()
    expect(body).to_contain_text("1 passed, 0 failed")
    desk.change("payload * 3", "nodes", "double", "config", "set", "payload")
    page.get_by_role("button", name="Run all").click()
    expect(body).to_contain_text("0 passed, 1 failed")
    expect(body.locator("details[open] .diff").first).to_contain_text("64.5")
    expect(body.locator("details[open] .diff").first).to_contain_text("43")
    assert desk.call("GET", "/flows/tested")["state"]["draft"]["changed"]
    page.get_by_role("button", name="Remove").click()
    expect(body).to_contain_text("No tests yet")


def test_a_message_is_sent_by_hand_and_a_kept_one_again(sit: Sit) -> None:
    desk = sit()
    nodes = {**NODES, "tick": {"type": "timer.tick", "config": {"every": "1h"}}}
    desk.make("hand", nodes, WIRES, deploy=True)
    page = desk.open("hand")
    desk.node("double").click()
    page.click("#tab-data")
    body = page.locator("#inspector-body")
    body.locator("summary", has_text="Send a message into this node").click()
    body.get_by_label("Payload").fill("4")
    body.get_by_label("Topic").fill("hand/made")
    desk.run("show-debug")
    body.get_by_role("button", name="Send", exact=True).click()
    rows = page.locator(".debug-row")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("8")
    out = body.locator(".pane", has_text="Out")
    expect(out.locator(".json")).to_contain_text("8")
    expect(out).to_contain_text("hand/made")
    out.get_by_role("button", name="Send this message again").click()
    expect(rows).to_have_count(2)
