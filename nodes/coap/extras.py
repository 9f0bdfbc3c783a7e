"""Whether what DTLS and OSCORE need is installed; it is compiled, and so not part of the rest."""

from importlib.util import find_spec

from flowengine.errors import StartError

_DTLS = ("DTLSSocket",)
_OSCORE = ("cbor2", "cryptography", "filelock", "ge25519", "lakers")


def need_extras(*, dtls: bool, oscore: bool) -> None:
    """Raise StartError with the extra to install."""
    missing = [name for name in (*(_DTLS * dtls), *(_OSCORE * oscore)) if find_spec(name) is None]
    if missing:
        raise StartError(
            f"{'DTLS' if dtls else 'OSCORE'} needs {', '.join(missing)}, which is not installed.",
            "pip install 'flowengine[coaps]' (compiles: autoconf, automake, libtool, pkg-config)"
            + ("" if dtls else ", or 'flowengine[oscore]' without a compiler")
            + ".",
        )
