"""`wio transfers`: what is being transferred right now."""

from __future__ import annotations

import json
import time

import click

from broker.cli.command import Command, Session, pass_session

COLUMNS = (
    "user",
    "operation",
    "bucket",
    "key",
    "direction",
    "bytes",
    "bytes_per_second",
    "shares",
    "credential",
)
WATCH_SECONDS = 1.0


@click.command(cls=Command, example="wio transfers --watch")
@click.option("--watch", is_flag=True, help="Show it anew each second, until Ctrl-C.")
@pass_session
def command(session: Session, watch: bool) -> None:
    """List the transfers that run now. With --watch and --json: one JSON array a line, each second."""
    while True:
        rows = session.broker.get("transfers")
        if not watch:
            session.output.many(rows, COLUMNS)
            return
        if session.output.as_json:
            click.echo(json.dumps(rows, ensure_ascii=False))
        else:
            click.clear()
            session.output.many(rows, COLUMNS)
        time.sleep(WATCH_SECONDS)
