"""What is done with the mouse is on the box afterwards, can be undone, and meets others well."""

from typing import Any

import pytest

from tests.web.browser.conftest import Sit

TICK = {"type": "timer.tick", "config": {"every": "100ms", "payload": {"t": 21.5}}}
NODES: dict[str, Any] = {
    "tick": TICK,
    "hot": {"type": "threshold", "config": {"above": 8, "field": "payload.t"}},
}
NODES["show"] = {"type": "debug", "config": {"to": ["panel"]}}
PLACES = {"tick": [40, 40], "hot": [280, 40], "show": [520, 40]}


def test_a_drag_moves_by_the_grid_and_leaves_the_logic_alone(sit: Sit) -> None:
    desk = sit()
    desk.make("drag", NODES, ["tick -> hot"], PLACES)
    desk.open("drag")
    etag = desk.call("GET", "/flows/drag")["state"]["draft"]["etag"]
    x, y = desk.place("show")
    desk.drag((x - 20, y), (x + 43, y + 88))
    desk.saved()
    whole = desk.call("GET", "/flows/drag")
    assert whole["layout"]["show"] == [580, 130]
    assert whole["layout"]["tick"] == [40, 40]
    assert whole["state"]["draft"]["etag"] == etag
    desk.press("Control+z")
    desk.saved()
    assert desk.call("GET", "/flows/drag")["layout"]["show"] == [520, 40]


def test_a_wire_is_drawn_from_port_to_port_and_refused_into_a_source(sit: Sit) -> None:
    desk = sit()
    nodes = {**NODES, "other": TICK}
    desk.make("wires", nodes, [], {**PLACES, "other": [520, 240]})
    page = desk.open("wires")
    box = page.locator(".node[data-id=tick] .port.out").bounding_box()
    assert box is not None
    start = (box["x"] + 12, box["y"] + 12)
    desk.drag(start, desk.place("other"))
    assert "source" in page.inner_text("#toast")
    desk.drag(start, desk.place("hot"))
    desk.saved()
    assert desk.document("wires")["wires"] == ["tick -> hot"]


def test_a_node_dropped_on_a_wire_stands_in_it(sit: Sit) -> None:
    desk = sit()
    nodes = {**NODES, "new": {"type": "queue"}}
    desk.make(
        "insert",
        nodes,
        ["tick -> show"],
        {"tick": [40, 40], "show": [640, 40], "new": [340, 240], "hot": [40, 340]},
    )
    page = desk.open("insert")
    x, y = desk.place("new")
    zoom = page.evaluate("flowengine.view.zoom")
    desk.drag((x - 20, y + 10), (x - 20, y + 10 - 200 * zoom), steps=20)
    desk.saved()
    assert desk.document("insert")["wires"] == ["new -> show", "tick -> new"]


def test_a_marquee_selects_and_delete_removes(sit: Sit) -> None:
    desk = sit()
    desk.make("many", NODES, ["tick -> hot", "hot.raised -> show"], PLACES)
    page = desk.open("many")
    left, top = desk.place("hot")
    right, bottom = desk.place("show")
    desk.drag((left - 110, top - 80), (right + 110, bottom + 80))
    assert page.locator(".node.selected").count() == 2
    desk.press("Delete")
    desk.saved()
    assert list(desk.document("many")["nodes"]) == ["tick"]
    desk.press("Control+z")
    desk.saved()
    assert desk.document("many")["wires"] == ["hot.raised -> show", "tick -> hot"]


def test_a_setting_is_saved_and_its_fault_stands_beside_it(sit: Sit) -> None:
    desk = sit()
    desk.make("set", NODES, ["tick -> hot", "hot.raised -> show"], PLACES)
    page = desk.open("set")
    page.click(".node[data-id=tick]")
    page.fill("[data-field=every] input", "soon")
    page.keyboard.press("Tab")
    page.wait_for_selector("[data-field=every] .fault:has-text('soon')")
    page.fill("[data-field=every] input", "250ms")
    page.keyboard.press("Tab")
    page.wait_for_selector("[data-field=every] .fault", state="hidden")
    desk.saved()
    assert desk.document("set")["nodes"]["tick"]["config"]["every"] == "250ms"


def test_what_runs_is_seen_on_wire_outline_debug_and_data(sit: Sit) -> None:
    desk = sit()
    desk.make("live", NODES, ["tick -> hot", "tick -> show"], PLACES, deploy=True)
    page = desk.open("live")
    page.wait_for_selector("#engine-state:has-text('Running')")
    desk.until("flowengine.now.rate('tick', 'out') > 5")
    page.evaluate("flowengine.run('show-outline')")
    page.wait_for_selector("[role=treeitem][data-id=tick] .live:has-text('21.5')")
    page.evaluate("flowengine.run('show-debug')")
    page.wait_for_selector(".debug-row:has-text('21.5')")
    page.click(".node[data-id=show]")
    page.click("#tab-data")
    page.wait_for_selector("#inspector-body .json:has-text('21.5')")


def test_two_people_see_each_other_and_lose_nothing(sit: Sit) -> None:
    one, two = sit("dora"), sit("ada")
    one.make("both", NODES, ["tick -> hot"], PLACES)
    one.open("both")
    two.open("both")
    one.page.wait_for_selector("#people span[title*=ada]")
    one.page.evaluate(
        "flowengine.commit('a', [{op: 'put', path: ['nodes', 'tick', 'config', 'every'], value: '1s'}])"  # noqa: E501
    )
    two.page.evaluate(
        "flowengine.commit('b', [{op: 'put', path: ['nodes', 'hot', 'config', 'above'], value: 9}])"
    )
    one.saved()
    two.saved()
    two.page.wait_for_timeout(200)
    two.saved()
    document = one.document("both")
    assert document["nodes"]["tick"]["config"]["every"] == "1s"
    assert document["nodes"]["hot"]["config"]["above"] == 9
    one.until("flowengine.store.nodes.get('hot').config.above === 9")
    two.until("flowengine.store.nodes.get('tick').config.every === '1s'")


def test_a_viewer_changes_nothing(sit: Sit) -> None:
    sit("dora").make("seen", NODES, ["tick -> hot"], PLACES)
    desk = sit("vera")
    page = desk.open("seen")
    x, y = desk.place("show")
    desk.drag((x, y), (x + 100, y + 100))
    desk.press("Delete", "/")
    assert page.locator("dialog").count() == 0
    assert page.evaluate("flowengine.history.steps.length") == 0
    page.click(".node[data-id=tick]")
    page.wait_for_selector("[data-field=every] input:disabled")


def test_a_phone_edits_through_the_outline(sit: Sit) -> None:
    desk = sit(size=(390, 844), has_touch=True, is_mobile=True)
    desk.make("phone", NODES, ["tick -> hot"], PLACES)
    page = desk.open("phone")
    page.tap("[role=treeitem][data-id=hot]")
    page.fill("[data-field=above] input", "12")
    desk.saved()  # what was typed a moment ago is saved with the rest
    assert desk.document("phone")["nodes"]["hot"]["config"]["above"] == 12
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_window(sit: Sit, width: int) -> None:
    desk = sit(size=(width, 800))
    desk.make("wide", NODES, ["tick -> hot"], PLACES)
    page = desk.open("wide")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto(desk.url)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
