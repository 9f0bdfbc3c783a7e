"""Every command is in the palette, and the next node is offered where it is wanted."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk

NODES: dict[str, Any] = {
    "tick": {"type": "timer.tick", "title": "Tick", "config": {"every": "1s"}},
    "show": {"type": "debug"},
}


@pytest.fixture
def desk(sit: Sit) -> Desk:
    """The editor with two nodes that are not wired."""
    made = sit()
    made.make("pair", NODES, [], {"tick": [40, 40], "show": [620, 40]})
    made.open("pair")
    return made


def test_the_palette_runs_a_command_by_a_few_letters(desk: Desk) -> None:
    desk.press("Control+k")
    desk.choose("outline")
    expect(desk.page.locator("#tab-outline")).to_have_attribute("aria-selected", "true")


def test_what_has_a_key_is_in_the_palette_with_it(desk: Desk) -> None:
    desk.node("tick").click()
    desk.press("Control+k")
    desk.page.wait_for_selector("dialog.palette input:focus")
    for word, key in {"Duplicate": "Ctrl+D", "Rename": "F2", "All keys": "?"}.items():
        desk.page.locator("dialog.palette input").fill(word)
        first = desk.page.locator("dialog.palette [role=option]").first
        expect(first).to_contain_text(word)
        expect(first).to_contain_text(key)


def test_quick_add_suggests_what_fits_and_wires_it_behind_the_selection(desk: Desk) -> None:
    desk.node("tick").click()
    desk.press("/")
    group = desk.page.locator("dialog.palette [role=group]").first
    expect(group).to_have_attribute("aria-label", "Suggested")
    offered = group.locator("[role=option]")
    expect(offered).to_have_count(6)
    assert not any("timer." in each for each in offered.all_inner_texts())
    name = offered.first.locator(".side").inner_text()
    desk.press("Enter")
    desk.saved()
    document = desk.document("pair")
    (added,) = set(document["nodes"]) - set(NODES)
    assert document["nodes"][added]["type"] == name
    assert document["wires"] == [f"tick -> {added}"]


def test_the_add_panel_suggests_after_the_selection_and_finds_by_words(desk: Desk) -> None:
    desk.node("tick").click()
    head = desk.page.locator("#left-body .section h2").first
    expect(head).to_have_text("After Tick")
    desk.page.get_by_label("Search nodes").fill("thresh")
    desk.press("ArrowDown", "Enter")
    desk.saved()
    assert desk.document("pair")["wires"] == ["tick -> threshold"]


def test_a_kind_dragged_from_the_list_stands_where_it_was_dropped(desk: Desk) -> None:
    desk.press("Control+a", "Escape")
    kind = desk.page.locator("#left-body .kind", has_text="Queue").first
    kind.drag_to(desk.page.locator("#canvas"), target_position={"x": 500, "y": 400})
    desk.saved()
    whole = desk.call("GET", "/flows/pair")
    assert whole["document"]["nodes"]["queue"]["type"] == "queue"
    assert "wires" not in whole["document"]


def test_on_a_wire_only_what_passes_messages_on_is_offered(desk: Desk) -> None:
    desk.page.evaluate(
        "flowengine.commit('x', [{op: 'wire', wire: {id: 'tick -> show', from: 'tick', output: null, to: 'show', settings: {}}}])"  # noqa: E501
    )
    desk.page.mouse.click(*desk.on_wire("tick -> show"))
    desk.press("/")
    desk.page.wait_for_selector("dialog.palette [role=option]")
    desk.page.locator("dialog.palette input").fill("debug")
    sides = desk.page.locator("dialog.palette [role=option] .side").all_inner_texts()
    assert "debug" not in sides


def test_what_a_person_may_not_add_says_so(sit: Sit) -> None:
    desk = sit("ed")
    desk.make("pair", NODES, [])
    desk.open("pair")
    desk.press("/")
    desk.page.wait_for_selector("dialog.palette input:focus")
    desk.page.keyboard.type("file append")
    option = desk.page.locator("dialog.palette [role=option]", has_text="File append")
    expect(option).to_have_attribute("aria-disabled", "true")
    expect(option).to_contain_text("not allowed")
    option.click(force=True)
    desk.press("Escape")
    kind = desk.page.locator("#left-body .kind", has_text="File append")
    expect(kind).to_have_attribute("aria-disabled", "true")
    assert desk.page.evaluate("flowengine.store.nodes.size") == 2
