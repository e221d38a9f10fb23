"""What the gate is to reach, and what it reached in a run: the table *Aims* of docs/performance.md."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.contenders import GATE, STRAIGHT, VERSITYGW
from bench.report import Results, cpu, over, p99, rate
from bench.workers import ONE, TWO


@dataclass(frozen=True, slots=True)
class Aim:
    """`read` gives a value for each round, none where the run did not measure it; their median has to be at most, or
    at least, `bound`. `form` writes a value."""

    what: str
    read: Callable[[Results], list[float]]
    bound: float
    is_most: bool = True
    form: str = "{:.2f}"

    def row(self, results: Results) -> str:
        """Return a row of the table; empty where nothing was measured."""
        values = self.read(results)
        if not values:
            return ""
        reached = statistics.median(values)
        holds = reached <= self.bound if self.is_most else reached >= self.bound
        cells = [
            self.what,
            f"{'≤' if self.is_most else '≥'} {self.form.format(self.bound)}",
            self.form.format(reached),
            "yes" if holds else "**no**",
        ]
        return f"| {' | '.join(cells)} |"


def _cpu_over(figure: str, other: str) -> Callable[[Results], list[float]]:
    return lambda results: over(results.get(figure, {}), GATE, other, cpu)


def _rate_over(figure: str, other: str) -> Callable[[Results], list[float]]:
    return lambda results: over(results.get(figure, {}), GATE, other, rate)


def _cpu_over_get(figure: str) -> Callable[[Results], list[float]]:
    def read(results: Results) -> list[float]:
        ours = {name: results.get(name, {}).get(GATE, []) for name in (figure, "get")}
        return over(ours, figure, "get", cpu)

    return read


def _listing_ms(results: Results) -> list[float]:
    return [sample.cpu / 1000 for sample in results.get("list", {}).get(GATE, ())]


def _crowd_memory(results: Results) -> list[float]:
    samples = results.get("crowd", {}).get(GATE, ())
    return [max(sample.memory for sample in samples)] if samples else []


def _throughput(what: str, figure: str, bound: float) -> Aim:
    return Aim(f"{what}: MiB/s, of MinIO straight", _rate_over(figure, STRAIGHT), bound, is_most=False)


AIMS: Final = (
    Aim("GET of 4 KiB: processor time, of MinIO's own", _cpu_over("get", STRAIGHT), 0.45),
    Aim("GET of 4 KiB: processor time, of the Go gateway's", _cpu_over("get", VERSITYGW), 1 / 3, form="{:.3f}"),
    Aim("GET of 4 KiB: requests/s, of MinIO straight", _rate_over("get", STRAIGHT), 0.6, is_most=False),
    Aim("GET of 4 KiB: requests/s, of the Go gateway", _rate_over("get", VERSITYGW), 1.75, is_most=False),
    Aim("PUT of 4 KiB: processor time, of its own GET", _cpu_over_get("put"), 2.0),
    Aim("HEAD: processor time, of its own GET", _cpu_over_get("head"), 1.0),
    Aim("Listing of 1,000 keys: ms of processor time", _listing_ms, 8.0, form="{:.1f}"),
    _throughput("GET of 64 MiB, two connections", "large-get", 0.95),
    _throughput("GET of 64 MiB, one connection", "large-get-1", 0.95),
    Aim("GET of 64 MiB: processor time, of the Go gateway's", _cpu_over("large-get", VERSITYGW), 0.9),
    _throughput("PUT of 64 MiB, hash signed", "large-put", 0.95),
    _throughput("PUT of 64 MiB, chunks signed", "chunked-put", 0.85),
    Aim(
        "GET of 4 KiB at half of what saturates: p99, of MinIO straight",
        lambda results: over(results.get("latency", {}), GATE, STRAIGHT, p99),
        1.5,
    ),
    Aim("1,000 idle and 256 busy connections, no errors: MiB a worker", _crowd_memory, 150, form="{:.0f}"),
    Aim(
        "Two workers: requests/s, of one worker",
        lambda results: over(results.get("workers", {}), TWO, ONE, rate),
        1.8,
        is_most=False,
    ),
)  # fmt: skip


def table(results: Results) -> str:
    """Return what was measured of the aims, in Markdown: medians of the rounds, and whether each is reached."""
    rows = [row for aim in AIMS if (row := aim.row(results))]
    if not rows:
        return "None of the aims was measured.\n"
    return "\n".join(["| aim | bound | reached | holds |", "|---|--:|--:|---|", *rows]) + "\n"
