"""Beside the canvas stand settings, their faults as `check` says them, docs and messages."""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import expect

from tests.flow_process import flowengine
from tests.web.browser.conftest import Sit

TICK = {"type": "timer.tick", "config": {"every": "100ms", "payload": {"t": 21.5}}}


def test_a_new_node_shows_no_fault_before_its_field_was_left(sit: Sit) -> None:
    desk = sit()
    desk.make("fresh", {"tick": TICK}, [], {"tick": [40, 40]})
    page = desk.open("fresh")
    desk.node("tick").click()
    desk.add("mqtt in")
    fault = page.locator("#inspector-body [data-field=topic] .fault")
    field = page.locator("#inspector-body [data-field=topic] input").first
    expect(field).to_be_visible()
    desk.saved()
    expect(page.locator("#problem-count")).to_contain_text("problems: ")
    expect(fault).to_be_empty()
    field.focus()
    field.press("Tab")
    expect(fault).to_contain_text("topic")


def test_a_fault_is_told_in_the_words_of_check(sit: Sit, tmp_path: Path) -> None:
    nodes: dict[str, Any] = {
        "tick": {"type": "timer.tick", "config": {"every": "soon"}},
        "hot": {"type": "threshold", "config": {"above": 1, "below": 2}},
        "sort": {"type": "route", "config": {"rules": [{"to": "big", "when": "payload >"}]}},
    }
    desk = sit()
    desk.make("wrong", nodes, ["tick -> hot", "tick -> sort"])
    page = desk.open("wrong")
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps(desk.document("wrong")))
    told = json.loads(flowengine("check", path, "--json").stdout)
    errors = [each for each in told["findings"] if each["severity"] == "error"]
    assert {each["where"]["node"] for each in errors} == set(nodes)
    desk.run("show-problems")
    for each in errors:
        row = page.locator("#drawer-body .finding", has_text=each["what"][1:]).first
        expect(row).to_contain_text(each["mend"])
        desk.node(each["where"]["node"]).click()
        expect(page.locator("#inspector-body .fault", has_text=each["what"]).first).to_be_visible()


def test_a_problem_leads_to_its_field(sit: Sit) -> None:
    desk = sit()
    desk.make("led", {"tick": {"type": "timer.tick", "config": {"every": "soon"}}}, [])
    page = desk.open("led")
    desk.run("show-problems")
    page.locator("#drawer-body .finding", has_text="soon").first.click()
    expect(page.locator("#inspector-body [data-field=every] input").first).to_be_focused()


def test_a_setting_goes_back_to_its_default_and_out_of_the_file(sit: Sit) -> None:
    desk = sit()
    nodes = {"wait": {"type": "queue", "config": {"capacity": 7}}}
    desk.make("back", nodes, [])
    page = desk.open("back")
    desk.node("wait").click()
    page.get_by_role("button", name="Capacity: back to the default").click()
    desk.saved()
    assert desk.document("back")["nodes"]["wait"].get("config", {}) == {}


def test_a_setting_may_be_a_parameter_of_the_flow(sit: Sit) -> None:
    desk = sit()
    nodes = {"hot": {"type": "threshold", "config": {"above": 5}}}
    params = {"limit": {"type": "number", "default": 8}}
    desk.make("param", nodes, [], params=params)
    page = desk.open("param")
    desk.node("hot").click()
    page.get_by_role("button", name="Above: use a parameter or the environment").click()
    desk.saved()
    assert desk.document("param")["nodes"]["hot"]["config"]["above"] == {"$param": "limit"}


def test_docs_say_what_the_type_does_and_each_setting_means(sit: Sit) -> None:
    desk = sit()
    desk.make("docs", {"hot": {"type": "threshold", "doc": "Guards **the** room."}}, [])
    page = desk.open("docs")
    desk.node("hot").click()
    page.click("#tab-docs")
    body = page.locator("#inspector-body")
    expect(body.locator("strong").first).to_have_text("the")
    types = desk.call("GET", "/node-types")["types"]
    (kind,) = [each for each in types if each["name"] == "threshold"]
    expect(body).to_contain_text(kind["summary"])
    for name in ("above", "field"):
        expect(body.locator("dt", has_text=name).first).to_be_visible()


def test_the_last_messages_stand_beside_the_settings(sit: Sit) -> None:
    desk = sit()
    nodes = {"tick": TICK, "add": {"type": "compute", "config": {"set": {"payload.x": "1 + 1"}}}}
    nodes["show"] = {"type": "debug", "config": {"to": ["panel"]}}
    desk.make("seen", nodes, ["tick -> add", "add -> show"], deploy=True)
    page = desk.open("seen")
    desk.node("add").click()
    page.click("#tab-data")
    panes = page.locator("#inspector-body .pane")
    expect(panes).to_have_count(2)
    expect(panes.first).to_contain_text("In, from")
    expect(panes.first.locator(".json")).to_contain_text("21.5")
    expect(panes.nth(1).locator(".json")).to_contain_text("x: 2")


def test_a_connection_is_made_set_up_and_removed_in_a_dialog(sit: Sit) -> None:
    desk = sit()
    desk.make("link", {"tick": TICK}, [])
    page = desk.open("link")
    page.get_by_role("button", name="Add a connection").click()
    page.locator("dialog[open] input[type=text]").fill("Plant!")
    desk.press("Enter")
    expect(page.locator("dialog [role=alert]")).to_contain_text("Small letters")
    page.locator("dialog[open] select").select_option("mqtt.broker")
    page.locator("dialog[open] input[type=text]").fill("plant")
    desk.press("Enter")
    page.locator("dialog.connection [data-field=host] input").first.fill("broker.example")
    page.get_by_role("button", name="Done").click()
    desk.saved()
    made = desk.document("link")["connections"]["plant"]
    assert (made["type"], made["config"]["host"]) == ("mqtt.broker", "broker.example")
    page.get_by_role("button", name="Edit plant").click()
    page.locator("dialog.connection").get_by_role("button", name="Remove").click()
    desk.saved()
    assert "connections" not in desk.document("link")


def test_a_secret_is_written_and_never_read_back(sit: Sit) -> None:
    desk = sit("ada")
    broker = {"type": "mqtt.broker", "config": {"host": "h", "username": "u"}}
    desk.make("keys", {"tick": TICK}, [], connections={"plant": broker})
    page = desk.open("keys")
    page.get_by_role("button", name="Edit plant").click()
    row = page.locator("dialog.connection .field.widget-secret").first
    row.locator("input").fill("plant-password")
    row.locator("input").press("Tab")
    row.get_by_role("button", name="Set value…").click()
    field = page.locator("dialog[open] input[type=password]")
    field.fill("hunter2-hunter2")
    field.press("Enter")
    expect(page.locator("#toast")).to_contain_text("plant-password is stored")
    page.get_by_role("button", name="Done").click()
    desk.saved()
    config = desk.document("keys")["connections"]["plant"]["config"]
    assert {"$secret": "plant-password"} in config.values()
    desk.open("keys")
    assert "hunter2" not in page.content() + json.dumps(desk.call("GET", "/secrets"))
    desk.call("DELETE", "/secrets/plant-password")
