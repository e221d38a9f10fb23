"""What is measured on, and what processes cost: read from /proc, so on Linux only."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import Final

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_MIB: Final = os.sysconf("SC_PAGE_SIZE") / 2**20


def describe() -> str:
    """Return one line that names the machine: processor, cores, memory, kernel, Python."""
    model = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PHYS_PAGES") * _PAGE_MIB / 1024
    return (
        f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """Return the processor time that live processes have used, user and system."""
    return sum((int(fields[11]) + int(fields[12])) * _TICK for pid in pids if (fields := _stat(pid)))


def resident_mib(pids: list[int]) -> list[float]:
    """Return the resident memory of each process, in MiB."""
    return [int(fields[21]) * _PAGE_MIB for pid in pids if (fields := _stat(pid))]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (state, ppid, …); none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
