"""`wio share`: who else may use a workspace, how, and until when."""

from __future__ import annotations

import click

from broker.cli.command import Group, Session, pass_session
from broker.cli.failures import usage
from broker.cli.params import EXPIRY, NEW_EXPIRY, PERMISSION, WORKSPACE

COLUMNS = ("id", "workspace", "principal", "permission", "expires_at", "state", "created_by")


@click.group(cls=Group)
def command() -> None:
    """Who else may use a workspace, how, and until when."""


@command.command(example="wio share create photos bob --permission read --expires 7d")
@click.argument("workspace", type=WORKSPACE)
@click.argument("principal")
@click.option("--permission", type=PERMISSION, required=True, help="read, readwrite or own.")
@click.option("--expires", type=EXPIRY, help="When it ends by itself: 7d, or a time.")
@pass_session
def create(session: Session, workspace: str, principal: str, permission: str, expires: str | None) -> None:
    """Share a workspace with a user, group:NAME or everyone. An existing share is updated."""
    body = {"workspace": workspace, "principal": principal, "permission": permission, "expires": expires}
    session.output.one(session.broker.post("shares", body=body))


@command.command("list", example="wio share list photos")
@click.argument("workspace", type=WORKSPACE, required=False)
@pass_session
def list_(session: Session, workspace: str | None) -> None:
    """List shares: of a workspace, or all that concern you."""
    session.output.many(session.broker.rows("shares", by="id", workspace=workspace), COLUMNS)


@command.command(example="wio share update k3xw5zq2ma7rp4td --permission read")
@click.argument("share", metavar="ID")
@click.option("--permission", type=PERMISSION, help="The new permission.")
@click.option("--expires", type=NEW_EXPIRY, help="The new end, or never.")
@pass_session
def update(session: Session, share: str, permission: str | None, expires: str | None) -> None:
    """Change a share. What a downgrade takes away ends at once, running transfers too."""
    if permission is None and expires is None:
        raise usage("Nothing to change: give --permission or --expires.")
    body = {"permission": permission, "expires": expires}
    session.output.one(session.broker.patch("shares", share, body=body))


@command.command(example="wio share revoke photos bob --dry-run")
@click.argument("what", metavar="(ID | WORKSPACE PRINCIPAL)", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Only say what would end.")
@pass_session
def revoke(session: Session, what: tuple[str, ...], dry_run: bool) -> None:
    """Revoke a share and all that hangs under it. When this returns, no further byte of it is sent."""
    asked = dry_run or None
    if len(what) == 1:
        answer = session.broker.delete("shares", what[0], dry_run=asked)
    elif len(what) == 2:
        workspace = WORKSPACE.convert(what[0], None, None)
        answer = session.broker.delete("shares", workspace=workspace, principal=what[1], dry_run=asked)
    else:
        raise usage("Give the id of a share, or a workspace and a principal.")
    session.output.ended(answer, "Would revoke the share" if dry_run else "Revoked the share")
