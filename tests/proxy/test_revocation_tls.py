"""A revoke under downloads over TLS: encryption has buffers of its own, and a cut must not flush them either."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests import servers
from tests.certificates import make_certificate
from tests.proxy.flows import ALLOWANCE, Download
from tests.proxy.gates import KEYS, Gate, running_gate, secret_of
from tests.stack.ups import descendants

SIZE = 24 << 20
#: Over TLS a second write may wait, behind the one that is being encrypted.
TLS_ALLOWANCE = ALLOWANCE + 256 * 1024


class Wrapped:
    """A TLS client over a socket of its own: Python's sockets call a reset and an end by the same name."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self._sock = sock
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._run(self._tls.do_handshake)

    def _run(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                found = step()
            except ssl.SSLWantReadError:
                found = None
            if self._out.pending:
                self._sock.sendall(self._out.read())
            if found is not None or (step == self._tls.do_handshake and self._tls.version()):
                return found
            if not (data := self._sock.recv(65536)):
                return b""
            self._in.write(data)

    def sendall(self, data: bytes) -> None:
        self._run(lambda: self._tls.write(data))

    def recv(self, size: int) -> Any:
        return self._run(lambda: self._tls.read(size))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()


class TlsDownload(Download):
    """The same, encrypted."""

    def __init__(self, url: str, certificate: Path) -> None:
        super().__init__(url)
        self._context = ssl.create_default_context(cafile=str(certificate))

    def connect(self) -> Any:
        return Wrapped(super().connect(), self._context, self.parts.hostname or "")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls") / "gate.pem", "localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def gate(
    minio: servers.Minio, valkey: servers.Valkey, certificate: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    tls = {"WIO_TLS_CERT": str(certificate), "WIO_TLS_KEY": str(certificate)}
    with running_gate(minio, valkey, tmp_path_factory.mktemp("gate"), workers=2, **tls) as running:
        node = running.node_client()
        node.put_object(Bucket=running.bucket, Key=running.prefix("photos") + "big", Body=os.urandom(SIZE))
        yield running


def started(gate: Gate, certificate: Path, count: int) -> list[TlsDownload]:
    gate.apply([gate.grant("photos", "u:bob", 1)])
    client: Any = gate.client_of(KEYS["bob"], secret_of("bob"))
    url = client.generate_presigned_url("get_object", Params={"Bucket": "alice.photos", "Key": "big"})
    flows = [TlsDownload(url, certificate) for _ in range(count)]
    for flow in flows:
        flow.start()
    for flow in flows:
        flow.wait_moving()
    return flows


def test_a_revoke_cuts_them(gate: Gate, certificate: Path) -> None:
    flows = started(gate, certificate, 4)
    acks = gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])
    before = [flow.moved for flow in flows]
    assert (acks.transfers_cut, acks.workers_unreachable) == (4, 0)
    for flow, moved in zip(flows, before, strict=True):
        assert flow.wait_end() == "cut"
        assert isinstance(flow.error, ConnectionResetError), flow.error
        assert flow.moved - moved <= TLS_ALLOWANCE


def test_a_stopped_process_writes_no_more(gate: Gate, certificate: Path) -> None:
    assert gate.process is not None
    flows = started(gate, certificate, 4)
    pids = [pid for pid, line in descendants(gate.process.pid).items() if "proxy" in line] or [
        gate.process.pid
    ]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        acks = gate.delete("grant", "wsphotos|u:bob", ["s:share-photos-u-bob"])
        assert acks.workers_unreachable == 2
        asyncio.run(asyncio.sleep(0.5))
        before = [flow.moved for flow in flows]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    for flow, moved in zip(flows, before, strict=True):
        assert flow.wait_end() == "cut"
        assert flow.moved - moved <= TLS_ALLOWANCE
