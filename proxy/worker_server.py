"""uvicorn's server, told when it is ready and how to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Final

from uvicorn.config import Config
from uvicorn.server import Server

from proxy.server.protocol import WioHttpProtocol

#: For requests that were cancelled, to let go of what they hold.
_CANCEL_SECONDS: Final = 2.0
_LIFESPAN_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.02


class WorkerServer(Server):
    """Serves until SIGTERM or SIGINT, which do not end the process by themselves.

    At shutdown no connection is accepted any more, requests under way have `grace_seconds`, then are
    cancelled and awaited, then all connections are cut; last comes the application's own shutdown, while
    nothing else runs.
    """

    def __init__(self, config: Config, *, grace_seconds: float, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._grace_seconds = grace_seconds
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop in order; see the class."""
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        await self._wait(self._grace_seconds, lambda: bool(state.connections or state.tasks))
        for task in list(state.tasks):
            task.cancel()
        await self._wait(_CANCEL_SECONDS, lambda: bool(state.tasks))
        for connection in list(state.connections):
            if isinstance(connection, WioHttpProtocol):
                connection.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LIFESPAN_SECONDS):
                await self.lifespan.shutdown()

    async def _wait(self, seconds: float, is_busy: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while is_busy() and not self.force_exit and loop.time() < until:  # noqa: ASYNC110 -- uvicorn tells no one
            await asyncio.sleep(_POLL_SECONDS)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; a second SIGINT cuts the grace short. uvicorn would raise them again
        at the end.
        """
        handled = (signal.SIGTERM, signal.SIGINT)
        before = {sig: signal.signal(sig, self.handle_exit) for sig in handled}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)
