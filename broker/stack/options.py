"""What `wio up` was asked for, and the URLs that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Node:
    """The S3 server that stores the data: the embedded MinIO, or the one that `--node` names."""

    name: str
    endpoint: str
    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Options:
    """What `wio up` was asked for. `node` None runs the embedded MinIO."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 9000
    console_port: int = 9001
    workers: int = 1
    public_url: str | None = None
    node: Node | None = None

    @property
    def endpoint_url(self) -> str:
        """Where S3 clients reach the proxy."""
        return self.public_url or f"http://{self._reachable}:{self.port}"

    @property
    def console_url(self) -> str:
        """Where the broker answers."""
        return f"http://{self._reachable}:{self.console_port}"

    @property
    def proxy_url(self) -> str:
        """Where the proxy answers this machine, whatever its public URL."""
        return f"http://{self._reachable}:{self.port}"

    @property
    def _reachable(self) -> str:
        if self.host in ("0.0.0.0", "::", ""):  # noqa: S104 - asked about, not bound to
            return "127.0.0.1"
        return f"[{self.host}]" if ":" in self.host else self.host
