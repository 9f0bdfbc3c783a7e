"""A stand-in for InfluxDB's write endpoint: takes line protocol, answers 204, counts the lines.

    python write_stub.py PORT

`GET /count` answers the number of lines so far, `/unique` that of their different times, which tell
the bench's messages apart; `/delay/100` lets every write from now on take 100 ms. `/ping` and
`/health` answer as a server would.
"""

import gzip
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

_lock = Lock()
_lines = 0
_times: set[bytes] = set()
_delay = 0.0


class Writes(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_POST(self) -> None:
        """Count the lines of a body, gzipped or chunked or neither."""
        global _lines  # noqa: PLW0603  # the process is this one counter
        body = self._body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        times = [line.rpartition(b" ")[2] for line in body.split(b"\n") if line]
        with _lock:
            _lines += len(times)
            _times.update(times)
        if _delay:
            time.sleep(_delay)
        self._answer(204, b"")

    def do_GET(self) -> None:
        """Say a count, become slow, or say that the server is well."""
        global _delay  # noqa: PLW0603  # the process is this one server
        if self.path == "/count":
            self._answer(200, str(_lines).encode())
        elif self.path == "/unique":
            self._answer(200, str(len(_times)).encode())
        elif self.path.startswith("/delay/"):
            _delay = int(self.path.rpartition("/")[2]) / 1000
            self._answer(200, b"")
        elif self.path.startswith("/ping"):
            self._answer(204, b"")
        else:
            self._answer(200, json.dumps({"status": "pass", "version": "v2.7"}).encode())

    def do_HEAD(self) -> None:
        """Answer a ping."""
        self._answer(204, b"")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("X-Influxdb-Version", "v2.7")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Say nothing per request."""


class Server(ThreadingHTTPServer):
    """A thread a connection; a peer that opens hundreds at once is not turned away."""

    request_queue_size = 4096
    daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Writes).serve_forever()
