"""A device gone mad: CoAP requests to one port, so many a second, from one socket.

    python -m tests.faults.udp_flood PORT RATE SECONDS [PATH]

At its end it prints how many it sent. Every request is right by itself, with a message id and a
token of its own.
"""

import contextlib
import socket
import sys
import time

TICK = 0.005  # seconds between two bursts


def requests(path: str) -> list[bytes]:
    """One non-confirmable PUT for each message id (RFC 7252 §3)."""
    option = bytes([0xB0 | len(path)]) + path.encode()  # Uri-Path, option 11
    return [
        b"\x54\x03" + mid.to_bytes(2, "big") + mid.to_bytes(4, "big") + option + b"\xff1"
        for mid in range(65_536)
    ]


def main() -> None:
    """Send until the time is over."""
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    ready, sent = requests(sys.argv[4] if len(sys.argv) > 4 else "telemetry"), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.1", port))
        link.setblocking(False)
        send, began = link.send, time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            for number in range(sent, int(passed * rate)):
                with contextlib.suppress(OSError):
                    send(ready[number & 0xFFFF])
            sent = max(sent, int(passed * rate))
            time.sleep(TICK)
        print(sent, round(time.monotonic() - began, 2), flush=True)


if __name__ == "__main__":
    main()
