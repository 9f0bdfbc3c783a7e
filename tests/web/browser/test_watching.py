"""What runs is seen as it runs: state, rate, last value, debug, problems, log and history."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk

NODES: dict[str, Any] = {
    "tick": {"type": "timer.tick", "config": {"every": "50ms", "payload": {"t": 21.5}}},
    "show": {"type": "debug", "config": {"to": ["panel", "log"]}},
}


@pytest.fixture
def desk(sit: Sit) -> Desk:
    """The editor over a flow that ticks."""
    made = sit()
    made.make("runs", NODES, ["tick -> show"], {"tick": [40, 40], "show": [420, 40]}, deploy=True)
    made.open("runs")
    expect(made.page.locator("#engine-state")).to_contain_text("Running")
    return made


def test_a_wire_under_the_pointer_tells_its_last_value_and_rate(desk: Desk) -> None:
    desk.until("flowengine.now.rate('tick', 'out') > 0")
    desk.page.mouse.move(300, 500)
    desk.page.mouse.move(*desk.on_wire("tick -> show"))
    card = desk.page.locator(".wire-card")
    expect(card.locator(".value")).to_contain_text("21.5")
    expect(card.locator("header")).to_contain_text("/s")
    desk.page.mouse.move(300, 600)
    expect(card).to_be_hidden()


def test_a_pause_holds_a_bounded_number_back_and_counts_the_rest(desk: Desk) -> None:
    page = desk.page
    desk.run("show-debug")
    rows = page.locator(".debug-row")
    expect(rows.first).to_contain_text("21.5")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="held)")).to_be_visible()
    before = rows.count()
    # What a flood does in a minute: the same frames, from the socket's own side.
    page.evaluate(
        """() => { const items = Array.from({length: 1000}, (_, n) => ({n, node: 'show',
             message: {id: 'x', time: null, topic: '', key: '', payload: n, meta: {}}}));
           for (let i = 0; i < 5; i++)
             flowengine.live.give('flow/runs/debug', {items, lost: 3}); }"""
    )
    expect(page.get_by_role("button", name="Continue (2000 held)")).to_be_visible()
    expect(page.locator("#drawer-tools")).to_contain_text("not shown")
    lost = int(page.locator("#drawer-tools .is-warn").inner_text().split()[0])
    assert lost >= 3015
    assert rows.count() == before
    page.get_by_role("button", name="Continue").click()
    expect(rows).to_have_count(500)


def test_debug_can_be_filtered_and_cleared(desk: Desk) -> None:
    desk.run("show-debug")
    rows = desk.page.locator(".debug-row:visible")
    expect(rows.first).to_be_visible()
    desk.page.get_by_label("Filter messages").fill("nowhere")
    expect(rows).to_have_count(0)
    desk.page.get_by_label("Filter messages").fill("21.5")
    expect(rows.first).to_be_visible()


def test_the_log_shows_the_engines_sentences_of_this_flow(desk: Desk) -> None:
    desk.run("show-log")
    expect(desk.page.locator(".log-row:visible", has_text="21.5").first).to_be_visible()
    expect(desk.page.locator("#drawer-body [role=log]")).to_be_visible()


def test_losses_stand_under_the_node_that_has_them(sit: Sit) -> None:
    desk = sit()
    nodes = {
        **NODES,
        "sort": {"type": "route", "config": {"rules": [{"to": "big", "when": "payload.t > 99"}]}},
        "bad": {"type": "compute", "config": {"set": {"payload.x": "payload.t / 0"}}},
    }
    wires = ["tick -> sort", "tick -> bad", "bad -> show", "sort.big -> show"]
    desk.make("lossy", nodes, wires, deploy=True)
    desk.open("lossy")
    expect(desk.node("sort").locator(".under")).to_contain_text("unmatched")
    expect(desk.node("bad").locator(".under")).to_contain_text("failed")


def test_run_now_is_a_button_on_the_card_and_a_key(sit: Sit) -> None:
    desk = sit()
    nodes = {"tick": {"type": "timer.tick", "config": {"every": "1h", "payload": 4}}}
    nodes["show"] = {"type": "debug", "config": {"to": ["panel"]}}
    desk.make("rare", nodes, ["tick -> show"], deploy=True)
    desk.open("rare")
    desk.run("show-debug")
    rows = desk.page.locator(".debug-row")
    expect(rows).to_have_count(1)  # the first tick, at the start
    desk.node("tick").locator(".run").click()
    expect(rows).to_have_count(2)
    desk.page.evaluate("flowengine.selection.set(['tick']), flowengine.focusNode('tick')")
    desk.press("r")
    expect(rows).to_have_count(3)


def test_the_read_only_view_shows_all_of_it_and_changes_nothing(desk: Desk) -> None:
    desk.open("runs", "?view=1")
    expect(desk.page.locator("#engine-state")).to_contain_text("Running")
    expect(desk.page.locator("[role=treeitem][data-id=tick] .live")).to_contain_text("21.5")
    x, y = desk.place("show")
    desk.drag((x - 20, y), (x + 80, y + 80))
    desk.press("Delete", "/", "Control+Enter")
    assert desk.page.locator("dialog, .popover").count() == 0
    assert desk.page.evaluate("flowengine.history.steps.length") == 0
    desk.page.set_viewport_size({"width": 390, "height": 844})
    desk.open("runs", "?view=1")
    expect(desk.page.locator("[role=treeitem][data-id=tick] .live")).to_contain_text("21.5")
    assert desk.page.evaluate("document.documentElement.scrollWidth") <= 390
