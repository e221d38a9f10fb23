"""Where requests go, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Origin:
    """A node's scheme, host and port, and the address that its name is pinned to.

    With `address` no name is ever resolved again, so that a name cannot come to mean another machine after
    it was checked (protocol, rule 21); TLS still asks for `host` and verifies it.
    """

    scheme: str
    host: str
    port: int
    address: str | None = None
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.scheme not in ("http", "https"):
            raise ValueError("a node's scheme is http or https")
        # Connections are looked up by it for every request.
        object.__setattr__(self, "_hash", hash((self.scheme, self.host, self.port, self.address)))

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds, each for one wait: `read` and `write` begin anew whenever the node moves."""

    connect: float = 5.0
    read: float = 60.0
    write: float = 60.0
    pool: float = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a node may cost (protocol, rule 21).

    `connections` per origin, busy and idle; `keep_alive` seconds that an idle one is kept, which should be
    less than the node's own (MinIO's is 30 s); `head_bytes` and `headers` of one answer, interim answers
    and trailers included; `buffer_bytes` of an answer's body that are read ahead of its consumer;
    `write_high_bytes` of a request that may wait in this process when its source is pulled again, beside
    the rest of the last chunk.
    """

    connections: int = 256
    keep_alive: float = 15.0
    head_bytes: int = 64 * 1024
    headers: int = 256
    buffer_bytes: int = 256 * 1024
    write_high_bytes: int = 256 * 1024
