"""`wio root`: places on nodes where workspaces are made."""

from __future__ import annotations

import click

from broker.cli.command import Group, Session, pass_session
from broker.cli.failures import usage

COLUMNS = ("name", "node", "kind", "bucket", "prefix", "default", "may_create")
RIGHT = click.Choice(["create", "manage"])


@click.group(cls=Group)
def command() -> None:
    """Places on nodes where workspaces are made: a bucket, perhaps a prefix."""


@command.command(example="wio root create archive --node attic --bucket archive --kind private")
@click.argument("name")
@click.option("--node", required=True, help="The node that it is on.")
@click.option("--bucket", required=True, help="The bucket there; made when absent.")
@click.option("--prefix", help="Only below this prefix.")
@click.option(
    "--kind",
    type=click.Choice(["private", "public", "unmanaged"]),
    default="private",
    show_default=True,
    help="public: every workspace is readable by everyone; unmanaged: maps data that is already there.",
)
@pass_session
def create(session: Session, name: str, node: str, bucket: str, prefix: str | None, kind: str) -> None:
    """Create a root on a node that you operate."""
    body = {"name": name, "node": node, "bucket": bucket, "prefix": prefix, "kind": kind}
    session.output.one(session.broker.post("roots", body=body))


@command.command(example="wio root grant archive group:lab --permission create")
@click.argument("name")
@click.argument("principal")
@click.option("--permission", type=RIGHT, default="create", show_default=True)
@pass_session
def grant(session: Session, name: str, principal: str, permission: str) -> None:
    """Let a user, group:NAME or everyone create workspaces there, or manage it."""
    body = {"principal": principal, "permission": permission}
    session.output.one(session.broker.put("roots", name, "grants", body=body))


@command.command(example="wio root ungrant archive everyone")
@click.argument("name")
@click.argument("principal")
@click.option("--permission", type=RIGHT, default="create", show_default=True)
@pass_session
def ungrant(session: Session, name: str, principal: str, permission: str) -> None:
    """Take such a right away. Workspaces that exist stay."""
    answer = session.broker.delete("roots", name, "grants", principal=principal, permission=permission)
    session.output.ended(answer, f"{principal} may not {permission} in {name} any more")


@command.command(example="wio root show archive")
@click.argument("name")
@pass_session
def show(session: Session, name: str) -> None:
    """Show one root and who has rights there."""
    session.output.one(session.broker.get("roots", name))


@command.command(example="wio root update archive --name attic-archive")
@click.argument("name")
@click.option("--name", "new_name", metavar="NAME", help="Its new name.")
@pass_session
def update(session: Session, name: str, new_name: str | None) -> None:
    """Rename a root. Where it is cannot change."""
    if new_name is None:
        raise usage("Nothing to change: give --name.")
    session.output.one(session.broker.patch("roots", name, body={"name": new_name}))


@command.command("set-default", example="wio root set-default archive")
@click.argument("name")
@click.option("--everyone", is_flag=True, help="For all who chose none; for admins.")
@pass_session
def set_default(session: Session, name: str, everyone: bool) -> None:
    """Make your new workspaces go there unless they name another root."""
    session.output.one(session.broker.post("roots", name, "default", body={"everyone": everyone}))


@command.command("import", example="wio root import legacy")
@click.argument("name")
@click.option("--owner", metavar="USER", help="Whose they become; by default yours.")
@click.option("--dry-run", is_flag=True, help="Only say what would be made.")
@pass_session
def import_(session: Session, name: str, owner: str | None, dry_run: bool) -> None:
    """Make workspaces of the folders that an unmanaged root already holds."""
    rows = session.broker.post("roots", name, "import", body={"owner": owner, "dry_run": dry_run})
    session.output.many(rows, ("prefix", "owner", "name", "bucket", "reason"))


@command.command("list", example="wio root list")
@pass_session
def list_(session: Session) -> None:
    """List the roots that you may use."""
    session.output.many(session.broker.rows("roots", by="name"), COLUMNS)


@command.command(example="wio root delete archive")
@click.argument("name")
@pass_session
def delete(session: Session, name: str) -> None:
    """Remove a root that holds no workspaces. Nothing on the node is deleted."""
    session.output.ended(session.broker.delete("roots", name), f"Deleted root {name}")
