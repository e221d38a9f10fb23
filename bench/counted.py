"""`python -m bench.counted …`: the proxy under callgrind, which counts once it is told to.

`WIO_BENCH_VALGRIND` is the program, `WIO_BENCH_DUMP` the file that the counts go to.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Become the proxy; the process stays the same."""
    valgrind, dump = os.environ.pop("WIO_BENCH_VALGRIND"), os.environ.pop("WIO_BENCH_DUMP")
    options = [
        "--tool=callgrind",
        "--instr-atstart=no",
        f"--callgrind-out-file={dump}",
        "--log-file=/dev/null",
    ]
    os.execv(valgrind, [valgrind, *options, sys.executable, "-m", "proxy", *sys.argv[1:]])


if __name__ == "__main__":
    main()
