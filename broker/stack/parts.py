"""The parts of the stack: how each is started, and how it shows that it is ready.

Secrets pass in the environment or on stdin, never in arguments, which every user of the machine can read.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from broker.stack.binaries import valkey_server
from broker.stack.child import clean_environment
from broker.stack.state import State, takes_socket

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the stack. `ready` is polled until it holds; it raises nothing."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    ready: Callable[[], bool] = field(repr=False)
    stdin: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Redis:
    """The embedded Redis-compatible server, and the URL at which broker and proxy reach it."""

    part: Part
    url: str = field(repr=False)


def redis(folder: Path, state: State) -> Redis:
    """The embedded server, with a password, keeping every change on disk: on loopback, and on a Unix socket that
    only its owner may use, which costs less. Where no socket can be made in `folder` the URL is that of TCP."""
    data = (folder / "valkey").absolute()
    data.mkdir(mode=0o700, exist_ok=True)
    password, path = state.secrets.valkey_password, data / "valkey.sock"
    settings = f"""
bind {LOOPBACK}
port {state.valkey_port}
requirepass {password}
dir "{data}"
save ""
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
"""
    url = f"redis://:{password}@{LOOPBACK}:{state.valkey_port}/0"
    if takes_socket(path):
        settings += f'unixsocket "{path}"\nunixsocketperm 700\n'
        url = f"unix://:{password}@{quote(str(path))}?db=0"
    part = Part(
        "valkey",
        (str(valkey_server()), "-"),
        clean_environment(os.environ),
        # Both are open before the first command is answered.
        ready=lambda: _ping(state.valkey_port, password),
        stdin=settings.encode(),
    )
    return Redis(part, url)


def minio(folder: Path, state: State, binary: Path) -> Part:
    """The embedded MinIO, on a random loopback port, without its console."""
    data = folder / "minio"
    data.mkdir(mode=0o700, exist_ok=True)
    address = f"{LOOPBACK}:{state.minio_port}"
    environment = {
        **clean_environment(os.environ),
        "MINIO_ROOT_USER": state.secrets.minio_user,
        "MINIO_ROOT_PASSWORD": state.secrets.minio_password,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    return Part(
        "minio",
        (str(binary), "server", "--quiet", "--address", address, str(data.absolute())),
        environment,
        ready=lambda: http_status(f"http://{address}", "/minio/health/cluster") == 200,
    )


def broker(environment: Mapping[str, str], url: str) -> Part:
    """The control plane, answering at `url`."""
    return Part(
        "broker", module_command("broker"), environment, ready=lambda: http_status(url, "/-/ready") == 200
    )


def proxy(environment: Mapping[str, str], url: str, workers: int) -> Part:
    """The data plane, answering at `url`, with so many worker processes.

    Each worker has a socket of its own, and the kernel chooses one for each connection: all of them count as
    ready when so many connections in a row met none that is not.
    """
    return Part(
        "proxy",
        module_command("proxy", "--workers", str(workers)),
        environment,
        ready=lambda: all(
            http_status(url, "/-/ready") == 200 for _ in range(1 if workers == 1 else 8 * workers)
        ),
    )


def module_command(module: str, *arguments: str) -> tuple[str, ...]:
    """`python -m MODULE`, without the current folder on its path: a `proxy/` there is not ours."""
    return (sys.executable, "-P", "-m", module, *arguments)


def module_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment in which `module_command` finds our packages, installed or not."""
    ours = str(Path(__file__).parents[2])
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, (ours, environment.get("PYTHONPATH"))))}


def http_status(url: str, path: str, *, timeout: float = 2.0) -> int | None:
    """The status of an unsigned GET, or None when nothing answers. Proxies of the environment play no part."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _ping(port: int, password: str) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            said = b""
            while said.count(b"\n") < 2:
                more = connection.recv(256)
                if not more:
                    return False
                said += more
            # While it still reads its append-only file it answers -LOADING.
            return said == b"+OK\r\n+PONG\r\n"
    except OSError:
        return False
