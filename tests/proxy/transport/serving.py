"""An application behind the server's protocol, and a raw client in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import uvicorn

from proxy.server import ServerLimits, make_protocol
from proxy.worker_server import WorkerServer

App = Callable[[Any, Any, Any], Awaitable[None]]
Start = Callable[..., Awaitable["Client"]]


class Client:
    """A raw connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.reader = reader
        self.writer = writer
        self.port = port
        self.received = 0

    async def trickle(self, seconds: float) -> None:
        """Send a byte from time to time, for ever."""
        while True:
            await self.say(b"x")
            await asyncio.sleep(seconds)

    async def say(self, data: bytes) -> None:
        if self.writer.transport.is_closing():
            # uvloop's transports raise RuntimeError.
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def answer(self) -> tuple[int, bytes]:
        """Read one response with a content-length."""
        head = await self.head()
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        async with asyncio.timeout(5):
            return int(head.split()[1]), await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Read to the end; raises `ConnectionResetError` where that is a reset."""
        async with asyncio.timeout(8):
            parts = []
            while data := await self.reader.read(1 << 20):
                parts.append(data)
                self.received += len(data)
            return b"".join(parts)

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        await self.say(request)
        return await self.answer()


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    async with contextlib.AsyncExitStack() as stack:

        async def start(app: App, **limits: Any) -> Client:
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            config = uvicorn.Config(
                app,
                http=make_protocol(replace(ServerLimits(), **limits)),
                lifespan="off",
                log_config=None,
                proxy_headers=False,
                server_header=False,
                access_log=False,
            )
            ready = asyncio.Event()
            server = WorkerServer(config, grace_seconds=0.2, on_ready=ready.set)
            task = asyncio.create_task(server.serve(sockets=[listener]))
            await ready.wait()

            async def stop() -> None:
                server.should_exit = True
                await task
                assert not server.server_state.connections
                assert not server.server_state.tasks

            stack.push_async_callback(stop)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            client = Client(reader, writer, port)
            client.server = server  # type: ignore[attr-defined]
            return client

        yield start
