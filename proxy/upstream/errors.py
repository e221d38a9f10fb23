"""What can go wrong on the way to a node, one class a phase, as httpx names them."""

from __future__ import annotations

import httpx


class UpstreamError(httpx.TransportError):
    """No whole answer came.

    `body_sent` tells whether the request's final body byte (for empty bodies: its headers) may have been
    handed to the socket: `False` is certain, so that nothing can have been stored; `True` means that it may
    have been.
    """

    def __init__(self, message: str, *, body_sent: bool = False) -> None:
        super().__init__(message)
        self.body_sent = body_sent


class ConnectError(UpstreamError, httpx.ConnectError):
    """The node cannot be reached: no address, no listener, or no TLS that we trust."""


class ConnectTimeout(UpstreamError, httpx.ConnectTimeout):
    """The connection, TLS included, was not made in time."""


class PoolTimeout(UpstreamError, httpx.PoolTimeout):
    """All connections to the origin stayed in use."""


class WriteTimeout(UpstreamError, httpx.WriteTimeout):
    """The node stopped taking the request's body."""


class ReadTimeout(UpstreamError, httpx.ReadTimeout):
    """The node stopped sending, or never began to answer."""


class RemoteProtocolError(UpstreamError, httpx.RemoteProtocolError):
    """The node hung up before its answer was whole, or sent what is not HTTP/1.1 within our bounds."""


class LocalProtocolError(UpstreamError, httpx.LocalProtocolError):
    """The request cannot be sent as it was given: our own mistake, and nothing of it counts as whole."""


class Aborted(UpstreamError):
    """The exchange was cut by `Exchange.abort`."""
