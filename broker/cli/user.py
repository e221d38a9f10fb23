"""`wio user`: people who sign in."""

from __future__ import annotations

import click

from broker.cli.command import Group, Session, pass_session, secret_from_stdin
from broker.cli.failures import usage

COLUMNS = ("name", "email", "admin", "enabled", "groups", "created_at")


@click.group(cls=Group)
def command() -> None:
    """People who sign in."""


@command.command(example="wio user create jane --email jane@example.org")
@click.argument("name")
@click.option("--email", help="Where to reach them.")
@click.option("--admin", is_flag=True, help="May manage everything; reads no data without a share.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@pass_session
def create(session: Session, name: str, email: str | None, admin: bool, password_stdin: bool) -> None:
    """Create a user. Without a password they sign in by OIDC, or use keys made for them."""
    password = secret_from_stdin() if password_stdin else None
    body = {"name": name, "email": email, "admin": admin, "password": password}
    session.output.one(session.broker.post("users", body=body))


@command.command("list", example="wio user list --json")
@pass_session
def list_(session: Session) -> None:
    """List users."""
    session.output.many(session.broker.rows("users", by="name"), COLUMNS)


@command.command(example="wio user show jane")
@click.argument("name")
@pass_session
def show(session: Session, name: str) -> None:
    """Show one user."""
    session.output.one(session.broker.get("users", name))


@command.command(example="wio user update jane --admin")
@click.argument("name")
@click.option("--email", help="The new address.")
@click.option("--admin/--no-admin", default=None, help="Make, or unmake, an admin.")
@pass_session
def update(session: Session, name: str, email: str | None, admin: bool | None) -> None:
    """Change a user's address or role. The handle is permanent."""
    if email is None and admin is None:
        raise usage("Nothing to change: give --email, --admin or --no-admin.")
    session.output.one(session.broker.patch("users", name, body={"email": email, "admin": admin}))


@command.command("set-password", example="wio user set-password jane --password-stdin < password.txt")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read it from the first line of stdin; else ask.")
@pass_session
def set_password(session: Session, name: str, password_stdin: bool) -> None:
    """Set a user's password: your own, or as an admin anybody's."""
    if password_stdin:
        password = secret_from_stdin()
    else:
        password = click.prompt("New password", hide_input=True, confirmation_prompt=True, err=True)
    session.output.ended(
        session.broker.post("users", name, "password", body={"password": password}), f"Set {name}'s password"
    )


@command.command(example="wio user disable jane")
@click.argument("name")
@pass_session
def disable(session: Session, name: str) -> None:
    """Stop everything a user does, at once: requests, sessions, links, running transfers."""
    session.output.ended(session.broker.post("users", name, "disable"), f"Disabled {name}")


@command.command(example="wio user enable jane")
@click.argument("name")
@pass_session
def enable(session: Session, name: str) -> None:
    """Let a disabled user in again, with the keys and shares they had."""
    session.output.one(session.broker.post("users", name, "enable"))


@command.command(example="wio user delete jane --transfer-to bob")
@click.argument("name")
@click.option("--transfer-to", metavar="USER", help="Give their workspaces to this user.")
@click.option("--purge", is_flag=True, help="Delete their workspaces and everything in them.")
@pass_session
def delete(session: Session, name: str, transfer_to: str | None, purge: bool) -> None:
    """Delete a user. Workspaces go to somebody else, or are purged; without either there may be none."""
    if transfer_to and purge:
        raise usage("Give --transfer-to or --purge, not both.")
    answer = session.broker.delete("users", name, transfer_to=transfer_to, purge=purge or None)
    session.output.ended(answer, f"Deleted {name}")
