"""Worker processes, as processes: start, crash, give up, stop, and who is left behind."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.certificates import make_certificate
from tests.servers import clean_env, free_port

ROOT = Path(__file__).parents[2]


class Proxy:
    """A served application in a process, its standard error in a file."""

    def __init__(self, log: Path, **options: object) -> None:
        self.log = log
        self.port = int(str(options.setdefault("port", free_port())))
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.proxy.serve_app", json.dumps(options)],
                cwd=ROOT,
                env=clean_env(),
                stderr=errors,
            )

    def get(self, path: str = "/") -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as response:
            return str(response.read(), "ascii")

    def until(self, condition: Callable[[], object], what: str) -> None:
        for _ in range(400):
            if condition():
                return
            time.sleep(0.02)
        raise AssertionError(f"never: {what}\n{self.log.read_text()}")

    def until_logged(self, words: str) -> None:
        self.until(lambda: words in self.log.read_text(), words)

    def pids(self) -> set[str]:
        return {self.get() for _ in range(30)}

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Proxy]]:
    started: list[Proxy] = []

    def start(**options: object) -> Proxy:
        proxy = Proxy(tmp_path / f"{len(started)}.log", **options)
        started.append(proxy)
        return proxy

    yield start
    for proxy in started:
        if proxy.process.poll() is None:
            proxy.process.kill()
        proxy.process.wait()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_and_stops(start: Callable[..., Proxy], workers: int, sig: signal.Signals) -> None:
    proxy = start(workers=workers)
    proxy.until_logged("serving S3 on http://127.0.0.1:")
    assert len(proxy.pids()) == workers
    children = proxy.children()
    assert len(children) == (0 if workers == 1 else workers)
    proxy.process.send_signal(sig)
    assert proxy.process.wait(8) == 0
    assert proxy.log.read_text().count("lifespan over") == workers
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_any_free_port(start: Callable[..., Proxy]) -> None:
    proxy = start(port=0, workers=2)
    proxy.until_logged("serving S3 on")
    found = re.search(r"127\.0\.0\.1:(\d+)", proxy.log.read_text())
    assert found is not None
    proxy.port = int(found.group(1))
    assert proxy.get()


def test_requests_under_way_finish_and_stuck_ones_are_cancelled(start: Callable[..., Proxy]) -> None:
    proxy = start(grace_seconds=1.0)
    proxy.until_logged("serving")
    with (
        closing(socket.create_connection(("127.0.0.1", proxy.port), timeout=8)) as slow,
        closing(socket.create_connection(("127.0.0.1", proxy.port), timeout=8)) as stuck,
    ):
        slow.sendall(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        stuck.sendall(b"GET /stuck HTTP/1.1\r\nHost: h\r\n\r\n")
        time.sleep(0.2)
        began = time.monotonic()
        proxy.process.terminate()
        assert b"200 OK" in slow.recv(1000)
        assert proxy.process.wait(8) == 0
        assert time.monotonic() - began < 4
        assert "stuck was cancelled" in proxy.log.read_text()


def test_a_crashed_worker_is_replaced(start: Callable[..., Proxy]) -> None:
    proxy = start(workers=2)
    proxy.until_logged("serving")
    before = set(proxy.children())
    with pytest.raises(OSError):
        proxy.get("/crash")
    proxy.until_logged("ended with status 7; starting another")
    proxy.until(lambda: len(set(proxy.children()) - before) == 1, "another worker")
    proxy.until(lambda: len(proxy.pids()) == 2, "two workers that answer")


@pytest.mark.parametrize("mode", ["fails", "dies"])
def test_workers_that_never_start_end_it(start: Callable[..., Proxy], mode: str) -> None:
    proxy = start(workers=2, mode=mode)
    assert proxy.process.wait(10) == 1
    assert "giving up" in proxy.log.read_text()


def test_one_worker_that_cannot_start_ends_it(start: Callable[..., Proxy]) -> None:
    assert start(mode="fails").process.wait(10) != 0


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [1, 2])
def test_a_taken_port_is_one_sentence(start: Callable[..., Proxy], first: int, second: int) -> None:
    holder = start(workers=first)
    holder.until_logged("serving")
    late = start(workers=second, port=holder.port)
    assert late.process.wait(10) == 1
    assert (
        late.log.read_text()
        == f"The proxy cannot listen on 127.0.0.1 port {holder.port}: Address already in use.\n"
    )


def test_tls(start: Callable[..., Proxy], tmp_path: Path) -> None:
    path = make_certificate(tmp_path / "proxy.pem", "proxy.example", "127.0.0.1")
    proxy = start(tls_cert=str(path))
    proxy.until_logged("serving S3 on https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=str(path))
    client = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=5, context=trusting)
    for size in (10, 5_000_000, 10):
        client.request("GET", f"/{size}")
        assert len(client.getresponse().read()) == size
    client.close()
    proxy.process.terminate()
    assert proxy.process.wait(8) == 0


def test_a_missing_certificate_is_one_sentence(start: Callable[..., Proxy]) -> None:
    proxy = start(tls_cert="missing.pem")
    assert proxy.process.wait(10) == 1
    said = "The TLS certificate missing.pem cannot be used: No such file or directory.\n"
    assert proxy.log.read_text() == said


def test_workers_die_with_their_parent(start: Callable[..., Proxy]) -> None:
    proxy = start(workers=2)
    proxy.until_logged("serving")
    children = proxy.children()
    proxy.process.kill()
    proxy.process.wait()

    def all_gone() -> bool:
        return not any(_is_running(pid) for pid in children)

    proxy.until(all_gone, "orphans ended")


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_command_needs_a_secret(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "--port", "0"],
        cwd=ROOT,
        env=clean_env(WIO_SECRET="too-short"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "32 characters" in done.stderr
    assert "too-short" not in done.stderr
    assert os.linesep not in done.stderr.strip()
