"""A form shows what comes of a text while it is typed, on the last message that passed."""

from collections.abc import Callable

import pytest

from tests.web.box import Box
from tests.web.browser.desk import READY, Desk

pytest.importorskip("playwright")

NODES = {
    "tick": {"type": "timer.tick", "config": {"every": "100ms", "payload": {"t": 21.5}}},
    "say": {"type": "template", "config": {"text": ["Boiler {payload.t:.1f}", "end"]}},
    "hot": {"type": "threshold", "config": {"field": "payload.t", "above": 8}},
}


def test_the_value_of_a_path_and_the_fault_of_a_template_are_shown_as_one_types(
    empty: Box, sit: Callable[..., Desk]
) -> None:
    from playwright.sync_api import expect  # noqa: PLC0415

    desk = sit("ada")
    document = {"format": 1, "nodes": NODES, "wires": ["tick -> say", "tick -> hot"]}
    with empty.client("ada") as client:
        made = client.post("/api/v1/flows", json={"id": "forms", "document": document})
        etag = made.json()["state"]["draft"]["etag"]
        client.post("/api/v1/flows/forms/deploy", json={"etag": etag}).raise_for_status()
    page = desk.page
    page.goto(f"{empty.url}/flows/forms")
    page.wait_for_selector(READY)
    page.locator("[data-id=hot], [data-node=hot]").first.click()
    page.locator(".field[data-field=field] input").click()
    preview = page.locator("output.preview")
    expect(preview.locator("code")).to_have_text("21.5")
    expect(preview).to_contain_text("number")

    page.locator("[data-id=say], [data-node=say]").first.click()
    area = page.locator(".field[data-field=text] textarea")
    area.click()
    expect(preview.locator("code")).to_have_text("Boiler 21.5\nend")
    expect(page.locator(".numbers span")).to_have_text(["1", "2"])
    page.keyboard.press("Control+End")
    page.keyboard.type("\n  {paylod.t")
    page.keyboard.press("End")
    page.keyboard.type("}\n!")
    expect(area).to_have_value("Boiler {payload.t:.1f}\nend\n  {paylod.t}\n  !")
    expect(preview).to_contain_text("Did you mean payload?")
    expect(page.locator(".line.is-faulty")).to_contain_text("{paylod.t}")
    expect(page.locator(".numbers .is-error")).to_have_text("3")
