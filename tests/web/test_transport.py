"""The editor speaks TLS 1.2 or newer, writes down who did what, and calls nobody."""

import datetime
import ipaddress
import socket
import sqlite3
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flowengine.commands.listening import names_in, server_context
from flowengine.errors import StartError
from flowengine.web.people import People
from tests.web.box import API, CHEAP, PASSWORD, Box


def certificate(folder: Path, name: str = "box.example") -> tuple[Path, Path]:
    """A certificate of its own authority for a name and for 127.0.0.1, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


@pytest.fixture
def tls(tmp_path: Path) -> Any:
    """An editor with TLS."""
    with Box(tmp_path, cert=certificate(tmp_path)) as box:
        yield box


def trust(box: Box) -> ssl.SSLContext:
    """A client's context that trusts the box's certificate alone."""
    assert box.cert is not None
    return ssl.create_default_context(cafile=str(box.cert[0]))


def test_s60_over_tls_the_cookie_is_secure_and_browsers_stay_with_it(tls: Box) -> None:
    with httpx.Client(base_url=tls.url, verify=trust(tls), trust_env=False) as client:
        answer = client.post(f"{API}/session", json={"name": "ed", "password": PASSWORD})
    assert answer.status_code == 200
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "max-age" in answer.headers["strict-transport-security"]


@pytest.mark.parametrize(
    ("version", "works"),
    [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
def test_s60_newer_versions_work(tls: Box, version: ssl.TLSVersion, works: bool) -> None:
    context = trust(tls)
    context.minimum_version = context.maximum_version = version
    assert handshake(tls, context) is works


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_s60_older_versions_do_not(tls: Box, version: str) -> None:
    context = trust(tls)
    context.set_ciphers("ALL:@SECLEVEL=0")
    try:
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    except ValueError:
        pytest.skip("this OpenSSL cannot even ask for it")
    assert handshake(tls, context) is False


def handshake(box: Box, context: ssl.SSLContext) -> bool:
    """Whether a client with this context is let in."""
    port = int(box.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
                return wrapped.version() is not None
        except (ssl.SSLError, ConnectionError):
            return False


def test_s60_plain_http_gets_no_page(tls: Box) -> None:
    with pytest.raises(httpx.HTTPError), httpx.Client(trust_env=False) as client:
        client.get(tls.url.replace("https", "http") + "/login")


def test_s60_a_pair_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path / "a")
    _, key = certificate(tmp_path / "b")
    with pytest.raises(StartError, match="cannot be used"):
        server_context(cert, key)


def test_the_names_of_a_certificate_are_those_it_answers_to(tmp_path: Path) -> None:
    assert names_in(certificate(tmp_path)[0]) == {"box.example", "127.0.0.1"}


def test_s71_what_people_do_is_written_down(box: Box) -> None:
    with box.client("dora") as client, box.client("ada") as admin:
        etag = client.get(f"{API}/flows/ticks").headers["etag"]
        client.post(f"{API}/flows/ticks/deploy", json={"etag": etag})
        client.post(f"{API}/flows/ticks/nodes/tick/inject", json={})
        client.put(f"{API}/secrets/x", json={"value": "planted"})
        told = admin.get(f"{API}/audit").json()
        assert client.get(f"{API}/audit").status_code == 403
    said = [(entry["who"], entry["what"], entry["flow"]) for entry in told["entries"]]
    assert said[:3] == [
        ("dora", "secret x stored", ""),
        ("dora", "injected into tick", "ticks"),
        ("dora", "deployed", "ticks"),
    ]
    assert told["whole"] is True
    assert len(told["entries"][2]["after"]) == 64
    assert "planted" not in str(told)


@pytest.mark.parametrize(
    "harm",
    [
        "update audit set who = 'nobody' where n = 2",
        "delete from audit where n = 2",
        "update audit set digest = 'x' where n = 2",
        "insert into audit values (9, '', 'x', 'x', '', '', '', '')",
    ],
)
def test_s71_what_was_tampered_with_shows(tmp_path: Path, harm: str) -> None:
    people = People(tmp_path, hasher=CHEAP)
    for number in range(4):
        people.note("ada", f"thing {number}")
    assert people.audit(10)[1] is None
    with sqlite3.connect(people.path) as db:
        if not harm.startswith("insert"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(harm)
        for name in ("audit_is_kept", "audit_stays"):
            db.execute(f"drop trigger {name}")
        db.execute(harm)
    db.close()
    assert people.audit(10)[1] in {2, 3, 5}
    people.close()


def test_s76_the_editor_calls_nobody(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    own = ("127.0.0.1", "::1", "localhost")

    def look(event: str, given: tuple[Any, ...]) -> None:
        if is_on and event == "socket.connect" and given[1][0] not in own:
            called.append(given[1])
        if is_on and event == "socket.getaddrinfo" and given[0] not in own:
            called.append(given[0])

    is_on = True
    import sys  # noqa: PLC0415

    sys.addaudithook(look)
    try:
        with box.client("ada") as client:
            for path in ("/", "/flows/ticks", "/help", f"{API}/meta", f"{API}/node-types"):
                assert client.get(path).status_code == 200
    finally:
        is_on = False
    assert called == []
