"""What flows, people and devices say is text: it makes no element, no request and no dialog."""

import json

import pytest

from tests.web.browser.conftest import Sit

MARKS = (
    "<script>hacked=1</script>",
    "<img src=x onerror=hacked=1>",
    '"><svg onload=hacked=1>',
    "'-hacked=1-'",
    "</script><script>hacked=1</script>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "javascript:hacked=1",
    "[x](javascript:hacked=1)",
    "![x](http://192.0.2.1/pixel)",
    "<a href='http://192.0.2.1/' ping='http://192.0.2.1/'>x</a>",
    "<style>@import 'http://192.0.2.1/x.css'</style>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=hacked=1>",
    "{{constructor.constructor('hacked=1')()}}",
    "${hacked=1}",
    "<!--<img src='--><img src=x onerror=hacked=1>'>",
    "<base href='http://192.0.2.1/'>",
    "<meta http-equiv=refresh content='0;url=http://192.0.2.1/'>",
    "<object data='data:text/html,<script>hacked=1</script>'></object>",
    "\u202e<x>\u2028\u2029\u0000".replace("\u0000", ""),
    "__proto__",
)
STRANGE = "script:not([src]):not([type]), iframe, object, base, img, a[href^='javascript'], a[ping]"


@pytest.mark.parametrize("mark", MARKS)
def test_marks_are_shown_and_do_nothing(sit: Sit, mark: str) -> None:
    desk = sit("ada")
    nodes = {
        "tick": {
            "type": "timer.tick",
            "title": mark,
            "doc": mark,
            "config": {"every": "100ms", "payload": {mark: mark, "deep": [mark, {mark: mark}]}},
        },
        "hot": {"type": "threshold", "title": mark, "config": {"field": mark, "above": 1}},
        "sort": {
            "type": "route",
            "config": {"rules": [{"to": "a", "when": mark}], "otherwise": mark},
        },
        "note": {"type": "comment", "config": {"text": mark}, "doc": mark},
        "other": {"type": mark[:60], "config": {mark: mark}},
        "show": {"type": "debug", "title": mark},
    }
    desk.make("marks", nodes, ["tick -> show", "tick -> hot"], doc=mark, title=mark)
    page = desk.open("marks")
    for node in nodes:
        page.evaluate(f"flowengine.selection.set(['{node}'])")
        for tab in ("settings", "docs", "data"):
            page.evaluate(f"document.getElementById('tab-{tab}').click()")
            page.wait_for_timeout(40)
    for action in ("show-outline", "show-flows", "show-problems", "show-debug", "show-history"):
        page.evaluate(f"flowengine.run('{action}')")
        page.wait_for_timeout(60)
    page.evaluate(
        "flowengine.selection.clear(), flowengine.say(flowengine.store.head.title, 'error')"
    )
    page.evaluate("void flowengine.run('palette')")
    page.wait_for_selector("dialog[open] input:focus")
    page.keyboard.type(mark[:12])
    page.wait_for_timeout(60)
    page.keyboard.press("Escape")
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator(STRANGE).count() == 0
    titles = page.locator(".node .title").all_inner_texts()
    assert any(mark.strip()[:8] in title for title in titles), json.dumps(titles)
    page.goto(desk.url)
    page.wait_for_selector("html[data-ready=true]", state="attached")
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator(STRANGE).count() == 0


def test_what_debug_shows_of_a_message_is_text(sit: Sit) -> None:
    desk = sit("ada")
    payload = {mark: mark for mark in MARKS}
    nodes = {
        "tick": {"type": "timer.tick", "config": {"every": "50ms", "payload": payload}},
        "show": {"type": "debug", "config": {"to": ["panel"]}},
    }
    desk.make("loud", nodes, ["tick -> show"], deploy=True)
    page = desk.open("loud")
    page.evaluate("flowengine.run('show-debug')")
    page.wait_for_selector(".debug-row")
    page.locator(".debug-row summary").first.click()
    page.click(".node[data-id=show]")
    page.click("#tab-data")
    page.wait_for_selector("#inspector-body .json")
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator(STRANGE).count() == 0
