"""`wio key`: long-lived access keys, for clients that cannot renew a session."""

from __future__ import annotations

import click

from broker.cli.command import Group, Session, pass_session, secret_from_stdin
from broker.cli.failures import usage
from broker.cli.params import EXPIRY, PERMISSION, WORKSPACE

COLUMNS = ("access_key_id", "user", "name", "scope", "created_at", "expires_at", "last_used_at")


@click.group(cls=Group)
def command() -> None:
    """Long-lived access keys for S3 clients: rclone, restic, Filestash, scripts."""


@command.command(example="wio key create --name laptop-backup --workspace backups --permission readwrite")
@click.option("--user", metavar="USER", help="Whose key; by default yours.")
@click.option("--name", metavar="TEXT", help="What it is for, to find it again.")
@click.option("--workspace", "workspaces", type=WORKSPACE, multiple=True, help="Only for this workspace.")
@click.option("--permission", type=PERMISSION, help="At most this permission.")
@click.option("--expires", type=EXPIRY, help="When it stops to work: 90d, or a time.")
@click.option("--access-key-id", metavar="ID", help="An id of your own, with --secret-stdin.")
@click.option("--secret-stdin", is_flag=True, help="Read the secret from the first line of stdin.")
@pass_session
def create(
    session: Session,
    user: str | None,
    name: str | None,
    workspaces: tuple[str, ...],
    permission: str | None,
    expires: str | None,
    access_key_id: str | None,
    secret_stdin: bool,
) -> None:
    """Make a key. Its secret is shown now and never again."""
    if bool(access_key_id) != secret_stdin:
        raise usage("--access-key-id and --secret-stdin go together.")
    body = {
        "user": user,
        "name": name,
        "workspaces": list(workspaces) or None,
        "permission": permission,
        "expires": expires,
        "access_key_id": access_key_id,
        "secret_access_key": secret_from_stdin() if secret_stdin else None,
    }
    session.output.one(session.broker.post("keys", body=body))


@command.command("list", example="wio key list --json")
@click.option("--user", metavar="USER", help="Whose keys; for admins.")
@pass_session
def list_(session: Session, user: str | None) -> None:
    """List keys: yours, or as an admin everybody's."""
    session.output.many(session.broker.rows("keys", by="access_key_id", user=user), COLUMNS)


@command.command(example="wio key disable WIOAEXAMPLEKEYID2345")
@click.argument("access_key_id", metavar="ID")
@pass_session
def disable(session: Session, access_key_id: str) -> None:
    """Stop a key, and the sessions made with it, at once."""
    session.output.ended(session.broker.post("keys", access_key_id, "disable"), f"Disabled {access_key_id}")


@command.command(example="wio key delete WIOAEXAMPLEKEYID2345")
@click.argument("access_key_id", metavar="ID")
@pass_session
def delete(session: Session, access_key_id: str) -> None:
    """Delete a key, and the sessions and links made with it. Its id is never used again."""
    session.output.ended(session.broker.delete("keys", access_key_id), f"Deleted {access_key_id}")
