"""What the pipelines are fed: telemetry of 1,000 devices, by an MQTT client that costs little.

A message is `{"sensor_id", "temperature", "humidity", "timestamp"}` on
`device/dev-NNNN/telemetry`. Of every 20, one is out of range (150 °C), two are above the alarm's
limit (30 °C are 86 °F), the rest read 20 to 25 °C. `timestamp` counts up (ms), so no two records
are one. Packets are built before the clock starts.
"""

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence

from tests.bench.machine import BenchError

FIRST_MS = 1_700_000_000_000


def temperature(number: int) -> float:
    """The reading of message `number`, in °C."""
    if number % 20 == 0:
        return 150.0
    if number % 10 == 3:
        return 30.0
    return 20.0 + (number % 50) / 10


def payload(number: int, stamp: float | None = None) -> bytes:
    """Message `number` as JSON; `stamp` in place of its running timestamp."""
    reading = {
        "sensor_id": f"dev-{number % 1000:04d}",
        "temperature": temperature(number),
        "humidity": 40.0 + (number % 200) / 10,
        "timestamp": FIRST_MS + number if stamp is None else stamp,
    }
    return json.dumps(reading, separators=(",", ":")).encode()


def expected(first: int, last: int) -> tuple[int, int]:
    """How many of messages `first` to `last - 1` reach the sink, and how many the actuator."""
    numbers = range(first, last)
    return sum(1 for n in numbers if n % 20), sum(1 for n in numbers if n % 10 == 3)


def publish_packet(topic: str, body: bytes, qos: int = 0, packet_id: int = 1) -> bytes:
    """A PUBLISH packet (MQTT 3.1.1 §3.3)."""
    name = topic.encode()
    head = struct.pack("!H", len(name)) + name + (struct.pack("!H", packet_id) if qos else b"")
    return bytes([0x30 | qos << 1]) + _length(len(head) + len(body)) + head + body


def packets(first: int, last: int, qos: int) -> list[bytes]:
    """The packets of messages `first` to `last - 1`."""
    return [
        publish_packet(f"device/dev-{n % 1000:04d}/telemetry", payload(n), qos, n % 65535 + 1)
        for n in range(first, last)
    ]


def _length(number: int) -> bytes:
    """A remaining length (MQTT 3.1.1 §2.2.3)."""
    out = bytearray()
    while True:
        number, part = divmod(number, 128)
        out.append(part | 0x80 if number else part)
        if not number:
            return bytes(out)


class Client:
    """A connection that publishes, or subscribes and calls back; QoS 0 and 1."""

    def __init__(self, port: int, name: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ident = name.encode()
        body = b"\0\4MQTT\4\2\0\0" + struct.pack("!H", len(ident)) + ident
        self._socket.sendall(b"\x10" + _length(len(body)) + body)
        answer = self._socket.recv(4)
        if answer[:1] != b"\x20" or answer[3:] != b"\0":
            raise BenchError(f"the broker answered {answer!r}")
        self.sent = 0
        self.acknowledged = 0

    def send(self, packed: bytes, messages: int = 1) -> None:
        """Send packets."""
        self._socket.sendall(packed)
        self.sent += messages

    def subscribe(self, filters: Sequence[str], qos: int) -> None:
        """Subscribe, before `listen`."""
        body = b"\0\1"
        for text in filters:
            body += struct.pack("!H", len(text)) + text.encode() + bytes([qos])
        self._socket.sendall(b"\x82" + _length(len(body)) + body)
        self._socket.recv(4 + len(filters))

    def listen(self, heard: Callable[[bytes, bytes], None]) -> None:
        """In a thread: acknowledge every PUBLISH and call `heard(topic, payload)`."""
        threading.Thread(target=self._listen, args=(heard,), daemon=True).start()

    def count_acknowledgements(self) -> None:
        """In a thread, for a connection that only publishes at QoS 1: count its PUBACKs."""
        threading.Thread(target=self._count, daemon=True).start()

    def close(self) -> None:
        """Close; the threads end with it."""
        with contextlib.suppress(OSError):  # the broker was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _count(self) -> None:
        taken = 0
        while read := self._read():
            taken += len(read)
            self.acknowledged = taken // 4

    def _read(self) -> bytes:
        try:
            return self._socket.recv(1 << 18)
        except OSError:
            return b""

    def _listen(self, heard: Callable[[bytes, bytes], None]) -> None:
        waiting = b""
        while read := self._read():
            waiting += read
            waiting, answers = _take(waiting, heard)
            if answers:
                try:
                    self._socket.sendall(answers)
                except OSError:
                    return


def _take(data: bytes, heard: Callable[[bytes, bytes], None]) -> tuple[bytes, bytes]:
    """Hand over the whole packets in `data`; what is left of it, and the answers to send."""
    at, answers = 0, bytearray()
    while at + 2 <= len(data):
        start, length, shift = at + 1, 0, 0
        while start < len(data):
            byte = data[start]
            length |= (byte & 127) << shift
            shift += 7
            start += 1
            if byte < 128:
                break
        else:
            break
        if start + length > len(data):
            break
        if data[at] >> 4 == 3:
            topic_end = start + 2 + (data[start] << 8 | data[start + 1])
            body = topic_end
            if data[at] & 6:
                answers += b"\x40\x02" + data[body : body + 2]
                body += 2
            heard(data[start + 2 : topic_end], data[body : start + length])
        at = start + length
    return data[at:], bytes(answers)


def flood(client: Client, ready: Sequence[bytes], qos: int, window: int = 2000) -> None:
    """Send packets as fast as the broker takes them, 50 a write, `window` unacknowledged."""
    for first in range(0, len(ready), 50):
        part = ready[first : first + 50]
        while qos and client.sent - client.acknowledged > window:
            time.sleep(0.0005)
        client.send(b"".join(part), len(part))
    until = time.monotonic() + 60
    while qos and client.acknowledged < client.sent and time.monotonic() < until:
        time.sleep(0.001)
