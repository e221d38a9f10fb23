"""The way to the storage nodes: an HTTP/1.1 client made for relaying, with its own pool."""

from proxy.upstream.errors import (
    Aborted,
    ConnectError,
    ConnectTimeout,
    LocalProtocolError,
    PoolTimeout,
    ReadTimeout,
    RemoteProtocolError,
    UpstreamError,
    WriteTimeout,
)
from proxy.upstream.exchange import Exchange
from proxy.upstream.origin import Limits, Origin, Timeouts
from proxy.upstream.transport import Upstream

__all__ = [
    "Aborted",
    "ConnectError",
    "ConnectTimeout",
    "Exchange",
    "Limits",
    "LocalProtocolError",
    "Origin",
    "PoolTimeout",
    "ReadTimeout",
    "RemoteProtocolError",
    "Timeouts",
    "Upstream",
    "UpstreamError",
    "WriteTimeout",
]
