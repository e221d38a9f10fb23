"""`python -m bench.sampled …`: the proxy, with a sampler of its processor time.

SIGUSR2 begins, and the next one ends and writes the stacks that were seen to the file `WIO_BENCH_SAMPLES`, a line each:
function names from the outermost to the innermost, and how often.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

#: Seconds of processor time between two samples; the kernel rounds up to its own tick.
_INTERVAL: Final = 0.001


class Sampler:
    """Looks where the main thread is, whenever it has used so much more time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: Counter[str] = Counter()
        self._is_on = False

    def toggle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin, or end and write."""
        self._is_on = not self._is_on
        signal.setitimer(signal.ITIMER_PROF, *((_INTERVAL, _INTERVAL) if self._is_on else (0.0, 0.0)))
        if not self._is_on:
            self._path.write_text("".join(f"{stack} {count}\n" for stack, count in self._seen.items()))

    def look(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Take one sample."""
        stack = []
        while frame is not None:
            stack.append(frame.f_code.co_qualname.replace(" ", ""))
            frame = frame.f_back
        self._seen[";".join(reversed(stack))] += 1


def main() -> int:
    """Run the proxy; its arguments are passed on."""
    sampler = Sampler(Path(os.environ["WIO_BENCH_SAMPLES"]))
    signal.signal(signal.SIGPROF, sampler.look)
    signal.signal(signal.SIGUSR2, sampler.toggle)
    # The frames of compiled functions cannot be seen.
    os.environ["WIO_COMPILED"] = "never"
    from proxy.__main__ import main as serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
