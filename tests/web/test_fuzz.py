"""Whatever its description allows to be sent, the API answers, and not with a fault of its own."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flowengine.web.app import ENTRIES
from flowengine.web.openapi import describe
from tests.web.box import Box

SCHEMA = schemathesis.openapi.from_dict(describe(ENTRIES))
SKIPPED = {("DELETE", "/api/v1/session"), ("POST", "/api/v1/flows/{id}/tests/capture")}
"""It would log out; and it would wait for as long as it is asked to."""
ROUTES = [(e.method, e.path) for e in ENTRIES if not e.is_page]
HOLES = {
    "id": ["ticks", "none", "..", ""],
    "n": ["tick", "1", "x"],
    "w": ["tick", "tick -> hot", "->"],
}


@pytest.mark.parametrize(
    ("method", "path"), [route for route in ROUTES if route not in SKIPPED], ids=" ".join
)
def test_the_api_answers_whatever_is_sent(shared_box: Box, method: str, path: str) -> None:
    operation = SCHEMA[path][method]

    @settings(
        max_examples=12,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
        database=None,
        derandomize=True,
    )
    @given(operation.as_strategy(), st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        filled = {
            name: data.draw(st.sampled_from(HOLES.get(name, [str(value)])) | st.just(str(value)))
            for name, value in (case.path_parameters or {}).items()
        }
        url = path
        for name, value in filled.items():
            from urllib.parse import quote  # noqa: PLC0415

            url = url.replace(f"{{{name}}}", quote(value, safe="") or "x")
        body = case.body if isinstance(case.body, dict | list) else None
        with shared_box.client("ada") as client:
            answer = client.request(
                method,
                url,
                params=dict(case.query or {}),
                json=body,
                headers={"If-Match": "*"},
            )
        assert answer.status_code < 500 or answer.json()["slug"] == "not-yet", answer.text
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["mend"] or answer.json()["title"]

    ask()
