"""Driving a server with wrk, which costs little itself, and reading what it says."""

from __future__ import annotations

import re
import selectors
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import programs
from bench.machine import cpu_seconds
from tests.servers import clean_env


class LoadFailed(Exception):
    """The server answered with errors, or not at all: nothing was measured."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent again and again: a URL that may be presigned, headers, and the file that is the body.

    With `others` it takes turns with those: uploads of one key at once would wait for each other.
    """

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: Path | None = None
    others: tuple[Request, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it. Rates per second, times in seconds, `cpu` seconds of each group of processes."""

    requests: int
    rate: float
    p50: float
    p99: float
    bytes_read: float
    seconds: float
    cpu: dict[str, float]


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_SIZES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}


def drive(
    request: Request,
    folder: Path,
    *,
    seconds: float,
    connections: int,
    processes: dict[str, list[int]],
    pause_ms: float = 0,
) -> Load:
    """Send `request` on so many connections for so long. `pause_ms`: a mean pause of each between two requests.

    Raises `LoadFailed` when one answer was an error.
    """
    if request.method == "HEAD":
        return _drive_heads(request, seconds=seconds, connections=connections, processes=processes)
    script = folder / "load.lua"
    script.write_text(_script(request, pause_ms))
    command: Sequence[str | Path] = [
        programs.find("wrk"),
        "--threads", "1",
        "--connections", str(connections),
        "--duration", f"{max(1, round(seconds))}s",
        "--timeout", "30s",
        "--latency",
        "--script", script,
        request.url,
    ]  # fmt: skip
    before = {name: cpu_seconds(pids) for name, pids in processes.items()}
    done = subprocess.run(command, capture_output=True, text=True, env=clean_env(), check=False)
    cpu = {name: cpu_seconds(pids) - before[name] for name, pids in processes.items()}
    said = done.stdout
    if done.returncode or "Non-2xx" in said or "Socket errors" in said:
        raise LoadFailed(f"{request.method} {request.url.partition('?')[0]}: {said}{done.stderr}")
    total = re.search(r"(\d+) requests in ([\d.]+)(\w+), ([\d.]+)(\w+) read", said)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if total is None or rate is None or not int(total[1]):
        raise LoadFailed(f"wrk measured nothing: {said}{done.stderr}")
    return Load(
        int(total[1]),
        float(rate[1]),
        _percentile(said, 50),
        _percentile(said, 99),
        float(total[4]) * _SIZES[total[5]],
        float(total[2]) * _UNITS[total[3]],
        cpu,
    )


def _drive_heads(
    request: Request, *, seconds: float, connections: int, processes: dict[str, list[int]]
) -> Load:
    """The same for HEAD, whose answers wrk waits to see a body of."""
    parts = urlsplit(request.url)
    head = dict(request.headers).get("Host", parts.netloc)
    ask = f"HEAD {parts.path}?{parts.query} HTTP/1.1\r\nHost: {head}\r\n\r\n".encode()
    times: list[float] = []
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        began: dict[socket.socket, float] = {}
        for _ in range(connections):
            one = stack.enter_context(socket.create_connection((parts.hostname or "", parts.port or 80)))
            selector.register(one, selectors.EVENT_READ)
        before = {name: cpu_seconds(pids) for name, pids in processes.items()}
        start = now = time.perf_counter()
        for key in list(selector.get_map().values()):
            began[key.fileobj] = now  # type: ignore[index]
            key.fileobj.sendall(ask)  # type: ignore[union-attr]
        while now - start < seconds:
            for key, _ in selector.select(seconds):
                one = key.fileobj  # type: ignore[assignment]
                # A head this small comes in one piece.
                answer, now = one.recv(65536), time.perf_counter()
                if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"\r\n\r\n"):
                    raise LoadFailed(f"HEAD {parts.path}: {answer[:200]!r}")
                times.append(now - began[one])
                began[one] = now
                one.sendall(ask)
        cpu = {name: cpu_seconds(pids) - before[name] for name, pids in processes.items()}
    times.sort()
    count = len(times)
    return Load(
        count, count / (now - start), times[count // 2], times[count * 99 // 100], 0.0, now - start, cpu
    )


def _percentile(said: str, which: int) -> float:
    found = re.search(rf"^\s+{which}%\s+([\d.]+)(\w+)\s*$", said, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")


def _script(request: Request, pause_ms: float) -> str:
    lines = [
        "local requests, turn, bodies = {}, 0, {}",
        "local function body(path)",
        '  if not bodies[path] then bodies[path] = io.open(path, "rb"):read("*a") end',
        "  return bodies[path]",
        "end",
        "function init()",
    ]
    for one in (request, *request.others):
        headers = ", ".join(f"[{_quote(name)}] = {_quote(value)}" for name, value in one.headers)
        body = "nil" if one.body is None else f"body({_quote(str(one.body))})"
        target = one.url[one.url.index("/", len("http://")) :]
        lines.append(
            f"  requests[#requests + 1] = wrk.format({_quote(one.method)}, {_quote(target)}, {{{headers}}}, {body})"
        )
    lines += [
        "end",
        "function request()",
        "  turn = turn % #requests + 1",
        "  return requests[turn]",
        "end",
    ]
    if pause_ms:
        # Uneven, so that connections do not march in step.
        lines.append(f"function delay() return math.floor(-{pause_ms} * math.log(1 - math.random())) end")
    return "\n".join(lines) + "\n"


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
