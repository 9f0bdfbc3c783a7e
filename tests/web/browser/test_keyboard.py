"""A flow is made, set up, wired and deployed without a mouse."""

from playwright.sync_api import expect

from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk


def test_four_nodes_are_made_and_run_by_keys_alone(sit: Sit) -> None:
    desk = sit()
    desk.make("keys", {}, [])
    page = desk.open("keys")
    with desk.no_pointer():
        for words in ("tick", "template", "queue", "debug"):
            desk.add(words)
        # Back to the template, Enter opens its settings, typing sets the text, Escape leads back.
        desk.press("[", "[")
        page.wait_for_selector(".node.selected[data-id=template]")
        desk.press("Enter")
        page.wait_for_selector("#inspector-body [data-field=text] :is(textarea, input):focus")
        page.keyboard.type("level {payload}")
        desk.press("Escape")
        desk.saved()
        assert len(desk.document("keys")["wires"]) == 3
        deploy(desk)
        desk.until("[...flowengine.now.values.values()].some((v) => v.text.includes('level'))")
        # The value is read where keys lead: in the Data tab of the node.
        page.evaluate("flowengine.run('show-data')")
        expect(page.locator("#inspector-body")).to_contain_text("level")


def test_the_same_by_the_outline_alone(sit: Sit) -> None:
    desk = sit(size=(390, 844))
    desk.make("lines", {}, [])
    page = desk.open("lines")
    expect(page.locator("#canvas")).to_be_hidden()
    with desk.no_pointer():
        for words in ("tick", "template", "queue", "debug"):
            desk.tab_to(".panel-outline button")
            desk.press("Enter")
            desk.choose(words)
        desk.tab_to("[role=treeitem]")
        desk.press("Home", "ArrowDown")
        page.wait_for_selector("[role=treeitem][data-id=template]:focus")
        desk.press("Enter")
        page.wait_for_selector("#inspector-body [data-field=text] :is(textarea, input):focus")
        page.keyboard.type("level {payload}")
        desk.press("Escape")
        desk.saved()
        wires = ["queue -> debug", "template -> queue", "timer-tick -> template"]
        assert desk.document("lines")["wires"] == wires
        deploy(desk)
        live = page.locator("[role=treeitem][data-id=template] .live")
        expect(live).to_contain_text("level")


def deploy(desk: Desk) -> None:
    """Deploy by keys, wherever the focus is."""
    desk.press("Control+Enter")
    desk.page.wait_for_selector(".popover button.primary:not(:disabled)")
    desk.press("Control+Enter")
    desk.until("flowengine.now.running")


def test_tick_to_debug_takes_no_more_than_twelve_keystrokes(sit: Sit) -> None:
    desk = sit()
    desk.make("few", {}, [])
    page = desk.open("few")
    keys = ["/", *"tic", "Enter", "/", *"deb", "Enter", "Control+Enter", "Control+Enter"]
    for key in keys:
        if key in {"t", "d"}:
            page.wait_for_selector("dialog.palette input:focus")
        if key == "/" or key.startswith("Control"):
            page.wait_for_selector("dialog.palette", state="detached")
        page.keyboard.press(key)
    page.wait_for_selector("#engine-state:has-text('Running')")
    assert len(keys) <= 12
    desk.saved()
    assert desk.document("few")["wires"] == ["timer-tick -> debug"]


def test_connect_offers_only_what_fits_and_draws_the_wire(sit: Sit) -> None:
    desk = sit()
    nodes = {"a": {"type": "timer.tick", "config": {"every": "1s"}}, "b": {"type": "debug"}}
    nodes["c"] = {"type": "timer.tick", "config": {"every": "1s"}}
    desk.make("wire", nodes, [], {"a": [40, 40], "b": [280, 40], "c": [40, 240]})
    page = desk.open("wire")
    desk.press("ArrowDown")
    page.wait_for_selector(".node.selected[data-id=a]")
    desk.press("c")
    page.wait_for_selector("dialog.palette [role=option]")
    assert page.locator("dialog.palette [role=option]").count() == 1
    desk.press("Enter")
    page.wait_for_selector(".node.selected[data-id=b]")
    desk.saved()
    assert desk.document("wire")["wires"] == ["a -> b"]


def test_arrows_lead_to_neighbours_and_far_away_nodes_come_into_sight(sit: Sit) -> None:
    desk = sit()
    nodes = {f"n{at}": {"type": "compute"} for at in range(6)}
    places = {f"n{at}": [40 + at * 2000, 40] for at in range(6)}
    desk.make("far", nodes, [f"n{at} -> n{at + 1}" for at in range(5)], places)
    page = desk.open("far")
    page.evaluate("flowengine.view.zoomTo(1), flowengine.view.fit({x: 40, y: 40, w: 168, h: 56})")
    desk.press("ArrowRight")
    for at in range(1, 6):
        desk.press("ArrowRight")
        page.wait_for_selector(f".node[data-id=n{at}]:focus")
    box = page.locator(".node[data-id=n5]").bounding_box()
    assert box is not None
    assert 232 < box["x"] < 1100
    desk.press("[")
    page.wait_for_selector(".node[data-id=n4]:focus")


def test_undo_survives_a_reload(sit: Sit) -> None:
    desk = sit()
    desk.make("undo", {"a": {"type": "debug"}}, [], {"a": [40, 40]})
    page = desk.open("undo")
    desk.add("tick")
    desk.saved()
    desk.until(  # the journal is written half a second after the last change
        """new Promise((done) => { const ask = indexedDB.open('flowengine');
          ask.onsuccess = () => { const all = ask.result.transaction('journals').objectStore('journals').get('undo');
            all.onsuccess = () => { ask.result.close(); done(all.result?.steps?.length); }; }; })"""  # noqa: E501
    )
    page = desk.open("undo")
    assert page.evaluate("flowengine.store.nodes.size") == 2
    desk.press("Control+z")
    desk.until("flowengine.store.nodes.size === 1")
    desk.saved()
    assert list(desk.document("undo")["nodes"]) == ["a"]
    desk.press("Control+y")
    desk.until("flowengine.store.nodes.size === 2")


def test_letters_in_a_field_are_letters(sit: Sit) -> None:
    desk = sit()
    desk.make("field", {"a": {"type": "debug"}}, [], {"a": [40, 40]})
    page = desk.open("field")
    desk.press("ArrowDown", "Enter")
    page.wait_for_selector("#inspector-body input:focus")
    page.focus("#inspector-body [data-field=field] input")
    page.keyboard.type("payload.d/")
    desk.press("Tab")
    assert page.locator("dialog").count() == 0
    desk.saved()
    assert desk.document("field")["nodes"]["a"]["config"] == {"field": "payload.d/"}
