"""The server's protocol, over real sockets: targets, refusals, bodies, cuts, deadlines."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from proxy.server import ClientDisconnected
from tests.proxy.transport.serving import Client, Start

# The server only ever runs on uvloop.
pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


async def reply(send: Any, body: bytes = b"", status: int = 200) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the target as received, then the body."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        parts.append(message["body"])
        if not message["more_body"]:
            break
    await reply(send, scope["raw_path"] + b"|" + scope["query_string"] + b"|" + b"".join(parts))


GET = b"GET /k HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/b/k", b"/b/k||"),
        (b"//b//k/../%2e%2E/%2F+", b"//b//k/../%2e%2E/%2F+||"),
        (b"/b/k?a=b?c=%20&&d+", b"/b/k|a=b?c=%20&&d+|"),
        (b"/b?", b"/b||"),
        (b"http://h:1/b/k?x=http://y/", b"/b/k|x=http://y/|"),
        (b"HTTP://h?x", b"/|x|"),
        (b"http://h//k", b"//k||"),
        (b"//h:9000/k", b"//h:9000/k||"),
    ],
)
async def test_targets_stay_as_they_came(start: Start, target: bytes, expected: bytes) -> None:
    client = await start(echo)
    assert await client.ask(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target) == (200, expected)


async def test_the_scope(start: Start) -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await reply(send)

    client = await start(app)
    await client.ask(
        b"PUT /a%20%C3%A9/%FF HTTP/1.1\r\nHOST: h\r\nX-A:  b c \xff\r\nContent-Length: 0\r\n\r\n"
    )
    (scope,) = scopes
    assert scope["path"] == "/a é/\ufffd"
    assert scope["method"] == "PUT"
    assert scope["headers"] == [(b"host", b"h"), (b"x-a", b"b c \xff"), (b"content-length", b"0")]
    assert scope["client"][0] == "127.0.0.1"


CASES = [
    (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", b"BadRequest"),
    (b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", b"BadRequest"),
    (b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", b"InvalidURI"),
    (b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", b"InvalidURI"),
    (b"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", b"InvalidURI"),
    (b"GET / HTTP/1.1\r\n\r\n", b"BadRequest"),
    (b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", b"BadRequest"),
    (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", b"NotImplemented"),
    (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", b"BadRequest"),
    (b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", b"BadRequest"),
    (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", b"BadRequest"),
    (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", b"BadRequest"),
    (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: -3\r\n\r\nabc", b"BadRequest"),
    (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\nabc", b"BadRequest"),
    (
        b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"BadRequest",
    ),
    (
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"BadRequest",
    ),
    (b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"NotImplemented"),
    (b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", b"NotImplemented"),
    (b"PUT / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"NotImplemented"),
    (
        b"PUT / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\na",
        b"BadRequest",
    ),
    (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 300 + b"\r\n", b"RequestHeaderSectionTooLarge"),
    (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", b"RequestHeaderSectionTooLarge"),
    (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"b" * 70_000, b"RequestHeaderSectionTooLarge"),
    (b"GET /" + b"k" * 70_000, b"RequestHeaderSectionTooLarge"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"BadRequest"),
]


@pytest.mark.parametrize(("request_", "code"), CASES)
async def test_what_is_refused(start: Start, request_: bytes, code: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("nothing of it may come through")

    client = await start(app)
    await client.say(request_)
    answer = await client.rest()
    assert b"<Code>%b</Code>" % code in answer
    assert b"connection: close" in answer


async def test_an_upgrade_that_is_ignored(start: Start) -> None:
    client = await start(echo)
    await client.say(b"GET /1 HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n" + GET)
    assert await client.answer() == (200, b"/1||")
    assert await client.answer() == (200, b"/k||")


@pytest.mark.parametrize("size", [0, 5, 70_000, 3_000_000])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_bodies(start: Start, size: int, is_chunked: bool) -> None:
    client = await start(echo)
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    for _ in range(2):
        if is_chunked:
            framing, framed = b"Transfer-Encoding: chunked", b""
            for at in range(0, size, 50_000):
                piece = body[at : at + 50_000]
                framed += b"%x\r\n%b\r\n" % (len(piece), piece)
            framed += b"0\r\nTrailer: x\r\n\r\n"
        else:
            framing, framed = b"Content-Length: %d" % size, body
        head = b"PUT /k HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % framing
        task = asyncio.create_task(client.say(head + framed))
        assert await client.answer() == (200, b"/k||" + body)
        await task


async def test_requests_in_a_pipeline_are_answered_in_order(start: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.02 if scope["path"] == "/0" else 0)
        await echo(scope, receive, send)

    client = await start(app)
    body = b"y" * 300_000
    put = b"PUT /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 300000\r\n\r\n%b"
    task = asyncio.create_task(client.say(b"".join(put % (i, body) for i in range(4)) + GET))
    for i in range(4):
        assert await client.answer() == (200, b"/%d||%b" % (i, body))
    assert await client.answer() == (200, b"/k||")
    await task


async def test_too_long_a_pipeline_is_cut(start: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        await reply(send)

    client = await start(app, pipelined=3)
    await client.say(GET * 20)
    with pytest.raises(ConnectionError):
        await client.rest()


async def test_continue_only_when_the_body_is_wanted(start: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/no":
            assert not scope["extensions"]["wio"].body_started
            scope["extensions"]["wio"].refuse_body(0)
            await reply(send, b"no", 403)
        else:
            await echo(scope, receive, send)
            assert scope["extensions"]["wio"].body_started

    client = await start(app)
    head = b"PUT /%b HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    await client.say(head % b"yes")
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert await client.ask(b"hello") == (200, b"/yes||hello")
    await client.say(head % b"no")
    answer = await client.rest()
    assert b" 100 " not in answer
    assert b"connection: close" in answer
    assert answer.endswith(b"no")


async def test_a_refused_body_is_dropped_for_a_while(start: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["wio"].refuse_body(5.0)
        await reply(send, b"no", 403)

    client = await start(app)
    size = 30_000_000
    await client.say(b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
    # All of it is taken, though the answer is there: a client that never looks before it has sent all.
    await asyncio.wait_for(client.say(b"x" * size), 4)
    answer = await client.rest()
    assert b"connection: close" in answer
    assert answer.endswith(b"no")


async def test_but_not_for_ever(start: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["wio"].refuse_body(0.5)
        await reply(send, b"no", 403)

    client = await start(app)
    began = time.monotonic()
    await client.say(b"PUT /k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert (await client.rest()).endswith(b"no")
    assert 0.4 < time.monotonic() - began < 2


async def test_an_answer_before_the_body_is_a_refusal_even_if_not_called_one(start: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await reply(send, b"early")

    client = await start(app)
    await client.say(b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
    head = await client.head()
    assert b"connection: close" in head
    await client.say(b"world" + GET)
    assert await client.rest() == b"early"


async def test_abort_sends_no_more_and_resets(start: Start) -> None:
    outcomes: list[object] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection = scope["extensions"]["wio"]
        connection.on_disconnect(lambda: outcomes.append("told"))
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"50000000")]}
        )
        await send({"type": "http.response.body", "body": b"x" * 10_000_000, "more_body": True})
        assert connection.write_buffer_size() > 1_000_000
        connection.abort()
        assert connection.is_disconnected
        assert outcomes == ["told"]
        with pytest.raises(ClientDisconnected):
            await send({"type": "http.response.body", "body": b"y" * 100, "more_body": True})
        assert (await receive())["type"] == "http.disconnect"
        outcomes.append("done")

    client = await start(app)
    await client.say(GET)
    await asyncio.sleep(0.2)
    with pytest.raises(ConnectionResetError):
        await client.rest()
    assert client.received < 9_000_000
    assert outcomes == ["told", "done"]


async def test_a_guard_is_asked_after_every_wait(start: Start) -> None:
    allowed = True
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        scope["extensions"]["wio"].set_guard(lambda: allowed)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
            sent += 1_000_000

    client = await start(app)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await client.say(GET)
    before = -1
    while sent != before or not sent:
        before = sent
        await asyncio.sleep(0.1)
    allowed = False
    client.writer.transport.resume_reading()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionResetError):
        await client.rest()
    assert sent == before


@pytest.mark.parametrize("how", ["raise", "return", "short", "long"])
async def test_a_response_cut_short_is_a_reset(start: Start, how: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"hello", "more_body": True})
        if how == "raise":
            raise ValueError
        if how == "short":
            await send({"type": "http.response.body", "body": b""})
        if how == "long":
            await send({"type": "http.response.body", "body": b"worldworld"})

    client = await start(app)
    await client.say(GET)
    with pytest.raises(ConnectionResetError):
        await client.rest()


@pytest.mark.parametrize("how", ["raise", "return", "started"])
async def test_no_response_is_an_internal_error(start: Start, how: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if how == "started":
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]}
            )
        if how != "return":
            raise ValueError

    client = await start(app)
    assert (await client.ask(GET))[0] == 500
    assert await client.rest() == b""


@pytest.mark.parametrize("header", [(b"a", b"b\r\nc: d"), (b"a\n", b"b"), (b"a", b"b\0")])
async def test_headers_cannot_be_split(start: Start, header: tuple[bytes, bytes]) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [header]})
        await send({"type": "http.response.body", "body": b""})

    client = await start(app)
    assert (await client.ask(GET))[0] == 500


async def test_responses_are_framed(start: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        status = int(scope["path"][1:])
        await send({"type": "http.response.start", "status": status, "headers": [(b"X-A", b"b")]})
        await send({"type": "http.response.body", "body": b"hel", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await send({"type": "http.response.body", "body": b"lo"})

    client = await start(app)
    await client.say(b"GET /200 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"transfer-encoding: chunked" in await client.head()
    assert await client.reader.readexactly(20) == b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    await client.say(b"HEAD /200 HTTP/1.1\r\nHost: h\r\n\r\nGET /304 HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"chunked" not in await client.head()
    assert b" 304 " in await client.head()
    await client.say(b"GET /200 HTTP/1.0\r\n\r\n")
    head = await client.head()
    assert b"connection: close" in head
    assert b"chunked" not in head
    assert await client.rest() == b"hello"


async def test_heads_that_never_end(start: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await reply(send)

    client = await start(app, head_seconds=0.3)
    await client.ask(GET)
    began = time.monotonic()
    for piece in (b"GET / HT", b"TP/1.1\r\nHos"):
        await client.say(piece)
        await asyncio.sleep(0.1)
    assert b"RequestTimeout" in await client.rest()
    assert time.monotonic() - began < 2
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_idle_connections_are_closed(start: Start) -> None:
    client = await start(echo, keep_alive_seconds=0.3)
    await client.ask(GET)
    began = time.monotonic()
    assert await client.rest() == b""
    assert 0.2 < time.monotonic() - began < 2


async def test_a_body_that_trickles_is_cut(start: Start) -> None:
    ends: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                ends.append("cut")
                return

    client = await start(app, body_rate=1000, body_seconds=1.0)
    await client.say(b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
    began = time.monotonic()
    with pytest.raises(ConnectionError):
        await client.trickle(0.1)
    assert ends == ["cut"]
    assert time.monotonic() - began < 4


async def test_a_slow_application_is_not_the_clients_fault(start: Start) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(2)
        await echo(scope, receive, send)

    client = await start(app, body_rate=1000, body_seconds=0.5)
    body = b"x" * 1_000_000
    task = asyncio.create_task(
        client.say(b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" + body)
    )
    assert (await client.answer())[0] == 200
    await task


async def test_a_client_that_takes_nothing_is_cut(start: Start) -> None:
    ends: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
        except ClientDisconnected:
            ends.append("cut")
            raise

    client = await start(app, stall_seconds=0.3)
    client.writer.transport.pause_reading()  # type: ignore[attr-defined]
    await client.say(GET)
    async with asyncio.timeout(5):
        while not ends:
            await asyncio.sleep(0.02)


async def test_bodies_are_not_read_ahead_without_bound(start: Start) -> None:
    asked = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asked.wait()
        await echo(scope, receive, send)

    client = await start(app, read_bytes=100_000)
    size = 50_000_000
    await client.say(b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
    sending = asyncio.create_task(client.say(b"x" * size))
    await asyncio.sleep(0.3)
    assert not sending.done()
    (connection,) = client.server.server_state.connections  # type: ignore[attr-defined]
    assert connection.cycle._body_bytes < 1_000_000
    asked.set()
    await sending
    assert (await client.answer())[0] == 200


async def test_a_client_that_goes_away_is_noticed_at_once(start: Start) -> None:
    ends: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["extensions"]["wio"].on_disconnect(lambda: ends.append("told"))
        while (await receive())["type"] != "http.disconnect":
            pass
        ends.append("received")

    client = await start(app)
    await client.say(b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello")
    await asyncio.sleep(0.05)
    client.writer.close()
    async with asyncio.timeout(2):
        while len(ends) < 2:
            await asyncio.sleep(0.01)
    assert ends == ["told", "received"]


async def test_too_many_connections(start: Start) -> None:
    client = await start(echo, connections=1)
    assert (await client.ask(GET))[0] == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    other = Client(reader, writer, client.port)
    status, body = await other.ask(GET)
    assert status == 503
    assert b"SlowDown" in body
    writer.close()


async def test_socket_options(start: Start) -> None:
    client = await start(echo, send_buffer_bytes=65536)
    await client.ask(GET)
    (connection,) = client.server.server_state.connections  # type: ignore[attr-defined]
    handle = connection.transport.get_extra_info("socket")
    assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 65536


@pytest.mark.parametrize("size", [10, 100_000])
async def test_split_points_of_requests_do_not_matter(start: Start, size: int) -> None:
    client = await start(echo)
    put = b"PUT /k?q HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size + b"z" * size
    chunked = b"PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    stream = put + chunked + GET
    expected = [(200, b"/k|q|" + b"z" * size), (200, b"/c||abc"), (200, b"/k||")]
    for step in (1, 2, 3, 7, 50) if size < 100 else (4_000, 33_333, 65_536, 99_999):
        for at in range(0, len(stream), step):
            await client.say(stream[at : at + step])
            await asyncio.sleep(0)
        assert [await client.answer() for _ in range(3)] == expected
