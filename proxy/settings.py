"""The proxy's settings, read from the environment (`WIO_…`)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from proxy.document_room import DOCUMENT_ROOM
from proxy.s3.plan import DOCUMENT_BYTES
from quota import LiveSettings


class ProxySettings(LiveSettings):
    """What one proxy needs to know; each field is `WIO_` and its name in capitals."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(9000, ge=0, le=65535, description="Port to listen on.")
    workers: int = Field(1, ge=1, le=256, description="Processes, each with its own event loop.")
    public_url: str = Field(
        "", description="How clients reach the proxy, where TLS ends before it; https makes cookies Secure."
    )
    domains: tuple[str, ...] = Field(
        (), description='Domains for virtual-host style, as JSON: ["s3.example.org"].'
    )
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM) to serve https with.")
    tls_key: Path | None = Field(None, description="Its private key (PEM).")
    node_ca: Path | None = Field(None, description="Authorities (PEM) that sign the nodes' certificates.")
    node_connections: int = Field(512, ge=1, description="Connections to one node, per worker.")
    node_read_seconds: float = Field(60.0, gt=0, description="How long a node may be silent.")
    redis_timeout_seconds: float = Field(1.5, gt=0, description="How long Redis may be silent.")
    transfers_per_credential: int = Field(
        512, ge=1, description="Requests of one credential at once, per worker."
    )
    held_bytes_per_credential: int = Field(
        0, ge=0, description="Bytes one credential may have in the making at once, per worker; 0 = any."
    )
    document_room_bytes: int = Field(
        DOCUMENT_ROOM,
        ge=max(DOCUMENT_BYTES.values()),
        description="Bytes of documents read at once, per worker.",
    )
    refusal_seconds: float = Field(
        2.0, ge=0, description="How long a refused upload is read and dropped before its connection closes."
    )
    access_log: bool = Field(True, description="One structured line a request, on standard output.")
    # Acted upon in `proxy.compiled`, before there are settings; here it is checked, and told.
    compiled: Literal["auto", "never"] = Field(
        "auto", description="auto runs the compiled hot path where there is one, never the plain one."
    )
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")
