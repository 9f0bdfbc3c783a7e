"""A first value is two clicks away: examples, a blank flow, an import, all from one page."""

import json

import pytest
from playwright.sync_api import expect

from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk

FLOW = {"format": 1, "title": "Brought", "nodes": {"show": {"type": "debug"}}}


@pytest.fixture
def desk(sit: Sit) -> Desk:
    """The start page of an empty box."""
    made = sit()
    made.start()
    return made


def test_two_clicks_from_the_first_page_a_value_is_on_a_wire(desk: Desk) -> None:
    expect(desk.page.locator("#flow-rows")).to_contain_text("No flows yet")
    cards = desk.page.locator("#example-cards button")
    assert cards.count() >= 6
    cards.filter(has_text="offline").first.click()
    desk.arrived()
    assert desk.page.evaluate("flowengine.store.nodes.size") >= 2
    desk.press("Control+Enter")
    desk.page.wait_for_selector(".popover button.primary:not(:disabled)")
    desk.press("Control+Enter")
    expect(desk.page.locator("#engine-state")).to_contain_text("Running")
    desk.until("flowengine.now.values.size > 0", 30)


def test_a_blank_flow_begins_with_a_tick_and_a_debug_node(desk: Desk) -> None:
    desk.page.get_by_role("button", name="New flow").click()
    field = desk.page.locator("dialog[open] input")
    field.press("Enter")
    expect(desk.page.locator("dialog [role=alert]")).to_have_text("It needs a title.")
    field.fill("Pump 3")
    field.press("Enter")
    desk.arrived()
    expect(desk.page.locator("#flow-name")).to_have_text("Pump 3")
    document = desk.document("pump-3")
    assert sorted(each["type"] for each in document["nodes"].values()) == ["debug", "timer.tick"]
    assert len(document["wires"]) == 1


def test_an_import_shows_what_it_brings_before_it_does(desk: Desk) -> None:
    desk.page.get_by_role("button", name="Import").click()
    go = desk.page.locator("dialog footer button.primary")
    expect(go).to_be_disabled()
    desk.page.get_by_label("Flow file").first.fill(json.dumps(FLOW))
    about = desk.page.locator("dialog .about")
    expect(about).to_contain_text("Brought · 1 node")
    expect(go).to_be_enabled()
    assert desk.call("GET", "/flows")["flows"] == []
    go.click()
    desk.arrived()
    expect(desk.page.locator("#flow-name")).to_have_text("Brought")


BROKEN = {
    "no JSON": '{"format": 1,',
    "a list": "[1, 2]",
    "nothing of a flow": '{"hello": "world"}',
    "a Node-RED file": '[{"id": "a", "type": "tab"}, {"id": "b", "type": "inject", "z": "a"}]',
    "unknown keys": '{"format": 1, "nodes": {}, "extra": 1}',
    "another format": '{"format": 99, "nodes": {}}',
    "wires to nowhere": '{"format": 1, "nodes": [], "wires": 4}',
    "a literal secret": json.dumps(
        {
            "format": 1,
            "connections": {"b": {"type": "mqtt.broker", "config": {"password": "hunter2"}}},
            "nodes": {},
        }
    ),
    "too deep": "[" * 5000 + "]" * 5000,
    "only noise": "\ufffd\u0001" * 20_000,
    "endless digits": '{"format": ' + "9" * 5000 + ', "nodes": {}}',
}


def test_a_broken_file_is_refused_in_words_and_brings_nothing(desk: Desk) -> None:
    page = desk.page
    page.get_by_role("button", name="Import").click()
    area = page.get_by_label("Flow file").first
    fault = page.locator("dialog .about .fault")
    for why, text in BROKEN.items():
        area.fill("")
        expect(fault, why).to_have_count(0)
        area.fill(text)
        expect(fault, why).not_to_be_empty()
        expect(page.locator("dialog footer button.primary"), why).to_be_disabled()
        assert "Traceback" not in fault.inner_text()
    assert desk.call("GET", "/flows")["flows"] == []


def test_flows_are_listed_with_how_they_fare_and_found_by_name(desk: Desk) -> None:
    tick = {"tick": {"type": "timer.tick", "config": {"every": "1s"}}, "show": {"type": "debug"}}
    desk.make("runs", tick, ["tick -> show"], deploy=True)
    desk.make("rests", tick, ["tick -> show"])
    desk.make("wrong", {"tick": {"type": "timer.tick", "config": {"every": "x"}}}, [])
    rows = desk.page.locator(".flow-row")
    expect(rows).to_have_count(3)
    expect(rows.filter(has_text="Runs").locator(".state")).to_have_text("Running", ignore_case=True)
    expect(rows.filter(has_text="Wrong").locator(".badge")).to_have_text("1 error")
    desk.press("/")
    desk.page.keyboard.type("est")
    expect(rows).to_have_count(1)
    rows.click()
    expect(desk.page.locator("#flow-name")).to_have_text("Rests")


def test_a_viewer_may_look_and_not_begin(sit: Sit) -> None:
    desk = sit("vera")
    desk.start()
    expect(desk.page.locator("#new-blank")).to_be_disabled()
    expect(desk.page.locator("#new-import")).to_be_disabled()
    expect(desk.page.locator("#example-cards button:enabled")).to_have_count(0)
