"""Real servers for tests: started on free loopback ports, waited for, and killed at the end.

A server that cannot be had is an error, never a skip: `make test` installs and builds what is needed.
"""

from __future__ import annotations

import http.client
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker.stack import binaries
from broker.stack.child import clean_environment, spawn, stop, wait_until

#: Seconds that a server may take to become ready on a busy machine.
START_SECONDS = 30.0


def clean_env(**extra: str) -> dict[str, str]:
    """This process's environment without proxies, CA bundles, AWS_* and WIO_*, plus `extra`."""
    return clean_environment(os.environ) | extra


def free_port() -> int:
    """A TCP port that was free on 127.0.0.1 a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def http_status(url: str, path: str = "/", *, timeout: float = 2.0) -> int | None:
    """The status that `GET path` gets at `http://host:port`, or None when nothing answers."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def find_program(name: str) -> str:
    """The path of `minio`, `mc`, or a program beside this Python or on PATH; fails when there is none."""
    if name in binaries.TOOLS:
        found = binaries.find(name)
        assert found, f"{name} is missing: python -m broker.stack.binaries {name}"
        return str(found)
    beside = Path(sys.executable).parent / name
    found_on_path = str(beside) if beside.exists() else shutil.which(name)
    assert found_on_path, f"{name} is missing: `make test` installs it"
    return found_on_path


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    ready: Callable[[], bool],
    log: Path,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    seconds: float = START_SECONDS,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; enters once `ready()` holds, fails with its log otherwise."""
    process = spawn(command, environment=clean_env() if env is None else env, log=log, stdin=stdin)
    try:
        deadline = time.monotonic() + seconds
        up = wait_until(lambda: process.poll() is not None or ready(), deadline)
        if not up or process.poll() is not None:
            said = log.read_text(errors="replace")[-4000:]
            raise AssertionError(f"{command[0]} is not ready (exit code {process.poll()}):\n{said}")
        yield process
    finally:
        stop(process)


@dataclass(frozen=True, slots=True)
class Minio:
    """A MinIO of its own: `endpoint` is http://127.0.0.1:PORT, `data` its folder."""

    endpoint: str
    access_key: str
    secret_key: str
    data: Path
    process: subprocess.Popen[bytes]


@contextmanager
def minio_server(folder: Path) -> Iterator[Minio]:
    """A MinIO with its data, log and settings under `folder`; alive while the block runs."""
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    access_key, secret_key = "node-" + secrets.token_hex(4), secrets.token_hex(16)
    data = folder / "data"
    data.mkdir(parents=True)
    env = clean_env(
        HOME=str(folder),
        MINIO_ROOT_USER=access_key,
        MINIO_ROOT_PASSWORD=secret_key,
        MINIO_BROWSER="off",
        MINIO_UPDATE="off",
    )
    command = [find_program("minio"), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(data)]
    with running(
        command,
        ready=lambda: http_status(endpoint, "/minio/health/cluster") == 200,
        log=folder / "minio.log",
        env=env,
    ) as process:
        yield Minio(endpoint, access_key, secret_key, data, process)


@dataclass(frozen=True, slots=True)
class Valkey:
    """A Redis-compatible server of its own, with a password, over TCP (`url`) and a socket (`unix_url`)."""

    url: str
    unix_url: str
    port: int
    password: str
    process: subprocess.Popen[bytes]


@contextmanager
def valkey_server(folder: Path, *, append_only: bool = False) -> Iterator[Valkey]:
    """A valkey-server with its files in `folder`; started there again with `append_only` it has its data."""
    folder.mkdir(parents=True, exist_ok=True)
    port, password, unix_socket = free_port(), secrets.token_hex(16), folder / "valkey.sock"
    settings = f"""
bind 127.0.0.1
port {port}
unixsocket {unix_socket}
unixsocketperm 700
requirepass {password}
dir {folder}
save ""
appendonly {"yes" if append_only else "no"}
maxmemory-policy noeviction
"""
    with running(
        [binaries.valkey_server(), "-"],
        ready=lambda: _answers_ping(port),
        log=folder / "valkey.log",
        stdin=settings.encode(),
    ) as process:
        yield Valkey(
            f"redis://:{password}@127.0.0.1:{port}/0",
            f"unix://:{password}@{unix_socket}?db=0",
            port,
            password,
            process,
        )


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            # It wants the password, so it is up; while it loads it says -LOADING.
            return connection.recv(64).startswith((b"-NOAUTH", b"+PONG"))
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Postgres:
    """A Postgres of its own over TCP, with a password. `url` is SQLAlchemy's, of the database `postgres`."""

    url: str
    process: subprocess.Popen[bytes]

    def new_database(self, name: str) -> str:
        """Makes an empty database; returns its URL."""
        url = f"{self.url.rpartition('/')[0]}/{name}"
        createdb = [
            _postgres_folder() / "createdb",
            "--maintenance-db",
            self.url.replace("+asyncpg", ""),
            name,
        ]
        done = subprocess.run(createdb, env=clean_env(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return url


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A Postgres in a temporary folder; run by the system's user `postgres` when we are root, which it refuses."""
    binaries_folder = _postgres_folder()
    owner = pwd.getpwnam("postgres") if os.geteuid() == 0 else None
    # The kernel drops the tether's death signal when the user changes, so it is asked for once more.
    lead = (
        [find_program("setpriv"), f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        if owner
        else []
    )
    # Not under pytest's folders: those are only ours to enter.
    with tempfile.TemporaryDirectory(prefix="wio-postgres-") as made:
        folder = Path(made)
        password, port = secrets.token_hex(16), free_port()
        (folder / "password").write_text(password)
        if owner:
            for path in (folder, folder / "password"):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        initdb = [*lead, binaries_folder / "initdb", "--pgdata", folder / "data", "--username", "wio"]
        initdb += ["--pwfile", folder / "password", "--auth", "scram-sha-256", "--encoding", "UTF8"]
        initdb += ["--locale", "C", "--no-sync"]
        done = subprocess.run(initdb, env=clean_env(), cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        command = [*lead, *(["--pdeathsig=INT"] if lead else []), binaries_folder / "postgres"]
        command += ["-D", folder / "data", "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
        with running(
            command,
            ready=lambda: "ready to accept connections" in (folder / "postgres.log").read_text(),
            log=folder / "postgres.log",
        ) as process:
            try:
                yield Postgres(f"postgresql+asyncpg://wio:{password}@127.0.0.1:{port}/postgres", process)
            finally:
                # Sooner than the polite signal, which waits for every client to leave.
                process.send_signal(signal.SIGINT)


def _postgres_folder() -> Path:
    """Where initdb and postgres are: on PATH, or where Debian hides them; the newest version."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))[::-1]
    for folder in found:
        if (folder / "postgres").exists():
            return folder
    raise AssertionError("postgres is missing: `make test` installs it")
