"""Child processes that never outlive their parent, and stop in one place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_TETHER = Path(__file__).with_name("tether.py")

#: Variables that would send loopback traffic through a proxy, trust another CA, or give a service somebody
#: else's credentials.
_FOREIGN_PREFIXES = ("AWS_", "WIO_", "MINIO_", "MC_", "SSL_CERT", "RCLONE_", "RESTIC_")
_FOREIGN_SUFFIXES = ("_PROXY", "CA_BUNDLE")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without proxies, CA bundles, and settings of AWS, MinIO and wio itself."""
    return {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith(_FOREIGN_PREFIXES) and not name.upper().endswith(_FOREIGN_SUFFIXES)
    }


def spawn(
    command: Sequence[str | Path], *, environment: Mapping[str, str], log: Path, stdin: bytes | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own, its output appended to `log` (mode 0600).

    `command[0]` is an absolute path. On Linux the kernel sends the process SIGTERM when this one dies,
    however that happens; call from the main thread, as the kernel watches the thread. The group keeps a
    terminal's Ctrl-C from reaching it before its parent decides the order of stopping.
    `stdin` is written and closed; without it the process reads nothing. Raises OSError.
    """
    tethered = [sys.executable, "-I", "-S", _TETHER, str(os.getpid()), *command]
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            [str(word) for word in tethered],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=descriptor,
            stderr=descriptor,
            env=dict(environment),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    if process.stdin is not None:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(stdin or b"")
    return process


def stop(
    process: subprocess.Popen[bytes], *, grace: float = 5.0, hurried: Callable[[], bool] = lambda: False
) -> int:
    """End a process and all of its group: SIGTERM, then SIGKILL after `grace` seconds or once `hurried()`.

    Returns its exit code, negative for a signal.
    """
    if process.poll() is None:
        process.terminate()
        wait_until(lambda: process.poll() is not None or hurried(), time.monotonic() + grace)
    # Workers whose parent was killed are still in its group, which lives as long as any of them.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def wait_until(check: Callable[[], bool], deadline: float) -> bool:
    """Poll `check()` until it is true or `time.monotonic()` passes `deadline`; returns whether it was."""
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def last_lines(log: Path, count: int = 5) -> str:
    """The end of a log, indented, for a message; empty when it cannot be read."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in lines)
