"""Where the editor listens: its socket, its certificate, and the names it answers to.

Any address but this machine's own needs TLS, or the word that it shall do without, and always a
user (S-01).
"""

import argparse
import errno
import socket
import ssl
from pathlib import Path

import msgspec

from flowengine.commands.broker import is_loopback
from flowengine.errors import StartError, UsageError


class Place(msgspec.Struct, kw_only=True):
    """Where the editor listens, and with which certificate."""

    host: str
    port: int
    listening: socket.socket
    tls: ssl.SSLContext | None = None
    names: frozenset[str] = frozenset()
    cert: Path | None = None
    key: Path | None = None

    @property
    def url(self) -> str:
        """The address for a browser on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104  # what it means
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def listen(args: argparse.Namespace, data: Path, *, or_free: bool = False) -> Place:
    """The socket, bound before anything starts; refuses an open door (S-01).

    Where the port is taken, any free one will do if `or_free` is given.
    """
    if not 0 <= args.port <= 65535:
        raise UsageError(f"--port {args.port} is no port.", "Ports go from 1 to 65535.")
    if bool(args.tls_cert) != bool(args.tls_key):
        raise UsageError("a certificate needs its key, and a key its certificate.", "Give both.")
    if not is_loopback(args.host):
        if args.tls_cert is None and not args.insecure_bind:
            raise UsageError(
                f"--host {args.host} can be reached from other machines, and there is no TLS.",
                "Give --tls-cert and --tls-key; or --insecure-bind if a proxy does TLS for it.",
            )
        if not _has_user(data):
            raise UsageError(
                f"--host {args.host} can be reached from other machines, and there is no user.",
                f"Make one first: flowengine users add NAME --role admin --data {data}",
            )
    tls, names = None, set(args.name)
    if args.tls_cert is not None:
        tls = server_context(args.tls_cert, args.tls_key)
        names |= names_in(args.tls_cert)
    names |= _own_names(args.host)
    listening = bound(args.host, args.port, or_free=or_free)
    return Place(
        host=args.host,
        port=listening.getsockname()[1],
        listening=listening,
        tls=tls,
        names=frozenset(name.lower() for name in names),
        cert=args.tls_cert,
        key=args.tls_key,
    )


def _has_user(data: Path) -> bool:
    from flowengine.web.people import FILE, People  # noqa: PLC0415  # argon2: only where needed

    if not (data / FILE).exists():
        return False
    people = People(data)
    try:
        return any(person.hash for person in people.users())
    finally:
        people.close()


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate (S-60)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as err:
        raise StartError(
            f"the certificate {cert} with the key {key} cannot be used: {err}.",
            "Both must be PEM, and belong together; a key with a password is not taken.",
        ) from err
    return context


def names_in(cert: Path) -> set[str]:
    """The host names and addresses that a certificate is for."""
    from cryptography import x509  # noqa: PLC0415  # only with TLS

    found = x509.load_pem_x509_certificates(cert.read_bytes())[0]
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    return {*names.get_values_for_type(x509.DNSName), *addresses}


def _own_names(host: str) -> set[str]:
    """The names by which this machine is called, given the address it listens on."""
    names = {"127.0.0.1", "localhost", "::1"}
    if is_loopback(host):
        return names | {host}
    if host not in {"0.0.0.0", "::"}:  # noqa: S104  # compared, not bound
        return names | {host}
    import psutil  # noqa: PLC0415  # only when it listens everywhere

    for addresses in psutil.net_if_addrs().values():
        names |= {each.address.partition("%")[0] for each in addresses}
    own = socket.gethostname()
    return names | {own, f"{own.partition('.')[0]}.local"}


def bound(host: str, port: int, *, or_free: bool = False) -> socket.socket:
    """A listening socket; raises StartError, as for a port that is taken and no other will do."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except OSError as err:
        raise StartError(f"--host {host} is no address of this machine: {err}.") from err
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(128)
        made.setblocking(False)
    except OSError as err:
        made.close()
        if or_free and err.errno == errno.EADDRINUSE:
            return bound(host, 0)
        raise StartError(
            f"nothing can listen on {host}:{port}: {err.strerror or err}.",
            "Is another flowengine running there? Give another port with --port.",
        ) from err
    return made
