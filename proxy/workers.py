"""Worker processes: one event loop and one listening socket each, and a parent that keeps them running.

Every worker has its own socket with `SO_REUSEPORT`, because a shared one starves some of them
(encode/uvicorn#2472). With one worker everything runs in this process.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import select
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop
from uvicorn.config import Config

from proxy import compiled
from proxy.server.limits import ServerLimits
from proxy.server.protocol import make_protocol
from proxy.worker_server import WorkerServer

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication

_log = logging.getLogger(__name__)

#: So many deaths in a row before a worker was ready, and the parent gives up.
_STARTUP_ATTEMPTS: Final = 3
_LAST_BACKOFF_SECONDS: Final = 5.0
#: What a worker may take beyond its grace, for cancelled requests and the application's own shutdown.
_EXIT_SECONDS: Final = 8.0
_PR_SET_PDEATHSIG: Final = 1
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class ServeError(Exception):
    """Serving cannot begin; `str()` is one sentence for people."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where and how to serve. Port 0 is any free one. `grace_seconds`: for requests under way at shutdown."""

    host: str = "127.0.0.1"
    port: int = 9000
    workers: int = 1
    tls_cert: Path | None = None
    tls_key: Path | None = None
    limits: ServerLimits = field(default_factory=ServerLimits)
    grace_seconds: float = 3.0


def serve(options: ServeOptions, make_app: Callable[[], ASGIApplication]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status for the process.

    `make_app` is called once in each worker, before its event loop runs. Raises `ServeError` when the port
    is taken or the certificate cannot be used. With several workers one that dies is replaced; when they
    die again and again before they are ready, all are stopped and the status is 1.
    """
    _check_certificate(options)
    if options.workers == 1:
        listener = _bind(options.host, options.port, is_shared=False)
        return _work(options, make_app, listener, lambda: _announce(options, listener))
    # Nobody may be there already: SO_REUSEPORT alone would quietly share the port with another proxy of ours.
    _bind(options.host, options.port, is_shared=False).close()
    # Bound and never listening, it takes no connection but keeps the port ours while workers come and go.
    with _bind(options.host, options.port, is_shared=True) as anchor:
        return _Supervisor(options, make_app, anchor).run()


def _check_certificate(options: ServeOptions) -> None:
    if options.tls_cert is None:
        if options.tls_key is not None:
            raise ServeError("A TLS key was given without a certificate.")
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ServeError(f"The TLS certificate {options.tls_cert} cannot be used: {reason}.") from error


def _bind(host: str, port: int, *, is_shared: bool) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_shared:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ServeError(f"The proxy cannot listen on {host} port {port}: {error.strerror}.") from error
    return listener


def _announce(options: ServeOptions, listener: socket.socket) -> None:
    scheme = "https" if options.tls_cert is not None else "http"
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    count = "1 worker" if options.workers == 1 else f"{options.workers} workers"
    kind = "compiled" if compiled.is_used() else "plain Python"
    _log.info("serving S3 on %s://%s:%d with %s, %s", scheme, host, port, count, kind)


def _work(
    options: ServeOptions,
    make_app: Callable[[], ASGIApplication],
    listener: socket.socket,
    on_ready: Callable[[], None],
) -> int:
    """Be a worker; return its exit status."""
    config = Config(
        make_app(),
        http=make_protocol(options.limits),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=4096,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)

    def ready() -> None:
        # What exists now stays: a full collection need not look at it again.
        gc.collect()
        gc.freeze()
        # A request leaves no cycles behind: at the default a collection would come every third request.
        gc.set_threshold(50_000, 20, 20)
        on_ready()

    server = WorkerServer(config, grace_seconds=options.grace_seconds, on_ready=ready)
    try:
        uvloop.run(server.serve(sockets=[listener]))
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 1
    return 0


@dataclass(slots=True)
class _Worker:
    pid: int
    ready_pipe: int
    is_ready: bool = False

    def look(self) -> None:
        """See whether it has said that it is ready."""
        if not self.is_ready and select.select([self.ready_pipe], [], [], 0)[0]:
            self.is_ready = os.read(self.ready_pipe, 1) == b"+"


class _Supervisor:
    """Forks workers before any event loop or thread exists here, and never runs one itself."""

    def __init__(
        self, options: ServeOptions, make_app: Callable[[], ASGIApplication], anchor: socket.socket
    ) -> None:
        self._options = options
        self._make_app = make_app
        self._anchor = anchor
        self._workers: dict[int, _Worker] = {}
        self._restart_at: list[float] = []
        self._failed_starts = 0
        self._is_announced = False

    def run(self) -> int:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for _ in range(self._options.workers):
                self._spawn()
            status = self._watch()
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return status

    def _watch(self) -> int:
        while True:
            is_settled = self._is_announced and not self._restart_at and self._are_all_ready()
            received = signal.sigtimedwait(_SIGNALS, 60.0 if is_settled else 0.1)
            if received is not None and received.si_signo != signal.SIGCHLD:
                return 0
            for worker in self._workers.values():
                worker.look()
            self._reap()
            if self._failed_starts >= _STARTUP_ATTEMPTS:
                _log.error("the workers die before they are ready; giving up")
                return 1
            now = time.monotonic()
            for due in [due for due in self._restart_at if due <= now]:
                self._restart_at.remove(due)
                self._spawn()
            if self._are_all_ready():
                self._failed_starts = 0
                if not self._is_announced:
                    self._is_announced = True
                    _announce(self._options, self._anchor)

    def _are_all_ready(self) -> bool:
        return len(self._workers) == self._options.workers and all(
            worker.is_ready for worker in self._workers.values()
        )

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            worker = self._workers.pop(pid, None)
            if worker is None:
                continue
            worker.look()
            os.close(worker.ready_pipe)
            code = os.waitstatus_to_exitcode(status)
            how = f"signal {-code}" if code < 0 else f"status {code}"
            if not worker.is_ready:
                self._failed_starts += 1
            _log.error("worker %d ended with %s; starting another", pid, how)
            backoff = min(0.1 * 2**self._failed_starts, _LAST_BACKOFF_SECONDS)
            self._restart_at.append(time.monotonic() + backoff)

    def _spawn(self) -> None:
        parent = os.getpid()
        readable, writable = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            os.close(writable)
            self._workers[pid] = _Worker(pid, readable)
            return
        status = 1
        try:
            os.close(readable)
            _die_with_parent(parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            status = self._be_worker(writable)
        except BaseException:  # noqa: BLE001 -- nothing may unwind into the parent's frames
            _log.exception("the worker failed")
        finally:
            logging.shutdown()
            # Not sys.exit: the frames above are the parent's.
            os._exit(status)

    def _be_worker(self, writable: int) -> int:
        host, port = self._anchor.getsockname()[:2]
        listener = _bind(host, port, is_shared=True)
        self._anchor.close()
        return _work(self._options, self._make_app, listener, lambda: _say_ready(writable))

    def _stop(self) -> None:
        """Stop all workers, within the grace and a little; none is left behind."""
        for pid in self._workers:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + self._options.grace_seconds + _EXIT_SECONDS
        while self._workers:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid:
                if (worker := self._workers.pop(pid, None)) is not None:
                    os.close(worker.ready_pipe)
            elif time.monotonic() >= until:
                for pid in self._workers:
                    os.kill(pid, signal.SIGKILL)
                until = float("inf")
            else:
                signal.sigtimedwait((signal.SIGCHLD,), 0.1)


def _say_ready(writable: int) -> None:
    os.write(writable, b"+")
    os.close(writable)


def _die_with_parent(parent: int) -> None:
    """On Linux: SIGTERM when the parent is gone, however it went."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
