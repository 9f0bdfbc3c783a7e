"""No page and no dialog has an accessibility fault that axe-core finds, in either theme."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk
from tests.web.tools import package

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NODES: dict[str, Any] = {
    "tick": {"type": "timer.tick", "title": "Tick", "config": {"every": "100ms", "payload": 21.5}},
    "hot": {"type": "threshold", "config": {"above": {"$param": "limit"}}},
    "wrong": {"type": "threshold", "config": {"above": 1, "below": 2}},
    "gone": {"type": "nowhere.such"},
    "sort": {"type": "route", "config": {"rules": [{"to": "big", "when": "payload > 8"}]}},
    "off": {"type": "debug", "disabled": True},
    "show": {"type": "debug"},
    "note": {"type": "comment", "config": {"text": "A note"}},
}
WIRES = ["tick -> hot", "tick -> wrong", "tick -> sort", "sort.big -> show", "hot.raised -> show"]


def faults(desk: Desk, *, within: str | None = None) -> list[str]:
    """What axe-core finds, one line each."""
    source = (package("axe-core") / "axe.min.js").read_text("utf-8")
    if not desk.page.evaluate("typeof axe === 'object'"):
        desk.page.evaluate(source)
    found = desk.page.evaluate(
        "([tags, within]) => axe.run(within ?? document, {runOnly: tags})", [TAGS, within]
    )
    return [
        f"{fault['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]


@pytest.fixture(params=["light", "dark"])
def desk(request: pytest.FixtureRequest, sit: Sit) -> Desk:
    """An administrator in one of the themes, whose dialogs do not fade in."""
    return sit("ada", theme=request.param, reduced_motion="reduce")


def test_the_editor_has_none(desk: Desk) -> None:
    params = {"limit": {"type": "number", "default": 8}}
    groups: Any = {"side": {"title": "Alarm side", "nodes": ["hot", "show"]}}
    desk.make("all", NODES, WIRES, params=params, groups=groups)
    page = desk.open("all")
    page.wait_for_selector("#inspector-body .field")
    assert faults(desk) == []
    for node, seen in {
        "wrong": ".fault:not(:empty)",
        "sort": ".field",
        "gone": "pre",
        "note": ".field",
    }.items():
        desk.node(node).click()
        page.wait_for_selector(f".node.selected[data-id={node}]")
        page.wait_for_selector(f"#inspector-body {seen}")
        assert faults(desk, within="#right") == [], node
    for tab, seen in {"data": ".nothing", "tests": ".nothing", "docs": ".prose"}.items():
        page.click(f"#tab-{tab}")
        page.wait_for_selector(f"#inspector-body .panel-{tab} {seen}")
        assert faults(desk, within="#right") == [], tab
    for tab, seen in {"outline": "[role=treeitem]", "flows": "a, button"}.items():
        page.click(f"#tab-{tab}")
        page.wait_for_selector(f"#left-body .panel-{tab} {seen}")
        assert faults(desk, within="#left") == [], tab
    for tab in ("problems", "debug", "history", "log"):
        desk.run(f"show-{tab}")
        page.wait_for_selector(f"#drawer-body .panel-{tab}", state="attached")
        assert faults(desk, within="#drawer") == [], tab
    page.evaluate("flowengine.selection.set([], ['tick -> hot'])")
    page.click("#tab-settings")
    page.wait_for_selector("#wire-capacity")
    assert faults(desk, within="#right") == []


def test_what_runs_has_none(desk: Desk) -> None:
    double = {"type": "compute", "config": {"set": {"payload": "payload * 2"}}}
    nodes = {"tick": NODES["tick"], "double": double, "show": {"type": "debug"}}
    places = {"tick": [40, 40], "double": [300, 40], "show": [5000, 40]}
    desk.make("live", nodes, ["tick -> double", "double -> show"], places, deploy=True)
    wrong = {
        "name": "wrong",
        "input": [{"at": "0ms", "node": "double", "payload": 4}],
        "until": "100ms",
        "expect": {"double.out": [{"payload": 9}]},
    }
    document = {"format": 1, "tests": [wrong]}
    desk.call("PUT", "/flows/live/tests", {"document": document}, **{"If-Match": "*"})
    page = desk.open("live")
    page.evaluate("flowengine.view.zoomTo(1)")
    page.wait_for_selector("#minimap:not([hidden])")
    desk.run("show-debug")
    page.locator(".debug-row summary, .debug-row .leaf").first.wait_for()
    page.get_by_role("button", name="Pause").click()
    assert faults(desk, within="#drawer") == []
    page.evaluate("flowengine.view.zoomTo(1), flowengine.selection.set(['double'])")
    page.click("#tab-data")
    page.wait_for_selector("#inspector-body .pane .json")
    page.locator("#inspector-body summary", has_text="Send a message").click()
    assert faults(desk, within="#right") == []
    page.click("#tab-tests")
    page.get_by_role("button", name="Run all").click()
    page.wait_for_selector("#inspector-body details[open] .diff")
    assert faults(desk, within="#right") == []
    desk.run("show-history")
    page.wait_for_selector("#drawer-body .step-row")
    assert faults(desk, within="#drawer") == []
    desk.run("fit")
    page.mouse.move(*desk.on_wire("tick -> double"))
    assert faults(desk, within="#stage") == []


DIALOGS = {
    "palette": "dialog[open]",
    "quick-add": "dialog[open]",
    "search": "dialog[open]",
    "keys": "dialog[open]",
    "import": "dialog[open]",
    "password": "dialog[open]",
    "new-flow": "dialog[open]",
    "rename": "dialog[open]",
    "change-id": "dialog[open]",
    "connect": "dialog[open]",
    "delete-flow": "dialog[open]",
    "menu": ".menu",
    "context-menu": ".menu",
    "deploy": ".popover",
}


def test_no_dialog_has_any(desk: Desk) -> None:
    broker = {"type": "mqtt.broker", "config": {"host": "h"}}
    nodes = {"tick": NODES["tick"], "show": {"type": "debug"}, "more": {"type": "queue"}}
    places = {"tick": [40, 40], "show": [420, 40], "more": [420, 240]}
    desk.make("some", nodes, ["tick -> show"], places, connections={"plant": broker})
    page = desk.open("some")
    found = {}
    desk.node("tick").click()
    for action, selector in DIALOGS.items():
        desk.run(action)
        page.wait_for_selector(selector)
        if action == "deploy":
            page.wait_for_selector(".popover .diff")
        if action == "search":
            page.locator("dialog[open] input").first.fill("tick")
            page.wait_for_selector("dialog .found")
        if action == "import":
            page.get_by_label("Flow file").first.fill('{"format": 1, "nodes": []}')
            page.wait_for_selector("dialog .about .fault")
        found[action] = faults(desk, within=selector)
        if action == "search":
            page.locator("dialog[open] input").first.fill("")  # Escape would clear it first
        page.keyboard.press("Escape")
        page.wait_for_selector(selector, state="detached")
    desk.press("Escape")
    page.evaluate("flowengine.run('settings')")
    page.get_by_role("button", name="Edit plant").click()
    page.wait_for_selector("dialog.connection .field")
    found["connection"] = faults(desk, within="dialog[open]")
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Add a connection").click()
    page.wait_for_selector("dialog[open]")
    found["new connection"] = faults(desk, within="dialog[open]")
    desk.press("Escape")
    assert {name: each for name, each in found.items() if each} == {}


def test_the_question_of_a_conflict_and_of_a_version_has_none(desk: Desk) -> None:
    nodes = {"tick": NODES["tick"], "show": {"type": "debug"}}
    desk.make("met", nodes, ["tick -> show"], deploy=True)
    page = desk.open("met")
    theirs = desk.document("met")
    theirs["nodes"]["tick"]["config"]["every"] = "90ms"
    desk.overtake("met", theirs)
    desk.change("70ms", "nodes", "tick", "config", "every")
    page.wait_for_selector("dialog[open] .choice-block .diff")
    assert faults(desk, within="dialog[open]") == []
    page.get_by_role("button", name="Go on").click()
    page.wait_for_selector("dialog", state="detached")
    desk.saved()
    desk.run("show-history")
    page.locator(".step-row", has_text="Version").first.click()
    page.wait_for_selector("dialog[open] .diff")
    assert faults(desk, within="dialog[open]") == []


def test_no_page_has_any(desk: Desk, enter: Callable[..., Desk]) -> None:
    desk.make("all", NODES, WIRES)
    desk.make("bare", {}, [])
    page = desk.start()
    page.wait_for_selector("#example-cards button")
    assert faults(desk) == []
    desk.open("bare")
    page.wait_for_selector("#empty:not([hidden]) button")
    assert faults(desk) == []
    desk.open("all", "?view=1")
    page.wait_for_selector("[role=treeitem]")
    assert faults(desk) == []
    for path in ("/people", "/charts"):
        page.goto(f"{desk.url}{path}")
        page.wait_for_selector("html[data-ready=true]", state="attached")
        assert faults(desk) == [], path
    for path in ("/help", "/help/operate"):
        page.goto(f"{desk.url}{path}")
        assert faults(desk) == [], path
    stranger = enter(desk.url, theme="dark")
    stranger.page.goto(f"{desk.url}/login")
    assert faults(stranger) == []


def test_the_phone_has_none(desk: Desk) -> None:
    desk.make("all", NODES, WIRES)
    desk.page.set_viewport_size({"width": 390, "height": 844})
    page = desk.open("all")
    page.wait_for_selector("[role=treeitem]")
    assert faults(desk) == []
    page.click("[role=treeitem][data-id=wrong]")
    page.wait_for_selector("#inspector-body .fault:not(:empty)")
    assert faults(desk) == []


def test_the_outline_says_the_flow(sit: Sit) -> None:
    desk = sit()
    desk.make("said", NODES, WIRES, params={"limit": {"type": "number", "default": 8}})
    page = desk.open("said")
    page.evaluate("flowengine.run('show-outline')")
    page.wait_for_selector("[role=tree] [role=treeitem]")
    said = page.locator("[role=treeitem][data-id=tick]").text_content() or ""
    assert said.startswith("Tick")
    assert "Timer tick, output to Hot, Sort, Wrong" in said
    places = page.locator("[role=treeitem]").evaluate_all("all => all.map((e) => e.dataset.id)")
    assert places.index("tick") < places.index("sort") < places.index("show")
