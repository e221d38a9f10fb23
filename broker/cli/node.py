"""`wio node`: S3 servers that store the data."""

from __future__ import annotations

from collections.abc import Mapping

import click

from broker.cli.command import Group, Session, pass_session, secret_from_stdin
from broker.cli.failures import usage

COLUMNS = ("name", "endpoint", "region", "created_by", "checks_payload", "checked_at")


@click.group(cls=Group)
def command() -> None:
    """S3 servers that store the data. Any user may add one, and operates it then."""


def _credentials(
    environment: Mapping[str, str], access_key_id: str | None, secret_stdin: bool
) -> dict[str, str | None]:
    """The node's own keys: an id with the secret on stdin, or both from the environment."""
    if access_key_id or secret_stdin:
        if not (access_key_id and secret_stdin):
            raise usage("--access-key-id and --secret-stdin go together.")
        return {"access_key_id": access_key_id, "secret_access_key": secret_from_stdin()}
    return {
        "access_key_id": environment.get("WIO_NODE_ACCESS_KEY_ID"),
        "secret_access_key": environment.get("WIO_NODE_SECRET_ACCESS_KEY"),
    }


@command.command(
    example="echo $SECRET | wio node create attic --endpoint https://s3.example.org "
    "--access-key-id AK --secret-stdin"
)
@click.argument("name")
@click.option("--endpoint", required=True, metavar="URL", help="Its S3 endpoint.")
@click.option("--region", help="Its region; us-east-1 by default.")
@click.option(
    "--access-key-id", metavar="ID", help="The key that the proxy uses there (WIO_NODE_ACCESS_KEY_ID)."
)
@click.option("--secret-stdin", is_flag=True, help="Its secret on stdin (else WIO_NODE_SECRET_ACCESS_KEY).")
@click.option("--role-arn", help="Not supported yet, and refused: a role to assume there.")
@click.option("--sts-url", help="Not supported yet, and refused: where to assume it.")
@pass_session
def create(
    session: Session,
    name: str,
    endpoint: str,
    region: str | None,
    access_key_id: str | None,
    secret_stdin: bool,
    role_arn: str | None,
    sts_url: str | None,
) -> None:
    """Add a node. It is called once with these keys before it is taken."""
    keys = _credentials(session.environment, access_key_id, secret_stdin)
    if not keys["access_key_id"] or not keys["secret_access_key"]:
        raise usage(
            "Give --access-key-id with --secret-stdin, or set WIO_NODE_ACCESS_KEY_ID "
            "and WIO_NODE_SECRET_ACCESS_KEY."
        )
    body = {
        "name": name,
        "endpoint": endpoint,
        "region": region,
        "role_arn": role_arn,
        "sts_url": sts_url,
        **keys,
    }
    session.output.one(session.broker.post("nodes", body=body))


@command.command("list", example="wio node list")
@pass_session
def list_(session: Session) -> None:
    """List nodes."""
    session.output.many(session.broker.rows("nodes", by="name"), COLUMNS)


@command.command(example="wio node show attic")
@click.argument("name")
@pass_session
def show(session: Session, name: str) -> None:
    """Show one node; its secret is never shown."""
    session.output.one(session.broker.get("nodes", name))


@command.command(example="wio node update attic --endpoint https://s3-new.example.org")
@click.argument("name")
@click.option("--endpoint", metavar="URL", help="Its new endpoint.")
@click.option("--region", help="Its new region.")
@click.option("--access-key-id", metavar="ID", help="New keys, with --secret-stdin.")
@click.option("--secret-stdin", is_flag=True, help="The new secret on stdin.")
@click.option("--role-arn", help="Not supported yet, and refused: a role to assume there.")
@click.option("--sts-url", help="Not supported yet, and refused: where to assume it.")
@pass_session
def update(
    session: Session,
    name: str,
    endpoint: str | None,
    region: str | None,
    access_key_id: str | None,
    secret_stdin: bool,
    role_arn: str | None,
    sts_url: str | None,
) -> None:
    """Change a node's address or keys, as its creator or an admin."""
    keys = _credentials({}, access_key_id, secret_stdin)
    body = {"endpoint": endpoint, "region": region, "role_arn": role_arn, "sts_url": sts_url, **keys}
    if not any(body.values()):
        raise usage("Nothing to change: see `wio node update --help`.")
    session.output.one(session.broker.patch("nodes", name, body=body))


@command.command(example="wio node check attic")
@click.argument("name")
@pass_session
def check(session: Session, name: str) -> None:
    """Call the node now: is it reachable, do the keys work, does it check payload hashes?"""
    session.output.one(session.broker.post("nodes", name, "check"))


@command.command(example="wio node delete attic")
@click.argument("name")
@pass_session
def delete(session: Session, name: str) -> None:
    """Remove a node that has no roots any more. Nothing on it is deleted."""
    session.output.ended(session.broker.delete("nodes", name), f"Deleted node {name}")
