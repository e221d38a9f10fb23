"""`wio group`: named sets of users, to share with."""

from __future__ import annotations

import click

from broker.cli.command import Group, Session, pass_session


@click.group(cls=Group)
def command() -> None:
    """Named sets of users, to share with as group:NAME."""


@command.command(example="wio group create lab")
@click.argument("name")
@pass_session
def create(session: Session, name: str) -> None:
    """Create an empty group."""
    session.output.one(session.broker.post("groups", body={"name": name}))


@command.command(example="wio group add lab jane")
@click.argument("group")
@click.argument("user")
@pass_session
def add(session: Session, group: str, user: str) -> None:
    """Add a user; what is shared with the group is theirs at once."""
    session.output.one(session.broker.put("groups", group, "members", user))


@command.command(example="wio group remove lab jane")
@click.argument("group")
@click.argument("user")
@pass_session
def remove(session: Session, group: str, user: str) -> None:
    """Remove a user; what they had only by the group ends at once, running transfers too."""
    answer = session.broker.delete("groups", group, "members", user)
    session.output.ended(answer, f"Removed {user} from {group}")


@command.command("list", example="wio group list --json")
@pass_session
def list_(session: Session) -> None:
    """List groups and their members."""
    session.output.many(session.broker.rows("groups", by="name"), ("name", "members", "created_at"))


@command.command(example="wio group delete lab")
@click.argument("group")
@pass_session
def delete(session: Session, group: str) -> None:
    """Delete a group and the shares with it."""
    session.output.ended(session.broker.delete("groups", group), f"Deleted group {group}")
