"""The way in: HTTP/1.1 from S3 clients to ASGI, bounded, and able to cut."""

from proxy.server.cycle import Connection
from proxy.server.errors import ClientDisconnected
from proxy.server.limits import ServerLimits
from proxy.server.protocol import WioHttpProtocol, make_protocol

__all__ = ["ClientDisconnected", "Connection", "ServerLimits", "WioHttpProtocol", "make_protocol"]
