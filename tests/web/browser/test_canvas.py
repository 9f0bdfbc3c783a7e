"""On the canvas everything is selected, moved, wired, copied, grouped, noted, tidied and found."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk

NODES: dict[str, Any] = {
    "tick": {"type": "timer.tick", "config": {"every": "100ms", "payload": {"t": 21.5}}},
    "hot": {"type": "threshold", "config": {"above": 8, "field": "payload.t"}},
    "show": {"type": "debug", "config": {"to": ["panel"]}},
}
PLACES = {"tick": [40, 40], "hot": [280, 40], "show": [520, 40]}
WIRES = ["tick -> hot", "hot.raised -> show"]


@pytest.fixture
def desk(sit: Sit) -> Desk:
    """The editor with three nodes in a row."""
    made = sit(permissions=["clipboard-read", "clipboard-write"])
    made.make("row", NODES, WIRES, PLACES)
    made.open("row")
    return made


def test_one_is_selected_by_a_click_more_with_shift_all_by_key_none_by_escape(desk: Desk) -> None:
    chosen = desk.page.locator(".node.selected")
    desk.node("tick").click()
    expect(chosen).to_have_count(1)
    desk.node("show").click(modifiers=["Shift"])
    expect(chosen).to_have_count(2)
    expect(desk.page.locator("#inspector-head")).to_contain_text("2 selected")
    desk.press("Control+a")
    expect(chosen).to_have_count(3)
    desk.press("Escape")
    expect(chosen).to_have_count(0)


def test_what_is_selected_moves_together_and_comes_back_in_one_step(desk: Desk) -> None:
    desk.node("hot").click()
    desk.node("show").click(modifiers=["Shift"])
    x, y = desk.place("hot")
    desk.drag((x - 20, y), (x + 17, y + 104))
    desk.saved()
    layout = desk.call("GET", "/flows/row")["layout"]
    assert layout == {"tick": [40, 40], "hot": [320, 140], "show": [560, 140]}
    desk.press("Control+z")
    desk.saved()
    assert desk.call("GET", "/flows/row")["layout"] == PLACES


def test_move_mode_and_alt_move_by_keys(desk: Desk) -> None:
    desk.node("hot").click()
    desk.press("m", "ArrowDown", "ArrowDown", "Shift+ArrowRight", "m", "Alt+ArrowLeft")
    desk.saved()
    assert desk.call("GET", "/flows/row")["layout"]["hot"] == [320, 60]


def test_a_wire_is_chosen_by_key_or_click_and_removed(desk: Desk) -> None:
    desk.page.mouse.click(*desk.on_wire("tick -> hot"))
    expect(desk.page.locator("#inspector-head")).to_contain_text("tick -> hot")
    desk.press("Delete")
    desk.saved()
    assert desk.document("row")["wires"] == ["hot.raised -> show"]
    desk.node("show").click()
    desk.press("w", "Delete")
    desk.saved()
    assert "wires" not in desk.document("row")


def test_a_double_click_on_a_wire_puts_a_node_into_it(desk: Desk) -> None:
    desk.page.mouse.dblclick(*desk.on_wire("tick -> hot"))
    desk.choose("queue")
    desk.saved()
    wires = desk.document("row")["wires"]
    assert wires == ["hot.raised -> show", "queue -> hot", "tick -> queue"]


def test_a_wire_drawn_into_nothing_asks_what_shall_stand_there(desk: Desk) -> None:
    port = desk.node("tick").locator(".port.out").bounding_box()
    assert port is not None
    x, y = port["x"] + 12, port["y"] + 12
    desk.drag((x, y), (x + 120, y + 220))
    desk.choose("debug")
    desk.saved()
    whole = desk.call("GET", "/flows/row")
    assert "tick -> debug" in whole["document"]["wires"]
    assert whole["layout"]["debug"][1] > 150


def test_copies_go_to_another_flow_as_json_with_the_wires_among_them(desk: Desk) -> None:
    desk.node("hot").click()
    desk.node("show").click(modifiers=["Shift"])
    desk.press("Control+c")
    desk.until("navigator.clipboard.readText().then((text) => text.includes('flowengine/nodes'))")
    copied = json.loads(desk.page.evaluate("navigator.clipboard.readText()"))
    assert copied["wires"] == ["hot.raised -> show"]
    desk.make("other", {"show": NODES["show"]}, [], {"show": [40, 40]})
    desk.open("other")
    desk.press("Control+v")
    desk.until("flowengine.store.nodes.size === 3")
    desk.saved()
    pasted = desk.document("other")
    assert sorted(pasted["nodes"]) == ["hot", "show", "show-2"]
    assert pasted["nodes"]["hot"] == NODES["hot"]
    assert pasted["wires"] == ["hot.raised -> show-2"]
    desk.press("Control+z")
    desk.saved()
    assert sorted(desk.document("other")["nodes"]) == ["show"]


def test_a_flow_file_can_be_pasted_and_what_is_none_says_so(desk: Desk) -> None:
    text = json.dumps({"format": 1, "nodes": {"a": {"type": "queue"}, "b": {"type": "debug"}}})
    desk.page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    desk.press("Control+v")
    desk.until("flowengine.store.nodes.has('b')")
    desk.press("Control+z")
    desk.page.evaluate("navigator.clipboard.writeText('{\"nodes\": [1]}')")
    desk.press("Control+v")
    expect(desk.page.locator("#toast")).to_contain_text("nothing to paste")
    assert desk.page.evaluate("flowengine.store.nodes.size") == 3


def test_cut_duplicate_and_healing_a_chain(desk: Desk) -> None:
    desk.node("show").click()
    desk.press("Control+d")
    desk.until("flowengine.store.nodes.has('show-2')")
    desk.press("Control+x")
    desk.until("!flowengine.store.nodes.has('show-2')")
    desk.press("Control+v")
    desk.until("flowengine.store.nodes.has('show-2')")
    desk.node("hot").click()
    desk.press("Control+Delete")
    desk.saved()
    document = desk.document("row")
    assert sorted(document["nodes"]) == ["show", "show-2", "tick"]
    assert document["wires"] == ["tick -> show"]


def test_a_group_is_made_named_moved_and_dissolved(desk: Desk) -> None:
    desk.node("hot").click()
    desk.node("show").click(modifiers=["Shift"])
    desk.press("Control+g", "F2")
    desk.page.wait_for_selector("dialog[open] input:focus")
    desk.page.keyboard.type("Alarm side")
    desk.press("Enter")
    desk.page.wait_for_selector("dialog", state="detached")
    desk.saved()
    (group,) = desk.document("row")["x-groups"].values()
    assert group["title"] == "Alarm side"
    assert sorted(group["nodes"]) == ["hot", "show"]
    desk.press("Escape")
    head = desk.page.evaluate(
        """(() => { const [{box}] = flowengine.scene.groups();
          const frame = flowengine.view.element.getBoundingClientRect();
          const [x, y] = flowengine.view.toScreen(box.x + box.w / 2, box.y + 8);
          return [x + frame.left, y + frame.top]; })()"""
    )
    desk.drag((head[0], head[1]), (head[0], head[1] + 100))
    desk.saved()
    layout = desk.call("GET", "/flows/row")["layout"]
    assert layout == {"tick": [40, 40], "hot": [280, 140], "show": [520, 140]}
    desk.press("Control+Shift+G")
    desk.saved()
    assert not desk.document("row").get("x-groups")


def test_a_note_stands_on_the_canvas_and_says_what_was_written(desk: Desk) -> None:
    desk.press("n")
    note = desk.page.locator(".node.note")
    expect(note).to_have_text("Note")
    desk.press("Enter")
    field = desk.page.locator(
        "#inspector-body [data-field=text] :is(textarea, input[type=text])"
    ).first
    field.fill("Mind the pump")
    expect(note).to_have_text("Mind the pump")
    desk.saved()
    assert desk.document("row")["nodes"]["comment"]["config"] == {"text": "Mind the pump"}


def test_tidy_up_orders_by_the_wires_and_is_one_step(desk: Desk) -> None:
    jumbled = {"tick": [520, 300], "hot": [40, 40], "show": [280, 180]}
    desk.call("PUT", "/flows/row/layout", {"nodes": jumbled}, **{"If-Match": "*"})
    desk.open("row")
    desk.press("Control+Shift+L")
    desk.saved()
    layout = desk.call("GET", "/flows/row")["layout"]
    assert layout["tick"][0] + 168 < layout["hot"][0]
    assert layout["hot"][0] + 168 < layout["show"][0]
    assert all(place % 10 == 0 for at in layout.values() for place in at)
    desk.press("Control+z")
    desk.saved()
    assert desk.call("GET", "/flows/row")["layout"] == jumbled


def test_undo_reaches_behind_a_deploy_and_leaves_what_runs_alone(desk: Desk) -> None:
    desk.node("show").click()
    desk.press("Delete")
    desk.run("deploy")
    desk.page.wait_for_selector(".popover button.primary:not(:disabled)")
    desk.press("Control+Enter")
    expect(desk.page.locator("#engine-state")).to_contain_text("Running")
    desk.page.locator("#canvas").focus()
    desk.press("Control+z")
    expect(desk.node("show")).to_be_visible()
    desk.saved()
    state = desk.call("GET", "/flows/row")["state"]
    assert (state["nodes"], state["deployed"]["nodes"], state["running"]) == (3, 2, True)
    expect(desk.page.locator("#deploy")).to_contain_text("Deploy")


def test_search_shows_what_would_be_replaced_and_replaces_it_in_one_step(desk: Desk) -> None:
    desk.press("Control+f")
    dialog = desk.page.locator("dialog.search")
    dialog.locator("input[type=search]").fill("payload.t")
    expect(dialog.locator(".found")).to_have_count(1)
    dialog.get_by_label("Replace by").fill("payload.temp")
    expect(dialog.locator("del")).to_have_text("payload.t")
    expect(dialog.locator("ins")).to_have_text("payload.temp")
    assert desk.page.evaluate("flowengine.store.nodes.get('hot').config.field") == "payload.t"
    dialog.get_by_role("button", name="Replace in 1 place").click()
    desk.saved()
    assert desk.document("row")["nodes"]["hot"]["config"]["field"] == "payload.temp"
    desk.page.locator("#toast button", has_text="Undo").click()
    desk.saved()
    assert desk.document("row")["nodes"]["hot"]["config"]["field"] == "payload.t"


def test_what_is_found_is_gone_to(desk: Desk) -> None:
    desk.press("Control+f")
    desk.page.locator("dialog.search input[type=search]").fill("show")
    desk.page.locator("dialog.search .found").first.click()
    expect(desk.page.locator(".node.selected[data-id=show]")).to_be_focused()


def test_the_minimap_comes_when_the_flow_is_larger_than_the_window_and_leads(desk: Desk) -> None:
    expect(desk.page.locator("#minimap")).to_be_hidden()
    desk.page.evaluate("flowengine.commit('Move', [{op: 'move', at: {show: [6000, 40]}}])")
    expect(desk.page.locator("#minimap")).to_be_visible()
    box = desk.page.locator("#minimap").bounding_box()
    assert box is not None
    before = desk.page.evaluate("flowengine.view.middle()[0]")
    desk.page.mouse.click(box["x"] + box["width"] - 14, box["y"] + box["height"] / 2)
    assert desk.page.evaluate("flowengine.view.middle()[0]") > before + 3000


def test_zoom_pan_fit_and_a_lock_that_nothing_moves_under(desk: Desk) -> None:
    desk.press("0")
    expect(desk.page.locator("#zoom")).to_have_text("100 %")
    desk.press("-")
    expect(desk.page.locator("#zoom")).to_have_text("83 %")
    desk.page.mouse.move(720, 450)
    left = desk.page.evaluate("flowengine.view.x")
    desk.page.mouse.wheel(300, 0)
    desk.until(f"flowengine.view.x > {left}")
    desk.press("1", "l")
    expect(desk.page.locator("#lock")).to_have_attribute("aria-pressed", "true")
    x, y = desk.place("show")
    desk.drag((x - 20, y), (x + 80, y + 80))
    desk.saved()
    assert desk.call("GET", "/flows/row")["layout"] == PLACES


def test_a_disabled_node_says_so_in_words(desk: Desk) -> None:
    desk.node("hot").click()
    desk.press("d")
    expect(desk.node("hot").locator(".mark")).to_have_text("Disabled")
    desk.saved()
    assert desk.document("row")["nodes"]["hot"]["disabled"] is True


def test_a_changed_id_is_followed_by_wires(desk: Desk) -> None:
    desk.node("hot").click()
    desk.page.get_by_role("button", name="Id hot: change").click()
    field = desk.page.locator("dialog[open] input")
    field.fill("show")
    desk.press("Enter")
    expect(desk.page.locator("dialog [role=alert]")).to_have_text("There is a node with this id.")
    field.fill("too-hot")
    desk.press("Enter")
    desk.saved()
    assert desk.document("row")["wires"] == ["tick -> too-hot", "too-hot.raised -> show"]


def test_the_export_is_a_file_that_can_be_imported_again(desk: Desk, tmp_path: Path) -> None:
    with desk.page.expect_download() as waiting:
        desk.run("export")
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert json.loads(path.read_text())["nodes"] == desk.document("row")["nodes"]
