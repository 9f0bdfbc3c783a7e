"""Nothing runs before a plan was seen; what fails leaves the old version running."""

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk

NODES: dict[str, Any] = {
    "tick": {"type": "timer.tick", "title": "Tick", "config": {"every": "50ms", "payload": 1}},
    "show": {"type": "debug", "title": "Show", "config": {"to": ["panel"]}},
}
TICK = ("nodes", "tick", "config", "every")


@pytest.fixture
def desk(sit: Sit) -> Desk:
    """The editor over a flow that runs."""
    made = sit()
    made.make("run", NODES, ["tick -> show"], {"tick": [40, 40], "show": [420, 40]}, deploy=True)
    made.open("run")
    return made


def entry(desk: Desk) -> int:
    """Which deploy of this flow runs; a flow of the same name had its own before."""
    number: int = desk.call("GET", "/flows/run")["state"]["deployed"]["entry"]
    return number


def test_the_plan_says_what_restarts_before_anything_does(desk: Desk) -> None:
    page, first = desk.page, entry(desk)
    expect(page.locator("#deploy")).to_have_text("Up to date")
    expect(page.locator("#deploy")).to_be_disabled()
    desk.change("70ms", *TICK)
    expect(page.locator("#deploy .count")).to_have_text("1 change")
    page.locator("#deploy").click()
    plan = page.locator(".popover")
    expect(plan.locator("dl")).to_contain_text("Restart")
    expect(plan.locator("dl")).to_contain_text("Tick")
    expect(plan.locator("dl")).to_contain_text("1 node")
    expect(plan.locator(".diff")).to_contain_text("70ms")
    desk.press("Escape")
    expect(plan).to_have_count(0)
    assert entry(desk) == first
    page.locator("#deploy").click()
    note = page.locator(".popover input")
    expect(page.locator(".popover button.primary")).to_be_enabled()
    note.fill("slower")
    note.press("Enter")
    expect(page.locator("#toast")).to_contain_text("1 node restarted")
    newest = desk.call("GET", "/flows/run/history")["entries"][0]
    assert (newest["note"], newest["by"], newest["restarted"]) == ("slower", "dora", ["tick"])


def test_a_move_needs_no_deploy(desk: Desk) -> None:
    desk.page.evaluate("flowengine.commit('Move', [{op: 'move', at: {show: [500, 300]}}])")
    desk.saved()
    assert desk.call("GET", "/flows/run")["layout"]["show"] == [500, 300]
    expect(desk.page.locator("#deploy")).to_have_text("Up to date")


def test_a_draft_with_faults_is_not_deployed_and_the_old_version_runs_on(desk: Desk) -> None:
    page, first = desk.page, entry(desk)
    desk.change("soon", *TICK)
    page.locator("#deploy").click()
    expect(page.locator(".popover .fault").first).to_contain_text("soon")
    expect(page.locator(".popover button.primary")).to_be_disabled()
    desk.press("Escape")
    state = desk.call("GET", "/flows/run")["state"]
    assert (state["running"], state["deployed"]["entry"], state["errors"]) == (True, first, 1)


def test_a_deploy_that_fails_says_why_and_the_old_version_runs_on(desk: Desk) -> None:
    page = desk.page
    page.evaluate(
        """flowengine.commit('Add', [
          {op: 'put', path: ['connections', 'plant'], value: {type: 'mqtt.broker',
            config: {host: '127.0.0.1', username: 'u', password: {$secret: 'nobody-knows'}}}},
          {op: 'put', path: ['nodes', 'out'], value: {type: 'mqtt.out',
            config: {broker: 'plant', topic: 'a'}}},
          {op: 'wire', wire: {id: 'tick -> out', from: 'tick', output: null, to: 'out', settings: {}}}])"""  # noqa: E501
    )
    page.locator("#deploy").click()
    expect(page.locator(".popover")).to_contain_text("nobody-knows")
    desk.press("Control+Enter", "Escape")
    state = desk.call("GET", "/flows/run")["state"]
    assert (state["running"], state["deployed"]["nodes"]) == (True, 2)
    expect(page.locator("#engine-state")).to_contain_text("Running")


def test_history_shows_what_differs_and_returns_by_one_click(desk: Desk) -> None:
    page, first = desk.page, entry(desk)
    desk.change("70ms", *TICK)
    desk.saved()
    desk.run("show-history")
    page.locator(".step-row", has_text=f"Version {first}").first.click()
    dialog = page.locator("dialog[open]")
    expect(dialog.locator(".diff")).to_contain_text("70ms")
    dialog.get_by_role("button", name="Return to this version").click()
    expect(page.locator("#toast")).to_contain_text(f"version {first} again")
    assert desk.document("run")["nodes"]["tick"]["config"]["every"] == "50ms"
    expect(page.locator("#deploy")).to_have_text("Up to date")


def test_steps_of_the_history_are_gone_back_to(desk: Desk) -> None:
    page = desk.page
    for every in ("60ms", "70ms", "80ms"):
        desk.change(every, *TICK)
        page.evaluate("flowengine.history.seal()")
    desk.run("show-history")
    page.locator(".step-row", has_text="As it was opened").click()
    desk.saved()
    assert desk.document("run")["nodes"]["tick"]["config"]["every"] == "50ms"


def test_what_two_change_apart_is_put_together(desk: Desk) -> None:
    theirs = desk.document("run")
    theirs["nodes"]["show"]["title"] = "Seen by ben"
    desk.overtake("run", theirs)
    desk.change("70ms", *TICK)
    desk.until("flowengine.store.nodes.get('show').title === 'Seen by ben'")
    expect(desk.page.locator("#toast")).to_contain_text("both changes were put together")
    desk.until("flowengine.draft.state === 'saved'")
    document = desk.document("run")
    assert document["nodes"]["show"]["title"] == "Seen by ben"
    assert document["nodes"]["tick"]["config"]["every"] == "70ms"


@pytest.mark.parametrize("mine", [True, False])
def test_what_two_change_alike_is_asked_and_nothing_lost_before(desk: Desk, mine: bool) -> None:
    theirs = desk.document("run")
    theirs["nodes"]["tick"]["config"]["every"] = "90ms"
    desk.overtake("run", theirs)
    desk.change("70ms", *TICK)
    dialog = desk.page.locator("dialog[open]")
    expect(dialog).to_contain_text("changed this flow too")
    expect(dialog.locator(".diff").first).to_contain_text("70ms")
    expect(dialog.locator(".diff").nth(1)).to_contain_text("90ms")
    dialog.locator("input[type=radio]").nth(0 if mine else 1).check()
    dialog.get_by_role("button", name="Go on").click()
    every = "70ms" if mine else "90ms"
    desk.until("flowengine.draft.state === 'saved'")
    desk.until(f"flowengine.store.nodes.get('tick').config.every === '{every}'")
    assert desk.document("run")["nodes"]["tick"]["config"]["every"] == every


def test_of_two_tabs_that_deploy_at_once_one_is_told(desk: Desk) -> None:
    other, first = desk.new_page(), entry(desk)
    other.goto(desk.page.url)
    other.wait_for_selector("html[data-ready=true]", state="attached")
    desk.change("70ms", *TICK)
    desk.saved()
    other.wait_for_selector("#deploy:has-text('1 change')")
    desk.page.bring_to_front()
    for page in (desk.page, other):
        page.evaluate("void flowengine.run('deploy')")
        page.wait_for_selector(".popover button.primary:not(:disabled)")
    for page in (desk.page, other):
        page.evaluate("document.querySelector('.popover button.primary')?.click()")
    for page in (desk.page, other):
        expect(page.locator("#deploy")).to_have_text("Up to date")
    assert 1 <= entry(desk) - first <= 2
    state = desk.call("GET", "/flows/run")["state"]
    assert (state["running"], state["draft"]["changed"]) == (True, False)


def test_discard_makes_the_draft_what_runs_again(desk: Desk) -> None:
    desk.change("70ms", *TICK)
    desk.saved()
    desk.run("discard")
    desk.page.locator("dialog[open]").get_by_role("button", name="Discard").click()
    desk.until("flowengine.store.nodes.get('tick').config.every === '50ms'")
    expect(desk.page.locator("#deploy")).to_have_text("Up to date")
