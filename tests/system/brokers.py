"""A real MQTT broker: mosquitto, with the settings that a test asks for."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

from tests.system.authority import Authority
from tests.system.real import LOOPBACK, Program, free_port, is_listening, need


class Mosquitto(Program):
    """A running broker on `127.0.0.1:port`.

    Attributes:
        port: where it listens, kept over restarts.
        authority: issues client certificates when the broker speaks TLS, else None.
    """

    def __init__(
        self,
        folder: Path,
        *,
        persistence: bool = False,
        password: Mapping[str, str] | None = None,
        acl: str | None = None,
        tls: bool | Literal["mutual"] = False,
        max_inflight: int | None = None,
        extra: str = "",
    ) -> None:
        """Write the configuration; nothing runs before `start`.

        Args:
            folder: for configuration, data and log.
            persistence: keep sessions, retained and queued messages over a clean stop; every
                change is written at once, so also over a kill.
            password: user names and their passwords; without it everyone may connect.
            acl: text of the access list file, mosquitto.conf(5).
            tls: serve TLS; `"mutual"` also asks for a client certificate, whose common name is
                the user name and which the authority can revoke (`send(SIGHUP)` reloads).
            max_inflight: QoS 1 and 2 messages in flight to one client, 0 for no limit.
            extra: further lines of the configuration.
        """
        command = need("mosquitto")
        self.port = free_port()
        self.folder = folder
        self.authority = Authority(folder / "authority") if tls else None
        lines = [
            "per_listener_settings false",
            f"listener {self.port} {LOOPBACK}",
            # Started as root it would become the user mosquitto, who may not enter our folder.
            "user root",
            f"allow_anonymous {'false' if password or tls == 'mutual' else 'true'}",
            # A flood must arrive whole: by default more than 1,000 queued messages are dropped.
            "max_queued_messages 0",
        ]
        if persistence:
            lines += ["persistence true", f"persistence_location {folder}/"]
            lines += ["autosave_on_changes true", "autosave_interval 1"]
        if password:
            lines.append(f"password_file {_password_file(folder / 'passwords', password)}")
        if acl is not None:
            (folder / "acl").touch(mode=0o600)
            (folder / "acl").write_text(acl)
            lines.append(f"acl_file {folder / 'acl'}")
        if self.authority:
            server = self.authority.issue("server", server=True)
            lines += [f"cafile {self.authority.ca}", f"certfile {server.cert}"]
            lines += [f"keyfile {server.key}", "tls_version tlsv1.2"]
        if self.authority and tls == "mutual":
            lines += ["require_certificate true", "use_identity_as_username true"]
            lines.append(f"crlfile {self.authority.crl}")
        if max_inflight is not None:
            lines.append(f"max_inflight_messages {max_inflight}")
        config = folder / "mosquitto.conf"
        config.write_text("\n".join([*lines, extra, ""]))
        super().__init__(
            [command, "-c", str(config), "-v"],
            folder / "mosquitto.log",
            lambda: is_listening(self.port),
        )

    @property
    def subscribed(self) -> int:
        """How many subscriptions it has confirmed; what is published before one is not for it."""
        return self.log_text().count("Sending SUBACK")


class MakeMosquitto(Protocol):
    """The fixture's type: takes the settings of `Mosquitto`, returns a broker that runs."""

    def __call__(
        self,
        *,
        persistence: bool = False,
        password: Mapping[str, str] | None = None,
        acl: str | None = None,
        tls: bool | Literal["mutual"] = False,
        max_inflight: int | None = None,
        extra: str = "",
    ) -> Mosquitto:
        """Start one more broker."""


def _password_file(path: Path, passwords: Mapping[str, str]) -> Path:
    command = need("mosquitto_passwd")
    path.touch(mode=0o600)
    for user, word in passwords.items():
        subprocess.run([command, "-b", str(path), user, word], check=True, capture_output=True)
    return path
