"""What a stack keeps in its folder: secrets made once, ports it had, and who else is using the folder."""

from __future__ import annotations

import fcntl
import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from broker.stack.private import write_private
from quota import new_access_key_id, new_secret


class StackError(Exception):
    """The stack cannot start, or a part of it ended; the text is one sentence for people."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Everything that is made once for a deployment and must survive restarts."""

    deployment: str = field(repr=False)
    valkey_password: str = field(repr=False)
    minio_user: str
    minio_password: str = field(repr=False)
    admin_password: str = field(repr=False)
    access_key_id: str
    secret_access_key: str = field(repr=False)

    @classmethod
    def new(cls) -> Secrets:
        """Fresh ones, from the system's random source."""
        return cls(
            deployment=secrets.token_hex(32),
            valkey_password=secrets.token_hex(24),
            minio_user="wio" + secrets.token_hex(6),
            minio_password=secrets.token_hex(20),
            admin_password=secrets.token_hex(10),
            access_key_id=new_access_key_id("key"),
            secret_access_key=new_secret(),
        )


@dataclass(frozen=True, slots=True)
class State:
    """The content of `stack.json`. `bootstrapped` is a digest of what the broker was last set up with."""

    secrets: Secrets
    valkey_port: int
    minio_port: int
    bootstrapped: str = ""


def load(folder: Path) -> State:
    """The state kept in `folder`, or new state; ports that are taken by now are replaced by free ones.

    Raises StackError when the file cannot be read: making new secrets would lock people out of their data.
    """
    path = folder / "stack.json"
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
        state = State(Secrets(**kept.pop("secrets")), **kept)
    except FileNotFoundError:
        state = State(Secrets.new(), free_port(), free_port())
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StackError(
            f"{path} cannot be read ({error}); it holds the deployment's secrets, restore it."
        ) from error
    if not is_free("127.0.0.1", state.valkey_port):
        state = replace(state, valkey_port=free_port())
    if not is_free("127.0.0.1", state.minio_port):
        state = replace(state, minio_port=free_port())
    save(folder, state)
    return state


def save(folder: Path, state: State) -> None:
    """Keep the state, readable by its owner only."""
    write_private(folder / "stack.json", asdict(state))


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Make the folder (mode 0700) and hold it for one stack. Raises StackError when another one runs there."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise StackError(f"{folder} cannot hold a stack: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"A stack already runs in {folder}; stop it, or choose another --dir.") from None
        yield


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def takes_socket(path: Path) -> bool:
    """Whether a Unix socket can be made at `path`, which the kernel refuses when it is too long; a socket that an
    earlier server has left there is removed."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            path.unlink(missing_ok=True)
            probe.bind(str(path))
            path.unlink()
        except OSError:
            return False
    return True


def free_port() -> int:
    """A random free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
