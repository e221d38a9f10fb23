"""Driving a server, with wrk where that can, as it costs little itself, and reading off what came of it."""

from __future__ import annotations

import http.client
import itertools
import re
import selectors
import socket
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
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


#: Uploads of so many bytes are few in a measurement: one that is under way at its end must not be lost.
_LARGE: Final = 2**20
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
    if request.body is not None and request.body.stat().st_size >= _LARGE:
        return _drive_uploads(request, seconds=seconds, connections=connections, processes=processes)
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


def _drive_uploads(
    request: Request, *, seconds: float, connections: int, processes: dict[str, list[int]]
) -> Load:
    """The same for large uploads, each of which is finished and counted with the time that it took.

    wrk counts what has ended when the time is up: of eight uploads in two seconds that is one more or one less.
    """
    parts = urlsplit(request.url)
    every = (request, *request.others)
    if len(every) < connections:
        raise ValueError("two connections would write to one key")

    def send(number: int) -> tuple[list[float], float]:
        times: list[float] = []
        with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)) as connection:
            began = now = time.perf_counter()
            for one in itertools.cycle(every[number::connections]):
                _upload(connection, one)
                before, now = now, time.perf_counter()
                times.append(now - before)
                if now - began >= seconds:
                    return times, len(times) / (now - began)
        raise AssertionError("a cycle has no end")

    cpu = {name: cpu_seconds(pids) for name, pids in processes.items()}
    try:
        with ThreadPoolExecutor(connections) as pool:
            done = list(pool.map(send, range(connections)))
    except (OSError, http.client.HTTPException) as failure:
        raise LoadFailed(f"PUT {parts.path}: {failure!r}") from failure
    cpu = {name: cpu_seconds(pids) - cpu[name] for name, pids in processes.items()}
    times = sorted(itertools.chain.from_iterable(times for times, _ in done))
    rate, count = sum(rate for _, rate in done), len(times)
    return Load(count, rate, times[count // 2], times[count * 99 // 100], 0.0, count / rate, cpu)


def _upload(connection: http.client.HTTPConnection, request: Request) -> None:
    assert request.body is not None
    url = urlsplit(request.url)
    connection.putrequest("PUT", f"{url.path}?{url.query}" if url.query else url.path, skip_host=True)
    for name, value in {"Host": url.netloc, **dict(request.headers)}.items():
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(request.body.stat().st_size))
    connection.endheaders()
    with request.body.open("rb") as body:
        connection.sock.sendfile(body)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise LoadFailed(f"PUT {url.path}: {answer.status} {said[:200]!r}")


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
