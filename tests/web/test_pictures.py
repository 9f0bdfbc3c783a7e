"""The README's pictures are the ones that are made, are small, and are all shown."""

import re

import pytest

from tests.web.pictures import FOLDER, MOST_BYTES, PICTURES
from tests.web.tools import ROOT


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_each_is_a_small_webp(name: str) -> None:
    data = (FOLDER / f"{name}.webp").read_bytes()
    assert (data[:4], data[8:12]) == (b"RIFF", b"WEBP")
    assert 1_000 < len(data) < MOST_BYTES


def test_the_readme_shows_each_with_words_for_it_and_no_other() -> None:
    shown = re.findall(
        r"!\[([^\]]+)\]\(web/pictures/([a-z]+)\.webp\)", (ROOT / "README.md").read_text()
    )
    assert sorted(name for _, name in shown) == sorted(PICTURES)
    assert all(len(words) > 20 for words, _ in shown)
    assert {path.stem for path in FOLDER.iterdir()} == set(PICTURES)
