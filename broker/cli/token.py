"""`wio token`: session credentials, and the forms in which clients take them."""

from __future__ import annotations

import json
import shlex
from typing import Any
from urllib.parse import quote, urlsplit

import click

from broker.cli.command import Group, Session, pass_session
from broker.cli.endpoint import endpoint_url
from broker.cli.failures import usage
from broker.cli.params import DURATION, PERMISSION, WORKSPACE

COLUMNS = ("access_key_id", "user", "scope", "created_at", "expires_at", "last_used_at")


@click.group(cls=Group)
def command() -> None:
    """Session credentials (STS): they expire by themselves, and die with what they were made from."""


@command.command(
    example='eval "$(wio token create --workspace photos --permission read --format env)"\n'
    "credential_process = wio token create --format process     # in ~/.aws/config"
)
@click.option("--workspace", "workspaces", type=WORKSPACE, multiple=True, help="Only for this workspace.")
@click.option("--permission", type=PERMISSION, help="At most this permission.")
@click.option("--duration", type=DURATION, help="How long it lives: 1h by default.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["env", "json", "process", "mc"]),
    help="env: shell exports; process: an AWS credential_process; mc: an MC_HOST variable.",
)
@pass_session
def create(
    session: Session,
    workspaces: tuple[str, ...],
    permission: str | None,
    duration: str | None,
    form: str | None,
) -> None:
    """Make session credentials for all you have, or for some workspaces at some permission."""
    if form not in (None, "json") and session.output.as_json:
        raise usage("--json is one format, --format another; give one of them.")
    body = {"workspaces": list(workspaces) or None, "permission": permission, "duration": duration}
    token = session.broker.post("tokens", body=body)
    match form:
        case "env":
            click.echo(as_environment(token, endpoint_url(session), session.region))
        case "process":
            click.echo(json.dumps(as_credential_process(token)))
        case "mc":
            click.echo(f"export MC_HOST_wio={shlex.quote(as_mc_host(token, endpoint_url(session)))}")
        case "json":
            session.output.data(token)
        case _:
            session.output.one(token)


@command.command("list", example="wio token list")
@click.option("--user", metavar="USER", help="Whose sessions; for admins.")
@pass_session
def list_(session: Session, user: str | None) -> None:
    """List living sessions: yours, or as an admin somebody's."""
    session.output.many(session.broker.rows("tokens", by="access_key_id", user=user), COLUMNS)


@command.command(example="wio token revoke WIOSEXAMPLETOKEN2345")
@click.argument("access_key_id", metavar="ID")
@pass_session
def revoke(session: Session, access_key_id: str) -> None:
    """End a session at once, its running transfers too."""
    session.output.ended(session.broker.delete("tokens", access_key_id), f"Revoked {access_key_id}")


def as_environment(token: dict[str, Any], endpoint: str, region: str) -> str:
    """Shell lines that aws, boto3 and every AWS SDK understand."""
    values = {
        "AWS_ACCESS_KEY_ID": token["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": token["secret_access_key"],
        "AWS_SESSION_TOKEN": token["session_token"],
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,  # what botocore reads, and so aws and boto3
    }
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


def as_credential_process(token: dict[str, Any]) -> dict[str, Any]:
    """What an AWS `credential_process` prints, version 1; clients call again shortly before Expiration."""
    return {
        "Version": 1,
        "AccessKeyId": token["access_key_id"],
        "SecretAccessKey": token["secret_access_key"],
        "SessionToken": token["session_token"],
        "Expiration": token["expires_at"],
    }


def as_mc_host(token: dict[str, Any], endpoint: str) -> str:
    """mc's own form: http://AK:SK:TOKEN@host:port, each part percent-encoded."""
    parts = urlsplit(endpoint)
    secrets = (token["access_key_id"], token["secret_access_key"], token["session_token"])
    return f"{parts.scheme}://{':'.join(quote(part, safe='') for part in secrets)}@{parts.netloc}"
