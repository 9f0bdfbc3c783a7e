"""An open editor outlives its server, and a plug-in's node needs no JavaScript of its own."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web.browser.corpus import STRANGE
from tests.web.browser.desk import READY, Desk
from tests.web.browser.served import Served

HOUR = 3_600_000  # milliseconds
NODES: dict[str, Any] = {
    "tick": {"type": "timer.tick", "config": {"every": "50ms", "payload": 21.5}},
    "show": {"type": "debug", "config": {"to": ["panel"]}},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server process for the tests of this file."""
    with Served(tmp_path_factory.mktemp("served")) as made:
        yield made


@pytest.fixture(scope="module")
def session(served: Served) -> dict[str, str]:
    """Cookies of whoever came by the one-time link first; filled by the first test."""
    return {}


@pytest.fixture
def desk(enter: Callable[..., Desk], served: Served, session: dict[str, str]) -> Desk:
    """Someone logged in at the served editor, by its one-time link."""
    made = enter(served.url, cookies=session)
    made.expected.add(401)
    if not session:
        made.page.goto(served.link)
        made.page.wait_for_selector(READY, state="attached")
        session |= {each["name"]: each["value"] for each in made.context.cookies()}
    made.page.goto(served.url)
    made.page.wait_for_selector(READY, state="attached")
    made.csrf = made.page.evaluate("JSON.parse(document.getElementById('page').textContent).csrf")
    return made


def test_the_one_time_link_logs_in_once_and_leaves_no_trace_in_the_address(
    desk: Desk, served: Served, enter: Callable[..., Desk]
) -> None:
    expect(desk.page.locator("#new-blank")).to_be_enabled()
    assert "first" not in desk.page.url
    other = enter(served.url)
    other.expected.add(401)
    other.page.goto(served.link)
    expect(other.page.locator("#fault")).not_to_be_empty()
    assert "first" not in other.page.url


def test_a_plug_ins_node_is_found_drawn_set_up_and_run_like_any_other(desk: Desk) -> None:
    desk.make("felt", NODES, ["tick -> show"], {"tick": [40, 40], "show": [620, 40]})
    page = desk.open("felt")
    page.evaluate("flowengine.selection.set([], ['tick -> show'])")
    page.locator("#canvas").focus()
    desk.press("/")
    desk.choose("feel")
    desk.saved()
    (added,) = set(desk.document("felt")["nodes"]) - set(NODES)
    assert desk.document("felt")["nodes"][added]["type"] == "weather.feel"
    desk.node(added).click()
    field = page.locator("[data-field=wind] input").first
    field.fill("-1")
    field.press("Tab")
    expect(page.locator("[data-field=wind] .fault")).not_to_be_empty()
    field.fill("1.5")
    field.press("Tab")
    expect(page.locator("[data-field=wind] .fault")).to_be_empty()
    expect(page.locator("[data-field=scale] input[type=radio]")).to_have_count(2)
    expect(page.locator("[data-field=wind] .help")).to_contain_text("<img src=x onerror=hacked=1>")
    page.click("#tab-docs")
    expect(page.locator("#inspector-body")).to_contain_text("<script>hacked=1</script>")
    assert page.evaluate(STRANGE) == []
    desk.press("Control+Enter")
    page.wait_for_selector(".popover button.primary:not(:disabled)")
    desk.press("Control+Enter")
    desk.until(f"flowengine.now.values.get('{added}.out')?.text.startsWith('20')")
    own = {response.url for response in desk.responses if "weather" in response.url}
    assert all("/node-types/weather.feel/form" in each for each in own)


def test_a_killed_server_takes_nothing_from_the_draft_and_its_figures_come_back(
    desk: Desk, served: Served
) -> None:
    desk.make("cut", NODES, ["tick -> show"], {"tick": [40, 40], "show": [420, 40]}, deploy=True)
    page = desk.open("cut")
    desk.until("flowengine.now.values.size > 0")
    desk.change("before", "nodes", "show", "title")
    desk.saved()
    served.kill()
    expect(page.locator("#engine-state")).to_contain_text("No connection")
    desk.change("while away", "nodes", "tick", "title")
    expect(page.locator("#saved")).to_have_text("Not saved")
    expect(desk.node("tick")).to_contain_text("while away")
    served.start()
    expect(page.locator("#engine-state")).to_contain_text("Running", timeout=40_000)
    expect(page.locator("#saved")).to_have_text("Draft saved", timeout=40_000)
    titles = {name: node.get("title") for name, node in desk.document("cut")["nodes"].items()}
    assert titles == {"show": "before", "tick": "while away"}
    page.evaluate("flowengine.now.values.clear()")
    desk.until("flowengine.now.values.get('tick.out')?.text === '21.5'")
    page.locator("#canvas").focus()
    desk.press("Control+z")
    desk.until("!flowengine.store.nodes.get('tick').title")


def test_without_network_edits_wait_and_are_saved_when_it_is_back(desk: Desk) -> None:
    desk.make("off", NODES, ["tick -> show"], {"tick": [40, 40], "show": [420, 40]})
    page = desk.open("off")
    desk.node("tick").click()
    page.wait_for_selector("#inspector-body [data-node=tick] [data-field=every]")
    desk.context.set_offline(True)
    page.evaluate("flowengine.live.socket.close()")  # set_offline leaves open sockets open
    expect(page.locator("#engine-state")).to_contain_text("No connection")
    page.locator("[data-field=every] input").first.fill("75ms")
    expect(page.locator("#saved")).to_have_text("Not saved")
    desk.context.set_offline(False)
    expect(page.locator("#saved")).to_have_text("Draft saved", timeout=40_000)
    assert desk.document("off")["nodes"]["tick"]["config"]["every"] == "75ms"


@pytest.mark.parametrize("hours", [72, -72])
def test_a_browser_whose_clock_jumps_goes_on_saving_and_listening(desk: Desk, hours: int) -> None:
    desk.context.clock.install()
    flow = "back" if hours < 0 else "ahead"
    desk.make(flow, NODES, ["tick -> show"], {"tick": [40, 40]}, deploy=True)
    page = desk.open(flow)
    desk.until("flowengine.now.values.size > 0")
    if hours < 0:
        page.evaluate(
            "(ms) => { const now = Date.now; Date.now = () => now() + ms; }", hours * HOUR
        )
    else:
        page.clock.fast_forward(hours * HOUR)
    desk.change("later", "nodes", "show", "title")
    desk.saved()
    assert desk.document(flow)["nodes"]["show"]["title"] == "later"
    page.evaluate("flowengine.now.values.clear()")
    desk.until("flowengine.now.values.get('tick.out')?.text === '21.5'")
    desk.run("show-history")
    expect(page.locator(".step-row").first).to_be_visible()
