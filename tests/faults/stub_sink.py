"""A write server that answers as it is told: InfluxDB v2's path, the statuses that hurt.

    with StubSink() as far:
        far.answers = busy(429, "Retry-After: 2")       # until it is told otherwise
        far.answers = slow(0.5)
        far.answers = refusing(lambda line: b"bad" in line, wording="v1")
        far.answers = forgetting                         # says 204 and keeps nothing
        far.answers = keeping

The wordings are those of InfluxDB 1.8 (`partial write: ...`, the good lines are written), of 2.x
for a line that cannot be read (nothing is written) and for a type conflict (422, the good lines are
written); HTTP statuses as in the API's page "Write data".
"""

import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple, Self

from tests.system.real import LOOPBACK, free_port

NUMBER = re.compile(rb"[ ,]number=(\d+)")


class Answer(NamedTuple):
    """What the server says, which lines it keeps, and how long it takes first (s)."""

    status: int
    body: str = ""
    keeps: Sequence[bytes] = ()
    headers: Sequence[str] = ()
    after: float = 0.0


class Try(NamedTuple):
    """One request: when it came (monotonic s), how many lines, the answer's status, the token."""

    at: float
    lines: int
    status: int
    token: str


Behaviour = Callable[[list[bytes]], Answer]


def keeping(lines: list[bytes]) -> Answer:
    """Write all."""
    return Answer(204, keeps=lines)


def forgetting(_lines: list[bytes]) -> Answer:
    """Say that all is written, and lose it."""
    return Answer(204)


def busy(status: int, *headers: str) -> Behaviour:
    """Refuse for now, with headers as `Retry-After: 2`."""
    body = json.dumps({"code": "too many requests", "message": "org has exceeded limited_write"})
    return lambda _lines: Answer(status, body, headers=headers)


def slow(seconds: float) -> Behaviour:
    """Write all, late."""
    return lambda lines: Answer(204, keeps=lines, after=seconds)


def refusing(
    is_bad: Callable[[bytes], bool], wording: Literal["v1", "v2", "conflict"] = "v1"
) -> Behaviour:
    """Refuse some lines for good, in the words of InfluxDB."""

    def answer(lines: list[bytes]) -> Answer:
        bad = [line for line in lines if is_bad(line)]
        good = [line for line in lines if not is_bad(line)]
        if not bad:
            return keeping(lines)
        conflict = 'input field "t" on measurement "m" is type float, already exists as type string'
        if wording == "v1":
            said = f"partial write: field type conflict: {conflict} dropped={len(bad)}"
            return Answer(400, json.dumps({"error": said}), keeps=good)
        if wording == "v2":
            said = f"unable to parse '{bad[0].decode()}': invalid number"
            return Answer(400, json.dumps({"code": "invalid", "message": said, "line": 1}))
        said = "failure writing points to database: partial write: field type conflict: "
        said += f"{conflict} dropped={len(bad)}"
        body = json.dumps({"code": "unprocessable entity", "message": said})
        return Answer(422, body, keeps=good)

    return answer


class StubSink(ThreadingHTTPServer):
    """The server, in threads of its own; a context manager.

    Attributes:
        url: for `influxdb.server`.
        answers: what becomes of the lines of a request; may be changed at any time.
        token: the one that is let in; empty for any.
        tries: every write that came, in order.
        arrivals: number of a reading -> when it was first kept (monotonic s).
        kept: how many lines were kept; a line that came again counts again.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int = 0) -> None:
        """Bind; it serves within the `with` block."""
        self.port = port or free_port()
        super().__init__((LOOPBACK, self.port), _Handler)
        self.url = f"http://{LOOPBACK}:{self.port}"
        self.answers: Behaviour = keeping
        self.token = ""
        self.tries: list[Try] = []
        self.arrivals: dict[int, float] = {}
        self.kept = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    @property
    def numbers(self) -> set[int]:
        """The readings that were kept."""
        return set(self.arrivals)

    def take(self, lines: list[bytes], token: str) -> Answer:
        """Decide, and keep what is to be kept."""
        now = time.monotonic()
        if self.token and token != f"Token {self.token}":
            said = {"code": "unauthorized", "message": "unauthorized access"}
            answer = Answer(401, json.dumps(said))
        else:
            answer = self.answers(lines)
        with self._lock:
            self.tries.append(Try(now, len(lines), answer.status, token))
            self.kept += len(answer.keeps)
            for line in answer.keeps:
                if found := NUMBER.search(line):
                    self.arrivals.setdefault(int(found[1]), now)
        return answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: StubSink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        lines = [line for line in body.split(b"\n") if line]
        answer = self.server.take(lines, self.headers.get("Authorization", ""))
        if answer.after:
            time.sleep(answer.after)
        self._say(answer)

    def do_GET(self) -> None:
        self._say(Answer(204 if self.path.startswith("/ping") else 200, ""))

    do_HEAD = do_GET  # noqa: N815  # the base class's name

    def _say(self, answer: Answer) -> None:
        data = answer.body.encode()
        self.send_response(answer.status)
        self.send_header("X-Influxdb-Version", "v2.7")
        self.send_header("Content-Length", str(len(data)))
        for header in answer.headers:
            name, _, value = header.partition(": ")
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing per request."""
