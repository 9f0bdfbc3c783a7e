"""People and access in a real browser: an admin adds a person, who logs in by the link."""

from collections.abc import Callable

import pytest

from tests.web.box import Box
from tests.web.browser.desk import READY, Desk

pytest.importorskip("playwright")
Enter = Callable[..., Desk]


def test_a_person_is_added_by_link_and_a_token_is_shown_once(
    empty: Box, sit: Callable[..., Desk]
) -> None:
    from playwright.sync_api import expect  # noqa: PLC0415

    desk = sit("ada")
    page = desk.page
    page.goto(f"{empty.url}/people")
    page.wait_for_selector(READY)
    page.get_by_role("button", name="Add a person").click()
    page.get_by_label("Name", exact=True).fill("kim")
    page.get_by_label("Role", exact=True).select_option("editor")
    page.get_by_role("button", name="Add", exact=True).click()
    link = page.get_by_label("One-time link for kim").locator("input").input_value()
    page.get_by_role("button", name="Done").click()
    people = page.get_by_role("table", name="People")
    expect(people.get_by_role("row", name="kim")).to_contain_text("link not opened yet")

    assert desk.context.browser is not None
    other = desk.context.browser.new_context()
    try:
        guest = other.new_page()
        guest.goto(link)
        guest.wait_for_url("**/people")
        expect(guest.get_by_role("heading", name="kim")).to_be_visible()
        expect(guest.get_by_text("You have no password yet")).to_be_visible()
        expect(guest.get_by_role("button", name="Add a person")).to_have_count(0)
    finally:
        other.close()

    page.get_by_role("button", name="New token").click()
    page.get_by_label("What it is for").fill("wall")
    page.get_by_role("button", name="Make the token").click()
    made = page.get_by_label("Your new token").locator("input").input_value()
    assert made.startswith("fe_")
    page.get_by_role("button", name="Done").click()
    expect(
        page.get_by_role("table", name="API tokens").get_by_role("row", name="wall")
    ).to_be_visible()
    assert made not in page.content()

    page.get_by_role("button", name="Remove kim").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(people.get_by_role("row", name="kim")).to_have_count(0)
    page.get_by_label("Find in the audit log").fill("removed")
    expect(page.get_by_role("table", name="Audit log")).to_contain_text("removed kim")
