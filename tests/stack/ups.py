"""Running `wio up` for real, as a process, and knowing every process that belongs to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.stack.binaries import cache_dir
from broker.stack.child import wait_until
from tests.servers import clean_env, free_port

ROOT = Path(__file__).parents[2]


@dataclass(slots=True)
class Up:
    """A stack that is ready: what admin.json says, its process, and how long it took to be ready."""

    folder: Path
    process: subprocess.Popen[str]
    facts: dict[str, Any]
    seconds: float
    ports: tuple[int, int]

    @property
    def cache(self) -> str:
        """The cache with MinIO and mc in it, for commands that run with another HOME."""
        return str(cache_dir().parent)

    def parts(self) -> dict[int, str]:
        """All processes of the stack but `wio up` itself: pid → command line."""
        return descendants(self.process.pid)

    def part(self, word: str) -> int:
        """The pid of the first process, by age, whose command line has the word."""
        return min(pid for pid, line in self.parts().items() if word in line)

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal to `wio up` and wait: exit code, stdout, stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def start_up(
    folder: Path, *options: str, ports: tuple[int, int] | None = None, **env: str
) -> subprocess.Popen[str]:
    """`wio up` in `folder/.wio`, on free ports; not waited for."""
    port, console_port = ports or (free_port(), free_port())
    command = [
        sys.executable,
        "-m",
        "broker.cli",
        "up",
        "--port",
        str(port),
        "--console-port",
        str(console_port),
    ]
    return subprocess.Popen(
        [*command, "--dir", str(folder / ".wio"), "--workers", "2", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=clean_env(PYTHONPATH=str(ROOT), **env),
    )


@contextmanager
def running_up(folder: Path, *options: str, **env: str) -> Iterator[Up]:
    """`wio up` until the block ends; enters when it is ready, fails with what it said otherwise."""
    began = time.monotonic()
    ports = (free_port(), free_port())
    process = start_up(folder, *options, ports=ports, **env)
    admin = folder / ".wio" / "admin.json"
    try:
        wait_until(lambda: process.poll() is not None or admin.exists(), began + 60)
        if not admin.exists():
            process.terminate()
            out, err = process.communicate(timeout=60)
            logs = "\n".join(
                f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}"
                for log in sorted((folder / ".wio" / "logs").glob("*.log"))
            )
            raise AssertionError(f"wio up is not ready ({process.returncode}):\n{out}\n{err}\n{logs}")
        facts = json.loads(admin.read_text())
        yield Up(folder / ".wio", process, facts, time.monotonic() - began, ports)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def descendants(pid: int) -> dict[int, str]:
    """The processes below one, however deep: pid → command line."""
    children: dict[int, list[int]] = {}
    lines: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(entry.name))
        lines[int(entry.name)] = line
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found[child] = lines[child]
            waiting.append(child)
    return found


def alive(pids: object) -> list[int]:
    """Those of the pids that still run (a zombie does not)."""
    assert isinstance(pids, (dict, list, set))
    left = []
    for pid in pids:
        try:
            os.kill(pid, 0)
            if "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text():
                left.append(pid)
        except (ProcessLookupError, FileNotFoundError):
            continue
    return left
