"""`wio audit`: who did what, and whether the record is whole."""

from __future__ import annotations

import click

from broker.cli.command import Group, Session, pass_session
from broker.cli.failures import Failure
from broker.cli.params import WORKSPACE

COLUMNS = ("at", "user", "action", "workspace", "detail", "request_id")


@click.group(cls=Group, invoke_without_command=True, example="wio audit --workspace photos")
@click.option("--workspace", type=WORKSPACE, help="Only what concerns this workspace.")
@click.pass_context
def command(ctx: click.Context, workspace: str | None) -> None:
    """List who did what; `verify` checks that no row was changed or removed."""
    if ctx.invoked_subcommand is None:
        session = ctx.ensure_object(Session)
        session.output.many(session.broker.get("audit", workspace=workspace), COLUMNS)


@command.command(example="wio audit verify")
@pass_session
def verify(session: Session) -> None:
    """Check the chain of the audit trail; exits with 1 where it is broken."""
    answer = session.broker.get("audit", "verify")
    if not answer.get("ok"):
        raise Failure("AuditChainBroken", f"The audit trail has been tampered with: {answer}")
    session.output.one(answer)
