"""Talking to InfluxDB, blocking: whole bodies through influxdb-client, answers told as our errors.

What the statuses mean for a sink (InfluxDB v2 API, "Write data"): 2xx stored; 400, 422 some or all
lines refused for good; 413 too large; 401, 403, 404 a setting is wrong, so nothing is lost by
waiting; 429, 503 wait as long as it says; everything else wait.
"""

import contextlib
import gzip
import json
import math
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from flowengine.errors import BatchTooLarge, NodeError, RecordRefused, Unavailable
from flowengine.nodes.influxdb.csv import BadAnswer, QueryFailed, parse_rows
from flowengine.nodes.influxdb.lineprotocol import Precision

COMPRESS_FROM = 8_000
"""Bytes from which a body is compressed; level 1 makes lines eight times smaller."""
MAX_ANSWER = 32_000_000
"""Bytes of a query's answer at most."""
MAX_REASON = 64_000
"""Bytes that are read of an answer that says no; the rest, be it a gigabyte unpacked, is not."""
MAX_WAIT = 3600.0
"""Seconds of a Retry-After that are believed."""

_V1_PRECISION = {"ns": "n", "us": "u", "ms": "ms", "s": "s"}
_FORM = "application/x-www-form-urlencoded"


class WrongSetting(Unavailable):
    """The server is there, and a setting is wrong: a person must mend it, and nothing is lost."""

    state = "failed"


def _was_refused(why: object) -> bool:
    """Whether there was no connection, so that no request was sent."""
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError  # noqa: PLC0415

    reason = getattr(why, "reason", None) or why
    return isinstance(reason, ConnectTimeoutError | NewConnectionError)


class _SaidNo(Exception):  # the server's word
    """A status other than 2xx, with as much of the answer as is read."""

    def __init__(self, response: Any) -> None:
        super().__init__(response.status)
        self.response = response
        self.text: str = response.read(MAX_REASON).decode("utf-8", "replace")
        response.close()


class InfluxClient:
    """One server, with one token. Methods block; they may be called from several threads.

    Args:
        url: `http://host:8086`.
        org: the organisation (v2).
        token: an API token; for v1 `user:password`, or nothing.
        version: "2" writes to `/api/v2/write`, "1" to `/write`.
        timeout: seconds for a whole request.
        tls: for https, None for the system's authorities.
        compress: whether bodies of 8 kB and more are compressed.
        now: wall time in seconds, for a Retry-After that is a date.
    """

    def __init__(
        self,
        url: str,
        *,
        org: str,
        token: str,
        version: Literal["1", "2"],
        timeout: float,
        tls: ssl.SSLContext | None,
        compress: bool,
        now: Callable[[], float],
    ) -> None:
        # Costs 0.14 s and 27 MB: only a flow that talks to InfluxDB pays.
        from influxdb_client.client.influxdb_client import InfluxDBClient  # noqa: PLC0415

        self._secret = token = token.strip()
        if not (token.isascii() and token.isprintable()):
            raise WrongSetting(
                f"the token for {url} holds signs that no token has.",
                "Store it again: flowengine secrets set NAME",
            )
        self.url, self.org, self.version = url, org, version
        self._compress = compress
        self._now = now
        make: Any = InfluxDBClient
        self._client = make(
            url=url,
            token=token or None,
            org=org,
            timeout=max(1, round(timeout * 1000)),
            ssl_context=tls,
            auth_basic=version == "1" and bool(token),
            retries=False,
        )
        self._bound_reasons()

    def _bound_reasons(self) -> None:
        """The library reads a whole answer to raise its own error for it (F-73): raise ours."""
        pool = self._client.api_client.rest_client.pool_manager
        plain = pool.request

        def request(*args: Any, **kwargs: Any) -> Any:
            response = plain(*args, **kwargs)
            if kwargs.get("preload_content") is False and not 200 <= response.status < 300:
                raise _SaidNo(response)
            return response

        pool.request = request

    def close(self) -> None:
        """Close the connections; harmless when called twice."""
        self._client.close()

    def ping(self) -> bool:
        """Whether a server answers; the token is not looked at."""
        return bool(self._client.ping())

    # -- writing

    def write(self, bucket: str, lines: Sequence[bytes], precision: Precision) -> None:
        """Write all lines in one request; raises Unavailable or RecordRefused."""
        self._need(bucket)
        body = b"\n".join(lines)
        headers = {"Content-Type": "text/plain; charset=utf-8", "Accept": "application/json"}
        if self._compress and len(body) >= COMPRESS_FROM:
            body = gzip.compress(body, 1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        path, query = self._write_to(bucket, precision)
        status, answer, after = self._call(path, query, headers, body=body)
        if 200 <= status < 300:
            return
        why = _reason(answer) or f"HTTP {status}"
        if status in {400, 422}:
            raise RecordRefused(
                f"{self.url} refuses: {self._clean(why)}", refused=_refused_lines(why, lines)
            )
        if status == 413:
            raise BatchTooLarge(f"{self.url} refuses a body of {len(body)} bytes as too large.")
        raise self._unavailable(status, why, after, bucket)

    def _write_to(self, bucket: str, precision: Precision) -> tuple[str, list[tuple[str, str]]]:
        if self.version == "2":
            return "/api/v2/write", [
                ("org", self.org),
                ("bucket", bucket),
                ("precision", precision),
            ]
        database, _, policy = bucket.partition("/")
        query = [("db", database), ("precision", _V1_PRECISION[precision])]
        return "/write", query + ([("rp", policy)] if policy else [])

    # -- asking

    def influxql(self, bucket: str, query: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of an InfluxQL query: its columns by name, its group's tags beside them.

        `params` are bound where the query says `$name`. Raises NodeError for a query that the
        server refuses, Unavailable.
        """
        self._need(bucket)
        database, _, policy = bucket.partition("/")
        form = [("db", database), ("q", query), ("params", json.dumps(params))]
        form += [("rp", policy)] if policy else []
        headers = {"Content-Type": _FORM, "Accept": "application/json"}
        answer = self._call("/query", [], headers, post_params=form)
        try:
            return _influxql_rows(json.loads(self._checked(answer, bucket)))
        except (ValueError, TypeError, LookupError, AttributeError) as err:
            raise self._no_answer(err) from err

    def flux(self, query: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of a Flux query, each with `result` if the query names more than one.

        `params` are declared as options before the query, so a value is never read as Flux.
        Raises as `influxql` does.
        """
        text = self._guard(lambda: self._client.query_api().query_raw(query, params=dict(params)))
        try:
            rows = list(parse_rows(self._checked(text, self.org)))
        except QueryFailed as err:
            raise _query_refused(self._clean(str(err))) from err
        except BadAnswer as err:
            raise self._no_answer(err) from err
        several = len({row.result for row in rows}) > 1
        return [{**row.values, **({"result": row.result} if several else {})} for row in rows]

    def _ask(
        self,
        path: str,
        query: list[tuple[str, str]],
        headers: dict[str, str],
        bucket: str,
        **body: Any,
    ) -> str:
        return self._checked(self._call(path, query, headers, **body), bucket)

    def _checked(self, answer: tuple[int, str, str | None], bucket: str) -> str:
        status, text, after = answer
        if 200 <= status < 300:
            return text
        why = _reason(text) or f"HTTP {status}"
        if status in {400, 413, 422}:
            raise _query_refused(self._clean(why))
        raise self._unavailable(status, why, after, bucket)

    def _need(self, bucket: str) -> None:
        if not bucket:
            raise WrongSetting(
                f"neither the node nor the connection to {self.url} names a bucket.",
                'Add "bucket" to one of them.',
            )

    # -- one request

    def _call(
        self,
        path: str,
        query: list[tuple[str, str]],
        headers: dict[str, str],
        **body: Any,
    ) -> tuple[int, str, str | None]:
        """Status, text and Retry-After of an answer; raises Unavailable when there is none."""
        return self._guard(
            lambda: self._client.api_client.call_api(
                path,
                "POST",
                query_params=query,
                header_params=headers,
                _preload_content=False,
                _return_http_data_only=True,
                **body,
            )
        )

    def _guard(self, send: Callable[[], Any]) -> tuple[int, str, str | None]:
        from influxdb_client.rest import ApiException  # noqa: PLC0415  # loaded already
        from urllib3.exceptions import HTTPError  # noqa: PLC0415

        try:
            response = send()
            text = self._read(response)
        except _SaidNo as err:
            response, text = err.response, err.text
        except ApiException as err:
            if not err.status:  # a TLS error that the client has wrapped
                raise self._absent(err.reason) from None
            response, text = err.response, err.response.data.decode("utf-8", "replace")
        except (HTTPError, OSError) as err:
            raise self._absent(err) from None
        return response.status, text, response.headers.get("Retry-After")

    def _read(self, response: Any) -> str:
        data: bytes = response.read(MAX_ANSWER + 1)
        if len(data) > MAX_ANSWER:
            response.close()
            raise NodeError(
                f"the answer of {self.url} is larger than {MAX_ANSWER // 1_000_000} MB.",
                slug="too-large",
                mend="Ask for a shorter range, or for means.",
            )
        response.release_conn()
        return data.decode("utf-8", "replace")

    # -- what went wrong, in words

    def _absent(self, why: object) -> Unavailable:
        return Unavailable(
            f"{self.url} does not answer: {self._clean(str(why))}",
            "Is the server running, and the url of the connection right?",
            is_unanswered=not _was_refused(why),
        )

    def _no_answer(self, why: object) -> Unavailable:
        return Unavailable(
            f"{self.url} answers as no InfluxDB does: {self._clean(str(why))}",
            "Look at the url and the version of the connection.",
        )

    def _unavailable(self, status: int, why: str, after: str | None, bucket: str) -> Unavailable:
        said = f"{self.url} answers {status}: {self._clean(why)}"
        if status in {401, 403}:
            return WrongSetting(
                said,
                f'Give the connection a token with the right to "{bucket}": '
                "flowengine secrets set NAME",
                is_unanswered=False,
            )
        if status == 404:
            return WrongSetting(
                said,
                f'Is there a bucket "{bucket}" in the organisation "{self.org}"? '
                f'Does the server speak version "{self.version}"?',
                is_unanswered=False,
            )
        if status in {429, 503}:
            wait = _seconds(after, self._now())
            return Unavailable(said, retry_after=wait, is_unanswered=False)
        if status >= 500 or status == 408:
            return Unavailable(said, is_unanswered=False)
        return WrongSetting(said, "Look at the url of the connection.", is_unanswered=False)

    def _clean(self, text: str) -> str:
        """One line, short, without the token, whatever the far side echoes."""
        for secret in {self._secret, self._secret.rpartition(":")[2]} - {""}:
            text = text.replace(secret, "***")
        text = " ".join(text.split())
        return text if len(text) <= 300 else text[:299] + "…"


def is_this_box(url: str) -> bool:
    """Whether a URL's host is loopback, where compressing saves nothing."""
    host = urlsplit(url).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _query_refused(why: str) -> NodeError:
    return NodeError(f"the query is refused: {why}", slug="query-refused", mend="Mend the query.")


def _reason(text: str) -> str:
    """The sentence in an error's body: v2 `message`, v1 and v3 `error`, else the text itself."""
    with contextlib.suppress(ValueError):
        body = json.loads(text)
        if isinstance(body, dict):
            return str(body.get("message") or body.get("error") or "")
    return text


_DROPPED = re.compile(r"partial write: .* dropped=([0-9]+)", re.DOTALL)
_UNPARSED = "unable to parse '"


def _refused_lines(why: str, lines: Sequence[bytes]) -> dict[int, str]:
    """Which lines an error names, if it is certain that all others were written; else nothing.

    InfluxDB 1 writes the good lines of a batch and quotes the ones it cannot read; of points that
    conflict with a field's type it tells only how many it dropped. InfluxDB 2 writes none.
    """
    if not why.startswith("partial write"):
        return {}
    dropped = _DROPPED.match(why)
    if dropped and int(dropped[1]) == len(lines):
        return dict.fromkeys(range(len(lines)), why[:300])
    if _UNPARSED not in why or (dropped and int(dropped[1])):
        return {}
    named = {
        index: f"the server cannot read {line.decode()[:200]}"
        for index, line in enumerate(lines)
        if f"{_UNPARSED}{line.decode()}'" in why
    }
    return named if len(named) == why.count(_UNPARSED) else {}


def _seconds(text: str | None, now: float) -> float | None:
    """Retry-After in seconds (RFC 9110 §10.2.3: a number or a date), None if it says nothing."""
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_WAIT) if math.isfinite(seconds) else None


def _influxql_rows(body: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for result in body["results"]:
        if "error" in result:
            raise _query_refused(str(result["error"])[:300])
        for series in result.get("series") or []:
            tags, columns = series.get("tags") or {}, series["columns"]
            rows += [
                {**tags, **dict(zip(columns, values, strict=True))}
                for values in series.get("values") or []
            ]
    return rows
