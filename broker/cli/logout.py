"""`wio logout`: the end of what `wio login` made."""

from __future__ import annotations

import click

from broker.cli.command import Command, Session, pass_session
from broker.cli.failures import ExitCode, Failure


@click.command(cls=Command, example="wio logout")
@pass_session
def command(session: Session) -> None:
    """Delete the key that login made, with the sessions made from it, and forget it here."""
    from broker.cli.client import Broker
    from broker.cli.profiles import forget_profile, load_profile

    name = session.profile or session.environment.get("WIO_PROFILE")
    target = load_profile(session.environment, name)
    if target is None:
        raise Failure("NotLoggedIn", "Nobody is signed in here.", ExitCode.DENIED)
    try:
        answer = Broker(target.url, target.keys).post("logout")
    except Failure as failure:
        # A key that is already dead is as good as deleted; anything else may be tried again.
        if failure.exit_code != ExitCode.DENIED:
            raise
        answer = {}
    forgotten = forget_profile(session.environment, name)
    session.output.ended({"profile": forgotten, **answer}, f"Signed out of profile {forgotten}")
