"""Who may what: pages hide it, the box refuses it, and a session that is none ends at the login."""

import http.server
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from flowengine.web.door import COOKIE
from tests.web.box import PASSWORD, Box
from tests.web.browser.conftest import Sit
from tests.web.browser.desk import Desk

NODES: dict[str, Any] = {
    "tick": {"type": "timer.tick", "config": {"every": "1s"}},
    "show": {"type": "debug"},
}
# What of the editor each role is shown as usable.
SEEN = {
    "vera": {"deploy": False, "add": False, "field": False},
    "ed": {"deploy": False, "add": True, "field": True},
    "dora": {"deploy": True, "add": True, "field": True},
}


@pytest.mark.parametrize("who", SEEN)
def test_a_role_is_shown_what_it_may_and_refused_the_rest(sit: Sit, who: str) -> None:
    sit("ada").make("seen", NODES, ["tick -> show"], {"tick": [40, 40], "show": [420, 40]})
    desk = sit(who)
    page = desk.open("seen")
    desk.node("tick").click()
    field = page.locator("[data-field=every] input").first
    expect(field).to_be_visible()
    seen = {
        "deploy": page.locator("#deploy").is_enabled(),
        "add": page.locator("#tab-add").is_visible(),
        "field": field.is_enabled(),
    }
    assert seen == SEEN[who]
    etag = desk.call("GET", "/flows/seen")["state"]["draft"]["etag"]
    desk.expected.add(403)
    asked = {
        "deploy": ("POST", "/flows/seen/deploy", {"etag": etag, "note": None}),
        "add": ("PUT", "/flows/seen/layout", {"nodes": {}}),
        "field": ("POST", "/flows", {"title": "x"}),
    }
    for what, (method, path, body) in asked.items():
        answer = desk.context.request.fetch(
            f"{desk.url}/api/v1{path}",
            method=method,
            data=body,
            headers={"X-CSRF-Token": desk.csrf, "Origin": desk.url, "If-Match": "*"},
        )
        assert answer.ok is SEEN[who][what], what
        assert answer.ok or answer.json()["slug"] == "not-allowed"


def test_one_logs_in_by_name_and_lands_where_one_wanted(
    enter: Callable[..., Desk], sit: Sit, empty: Box
) -> None:
    sit().make("wanted", NODES, ["tick -> show"])
    desk = enter(empty.url)
    desk.expected.add(401)
    page = desk.page
    page.goto(f"{empty.url}/flows/wanted")
    page.get_by_label("Name").fill("dora")
    page.get_by_label("Password").fill("not the password")
    desk.press("Enter")
    expect(page.locator("#fault")).not_to_be_empty()
    page.get_by_label("Password").fill(PASSWORD)
    desk.press("Enter")
    page.wait_for_selector("html[data-ready=true]", state="attached")
    assert page.url == f"{empty.url}/flows/wanted"
    desk.run("log-out")
    page.wait_for_url("**/login**")
    page.goto(f"{empty.url}/flows/wanted")
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_password_is_changed_and_other_sessions_end(sit: Sit, empty: Box) -> None:
    empty.services.people.add("paul", "editor", PASSWORD)
    desk, other = sit("paul"), sit("paul")
    desk.make("mine", NODES, [])
    page = desk.open("mine")
    other.open("mine")
    desk.run("password")
    page.get_by_label("Current password").fill(PASSWORD)
    page.get_by_label("New password").fill("short")
    desk.press("Enter")
    expect(page.locator("dialog [role=alert]")).to_contain_text("ten characters")
    page.get_by_label("New password").fill("another good long one")
    desk.press("Enter")
    expect(page.locator("#toast")).to_contain_text("The password is changed")
    other.expected.add(401)
    other.page.wait_for_url("**/login**")


def cookies(empty: Box) -> dict[str, str]:
    """Cookies that let nobody in."""
    ended = empty.session("dora")
    empty.services.people.close_session(ended)
    good = empty.session("dora")
    return {
        "forged": secrets.token_urlsafe(32),
        "signed by none": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.",
        "ended": ended,
        "cut short": good[:-1],
        "lengthened": good + "A",
        "empty": "x",
    }


def test_a_cookie_that_is_no_session_shows_the_login_and_nothing_else(
    enter: Callable[..., Desk], sit: Sit, empty: Box
) -> None:
    sit().make("hidden", NODES, [])
    for why, value in cookies(empty).items():
        desk = enter(empty.url, cookies={COOKIE: value})
        desk.page.goto(f"{empty.url}/flows/hidden")
        expect(desk.page.get_by_label("Password"), why).to_be_visible()
        assert "timer.tick" not in desk.page.content(), why


def test_a_stolen_cookie_changes_nothing_without_the_pages_own_mark(sit: Sit) -> None:
    desk = sit()
    desk.make("kept", NODES, [])
    answer = desk.context.request.delete(
        f"{desk.url}/api/v1/flows/kept", headers={"Origin": desk.url}
    )
    assert (answer.status, answer.json()["slug"]) == (403, "csrf")
    assert sorted(desk.document("kept")["nodes"]) == ["show", "tick"]


def test_a_clock_that_jumps_past_the_sessions_end_leads_to_the_login(
    sit: Sit, empty: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = sit()
    desk.make("late", NODES, ["tick -> show"])
    desk.open("late")
    desk.expected.add(401)
    monkeypatch.setattr(empty.services.people, "now", lambda: time.time() + 13 * 3600)
    desk.page.wait_for_url("**/login?next=**")
    monkeypatch.undo()
    assert desk.page.url.endswith("/login?next=%2Fflows%2Flate")


class Foreign(http.server.BaseHTTPRequestHandler):
    """A page of another service on this machine: the same site to a browser, another origin."""

    def do_GET(self) -> None:
        """Nothing but an address of its own."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>other</title>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def foreign() -> Iterator[str]:
    """The address of another service's page."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


ATTACKS = """async (url) => {
  const asked = (path, how) => fetch(url + path, {credentials: 'include', ...how})
    .then(async (answer) => answer.type === 'opaque' ? 'opaque' : `read ${answer.status}`, () => 'no');
  const simple = {method: 'POST', mode: 'no-cors', body: '{"title": "mine"}'};
  const socket = () => new Promise((done) => {
    const made = new WebSocket(url.replace('http', 'ws') + '/api/v1/live');
    made.onmessage = () => done('heard');
    made.onclose = () => done('no');
  });
  return [await asked('/api/v1/flows'), await asked('/api/v1/session'),
    await asked('/api/v1/flows', simple),
    await asked('/api/v1/flows', {method: 'POST', body: '{}', headers: {'Content-Type': 'application/json', 'X-CSRF-Token': 'x'}}),
    await asked('/api/v1/flows/kept', {method: 'DELETE'}), await socket()];
}"""  # noqa: E501


def test_another_services_page_can_read_change_and_hear_nothing(sit: Sit, foreign: str) -> None:
    desk = sit("ada")
    desk.make("kept", NODES, [])
    page = desk.context.new_page()
    page.goto(foreign)
    assert page.evaluate(ATTACKS, desk.url) == ["no"] * 6
    page.evaluate(
        """(url) => { const form = document.createElement('form');
          Object.assign(form, {method: 'POST', action: url + '/api/v1/flows', enctype: 'text/plain'});
          document.body.append(form); form.submit(); }""",  # noqa: E501
        desk.url,
    )
    page.wait_for_url(f"{desk.url}/**")
    page.goto(foreign)
    framed = page.evaluate(
        """(url) => new Promise((done) => { const frame = document.createElement('iframe');
          frame.onload = () => { try { done(frame.contentDocument ? 'blank' : 'no'); } catch { done('no'); } };
          frame.src = url; document.body.append(frame); })""",  # noqa: E501
        desk.url,
    )
    assert framed == "no"
    assert [each["id"] for each in desk.call("GET", "/flows")["flows"]] == ["kept"]
