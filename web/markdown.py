"""Markdown as safe HTML: a small, fixed set of elements, and every other sign as text (S-14).

Headings with anchors, paragraphs, lists, tables, code, emphasis and links to http, https, paths of
this server and places of the page; a link to `NAME.md` leads to the help page of that name. There
is no raw HTML, so there is nothing to sanitise: what is not one of these is escaped.
"""

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_BULLET = re.compile(r"\s*[-*]\s+(.*)")
_NUMBERED = re.compile(r"\s*\d+[.)]\s+(.*)")
_HEADING = re.compile(r"(#{1,4})\s+(.*)")
_CODE = re.compile(r"`([^`\n]+)`")
_PLACE = r"#[a-z0-9][\w-]{0,80}"
_PAGE = rf"[a-z][a-z0-9-]{{0,60}}\.md(?:{_PLACE})?"
_LINK = re.compile(
    rf"\[([^\]\n]{{1,200}})\]\(((?:https?://|/)[^\s()<>\"']{{0,500}}|{_PLACE}|{_PAGE})\)"
)
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_ITALIC = re.compile(r"(?<!\*)\*([^*\n]+)\*(?!\*)")
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*")
_CELL = re.compile(r"(?<!\\)\|")
_TAKEN = ("page",)
"""Ids of the page itself, which no heading may take."""


def to_html(text: str) -> Markup:
    """The HTML of a text."""
    return Markup("\n").join(_blocks(text.replace("\r\n", "\n").split("\n")))


def _blocks(lines: list[str]) -> Iterator[Markup]:
    at = 0
    anchors = dict.fromkeys(_TAKEN, 1)
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif line.startswith("```"):
            made, at = _code(lines, at)
            yield made
        elif found := _HEADING.match(line):
            yield _heading(len(found[1]), found[2], anchors)
            at += 1
        elif _is_table(lines, at):
            end = at + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
            yield _table(lines[at], lines[at + 2 : end])
            at = end
        elif _BULLET.match(line) or _NUMBERED.match(line):
            made, at = _list(lines, at)
            yield made
        else:
            begin = at
            while at < len(lines) and lines[at].strip() and not _starts_block(lines[at]):
                if at > begin and _is_table(lines, at):
                    break
                at += 1
            at = max(at, begin + 1)
            yield Markup("<p>{}</p>").format(_inline(" ".join(lines[begin:at])))


def _code(lines: list[str], at: int) -> tuple[Markup, int]:
    """A block of code from its first line on, and the line behind it."""
    end = next((n for n in range(at + 1, len(lines)) if lines[n].startswith("```")), len(lines))
    code = "\n".join(lines[at + 1 : end])
    return Markup('<pre tabindex="0"><code>{}</code></pre>').format(code), end + 1


def _list(lines: list[str], at: int) -> tuple[Markup, int]:
    """A list from its first item on, and the line behind it."""
    is_list = _BULLET.match(lines[at])
    pattern = _BULLET if is_list else _NUMBERED
    items: list[str] = []
    while at < len(lines) and lines[at].strip():
        item = pattern.match(lines[at])
        if item:
            items.append(item[1])
        elif _starts_block(lines[at]) or not lines[at].startswith("  "):
            break
        else:  # an indented line goes on with the item above it
            items[-1] += f" {lines[at].strip()}"
        at += 1
    shape = Markup("<ul>{}</ul>") if is_list else Markup("<ol>{}</ol>")
    made = [Markup("<li>{}</li>").format(_inline(item)) for item in items]
    return shape.format(Markup("").join(made)), at


def _starts_block(line: str) -> bool:
    return line.startswith("```") or bool(
        _HEADING.match(line) or _BULLET.match(line) or _NUMBERED.match(line)
    )


def _heading(level: int, text: str, anchors: dict[str, int]) -> Markup:
    """A heading with the anchor that others link to: its words in small letters, with hyphens."""
    name = re.sub(r"[^\w\s-]", "", text.lower(), flags=re.ASCII).strip()
    name = re.sub(r"\s+", "-", name)[:80]
    count = anchors.get(name, 0)
    anchors[name] = count + 1
    inner = _inline(text)
    if not name:
        return Markup("<h{}>{}</h{}>").format(level, inner, level)
    place = f"{name}-{count}" if count else name
    return Markup('<h{} id="{}">{}</h{}>').format(level, place, inner, level)


def _is_table(lines: list[str], at: int) -> bool:
    return (
        "|" in lines[at]
        and at + 1 < len(lines)
        and "|" in lines[at + 1]
        and bool(_RULE.fullmatch(lines[at + 1]))
    )


def _table(head: str, rows: list[str]) -> Markup:
    heads = _cells(head)
    top = Markup("").join(Markup('<th scope="col">{}</th>').format(_inline(c)) for c in heads)
    body = []
    for row in rows:
        cells = (_cells(row) + [""] * len(heads))[: len(heads)]
        inner = Markup("").join(Markup("<td>{}</td>").format(_inline(cell)) for cell in cells)
        body.append(Markup("<tr>{}</tr>").format(inner))
    shape = Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>")
    return shape.format(top, Markup("").join(body))


def _cells(row: str) -> list[str]:
    bare = row.strip().removeprefix("|")
    bare = bare[:-1] if bare.endswith("|") and not bare.endswith("\\|") else bare
    return [cell.strip().replace("\\|", "|") for cell in _CELL.split(bare)]


def _inline(text: str) -> Markup:
    parts: list[Markup] = []
    at = 0
    for found in _CODE.finditer(text):
        parts.append(_linked(text[at : found.start()]))
        parts.append(Markup("<code>{}</code>").format(found[1]))
        at = found.end()
    parts.append(_linked(text[at:]))
    return Markup("").join(parts)


def _linked(text: str) -> Markup:
    parts: list[Markup] = []
    at = 0
    for found in _LINK.finditer(text):
        parts.append(_emphasis(text[at : found.start()]))
        target = _target(found[2])
        is_own = target.startswith(("/", "#")) and not target.startswith("//")
        shape = '<a href="{}">{}</a>' if is_own else '<a href="{}" rel="noreferrer">{}</a>'
        parts.append(Markup(shape).format(target, _emphasis(found[1])))  # noqa: S704  # both are shapes of ours
        at = found.end()
    parts.append(_emphasis(text[at:]))
    return Markup("").join(parts)


def _target(link: str) -> str:
    """Where a link leads here: `delivery.md#x` is the help page `/help/delivery#x`."""
    page, mark, place = link.partition("#")
    is_page = page.endswith(".md") and "/" not in page
    return f"/help/{page.removesuffix('.md')}{mark}{place}" if is_page else link


def _emphasis(text: str) -> Markup:
    safe = str(escape(text))
    safe = _BOLD.sub(r"<strong>\1</strong>", safe)
    return Markup(_ITALIC.sub(r"<em>\1</em>", safe))  # noqa: S704  # escaped first
