"""`python -m proxy.compiled`: compile the hot path into the cache, if it is not there yet.

Exits with 0 also where this machine cannot compile, as the plain path serves, and with 1 when the compiler failed.
"""

from __future__ import annotations

import argparse
import sys

from proxy.compiled.build import CannotCompile, CompileFailed, build


def main() -> int:
    """Compile, and say nothing unless there is something to say."""
    parser = argparse.ArgumentParser(
        prog="python -m proxy.compiled", description="Compile the hot path into the cache, once."
    )
    parser.add_argument("--again", action="store_true", help="try once more what failed before")
    try:
        build(again=parser.parse_args().again)
    except CannotCompile as error:
        sys.stderr.write(f"{error}\n")
    except CompileFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
