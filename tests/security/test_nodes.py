"""Nodes are strangers' servers: where they may be, and what one that means harm can do."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import pytest

from broker.errors import ApiError
from broker.nodes import client as node_client
from broker.nodes.address import clean_endpoint, is_allowed, resolve
from broker.nodes.client import NodeError, open_node
from broker.nodes.models import Node
from broker.settings import Settings
from quota import LiveSettings

FORBIDDEN = (
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.100.100.200", "100.64.0.1", "192.0.0.192", "198.18.0.1", "192.0.2.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "168.63.129.16", "::", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "::127.0.0.1", "::a00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2001:0:7f00:1::", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1",
    "2001:db8::1", "::ffff:168.63.129.16",
)  # fmt: skip


@pytest.mark.parametrize("address", FORBIDDEN)
def test_special_addresses_are_no_nodes(address: str) -> None:
    assert not is_allowed(ip_address(address), [])


def test_public_and_allowed_addresses_are() -> None:
    for address in ("8.8.8.8", "1.1.1.1", "2606:4700::1111"):
        assert is_allowed(ip_address(address), [])
    allowed = [ip_network("10.1.0.0/16"), ip_network("168.63.129.16/32")]
    assert is_allowed(ip_address("10.1.2.3"), allowed)
    assert is_allowed(ip_address("168.63.129.16"), allowed)
    assert not is_allowed(ip_address("10.2.0.1"), allowed)


@pytest.mark.parametrize(
    "endpoint",
    ["http://2130706433", "http://0x7f000001", "http://0177.0.0.1", "http://127.1", "http://[::1]", "http://localhost",
     "http://[::ffff:7f00:1]:80", "http://0", "http://127.0.0.1.:6379", "http://[fe80::1%25lo]", "http://0x7f.1"],
)  # fmt: skip
async def test_no_spelling_of_loopback_passes(endpoint: str) -> None:
    with pytest.raises(ApiError):
        await resolve(clean_endpoint(endpoint), [])


@pytest.mark.parametrize(
    "endpoint",
    ["ftp://example.org", "file:///etc/passwd", "gopher://x", "http://", "//example.org", "example.org",
     "http://user@example.org", "http://user:pass@example.org", "http://example.org@127.0.0.1", "http://example.org/x",
     "http://example.org?x", "http://example.org#x", "http://example.org:99999", "http://exa mple.org",
     "http://example.org\\@127.0.0.1", "http://example.org%2f@x", "http://exämple.org", "http://a\r\nHost: b",
     "unix:///tmp/x", "http://example.org\t", "redis://x"],
)  # fmt: skip
def test_endpoints_are_scheme_host_and_port(endpoint: str) -> None:
    try:
        clean = clean_endpoint(endpoint)
    except ApiError:
        return
    assert clean == "http://example.org"


async def test_every_address_of_a_name_must_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with one public and one private address is refused, and a kept node never resolves again."""

    async def two(*_args: object, **_more: object) -> list[tuple[object, ...]]:
        return [(2, 1, 6, "", ("8.8.8.8", 80)), (2, 1, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two, raising=False)
    with pytest.raises(ApiError):
        await resolve("http://two.example.org", [])


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[tuple[Node, list[bytes]]]:
    """A node whose name does not resolve, pinned to a server that runs `script` for each request."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    node = Node(
        id="n", name="n", endpoint=f"http://node.invalid:{port}", region="us-east-1", access_key_id="a",
        addresses=["127.0.0.1"], secret="",
    )  # fmt: skip
    try:
        yield node, heads
    finally:
        server.close()
        await server.wait_closed()


def answer(body: bytes, *headers: str, status: str = "200 OK") -> Script:
    async def script(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = "\r\n".join(
            [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
        )
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()

    return script


async def test_redirects_are_never_followed() -> None:
    script = answer(
        b"", "Location: http://169.254.169.254/latest/meta-data/", status="307 Temporary Redirect"
    )
    async with scripted(script) as (node, heads), open_node(node, "secret") as client:
        with pytest.raises(NodeError):
            await client.list_buckets()
        assert len(heads) == 1
        assert b"node.invalid" in heads[0]


async def test_answers_are_never_decompressed() -> None:
    """16 MiB of answer are the bound; what it would unpack to is not looked at."""
    bomb = gzip.compress(bytes(64 << 20))
    async with (
        scripted(answer(bomb, "Content-Encoding: gzip")) as (node, heads),
        open_node(node, "s") as client,
    ):
        got = await client.request("GET", b"/")
        assert got.body == bomb
        assert b"gzip" not in heads[0].lower()


async def test_endless_and_slow_answers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What looks after nodes in the background does so one after the other: none may hold it up for ever."""
    monkeypatch.setattr(node_client, "MAX_ANSWER_BYTES", 1 << 20)
    monkeypatch.setattr(node_client, "MAX_SECONDS", 1.0)

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"<")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with scripted(drip) as (node, _), open_node(node, "s") as client:
        started = time.monotonic()
        with pytest.raises(NodeError):
            await client.list_buckets()
        assert time.monotonic() - started < 15
    async with scripted(answer(bytes(2 << 20))) as (node, _), open_node(node, "s") as client:
        with pytest.raises(NodeError):
            await client.list_buckets()


LOL = b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;&b;&b;">]><ListAllMyBucketsResult>&c;</ListAllMyBucketsResult>'
FILE = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><Error><Code>&b;</Code></Error>'


@pytest.mark.parametrize("body", [LOL, FILE, b"<a>" * 100_000, b"\xff\xfe<", b""])
async def test_xml_of_a_node_is_only_text(body: bytes) -> None:
    async with scripted(answer(body, status="500 X")) as (node, _), open_node(node, "s") as client:
        got = await client.request("GET", b"/")
        assert got.code == ""
        with pytest.raises(NodeError):
            await client.list_buckets()


def test_settings_show_no_secret() -> None:
    """Not in `repr`, which ends up in tracebacks and test reports."""
    plane = LiveSettings(
        redis_url="redis://:hunter2@redis:6379/0", secret="a secret of forty characters, or more."
    )
    control = Settings(
        redis_url="redis://:hunter2@redis:6379/0", secret="a secret of forty characters, or more.",
        database_url="postgresql+asyncpg://wio:hunter2@db/wio",
    )  # fmt: skip
    for shown in (repr(plane), str(plane), repr(control), str(control)):
        assert "hunter2" not in shown
        assert "forty" not in shown
    assert json.dumps(control.allowed_networks) == "[]"
