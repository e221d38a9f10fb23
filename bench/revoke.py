"""How long a revoke takes: from the command to the last byte moved, under many running transfers.

Run from a checkout: `python -m bench.revoke [--workers 1 4 8] [--transfers 200] [--rounds 7]`. Prints a Markdown table.

All is real but the storage node, which hands out bytes at a steady pace (16 KiB every 0.1 s to each, as to clients on
lines of 1.3 Mbit/s), so that the machine is busy and not flooded, and clients take bytes as soon as they come: what is
measured is the gate, not how full somebody's buffers are. The clients are plain sockets in one process of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from quota import Change, LiveSettings, LiveState, new_id
from quota.epoch import rebuild
from tests import servers
from tests.proxy.gates import KEYS, SECRET, Gate, secret_of

PIECE = b"b" * 16 * 1024
PACE_SECONDS = 0.1
LENGTH = 1 << 30


@dataclass(frozen=True, slots=True)
class Node:
    """What `Gate` needs to know of a storage node."""

    endpoint: str
    access_key: str = "node"
    secret_key: str = "node-secret"


def serve_node(port: int) -> None:
    """A node whose every object is a gibibyte at a steady pace."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(
                    b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\netag: "e"\r\n'
                    b"last-modified: Tue, 01 Jan 2030 00:00:00 GMT\r\n\r\n" % LENGTH
                )
                while True:
                    writer.write(PIECE)
                    await writer.drain()
                    await asyncio.sleep(PACE_SECONDS)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def main() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
            await server.serve_forever()

    asyncio.run(main())


def run_clients(urls: list[str], port: int, pipe: Connection) -> None:
    """Download all of them; say when all move, and, when all have ended, when each got its last byte."""

    async def one(target: str, moving: asyncio.Semaphore) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        last, told = 0.0, False
        try:
            while await reader.read(65536):
                last = time.monotonic()
                if not told:
                    told = True
                    moving.release()
        except OSError:
            pass
        writer.close()
        return last

    async def main() -> None:
        moving = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(one(url, moving)) for url in urls]
        for _ in tasks:
            await moving.acquire()
        await asyncio.sleep(1.0)
        pipe.send("moving")
        pipe.send(await asyncio.gather(*tasks))

    asyncio.run(main())


async def one_round(gate: Gate, live: LiveState, urls: list[str]) -> tuple[float, float]:
    """Return the seconds from the command until it returned, and until the last byte of all was moved."""
    await live.apply([gate.grant("photos", "u:bob", 1)])
    here, there = multiprocessing.Pipe()
    clients = multiprocessing.Process(target=run_clients, args=(urls, gate.port, there))
    clients.start()
    assert await asyncio.to_thread(here.recv) == "moving"
    began = time.monotonic()
    number = await live.apply(
        [Change("grant", "wsphotos|u:bob", next(gate.versions), None)], ["s:share-photos-u-bob"]
    )
    acks = await live.await_acks(number)
    returned = time.monotonic() - began
    lasts: list[float] = await asyncio.to_thread(here.recv)
    clients.join()
    assert acks.transfers_cut == len(urls), acks
    assert acks.workers_unreachable == 0, acks
    return returned, max(lasts) - began


async def measure(
    redis_url: str, folder: Path, workers: int, transfers: int, rounds: int
) -> list[tuple[float, float]]:
    """Run the rounds with so many workers."""
    node_port, port, realm = servers.free_port(), servers.free_port(), f"b{new_id()}"
    node = multiprocessing.Process(target=serve_node, args=(node_port,), daemon=True)
    node.start()
    settings = LiveSettings(redis_url=redis_url, realm=realm, secret=SECRET, lease_seconds=5.0)
    log = folder / f"proxy-{workers}.log"
    endpoint = f"http://127.0.0.1:{port}"
    gate = Gate(settings, Node(f"http://127.0.0.1:{node_port}"), endpoint, "bench", port, log)  # type: ignore[arg-type]
    live = await LiveState.connect(settings)
    async with rebuild(live, keep_counts=False, wait_for_leases=False) as building:
        await building.load(gate.changes())
    client = gate.client_of(KEYS["bob"], secret_of("bob"))
    urls = [
        client.generate_presigned_url(
            "get_object", Params={"Bucket": "alice.photos", "Key": f"k{i}"}
        ).removeprefix(endpoint)
        for i in range(transfers)
    ]
    command = [sys.executable, "-m", "proxy", "--port", str(port), "--workers", str(workers)]
    env = {"WIO_REDIS_URL": redis_url, "WIO_REALM": realm, "WIO_SECRET": SECRET, "WIO_ACCESS_LOG": "false"}
    try:
        with servers.running(
            command,
            ready=lambda: servers.http_status(endpoint, "/-/ready") == 200,
            log=log,
            env=servers.clean_env(**env),
        ):
            await asyncio.sleep(2.0)
            return [await one_round(gate, live, urls) for _ in range(rounds)]
    finally:
        await live.aclose()
        node.terminate()


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--transfers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name, servers.valkey_server(Path(name) / "valkey") as valkey:
        for workers in asked.workers:
            found = asyncio.run(measure(valkey.url, Path(name), workers, asked.transfers, asked.rounds))
            returned, last = ([one[i] * 1000 for one in found] for i in (0, 1))
            rows.append(
                f"| {workers} | {asked.transfers} | {statistics.median(last):.0f} ms | {max(last):.0f} ms "
                f"| {statistics.median(returned):.0f} ms | {max(returned):.0f} ms |"
            )
    print(f"{os.cpu_count()} cores, {asked.rounds} rounds each\n")
    print("| workers | transfers | last byte, median | last byte, worst | command, median | command, worst |")
    print("|---:|---:|---:|---:|---:|---:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
