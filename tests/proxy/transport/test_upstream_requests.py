"""What the transport does with requests: bodies, early answers, retries, timeouts, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from proxy.upstream import (
    Aborted,
    ConnectError,
    ConnectTimeout,
    Exchange,
    LocalProtocolError,
    Origin,
    ReadTimeout,
    RemoteProtocolError,
    Timeouts,
    Upstream,
    UpstreamError,
    WriteTimeout,
)
from proxy.upstream.httpx_transport import UpstreamTransport
from tests.certificates import make_certificate
from tests.proxy.transport.scripted import OK, Peer, node, playing

HOST = [(b"host", b"node")]
BLOCK = b"x" * 65536


def of_length(size: int) -> list[tuple[bytes, bytes]]:
    return [*HOST, (b"content-length", b"%d" % size)]


class Source:
    """A request's body that notes what is done to it."""

    def __init__(self, *chunks: bytes | Callable[[], object]) -> None:
        self.chunks = chunks
        self.pulled = 0
        self.ended = ""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self.chunks:
                self.pulled += 1
                if isinstance(chunk, bytes):
                    yield chunk
                else:
                    await chunk()  # type: ignore[misc]
            self.ended = "whole"
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        except GeneratorExit:
            self.ended = "closed"
            raise


def forever() -> object:
    return asyncio.sleep(1000)


async def finish(exchange: Exchange) -> bytes:
    body = await exchange.read(1 << 20)
    await exchange.aclose()
    return body


async def test_the_request_goes_out_as_given(upstream: Upstream) -> None:
    heads: list[bytes] = []

    async def play(peer: Peer) -> None:
        while True:
            heads.append(await peer.head())
            await peer.say(OK)

    async with node(play) as at:
        headers = [(b"Host", b"a"), (b"x-amz-meta-a", b"\xff b  c"), (b"range", b"bytes=0-1")]
        await finish(await upstream.exchange(at.origin, b"GET", b"//b/../a%2fb+c?x=1&x=%20", headers))
        await finish(await upstream.exchange(at.origin, b"DELETE", b"/b", []))
        await finish(await upstream.exchange(at.origin, b"POST", b"/b?uploads", HOST))
    assert heads == [
        b"GET //b/../a%2fb+c?x=1&x=%20 HTTP/1.1\r\nHost: a\r\nx-amz-meta-a: \xff b  c\r\nrange: bytes=0-1\r\n\r\n",
        b"DELETE /b HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % at.origin.port,
        b"POST /b?uploads HTTP/1.1\r\nhost: node\r\ncontent-length: 0\r\n\r\n",
    ]


async def test_a_body_of_bytes(upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        assert await peer.head() == b"PUT /k HTTP/1.1\r\nhost: node\r\ncontent-length: 5\r\n\r\n"
        assert await peer.body(5) == b"hello"
        await peer.say(OK)

    async with node(play) as at:
        exchange = await upstream.exchange(at.origin, b"PUT", b"/k", HOST, b"hello")
        assert exchange.body_sent
        assert await finish(exchange) == b"ok"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (of_length(10), b"helloworld"),
        (HOST, b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"),
        ([*HOST, (b"transfer-encoding", b"chunked")], b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"),
    ],
)
async def test_a_streamed_body(
    upstream: Upstream, headers: list[tuple[bytes, bytes]], expected: bytes
) -> None:
    async def play(peer: Peer) -> None:
        for _ in range(2):
            head = await peer.head()
            assert head.count(b"transfer-encoding: chunked") == expected.endswith(b"\r\n")
            assert await peer.body(len(expected)) == expected
            await peer.say(OK)
        await peer.until_gone()

    async with node(play) as at:
        for _ in range(2):
            source = Source(b"hello", b"", b"world")
            exchange = await upstream.exchange(at.origin, b"PUT", b"/k", headers, aiter(source))
            assert exchange.body_sent
            assert source.ended == "whole"
            assert await finish(exchange) == b"ok"
        assert len(at.peers) == 1


async def test_an_empty_streamed_body_holds_the_head_back_until_its_end(upstream: Upstream) -> None:
    heads: list[bytes] = []

    async def play(peer: Peer) -> None:
        heads.append(await peer.head())
        await peer.say(OK)

    async with node(play) as at:

        async def check() -> None:
            await asyncio.sleep(0.05)
            assert not heads

        await finish(await upstream.exchange(at.origin, b"PUT", b"/k", of_length(0), aiter(Source(check))))
        assert heads


@pytest.mark.parametrize(
    ("chunks", "sent"), [((b"hello!",), False), ((b"hell",), False), ((b"hello", b"!"), True)]
)
async def test_a_body_that_is_not_as_long_as_said(
    upstream: Upstream, chunks: tuple[bytes, ...], sent: bool
) -> None:
    async def play(peer: Peer) -> None:
        await peer.until_gone()

    async with node(play) as at:
        with pytest.raises(LocalProtocolError) as caught:
            await upstream.exchange(at.origin, b"PUT", b"/k", of_length(5), aiter(Source(*chunks)))
        assert caught.value.body_sent is sent


@pytest.mark.parametrize(
    ("target", "headers", "body"),
    [
        (b"/a b", HOST, None),
        (b"/a\r\nx: y", HOST, None),
        (b"/", [(b"a", b"b\r\nc: d")], None),
        (b"/", [(b"a\n", b"b")], None),
        (b"/", [(b"a", b"\0")], None),
        (b"/", of_length(3), b"four"),
        (b"/", of_length(3), None),
        (b"/", [*of_length(3), *of_length(3)], b"abc"),
        (b"/", [(b"content-length", b"+3")], b"abc"),
        (b"/", [*of_length(3), (b"transfer-encoding", b"chunked")], aiter(Source(b"abc"))),
        (b"/", [(b"transfer-encoding", b"gzip")], aiter(Source(b"abc"))),
    ],
)
async def test_requests_that_are_never_sent(
    upstream: Upstream, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes | None
) -> None:
    async with node(playing(OK)) as at:
        with pytest.raises(LocalProtocolError):
            await upstream.exchange(at.origin, b"PUT", target, headers, body)
        assert not at.peers


async def test_an_exception_of_the_source_cuts_the_upload(upstream: Upstream) -> None:
    ends: list[object] = []

    async def play(peer: Peer) -> None:
        await peer.head()
        ends.append(await peer.until_gone())

    async def bad() -> None:
        await asyncio.sleep(0.05)
        raise ValueError("the signature is wrong")

    async with node(play) as at:
        with pytest.raises(ValueError, match="signature"):
            await upstream.exchange(at.origin, b"PUT", b"/k", of_length(1 << 20), aiter(Source(BLOCK, bad)))
        async with asyncio.timeout(5):
            while not ends:
                await asyncio.sleep(0.01)
        assert ends == [ConnectionResetError]


async def test_an_early_answer_stops_a_source_that_waits(upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await peer.until_gone()

    async with node(play) as at:
        source = Source(BLOCK, forever)
        exchange = await upstream.exchange(at.origin, b"PUT", b"/k", of_length(1 << 20), aiter(source))
        assert source.ended == "cancelled"
        assert exchange.status == 403
        assert await exchange.read(10) == b"no"
        assert not exchange.body_sent
        assert not upstream._connections
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_an_early_answer_to_a_node_that_does_not_read(upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await asyncio.sleep(0.1)
        await peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.sleep(10)

    async with node(play) as at:
        source = Source(*[BLOCK] * 1000)
        size = len(BLOCK) * 1000
        exchange = await upstream.exchange(at.origin, b"PUT", b"/k", of_length(size), aiter(source))
        assert (exchange.status, await exchange.read(10)) == (403, b"no")
        assert source.ended == "closed"
        assert source.pulled < 1000
        assert not exchange.body_sent


async def test_an_early_answer_survives_the_reset_after_it(upstream: Upstream) -> None:
    """The node answers and closes with our bytes unread: its RST may meet our writes before we read."""

    async def play(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()
        await peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await asyncio.sleep(0.02)
        peer.reset()

    for _ in range(20):
        async with node(play) as at:

            async def busy() -> None:
                # The loop polls nothing while the answer and the reset come in.
                time.sleep(0.06)

            source = Source(BLOCK, busy, *[BLOCK] * 100)
            exchange = await upstream.exchange(
                at.origin, b"PUT", b"/k", of_length(101 * 65536), aiter(source)
            )
            assert exchange.status == 403
            assert await exchange.read(10) == b"no"


async def test_a_source_that_swallows_the_interruption(upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK)
        await peer.until_gone()

    async def deaf() -> AsyncIterator[bytes]:
        yield BLOCK
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            yield BLOCK

    async with node(play) as at:
        exchange = await upstream.exchange(at.origin, b"PUT", b"/k", of_length(1 << 20), deaf())
        assert exchange.status == 200
        assert not exchange.body_sent
        await finish(exchange)
        await asyncio.sleep(0)


async def test_cancelled_while_the_answer_interrupts(upstream: Upstream) -> None:
    """A caller's own cancellation in the same tick as an early answer must not be swallowed with it."""
    answered = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.head()
        await answered.wait()
        await peer.say(OK)
        await peer.until_gone()

    async with node(play) as at:
        for _ in range(20):
            answered.clear()
            seen: list[Exchange] = []
            task = asyncio.create_task(
                upstream.exchange(
                    at.origin,
                    b"PUT",
                    b"/k",
                    of_length(1 << 20),
                    aiter(Source(BLOCK, forever)),
                    on_start=seen.append,
                )
            )
            while not seen or seen[0]._pulling is None or not seen[0].has_begun:
                await asyncio.sleep(0.001)
            seen[0]._interrupt()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not upstream._connections
            answered.set()


async def test_a_stale_connection_is_replaced_for_reads(upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(OK)
        await peer.head()
        peer.hang_up()

    async with node(play) as at:
        for _ in range(3):
            assert await finish(await upstream.exchange(at.origin, b"GET", b"/k", HOST)) == b"ok"
        assert len(at.peers) == 3


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"POST"])
async def test_what_may_have_been_done_is_not_done_twice(upstream: Upstream, method: bytes) -> None:
    heads = 0

    async def play(peer: Peer) -> None:
        nonlocal heads
        await peer.head()
        heads += 1
        await peer.say(OK)
        await peer.head()
        heads += 1
        peer.hang_up()

    async with node(play) as at:
        await finish(await upstream.exchange(at.origin, b"GET", b"/k", HOST))
        with pytest.raises(RemoteProtocolError) as caught:
            await upstream.exchange(at.origin, method, b"/k", HOST)
        assert caught.value.body_sent
        assert heads == 2


async def test_a_connection_known_to_be_dead_costs_no_write(upstream: Upstream) -> None:
    """The node closed it, and the event loop had no chance to notice: the socket itself is asked."""

    async def play(peer: Peer) -> None:
        while True:
            head = await peer.head()
            if b"content-length: 3" in head:
                await peer.body(3)
            await peer.say(OK)
            if head.startswith(b"GET"):
                peer.hang_up()
                return

    async with node(play) as at:
        for streamed in (False, True):
            await finish(await upstream.exchange(at.origin, b"GET", b"/k", HOST))
            connection = next(iter(upstream._connections))
            if connection._transport is not None:
                # What the loop has not polled yet.
                connection._transport.pause_reading()
            await asyncio.sleep(0.05)
            body = aiter(Source(b"abc")) if streamed else b"abc"
            exchange = await upstream.exchange(at.origin, b"PUT", b"/k", of_length(3), body)
            assert await finish(exchange) == b"ok"
            assert exchange.body_sent


async def test_a_connection_lost_before_the_first_chunk(upstream: Upstream) -> None:
    """Nothing was written, so the body goes over another connection, from its first byte."""
    bodies: list[bytes] = []

    async def play(peer: Peer) -> None:
        if len(at.peers) == 1:
            await asyncio.sleep(0.05)
            peer.hang_up()
            return
        await peer.head()
        bodies.append(await peer.body(10))
        await peer.say(OK)

    async with node(play) as at:
        source = Source(lambda: asyncio.sleep(0.15), b"hello", b"world")
        exchange = await upstream.exchange(at.origin, b"PUT", b"/k", of_length(10), aiter(source))
        assert await finish(exchange) == b"ok"
        assert bodies == [b"helloworld"]


async def test_a_node_that_closes_at_once_is_tried_twice(upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        peer.hang_up()

    async with node(play) as at:
        source = Source(lambda: asyncio.sleep(0.1), b"hello")
        with pytest.raises(UpstreamError):
            await upstream.exchange(at.origin, b"PUT", b"/k", of_length(5), aiter(source))
        assert len(at.peers) == 2


async def test_timeouts(upstream: Upstream) -> None:
    async def silent(peer: Peer) -> None:
        await peer.head()
        await peer.until_gone()

    async def halting(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        await peer.until_gone()

    async def deaf(peer: Peer) -> None:
        peer.writer.transport.pause_reading()
        await asyncio.sleep(10)

    short = Timeouts(read=0.2, write=0.2)
    async with node(silent) as at:
        with pytest.raises(ReadTimeout) as read:
            await upstream.exchange(at.origin, b"GET", b"/k", HOST, timeouts=short)
        assert read.value.body_sent
    async with node(halting) as at:
        exchange = await upstream.exchange(at.origin, b"GET", b"/k", HOST, timeouts=short)
        assert await anext(exchange) == b"hel"
        with pytest.raises(ReadTimeout):
            await anext(exchange)
    async with node(deaf) as at:
        body = aiter(Source(*[BLOCK] * 1000))
        with pytest.raises(WriteTimeout) as write:
            await upstream.exchange(at.origin, b"PUT", b"/k", of_length(65536000), body, timeouts=short)
        assert not write.value.body_sent
        with pytest.raises(ReadTimeout) as unread:
            await upstream.exchange(at.origin, b"PUT", b"/k", HOST, b"x" * 20_000_000, timeouts=short)
        assert not unread.value.body_sent


async def test_nobody_there(upstream: Upstream) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        origin = Origin("http", "127.0.0.1", closed.getsockname()[1])
    with pytest.raises(ConnectError):
        await upstream.exchange(origin, b"GET", b"/k", HOST)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        # Its backlog is full; further connections get no answer.
        clients = [socket.socket() for _ in range(4)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        origin = Origin("http", "127.0.0.1", port)
        with pytest.raises(ConnectTimeout):
            await upstream.exchange(origin, b"GET", b"/k", HOST, timeouts=Timeouts(connect=0.2))
        for client in clients:
            client.close()
    assert not upstream._connections


async def test_aborting_an_upload_from_outside(upstream: Upstream) -> None:
    ends: list[object] = []

    async def play(peer: Peer) -> None:
        await peer.head()
        ends.append(await peer.until_gone())

    async with node(play) as at:
        seen: list[Exchange] = []
        source = Source(BLOCK, forever)
        task = asyncio.create_task(
            upstream.exchange(
                at.origin, b"PUT", b"/k", of_length(1 << 20), aiter(source), on_start=seen.append
            )
        )
        while source.pulled < 2:
            await asyncio.sleep(0.01)
        seen[0].abort()
        assert not upstream._connections
        with pytest.raises(Aborted) as caught:
            await task
        assert not caught.value.body_sent
        assert source.ended == "cancelled"
        async with asyncio.timeout(5):
            while not ends:
                await asyncio.sleep(0.01)
        assert ends == [ConnectionResetError]


async def test_aborting_before_anything_was_sent(upstream: Upstream) -> None:
    async with node(playing(OK)) as at:
        for body in (None, b"x", aiter(Source(b"x")), aiter(Source(forever))):
            with pytest.raises(Aborted) as caught:
                await upstream.exchange(
                    at.origin, b"PUT", b"/k", HOST, body, on_start=lambda exchange: exchange.abort()
                )
            assert not caught.value.body_sent
        assert not upstream._connections


async def test_aborting_a_download(upstream: Upstream) -> None:
    async def play(peer: Peer) -> None:
        await peer.head()
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")
        await peer.until_gone()

    async with node(play) as at:
        exchange = await upstream.exchange(at.origin, b"GET", b"/k", HOST)
        assert await anext(exchange) == b"hello"
        waiting = asyncio.ensure_future(anext(exchange))
        await asyncio.sleep(0)
        exchange.abort()
        exchange.abort()
        with pytest.raises(Aborted):
            await waiting
        await exchange.aclose()
        assert not upstream._connections


async def test_aborting_a_finished_one_spares_the_next(upstream: Upstream) -> None:
    async with node(playing(OK, OK)) as at:
        first = await upstream.exchange(at.origin, b"GET", b"/k", HOST)
        while not first.is_complete:
            await asyncio.sleep(0)
        second = await upstream.exchange(at.origin, b"GET", b"/k", HOST)
        first.abort()
        await first.aclose()
        assert await second.read(10) == b"ok"
        assert len(at.peers) == 1


async def test_tls_to_a_pinned_address(tmp_path: Path) -> None:
    path = make_certificate(tmp_path / "node.pem", "node.example", "127.0.0.9")
    asked: list[str | None] = []
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(path)
    server_side.sni_callback = lambda _, name, __: asked.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            for _ in range(3):
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"PUT"):
                    await reader.readexactly(65536 * 20)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"y" * 300_000)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_side)
    port = server.sockets[0].getsockname()[1]
    upstream = Upstream(ssl_context=ssl.create_default_context(cafile=str(path)))
    origin = Origin("https", "node.example", port, "127.0.0.1")
    assert len(await (await upstream.exchange(origin, b"GET", b"/k", HOST)).read(1 << 20)) == 300_000
    body = aiter(Source(*[BLOCK] * 20))
    exchange = await upstream.exchange(origin, b"PUT", b"/k", of_length(65536 * 20), body)
    assert exchange.body_sent
    assert len(await exchange.read(1 << 20)) == 300_000
    assert asked == ["node.example"]
    exchange = await upstream.exchange(origin, b"GET", b"/k", HOST)
    exchange.abort()
    assert not upstream._connections
    with pytest.raises(ConnectError, match=r"(?i)certificate|hostname|valid"):
        await upstream.exchange(Origin("https", "other.example", port, "127.0.0.1"), b"GET", b"/k", HOST)
    strict = Upstream()
    with pytest.raises(ConnectError):
        await strict.exchange(origin, b"GET", b"/k", HOST)
    await strict.aclose()
    await upstream.aclose()
    server.close()
    await server.wait_closed()


async def test_as_an_httpx_transport() -> None:
    async def play(peer: Peer) -> None:
        head = await peer.head()
        assert head.startswith(b"PUT /b/../%2Fk?x HTTP/1.1\r\n")
        assert await peer.body(5) == b"hello"
        await peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: 1\r\na: 2\r\n\r\nok")
        await peer.head()
        await peer.say(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        await peer.until_gone()

    async with node(play) as at, httpx.AsyncClient(transport=UpstreamTransport(Upstream())) as client:
        response = await client.put(
            str(at.origin), content=b"hello", extensions={"target": b"/b/../%2Fk?x", "timeout": {"read": 3.0}}
        )
        assert (response.status_code, response.content) == (200, b"ok")
        assert response.headers.get_list("a") == ["1", "2"]
        assert (await client.get(str(at.origin))).status_code == 302
        with pytest.raises(httpx.ConnectError):
            await client.get("http://127.0.0.1:1/")
