"""`wio up`: starts the parts in order, watches them, and stops all of them when one ends or Ctrl-C comes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from broker.stack import binaries, bootstrap, parts
from broker.stack.child import clean_environment, last_lines, spawn, stop
from broker.stack.options import Node, Options
from broker.stack.parts import Part
from broker.stack.private import write_private
from broker.stack.state import StackError, State, exclusive, is_free, load

#: Seconds that a part may take to become ready, on a slow machine and with much to read back.
READY_SECONDS = 60.0
#: Seconds between two looks at the parts.
WATCH_SECONDS = 0.1
#: Seconds that a part may take to stop before it is killed.
STOP_SECONDS = 15.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the stack stops: a signal, or a part that ended (then `reason` says which and why)."""

    reason: str | None


class _Signals:
    """Counts the signals that ask for the end; the second one asks for a quick end."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


@contextmanager
def _caught() -> Iterator[_Signals]:
    asked = _Signals()
    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it is ignored, and stays so
        heard.append(signal.SIGHUP)
    before = {number: signal.signal(number, asked) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupted(Exception):
    """A signal asked for the end while the stack was starting."""


def up(options: Options, say: Say, ready: Callable[[dict[str, str]], None]) -> Stop:
    """Run the stack until a signal comes or a part ends; no process is left when this returns or raises.

    `ready` gets the content of admin.json once everything answers. Raises StackError when it cannot start.
    """
    with exclusive(options.folder), ExitStack() as cleanup:
        _check_ports(options)
        minio_binary = binaries.ensure("minio") if options.node is None else None
        asked = cleanup.enter_context(_caught())
        state = load(options.folder)
        (options.folder / "admin.json").unlink(missing_ok=True)  # it says that all is ready
        running: dict[str, subprocess.Popen[bytes]] = {}
        cleanup.callback(_stop_all, running, asked)
        try:
            facts = _start(options, state, minio_binary, running, asked, say)
        except Interrupted:
            return Stop(None)
        cleanup.callback((options.folder / "admin.json").unlink, missing_ok=True)
        ready(facts)
        return _watch(options.folder, running, asked)


def _start(
    options: Options,
    state: State,
    minio_binary: Path | None,
    running: dict[str, subprocess.Popen[bytes]],
    asked: _Signals,
    say: Say,
) -> dict[str, str]:
    def start(*wanted: Part) -> None:
        for part in wanted:
            say(f"Starting {part.name}")
            log = options.folder / "logs" / f"{part.name}.log"
            log.parent.mkdir(mode=0o700, exist_ok=True)
            running[part.name] = spawn(part.command, environment=part.environment, log=log, stdin=part.stdin)
        _await_ready(wanted, options.folder, running, asked)

    redis = parts.redis(options.folder, state)
    start(redis.part)
    storage = [parts.minio(options.folder, state, minio_binary)] if minio_binary is not None else []
    node = options.node or Node(
        "local",
        f"http://{parts.LOOPBACK}:{state.minio_port}",
        state.secrets.minio_user,
        state.secrets.minio_password,
    )
    environment = _service_environment(options, state, redis.url)
    at = {"WIO_HOST": options.host}
    services = [
        parts.broker(environment | at | {"WIO_PORT": str(options.console_port)}, options.console_url),
        parts.proxy(environment | at | {"WIO_PORT": str(options.port)}, options.proxy_url, options.workers),
    ]
    wanted = bootstrap.wanted(state, node)
    if bootstrap.is_done(options.folder, state, wanted):
        start(*storage, *services)
    else:
        start(*storage)
        bootstrap.run(options.folder, state, wanted, environment)
        start(*services)
    facts = {
        "endpoint_url": options.endpoint_url,
        "console_url": options.console_url,
        "username": "admin",
        "password": state.secrets.admin_password,
        "access_key_id": state.secrets.access_key_id,
        "secret_access_key": state.secrets.secret_access_key,
    }
    write_private(options.folder / "admin.json", facts)
    return facts


def _service_environment(options: Options, state: State, redis_url: str) -> dict[str, str]:
    """The settings of broker and proxy; anybody's WIO_* of the shell are left behind on purpose, save for how
    much they log."""
    environment = parts.module_environment(clean_environment(os.environ))
    environment |= {name: os.environ[name] for name in ("WIO_LOG_LEVEL",) if name in os.environ}
    if options.node is not None:
        # A node elsewhere may need the machine's own CA certificates.
        environment |= {
            name: os.environ[name] for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ
        }
    database = (options.folder / "wio.db").absolute()
    return environment | {
        "WIO_SECRET": state.secrets.deployment,
        "WIO_REDIS_URL": redis_url,
        "WIO_DATABASE_URL": f"sqlite+aiosqlite:///{database}",
        "WIO_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
        "WIO_PUBLIC_URL": options.endpoint_url,
        "WIO_CONSOLE_URL": options.console_url,
    }


def _await_ready(
    wanted: tuple[Part, ...], folder: Path, running: Mapping[str, subprocess.Popen[bytes]], asked: _Signals
) -> None:
    deadline = time.monotonic() + READY_SECONDS
    waiting = list(wanted)
    while waiting:
        if asked.count:
            raise Interrupted
        ended = _ended(folder, running)
        if ended:
            raise StackError(ended)
        waiting = [part for part in waiting if not part.ready()]
        if waiting and time.monotonic() > deadline:
            log = folder / "logs" / f"{waiting[0].name}.log"
            raise StackError(
                f"The {waiting[0].name} did not become ready within {READY_SECONDS:.0f} s; see {log}:\n"
                + last_lines(log)
            )
        if waiting:
            time.sleep(0.02)


def _watch(folder: Path, running: Mapping[str, subprocess.Popen[bytes]], asked: _Signals) -> Stop:
    while not asked.count:
        ended = _ended(folder, running)
        if ended:
            return Stop(ended)
        time.sleep(WATCH_SECONDS)
    return Stop(None)


def _ended(folder: Path, running: Mapping[str, subprocess.Popen[bytes]]) -> str | None:
    """Which part ended by itself and why, in words; None while all run."""
    for name, process in running.items():
        code = process.poll()
        if code is not None:
            how = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            )
            log = folder / "logs" / f"{name}.log"
            return f"The {name} {how}, so everything stops; see {log}:\n{last_lines(log)}"
    return None


def _stop_all(running: dict[str, subprocess.Popen[bytes]], asked: _Signals) -> None:
    """Stop the parts, the last one started first: the proxy must not outlive what it depends on."""
    patience = max(asked.count, 1)
    for process in reversed(running.values()):
        stop(process, grace=STOP_SECONDS, hurried=lambda: asked.count > patience)


def _check_ports(options: Options) -> None:
    for port, option in ((options.port, "--port"), (options.console_port, "--console-port")):
        if not is_free(options.host, port):
            if not is_free(options.host, 0):
                raise StackError(
                    f"{options.host} is no address of this machine; choose another one with --host."
                )
            raise StackError(f"Port {port} of {options.host} is taken; choose another one with {option}.")
