"""`wio whoami`: who the broker takes you for."""

from __future__ import annotations

import click

from broker.cli.command import Command, Session, pass_session


@click.command(cls=Command, example="wio whoami --json")
@pass_session
def command(session: Session) -> None:
    """Say who the broker takes you for, and what your credential may do."""
    answer = session.broker.get("whoami")
    session.output.say(f"By {session.target.source}, at {session.target.url}:")
    session.output.one(answer)
