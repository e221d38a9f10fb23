"""`wio workspace`: what S3 clients see as buckets."""

from __future__ import annotations

import click

from broker.cli.command import Group, Session, pass_session
from broker.cli.params import WORKSPACE

COLUMNS = ("bucket", "owner", "root", "permission", "public", "used_bytes", "used_objects")


@click.group(cls=Group)
def command() -> None:
    """Workspaces: what S3 clients see as buckets."""


@command.command(example="wio workspace create photos")
@click.argument("name", metavar="[OWNER/]NAME", type=WORKSPACE)
@click.option("--root", metavar="ROOT", help="Where it is stored; by default your default root.")
@click.option("--prefix", help="Which prefix of an unmanaged root it maps.")
@pass_session
def create(session: Session, name: str, root: str | None, prefix: str | None) -> None:
    """Create a workspace."""
    owner, _, short = name.rpartition(".")
    body = {"name": short, "owner": owner or None, "root": root, "prefix": prefix}
    session.output.one(session.broker.post("workspaces", body=body))


@command.command("list", example="wio workspace list --json")
@click.option("--all", "everything", is_flag=True, help="All there are; for admins.")
@pass_session
def list_(session: Session, everything: bool) -> None:
    """List workspaces: yours and those shared with you."""
    rows = session.broker.rows("workspaces", by="id", all=everything or None)
    session.output.many(rows, COLUMNS)


@command.command(example="wio workspace show jane/photos")
@click.argument("workspace", type=WORKSPACE)
@pass_session
def show(session: Session, workspace: str) -> None:
    """Show one workspace."""
    session.output.one(session.broker.get("workspaces", workspace))


@command.command(example="wio workspace rename photos pictures")
@click.argument("workspace", type=WORKSPACE)
@click.argument("name")
@pass_session
def rename(session: Session, workspace: str, name: str) -> None:
    """Rename a workspace. No object moves; the old name is free again."""
    session.output.one(session.broker.post("workspaces", workspace, "rename", body={"name": name}))


@command.command(example="wio workspace transfer photos bob")
@click.argument("workspace", type=WORKSPACE)
@click.argument("user")
@pass_session
def transfer(session: Session, workspace: str, user: str) -> None:
    """Give a workspace to another user, whose quota then carries it."""
    session.output.one(session.broker.post("workspaces", workspace, "transfer", body={"to": user}))


@command.command(example="wio workspace alias photos pictures")
@click.argument("workspace", type=WORKSPACE)
@click.argument("name")
@pass_session
def alias(session: Session, workspace: str, name: str) -> None:
    """Give a workspace one more name."""
    session.output.one(session.broker.post("workspaces", workspace, "alias", body={"name": name}))


@command.command(example="wio workspace delete photos --purge")
@click.argument("workspace", type=WORKSPACE)
@click.option("--purge", is_flag=True, help="Delete everything in it too.")
@pass_session
def delete(session: Session, workspace: str, purge: bool) -> None:
    """Delete a workspace: an empty one, or with --purge whatever it holds."""
    answer = session.broker.delete("workspaces", workspace, purge=purge or None)
    session.output.ended(answer, f"Deleted workspace {workspace}")
