"""How much of a worker one client may hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds on one connection, in bytes and seconds (protocol, rules 14 and 20).

    `head_bytes`, `headers`, `head_seconds`: size of a request's head, number of its headers, time it may
    take.
    `keep_alive_seconds`: how long an idle connection is kept. `body_rate`, `body_seconds`: a body that
    comes with fewer bytes a second, averaged over so many seconds spent waiting for it, is cut.
    `linger_seconds`: how long the rest of a refused body is read and dropped, so that the client sees the
    answer and not a broken pipe.
    `stall_seconds`: how long a client may take nothing of an answer. `read_bytes`: how much of a body is
    read ahead of the application. `send_buffer_bytes`: the kernel's, so what may still drain after a cut
    (Linux doubles it for its own bookkeeping). `write_bytes`: what may wait in the process beyond it before
    writers wait; with 0 each write goes to the kernel at once, and only the rest of the last one ever
    waits. `connections` of one worker; `pipelined` requests that may wait on one connection.
    """

    head_bytes: int = 64 * 1024
    headers: int = 256
    head_seconds: float = 10.0
    keep_alive_seconds: float = 75.0
    body_rate: int = 1024
    body_seconds: float = 20.0
    linger_seconds: float = 2.0
    stall_seconds: float = 120.0
    read_bytes: int = 256 * 1024
    send_buffer_bytes: int = 256 * 1024
    write_bytes: int = 0
    connections: int = 10_000
    pipelined: int = 16
