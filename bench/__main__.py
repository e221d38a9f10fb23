"""`python -m bench`: measure, and say it as a table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import budget, report
from bench.contenders import GATE, STRAIGHT, Contender, contenders
from bench.figures import FIGURES, Sample, crowd, fill, fill_listing, half_load
from bench.load import LoadFailed
from bench.machine import describe
from bench.programs import ProgramMissing

_EXTRAS = ("latency", "crowd")
_DOCS = Path(__file__).parent.parent / "docs"


def main() -> int:
    """Measure what is asked for; return 1 when `--check` finds something worse than the budget."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"{', '.join([*FIGURES, *_EXTRAS])}; all by default"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are interleaved (5)")
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement (3)")
    parser.add_argument(
        "--only", action="append", help="just this contender besides MinIO, such as 'wio gate'"
    )
    parser.add_argument("--check", action="store_true", help="compare the gate with bench/budget.toml")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its plot anew")
    options = parser.parse_args()
    wanted = options.figures or ([*budget.load()] if options.check else [*FIGURES, *_EXTRAS])
    if unknown := set(wanted) - {*FIGURES, *_EXTRAS}:
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    only = [GATE] if options.check else options.only
    with tempfile.TemporaryDirectory(prefix="wio-bench-") as folder:
        try:
            results = _measure(Path(folder), wanted, options.rounds, options.seconds, only)
        except ProgramMissing as missing:
            sys.stderr.write(f"{missing}\n")
            return 2
    text = report.table(results, describe(), options.rounds, options.seconds)
    print(text)
    if options.write:
        report.write(_DOCS, text, results)
    if options.check:
        return budget.check(results)
    return 0


def _measure(
    folder: Path, wanted: list[str], rounds: int, seconds: float, only: list[str] | None
) -> report.Results:
    results: report.Results = {}
    with contenders(folder) as all_of_them:
        ones = [one for one in all_of_them.values() if not only or one.name in (STRAIGHT, *only)]
        for one in ones:
            fill(one, folder)
            if "list" in wanted:
                fill_listing(one)
        everybody = ones
        for name in wanted:
            ones = everybody
            for number in range(rounds):
                # Whoever comes first in a round meets what the round before has left behind.
                for one in ones[number % len(ones) :] + ones[: number % len(ones)]:
                    sys.stderr.write(f"{name} {number + 1}/{rounds}: {one.name}          \r")
                    try:
                        sample = _once(name, one, folder, seconds)
                    except LoadFailed as failure:
                        if one.name in (STRAIGHT, GATE):
                            raise
                        # Not ours to mend: it is left out of this figure.
                        sys.stderr.write(f"{one.name} cannot be measured: {failure}\n")
                        ones = [other for other in ones if other is not one]
                        continue
                    results.setdefault(name, {}).setdefault(one.name, []).append(sample)
    sys.stderr.write("\n")
    return results


def _once(name: str, one: Contender, folder: Path, seconds: float) -> Sample:
    if name == "latency":
        rate, p99 = half_load(one, folder, seconds)
        return Sample(rate, 0.0, 0.0, p99=p99)
    if name == "crowd":
        return crowd(one, folder, seconds)
    return FIGURES[name].measure(one, folder, seconds)


if __name__ == "__main__":
    sys.exit(main())
