"""Why an MQTT connection ended or never began, in words: what happened, and how to mend it."""

import socket
import ssl
from dataclasses import dataclass
from typing import Literal

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode


@dataclass(frozen=True)
class Ending:
    """Why a connection ended, or never began: what happened, and how to mend it.

    Kinds: `lost` (closed, or never reached), `broken` (a reset, no route), `dead` (the broker
    stopped answering), `unnamed` (its name has no address), `mute` (closed before CONNACK),
    `silent` (no CONNACK), `refused` (someone must act), `version` (protocol not spoken), `taken`
    (another client has our id), `closed` (by us).
    """

    kind: Literal[
        "lost",
        "broken",
        "dead",
        "unnamed",
        "mute",
        "silent",
        "refused",
        "version",
        "taken",
        "closed",
    ]
    what: str
    mend: str = ""


def reason_text(packet: int, code: int, said: str = "") -> str:
    """Put an MQTT 5 reason code (§2.4) into words, with what the broker said itself."""
    try:
        name = ReasonCode(packet, identifier=code).getName().lower()
    except (KeyError, ValueError):
        name = "a reason without a name"
    return f"{name} (0x{code:02X})" + (f': "{said}"' if said else "")


def refusal(where: str, reason: ReasonCode, said: str) -> Ending:
    """Put a CONNACK that is not Success into words; MQTT 3.1.1 codes come as those of MQTT 5."""
    code = reason.value
    what = f"the broker {where} refused the connection: "
    what += reason_text(PacketTypes.CONNACK, code, said)
    mends = {
        0x80: "Look in the broker's log; at AWS, see that policy and certificate are active.",
        0x85: "Set another client_id.",
        0x86: "Correct username and password.",
        0x87: "Correct username and password, or allow this client in the broker's rules.",
        0x8A: "Lift the ban in the broker, or use another client_id.",
    }
    kind: Literal["lost", "refused", "version"] = "refused"
    if code == 0x84:
        kind = "version"
    elif code in (0x88, 0x89, 0x97, 0x9F):  # unavailable, busy, quota, connection rate
        kind = "lost"
    return Ending(kind, what + ".", mends.get(code, ""))


def farewell(where: str, code: int, said: str) -> Ending:
    """Put a DISCONNECT from the broker into words (MQTT 5.0 §3.14)."""
    if code == 0x8E:
        return Ending("taken", f"another client with our client_id connected to {where}.")
    what = f"the broker {where} ended the connection: "
    what += reason_text(PacketTypes.DISCONNECT, code, said) + "."
    # Shutting down, busy, keepalive, rates and moves pass by themselves; all else is about us.
    passing = code < 0x80 or code in (0x89, 0x8B, 0x8D, 0x96, 0x97, 0x9F, 0xA0)
    return Ending("lost" if passing else "refused", what)


def loss(where: str, error: Exception | None, *, accepted: bool, tls: bool) -> Ending:
    """Put the end of a transport into words."""
    if isinstance(error, ssl.SSLError):
        return fault(where, error)
    if not accepted:
        return Ending(
            "mute",
            f"{where} closed the connection before it answered.",
            "Set tls.cert and tls.key, if the broker asks for a client certificate."
            if tls
            else "Look whether the port is the right one and whether it wants TLS.",
        )
    if error is not None:
        return Ending("broken", f"{where} closed the connection ({error}).")
    return Ending("lost", f"{where} closed the connection.")


def fault(where: str, error: Exception) -> Ending:
    """Put a failed attempt to connect into words: DNS, TCP, TLS."""
    if isinstance(error, ssl.SSLCertVerificationError):
        mends = {
            10: "Renew the broker's certificate, or set this machine's clock.",
            62: "Use the name in the certificate as host, or set tls.server_name to it.",
        }
        return Ending(
            "refused",
            f"the certificate of {where} is not accepted: {error.verify_message.rstrip('.')}.",
            mends.get(
                error.verify_code, "Set tls.ca to the certificate of the broker's authority."
            ),
        )
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        mend = "Look whether the port speaks TLS, and whether both sides share a version."
        if "certificate" in reason or "unknown ca" in reason:
            mend = "Set tls.cert and tls.key to a certificate the broker accepts."
        return Ending("refused", f"no TLS with {where}: {reason}.", mend)
    if isinstance(error, socket.gaierror):
        return Ending(
            "unnamed", f"the host of {where} is not known ({error.strerror}).", "Correct host."
        )
    if isinstance(error, TimeoutError):
        return Ending("lost", f"{where} does not answer.", "Look at host, port and the firewall.")
    if isinstance(error, ConnectionRefusedError) or "Errno 111" in str(error):
        return Ending(
            "lost", f"nothing listens at {where}.", "Start the broker, or correct host and port."
        )
    return Ending("lost", f"no connection to {where}: {error}.")
