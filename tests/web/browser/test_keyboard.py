"""A flow is made, set up, wired and deployed without a mouse."""

from tests.web.browser.conftest import Sit


def test_four_nodes_are_made_and_run_by_keys_alone(sit: Sit) -> None:
    desk = sit()
    desk.make("keys", {}, [])
    page = desk.open("keys")
    for words in ("tick", "template", "queue", "debug"):
        desk.add(words)
    # Settings of the template, by keys: Enter opens them, typing sets the text, Escape leads back.
    desk.press("[", "[")
    page.wait_for_selector(".node.selected[data-id=template]")
    desk.press("Enter")
    page.wait_for_selector("#inspector-body [data-field=text] :is(textarea, input):focus")
    page.keyboard.type("level {payload}")
    desk.press("Escape")
    desk.saved()
    assert len(desk.document("keys")["wires"]) == 3
    desk.press("Control+Enter")
    page.wait_for_selector(".popover button.primary:not(:disabled)")
    desk.press("Control+Enter")
    page.wait_for_selector("#engine-state:has-text('Running')")
    desk.until("[...flowengine.now.values.values()].some((v) => v.text.includes('level'))")


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
    page.wait_for_timeout(700)  # the journal is written half a second after the last change
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
