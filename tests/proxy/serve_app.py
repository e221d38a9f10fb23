"""A process for test_workers: serves a small application with `proxy.workers`; options are JSON in argv."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from typing import Any

from proxy.workers import ServeError, ServeOptions, serve


def make_app(mode: str) -> Any:
    """Return an application; `mode` says what is wrong with it."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            if mode == "fails":
                await send({"type": "lifespan.startup.failed", "message": "no"})
                return
            if mode == "dies":
                os._exit(9)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            sys.stderr.write("lifespan over\n")
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/crash":
            os._exit(7)
        if scope["path"] == "/slow":
            await asyncio.sleep(0.5)
        if scope["path"] == "/stuck":
            try:
                await asyncio.sleep(1000)
            finally:
                sys.stderr.write("stuck was cancelled\n")
        size = scope["path"][1:]
        body = b"x" * int(size) if size.isdigit() else str(os.getpid()).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for start in range(0, len(body), 100_000):
            piece = body[start : start + 100_000]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(message)s")
    given = json.loads(sys.argv[1])
    mode = given.pop("mode", "")
    try:
        sys.exit(serve(ServeOptions(**given), lambda: make_app(mode)))
    except ServeError as error:
        sys.exit(str(error))
