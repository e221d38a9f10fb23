"""What the transport makes of answers: framing, bounds, cuts, and bytes that come in any pieces."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.upstream import Exchange, Limits, Origin, RemoteProtocolError, Timeouts, Upstream
from proxy.upstream.connection import Connection
from tests.proxy.transport.scripted import OK, Node, Peer, node, playing

HOST = [(b"host", b"node")]


async def get(upstream: Upstream, at: Node, method: bytes = b"GET", **more: Any) -> Exchange:
    return await upstream.exchange(at.origin, method, b"/b/k", HOST, **more)


async def read(exchange: Exchange) -> bytes:
    return b"".join([chunk async for chunk in exchange])


async def test_a_known_length(upstream: Upstream) -> None:
    async with node(playing(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 5\r\n\r\nhello', OK)) as at:
        exchange = await get(upstream, at)
        assert exchange.status == 200
        assert exchange.headers == [(b"etag", b'"x"'), (b"content-length", b"5")]
        assert exchange.body_sent
        assert await read(exchange) == b"hello"
        assert await read(await get(upstream, at)) == b"ok"
        assert len(at.peers) == 1


async def test_chunks_and_trailers(upstream: Upstream) -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nT: 1\r\n\r\n"
    )
    async with node(playing(answer, OK)) as at:
        exchange = await get(upstream, at)
        assert await read(exchange) == b"hello"
        assert (b"t", b"1") not in exchange.headers
        assert await read(await get(upstream, at)) == b"ok"
        assert len(at.peers) == 1


@pytest.mark.parametrize(
    ("method", "head"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 404 Not Found\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 70000\r\n\r\n"),
        (b"DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
async def test_no_body(upstream: Upstream, method: bytes, head: bytes) -> None:
    async with node(playing(head, OK)) as at:
        exchange = await get(upstream, at, method)
        assert await read(exchange) == b""
        assert exchange.is_complete
        assert await read(await get(upstream, at)) == b"ok"
        assert len(at.peers) == 1


async def test_interim_answers_are_passed_over(upstream: Upstream) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with node(playing(interim + OK, OK)) as at:
        exchange = await get(upstream, at)
        assert (exchange.status, exchange.headers) == (200, [(b"content-length", b"2")])
        assert await read(exchange) == b"ok"


async def test_connection_close_is_obeyed(upstream: Upstream) -> None:
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with node(playing(answer)) as at:
        for _ in range(2):
            assert await read(await get(upstream, at)) == b"ok"
        assert len(at.peers) == 2


async def test_bytes_after_the_answer_end_the_connection(upstream: Upstream) -> None:
    async with node(playing(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", OK)) as at:
        for _ in range(2):
            assert await read(await get(upstream, at)) == b"ok"
        assert len(at.peers) == 2


async def test_a_head_answer_with_a_body_ends_the_connection(upstream: Upstream) -> None:
    async with node(playing(OK)) as at:
        for _ in range(2):
            assert await read(await get(upstream, at, b"HEAD")) == b""
        assert len(at.peers) == 2


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 150_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nwho knows whether this is all",
        b"HTTP/1.0 200 OK\r\n\r\nwho knows whether this is all",
    ],
)
@pytest.mark.parametrize("ending", ["hang_up", "reset"])
async def test_a_short_body_is_never_taken_for_whole(upstream: Upstream, cut: bytes, ending: str) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(cut)
        if ending == "reset":
            await asyncio.sleep(0.05)
        getattr(peer, ending)()

    async with node(play) as at:
        exchange = await get(upstream, at)
        with pytest.raises(RemoteProtocolError) as caught:
            await read(exchange)
        assert caught.value.body_sent


async def test_an_error_may_end_with_its_connection(upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.0 502 Bad Gateway\r\n\r\nsorry")
        peer.hang_up()

    async with node(play) as at:
        exchange = await get(upstream, at)
        assert (exchange.status, await read(exchange)) == (502, b"sorry")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3000,
        b"",
    ],
)
async def test_what_is_not_an_answer_within_bounds(upstream: Upstream, answer: bytes) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(answer)
        await asyncio.sleep(0.1)

    async with node(play) as at:
        with pytest.raises(RemoteProtocolError) as caught:
            await get(upstream, at)
        assert caught.value.body_sent
        assert not upstream._connections


async def test_trailers_are_bounded(upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"A: b\r\n" * 40_000)
        await peer.until_gone()

    async with node(play) as at:
        with pytest.raises(RemoteProtocolError):
            await read(await get(upstream, at))


async def test_a_lagging_consumer_stops_the_node() -> None:
    sent = 0

    async def play(peer: Peer) -> None:
        nonlocal sent
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            await peer.say(b"x" * 100_000)
            sent += 100_000

    upstream = Upstream(limits=Limits(buffer_bytes=64 * 1024))
    async with node(play) as at:
        exchange = await get(upstream, at)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 50_000_000
        assert exchange._buffered < 1_000_000
        size = 0
        async for chunk in exchange:
            size += len(chunk)
        assert size == 100_000_000
        await upstream.aclose()


async def test_read_gives_the_whole_body_within_a_limit(upstream: Upstream) -> None:
    async with node(playing(OK)) as at:
        assert await (await get(upstream, at)).read(2) == b"ok"
    async with node(playing(OK)) as at:
        with pytest.raises(RemoteProtocolError):
            await (await get(upstream, at)).read(1)


# Split points, without sockets: the connection is fed as a transport would feed it.


class FakeTransport:
    def __init__(self) -> None:
        self.is_aborted = False

    def get_extra_info(self, name: str) -> None:
        return None

    def set_write_buffer_limits(self, high: int, low: int) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_aborted

    def write(self, data: bytes) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def abort(self) -> None:
        self.is_aborted = True


def play_pieces(pieces: list[bytes], method: bytes = b"GET") -> tuple[object, ...]:
    loop = asyncio.new_event_loop()
    try:
        released: list[Connection] = []
        connection = Connection(loop, Limits(), released.append, lambda _: None)
        connection.connection_made(FakeTransport())  # type: ignore[arg-type]
        exchange = Exchange(loop, connection, method, Timeouts(), 1 << 30)
        exchange.send_whole(b"GET / HTTP/1.1\r\n\r\n")
        for piece in pieces:
            if connection.exchange is None:
                break
            connection.data_received(piece)
        error = type(exchange._error)
        return (
            exchange.status,
            exchange.headers,
            b"".join(exchange._chunks),
            exchange.is_complete,
            error,
            len(released),
        )
    finally:
        loop.close()


def split(data: bytes, points: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(point % (len(data) + 1) for point in points)})
    return [data[start:end] for start, end in pairwise(edges)]


CHUNKS = b"5\r\nhello\r\n1\r\n!\r\n0\r\nT: x\r\n\r\n"
ANSWERS = [
    b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 5\r\n\r\nhello',
    b"HTTP/1.1 200 OK\r\nContent-Length: 150000\r\nX: y\r\n\r\n" + bytes(range(250)) * 600,
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    b"HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
]


@settings(deadline=None)
@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_split_points_do_not_matter(answer: bytes, points: list[int]) -> None:
    whole = play_pieces([answer])
    assert whole[3:] == (True, type(None), 1)
    assert play_pieces(split(answer, points)) == whole


@pytest.mark.parametrize("answer", [ANSWERS[0], ANSWERS[2], ANSWERS[3]])
def test_byte_by_byte(answer: bytes) -> None:
    assert play_pieces([bytes([byte]) for byte in answer]) == play_pieces([answer])


@settings(deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 1 << 20), max_size=5), st.booleans())
def test_any_bytes_are_an_answer_or_the_one_error(junk: bytes, points: list[int], with_head: bool) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + junk if with_head else junk
    _, _, _, is_complete, error, _ = play_pieces(split(data, points))
    assert error in (type(None), RemoteProtocolError)
    assert not (is_complete and error is RemoteProtocolError)


def test_the_parser_is_what_we_think() -> None:
    """A callback's exception must come as the context of a parser's error: `_parse` relies on it."""

    class Callbacks:
        def on_url(self, url: bytes) -> None:
            raise RemoteProtocolError("mine")

    with pytest.raises(httptools.HttpParserCallbackError) as caught:
        httptools.HttpRequestParser(Callbacks()).feed_data(b"GET / HTTP/1.1\r\n\r\n")
    assert isinstance(caught.value.__context__, RemoteProtocolError)


def test_origins() -> None:
    with pytest.raises(ValueError, match="scheme"):
        Origin("ftp", "h", 21)
    assert str(Origin("http", "::1", 9000)) == "http://[::1]:9000"
