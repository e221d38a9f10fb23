"""`python -m bench`: measure, and say it as a table."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from bench import aims, budget, report, workers
from bench.contenders import GATE, STRAIGHT, Contender, contenders
from bench.figures import FIGURES, Sample, crowd, fill, fill_listing, half_load
from bench.groups import NoGroups
from bench.load import LoadFailed
from bench.machine import describe
from bench.programs import ProgramMissing
from bench.storage import Storage, node_storage

#: What only reads comes first: what uploads leave to do (a node throws away in its own time what was replaced) would be
#: measured with it, and the p99 of whoever comes next is that.
_ORDER: Final = (
    "get", "head", "list", "large-get", "large-get-1", "latency", "crowd", "put", "large-put", "chunked-put",
    "workers",
)  # fmt: skip
_DOCS = Path(__file__).parent.parent / "docs"


def main() -> int:
    """Measure what is asked for; return 1 when `--check` finds something worse than the budget."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"{', '.join(_ORDER)}; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that are interleaved (5)")
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement (3)")
    parser.add_argument(
        "--only", action="append", help="just this contender besides MinIO, such as 'wio gate'"
    )
    parser.add_argument("--check", action="store_true", help="compare the gate with bench/budget.toml")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and its plot anew")
    options = parser.parse_args()
    asked = options.figures or (budget.load() if options.check else _ORDER)
    if unknown := set(asked) - {*_ORDER}:
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    wanted = [name for name in _ORDER if name in asked]
    only = [GATE] if options.check else options.only
    # Nothing may be left in memory when somebody ends this.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="wio-bench-") as name, node_storage(Path(name)) as storage:
        try:
            results = _measure(Path(name), storage, wanted, options.rounds, options.seconds, only)
        except ProgramMissing as missing:
            sys.stderr.write(f"{missing}\n")
            return 2
    said = f"{options.rounds} interleaved rounds of {options.seconds:g} s, MinIO's data {storage.where}"
    text, reached = report.table(results, f"{describe()}: {said}"), aims.table(results)
    print(f"{text}\n{reached}")
    if options.write:
        report.write(_DOCS, text, reached, results)
    if options.check:
        return budget.check(results)
    return 0


def _measure(
    folder: Path, storage: Storage, wanted: list[str], rounds: int, seconds: float, only: list[str] | None
) -> report.Results:
    results: report.Results = {}
    compared = [name for name in wanted if name != "workers"]
    if compared:
        with contenders(folder, storage.folder) as all_of_them:
            ones = [one for one in all_of_them.values() if not only or one.name in (STRAIGHT, *only)]
            for one in ones:
                fill(one, folder)
                if "list" in wanted:
                    fill_listing(one)
            for name in compared:
                results[name] = _rounds(name, ones, folder, rounds, seconds)
    if "workers" in wanted:
        own = folder / "workers"
        own.mkdir()
        try:
            results["workers"] = workers.measure(own, rounds, seconds)
        except NoGroups as reason:
            sys.stderr.write(f"No control groups can be made: {reason}\n")
            results["workers"] = {}
    sys.stderr.write("\n")
    return results


def _rounds(
    name: str, ones: list[Contender], folder: Path, rounds: int, seconds: float
) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {one.name: [] for one in ones}
    for number in range(rounds):
        # Whoever comes first in a round meets what the round before has left behind.
        for one in ones[number % len(ones) :] + ones[: number % len(ones)]:
            sys.stderr.write(f"{name} {number + 1}/{rounds}: {one.name}          \r")
            try:
                found[one.name].append(_once(name, one, folder, seconds))
            except LoadFailed as failure:
                if one.name in (STRAIGHT, GATE):
                    raise
                # Not ours to mend: it is left out of this figure.
                sys.stderr.write(f"{one.name} cannot be measured: {failure}\n")
                ones = [other for other in ones if other is not one]
                del found[one.name]
    return found


def _once(name: str, one: Contender, folder: Path, seconds: float) -> Sample:
    if name == "latency":
        rate, p99 = half_load(one, folder, seconds)
        return Sample(rate, 0.0, 0.0, p99=p99)
    if name == "crowd":
        return crowd(one, folder, seconds)
    return FIGURES[name].measure(one, folder, seconds)


if __name__ == "__main__":
    sys.exit(main())
