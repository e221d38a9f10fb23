"""Bodies that pass from a client to a node by one buffer, past the decoder that checks them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pytest

import sigv4
from proxy import bodies
from proxy.call import Call, ClientGone
from proxy.splicing import Rest
from proxy.upstream import Upstream, WriteTimeout
from tests.proxy.transport.scripted import Peer, node
from tests.proxy.transport.serving import Start
from tests.proxy.transport.test_splicing import BODY, SIZE, open_files, until_open_files
from tests.proxy.transport.test_splicing_uploads import Receiver, Store

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])

CONTEXT = sigv4.VerifiedContext("A", "20260101T000000Z", "20260101/r/s3/aws4_request", b"k" * 32, "0" * 64)
CRC = "x-amz-checksum-crc32"
SIGNED = sigv4.PayloadKind.STREAMING_SIGNED
UNSIGNED_TRAILER = sigv4.PayloadKind.STREAMING_UNSIGNED_TRAILER


def crc(payload: bytes) -> str:
    made = sigv4.Checksum("crc32")
    made.update(payload)
    return made.base64()


@dataclass(frozen=True)
class Form:
    """How a client sends `BODY`, and what a node then gets."""

    sent: bytes
    stored: bytes
    make: Callable[[Call, Store], AsyncIterator[bytes | Rest]]

    @property
    def head(self) -> bytes:
        return b"PUT /k HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(self.sent)


def signed_form(body: bytes = BODY, chunk_size: int = 64 * 1024) -> Form:
    def make(call: Call, store: Store) -> AsyncIterator[bytes | Rest]:
        decoder = sigv4.ChunkDecoder(CONTEXT, kind=SIGNED, decoded_length=len(body))
        return bodies.decoded(call, decoder, store.release, None)

    return Form(sigv4.encode_chunked(body, context=CONTEXT, chunk_size=chunk_size), body, make)


def trailer_form(chunk_size: int) -> Form:
    trailers = {CRC: crc(BODY)}

    def make(call: Call, store: Store) -> AsyncIterator[bytes | Rest]:
        decoder = sigv4.ChunkDecoder(None, kind=UNSIGNED_TRAILER, decoded_length=SIZE, trailers=[CRC])
        return bodies.decoded(call, decoder, store.release, sigv4.UnsignedChunkFramer(SIZE, [CRC]))

    return Form(
        sigv4.encode_chunked(BODY, chunk_size=chunk_size, trailers=trailers),
        sigv4.encode_chunked(BODY, trailers=trailers),
        make,
    )


def hashed_form(digest: str) -> Form:
    def make(call: Call, store: Store) -> AsyncIterator[bytes | Rest]:
        return bodies.plain(call, SIZE, store.release, sigv4.PayloadHasher(digest))

    return Form(BODY, BODY, make)


FORMS = {
    "signed": signed_form(),
    "large chunks": signed_form(chunk_size=1 << 20),
    "trailer": trailer_form(64 * 1024),
    "tiny chunks": trailer_form(100),
    "hashed": hashed_form(sha256(BODY).hexdigest()),
}


class Checked(Store):
    """A store of bodies that are checked on their way."""

    def __init__(self, upstream: Upstream, origin: Any, form: Form, *, write_seconds: float = 5.0) -> None:
        super().__init__(upstream, origin, stored=len(form.stored), write_seconds=write_seconds)
        self.form = form

    def body(self, call: Call) -> AsyncIterator[bytes | Rest]:
        return self.form.make(call, self)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream()
    yield upstream
    await upstream.aclose()


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("piece", [1 << 30, 900_000, 70_000])
async def test_a_body_arrives_whole_on_connections_that_go_on(
    start: Start, upstream: Upstream, name: str, piece: int
) -> None:
    form = FORMS[name]
    receiver = Receiver(size=len(form.stored))
    async with node(receiver) as served:
        store = Checked(upstream, served.origin, form)
        client = await start(store)
        for n in range(3):
            await client.say(form.head)
            for at in range(0, len(form.sent), piece):
                await client.say(form.sent[at : at + piece])
            assert await client.answer() == (200, b"ok")
            assert bytes(receiver.received) == form.stored
            assert store.calls[n].bytes_in == len(form.sent)
        assert store.spliced > SIZE
        assert store.releases == 3
        assert len(served.peers) == 1


async def test_the_last_byte_waits_for_leave(start: Start, upstream: Upstream) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Checked(upstream, served.origin, FORMS["signed"])
        store.may_release.clear()
        client = await start(store)
        await client.say(store.form.head + store.form.sent)
        await receiver.until(SIZE - 1)
        await asyncio.sleep(0.05)
        assert len(receiver.received) == SIZE - 1
        assert store.spliced
        store.may_release.set()
        assert await client.answer() == (200, b"ok")


@pytest.mark.parametrize("at", [SIZE // 2, SIZE - 1])
async def test_a_byte_that_was_changed_ends_it_before_it_is_whole(
    start: Start, upstream: Upstream, at: int
) -> None:
    receiver = Receiver()
    form = FORMS["signed"]
    sent = bytearray(form.sent)
    sent[form.sent.index(BODY[at - 7 : at + 1]) + 7] ^= 1
    async with node(receiver) as served:
        store = Checked(upstream, served.origin, form)
        client = await start(store)
        before = open_files()
        await client.say(form.head + bytes(sent))
        assert isinstance(await store.until_ended(), sigv4.SignatureDoesNotMatch)
        await until_open_files(before)
        assert bytes(receiver.received) == BODY[: len(receiver.received)]
        assert len(receiver.received) < SIZE
        assert store.releases == 0


async def test_a_hash_that_is_not_the_body_s_ends_it_before_it_is_whole(
    start: Start, upstream: Upstream
) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Checked(upstream, served.origin, hashed_form("0" * 64))
        client = await start(store)
        await client.say(store.form.head + BODY)
        assert isinstance(await store.until_ended(), sigv4.ContentSHA256Mismatch)
        assert len(receiver.received) < SIZE
        assert store.releases == 0


async def test_bodies_that_a_node_takes_slowly_do_not_mix(start: Start, upstream: Upstream) -> None:
    got: list[bytes] = []

    async def take(peer: Peer) -> None:
        receiver = Receiver(piece=30_000)
        try:
            await receiver(peer)
        except asyncio.IncompleteReadError:
            got.append(bytes(receiver.received))

    sent = [bytes([n]) * SIZE for n in range(4)]
    async with node(take) as served:
        stores = [Checked(upstream, served.origin, signed_form(body)) for body in sent]
        clients = [await start(store) for store in stores]
        for client, store in zip(clients, stores, strict=True):
            await client.say(store.form.head + store.form.sent[:3_000_000])
        for client, store in zip(clients, stores, strict=True):
            await client.say(store.form.sent[3_000_000:])
        for client in clients:
            assert await client.answer() == (200, b"ok")
        assert all(store.spliced for store in stores)
        await upstream.aclose()
        async with asyncio.timeout(5):
            while len(got) < len(sent):
                await asyncio.sleep(0.01)
    assert sorted(got) == sent


@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_a_client_that_goes_away_leaves_a_body_that_is_cut(
    start: Start, upstream: Upstream, ending: str
) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Checked(upstream, served.origin, FORMS["signed"])
        client = await start(store)
        before = open_files()
        await client.say(store.form.head + store.form.sent[: SIZE // 2])
        await receiver.until(SIZE // 2 - 20_000)
        client.writer.close() if ending == "fin" else client.writer.transport.abort()
        assert isinstance(await store.until_ended(), ClientGone)
        await until_open_files(before)
        assert len(receiver.received) < SIZE // 2
        assert store.releases == 0


async def test_an_early_answer_stops_it(start: Start, upstream: Upstream) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.head()
        await peer.body(1_000_000)
        await peer.say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await peer.until_gone()

    async with node(refuse) as served:
        store = Checked(upstream, served.origin, FORMS["signed"])
        client = await start(store)
        await client.say(store.form.head + store.form.sent[:1_500_000])
        assert await client.answer() == (403, b"no")
        assert store.ends == [403]
        assert store.releases == 0


async def test_a_node_that_takes_no_more_is_not_waited_for_longer_than_ever(
    start: Start, upstream: Upstream
) -> None:
    async def stop(peer: Peer) -> None:
        await peer.head()
        await peer.body(1_000_000)
        await over.wait()

    over = asyncio.Event()
    form = signed_form(BODY * 8)
    async with node(stop) as served:
        store = Checked(upstream, served.origin, form, write_seconds=0.3)
        client = await start(store)
        sending = asyncio.create_task(client.say(form.head + form.sent))
        assert isinstance(await store.until_ended(), WriteTimeout)
        over.set()
        await asyncio.gather(sending, return_exceptions=True)


async def test_what_may_not_move_any_more_is_cut(start: Start, upstream: Upstream) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Checked(upstream, served.origin, FORMS["signed"])
        client = await start(store)
        await client.say(store.form.head + store.form.sent[:1_000_000])
        await receiver.until(998_000)
        before = len(receiver.received)
        store.is_allowed = False
        await client.say(store.form.sent[1_000_000:2_000_000])
        assert isinstance(await store.until_ended(), ClientGone)
        assert len(receiver.received) == before


async def test_an_abort_ends_it_at_once(start: Start, upstream: Upstream) -> None:
    receiver = Receiver()
    async with node(receiver) as served:
        store = Checked(upstream, served.origin, FORMS["signed"])
        client = await start(store)
        before = open_files()
        await client.say(store.form.head + store.form.sent[:1_000_000])
        await receiver.until(998_000)
        store.calls[0].connection.abort()
        assert isinstance(await store.until_ended(), ClientGone)
        with pytest.raises(ConnectionResetError):
            await client.rest()
        await until_open_files(before)
