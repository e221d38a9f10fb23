"""One frozen value with every setting; each is read from the environment as `WIO_NAME`."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from quota import LiveSettings


class Settings(LiveSettings):
    """The broker's settings, on top of those of the live state."""

    #: SQLAlchemy URL: sqlite+aiosqlite:///PATH or postgresql+asyncpg://…
    database_url: str = Field("sqlite+aiosqlite:///wio.db", repr=False)
    #: Networks, comma-separated, in which nodes may live though loopback, private or link-local (rule 21).
    allowed_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    #: Where clients reach the proxy; links and hints are built from it.
    public_url: str = "http://127.0.0.1:9000"
    #: Where people reach the broker.
    console_url: str = "http://127.0.0.1:9001"
    host: str = "127.0.0.1"
    port: int = Field(default=9001, ge=0, le=65535)
    #: Certificate chain and private key (PEM) to serve https with; a chain may hold its key.
    tls_cert: Path | None = None
    tls_key: Path | None = None
    #: OpenID Connect issuer whose tokens AssumeRoleWithWebIdentity takes; None: refused.
    oidc_issuer: str | None = None
    #: The audience (client id) that such a token must name.
    oidc_audience: str | None = None
    #: Seconds that a fetched key set is used before it is fetched again.
    oidc_refresh_seconds: float = Field(default=300.0, gt=0)
    #: Seconds between two looks at the live state's epoch.
    monitor_seconds: float = Field(default=0.5, gt=0)
    #: Seconds between two snapshots of usage in SQL, from which a lost Redis starts again.
    snapshot_seconds: float = Field(default=30.0, gt=0)
    #: Days in which every workspace is recounted once, one after the other.
    recount_days: float = Field(default=7.0, gt=0)
    #: Days after which a multipart upload that nobody completed is aborted and freed.
    upload_days: float = Field(default=7.0, gt=0)
    #: Largest body of a request to the broker, in bytes.
    max_body_bytes: int = Field(default=1 << 20, gt=0)
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")

    @field_validator("database_url")
    @classmethod
    def _is_a_database(cls, value: str) -> str:
        try:
            known = make_url(value).drivername in ("sqlite+aiosqlite", "postgresql+asyncpg")
        except (ArgumentError, ValueError):
            known = False
        if not known:
            raise ValueError("it must be sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER@HOST/NAME")
        return value

    @field_validator("allowed_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        )
