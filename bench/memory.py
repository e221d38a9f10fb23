"""Sixteen transfers of 1 GiB at once, eight up and eight down: the most that a worker holds in memory.

`python -m bench.memory [MIB]` needs some 10 GiB of disk for a while, in the folder for temporary files, and a
minute or two. Exits with 1 when it was 200 MiB or more.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests import servers
from tests.proxy.gates import running_gate
from tests.proxy.transfers import most_resident

MIB = 1024 * 1024


def main(size: int) -> int:
    """Measure with `size` MiB a transfer; print a line, return the exit status."""
    with (
        tempfile.TemporaryDirectory(prefix="wio-memory-") as name,
        servers.minio_server(Path(name) / "minio") as minio,
        servers.valkey_server(Path(name) / "valkey") as valkey,
        running_gate(minio, valkey, Path(name) / "gate") as gate,
    ):
        most, seconds = most_resident(gate, uploads=8, downloads=8, size=size * MIB)
    rate = 16 * size / seconds
    print(f"16 transfers of {size} MiB at once: at most {most / MIB:.0f} MiB resident, {rate:.0f} MiB/s")
    return int(most >= 200 * MIB)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024))
