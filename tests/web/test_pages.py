"""Pages come whole with what their script needs first, in few bytes, and files are kept by hash."""

import gzip
import json
import re
from pathlib import Path

import pytest

from flowengine.web.app import ENTRIES
from flowengine.web.assets import FOREVER, Assets
from flowengine.web.openapi import describe
from tests.web.box import API, Box

FIRST_LOAD = 100_000
"""Bytes, compressed, of the editor's page with all that it loads before it can be used."""
MOST_REQUESTS = 30


def page_of(text: str) -> dict[str, object]:
    """The data block of a page."""
    found: dict[str, object] = json.loads(text.partition('id="page">')[2].partition("</script>")[0])
    return found


def test_the_editors_page_holds_what_its_script_needs_first(box: Box) -> None:
    with box.client("ed") as client:
        page = page_of(client.get("/flows/ticks").text)
        whole = client.get(f"{API}/flows/ticks").json()
        assert page["kind"] == "editor"
        assert page["csrf"] == client.headers["X-CSRF-Token"]
        flow = page["flow"]
        assert isinstance(flow, dict)
        assert flow["document"] == whole["document"]
        assert flow["state"]["id"] == "ticks"
        assert flow["check"]["ok"] is True
        assert flow["runs"]["running"] is True
        assert page["read_only"] is False
        assert page_of(client.get("/flows/ticks?view=1").text)["read_only"] is True


def test_who_may_not_edit_gets_a_page_to_look_at(box: Box) -> None:
    with box.client("vera") as client:
        assert page_of(client.get("/flows/ticks").text)["read_only"] is True
        assert client.get("/flows/none").status_code == 404


def test_the_list_shows_flows_and_examples(box: Box) -> None:
    with box.client("vera") as client:
        page = page_of(client.get("/").text)
    assert [flow["id"] for flow in page["flows"]] == ["ticks"]  # type: ignore[attr-defined]
    assert len(page["examples"]) >= 35  # type: ignore[arg-type]


def test_the_first_load_is_small_and_everything_it_names_is_there(box: Box) -> None:
    with box.client("ed") as client:
        page = client.get("/flows/ticks")
        assert page.headers["content-encoding"] == "gzip"
        total = len(gzip.compress(page.content, 6))
        named = set(re.findall(r'(?:href|src)="(/static/[^"#]+)', page.text))
        for url in named:
            answer = client.get(url)
            assert answer.status_code == 200, url
            assert answer.headers["cache-control"] == FOREVER
            total += len(gzip.compress(answer.content, 6))
    assert total <= FIRST_LOAD


def test_a_stranger_is_sent_to_log_in_and_back(box: Box) -> None:
    with box.client(None) as client:
        answer = client.get("/flows/ticks?view=1")
        assert answer.headers["location"] == "/login?next=%2Fflows%2Fticks"
        page = page_of(client.get("/login?next=/flows/ticks").text)
        assert (page["next"], page["user"]) == ("/flows/ticks", None)
    with box.client("vera") as client:
        assert client.get("/login?next=/flows/ticks").headers["location"] == "/flows/ticks"


def test_a_file_is_kept_by_its_hash_alone(box: Box) -> None:
    assets = box.services.assets
    with box.client(None) as client:
        now = client.get(assets.url("login.js"))
        assert now.headers["content-type"].startswith("text/javascript")
        assert now.headers["cache-control"] == FOREVER
        old = client.get("/static/0000000000000000/login.js")
        assert (old.status_code, old.headers["cache-control"]) == (200, "no-store")


@pytest.mark.parametrize(
    "name",
    ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "none.js", "model", "", "a%00.js"],
)
def test_no_file_outside_is_given(box: Box, name: str) -> None:
    with box.client(None) as client:
        answer = client.get(f"/static/x/{name}")
    assert answer.status_code in {404, 303}


def test_the_hash_changes_with_any_file_and_modules_are_found(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "main.js").write_text("import { a } from './model/a.js';\nimport './b.js';\n")
    (tmp_path / "b.js").write_text("const lazy = () => import('./c.js');\n")
    (tmp_path / "c.js").write_text("")
    (tmp_path / "model" / "a.js").write_text("export {\n  x,\n} from '../b.js';\n")
    assets = Assets(tmp_path)
    first = assets.hash
    assert [url.rpartition(f"{first}/")[2] for url in assets.modules("main.js")] == [
        "main.js", "model/a.js", "b.js",
    ]  # fmt: skip
    (tmp_path / "c.js").write_text("export const c = 1;\n")
    assert assets.hash != first
    assert assets.modules("main.js")[0].startswith(f"/static/{assets.hash}/")


def test_the_description_of_the_api_has_every_route(box: Box) -> None:
    with box.client("vera") as client:
        told = client.get(f"{API}/openapi.json").json()
    assert told == describe(ENTRIES)
    routes = {(m.upper(), p) for p, each in told["paths"].items() for m in each}
    assert routes == {(e.method, e.path) for e in ENTRIES if not e.is_page}
    for each in told["paths"].values():
        for operation in each.values():
            assert operation["summary"], operation
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(told)))
    assert references <= set(told["components"]["schemas"])
