"""The figures: what is sent, on how many connections, and what is read off."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from bench.contenders import Contender
from bench.load import Load, Request, drive
from bench.machine import resident_mib

SMALL: Final = 4096
LARGE: Final = 64 * 2**20
_KEYS: Final = 1000


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round of one figure gave for one contender. A rate is per second; times are in microseconds.

    `rate` of requests, or MiB for large objects · `cpu` of the gateway's processes, or the node's own where there is
    none in front · `per` what `cpu` is for · `memory` MiB of the largest process.
    """

    rate: float
    cpu: float
    node_cpu: float
    p50: float = 0.0
    p99: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True, slots=True)
class Figure:
    """`prepare` makes the request for a contender; `unit` is what `rate` and `cpu` are about."""

    name: str
    title: str
    unit: str
    prepare: Callable[[Contender, Path], Request]
    connections: int = 16
    seconds: float = 3.0
    #: Of an object with the body, for figures in MiB.
    size: int = 0

    def measure(self, contender: Contender, folder: Path, seconds: float | None = None) -> Sample:
        """Measure once. Raises `LoadFailed`."""
        load = drive(
            self.prepare(contender, folder),
            folder,
            seconds=seconds or self.seconds,
            connections=self.connections,
            processes=contender.processes,
        )
        return self.read(contender, load)

    def read(self, contender: Contender, load: Load) -> Sample:
        """Turn what the load said into the figure's units."""
        front = load.cpu.get("proxy", load.cpu["node"])
        if self.size:
            gib = load.requests * self.size / 2**30
            rate, cpu, node = (
                load.requests * self.size / 2**20 / load.seconds,
                front / gib,
                load.cpu["node"] / gib,
            )
        else:
            rate, cpu, node = load.rate, front / load.requests * 1e6, load.cpu["node"] / load.requests * 1e6
        memory = max(resident_mib(contender.processes.get("proxy", contender.processes["node"])))
        return Sample(rate, cpu, node, load.p50 * 1e6, load.p99 * 1e6, memory)


def fill(contender: Contender, folder: Path) -> None:
    """Put the objects there that are read, through the contender itself."""
    put, bucket, prefix = contender.client.put_object, contender.bucket, contender.prefix
    put(Bucket=bucket, Key=f"{prefix}small", Body=os.urandom(SMALL))
    put(Bucket=bucket, Key=f"{prefix}large", Body=_large(folder).read_bytes())


def fill_listing(contender: Contender) -> None:
    """Put a thousand keys under `list/`."""
    for number in range(_KEYS):
        contender.client.put_object(
            Bucket=contender.bucket, Key=f"{contender.prefix}list/key-{number:04}", Body=b""
        )


def _large(folder: Path) -> Path:
    path = folder / "large.bin"
    if not path.exists():
        path.write_bytes(os.urandom(LARGE))
    return path


def _small(folder: Path) -> Path:
    path = folder / "small.bin"
    if not path.exists():
        path.write_bytes(os.urandom(SMALL))
    return path


def _puts(contender: Contender, body: Path, count: int) -> Request:
    sha256 = hashlib.sha256(body.read_bytes()).hexdigest()
    first, *others = (contender.signed_put(f"put-{number}", body, sha256) for number in range(count))
    return replace(first, others=tuple(others))


def _put_small(contender: Contender, folder: Path) -> Request:
    return _puts(contender, _small(folder), 256)


def _put_large(contender: Contender, folder: Path) -> Request:
    return _puts(contender, _large(folder), 3)


def _put_chunked(contender: Contender, folder: Path) -> Request:
    payload = _large(folder).read_bytes()
    first, *others = (contender.chunked_put(f"put-{number}", payload, folder) for number in range(3))
    return replace(first, others=tuple(others))


def _list(contender: Contender, folder: Path) -> Request:  # noqa: ARG001
    return contender.listing("list/")


FIGURES: Final = {
    figure.name: figure
    for figure in (
        Figure("get", "GET of 4 KiB", "request", lambda one, _: one.presigned("small")),
        Figure("head", "HEAD of 4 KiB", "request", lambda one, _: one.presigned("small", "HEAD")),
        Figure("put", "PUT of 4 KiB", "request", _put_small),
        Figure("list", "Listing of 1,000 keys", "request", _list, connections=2),
        Figure(
            "large-get",
            "GET of 64 MiB",
            "GiB",
            lambda one, _: one.presigned("large"),
            connections=2,
            size=LARGE,
        ),
        Figure(
            # Two connections saturate two cores that client, node and gate share; one shows the pipeline.
            "large-get-1",
            "GET of 64 MiB, one connection",
            "GiB",
            lambda one, _: one.presigned("large"),
            connections=1,
            size=LARGE,
        ),
        Figure("large-put", "PUT of 64 MiB, hash signed", "GiB", _put_large, connections=2, size=LARGE),
        Figure("chunked-put", "PUT of 64 MiB, chunks signed", "GiB", _put_chunked, connections=2, size=LARGE),
    )
}


def half_load(contender: Contender, folder: Path, seconds: float) -> tuple[float, float]:
    """Return the rate and the p99 (microseconds) of the small GET at about half of what saturates.

    That half is driven for 5 seconds at least: the p99 of a short time is the one pause in it.
    """
    figure = FIGURES["get"]
    full = figure.measure(contender, folder, seconds)
    request = figure.prepare(contender, folder)
    # Each of 16 connections then takes twice as long for a request as it has to.
    pause = 16 / (full.rate / 2) * 1000 - full.p50 / 2000
    load = drive(
        request,
        folder,
        seconds=max(seconds, 5),
        connections=16,
        processes=contender.processes,
        pause_ms=pause,
    )
    return load.rate, load.p99 * 1e6


def crowd(contender: Contender, folder: Path, seconds: float) -> Sample:
    """Measure the small GET on 256 connections, beside 1,000 that idle after one request each."""
    host, _, port = contender.endpoint.removeprefix("http://").partition(":")
    request = FIGURES["get"].prepare(contender, folder)
    target = request.url.removeprefix(contender.endpoint)
    ask = f"GET {target} HTTP/1.1\r\nHost: {contender.host}\r\n\r\n".encode()
    with ExitStack() as idle:
        for _ in range(1000):
            connection = idle.enter_context(socket.create_connection((host, int(port)), timeout=30))
            connection.sendall(ask)
            got = 0
            while got < SMALL:
                got += len(connection.recv(65536))
        load = drive(request, folder, seconds=seconds, connections=256, processes=contender.processes)
        return FIGURES["get"].read(contender, load)
