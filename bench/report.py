"""Results as a Markdown table and a plot, and the page of the docs that holds both."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from bench.contenders import GATE, STRAIGHT
from bench.figures import FIGURES, Sample

#: Figure, contender, and a sample for each round.
Results = dict[str, dict[str, list[Sample]]]


def table(results: Results, machine: str, rounds: int, seconds: float) -> str:
    """Return all results in Markdown: medians, and the lowest and highest round in brackets."""
    introduction = (
        f"Measured on {machine}: {rounds} interleaved rounds of {seconds:g} s. Medians; the lowest and the highest "
        "round in brackets. *Ratio*: processor time over that of MinIO asked straight, round by round."
    )
    parts = [introduction]
    for name, ones in results.items():
        if name == "latency":
            parts.append(_latency(ones))
        elif name == "crowd":
            parts.append(_crowd(ones))
        else:
            parts.append(_figure(name, ones))
    return "\n\n".join(parts) + "\n"


def _figure(name: str, ones: dict[str, list[Sample]]) -> str:
    figure = FIGURES[name]
    large = bool(figure.size)
    lines = [
        f"**{figure.title}**, {figure.connections} connections (`python -m bench {name}`)",
        "",
        "| | MiB/s | s/GiB of processor | ratio | node s/GiB | memory |"
        if large
        else "| | requests/s | p50 | p99 | µs of processor a request | ratio | node µs | memory |",
        "|---|--:|--:|--:|--:|--:|" if large else "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    straight = ones[STRAIGHT]
    for contender, samples in ones.items():
        ratio = "—"
        if contender != STRAIGHT:
            ratio = _spread([a.cpu / b.cpu for a, b in zip(samples, straight, strict=True)], "{:.2f}")
        memory = f"{statistics.median(sample.memory for sample in samples):.0f} MiB"
        cpu, node = _of(samples, lambda one: one.cpu), _of(samples, lambda one: one.node_cpu)
        rate = _spread(_of(samples, lambda one: one.rate), "{:,.0f}")
        if large:
            cells = [rate, _spread(cpu, "{:.2f}"), ratio, _spread(node, "{:.2f}"), memory]
        else:
            p50, p99 = _of(samples, lambda one: one.p50 / 1000), _of(samples, lambda one: one.p99 / 1000)
            cells = [
                rate, f"{statistics.median(p50):.1f} ms", f"{statistics.median(p99):.1f} ms",
                _spread(cpu, "{:,.0f}"), ratio, _spread(node, "{:,.0f}"), memory,
            ]  # fmt: skip
        lines.append(f"| {contender} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _latency(ones: dict[str, list[Sample]]) -> str:
    lines = [
        "**p99 of a GET of 4 KiB at about half of what saturates each** (`python -m bench latency`)",
        "",
        "| | requests/s | p99 | over MinIO straight |",
        "|---|--:|--:|--:|",
    ]
    straight = ones[STRAIGHT]
    for contender, samples in ones.items():
        ratios = [a.p99 / b.p99 for a, b in zip(samples, straight, strict=True)]
        lines.append(
            f"| {contender} | {_spread(_of(samples, lambda one: one.rate), '{:,.0f}')} "
            f"| {_spread(_of(samples, lambda one: one.p99 / 1000), '{:.1f}')} ms "
            f"| {'—' if contender == STRAIGHT else _spread(ratios, '{:.2f}')} |"
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
            f"| {contender} | {_spread(_of(samples, lambda one: one.rate), '{:,.0f}')} "
            f"| {_spread(_of(samples, lambda one: one.p99 / 1000), '{:.0f}')} ms "
            f"| {max(sample.memory for sample in samples):.0f} MiB |"
        )
    return "\n".join(lines)


def _of(samples: Sequence[Sample], read: Callable[[Sample], float]) -> list[float]:
    return [read(sample) for sample in samples]


def _spread(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return f"{form.format(statistics.median(values))} ({low} to {high})"


def write(docs: Path, text: str, results: Results) -> None:
    """Put the tables into the page, between its marks, and the plot beside it."""
    replace_between(docs / "performance.md", "results", text)
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
        (FIGURES[name].title, contender, statistics.median(_ratios(results[name], contender)))
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


def _ratios(ones: dict[str, list[Sample]], contender: str) -> list[float]:
    return [ours.cpu / its.cpu for ours, its in zip(ones[contender], ones[STRAIGHT], strict=True)]
