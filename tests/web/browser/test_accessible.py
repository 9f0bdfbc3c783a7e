"""No page and no dialog has an accessibility fault that axe-core finds, in either theme."""

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


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_editor_has_none(sit: Sit, theme: str) -> None:
    desk = sit("ada", theme=theme)
    params = {"limit": {"type": "number", "default": 8}}
    desk.make("all", NODES, WIRES, params=params)
    page = desk.open("all")
    assert faults(desk) == []
    for node in ("wrong", "sort", "gone", "note"):
        page.click(f".node[data-id={node}]")
        page.wait_for_timeout(150)
        assert faults(desk, within="#right") == []
    for tab in ("data", "tests", "docs"):
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(150)
        assert faults(desk, within="#right") == []
    for tab in ("outline", "flows"):
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(150)
        assert faults(desk, within="#left") == []
    for tab in ("problems", "debug", "history", "log"):
        page.evaluate(f"flowengine.run('show-{tab}')")
        page.wait_for_timeout(200)
        assert faults(desk, within="#drawer") == []


DIALOGS = {
    "palette": ("palette", "dialog[open]"),
    "quick add": ("quick-add", "dialog[open]"),
    "search": ("search", "dialog[open]"),
    "keys": ("keys", "dialog[open]"),
    "import": ("import", "dialog[open]"),
    "password": ("password", "dialog[open]"),
    "new flow": ("new-flow", "dialog[open]"),
    "menu": ("menu", ".menu"),
    "deploy": ("deploy", ".popover"),
}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_dialog_has_any(sit: Sit, theme: str) -> None:
    desk = sit("ada", theme=theme)
    desk.make("some", {"tick": NODES["tick"], "show": {"type": "debug"}}, ["tick -> show"])
    page = desk.open("some")
    found = {}
    for name, (action, selector) in DIALOGS.items():
        page.evaluate(f"void flowengine.run('{action}')")
        page.wait_for_selector(selector)
        page.wait_for_timeout(250)
        found[name] = faults(desk, within=selector)
        page.keyboard.press("Escape")
        page.wait_for_selector(selector, state="detached")
    assert found == {name: [] for name in DIALOGS}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_start_page_and_phone_have_none(sit: Sit, theme: str) -> None:
    desk = sit("ada", theme=theme)
    desk.make("all", NODES, WIRES)
    desk.page.goto(desk.url)
    desk.page.wait_for_selector("html[data-ready=true]", state="attached")
    assert faults(desk) == []
    phone = sit("ada", theme=theme, size=(390, 844))
    phone.open("all")
    assert faults(phone) == []
    phone.page.click("[role=treeitem][data-id=wrong]")
    phone.page.wait_for_timeout(300)
    assert faults(phone) == []


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
