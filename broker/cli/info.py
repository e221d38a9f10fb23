"""`wio info`: what this deployment is."""

from __future__ import annotations

import click

from broker.cli.command import Command, Session, pass_session


@click.command(cls=Command, example="wio info --json")
@pass_session
def command(session: Session) -> None:
    """Say what this deployment is and where its endpoints are."""
    session.output.one(session.broker.get("info"))
