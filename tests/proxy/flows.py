"""Transfers that take their time, over plain sockets, so that a test sees every byte and how it ended."""

from __future__ import annotations

import socket
import threading
import time
from abc import ABC, abstractmethod
from urllib.parse import urlsplit

#: What may still come after a cut: one write, and the kernel's buffers on both sides of a loopback connection.
ALLOWANCE = 256 * 1024 + 2 * 256 * 1024 + 256 * 1024


class Flow(threading.Thread, ABC):
    """One transfer. `moved` payload bytes so far; `ended` is '', then 'whole', 'short' (a clean end too early) or
    'cut' (an error that no client can take for an end)."""

    def __init__(self, url: str, *, pause: float) -> None:
        super().__init__(daemon=True)
        self.parts = urlsplit(url)
        self.pause = pause
        self.moved = 0
        self.last = 0.0
        self.ended = ""
        self.status = 0
        self.error: OSError | None = None

    def connect(self) -> socket.socket:
        sock = socket.socket()
        # Small, so that what the kernel holds for us is little.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        sock.settimeout(60)
        sock.connect((self.parts.hostname or "", self.parts.port or 80))
        return sock

    def head(self, method: str, *headers: str) -> bytes:
        target = f"{self.parts.path}?{self.parts.query}" if self.parts.query else self.parts.path
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.parts.netloc}", *headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def note(self, size: int) -> None:
        self.moved += size
        self.last = time.monotonic()

    def run(self) -> None:
        try:
            with self.connect() as sock:
                self.ended = self.move(sock)
        except OSError as error:
            self.error = error
            self.ended = "cut"

    @abstractmethod
    def move(self, sock: socket.socket) -> str:
        """Send or read it all, noting what moved; returns how it ended."""

    def wait_moving(self, size: int = 300_000, seconds: float = 30) -> None:
        deadline = time.monotonic() + seconds
        while self.moved < size and not self.ended and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.moved >= size, (self.moved, self.ended, self.status)
        assert not self.ended, (self.moved, self.status)

    def wait_end(self, seconds: float = 30) -> str:
        self.join(seconds)
        assert not self.is_alive(), f"still running after {self.moved} bytes"
        return self.ended


class Download(Flow):
    """GET by a (presigned) URL, 64 KiB every `pause` seconds."""

    def __init__(self, url: str, *, pause: float = 0.02) -> None:
        super().__init__(url, pause=pause)

    def move(self, sock: socket.socket) -> str:
        sock.sendall(self.head("GET"))
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            more = sock.recv(4096)
            if not more:
                return "cut"
            buffer += more
        head, _, body = buffer.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ", 2)[1])
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        self.note(len(body))
        while self.moved < length:
            time.sleep(self.pause)
            more = sock.recv(65536)
            if not more:
                return "short"
            self.note(len(more))
        return "whole"


class Upload(Flow):
    """PUT of `size` bytes by a presigned URL, 64 KiB every `pause` seconds; `status` is the answer's."""

    def __init__(self, url: str, size: int, *, pause: float = 0.02) -> None:
        super().__init__(url, pause=pause)
        self.size = size

    def move(self, sock: socket.socket) -> str:
        sock.sendall(self.head("PUT", f"Content-Length: {self.size}"))
        while self.moved < self.size:
            time.sleep(self.pause)
            block = b"u" * min(65536, self.size - self.moved)
            sock.sendall(block)
            self.note(len(block))
        answer = sock.recv(65536)
        if not answer:
            return "cut"
        self.status = int(answer.split(b" ", 2)[1])
        return "whole"
