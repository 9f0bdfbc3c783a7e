"""What a foreign page makes a browser send is refused; what is shown is never read as HTML."""

import json
import socket
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from flowengine.web.door import COOKIE
from flowengine.web.guard import host_name
from flowengine.web.markdown import to_html
from flowengine.web.pages import data_block, own_path
from tests.web.box import API, TICKS, Box

XSS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{7*7}}{% raw %}",
    "<!--<script>",
    "\u2028alert(1)",
    "';alert(1)//",
]


@pytest.mark.parametrize("how", ["no header", "wrong header", "other session"])
def test_s10_a_change_without_the_pages_header_is_refused(box: Box, how: str) -> None:
    with box.client("ada") as client, box.client("ada") as other:
        mark = {
            "no header": "",
            "wrong header": "x",
            "other session": other.headers["X-CSRF-Token"],
        }
        answer = client.post(f"{API}/flows", json={}, headers={"X-CSRF-Token": mark[how]})
        assert (answer.status_code, answer.json()["slug"]) == (403, "csrf")
        assert client.get(f"{API}/flows").json()["flows"][0]["id"] == "ticks"
        assert len(client.get(f"{API}/flows").json()["flows"]) == 1


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_s10_what_a_form_can_send_is_no_request(box: Box, kind: str) -> None:
    with box.client("ada") as client:
        answer = client.post(
            f"{API}/flows", content=b'{"title": "x"}', headers={"Content-Type": kind}
        )
    assert (answer.status_code, answer.json()["slug"]) == (415, "not-json")


def test_s10_login_cannot_be_sent_by_a_foreign_form(box: Box) -> None:
    with box.client(None) as client:
        content = b'{"name": "ada", "password": "correct horse battery"}'
        headers = {"Content-Type": "text/plain"}
        assert client.post(f"{API}/session", content=content, headers=headers).status_code == 415


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:1"])
def test_s11_a_foreign_origin_is_refused(box: Box, origin: str) -> None:
    with box.client("ada") as client:
        answer = client.post(f"{API}/flows", json={}, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["slug"]) == (403, "foreign-origin")
        own = client.post(f"{API}/flows", json={}, headers={"Origin": box.url})
        assert own.status_code == 201


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8850", "127.0.0.1.evil.example"])
def test_s11_a_foreign_host_is_refused(box: Box, host: str) -> None:
    with box.client("ada") as client:
        answer = client.get("/health", headers={"Host": host})
    assert (answer.status_code, answer.json()["slug"]) == (421, "wrong-host")


@pytest.mark.parametrize(
    ("header", "value"), [("Origin", "http://evil.example"), ("Host", "evil.example")]
)
def test_s11_a_socket_of_a_foreign_page_is_closed(box: Box, header: str, value: str) -> None:
    port = int(box.url.rpartition(":")[2])
    headers = {"Cookie": f"{COOKIE}={box.session('ada')}"}
    uri = f"ws://{value if header == 'Host' else '127.0.0.1'}:{port}{API}/live"
    sock = socket.create_connection(("127.0.0.1", port))
    origin: Any = value if header == "Origin" else None
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(uri, sock=sock, origin=origin, additional_headers=headers, proxy=None),
    ):
        pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize(
    ("given_host", "expected"),
    [
        ("127.0.0.1:8850", "127.0.0.1"),
        ("[::1]:8850", "::1"),
        ("Box.Local.", "box.local"),
        ("", None),
        ("a b", None),
        ("a@b", None),
        ("127.0.0.1/..", None),
        ("[::1", None),
    ],
)
def test_s11_a_host_header_is_a_name_and_perhaps_a_port(
    given_host: str, expected: str | None
) -> None:
    assert host_name(given_host) == expected


@pytest.mark.parametrize(
    "path",
    ["/", "/flows/ticks", "/flows/none", "/login", "/help", "/health", "/api/v1/flows", "/x"],
)
def test_s12_every_answer_carries_the_headers(box: Box, path: str) -> None:
    with box.client("ada") as client:
        headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_s12_no_page_names_another_host_or_holds_a_script(box: Box) -> None:
    with box.client("ada") as client:
        for path in ("/", "/flows/ticks", "/login", "/help"):
            text = client.get(path).text
            start, _, rest = text.partition('<script type="application/json" id="page">')
            shown = start + rest.partition("</script>")[2]
            assert "http://" not in shown.replace("http://www.w3.org", "")
            assert "https://" not in shown
            assert " on" + "click=" not in shown
            assert " style=" not in shown
            assert "<script>" not in shown


@pytest.mark.parametrize("text", XSS)
def test_s13_what_people_write_stays_text_in_the_page(box: Box, text: str) -> None:
    document = json.loads(json.dumps(TICKS))
    document["title"] = text
    document["doc"] = text
    document["nodes"]["tick"]["title"] = text
    document["nodes"]["tick"]["config"]["payload"] = text
    with box.client("ada") as client:
        made = client.post(f"{API}/flows", json={"id": "xss", "document": document})
        assert made.status_code == 201
        for path in ("/", "/flows/xss"):
            page = client.get(path).text
            block = page.partition('id="page">')[2].partition("</script>")[0]
            assert not set("<>&") & set(block)
            assert text in json.dumps(json.loads(block), ensure_ascii=False) or json.dumps(
                text
            ) in json.dumps(json.loads(block))
            if "<" in text:
                assert text not in page.replace(block, "")


@given(st.text())
def test_s13_nothing_ends_the_data_block(text: str) -> None:
    block = str(data_block({"text": text}))
    inner = block.partition(">")[2].removesuffix("</script>")
    assert "<" not in inner
    assert json.loads(inner) == {"text": text}


@pytest.mark.parametrize("text", XSS)
def test_s14_markdown_lets_no_html_through(text: str) -> None:
    for shape in ("{}", "# {}", "- {}", "`{}`", "**{}**", "[{}](/help)", "```\n{}\n```"):
        html = str(to_html(shape.format(text)))
        assert "<script" not in html
        assert "<img" not in html
        assert "<svg" not in html


@pytest.mark.parametrize(
    "target", ["javascript:alert(1)", "data:text/html,x", "//evil.example", 'https://a"onclick=x']
)
def test_s14_a_link_goes_to_this_server_or_to_http(target: str) -> None:
    html = str(to_html(f"[here]({target})"))
    assert "href" not in html or 'rel="noreferrer"' in html
    assert "javascript:" not in html.partition("href")[2]
    assert "onclick=x" not in html.partition("href")[2].partition(">")[0].replace("&#34;", "")


def test_markdown_is_read() -> None:
    found = to_html("# T\n\nOne **b** and *i* and `c<d`.\n\n- [x](/help)\n- y\n\n1. z")
    assert found == (
        '<h1 id="t">T</h1>\n<p>One <strong>b</strong> and <em>i</em> and <code>c&lt;d</code>.</p>\n'
        '<ul><li><a href="/help">x</a></li><li>y</li></ul>\n<ol><li>z</li></ol>'
    )
    assert escape("<") == "&lt;"


def test_s15_only_json_is_read_and_files_are_nothing(box: Box) -> None:
    with box.client("ada") as client:
        body = {"title": "x", "files": [{"filepath": "/etc/passwd", "mimetype": "text/plain"}]}
        answer = client.post(f"{API}/flows", json=body)
    assert (answer.status_code, answer.json()["slug"]) == (422, "bad-request")
    assert answer.json()["errors"][0]["path"] == ["files"]


@pytest.mark.parametrize("key", ["__class__", "__proto__", "constructor", "extra", ""])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/flows", {}),
        ("PUT", "/flows/ticks", {"document": TICKS}),
        ("PUT", "/flows/ticks/layout", {"nodes": {}}),
        ("POST", "/flows/ticks/check", {}),
        ("POST", "/flows/ticks/deploy", {"etag": "x"}),
        ("POST", "/flows/ticks/nodes/tick/inject", {}),
        ("POST", "/import", {"text": "{}"}),
        ("PUT", "/secrets/x", {"value": "y"}),
    ],
)
def test_s16_an_unknown_key_is_an_error(
    box: Box, key: str, method: str, path: str, body: dict[str, Any]
) -> None:
    with box.client("ada") as client:
        headers = {"If-Match": "*"}
        answer = client.request(method, API + path, json={**body, key: 1}, headers=headers)
    assert (answer.status_code, answer.json()["slug"]) == (422, "bad-request")


@pytest.mark.parametrize("key", ["__class__", "__proto__", "extra"])
def test_s16_an_unknown_key_inside_a_flow_is_an_error(box: Box, key: str) -> None:
    with box.client("ada") as client:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        answer = client.put(
            f"{API}/flows/ticks", json={"document": {**TICKS, key: 1}}, headers={"If-Match": etag}
        )
    assert (answer.status_code, answer.json()["slug"]) == (422, "bad-flow")
    assert answer.json()["findings"][0]["slug"] == "unknown-key"


@pytest.mark.parametrize(
    "raw", [b'{"a": 1, "a": 2}', b"{", b"[]", b"NaN", b"\xff", b"1", b'{"title": "\\ud800"}']
)
def test_a_body_that_is_no_such_object_is_told(box: Box, raw: bytes) -> None:
    with box.client("ada") as client:
        headers = {"Content-Type": "application/json"}
        answer = client.post(f"{API}/flows", content=raw, headers=headers)
    assert (answer.status_code, answer.json()["slug"]) == (422, "bad-request")


def test_a_body_that_is_too_large_is_refused(box: Box) -> None:
    with box.client("ada") as client:
        headers = {"Content-Type": "application/json"}
        big = b'{"text": "' + b"x" * box.services.settings.max_body + b'"}'
        answer = client.post(f"{API}/import", content=big, headers=headers)
        assert answer.status_code == 413

        def parts() -> Any:
            for _ in range(12):
                yield b"x" * 1_000_000

        try:
            answer = client.post(f"{API}/import", content=parts(), headers=headers)
            assert answer.status_code == 413
        except httpx.WriteError:
            pass  # it was cut off while it still sent


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("/flows/a?view=1", "/flows/a?view=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:1", "/"),
        ("/a\nb", "/"),
        ("", "/"),
    ],
)
def test_login_goes_on_to_this_server_alone(to: str, expected: str) -> None:
    assert own_path(to) == expected
