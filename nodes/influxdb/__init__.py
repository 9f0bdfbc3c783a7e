"""InfluxDB, versions 1 and 2, and what speaks like it: write readings, ask for them again."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from flowengine import Connection, Message, Sink, connection_type, copy_tree, node, parse_time
from flowengine.errors import NodeError, Unavailable, describe_value
from flowengine.nodes.absent import value_or_none
from flowengine.nodes.influxdb.client import InfluxClient, WrongSetting, is_this_box
from flowengine.nodes.influxdb.config import (
    InfluxQueryConfig,
    InfluxServerConfig,
    InfluxWriteConfig,
)
from flowengine.nodes.influxdb.lineprotocol import make_renderer, series_and_time
from flowengine.nodes.worker_thread import WorkerThread

SECOND = 1_000_000_000


@connection_type("influxdb.server")
class InfluxServer(Connection[InfluxServerConfig]):
    """An InfluxDB server, or one that speaks its API: VictoriaMetrics, InfluxDB 3."""

    def setup(self) -> None:
        """Nothing runs yet."""
        self._client: InfluxClient | None = None
        self._making = threading.Lock()
        self._answered = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @property
    def bucket(self) -> str:
        """The bucket of nodes that name none."""
        return self.config.bucket

    async def open(self) -> None:
        """Begin to look for the server."""
        if self._watch is None:
            self._watch = asyncio.create_task(self._look())

    async def close(self) -> None:
        """Stop looking, and close the connections."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def ready(self) -> None:
        """Wait until the server has answered."""
        await self._answered.wait()

    def client(self) -> InfluxClient:
        """The client, made when it is first asked for; blocks for 0.2 s then."""
        with self._making:
            if self._client is None:
                self._client = self._make()
            return self._client

    def _make(self) -> InfluxClient:
        config, context = self.config, self.context
        return InfluxClient(
            config.url,
            org=config.org,
            token=config.token.reveal() if config.token else "",
            version=config.version,
            timeout=config.timeout / SECOND,
            tls=self._tls(),
            compress=config.compress == "always"
            or (config.compress == "auto" and not is_this_box(config.url)),
            now=context.now,
        )

    def _tls(self) -> ssl.SSLContext | None:
        tls = self.config.tls
        if tls is None:
            return None
        folder = Path(self.context.folder)
        try:
            made = ssl.create_default_context(cafile=str(folder / tls.ca) if tls.ca else None)
            made.minimum_version = ssl.TLSVersion.TLSv1_2
            if tls.cert:
                made.load_cert_chain(
                    folder / tls.cert,
                    folder / tls.key if tls.key else None,
                    tls.key_password.reveal if tls.key_password else None,
                )
        except OSError as err:  # SSLError is one
            raise WrongSetting(
                f"the certificates for {self.config.url} cannot be used: {err}",
                'Look at the files under "tls"; relative paths start at the flow\'s folder.',
            ) from err
        return made

    async def _look(self) -> None:
        pause = SECOND
        while True:
            try:
                client = await asyncio.to_thread(self.client)
                found, why = await asyncio.to_thread(client.ping), "no answer"
            except Unavailable as err:
                found, why = False, str(err)
            if found:
                break
            self.context.status("connecting", f"{self.config.url}: {why}")
            await self.clock.sleep(int(pause * self.clock.random.uniform(0.75, 1.25)))
            pause = min(2 * pause, 60 * SECOND)
        self.context.status("running")
        self._answered.set()


class _OnServer:
    """What the writing and the asking node have in common: a server, a bucket, a thread."""

    def __init__(self, context: Any, server: str, bucket: str | None, name: str) -> None:
        self._context = context
        self._server_id = server
        self._bucket = bucket
        self._thread = WorkerThread(name)
        self._failed = False

    async def run(self, call: Callable[[InfluxClient, str], Any]) -> Any:
        """Make a call with the client and the bucket in the thread, and tell the state."""
        server: InfluxServer = self._context.connection(self._server_id)
        bucket = self._bucket or server.bucket
        try:
            result = await self._thread.run(lambda: call(server.client(), bucket))
        except WrongSetting as err:
            self._failed = True
            self._context.status("failed", str(err))
            raise
        if self._failed:
            self._failed = False
            self._context.status("running")
        return result

    async def close(self) -> None:
        """End the thread."""
        await self._thread.close()


@node("influxdb.write", identity="series + time", time_keyed=True)
class InfluxWrite(Sink[InfluxWriteConfig]):
    """Write readings to InfluxDB, in batches.

    Identity: series + time. Set the source's `time` for exactly-once; without it, keep `precision`
    at ns, or two readings of one tick become one (counted as `collided`). Numbers are floats unless
    named in `integers`, so that 21 and 21.5 do not conflict. NaN and infinities are left out and
    counted as `not-finite`. Committed when the server has answered 2xx.
    A message without any field, and a line that the server refuses for good, take the error route.
    A wrong token or bucket loses nothing: the node says so, keeps its messages and tries again.
    """

    def setup(self) -> None:
        """Bind the expressions, and make the renderer for these tags and fields."""
        config, context = self.config, self.context
        bind = (context.params, context.now)
        self._measurement = config.measurement.bind(*bind)
        self._tags = [tag.bind(*bind) for tag in config.tags.values()]
        self._fields = [field.bind(*bind) for field in config.fields.values()]
        # The message's own time is taken as it is: as a float it would lose nanoseconds.
        self._time = None if config.time.text.strip() == "time" else config.time.bind(*bind)
        self._render = make_renderer(
            list(config.tags),
            list(config.fields),
            integers=config.integers,
            precision=config.precision,
            not_finite=lambda _name: context.count("not-finite"),
        )
        self._far = _OnServer(context, config.server, config.bucket, "influxdb-write")
        self._collided = False

    async def close(self) -> None:
        """End the worker thread."""
        await self._far.close()

    def prepare(self, message: Message) -> bytes:
        """The line for a message."""
        try:
            tags = [tag(message) for tag in self._tags]
            fields = [field(message) for field in self._fields]
        except NodeError:
            tags = [value_or_none(tag, message) for tag in self._tags]
            fields = [value_or_none(field, message) for field in self._fields]
        time = message.time if self._time is None else self._time_of(message)
        line = self._render(self._measurement(message), tags, fields, time)
        try:
            return line.encode()
        except UnicodeEncodeError as err:
            raise NodeError(f"a text is no Unicode: {err}.", slug="bad-text") from err

    def _time_of(self, message: Message) -> int:
        value = self._time(message) if self._time is not None else message.time
        try:
            return parse_time(value, "rfc3339" if isinstance(value, str) else "unix")
        except ValueError as err:
            raise NodeError(
                f"{self.config.time} is no time: {err}",
                slug="bad-time",
                mend="Give seconds since 1970 or RFC 3339 text.",
            ) from err

    async def write(self, records: list[bytes]) -> None:
        """Write all lines in one request."""
        precision = self.config.precision
        await self._far.run(lambda client, bucket: client.write(bucket, records, precision))
        if precision != "ns":
            self._count_collisions(records)

    def _count_collisions(self, lines: list[bytes]) -> None:
        points = set(lines)
        collided = len(points) - len({series_and_time(line) for line in points})
        if not collided:
            return
        self.context.count("collided", collided)
        if not self._collided:
            self._collided = True
            self.context.log(
                "warning",
                f"{collided} points of one batch fall on the time of another one of their series; "
                "the database keeps the last.",
                mend=f'"precision" is "{self.config.precision}": choose a finer one.',
            )


Question = tuple[Message, dict[str, Any]]


@node("influxdb.query", outputs=("out",), writes="anything")
class InfluxQuery(Sink[InfluxQueryConfig]):
    """Ask InfluxDB, and send the answer on.

    In: anything. Values from it reach the query as bound parameters, never as text, so no device
    name can change what is asked. Out: the message with a list of rows at `into`, each a map of
    column to value (times are RFC 3339 text); with `each` one message a row. A query that the
    server refuses takes the error route; an absent server is waited for.
    """

    spools = False
    batch_size = 1
    batch_age = 0

    def setup(self) -> None:
        """Bind the expressions."""
        config, context = self.config, self.context
        self._query = config.query if isinstance(config.query, str) else "\n".join(config.query)
        self._params = {
            name: value.bind(context.params, context.now) for name, value in config.params.items()
        }
        self._far = _OnServer(context, config.server, config.bucket, "influxdb-query")

    async def close(self) -> None:
        """End the worker thread."""
        await self._far.close()

    def prepare(self, message: Message) -> Question:
        """The message and the values that it binds."""
        return message, {
            name: _bindable(name, value(message), self.config.language == "flux")
            for name, value in self._params.items()
        }

    async def write(self, records: list[Question]) -> list[Message | list[Message]]:
        """One answer a message; a question may be asked twice, which changes nothing."""
        found = [await self._far.run(partial(self._ask, params)) for _, params in records]
        # Only now: a message that has its answer already would ask something else when repeated.
        return [
            self._answer(message, rows) for (message, _), rows in zip(records, found, strict=True)
        ]

    def _ask(
        self, params: Mapping[str, Any], client: InfluxClient, bucket: str
    ) -> list[dict[str, Any]]:
        if self.config.language == "flux":
            return client.flux(self._query, params)
        return client.influxql(bucket, self._query, params)

    def _answer(self, message: Message, rows: list[dict[str, Any]]) -> Message | list[Message]:
        into = self.config.into
        if not self.config.each:
            into.set(message, rows)
            return message
        parts = [message.copy() for _ in rows]
        for part, row in zip(parts, rows, strict=True):
            if into.parts:
                part.payload = copy_tree(part.payload)
            into.set(part, row)
        return parts


def _bindable(name: str, value: Any, lists: bool) -> Any:
    if isinstance(value, str | bool | int | float):
        return value
    if (
        lists
        and isinstance(value, list)
        and value
        and all(type(x) is type(value[0]) for x in value)
    ):
        return [_bindable(name, item, False) for item in value]
    raise NodeError(
        f'the parameter "{name}" is {describe_value(value)}, not text, a number, true or false.',
        slug="bad-param",
    )
