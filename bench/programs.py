"""The programs that are measured beside the gate, and the one that measures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from broker.stack import golang
from broker.stack.binaries import Tool, cache_dir

VERSITYGW: Final = Tool(
    "versitygw", "github.com/versity/versitygw", "v1.8.0", accepts_from="(only the pinned version)"
)


class ProgramMissing(Exception):
    """A program is not there; `str()` says how to get it."""


def find(name: str, *, package: str | None = None) -> Path:
    """Return the path of a program of Debian's, whose package has its name or another. Raises `ProgramMissing`."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise ProgramMissing(f"{name} is missing; on Debian and Ubuntu: apt-get install {package or name}")
    return Path(found)


def versitygw() -> Path:
    """Return the path of versitygw at its pinned version, built into the cache once. Raises `ProgramMissing`."""
    path = cache_dir() / "bin" / VERSITYGW.name
    if path.is_file() and VERSITYGW.build_mark in path.read_bytes():
        return path
    try:
        golang.install(f"{VERSITYGW.module}/cmd/versitygw@{VERSITYGW.version}", path, cache_dir())
    except golang.BuildFailed as failure:
        raise ProgramMissing(f"versitygw could not be built: {failure}") from failure
    return path
