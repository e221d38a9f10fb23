"""A node that plays what a test tells it, byte by byte."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from proxy.upstream import Origin

Play = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The node's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """Read a request's head."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def body(self, size: int) -> bytes:
        return await self.reader.readexactly(size)

    async def say(self, data: bytes) -> None:
        if self.writer.transport.is_closing():
            # uvloop's transports raise RuntimeError.
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    def hang_up(self) -> None:
        """Close with FIN."""
        self.writer.close()

    def reset(self) -> None:
        """Close with RST."""
        handle: socket.socket = self.writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def until_gone(self) -> type[Exception] | None:
        """Wait for the other side's end: `None` after FIN, `ConnectionResetError` after RST."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError as error:
            return type(error)
        return None


@dataclass
class Node:
    origin: Origin
    peers: list[Peer] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


@asynccontextmanager
async def node(play: Play) -> AsyncIterator[Node]:
    """A server on which each connection is handed to `play`; what `play` raises fails the test."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        peer = Peer(reader, writer)
        served.peers.append(peer)
        try:
            await play(peer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        except BaseException as error:
            served.errors.append(error)
            raise
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    served = Node(Origin("http", "127.0.0.1", port))
    try:
        yield served
    finally:
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        server.close()
        await server.wait_closed()
    assert not served.errors


def playing(*answers: bytes) -> Play:
    """Answer each request without a body by the next of `answers`, on every connection from the first on."""

    async def play(peer: Peer) -> None:
        for answer in answers:
            await peer.head()
            await peer.say(answer)
        await peer.until_gone()

    return play


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
