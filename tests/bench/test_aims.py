"""What the tables of docs/performance.md say of samples that are made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import aims, budget, report
from bench.contenders import GATE, NGINX, STRAIGHT, VERSITYGW
from bench.figures import FIGURES, Sample
from bench.workers import ONE, TWO

ROOT = Path(__file__).parents[2]


def a_run(**gate: float) -> report.Results:
    """Two rounds, the second on a machine that is twice as fast."""

    def samples(rate: float, cpu: float, p99: float = 10_000.0) -> list[Sample]:
        return [
            Sample(rate * speed, cpu / speed, cpu / speed, p50=1_000.0, p99=p99 / speed, memory=100.0)
            for speed in (1, 2)
        ]

    one = {
        STRAIGHT: samples(1000, 300),
        NGINX: samples(900, 50),
        VERSITYGW: samples(500, 600),
        GATE: samples(gate.get("rate", 700), gate.get("cpu", 150), gate.get("p99", 12_000)),
    }
    return {
        **dict.fromkeys(FIGURES, one),
        "latency": one,
        "crowd": one,
        "workers": {ONE: samples(500, 200), TWO: samples(950, 200)},
    }


def row(table: str, what: str) -> list[str]:
    (found,) = [line for line in table.splitlines() if line.startswith(f"| {what}")]
    return [cell.strip() for cell in found.strip("|").split("|")][1:]


def test_each_aim_is_read_off_the_run() -> None:
    table = aims.table(a_run(rate=700, cpu=150))
    assert len(table.splitlines()) == 2 + len(aims.AIMS)
    assert row(table, "GET of 4 KiB: processor time, of MinIO's own") == ["≤ 0.45", "0.50", "**no**"]
    assert row(table, "GET of 4 KiB: processor time, of the Go gateway's") == ["≤ 0.333", "0.250", "yes"]
    assert row(table, "GET of 4 KiB: requests/s, of MinIO straight") == ["≥ 0.60", "0.70", "yes"]
    assert row(table, "GET of 4 KiB: requests/s, of the Go gateway") == ["≥ 1.75", "1.40", "**no**"]
    assert row(table, "PUT of 4 KiB: processor time, of its own GET") == ["≤ 2.00", "1.00", "yes"]
    assert row(table, "GET of 4 KiB at half") == ["≤ 1.50", "1.20", "yes"]
    assert row(table, "1,000 idle") == ["≤ 150", "100", "yes"]
    assert row(table, "Two workers") == ["≥ 1.80", "1.90", "yes"]


def test_what_was_not_measured_is_no_aim_of_the_run() -> None:
    run = a_run()
    del run["get"], run["latency"]
    run["workers"] = {}
    run["large-get"] = {name: samples for name, samples in run["large-get"].items() if name != VERSITYGW}
    table = aims.table(run)
    for missing in ("GET of 4 KiB", "PUT of 4 KiB", "HEAD", "Two workers", "GET of 64 MiB: processor time"):
        assert f"| {missing}" not in table
    assert row(table, "GET of 64 MiB, two connections") == ["≥ 0.95", "0.70", "**no**"]
    assert aims.table({}) == "None of the aims was measured.\n"


def test_rates_stand_beside_those_of_minio_and_of_the_other_gateway() -> None:
    table = report.table({"get": a_run()["get"]}, "a machine: 2 rounds")
    assert row(table, GATE)[1:3] == ["0.70 (0.70 to 0.70)", "1.40 (1.40 to 1.40)"]
    assert row(table, STRAIGHT)[1:3] == ["—", "2.00 (2.00 to 2.00)"]
    widths = {line.count("|") for line in table.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_every_figure_has_a_table_and_the_plot_its_bars() -> None:
    run = a_run()
    table = report.table(run, "a machine")
    assert all(f"`python -m bench {name}`" in table for name in run)
    assert report.plot(run).count(">wio gate<") == len(FIGURES)
    assert "no control groups" in report.table({"workers": {}}, "a machine")


def test_the_page_takes_both(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text((ROOT / "docs" / "performance.md").read_text())
    report.write(tmp_path, "The results\n", "The aims\n", a_run())
    text = page.read_text()
    assert "<!-- results -->\nThe results\n<!-- /results -->" in text
    assert "<!-- aims -->\nThe aims\n<!-- /aims -->" in text
    assert (tmp_path / "performance.svg").exists()


def test_the_budget_names_figures_and_is_kept_or_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(budget.load()) <= set(FIGURES)
    assert budget.check(a_run(cpu=1)) == 0
    assert budget.check(a_run(cpu=1000)) == 1
    assert "WORSE get: 3.33 of MinIO's processor time" in capsys.readouterr().err
