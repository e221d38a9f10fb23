"""The server's protocol without sockets: whatever bytes come, in whatever pieces, the same requests come
out.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.config import Config
from uvicorn.server import ServerState

from proxy.server import ServerLimits, make_protocol


class FakeTransport:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_closed = False
        self.is_aborted = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name.endswith("name") else None

    def set_write_buffer_limits(self, high: int, low: int) -> None: ...

    def is_closing(self) -> bool:
        return self.is_closed

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def writelines(self, parts: tuple[bytes, ...]) -> None:
        self.written.extend(parts)

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True


async def play(pieces: list[bytes]) -> tuple[list[tuple[Any, ...]], bool]:
    """Feed the pieces; return the requests that came through whole, and whether the connection was closed."""
    seen: list[tuple[Any, ...]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        seen.append((scope["method"], scope["raw_path"], scope["query_string"], scope["headers"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    config = Config(app, log_config=None, proxy_headers=False, lifespan="off")
    state = ServerState()
    connection = make_protocol(ServerLimits())(config, state, {}, asyncio.get_running_loop())
    transport = FakeTransport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    for piece in pieces:
        if transport.is_closed:
            break
        connection.data_received(piece)
        for _ in range(12):
            await asyncio.sleep(0)
    connection.connection_lost(None)
    while state.tasks:
        await asyncio.wait(state.tasks)
    return seen, transport.is_closed


def run(pieces: list[bytes]) -> tuple[list[tuple[Any, ...]], bool]:
    return asyncio.run(play(pieces))


def split(data: bytes, points: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(point % (len(data) + 1) for point in points)})
    return [data[start:end] for start, end in pairwise(edges)]


STREAM = (
    b"PUT /b/k%20?partNumber=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 150000\r\nX-A: \xff b\r\n\r\n"
    + bytes(range(250)) * 600
    + b"PUT //k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nT: x\r\n\r\n"
    + b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    + b"HEAD /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 1 << 20), max_size=8))
def test_split_points_do_not_matter(points: list[int]) -> None:
    seen, is_closed = run(split(STREAM, points))
    assert [(method, path, query, len(body)) for method, path, query, _, body in seen] == [
        ("PUT", b"/b/k%20", b"partNumber=1", 150_000),
        ("PUT", b"//k", b"", 6),
        ("GET", b"/", b"", 0),
        ("HEAD", b"/last", b"", 0),
    ]
    assert seen[0][4] == bytes(range(250)) * 600
    assert is_closed


@settings(deadline=None, max_examples=150)
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"GET / HTTP/1.1\r\nHost: h\r\n", STREAM[:60]]), st.data()
)
def test_no_bytes_make_it_raise(junk: bytes, start: bytes, data: st.DataObject) -> None:
    pieces = split(start + junk, data.draw(st.lists(st.integers(0, 1000), max_size=4)))
    seen, _ = run(pieces)
    assert all(path.startswith(b"/") or (method, path) == ("OPTIONS", b"*") for method, path, *_ in seen)
