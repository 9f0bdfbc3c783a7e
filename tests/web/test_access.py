"""The editor lets in whom it knows, as far as their role goes, and nobody else."""

import base64
import json
import re
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route, WebSocketRoute

from flowengine.errors import UsageError
from flowengine.web.app import ENTRIES, LIVE, create_app
from flowengine.web.door import ANYONE, COOKIE, OPEN, Entry
from flowengine.web.people import People
from flowengine.web.rights import RIGHTS, ROLES
from flowengine.web.throttle import Throttle
from tests.web.box import API, CHEAP, PASSWORD, PEOPLE, Box

OPEN_ROUTES = {
    ("GET", "/health"),
    ("GET", "/login"),
    ("GET", "/static/{mark}/{name:path}"),
    ("POST", "/api/v1/session"),
    ("POST", "/api/v1/session/first"),
}
"""The whole list of what needs no login."""

FILLED = {"id": "ticks", "n": "1", "w": "tick", "type": "debug", "name": "x", "mark": "0"}


def address(entry: Entry) -> str:
    """The path of a route with something in each hole."""
    path = re.sub(r"{name:path}", "login.js", entry.path)
    path = path.replace("nodes/{n}", "nodes/tick")
    return re.sub(r"{(\w+)}", lambda hole: FILLED[hole[1]], path)


def called(client: httpx.Client, entry: Entry, **more: Any) -> httpx.Response:
    """What a route answers to an empty body."""
    body: Any = None if entry.method in {"GET", "DELETE"} else {}
    return client.request(entry.method, address(entry), json=body, **more)


def test_s03_every_route_needs_login_but_the_written_list(box: Box) -> None:
    with box.client(None) as stranger:
        for entry in ENTRIES:
            answer = called(stranger, entry)
            if (entry.method, entry.path) in OPEN_ROUTES:
                assert answer.status_code != 401 or "session" in entry.path, entry.path
            elif entry.is_page:
                assert answer.status_code == 303, entry.path
                assert answer.headers["location"].startswith("/login")
            else:
                assert answer.status_code == 401, entry.path
                assert answer.json()["slug"] == "not-logged-in"
    assert {(e.method, e.path) for e in ENTRIES if e.right == OPEN} == OPEN_ROUTES


def test_s03_the_router_has_no_route_beside_the_table(box: Box) -> None:
    app = create_app(box.engine, box.services.settings, box.services)
    routes = {(m, r.path) for r in app.routes if isinstance(r, Route) for m in r.methods or ()}
    assert routes - {("HEAD", path) for _, path in routes} == {(e.method, e.path) for e in ENTRIES}
    assert [r.path for r in app.routes if isinstance(r, WebSocketRoute)] == [LIVE]
    assert all(isinstance(r, Route | WebSocketRoute) for r in app.routes)


def test_s04_every_route_declares_a_permission() -> None:
    assert {entry.right for entry in ENTRIES} <= {OPEN, ANYONE, *RIGHTS}


@pytest.mark.parametrize(("name", "role"), PEOPLE.items())
def test_s04_a_role_may_call_what_its_rights_cover(box: Box, name: str, role: str) -> None:
    mine = set(RIGHTS[: ROLES.index(role) + 1])
    with box.client(name) as client:
        for entry in ENTRIES:
            if (entry.method, entry.path) == ("DELETE", "/api/v1/session"):
                continue  # it would end this very session
            answer = called(client, entry)
            may = entry.right in {OPEN, ANYONE} or entry.right in mine
            slug = (
                answer.json().get("slug")
                if "json" in answer.headers.get("content-type", "")
                else None
            )
            assert (slug == "not-allowed") == (not may), (entry.method, entry.path, slug)
            if not may:
                assert answer.status_code == 403
                assert answer.json()["right"] == entry.right


def test_s04_a_dry_run_is_for_lookers_and_a_deploy_is_not(box: Box) -> None:
    with box.client("vera") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        path = f"{API}/flows/ticks/deploy"
        assert client.post(f"{path}?dry_run=1", json={"etag": etag}).status_code == 200
        answer = client.post(path, json={"etag": etag})
    assert (answer.status_code, answer.json()["right"]) == (403, "deploy")


def test_s02_there_is_no_user_and_no_password_until_someone_makes_one(tmp_path: Path) -> None:
    one, other = People(tmp_path / "a", hasher=CHEAP), People(tmp_path / "b", hasher=CHEAP)
    assert one.users() == []
    for people in (one, other):
        people.add("ada", "admin", PASSWORD)
    assert one.users()[0].hash != other.users()[0].hash
    assert one.users()[0].hash.startswith("$argon2id$")
    one.close()
    other.close()


def test_s02_the_first_link_lets_in_once_and_only_where_nobody_could_log_in(box: Box) -> None:
    assert box.services.first_link() is None, "someone has a password"
    for name in PEOPLE:
        box.services.people.remove(name)
    token = box.services.first_link()
    assert token
    with box.client(None) as client:
        wrong = client.post(f"{API}/session/first", json={"token": "wrong"})
        assert wrong.status_code == 401
        answer = client.post(f"{API}/session/first", json={"token": token})
        assert answer.json()["user"]["role"] == "admin"
        assert answer.json()["user"]["has_password"] is False
        assert client.get(f"{API}/meta").status_code == 200
        again = client.post(f"{API}/session/first", json={"token": token})
    assert (again.status_code, again.json()["slug"]) == (401, "bad-login")


def log_in(client: httpx.Client, name: str = "ed", password: str = PASSWORD) -> httpx.Response:
    """Log in as the page does."""
    return client.post(f"{API}/session", json={"name": name, "password": password})


def test_s06_the_cookie_is_for_http_alone_for_this_site_and_for_twelve_hours(box: Box) -> None:
    with box.client(None) as client:
        cookie = log_in(client).headers["set-cookie"].lower()
    parts = {part.strip() for part in cookie.split(";")}
    assert {"httponly", "samesite=strict", "path=/", "max-age=43200"} <= parts
    assert "secure" not in parts, "there is no TLS here, and a browser would drop it"


def test_s06_a_session_ends_after_twelve_hours(tmp_path: Path) -> None:
    now = [1_000_000.0]
    people = People(tmp_path, now=lambda: now[0], hasher=CHEAP)
    people.add("ada", "admin", PASSWORD)
    session = people.open_session("ada")
    now[0] += 12 * 3600 - 1
    assert people.by_session(session) is not None
    now[0] += 2
    assert people.by_session(session) is None
    people.close()


def test_s06_a_session_is_good_for_nothing_after_logout(box: Box) -> None:
    with box.client("ed") as client:
        assert client.get(f"{API}/session").status_code == 200
        stolen = dict(client.cookies)
        assert client.delete(f"{API}/session").status_code == 204
        client.cookies.update(stolen)
        assert client.get(f"{API}/session").status_code == 401


def test_s06_a_new_password_ends_every_other_session(box: Box) -> None:
    with box.client("ed") as mine, box.client("ed") as other:
        path, new = f"{API}/session/password", "another horse battery"
        refused = mine.put(path, json={"old": "wrong horse battery", "new": new})
        assert (refused.status_code, refused.json()["slug"]) == (403, "bad-login")
        assert mine.put(path, json={"old": PASSWORD, "new": "short"}).status_code == 422
        assert mine.put(path, json={"old": PASSWORD, "new": new}).status_code == 204
        assert mine.get(f"{API}/session").status_code == 200
        assert other.get(f"{API}/session").status_code == 401
        assert log_in(other, password=PASSWORD).status_code == 401
        assert log_in(other, password=new).status_code == 200


def test_s07_a_thousand_tries_are_not_a_thousand_looks(box: Box) -> None:
    looks = []
    check = box.services.people.check_password
    box.services.people.check_password = lambda *given: looks.append(given) or check(*given)  # type: ignore[method-assign,func-returns-value]
    with box.client(None) as client:
        answers = [log_in(client, f"user{n % 7}", "wrong password") for n in range(1_000)]
    assert len(looks) <= 20
    assert {answer.status_code for answer in answers} == {401, 429}
    assert int(answers[-1].headers["retry-after"]) > 0


def test_s07_the_answer_is_the_same_for_who_is_not_there(box: Box) -> None:
    with box.client(None) as client:
        here, nobody = log_in(client, "ed", "wrong password"), log_in(client, "x", "wrong password")
    assert (here.status_code, here.json()) == (nobody.status_code, nobody.json())


def test_s07_a_throttle_frees_one_try_at_a_time() -> None:
    now = [0.0]
    throttle = Throttle(3, 10.0, most=2, clock=lambda: now[0])
    for _ in range(3):
        assert throttle.wait("a") == 0
        throttle.spend("a")
    assert throttle.wait("a") == pytest.approx(10)
    assert throttle.wait("b") == 0
    now[0] += 10
    assert throttle.wait("a") == 0
    throttle.spend("a")
    assert throttle.wait("a") == pytest.approx(10)
    for name in "bcd":
        throttle.spend(name)
    assert len(throttle._spent) <= 2  # what an attacker can make it remember


def test_s08_a_token_does_what_its_scope_and_its_user_may_until_it_expires(box: Box) -> None:
    people = box.services.people
    token = people.add_token("dora", "editor", 1)
    with box.client(None, headers={"Authorization": f"Bearer {token}"}) as script:
        rights = script.get(f"{API}/session").json()["user"]["rights"]
        assert rights == ["view", "edit"]
        assert script.post(f"{API}/flows", json={"title": "By script"}).status_code == 201
        assert script.delete(f"{API}/flows/by-script").status_code == 403
        people.add("dora", "viewer")
        assert script.post(f"{API}/flows", json={}).status_code == 403
        people.now = lambda: 4e9
        assert script.get(f"{API}/session").status_code == 401


def test_s08_the_file_holds_no_token_no_session_and_no_password(box: Box) -> None:
    people = box.services.people
    token, session = people.add_token("ada", "admin", 1), people.open_session("ada")
    raw = b"".join(p.read_bytes() for p in box.data.glob("people.db*"))
    for secret in (token, token.rpartition("_")[2], session, PASSWORD):
        assert secret.encode() not in raw
    assert stat.S_IMODE((box.data / "people.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("days", [0, -1, 400])
def test_s08_a_token_cannot_last_for_ever(box: Box, days: float) -> None:
    with pytest.raises(UsageError, match="cannot last"):
        box.services.people.add_token("ada", "admin", days)


def forged(header: dict[str, Any], key: bytes = b"") -> str:
    """A JSON web token as an attacker would make it."""
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    text = f"{part(header)}.{part({'sub': 'ada', 'role': 'admin', 'exp': 4_000_000_000})}"
    mark = hmac.new(key, text.encode(), hashlib.sha256).digest() if key else b""
    return f"{text}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"


@pytest.mark.parametrize("key", [b"", b"secret", b"changeme", b"thingsboardDefaultSigningKey"])
def test_s09_no_forged_token_lets_in(box: Box, key: bytes) -> None:
    token = forged({"alg": "HS256" if key else "none", "typ": "JWT"}, key)
    with box.client(None) as client:
        for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"{COOKIE}={token}"}):
            assert client.get(f"{API}/meta", headers=headers).status_code == 401


@pytest.mark.parametrize("given", ["Bearer", "Bearer fe_", "Basic YWRhOnB3", "fe_12345678_x", "é"])
def test_s09_a_wrong_header_is_nobody(box: Box, given: str) -> None:
    with box.client("ada") as client:
        headers: Any = {"Authorization": given.encode("latin-1")}
        assert client.get(f"{API}/meta", headers=headers).status_code == 401


def test_a_removed_user_is_out_at_once(box: Box) -> None:
    with box.client("ed") as client:
        assert client.get(f"{API}/meta").status_code == 200
        box.services.people.remove("ed")
        assert client.get(f"{API}/meta").status_code == 401
