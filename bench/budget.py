"""What the gate may cost, as ratios to MinIO itself in the same run, and whether it does."""

from __future__ import annotations

import statistics
import sys
import tomllib
from pathlib import Path
from typing import Final

from bench.contenders import GATE, STRAIGHT
from bench.report import Results, cpu, over

_FILE: Final = Path(__file__).parent / "budget.toml"


def load() -> dict[str, float]:
    """Return the most that the gate's processor time may be, for each figure, as a part of MinIO's own."""
    return {name: float(ratio) for name, ratio in tomllib.loads(_FILE.read_text())["cpu"].items()}


def check(results: Results) -> int:
    """Say what is worse than the budget, on stderr; return 1 when something is."""
    worse = 0
    for name, allowed in load().items():
        if name not in results:
            continue
        ratio = statistics.median(over(results[name], GATE, STRAIGHT, cpu))
        verdict = "ok" if ratio <= allowed else "WORSE"
        worse += ratio > allowed
        sys.stderr.write(
            f"{verdict:5} {name}: {ratio:.2f} of MinIO's processor time, {allowed:.2f} allowed\n"
        )
    return int(worse > 0)
