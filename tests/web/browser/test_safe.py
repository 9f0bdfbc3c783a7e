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


@pytest.mark.parametrize("at", range(0, len(MARKS), 5))
def test_marks_are_shown_and_do_nothing(sit: Sit, at: int) -> None:
    desk = sit("ada")
    marks = MARKS[at : at + 5]
    nodes: dict[str, object] = {}
    wires: list[object] = []
    for index, mark in enumerate(marks):
        deep = {mark: mark, "deep": [mark, {mark: mark}]}
        nodes |= {
            f"tick{index}": {
                "type": "timer.tick",
                "title": mark,
                "doc": mark,
                "config": {"every": "100ms", "payload": deep},
            },
            f"hot{index}": {
                "type": "threshold",
                "title": mark,
                "config": {"field": mark, "above": 1},
            },
            f"sort{index}": {
                "type": "route",
                "config": {"rules": [{"to": "a", "when": mark}], "otherwise": mark},
            },
            f"note{index}": {"type": "comment", "config": {"text": mark}, "doc": mark},
            f"other{index}": {"type": mark[:60], "config": {mark: mark}},
            f"show{index}": {"type": "debug", "title": mark},
        }
        wires += [f"tick{index} -> show{index}", f"tick{index} -> hot{index}"]
    desk.make("marks", nodes, wires, doc=" ".join(marks), title=marks[0])
    page = desk.open("marks")
    for node in nodes:
        page.evaluate(f"flowengine.selection.set(['{node}'])")
        for tab in ("settings", "docs", "data"):
            page.evaluate(f"document.getElementById('tab-{tab}').click()")
            page.wait_for_timeout(25)
    for action in ("show-outline", "show-flows", "show-problems", "show-debug", "show-history"):
        page.evaluate(f"flowengine.run('{action}')")
        page.wait_for_timeout(60)
    page.evaluate(
        "flowengine.selection.clear(), flowengine.say(flowengine.store.head.title, 'error')"
    )
    page.evaluate("void flowengine.run('palette')")
    page.wait_for_selector("dialog[open] input:focus")
    page.keyboard.type(marks[1][:12])
    page.wait_for_timeout(60)
    page.keyboard.press("Escape")
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator(STRANGE).count() == 0
    titles = page.evaluate(
        "[...flowengine.store.nodes.keys()].map((id) => flowengine.describe(id))"
    )
    for mark in marks:
        assert any(mark in title for title in titles), json.dumps(titles)
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
