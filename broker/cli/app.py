"""The root of `wio`: the list of nouns, the global options, and the one place where failures are told."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from broker.cli.command import Group, Session
from broker.cli.failures import ExitCode, Failure

#: Every command: its module (which has `command`), and its line in the help. Nothing is imported for it.
COMMANDS = {
    name: (f"broker.cli.{module}", line)
    for name, module, line in (
        ("up", "up", "Run the whole stack on this machine, in the foreground."),
        ("serve", "serve", "Run one service, on real Redis, SQL and nodes."),
        ("login", "login", "Sign in and keep a key for this machine."),
        ("logout", "logout", "Delete the key that login made, and forget it."),
        ("whoami", "whoami", "Say who the broker takes you for."),
        ("info", "info", "Say what this deployment is and where its endpoints are."),
        ("doctor", "doctor", "Check the way from here to the broker, the endpoint and your rights."),
        ("user", "user", "People who sign in."),
        ("group", "group", "Named sets of users, to share with."),
        ("key", "key", "Long-lived access keys for S3 clients."),
        ("token", "token", "Short-lived session credentials (STS)."),
        ("link", "link", "Links for people without an account."),
        ("workspace", "workspace", "Workspaces: what S3 clients see as buckets."),
        ("share", "share", "Who else may use a workspace, how, and until when."),
        ("quota", "quota", "Limits and usage, at four levels."),
        ("node", "node", "S3 servers that store the data."),
        ("root", "root", "Places on nodes where workspaces are made."),
        ("why", "why", "Explain why somebody may or may not do something."),
        ("transfers", "transfers", "What is being transferred right now."),
        ("audit", "audit", "Who did what, in a chain that shows tampering."),
        ("mc", "mc", "Run MinIO's mc with workspaces as paths and fresh credentials."),
        ("completion", "completion", "Print the completion script of your shell."),
    )
}


@click.group(
    cls=Group,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="wio-gate", prog_name="wio")
@click.option("--profile", metavar="NAME", help="The profile of `wio login` to use (WIO_PROFILE).")
@click.pass_context
def root(ctx: click.Context, profile: str | None) -> None:
    """The S3 endpoint that knows who may touch what, right now.

    The broker and keys are found in WIO_URL, WIO_ACCESS_KEY_ID and WIO_SECRET_ACCESS_KEY, in the profile of
    `wio login`, or in the stack that `wio up` runs here.
    """
    ctx.ensure_object(Session).profile = profile


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its code; failures are told once, as JSON under --json."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(words))


def run(words: list[str]) -> int:
    """Run the command and return its exit code."""
    session = Session()
    try:
        # Without standalone mode click returns the code of an exit, and else what the command returned.
        code = root.main(args=words, prog_name="wio", standalone_mode=False, obj=session)
    except Failure as failure:
        _tell(failure, session, words)
        return failure.exit_code
    except click.UsageError as error:
        if not _wants_json(session, words):
            error.show()
        else:
            _tell(Failure("UsageError", error.format_message(), ExitCode.USAGE), session, words)
        return ExitCode.USAGE
    except click.ClickException as error:
        _tell(Failure("Failure", error.format_message()), session, words)
        return ExitCode.FAILURE
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) has what it wanted. Python would complain once more at its own end.
        sys.stdout = None
        return ExitCode.OK
    return code if isinstance(code, int) else ExitCode.OK


def _wants_json(session: Session, words: list[str]) -> bool:
    # An error in the command line may stand before the --json that would have been read.
    return session.output.as_json or ("--json" in words and words[:1] != ["mc"])


def _tell(failure: Failure, session: Session, words: list[str]) -> None:
    if _wants_json(session, words):
        click.echo(json.dumps(failure.as_json(), indent=2, ensure_ascii=False))
        return
    known = f" (request {failure.request_id})" if failure.request_id else ""
    click.echo(f"wio: {failure.message}{known}", err=True)
