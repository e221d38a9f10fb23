"""Holding a process to a share of a core, by control groups of the kernel; root only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
#: Short, so that a process that has used its share up waits for moments only.
_PERIOD_US: Final = 20_000


class NoGroups(Exception):
    """Control groups cannot be made here; `str()` says why."""


@contextmanager
def held_to(share: float, pid: int) -> Iterator[None]:
    """Hold a process (all its threads) to that share of one core until the block ends.

    Raises `NoGroups` without rights, or where the kernel has no `cpu` controller to give.
    """
    root = _ROOT / "cpu" if (_ROOT / "cpu" / "cpu.cfs_quota_us").exists() else _ROOT
    group = root / f"wio-bench-{os.getpid()}-{pid}"
    quota = int(share * _PERIOD_US)
    try:
        group.mkdir()
        try:
            if (group / "cpu.cfs_quota_us").exists():
                (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
                (group / "cpu.cfs_quota_us").write_text(str(quota))
            else:
                (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
            (group / "cgroup.procs").write_text(str(pid))
        except OSError:
            group.rmdir()
            raise
    except OSError as error:
        raise NoGroups(f"{group}: {error.strerror}") from error
    try:
        yield
    finally:
        _remove(group, root)


def _remove(group: Path, root: Path) -> None:
    until = time.monotonic() + 5
    while True:
        try:
            for pid in (group / "cgroup.procs").read_text().split():
                (root / "cgroup.procs").write_text(pid)
            group.rmdir()
        except OSError:
            # A process that has just ended still counts for a moment.
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
