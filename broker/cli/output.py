"""What a command prints: JSON for scripts, tables for people; data on stdout, talk on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker.cli.params import human_size

Row = Mapping[str, Any]


class Output:
    """Prints results one of two ways; `as_json` is switched on by any `--json` of the command line."""

    def __init__(self) -> None:
        self.as_json = False

    def say(self, message: str) -> None:
        """Talk: on stderr, and only to people."""
        if not self.as_json:
            click.echo(message, err=True)

    def data(self, value: object) -> None:
        """A JSON value on stdout, whatever the mode."""
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))

    def one(self, row: Row) -> None:
        """One object: JSON, or a line for each field that has a value."""
        if self.as_json:
            self.data(row)
            return
        shown = {name: _cell(name, value) for name, value in row.items() if value is not None}
        width = max(map(len, shown), default=0)
        for name, text in shown.items():
            click.echo(f"{name:<{width}}  {text}")

    def many(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        """A list: all of it as JSON; else `columns`, as a table on a terminal and tab-separated in a pipe."""
        if self.as_json:
            self.data(list(rows))
            return
        table = [[_cell(column, row.get(column)) for column in columns] for row in rows]
        if not sys.stdout.isatty():
            for cells in ([*columns], *table):
                click.echo("\t".join(cells))
            return
        view = Table(*(column.replace("_", " ") for column in columns), box=None, pad_edge=False)
        for cells in table:
            view.add_row(*map(Text, cells))
        Console().print(view)

    def ended(self, answer: Row, what: str) -> None:
        """What a revoke, disable or delete ended, in a sentence: how many credentials, what was cut, how fast."""
        if self.as_json:
            self.data(answer)
            return
        parts = [f"{_count(answer, name)} {label}" for name, label in _ENDED if _count(answer, name)]
        sentence = f"{what}: {', '.join(parts)}" if parts else what
        if "seconds" in answer:
            sentence += f" ({answer['seconds']:.3f} s)"
        click.echo(sentence)
        if answer.get("workers_unreachable"):
            self.say(
                f"{answer['workers_unreachable']} worker(s) did not answer; their leases have run out, "
                "so they serve nothing any more."
            )


_ENDED = (
    ("revoked", "revoked"),
    ("sessions", "sessions ended"),
    ("links", "links ended"),
    ("transfers_cut", "transfers cut"),
)


def _count(answer: Row, name: str) -> int:
    value = answer.get(name)
    if isinstance(value, (list, tuple, dict)):
        return len(value)
    return int(value or 0)


def _cell(name: str, value: object) -> str:
    """A value as people read it. Control characters of foreign names never reach the terminal."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case int() if name.endswith("bytes"):
            return human_size(value)
        case list() | tuple() if all(isinstance(item, (str, int)) for item in value):
            text = ", ".join(map(str, value)) or "-"
        case dict() | list():
            text = json.dumps(value, ensure_ascii=False)
        case _:
            text = str(value)
    return "".join(mark if mark.isprintable() else "�" for mark in text)


def chosen(rows: Sequence[Row], keep: Callable[[Row], bool]) -> list[Row]:
    """The rows that `keep` holds for, in their order."""
    return [row for row in rows if keep(row)]
