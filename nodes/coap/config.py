"""The settings of the CoAP family: where to listen, whom to ask, what to take and send."""

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from flowengine import NodeConfig, SinkConfig, SourceConfig
from flowengine.errors import describe_value
from flowengine.fields import (
    Duration,
    Host,
    Port,
    SecretField,
    Size,
    TemplateField,
    UriTemplate,
    connection,
    fault,
)
from flowengine.nodes.coap.paths import PathPattern

Decode = Literal["auto", "json", "text", "bytes", "cbor"]
Method = Literal["POST", "PUT", "PATCH", "IPATCH", "DELETE"]
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})*")


def _pattern(value: Any) -> PathPattern:
    if isinstance(value, PathPattern):
        return value
    if not isinstance(value, str):
        raise fault("bad-value", f"{describe_value(value)} is not text.", "Put it in quotes.")
    try:
        return PathPattern(value)
    except ValueError as err:
        raise fault("bad-value", f"{err}.") from err


PathField = Annotated[
    Any, PlainValidator(_pattern), WithJsonSchema({"type": "string", "format": "coap-path"})
]
"""A path with holes, `/telemetry/{device}`; a `PathPattern` in the node."""


class DtlsConfig(NodeConfig):
    """DTLS with a key that both sides know (PSK, RFC 7252 §9.1.3.1). Needs the extra `coaps`."""

    identity: str = Field(min_length=1, description="The name that goes with the key.")
    psk: SecretField = Field(description="The key, as text.")


class OscoreConfig(NodeConfig):
    """OSCORE (RFC 8613): messages protected end to end. Needs the extra `oscore` or `coaps`."""

    sender: str = Field(description="Our id, hexadecimal, at most 7 bytes; the peer's recipient.")
    recipient: str = Field(description="The peer's id, hexadecimal; the peer's sender.")
    master: SecretField = Field(description="The master secret, hexadecimal, 16 bytes or more.")
    salt: str = Field(default="", description="The master salt, hexadecimal.")

    @model_validator(mode="after")
    def _ids(self) -> Self:
        for name in ("sender", "recipient", "salt"):
            value = getattr(self, name)
            if not _HEX.fullmatch(value):
                raise fault(
                    "bad-value", f'{name} "{value}" is not hexadecimal.', 'Write it as "01af".'
                )
            if name != "salt" and len(value) > 14:
                raise fault("bad-value", f'{name} "{value}" has more than 7 bytes.')
        if self.sender.lower() == self.recipient.lower():
            raise fault("bad-value", "sender and recipient are the same.", "Give each side its id.")
        return self


class _SecureConfig(NodeConfig):
    dtls: DtlsConfig | None = Field(default=None, description="Encrypt the link.")
    oscore: OscoreConfig | None = Field(default=None, description="Protect every message.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.dtls is not None and self.oscore is not None:
            raise fault("bad-value", "dtls and oscore are both set.", "Choose one.")
        return self


class ListenConfig(_SecureConfig):
    """Where devices reach us. With `dtls` or `oscore`, nothing unprotected is answered."""

    bind: Host = Field(default="127.0.0.1", description="The address of this box to listen on.")
    port: Port | None = Field(
        default=None, description="UDP port; 5683, or 5684 with `dtls`, if left out."
    )
    max_size: Size = Field(default="1MB", description="The largest request that is taken.")
    max_rate: int = Field(
        default=1000, ge=1, description="Datagrams a second from one address; more are dropped."
    )


class PeerConfig(_SecureConfig):
    """A device or server that is asked."""

    host: Host = Field(description="Its name or address.")
    port: Port | None = Field(
        default=None, description="UDP port; 5683, or 5684 with `dtls`, if left out."
    )
    timeout: Duration = Field(default="30s", description="Longest wait for one answer.")


class ServerConfig(SourceConfig):
    """Which path of the listener, and how its requests are read."""

    server: str = connection("coap.listen", description="The listener.")
    path: PathField = Field(
        description="As /telemetry/{device}; a hole takes one segment, found in meta.path."
    )
    methods: list[Method] = Field(
        default=["POST", "PUT"], min_length=1, description="The methods that are taken in."
    )
    observable: bool = Field(
        default=False, description="GET gives the newest payload; observers are told of each."
    )
    decode: Decode = Field(
        default="auto", description="How payloads are read; `auto` goes by their Content-Format."
    )


class _TargetConfig(NodeConfig):
    """A peer, or a uri in its place."""

    peer: str | None = connection("coap.peer", description="The peer.", optional=True)

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        uri, path = getattr(self, "uri", None), getattr(self, "path", None)
        if (self.peer is None) == (uri is None):
            raise fault(
                "missing-field" if uri is None else "bad-value",
                "give either a peer or a uri.",
                'As "peer": "valve" with "path": "/state", or "uri": "coap://10.0.0.7/state".',
            )
        if uri is not None and path is not None:
            raise fault("bad-value", "the uri has its own path.", 'Leave "path" out.')
        return self


class ObserveConfig(_TargetConfig, SourceConfig):
    """What to observe."""

    uri: str | None = Field(default=None, description="As coap://10.0.0.7/temperature.")
    path: str | None = Field(default=None, description="The path at the peer, as /temperature.")
    interval: Duration = Field(
        default="60s", description="How often a peer is asked that cannot be observed."
    )
    decode: Decode = Field(
        default="auto", description="How payloads are read; `auto` goes by their Content-Format."
    )

    @model_validator(mode="after")
    def _readable(self) -> Self:
        if self.uri is not None and (wrong := uri_fault(self.uri)):
            raise fault("bad-value", wrong)
        if self.path is not None and not self.path.startswith("/"):
            raise fault("bad-value", f'"{self.path}" does not start with a slash.')
        return self


class RequestConfig(_TargetConfig, SinkConfig):
    """What to ask, of whom."""

    uri: UriTemplate | None = Field(
        default=None, description="As coap://{payload.host}/state; holes are percent-encoded."
    )
    path: UriTemplate | None = Field(
        default=None, description="Path (and query) at the peer, as /state/{key}; / if left out."
    )
    method: Literal["GET", "POST", "PUT", "DELETE", "PATCH", "IPATCH", "FETCH"] = Field(
        default="POST", description="The method; GET and DELETE send no payload."
    )
    confirmable: bool = Field(
        default=True, description="Repeat until it is answered; false: sent once, no response."
    )
    encode: Decode = Field(default="auto", description="How the payload is written.")
    payload: TemplateField | None = Field(
        default=None, description="Text sent in place of the payload."
    )
    content_format: int | None = Field(
        default=None, ge=0, le=65535, description="Content-Format number; by `encode` if left out."
    )
    timeout: Duration = Field(
        default="30s", description="Longest wait for one answer; a peer has its own."
    )

    @model_validator(mode="after")
    def _one_by_one(self) -> Self:
        if self.batch is not None and self.batch.size != 1:
            raise fault(
                "bad-value", "a CoAP request carries one message.", 'Leave "batch.size" at 1.'
            )
        return self


def uri_fault(uri: str) -> str:
    """What is wrong with a URI that is asked without a peer; empty if nothing."""
    try:
        parts = urlsplit(uri)
        has_port = parts.port != 0
    except ValueError:
        return f"{describe_value(uri)} is no URI: its port is no number."
    if parts.scheme == "coaps":
        return "coaps:// needs a key: use a coap.peer with dtls."
    if parts.scheme != "coap" or not parts.hostname or not has_port:
        return f"{describe_value(uri)} is no URI: write coap://host/path."
    if parts.username or parts.password or parts.fragment:
        return f"{describe_value(uri)} holds a user, a password or a fragment: CoAP has none."
    return ""
