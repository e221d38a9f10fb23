"""`wio mc`: MinIO's mc with workspaces as paths, and credentials that live only in its environment."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from broker.cli.command import Session, pass_session
from broker.cli.endpoint import endpoint_url
from broker.cli.failures import ExitCode, Failure
from broker.cli.mc_words import ALIAS, Places, needs_credentials, rewrite
from broker.cli.token import as_mc_host

#: Long enough for one command; what runs on and on gets a working day.
DURATION, LONG_DURATION = "1h", "12h"
_LONG = frozenset({"cp", "mirror", "mv", "watch", "find", "rm"})


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("words", metavar="MC-COMMAND [ARGUMENTS]…", nargs=-1, type=click.UNPROCESSED)
@pass_session
@click.pass_context
def command(ctx: click.Context, session: Session, words: tuple[str, ...]) -> None:
    """Run MinIO's mc with workspaces as paths and fresh credentials.

    A path begins with a workspace of yours (photos/cat.jpg) or with its owner (jane/photos/cat.jpg). What
    begins with /, ./, ../ or ~ is a file of this machine, and so is what names no workspace. Options, output
    and exit code are mc's own.
    """
    if not words or words[0] in ("-h", "--help"):
        click.echo(
            ctx.get_help() + "\n\nExample:\n  wio mc cp cat.jpg photos/\n  wio mc ls --json jane/photos/"
        )
        return
    ctx.exit(run(session, words))


def run(session: Session, words: Sequence[str]) -> int:
    """Run mc and return its exit code (128 + N when signal N ended it)."""
    from broker.stack.binaries import ToolMissing, ensure

    try:
        binary = ensure("mc")
    except ToolMissing as missing:
        raise Failure("ToolMissing", str(missing)) from missing
    environment = dict(session.environment)
    if needs_credentials(words):
        line = rewrite(words, _places(session))
        endpoint = endpoint_url(session)
        duration = LONG_DURATION if line.command in _LONG else DURATION
        token = session.broker.post("tokens", body={"duration": duration})
        environment[f"MC_HOST_{ALIAS}"] = as_mc_host(token, endpoint)
        host = urlsplit(endpoint).hostname or ""
        for name in ("NO_PROXY", "no_proxy"):
            if host in ("127.0.0.1", "::1", "localhost"):
                environment[name] = ",".join(filter(None, (environment.get(name), host)))
        words = line.words
    with _configuration() as folder:
        return _wait([str(binary), "--config-dir", str(folder), *words], environment)


def _places(session: Session) -> Places:
    me = session.broker.get("whoami").get("user")

    def ask(name: str) -> str | None:
        try:
            found: dict[str, Any] = session.broker.get("workspaces", name)
        except Failure as failure:
            if failure.exit_code in (ExitCode.NOT_FOUND, ExitCode.USAGE, ExitCode.DENIED):
                return None
            raise
        return str(found["bucket"])

    rows = session.broker.rows("workspaces", by="id")
    return Places.from_rows(rows, me, ask=ask, is_file=lambda path: Path(path).exists())


@contextmanager
def _configuration() -> Iterator[Path]:
    """A folder with an empty configuration of mc's, which it would otherwise announce that it has made."""
    with tempfile.TemporaryDirectory(prefix="wio-mc-") as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps({"version": "10", "aliases": {}}))
        shares = folder / "share"
        shares.mkdir()
        for which in ("downloads.json", "uploads.json"):
            (shares / which).write_text(json.dumps({"version": "1", "shares": {}}))
        yield folder


def _wait(command: Sequence[str], environment: dict[str, str]) -> int:
    """Run to the end. Ctrl-C is mc's to answer: it gets it from the terminal too."""
    process = subprocess.Popen(command, env=environment)
    before = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.SIG_IGN),
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: process.terminate()),
    }
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code
