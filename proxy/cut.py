"""How a connection is cut, so that the other side cannot take what it got for whole."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

#: close(2) then sends RST at once and drops what the kernel still holds.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


def cut(transport: asyncio.Transport) -> None:
    """Close with RST; nothing that is buffered, here or in the kernel, is sent (protocol, rule 14)."""
    handle = transport.get_extra_info("socket")
    # Only asyncio's own transports forget their socket once it is closed.
    if handle is not None and handle.fileno() >= 0:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
