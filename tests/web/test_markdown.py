"""Markdown is read as far as the help pages need it, and no HTML ever passes."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowengine.web.markdown import to_html

NONE: frozenset[str] = frozenset()
ALLOWED = {
    **dict.fromkeys(("h1", "h2", "h3", "h4"), frozenset({"id"})),
    **dict.fromkeys(("p", "ul", "ol", "li", "code", "strong", "em"), NONE),
    **dict.fromkeys(("table", "thead", "tbody", "tr", "td"), NONE),
    "th": frozenset({"scope"}),
    "pre": frozenset({"tabindex"}),
    "a": frozenset({"href", "rel"}),
}
"""Every element that may come out, with the attributes it may have."""
SIGNS = st.text(alphabet="<>&\"'`*[]()#|\\\\- \n/a:h.m=", max_size=120)
PIECES = st.lists(
    st.sampled_from(
        ["| a | b |", "|---|---|", "# <b>x</b>", "```", "- *x*", "1. y", "`<`", "**", "[x](/y)",
         "[x](a.md#b)", '<img src=x onerror="y">', "<script>", "|", "\n", "  z", "\\\\|", "&lt;"]
    ),
    max_size=30,
)  # fmt: skip


class Seen(HTMLParser):
    """What a browser would see in a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED
        assert {name for name, _ in attrs} <= ALLOWED[tag]
        self.open.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        target = dict(attrs).get("href")
        assert target is None or re.match(r"https?://|/(?!/)|#|//", target)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


@given(st.one_of(SIGNS, st.text(), PIECES.map("\n".join)))
@example("| <b>a</b> | `|` |\n|-|-|\n| <i> | x | y |")
def test_s14_nothing_comes_out_but_the_allowed_elements(text: str) -> None:
    seen = Seen(str(to_html(text)))
    assert seen.open == []
    assert len(set(seen.ids)) == len(seen.ids)
    assert "page" not in seen.ids


TABLE = """| Source | When |
| :--- | ---: |
| `a \\| b` | **now** |
| one |
after"""


def test_a_table_is_read_with_as_many_cells_as_its_head() -> None:
    assert to_html(TABLE) == (
        '<table><thead><tr><th scope="col">Source</th><th scope="col">When</th></tr></thead>'
        "<tbody><tr><td><code>a | b</code></td><td><strong>now</strong></td></tr>"
        "<tr><td>one</td><td></td></tr></tbody></table>\n<p>after</p>"
    )


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# What is promised?", '<h1 id="what-is-promised">What is promised?</h1>'),
        ("## A\n## A", '<h2 id="a">A</h2>\n<h2 id="a-1">A</h2>'),
        ("## Page", '<h2 id="page-1">Page</h2>'),
        ("[x](delivery.md#a-b)", '<p><a href="/help/delivery#a-b">x</a></p>'),
        ("[x](#a-b)", '<p><a href="#a-b">x</a></p>'),
        ("[x](../secret.md)", "<p>[x](../secret.md)</p>"),
        ("- a\n  goes on\n- b", "<ul><li>a goes on</li><li>b</li></ul>"),
        ("```sh\na  < b\n```", '<pre tabindex="0"><code>a  &lt; b</code></pre>'),
        ("a | b\nno table", "<p>a | b no table</p>"),
    ],
)
def test_a_piece_is_read_as(text: str, html: str) -> None:
    assert to_html(text) == html


HELP = sorted((Path(__file__).parents[2] / "web" / "help").glob("*.md"))


@pytest.mark.parametrize("path", HELP, ids=lambda path: path.stem)
def test_every_link_within_the_help_pages_leads_to_a_heading(path: Path) -> None:
    html = str(to_html(path.read_text()))
    for target in re.findall(r'href="((?:/help/|#)[^"]*)"', html):
        page, _, place = target.partition("#")
        text = (path.parent / f"{page.removeprefix('/help/')}.md" if page else path).read_text()
        assert not place or place in Seen(str(to_html(text))).ids, target
    assert "](" not in re.sub(r"(?s)<(code|pre)\b.*?</\1>", "", html), "a link was not read"
