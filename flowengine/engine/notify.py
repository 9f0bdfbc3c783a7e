"""Telling systemd how the engine is (sd_notify(3)): ready, stopping, and a watchdog's beat."""

import os
import socket

from flowengine.clock import SECOND


def notify(state: str) -> bool:
    """Send `READY=1` or the like to systemd; False where none listens."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.sendto(state.encode(), address)
    except OSError:
        return False
    return True


def watchdog_period() -> int | None:
    """How often systemd wants a beat, halved as it advises (ns); None without a watchdog."""
    text = os.environ.get("WATCHDOG_USEC", "")
    pid = os.environ.get("WATCHDOG_PID")
    if not text.isdigit() or (pid is not None and pid != str(os.getpid())):
        return None
    return int(text) * 1000 // 2 or SECOND
