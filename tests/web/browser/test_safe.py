"""What flows, people and devices say is text: it makes no element, no request and no dialog.

Dialogs, breaches of the policy and requests to other hosts fail every browser test (`Desk`); here
each place of the editor is shown what would cause one, and shows it as it was written.
"""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.web.box import Box
from tests.web.browser.conftest import Sit
from tests.web.browser.corpus import CORPUS, ODD, STRANGE
from tests.web.browser.desk import Desk

TEXTS = [*CORPUS, *ODD]
SHOWN = ["<script>hacked=1</script>", "<img src=x onerror=hacked=1>", '"><svg onload=hacked=1>']
TAB_TEXT = "document.getElementById('%s').textContent"


def test_the_corpus_has_sixty_texts_and_no_two_alike() -> None:
    assert len(CORPUS) == len(set(CORPUS)) == 60


def plain(desk: Desk) -> None:
    """Nothing became of a text that is no text."""
    assert desk.page.evaluate(STRANGE) == []


def missing(text: str, wanted: list[str]) -> list[str]:
    """Which texts are not in a page's text; where values are shown as JSON, as JSON has them."""
    flat = "".join(text.split())
    forms = {each: {each, json.dumps(each, ensure_ascii=False)[1:-1]} for each in wanted}
    return [
        each for each in wanted if not any("".join(form.split()) in flat for form in forms[each])
    ]


def named() -> tuple[dict[str, Any], list[Any], dict[str, Any]]:
    """A flow whose every free text is one of the corpus: nodes, wires and what else it has."""
    nodes: dict[str, Any] = {}
    groups = {}
    for at, text in enumerate(TEXTS):
        nodes[f"n{at}"] = {"type": "queue", "title": text, "doc": text}
        nodes[f"note{at}"] = {"type": "comment", "config": {"text": text}}
        nodes[f"odd{at}"] = {"type": text.strip() or "x", "config": {text: text}}
        nodes[f"set{at}"] = {
            "type": "route",
            "config": {"rules": [{"to": text, "when": text}], "otherwise": text},
        }
        nodes[f"link{at}"] = {"type": "mqtt.in", "config": {"broker": text, "topic": text}}
        groups[f"g{at}"] = {"title": text, "nodes": [f"n{at}"]}
    secret = {"type": "mqtt.broker", "config": {"host": TEXTS[6], "username": TEXTS[0]}}
    params = {"limit": {"type": "number", "default": 1, "unit": TEXTS[6]}}
    more = {"doc": TEXTS, "x-groups": groups, "connections": {"plant": secret}, "params": params}
    return nodes, ["n0 -> n1", {"from": "n1", "to": "n2", "capacity": 5}], more


def test_titles_notes_docs_groups_and_settings_are_shown_as_written(sit: Sit) -> None:
    desk = sit("ada")
    nodes, wires, more = named()
    document = {"format": 1, "title": TEXTS[1], "nodes": nodes, "wires": wires, **more}
    desk.call("POST", "/flows", {"id": "marks", "title": None, "example": None,
                                 "document": document, "layout": {}})  # fmt: skip
    page = desk.open("marks")
    expect(page.locator("#flow-name")).to_have_text(TEXTS[1])
    desk.run("show-outline")
    expect(page.locator("[role=treeitem]")).to_have_count(len(nodes))
    seen = page.evaluate(TAB_TEXT % "left-body")
    assert missing(seen, TEXTS) == []
    plain(desk)
    desk.run("show-problems")
    page.wait_for_selector("#drawer-body .finding")
    plain(desk)
    titles = page.evaluate("flowengine.scene.groups().map((group) => group.title)")
    assert missing("\n".join(titles), TEXTS) == []
    # One node of each kind through every tab: the same code draws the other fifty-nine.
    for kind in ("n", "note", "odd", "set", "link"):
        for at in (0, 6, 40, 43, 57):
            page.evaluate(f"flowengine.selection.set(['{kind}{at}'])")
            for tab in ("settings", "docs"):
                page.evaluate(f"document.getElementById('tab-{tab}').click()")
                desk.until("document.getElementById('inspector-body').childElementCount > 0")
                plain(desk)
    page.evaluate("flowengine.selection.clear(), flowengine.run('show-docs')")
    desk.until("document.querySelector('#inspector-body .prose')")
    plain(desk)
    page.evaluate("flowengine.run('settings')")
    page.wait_for_selector("#inspector-body .param")
    plain(desk)


def test_dialogs_and_menus_show_them_as_written(sit: Sit) -> None:
    desk = sit("ada")
    nodes = {f"n{at}": {"type": "queue", "title": text} for at, text in enumerate(TEXTS)}
    desk.make("marks", nodes, ["n0 -> n1"])
    page = desk.open("marks")
    page.evaluate("flowengine.selection.set(['n6']), flowengine.focusNode('n6')")
    for action in ("rename", "search", "palette", "quick-add", "connect", "keys"):
        desk.run(action)
        page.wait_for_selector("dialog[open]")
        if action in ("search", "palette", "quick-add"):
            page.locator("dialog[open] input").first.fill(TEXTS[6])
        if action == "search":
            expect(page.locator("dialog[open] .found").first).to_contain_text(TEXTS[6])
        if action == "connect":
            names = page.locator("dialog[open]").evaluate("each => each.textContent")
            assert missing(names, SHOWN[:1]) == []
        plain(desk)
        if action == "search":
            page.locator("dialog[open] input").first.fill("")  # Escape would clear it first
        desk.press("Escape")
        page.wait_for_selector("dialog", state="detached")
    for text in TEXTS:
        page.evaluate("(text) => { flowengine.say(text, 'error'); flowengine.speak(text); }", text)
        assert missing(page.evaluate(TAB_TEXT % "toast"), [text]) == []
    plain(desk)
    page.evaluate("flowengine.selection.set(['n6'])")
    desk.run("context-menu")
    page.wait_for_selector(".menu")
    plain(desk)


def test_an_import_shows_its_texts_as_written(sit: Sit) -> None:
    desk = sit("ada")
    nodes, _, more = named()
    bundle = {"format": 1, "title": TEXTS[6], "nodes": nodes, **more}
    page = desk.start()
    page.get_by_role("button", name="Import").click()
    area = page.get_by_label("Flow file").first
    area.fill(json.dumps(bundle))
    about = page.locator("dialog .about")
    expect(about).not_to_be_empty()
    plain(desk)
    area.fill("")
    expect(about).to_be_empty()
    area.fill(json.dumps({"format": 1, "nodes": {}, TEXTS[6]: TEXTS[0]}))
    expect(about).to_contain_text(TEXTS[6])
    plain(desk)


@pytest.fixture
def loud(sit: Sit) -> Desk:
    """A flow that has shown each text as topic, key, payload and key of the payload."""
    desk = sit("ada")
    nodes = {
        "tick": {"type": "timer.tick", "config": {"every": "1h"}},
        "bad": {"type": "json.decode"},
        "show": {"type": "debug", "config": {"to": ["panel", "log"]}},
        "all": {"type": "queue"},
    }
    wires = ["tick -> show", "all -> show", "bad -> show", "bad.error -> show"]
    desk.make("loud", nodes, wires, deploy=True, doc=TEXTS)
    for text in TEXTS:
        body = {"payload": {text: text}, "topic": text, "key": text, "meta": {"m": text}}
        desk.call("POST", "/flows/loud/nodes/show/inject", body)
    desk.call("POST", "/flows/loud/nodes/all/inject", {"payload": {each: each for each in TEXTS}})
    for text in TEXTS[:8]:
        desk.call("POST", "/flows/loud/nodes/bad/inject", {"payload": text})
    desk.open("loud")
    return desk


def test_messages_topics_keys_and_errors_are_shown_as_written(loud: Desk) -> None:
    page = loud.page
    loud.run("show-debug")
    rows = page.locator(".debug-row")
    expect(rows.nth(len(TEXTS))).to_be_visible()
    page.evaluate(
        "for (const each of document.querySelectorAll('#drawer-body details')) each.open = true"
    )
    desk_text = loud.until(
        "document.querySelectorAll('#drawer-body details .leaf').length > 60"
        " && document.getElementById('drawer-body').textContent"
    )
    assert missing(desk_text, TEXTS) == []
    plain(loud)
    loud.run("show-log")
    expect(page.locator(".log-row:visible").first).to_be_visible()
    assert missing(page.evaluate(TAB_TEXT % "drawer-body"), SHOWN[:1]) == []
    plain(loud)
    loud.call("GET", "/flows/loud/wires/all.out/samples")  # from now on they are kept
    loud.call("POST", "/flows/loud/nodes/all/inject",
              {"payload": TEXTS[6], "topic": TEXTS[0], "key": TEXTS[11]})  # fmt: skip
    loud.node("all").click()
    page.click("#tab-data")
    pane = page.locator("#inspector-body .pane", has_text="Out")
    expect(pane).to_contain_text(TEXTS[6])
    expect(pane).to_contain_text(TEXTS[0])
    plain(loud)
    page.mouse.move(500, 700)
    page.mouse.move(*loud.on_wire("all -> show"))
    expect(page.locator(".wire-card .value")).to_contain_text(TEXTS[6])
    expect(page.locator(".wire-card")).to_contain_text(TEXTS[11])
    plain(loud)


def test_history_tests_and_plan_are_shown_as_written(loud: Desk) -> None:
    page = loud.page
    document = loud.document("loud")
    document["nodes"]["show"]["title"] = TEXTS[6]
    etag = loud.call("GET", "/flows/loud")["state"]["draft"]["etag"]
    loud.call("PUT", "/flows/loud", {"document": document, "label": TEXTS[0]}, **{"If-Match": etag})
    tests = [
        {
            "name": text,
            "input": [{"at": "0ms", "node": "all", "payload": text, "topic": text}],
            "until": "100ms",
            "expect": {"all.out": [{"payload": 1}]},
        }
        for text in SHOWN
    ]
    loud.call(
        "PUT",
        "/flows/loud/tests",
        {"document": {"format": 1, "tests": tests}},
        **{"If-Match": "*"},
    )
    loud.open("loud")
    loud.run("deploy")
    page.wait_for_selector(".popover button.primary:not(:disabled)")
    expect(page.locator(".popover .diff")).to_contain_text(TEXTS[6])
    page.locator(".popover input").fill(TEXTS[11])
    plain(loud)
    loud.press("Control+Enter")
    page.wait_for_selector(".popover", state="detached")
    loud.run("show-history")
    expect(page.locator("#drawer-body")).to_contain_text(TEXTS[11])
    plain(loud)
    page.click("#tab-tests")
    expect(page.locator("#inspector-body details")).to_have_count(len(SHOWN))
    page.get_by_role("button", name="Run all").click()
    expect(page.locator("#inspector-body")).to_contain_text(f"{len(SHOWN)} failed")
    assert missing(page.evaluate(TAB_TEXT % "inspector-body"), SHOWN) == []
    plain(loud)


def test_addresses_and_names_of_pages_that_are_none_are_text(
    sit: Sit, enter: Callable[..., Desk]
) -> None:
    desk = sit()
    stranger = enter(desk.url)
    for each in (desk, stranger):
        each.expected |= {400, 401, 404, 405, 414, 429}
    page = stranger.page
    for text in ("<script>hacked=1</script>", '"><svg onload=hacked=1>', "{{7*7}}"):
        for path in ("/flows/", "/help/", "/"):
            desk.page.goto(f"{desk.url}{path}{quote(text, safe='')}")
            plain(desk)
            assert "49" not in desk.page.inner_text("body")
        page.goto(f"{desk.url}/login?next={quote(text, safe='')}")
        page.get_by_label("Name").fill(text)
        page.get_by_label("Password").fill(text)
        stranger.press("Enter")
        expect(page.locator("#fault")).not_to_be_empty()
        plain(stranger)


def test_a_login_leads_to_no_other_host(enter: Callable[..., Desk], empty: Box) -> None:
    desk = enter(empty.url)
    for place in ("//192.0.2.1/", "https://192.0.2.1/", "javascript:hacked=1", "/\\192.0.2.1/"):
        desk.page.goto(f"{desk.url}/login?next={quote(place, safe='')}")
        told = desk.page.evaluate("JSON.parse(document.getElementById('page').textContent)")
        assert told.get("next") in (None, "", "/")
