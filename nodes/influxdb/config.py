"""The settings of the InfluxDB family: the server, what is written, what is asked."""

import re
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from flowengine import NodeConfig, SinkConfig
from flowengine.errors import describe_value
from flowengine.fields import (
    Duration,
    ExpressionField,
    PathField,
    SecretField,
    TemplateField,
    connection,
    fault,
)
from flowengine.nodes.influxdb.lineprotocol import Precision

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class TlsConfig(NodeConfig):
    """How an https server is known, and how we make ourselves known to it."""

    ca: str | None = Field(
        default=None, description="File of the authority; the system's if left out."
    )
    cert: str | None = Field(default=None, description="File of our own certificate.")
    key: str | None = Field(default=None, description="File of its private key.")
    key_password: SecretField | None = Field(default=None, description="Password of the key.")


class InfluxServerConfig(NodeConfig):
    """Where the server is and how it lets us in."""

    url: str = Field(description="As http://localhost:8086 or https://influx.example.")
    org: str = Field(default="", description="The organisation (version 2).")
    bucket: str = Field(
        default="", description="Where nodes write that name none; version 1: database/policy."
    )
    token: SecretField | None = Field(
        default=None, description="API token; for version 1 user:password, or none."
    )
    tls: TlsConfig | None = Field(default=None, description="For https beside the usual.")
    timeout: Duration = Field(default="10s", description="For one request.")
    version: Literal["2", "1"] = Field(default="2", description="Which API the server speaks.")
    compress: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Compress bodies of 8 kB and more; auto: not when the server is on this box.",
    )

    @field_validator("url")
    @classmethod
    def _url_is_plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise fault("bad-value", f"{describe_value(url)} is no URL.", "Write http://host:8086.")
        if parts.username or parts.password:
            raise fault(
                "literal-secret", "the url holds a password in plain text.", 'Use "token" for it.'
            )
        if parts.query or parts.fragment:
            raise fault("bad-value", "the url goes on behind its path.", "Write http://host:8086.")
        return url.rstrip("/")


class InfluxWriteConfig(SinkConfig):
    """What becomes of a message in the database."""

    server: str = connection("influxdb.server", description="The server.")
    bucket: str | None = Field(
        default=None, description="The bucket; the connection's if left out."
    )
    measurement: TemplateField = Field(description="Name of the measurement.")
    tags: dict[str, ExpressionField] = Field(
        default_factory=dict, description="Labels; what is null, absent or empty is left out."
    )
    fields: dict[str, ExpressionField] = Field(
        min_length=1, description="Values; what is null or absent is left out."
    )
    integers: list[str] = Field(
        default=[], description="Fields written as integers; other numbers are floats."
    )
    time: ExpressionField = Field(
        default="time", description="Seconds since 1970 or RFC 3339 text; the message's time."
    )
    precision: Precision = Field(
        default="ns", description="Keep ns unless the payload brings its own time."
    )

    @model_validator(mode="after")
    def _names_can_be_written(self) -> Self:
        for name in (*self.tags, *self.fields):
            if name in {"", "time"} or "\\" in name:
                raise fault(
                    "bad-value",
                    f'"{name}" is no name for a tag or field: the server would drop it.',
                    "Choose a name that is not time and has no backslash.",
                )
        for name in self.integers:
            if name not in self.fields:
                raise fault(
                    "bad-value",
                    f'"integers" names "{name}", which is no field.',
                    f"The fields are {', '.join(self.fields)}.",
                )
        return self


class InfluxQueryConfig(SinkConfig):
    """What to ask for."""

    server: str = connection("influxdb.server", description="The server.")
    bucket: str | None = Field(
        default=None, description="The database (InfluxQL); the connection's if left out."
    )
    language: Literal["influxql", "flux"] = Field(description="The language of the query.")
    query: str | list[str] = Field(
        description="Text or lines. Never put values into it: name them in params."
    )
    params: dict[str, ExpressionField] = Field(
        default_factory=dict, description="Bound values: $name in InfluxQL, name in Flux."
    )
    into: PathField = Field(default="payload", description="Where the rows go.")
    each: bool = Field(default=False, description="One message a row, in place of a list.")

    @model_validator(mode="after")
    def _params_are_names(self) -> Self:
        for name in self.params:
            if not _NAME.fullmatch(name):
                raise fault(
                    "bad-value",
                    f'"{name}" is no name for a parameter.',
                    "Use letters, digits and _.",
                )
        return self
