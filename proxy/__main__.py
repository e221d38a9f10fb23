"""`python -m proxy`: the data plane as a process of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from proxy import compiled

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, compiled where that is possible, until told to stop; return the exit status."""
    compiled.use()
    # Only now: what is imported before is not compiled, and keeps all else from being.
    from proxy.command import main as serve

    return serve(arguments)


if __name__ == "__main__":
    sys.exit(main())
