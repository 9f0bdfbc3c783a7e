"""`flowengine serve` opens the editor for this machine alone, and stops as `run` does."""

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowengine.commands.listening import bound
from tests.flow_process import environment, flowengine
from tests.system.real import until
from tests.web.box import API, TICKS
from tests.web.test_transport import certificate

EVERYWHERE = "0.0.0.0"  # noqa: S104  # what is refused, or asked for
PASSWORD = b"correct horse battery"
ADDRESS = r"editor:? +(http\S+)/\s"


class Serving:
    """One `flowengine serve` as a process; it ends with the block."""

    def __init__(
        self, folder: Path, *args: object, env: dict[str, str] | None = None, port: bool = True
    ) -> None:
        self.out, self.err = folder / "out.log", folder / "err.log"
        argv = [sys.executable, "-m", "flowengine", "serve", *map(str, args)]
        argv += ["--port", "0"] if port else []
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                argv, stdout=out, stderr=err, cwd=folder, env=environment(**(env or {}))
            )

    def __enter__(self) -> "Serving":
        """Wait until it listens."""
        self.said = until(self._line, 30, "the editor's address")
        return self

    def _line(self) -> str:
        text = self.out.read_text()
        if self.process.poll() is not None:
            raise AssertionError(self.err.read_text())
        return text if re.search(ADDRESS, text) and "ready: " in text else ""

    @property
    def url(self) -> str:
        """Its address."""
        found = re.search(ADDRESS, self.said)
        assert found is not None
        return found[1]

    def stop(self, sign: int = signal.SIGTERM) -> float:
        """Stop it; the seconds that took."""
        started = time.monotonic()
        self.process.send_signal(sign)
        assert self.process.wait(15) == 0, self.err.read_text()
        return time.monotonic() - started

    def __exit__(self, *_: object) -> None:
        """End it, and look at what it said."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        assert "Traceback" not in self.err.read_text(), self.err.read_text()


@pytest.fixture
def flows(tmp_path: Path) -> Path:
    """A folder with the ticking flow."""
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "ticks.json").write_text(json.dumps(TICKS))
    return folder


def test_s01_it_listens_on_this_machine_and_prints_a_link_that_works_once(flows: Path) -> None:
    with Serving(flows.parent, flows) as serving, httpx.Client(trust_env=False) as client:
        assert serving.url.startswith("http://127.0.0.1:")
        found = re.search(r"/login#first=(\S+)", serving.said)
        assert found is not None
        first = f"{serving.url}{API}/session/first"
        assert client.post(first, json={"token": found[1]}).status_code == 200
        states = client.get(f"{serving.url}{API}/flows").json()["flows"]
        assert [(each["id"], each["running"]) for each in states] == [("ticks", True)]
        assert client.post(first, json={"token": found[1]}).status_code == 401
        assert serving.stop() < 5
        said = serving.out.read_text() + serving.err.read_text()
    assert said.count(found[1]) == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--host", EVERYWHERE), "there is no TLS"),
        (("--host", EVERYWHERE, "--insecure-bind"), "there is no user"),
        (("--host", "::", "--insecure-bind"), "there is no user"),
        (("--tls-cert", "x.pem"), "needs its key"),
        (("--port", "70000"), "is no port"),
        (("--allow", "everything"), "--allow"),
        (("nowhere",), "no folder"),
    ],
)
def test_s01_no_door_is_left_open(flows: Path, args: tuple[str, ...], words: str) -> None:
    given = args if args[0] == "nowhere" else (flows, *args)
    ran = flowengine("serve", *given, cwd=flows.parent)
    assert ran.returncode == 2
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_s01_with_tls_even_so_a_user_is_needed(flows: Path) -> None:
    cert, key = certificate(flows.parent)
    args = ("--host", EVERYWHERE, "--tls-cert", cert, "--tls-key", key)
    ran = flowengine("serve", flows, *args)
    assert ran.returncode == 2
    assert "there is no user" in ran.stderr


def test_s01_beyond_this_machine_it_knows_its_users(flows: Path) -> None:
    data = flows / ".flowengine"
    made = flowengine("users", "add", "ada", "--role", "admin", "--data", data, stdin=PASSWORD)
    assert made.returncode == 0, made.stderr
    cert, key = certificate(flows.parent)
    args = ("--host", EVERYWHERE, "--tls-cert", cert, "--tls-key", key)
    with Serving(flows.parent, flows, *args) as serving:
        assert "login#first" not in serving.said
        trusted = ssl.create_default_context(cafile=str(cert))
        with httpx.Client(verify=trusted, base_url=serving.url, trust_env=False) as client:
            body = {"name": "ada", "password": PASSWORD.decode()}
            assert client.post(f"{API}/session", json=body).status_code == 200
            named = client.get("/health", headers={"Host": "box.example"})
            assert named.status_code == 200
            foreign = client.get("/health", headers={"Host": "evil.example"})
            assert foreign.status_code == 421


def test_a_taken_port_is_told(flows: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = flowengine("serve", flows, "--port", taken.getsockname()[1])
    assert ran.returncode == 3
    assert "nothing can listen" in ran.stderr


def test_an_empty_folder_is_served_and_a_flow_with_faults_is_shown(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    with Serving(tmp_path, "flows") as serving:
        assert "ready: 0 flows" in serving.said
        serving.stop(signal.SIGINT)
    (tmp_path / "flows" / "bad.json").write_text('{"format": 1, "nodes": {"a": {"type": "no"}}}')
    (tmp_path / "flows" / "worse.json").write_text('{"format": 1, "nodes": {')
    with Serving(tmp_path, "flows") as serving, httpx.Client(trust_env=False) as client:
        token = re.search(r"/login#first=(\S+)", serving.said)
        assert token is not None
        client.post(f"{serving.url}{API}/session/first", json={"token": token[1]})
        states = client.get(f"{serving.url}{API}/flows").json()["flows"]
        pages = [client.get(f"{serving.url}/flows/{each['id']}").status_code for each in states]
    assert [(each["id"], each["running"]) for each in states] == [("bad", False), ("worse", False)]
    assert all(each["refused"] for each in states)
    assert pages == [200, 200]


BROKER = {
    "format": 1,
    "connections": {
        "site": {
            "type": "mqtt.broker",
            "config": {"host": "127.0.0.1", "password": {"$secret": "broker"}, "username": "u"},
        }
    },
    "nodes": {
        "in": {"type": "mqtt.in", "config": {"broker": "site", "topic": "a"}},
        "show": {"type": "debug"},
    },
    "wires": ["in -> show"],
}


def test_a_flow_without_its_secret_is_refused_alone_and_runs_once_it_is_stored(flows: Path) -> None:
    (flows / "site.json").write_text(json.dumps(BROKER))
    (flows / "worse.json").write_bytes(b'{"format": 1, "nodes": {\xff')
    args = (flows, "--set", "worse.limit=8")
    with Serving(flows.parent, *args) as serving, httpx.Client(trust_env=False) as client:
        assert "refused: site, worse" in serving.said
        token = re.search(r"/login#first=(\S+)", serving.said)
        assert token is not None
        first = client.post(f"{serving.url}{API}/session/first", json={"token": token[1]})
        client.headers["X-CSRF-Token"] = first.json()["csrf"]
        states = {s["id"]: s for s in client.get(f"{serving.url}{API}/flows").json()["flows"]}
        assert [s["id"] for s in states.values() if not s["running"]] == ["site", "worse"]
        assert len(states) > 2
        found = states["site"]["refused"][0]
        assert (found["slug"], found["where"]["connection"]) == ("missing-secret", "site")
        assert "flowengine secrets set broker" in found["mend"]
        client.put(f"{serving.url}{API}/secrets/broker", json={"value": "s3cret-s3cret"})
        etag = client.get(f"{serving.url}{API}/flows/site").headers["etag"]
        done = client.post(f"{serving.url}{API}/flows/site/deploy", json={"etag": etag})
        assert done.status_code == 200, done.text
        assert done.json()["state"]["running"] is True
    ran = flowengine("run", flows, "--data", flows.parent / "other")
    assert ran.returncode == 3, "without an editor the whole run is refused"
    assert 'secret "broker" has no value' in ran.stderr


def test_behind_a_proxy_with_tls_a_page_that_came_by_https_may_change_things(flows: Path) -> None:
    port = bound("127.0.0.1", 0)
    number = port.getsockname()[1]
    port.close()
    args = (flows, "--behind-tls", "--name", "box.example", "--port", number)
    with Serving(flows.parent, *args, port=False) as serving:
        token = re.search(r"https://box\.example/login#first=(\S+)", serving.said)
        assert token is not None
        headers = {"Host": "box.example", "Origin": "https://box.example"}
        where = f"http://127.0.0.1:{number}{API}"
        with httpx.Client(trust_env=False, headers=headers) as client:
            first = client.post(f"{where}/session/first", json={"token": token[1]})
            assert first.status_code == 200
            assert "Secure" in first.headers["set-cookie"]
            foreign = {"Origin": "http://box.example"}
            again = client.post(f"{where}/session/first", json={"token": "x"}, headers=foreign)
            assert again.json()["slug"] == "foreign-origin"


def test_a_token_of_the_command_line_lets_a_script_in(flows: Path) -> None:
    data = ("--data", flows / ".flowengine")
    flowengine("users", "add", "bot", "--role", "deployer", *data, stdin=PASSWORD)
    token = flowengine("users", "token", "bot", "--role", "viewer", "--expires", "1d", *data)
    assert token.stdout.startswith("fe_")
    listed = flowengine("users", "list", "--json", *data)
    told: dict[str, Any] = json.loads(listed.stdout)
    assert (told["name"], told["role"], told["tokens"][0]["role"]) == ("bot", "deployer", "viewer")
    assert token.stdout.strip() not in listed.stdout
    headers = {"Authorization": f"Bearer {token.stdout.strip()}"}
    with (
        Serving(flows.parent, flows) as serving,
        httpx.Client(base_url=serving.url, headers=headers, trust_env=False) as client,
    ):
        assert client.get(f"{API}/flows").status_code == 200
        assert client.post(f"{API}/flows", json={}).status_code == 403
        gone = flowengine("users", "remove", told["tokens"][0]["id"], *data)
        assert gone.returncode == 0
        assert client.get(f"{API}/flows").status_code == 401


@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        (("add", "Anna"), PASSWORD, "no name of a user"),
        (("add", "anna"), b"short", "fewer than 10"),
        (("add", "anna", "--keep-password"), b"", "no user"),
        (("remove", "anna"), b"", "no user or token"),
        (("token", "anna"), b"", "no user"),
        (("token", "anna", "--expires", "soon"), b"", "--expires"),
    ],
)
def test_users_says_what_was_wrong(
    tmp_path: Path, args: tuple[str, ...], stdin: bytes, words: str
) -> None:
    ran = flowengine("users", *args, "--data", tmp_path, stdin=stdin)
    assert ran.returncode == 2
    assert words in ran.stderr


def test_a_user_gets_another_role_and_keeps_the_password(tmp_path: Path) -> None:
    data = ("--data", tmp_path)
    flowengine("users", "add", "anna", *data, stdin=PASSWORD)
    flowengine("users", "add", "anna", "--role", "admin", "--keep-password", *data)
    listed = flowengine("users", "list", *data)
    assert listed.stdout == "anna  admin\n"
    assert flowengine("users", "remove", "anna", *data).returncode == 0
    assert flowengine("users", "list", *data).stdout == ""


def test_the_demo_is_served_with_its_broker(tmp_path: Path) -> None:
    with Serving(tmp_path, "--demo", "--data", tmp_path / "demo") as serving:
        assert re.search(r"ready: 3 flows", serving.said)
        token = re.search(r"/login\?next=/flows/cold-room#first=(\S+)", serving.said)
        assert token is not None
        with httpx.Client(base_url=serving.url, trust_env=False) as client:
            client.post(f"{API}/session/first", json={"token": token[1]})

            def topics() -> list[Any]:
                return list(client.get(f"{API}/topics").json()["topics"])

            found = until(topics, 20, "topics of the broker")
            assert all("telemetry" in each["topic"] or "/" in each["topic"] for each in found)
        assert serving.stop() < 5
    assert (tmp_path / "demo" / "flows" / "cold-room.json").exists()
