"""The time of one admit, as the number of workspaces grows: it stays the same.

Run from a checkout: `python -m bench.admit [--workspaces 1 10000 1000000] [--rounds 5000]`. Prints a Markdown table.

A valkey-server of its own is filled with that many workspaces, each with an owner, a key, a name and usage at all four
levels, and limits at each level; then admits with a hold and their settlements are measured one after another, on one
connection, on workspaces picked at random. `server` is what the server itself spent in the script, without the network
(`INFO commandstats`). A million workspaces take about 1.3 GB of the server's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import redis.asyncio as redis_asyncio

from quota import Admitted, LiveSettings, LiveState, Outcome, Settlement, new_id
from quota.epoch import rebuild
from quota.gate import Gate
from quota.layout import Layout
from quota.wire import Wire
from tests import servers

_BATCH = 5_000
_ROOTS = 10


def _id(n: int, what: str) -> str:
    return f"{what}{n:014d}"


def _rows(n: int) -> dict[str, dict[str, str]]:
    """One workspace and all that belongs to it, by hash."""
    user, workspace, root = _id(n, "us"), _id(n, "ws"), _id(n % _ROOTS, "ro")
    record: dict[str, Any] = {
        "owner": user, "names": [f"user{n}.data"], "root": root, "node": "node1", "bucket": "data", "v": 1,
        "prefix": f"base/user{n}/data.{workspace}/", "public": False, "versioned": False, "state": "open",
        "created": 1_700_000_000_000,
    }  # fmt: skip
    key = {
        "user": user, "kind": "key", "secret": "s" * 90, "token": None, "parents": [], "workspaces": None,
        "permission": None, "expires": None, "enabled": True, "v": 1,
    }  # fmt: skip
    usage = {
        f"{unit}:{measure}": "1000"
        for unit in (f"w:{workspace}", f"u:{user}", f"ur:{user}:{root}")
        for measure in ("b", "o")
    }
    return {
        "USERS": {
            user: json.dumps({"handle": f"user{n}", "enabled": True, "admin": False, "groups": [], "v": 1})
        },
        "WORKSPACES": {workspace: json.dumps(record)},
        "CREDENTIALS": {f"WIOA{n:016d}": json.dumps(key)},
        "NAMES": {f"user{n}.data": workspace},
        "USAGE": usage,
        "LIMITS": {f"w:{workspace}": json.dumps({"bytes": 1 << 50, "objects": None, "v": 1})},
    }


async def _fill(redis: redis_asyncio.Redis, layout: Layout, first: int, last: int) -> None:
    for start in range(first, last, _BATCH):
        merged: dict[str, dict[Any, Any]] = {}
        for n in range(start, min(start + _BATCH, last)):
            for name, fields in _rows(n).items():
                merged.setdefault(name, {}).update(fields)
        async with redis.pipeline(transaction=False) as pipe:
            for name, fields in merged.items():
                pipe.hset(layout[name], mapping=fields)
            await pipe.execute()


async def _measure(gate: Gate, redis: redis_asyncio.Redis, count: int, rounds: int) -> dict[str, float]:
    admits: list[float] = []
    settles: list[float] = []
    await redis.config_resetstat()
    for _ in range(rounds):
        n, hold = random.randrange(count), new_id()
        started = time.perf_counter()
        answer = await gate.admit(
            f"WIOA{n:016d}", "data", 2, "put", hold, b"a/key/of/some/length.bin", size=5, objects=1
        )
        admitted = time.perf_counter()
        assert isinstance(answer, Admitted), answer
        await gate.settle([Settlement(hold, Outcome.DONE, 0, 0, 5, 1)])
        settles.append(time.perf_counter() - admitted)
        admits.append(admitted - started)
    stats = await redis.info("commandstats")
    memory = await redis.info("memory")
    return {
        "median": statistics.median(admits) * 1e6,
        "p99": statistics.quantiles(admits, n=100)[98] * 1e6,
        "settle": statistics.median(settles) * 1e6,
        "server": stats["cmdstat_evalsha"]["usec_per_call"],
        "memory": memory["used_memory"] / 1e6,
    }


async def _run(url: str, sizes: list[int], rounds: int) -> None:
    settings = LiveSettings(redis_url=url, realm="bench", secret="s" * 32)  # type: ignore[arg-type]
    live = await LiveState.connect(settings, timeout=60)
    async with rebuild(live, keep_counts=False, wait_for_leases=False):
        pass
    defaults = {
        limit: json.dumps({"bytes": 1 << 52, "objects": 1 << 40, "v": 1})
        for limit in ("w:*", "u:*", "ur:*:*", "r:*")
    }
    await live.redis.hset(live.layout["LIMITS"], mapping=defaults)
    wire = Wire(url)
    await wire.connect()
    gate = Gate(wire, "bench")
    gate.epoch, gate.worker = await live.epoch(), "worker"
    print(
        "| workspaces | admit, median (µs) | admit, 99th (µs) | settle, median (µs) | server, mean (µs) | memory (MB) |"
    )
    print("|---:|---:|---:|---:|---:|---:|")
    filled = 0
    for size in sorted(sizes):
        await _fill(live.redis, live.layout, filled, size)
        filled = size
        await _measure(gate, live.redis, size, rounds // 10 + 1)
        told = await _measure(gate, live.redis, size, rounds)
        print(
            f"| {size:,} | {told['median']:.0f} | {told['p99']:.0f} | {told['settle']:.0f} | {told['server']:.0f} "
            f"| {told['memory']:.0f} |",
            flush=True,
        )
    await gate.aclose()
    await wire.aclose()
    await live.aclose()


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description="The time of one admit, as the number of workspaces grows.")
    parser.add_argument("--workspaces", type=int, nargs="+", default=[1, 10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, servers.valkey_server(Path(folder)) as valkey:
        asyncio.run(_run(valkey.url, asked.workspaces, asked.rounds))


if __name__ == "__main__":
    main()
