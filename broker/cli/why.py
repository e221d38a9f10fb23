"""`wio why`: the explanation of a yes or a no."""

from __future__ import annotations

import click

from broker.cli.command import Command, Session, pass_session
from broker.cli.params import OBJECT


@click.command(
    cls=Command, example="wio why bob write photos/2026/cat.jpg\nwio why bob s3:GetObject jane.photos/cat.jpg"
)
@click.argument("user")
@click.argument("action")
@click.argument("path", metavar="BUCKET[/KEY]", type=OBJECT)
@pass_session
def command(session: Session, user: str, action: str, path: tuple[str, str]) -> None:
    """Explain why a user may or may not do something now.

    ACTION is read, write, delete, list, share, or an S3 operation. Exits with 0 for a no as for a yes.
    """
    bucket, key = path
    answer = session.broker.get("why", user=user, action=action, bucket=bucket, key=key or None)
    session.output.one(answer)
