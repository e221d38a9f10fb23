"""`wio link`: links for people without an account."""

from __future__ import annotations

import click

from broker.cli.command import Group, Session, pass_session, secret_from_stdin
from broker.cli.failures import usage
from broker.cli.params import EXPIRY, OBJECT, SIZE, WORKSPACE

COLUMNS = ("id", "name", "workspace", "key", "mode", "expires_at", "downloads", "max_downloads", "url")


@click.group(cls=Group)
def command() -> None:
    """Links for people without an account: to fetch one object or folder, or to drop files into one."""


@command.command(example="wio link create photos/cat.jpg --expires 7d --name 'for the printer'")
@click.argument("path", metavar="BUCKET/KEY", type=OBJECT)
@click.option("--expires", type=EXPIRY, help="When it ends: 7d, or a time.")
@click.option("--name", metavar="TEXT", help="What it is for, to find it again.")
@click.option("--password-stdin", is_flag=True, help="Ask for this password, read from stdin.")
@click.option("--max-downloads", type=click.IntRange(min=1), help="End after so many downloads.")
@click.option("--upload", is_flag=True, help="A drop box: files can be put in, nothing can be seen.")
@click.option("--max-bytes", type=SIZE, help="How much a drop box takes altogether.")
@pass_session
def create(
    session: Session,
    path: tuple[str, str],
    expires: str | None,
    name: str | None,
    password_stdin: bool,
    max_downloads: int | None,
    upload: bool,
    max_bytes: int | None,
) -> None:
    """Make a link to an object, or to a folder (a key that ends in /)."""
    if upload and max_downloads is not None:
        raise usage("A drop box has no downloads; leave out --max-downloads.")
    if max_bytes is not None and not upload:
        raise usage("--max-bytes goes with --upload.")
    workspace, key = path
    body = {
        "workspace": workspace,
        "key": key,
        "mode": "upload" if upload else "read",
        "expires": expires,
        "name": name,
        "password": secret_from_stdin() if password_stdin else None,
        "max_downloads": max_downloads,
        "max_bytes": max_bytes,
    }
    link = session.broker.post("links", body=body)
    if session.output.as_json:
        session.output.data(link)
    else:
        click.echo(link["url"])


@command.command("list", example="wio link list")
@click.argument("workspace", type=WORKSPACE, required=False)
@pass_session
def list_(session: Session, workspace: str | None) -> None:
    """List links: yours, and those into your workspaces."""
    session.output.many(session.broker.rows("links", by="id", workspace=workspace), COLUMNS)


@command.command(example="wio link revoke k3xw5zq2ma7rp4td")
@click.argument("link", metavar="ID")
@pass_session
def revoke(session: Session, link: str) -> None:
    """End a link at once, its running downloads too."""
    session.output.ended(session.broker.delete("links", link), "Revoked the link")
