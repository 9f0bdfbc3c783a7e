"""An admin sees to people and access in the browser: users, links, sessions, tokens, the log."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from flowengine.web.access import LINK_FOR, Access, LastAdminError
from flowengine.web.door import COOKIE
from flowengine.web.people import People
from tests.web.box import API, CHEAP, PASSWORD, Box

KEY = "a new pass phrase"


class Clock:
    """A told clock, in seconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A told clock."""
    return Clock()


@pytest.fixture
def people(tmp_path: Path, clock: Clock) -> Any:
    """The people of an empty box."""
    made = People(tmp_path, clock, CHEAP)
    yield made
    made.close()


def names(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """Users by name, as the list shows them."""
    return {user["name"]: user for user in client.get(f"{API}/users").json()["users"]}


def test_a_user_is_added_with_a_password_or_with_a_link_that_works_once(box: Box) -> None:
    with box.client() as ada, box.client(None) as stranger:
        made = ada.post(f"{API}/users", json={"name": "kim", "role": "editor", "password": KEY})
        assert made.status_code == 201
        assert made.json()["link"] is None
        known = stranger.post(f"{API}/session", json={"name": "kim", "password": KEY})
        assert known.json()["user"]["role"] == "editor"

        made = ada.post(f"{API}/users", json={"name": "lou", "role": "viewer"})
        token = made.json()["link"]["token"]
        assert names(ada)["lou"]["link_until"] == made.json()["link"]["ends"]
        stranger.cookies.clear()
        first = stranger.post(f"{API}/session/first", json={"token": token})
        assert first.json()["user"] == {
            "name": "lou",
            "role": "viewer",
            "rights": ["view"],
            "has_password": False,
        }
        headers = {"X-CSRF-Token": first.json()["csrf"]}
        chosen = stranger.put(
            f"{API}/session/password", json={"old": None, "new": KEY}, headers=headers
        )
        assert chosen.status_code == 204
        again = stranger.post(f"{API}/session/first", json={"token": token})
        assert (again.status_code, again.json()["slug"]) == (401, "bad-login")
        assert ada.post(f"{API}/users", json={"name": "kim"}).json()["slug"] == "exists"


def test_a_link_for_who_forgot_the_password_voids_it_when_it_is_opened(box: Box) -> None:
    with box.client() as ada, box.client("ed") as ed, box.client(None) as stranger:
        token = ada.post(f"{API}/users/ed/link", json={}).json()["token"]
        assert ed.get(f"{API}/session").status_code == 200, (
            "a link that was not opened does nothing"
        )
        assert stranger.post(f"{API}/session/first", json={"token": token}).status_code == 200
        assert ed.get(f"{API}/session").status_code == 401
        stranger.cookies.clear()
        old = stranger.post(f"{API}/session", json={"name": "ed", "password": PASSWORD})
        assert old.status_code == 401


def test_a_link_is_good_for_a_day_and_replaces_the_one_before(people: People, clock: Clock) -> None:
    people.add("ann", "viewer")
    access = Access(people)
    first, _ = access.add_link("ann")
    second, ends = access.add_link("ann")
    assert access.take_link(first) is None
    clock.now += LINK_FOR
    assert (ends, access.links(), access.take_link(second)) == (clock.now, {}, None)
    third, _ = access.add_link("ann")
    assert third not in people.path.read_bytes().decode("latin-1")
    assert access.take_link(third) == "ann"


def test_another_role_holds_from_the_next_request_on(box: Box) -> None:
    with box.client() as ada, box.client("ed") as ed:
        assert ed.post(f"{API}/flows", json={"id": "one"}).status_code == 201
        body = {"role": "viewer", "powers": True}
        assert ada.put(f"{API}/users/ed", json=body).status_code == 204
        assert ed.post(f"{API}/flows", json={"id": "two"}).status_code == 403
        assert names(ada)["ed"]["powers"] is True


def test_the_last_admin_can_neither_be_removed_nor_made_less(box: Box) -> None:
    with box.client() as ada:
        for answer in (
            ada.delete(f"{API}/users/ada"),
            ada.put(f"{API}/users/ada", json={"role": "deployer"}),
        ):
            assert (answer.status_code, answer.json()["slug"]) == (409, "last-admin")
        ada.post(f"{API}/users", json={"name": "max", "role": "admin"})
        assert ada.delete(f"{API}/users/ada").status_code == 409, "max has no password yet"
        ada.post(f"{API}/users", json={"name": "mia", "role": "admin", "password": KEY})
        assert ada.put(f"{API}/users/ada", json={"role": "viewer"}).status_code == 204
        assert ada.get(f"{API}/users").status_code == 403


def test_an_admin_without_a_password_can_go_where_another_admin_is(people: People) -> None:
    people.add("max", "admin")
    access = Access(people)
    with pytest.raises(LastAdminError):
        access.remove("max")
    people.add("mia", "admin")
    access.remove("max")
    assert [person.name for person in people.users()] == ["mia"]


def test_sessions_are_ended_by_an_admin_and_by_oneself(box: Box) -> None:
    with box.client() as ada, box.client("ed") as ed, box.client("ed") as other:
        found = ed.get(f"{API}/sessions").json()["sessions"]
        assert [each["this"] for each in found].count(True) == 1
        assert len(found) >= 2
        assert ed.delete(f"{API}/sessions").status_code == 204
        assert len(ed.get(f"{API}/sessions").json()["sessions"]) == 1
        assert other.get(f"{API}/session").status_code == 401
        assert ada.delete(f"{API}/users/ed/sessions").status_code == 204
        assert ed.get(f"{API}/session").status_code == 401
        assert ada.delete(f"{API}/users/ada/sessions").status_code == 204
        assert ada.get(f"{API}/session").status_code == 200, "the one that asks stays"


def test_what_is_listed_of_sessions_opens_nothing(box: Box) -> None:
    with box.client("ed") as ed:
        session = ed.cookies[COOKIE]
        told = ed.get(f"{API}/sessions").text
        assert session not in told
        for each in ed.get(f"{API}/sessions").json()["sessions"]:
            with box.client(None) as thief:
                thief.cookies.set(COOKIE, each["id"])
                assert thief.get(f"{API}/session").status_code == 401


def test_a_token_is_shown_once_used_and_revoked(box: Box) -> None:
    with box.client() as ada, box.client(None) as script:
        body = {"user": "dora", "role": "viewer", "days": 7, "note": "dashboard"}
        made = ada.post(f"{API}/tokens", json=body)
        assert made.status_code == 201
        token, number = made.json()["token"], made.json()["id"]
        listed = ada.get(f"{API}/tokens")
        assert token not in listed.text
        assert listed.json()["tokens"][0] | {"since": "", "ends": ""} == {
            "id": number,
            "user": "dora",
            "role": "viewer",
            "note": "dashboard",
            "since": "",
            "ends": "",
            "used": None,
            "expired": False,
        }
        bearer = {"Authorization": f"Bearer {token}"}
        assert script.get(f"{API}/flows", headers=bearer).status_code == 200
        assert ada.get(f"{API}/tokens").json()["tokens"][0]["used"] is not None
        assert script.get(f"{API}/users", headers=bearer).status_code == 403
        assert script.delete(f"{API}/sessions", headers=bearer).status_code == 403
        assert ada.delete(f"{API}/tokens/{number}").status_code == 204
        assert script.get(f"{API}/flows", headers=bearer).status_code == 401
        assert ada.delete(f"{API}/tokens/{number}").status_code == 404
        assert ada.post(f"{API}/tokens", json=body | {"user": "nobody"}).status_code == 422


def test_the_use_of_a_token_is_written_down_once_a_minute(people: People, clock: Clock) -> None:
    people.add("ann", "viewer")
    token = people.add_token("ann", "viewer", 1)
    began = clock.now
    seen = []
    for later in (0, 59, 60, 100, 121):
        clock.now = began + later
        assert people.by_token(token) is not None
        seen.append(people.tokens()[0].used - began)
    assert seen == [0, 0, 60, 60, 121]


def test_a_file_of_people_from_before_tokens_had_a_last_use_is_read(tmp_path: Path) -> None:
    people = People(tmp_path, hasher=CHEAP)
    people.add("ann", "viewer")
    token = people.add_token("ann", "viewer", 1)
    with people.changing() as db:
        db.execute("alter table token drop column used")
    people.close()
    people = People(tmp_path, hasher=CHEAP)
    assert people.tokens()[0].used == 0
    assert people.by_token(token) is not None
    people.close()


def test_every_change_of_access_stands_in_the_audit_log_with_who_did_it(box: Box) -> None:
    with box.client() as ada:
        ada.post(f"{API}/users", json={"name": "pia", "role": "editor"})
        ada.put(f"{API}/users/pia", json={"role": "deployer", "powers": True})
        ada.post(f"{API}/users/pia/link", json={})
        ada.delete(f"{API}/users/pia/sessions")
        made = ada.post(f"{API}/tokens", json={"user": "pia", "days": 1}).json()
        ada.delete(f"{API}/tokens/{made['id']}")
        ada.delete(f"{API}/users/pia")
        told = ada.get(f"{API}/audit", params={"last": 7}).json()
        assert told["whole"] is True
        assert [entry["who"] for entry in told["entries"]] == ["ada"] * 7
        assert [entry["what"] for entry in told["entries"]] == [
            "removed pia",
            f"token {made['id']} revoked",
            "token for pia, viewer",
            "sessions of pia ended",
            "one-time link for pia",
            "user pia is deployer with powers",
            "user pia is editor",
        ]


def test_the_audit_log_is_searched_and_read_page_by_page(people: People) -> None:
    for number in range(5):
        people.note("Ann", f"deployed {number}", flow="cold-room")
        people.note("ben", "login")
    assert [e["n"] for e in people.audit(2, "ANN")[0]] == [9, 7]
    assert [e["n"] for e in people.audit(2, "ann", 7)[0]] == [5, 3]
    assert len(people.audit(100, "COLD-")[0]) == 5
    assert people.audit(100, "%")[0] == []


def test_people_need_the_header_against_foreign_pages(box: Box) -> None:
    with box.client(headers={"X-CSRF-Token": "x"}) as ada:
        ada.headers["X-CSRF-Token"] = "stale"
        for method, path in (
            ("POST", "/users"),
            ("DELETE", "/users/ed"),
            ("POST", "/tokens"),
            ("DELETE", "/sessions"),
        ):
            body = None if method == "DELETE" else {"name": "eve", "user": "ed"}
            assert ada.request(method, API + path, json=body).json()["slug"] == "csrf"


@pytest.mark.parametrize(("name", "shown"), [("ada", True), ("dora", False)])
def test_the_page_shows_everyone_to_admins_and_oneself_to_all(
    box: Box, name: str, shown: bool
) -> None:
    with box.client(name) as client:
        text = client.get("/people").text
        assert 'id="own-sessions"' in text
        assert ('id="users"' in text) is shown
