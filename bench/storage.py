"""Where MinIO keeps what it is measured with: in memory if there is room, as a disk's moods move every PUT by half."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")
#: What all figures together store at most, with what MinIO has not yet thrown away.
_NEEDED_MIB: Final = 3 * 1024
#: What must be left to everything else on the machine.
_SPARED_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder for MinIO's data that is empty; `where` is said in the tables."""

    folder: Path
    where: str


@contextmanager
def node_storage(folder: Path) -> Iterator[Storage]:
    """A folder in memory (tmpfs), removed in the end; one in `folder` where memory has no 3 GiB for it."""
    with ExitStack() as stack:
        if _has_room():
            made = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="wio-bench-", dir=_MEMORY, ignore_cleanup_errors=True)
            )
            yield Storage(Path(made), "in memory (tmpfs)")
        else:
            yield Storage(folder, "on the disk")


def _has_room() -> bool:
    try:
        free = shutil.disk_usage(_MEMORY).free / 2**20
        available = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return False
    return available is not None and min(free, int(available[1]) / 1024 - _SPARED_MIB) >= _NEEDED_MIB
