"""Charts of the box's own time series: the page, and what it reads, in bounded pieces.

Two charts are read at a time, each in a thread, with few points and within seconds: however many
screens hang on however many walls, the engine's loop goes on.
"""

import asyncio
import json
import time
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field
from starlette.responses import Response

from flowengine.message import rfc3339
from flowengine.web import pages
from flowengine.web.door import Call, Query, Routes
from flowengine.web.models import PageQuery
from flowengine.web.problem import to_json

routes = Routes()
MOST_LINES = 12
"""Lines of one chart; a person tells no more apart."""
SPANS = {"15m": 900, "1h": 3_600, "6h": 21_600, "24h": 86_400, "7d": 604_800, "30d": 2_592_000}
"""What a chart may span, in seconds."""
_MILLION = 1_000_000
Name = Annotated[str, Field(min_length=1, max_length=1_000)]


def _is_tags(text: str) -> str:
    if text and _tags(text) is None:
        raise ValueError('write tags as {"device": "a", "room": "b"}')
    return text


def _tags(text: str) -> dict[str, str] | None:
    """The tags in a JSON object of texts; None for what is none."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    is_map = isinstance(found, dict) and len(found) <= 50
    return found if is_map and all(isinstance(v, str) for v in found.values()) else None


class FindSeries(Query):
    """Words that stand in the name, the field or the tags of a series."""

    find: Annotated[str, Field(max_length=200)] = ""
    most: Annotated[int, Field(ge=1, le=500)] = 200


class Lines(Query):
    """Which lines to draw: a series and a field, and the tags that each of them must have."""

    series: Name
    field: Name = "value"
    tags: Annotated[
        str,
        AfterValidator(_is_tags),
        Field(max_length=2_000, description='A JSON object of texts, as {"device": "a"}.'),
    ] = ""
    span: Literal["15m", "1h", "6h", "24h", "7d", "30d"] = "1h"
    points: Annotated[int, Field(ge=10, le=1_000)] = 300


class ChartPage(PageQuery):
    """What the page shows: `s` is read by its script, each a series as name/field/tag=value."""

    s: Annotated[str, Field(max_length=4_000)] = ""
    span: Annotated[str, Field(max_length=10)] = "1h"
    every: Annotated[str, Field(max_length=10)] = ""
    as_: Annotated[str, Field(max_length=10, alias="as")] = ""


@routes.add("GET", "/charts", "view", query=ChartPage, is_page=True)
async def charts(call: Call) -> Response:
    """Show the charts that the address names; a wall's screen needs no click."""
    has_store = call.services.settings.series is not None
    return await pages.render(call, "charts", {"has_store": has_store})


@routes.add("GET", "/api/v1/charts/series", "view", query=FindSeries)
async def find_series(call: Call) -> Response:
    """Find series to draw, each with its newest value."""
    asked = {"find": call.query.find, "most": call.query.most}
    found = await _read(call, "find", asked)
    series = [
        {**row, "last": None if row["last"] is None else rfc3339(row["last"])}
        for row in found["rows"]
    ]
    return _answer(call, {"series": series, "more": found["more"]})


@routes.add("GET", "/api/v1/charts/lines", "view", query=Lines)
async def lines(call: Call) -> Response:
    """Give the lines of a chart: at most 12, each of few points however many are stored."""
    query = call.query
    until = time.time_ns()
    since = until - SPANS[query.span] * 1_000 * _MILLION
    asked = {
        "name": query.series,
        "field": query.field,
        "tags": _tags(query.tags) or {},
        "since": since,
        "until": until,
        "points": query.points,
        "most": MOST_LINES,
    }
    found = await _read(call, "lines", asked)
    told = [
        {
            **{key: row[key] for key in ("series", "tags", "field", "value")},
            "last": rfc3339(row["last"]),
            "every": None if row["every"] is None else row["every"] // _MILLION,
            "points": [[point[0] // _MILLION, *point[1:]] for point in row["points"]],
        }
        for row in found["rows"]
    ]
    window = {"from": since // _MILLION, "to": until // _MILLION}
    return _answer(call, {**window, "lines": told, "more": found["more"]})


async def _read(call: Call, what: str, asked: dict[str, Any]) -> dict[str, Any]:
    reader = call.services.settings.series
    if reader is None:
        return {"rows": [], "more": False}
    async with call.services.charting:
        found = await asyncio.to_thread(reader, what, asked)
    return found[0] if found else {"rows": [], "more": False}


def _answer(call: Call, told: dict[str, Any]) -> Response:
    """JSON in which no known secret stands: a flow may have stored one as a text or a tag."""
    return Response(
        call.services.redactor.clean_bytes(to_json(told)), media_type="application/json"
    )
