"""Results as a Markdown table and a plot, and the page of the docs that holds both."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from bench import workers
from bench.contenders import GATE, STRAIGHT, VERSITYGW
from bench.figures import FIGURES, Sample

#: Figure, contender, and a sample for each round.
Results = dict[str, dict[str, list[Sample]]]

_GO_NAME = VERSITYGW.partition(",")[0]


def table(results: Results, measured: str) -> str:
    """Return all results in Markdown: medians, and the lowest and highest round in brackets.

    `measured` says on what, and how often.
    """
    introduction = (
        f"Measured on {measured}. Medians; the lowest and the highest round in brackets. *Ratio*: processor time over "
        f"that of MinIO asked straight; *of straight* and *of {_GO_NAME}*: requests or MiB per second over theirs; all "
        "round by round."
    )
    special = {"latency": _latency, "crowd": _crowd, "workers": _workers}
    parts = [introduction]
    parts += [
        special[name](ones) if name in special else _figure(name, ones) for name, ones in results.items()
    ]
    return "\n\n".join(parts) + "\n"


def over(
    ones: dict[str, list[Sample]], contender: str, other: str, read: Callable[[Sample], float]
) -> list[float]:
    """Return what is read of a contender over the same of another, round by round; nothing where one is missing."""
    return [
        read(its) / read(theirs)
        for its, theirs in zip(ones.get(contender, ()), ones.get(other, ()), strict=False)
    ]


def rate(sample: Sample) -> float:
    """Requests, or MiB, per second."""
    return sample.rate


def cpu(sample: Sample) -> float:
    """Processor time for each request or GiB."""
    return sample.cpu


def p99(sample: Sample) -> float:
    """Microseconds."""
    return sample.p99


def _figure(name: str, ones: dict[str, list[Sample]]) -> str:
    figure = FIGURES[name]
    large = bool(figure.size)
    rates = f"of straight | of {_GO_NAME}"
    # A title that says how many does not need it again.
    how = f", {figure.connections} connections" if figure.connections > 1 else ""
    lines = [
        f"**{figure.title}**{how} (`python -m bench {name}`)",
        "",
        f"| | MiB/s | {rates} | s/GiB of processor | ratio | node s/GiB | memory |"
        if large
        else f"| | requests/s | {rates} | p50 | p99 | µs of processor a request | ratio | node µs | memory |",
        "|---|--:|--:|--:|--:|--:|--:|--:|" if large else "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for contender, samples in ones.items():
        memory = f"{statistics.median(sample.memory for sample in samples):.0f} MiB"
        node = _spread([one.node_cpu for one in samples], "{:.2f}" if large else "{:,.0f}")
        cells = [
            _spread([one.rate for one in samples], "{:,.0f}"),
            _relative(ones, contender, STRAIGHT, rate),
            _relative(ones, contender, VERSITYGW, rate),
        ]
        if not large:
            p50, slowest = [one.p50 / 1000 for one in samples], [one.p99 / 1000 for one in samples]
            cells += [f"{statistics.median(p50):.1f} ms", f"{statistics.median(slowest):.1f} ms"]
        cells += [
            _spread([one.cpu for one in samples], "{:.2f}" if large else "{:,.0f}"),
            _relative(ones, contender, STRAIGHT, cpu),
            node,
            memory,
        ]
        lines.append(f"| {contender} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _relative(
    ones: dict[str, list[Sample]], contender: str, other: str, read: Callable[[Sample], float]
) -> str:
    ratios = [] if contender == other else over(ones, contender, other, read)
    return _spread(ratios, "{:.2f}") if ratios else "—"


def _workers(ones: dict[str, list[Sample]]) -> str:
    title = (
        f"**GET of 4 KiB by one worker and by two, each held to {workers.SHARE:.0%} of a core**, {workers.CONNECTIONS} "
        "connections, the node replaced by answers recorded from it (`python -m bench workers`)"
    )
    if not ones:
        return f"{title}: not measured, because no control groups could be made there."
    lines = [
        title,
        "",
        "| | requests/s | of one worker | p50 | p99 | µs of processor a request |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, samples in ones.items():
        lines.append(
            f"| {name} | {_spread([one.rate for one in samples], '{:,.0f}')} "
            f"| {_relative(ones, name, workers.ONE, rate)} "
            f"| {statistics.median(one.p50 for one in samples) / 1000:.0f} ms "
            f"| {statistics.median(one.p99 for one in samples) / 1000:.0f} ms "
            f"| {_spread([one.cpu for one in samples], '{:,.0f}')} |"
        )
    return "\n".join(lines)


def _latency(ones: dict[str, list[Sample]]) -> str:
    lines = [
        "**p99 of a GET of 4 KiB at about half of what saturates each** (`python -m bench latency`)",
        "",
        "| | requests/s | p99 | over MinIO straight |",
        "|---|--:|--:|--:|",
    ]
    for contender, samples in ones.items():
        lines.append(
            f"| {contender} | {_spread([one.rate for one in samples], '{:,.0f}')} "
            f"| {_spread([one.p99 / 1000 for one in samples], '{:.1f}')} ms "
            f"| {_relative(ones, contender, STRAIGHT, p99)} |"
        )
    return "\n".join(lines)


def _crowd(ones: dict[str, list[Sample]]) -> str:
    lines = [
        "**GET of 4 KiB on 256 connections, beside 1,000 idle ones** (`python -m bench crowd`), without an error",
        "",
        "| | requests/s | p99 | memory of the largest process |",
        "|---|--:|--:|--:|",
    ]
    for contender, samples in ones.items():
        lines.append(
            f"| {contender} | {_spread([one.rate for one in samples], '{:,.0f}')} "
            f"| {_spread([one.p99 / 1000 for one in samples], '{:.0f}')} ms "
            f"| {max(sample.memory for sample in samples):.0f} MiB |"
        )
    return "\n".join(lines)


def _spread(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(statistics.median(values))} ({low} to {high})"


def write(docs: Path, text: str, aims: str, results: Results) -> None:
    """Put the tables into the page, between their marks, and the plot beside it."""
    replace_between(docs / "performance.md", "results", text)
    replace_between(docs / "performance.md", "aims", aims)
    (docs / "performance.svg").write_text(plot(results))


def replace_between(page: Path, mark: str, text: str) -> None:
    """Replace what stands between `<!-- mark -->` and `<!-- /mark -->`."""
    old = page.read_text()
    new = re.sub(
        f"(<!-- {mark} -->\n).*(<!-- /{mark} -->)",
        lambda found: found[1] + text + found[2],
        old,
        flags=re.DOTALL,
    )
    page.write_text(new)


def plot(results: Results) -> str:
    """Return bars of processor time, relative to MinIO asked straight, as SVG."""
    names = [name for name in FIGURES if name in results]
    rows = [
        (FIGURES[name].title, contender, statistics.median(over(results[name], contender, STRAIGHT, cpu)))
        for name in names
        for contender in results[name]
    ]
    left, width, height, step = 190, 460, 18, 24
    most = max((ratio for *_, ratio in rows), default=1.0)
    lines, y, title = [], 34, ""
    for figure, contender, ratio in rows:
        if figure != title:
            title = figure
            y += 14
            lines.append(f'<text x="8" y="{y + 13}" font-weight="bold">{escape(figure)}</text>')
            y += step
        colour = {GATE: "#2563eb", STRAIGHT: "#64748b"}.get(contender, "#cbd5e1")
        bar = ratio / most * width
        lines.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(contender)}</text>')
        lines.append(f'<rect x="{left}" y="{y}" width="{bar:.1f}" height="{height}" rx="2" fill="{colour}"/>')
        lines.append(f'<text x="{left + bar + 6:.1f}" y="{y + 13}">{ratio:.2f}</text>')
        y += step
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {y + 12}" font-family="system-ui, sans-serif" '
        'font-size="13" fill="#0f172a">\n'
        '<rect width="100%" height="100%" fill="#ffffff"/>\n'
        '<text x="8" y="24" font-size="15" font-weight="bold">Processor time of the gateway, MinIO straight = 1'
        "</text>\n" + "\n".join(lines) + "\n</svg>\n"
    )
