"""The pipelined connection against a real server: order under cancellation, pauses, losses and reconnects."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quota.wire import Argument, Wire, WireClosed, WireError, WireReplyError, WireTimeout, encode
from quota.wire_address import WireAddress
from tests.certificates import make_certificate
from tests.servers import Valkey

ECHO = "return {KEYS[1], ARGV[1]}"


@pytest.fixture
async def wire(valkey: Valkey) -> AsyncIterator[Wire]:
    wire = Wire(valkey.url)
    wire.register("echo", ECHO)
    await wire.connect()
    yield wire
    await wire.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_it_greets_and_tells_whose_server_it_is(valkey: Valkey) -> None:
    seen: list[str] = []
    wire = Wire(valkey.url, client_name="wio-test", on_connect=seen.append)
    await wire.connect()
    assert wire.is_connected
    assert seen == [wire.run_id]
    assert await wire.execute("CLIENT", "GETNAME") == b"wio-test"
    info = await wire.execute("INFO", "server")
    assert f"run_id:{wire.run_id}".encode() in info
    await wire.aclose()
    with pytest.raises(WireClosed):
        await wire.execute("PING")


async def test_a_unix_socket_and_a_database(valkey: Valkey) -> None:
    wire = Wire(valkey.unix_url.replace("db=0", "db=3"))
    await wire.connect()
    assert b" db=3 " in await wire.execute("CLIENT", "INFO")
    await wire.aclose()


async def test_values_of_all_kinds_come_through(wire: Wire) -> None:
    raw = bytes(range(256)) * 300
    assert await wire.call("echo", [b"{t}:k"], [raw]) == [b"{t}:k", raw]
    assert await wire.call("echo", ["{t}:k"], [-7]) == [b"{t}:k", b"-7"]
    assert await wire.execute("ECHO", "é") == "é".encode()
    with pytest.raises(WireReplyError, match=r"^WRONGTYPE|^ERR"):
        await wire.execute("HGET", "only-one")
    assert await wire.execute("GET", "{t}:missing") is None


async def test_a_script_that_redis_lost_is_loaded_again(wire: Wire) -> None:
    sha = wire.register("echo", ECHO)
    assert await wire.evalsha(sha, ["{t}:k"], [1]) == [b"{t}:k", b"1"]
    await wire.execute("SCRIPT", "FLUSH", "SYNC")
    with pytest.raises(WireReplyError, match=r"^NOSCRIPT"):
        await wire.evalsha(sha, ["{t}:k"], [1])
    replies = await asyncio.gather(*(wire.call("echo", ["{t}:k"], [i]) for i in range(50)))
    assert replies == [[b"{t}:k", b"%d" % i] for i in range(50)]


async def test_a_failing_script_raises_its_own_error(wire: Wire) -> None:
    wire.register("bad", "return redis.error_reply('NOPE not today')")
    with pytest.raises(WireReplyError, match=r"^NOPE not today"):
        await wire.call("bad", [], [])


async def test_cancelled_callers_never_shift_replies(wire: Wire) -> None:
    rng = random.Random(7)

    async def ask(i: int) -> bool:
        if i % 7 == 0:
            await asyncio.sleep(rng.random() / 200)
        return bool(await wire.call("echo", ["{t}:k"], [i]) == [b"{t}:k", b"%d" % i])

    for _ in range(20):
        tasks = [asyncio.create_task(ask(i)) for i in range(200)]
        for _ in range(4):
            await asyncio.sleep(rng.random() / 500)
            for task in rng.sample(tasks, 40):
                task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(answer is True or isinstance(answer, asyncio.CancelledError) for answer in answers)
        assert answers.count(True) >= 1
    assert await wire.execute("ECHO", "still in step") == b"still in step"


async def test_a_caller_cancelled_before_its_command_is_written(wire: Wire) -> None:
    first = asyncio.create_task(wire.execute("ECHO", "a"))
    await asyncio.sleep(0)
    first.cancel()
    assert await wire.execute("ECHO", "b") == b"b"
    assert first.cancelled()


async def test_a_paused_redis_is_a_timeout_and_no_reply_comes_late(
    valkey_factory: Callable[[], Valkey],
) -> None:
    valkey = valkey_factory()
    lost: list[bool] = []
    wire = Wire(valkey.url, timeout=0.5, on_lost=lambda: lost.append(True))
    await wire.connect()
    run_id = wire.run_id
    os.kill(valkey.process.pid, signal.SIGSTOP)
    started = time.monotonic()
    answers = await asyncio.gather(*(wire.execute("ECHO", i) for i in range(20)), return_exceptions=True)
    took = time.monotonic() - started
    assert all(isinstance(answer, WireTimeout) for answer in answers)
    assert 0.45 <= took < 1.0
    assert lost == [True]
    started = time.monotonic()
    with pytest.raises(WireClosed):
        await wire.execute("ECHO", "down")
    assert time.monotonic() - started < 0.1
    os.kill(valkey.process.pid, signal.SIGCONT)
    await until(lambda: wire.is_connected)
    assert wire.run_id == run_id
    assert await wire.execute("ECHO", "back") == b"back"
    await wire.aclose()


async def test_a_greeting_that_hangs_is_a_timeout(valkey_factory: Callable[[], Valkey]) -> None:
    valkey = valkey_factory()
    os.kill(valkey.process.pid, signal.SIGSTOP)
    wire = Wire(valkey.url, timeout=0.3)
    with pytest.raises(WireTimeout):
        await wire.connect()
    os.kill(valkey.process.pid, signal.SIGCONT)
    await until(lambda: wire.is_connected)
    await wire.aclose()


async def test_a_killed_redis_fails_what_is_in_flight(valkey_factory: Callable[[], Valkey]) -> None:
    valkey = valkey_factory()
    wire = Wire(valkey.url)
    await wire.connect()
    os.kill(valkey.process.pid, signal.SIGSTOP)
    asked = [asyncio.create_task(wire.execute("ECHO", i)) for i in range(10)]
    await asyncio.sleep(0.05)
    valkey.process.kill()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, WireClosed) for answer in answers)
    with pytest.raises(WireClosed):
        await wire.execute("PING")
    await wire.aclose()


async def test_no_redis_at_all_is_told_at_once() -> None:
    wire = Wire("redis://127.0.0.1:1/0")
    with pytest.raises(WireClosed):
        await wire.connect()
    with pytest.raises(WireClosed):
        await wire.execute("PING")
    await wire.aclose()


async def test_a_callback_that_fails_keeps_it_down_until_it_does_not(valkey: Valkey) -> None:
    refusals = 2

    def on_connect(run_id: str) -> None:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise RuntimeError("not yet")

    wire = Wire(valkey.url, on_connect=on_connect)
    with pytest.raises(WireClosed):
        await wire.connect()
    assert not wire.is_connected
    await until(lambda: wire.is_connected)
    assert refusals == -1
    await wire.aclose()


async def test_a_wrong_password_is_an_error_without_the_password(valkey: Valkey) -> None:
    wire = Wire(valkey.url.replace(valkey.password, "not-the-password"))
    with pytest.raises(WireReplyError, match="WRONGPASS") as caught:
        await wire.connect()
    assert "not-the-password" not in repr(caught.value) + repr(wire) + repr(WireAddress.parse("redis://:x@h"))
    await wire.aclose()


async def test_tls(tmp_path: Path) -> None:
    path = make_certificate(tmp_path / "redis.pem", "redis.example", "127.0.0.1")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(path)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(10_000)
            writer.write(b"+OK\r\n+PONG\r\n$10\r\nrun_id:abc\r\n")
            await reader.read(10_000)
            writer.write(b"+PONG\r\n")
            await reader.read(10_000)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=server_side)
    port = server.sockets[0].getsockname()[1]
    wire = Wire(f"rediss://127.0.0.1:{port}?ssl_ca_certs={path}")
    await wire.connect()
    assert await wire.execute("PING") == b"PONG"
    await wire.aclose()
    distrusting = Wire(f"rediss://127.0.0.1:{port}")
    with pytest.raises(WireClosed):
        await distrusting.connect()
    await distrusting.aclose()
    server.close()
    await server.wait_closed()


async def test_an_answer_that_nobody_asked_for_ends_the_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10_000)
        writer.write(b"+OK\r\n+PONG\r\n$10\r\nrun_id:abc\r\n")
        await reader.read(10_000)
        writer.write(b"+one\r\n+two too many\r\n")
        await reader.read(10_000)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = Wire(f"redis://127.0.0.1:{port}")
    await wire.connect()
    assert wire.run_id == "abc"
    assert await wire.execute("PING") == b"one"
    await until(lambda: not wire.is_connected)
    await wire.aclose()
    server.close()
    await server.wait_closed()


async def test_closing_while_commands_fly_leaves_no_task(valkey: Valkey) -> None:
    wire = Wire(valkey.url)
    await wire.connect()
    asked = [asyncio.create_task(wire.execute("ECHO", i)) for i in range(10)]
    await asyncio.sleep(0)
    await wire.aclose()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(answer, WireError) for answer in answers)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", WireAddress("h")),
        ("redis://:p%40ss@h:1/2", WireAddress("h", 1, None, None, "p@ss", 2)),
        ("redis://u:p@[::1]:7/?db=3", WireAddress("::1", 7, None, "u", "p", 3)),
        ("unix:///run/r.sock?db=1", WireAddress(path="/run/r.sock", database=1)),
    ],
)
def test_urls(url: str, expected: WireAddress) -> None:
    assert WireAddress.parse(url) == expected


@pytest.mark.parametrize("url", ["http://h", "redis://h/one", "redis://h?sock=1", "unix://?db=1"])
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="Redis"):
        WireAddress.parse(url)


@given(
    st.lists(
        st.text() | st.binary() | st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3000).map(bytes),
        min_size=1,
    )
)
def test_commands_are_encoded_as_hiredis_does(command: list[Argument]) -> None:
    try:
        expected = hiredis.pack_command(tuple(command))
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            encode(command)
        return
    assert encode(command) == expected
