"""`wio up`: the whole stack on this machine, in the foreground."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

import click

from broker.cli.command import Command, Session, pass_session
from broker.cli.failures import ExitCode, Failure, usage

PORT = click.IntRange(1, 65535)


@click.command(cls=Command, example="wio up --port 9100 --console-port 9101")
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="WIO_DIR",
    default=Path(".wio"),
    show_default=True,
    help="Where everything is kept: data, secrets, logs (WIO_DIR).",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=PORT, default=9000, show_default=True, help="The port of the S3 endpoint.")
@click.option("--console-port", type=PORT, default=9001, show_default=True, help="The broker's port.")
@click.option("--workers", type=click.IntRange(1, 256), help="Proxy processes; one a core by default.")
@click.option("--public-url", metavar="URL", help="How clients reach the S3 endpoint, where that differs.")
@click.option(
    "--node", metavar="URL", help="Use this S3 server; keys in WIO_NODE_ACCESS_KEY_ID and …SECRET…."
)
@pass_session
def command(
    session: Session,
    folder: Path,
    host: str,
    port: int,
    console_port: int,
    workers: int | None,
    public_url: str | None,
    node: str | None,
) -> None:
    """Run the whole stack on this machine until Ctrl-C.

    Starts storage, live state, broker and proxy on loopback, makes an admin, and prints what to paste next.
    With --node it uses a running S3 server, whose keys it takes from WIO_NODE_ACCESS_KEY_ID and
    WIO_NODE_SECRET_ACCESS_KEY. Once all is ready, DIR/admin.json says where everything is.
    """
    from broker.stack.binaries import ToolMissing
    from broker.stack.options import Node, Options
    from broker.stack.run import up
    from broker.stack.state import StackError

    if port == console_port:
        raise usage("--port and --console-port must differ.")
    options = Options(
        folder=folder,
        host=host,
        port=port,
        console_port=console_port,
        workers=workers or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0]),
        public_url=public_url.rstrip("/") if public_url else None,
        node=Node("node", _node_url(node), *_node_keys(session)) if node else None,
    )

    def ready(facts: dict[str, str]) -> None:
        if session.output.as_json:
            session.output.data({name: facts[name] for name in ("endpoint_url", "console_url", "username")})
        else:
            click.echo(_welcome(facts, folder))

    try:
        stop = up(options, say=session.output.say, ready=ready)
    except (StackError, ToolMissing) as error:
        raise Failure("StackFailed", str(error)) from error
    if stop.reason is not None:
        raise Failure("PartEnded", stop.reason, ExitCode.FAILURE)
    session.output.say("Stopped; everything is kept for the next `wio up`.")


def _node_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise usage("--node takes an http(s) URL without credentials in it.")
    return url.rstrip("/")


def _node_keys(session: Session) -> tuple[str, str]:
    identity = session.environment.get("WIO_NODE_ACCESS_KEY_ID")
    secret = session.environment.get("WIO_NODE_SECRET_ACCESS_KEY")
    if not identity or not secret:
        raise usage("--node needs its keys in WIO_NODE_ACCESS_KEY_ID and WIO_NODE_SECRET_ACCESS_KEY.")
    return identity, secret


def _welcome(facts: dict[str, str], folder: Path) -> str:
    first = []
    if shutil.which("wio") is None:  # `make run` starts it by its path
        first.append(f'export PATH="{Path(sys.executable).parent}:$PATH"')
    if folder != Path(".wio"):
        first.append(f"export WIO_DIR={shlex.quote(str(folder.absolute()))}")
    before = "".join(f"  {line}\n" for line in first)
    return f"""
wio gate is up.

  S3 endpoint   {facts["endpoint_url"]}
  Broker        {facts["console_url"]}
  Admin         {facts["username"]} / {facts["password"]}

Paste this in another terminal, in the same folder:

{before}  wio workspace create photos
  wio mc cp README.md photos/
  wio mc ls photos/

and this for aws, boto3 and every other S3 client:

  eval "$(wio token create --format env)"
  aws s3 ls s3://photos

Ctrl-C stops everything and keeps it for the next time.
"""
