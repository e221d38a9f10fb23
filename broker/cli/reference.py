"""docs/reference.md, written from the commands themselves: `python -m broker.cli.reference`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from broker.cli.app import root
from broker.cli.failures import ExitCode

INTRODUCTION = """\
# Reference of the `wio` command

Written from the commands by `make docs`; do not edit. `--json` may stand behind any command. Data goes to
stdout, talk to stderr. Under `--json` a failure prints `{"error": {"code", "message", "request_id"}}`.

## Exit codes

| code | meaning |
|---|---|
"""

MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.FAILURE: "failed; the message says why",
    ExitCode.USAGE: "the command line cannot be understood, or asks for what cannot be",
    ExitCode.NOT_FOUND: "no such thing, or none that you may see",
    ExitCode.DENIED: "not signed in, or not allowed",
    ExitCode.UNAVAILABLE: "the broker is stopped, unreachable or not ready; trying again can help",
    ExitCode.CONFLICT: "it contradicts what exists: a taken name, an overlap, a workspace that is not empty",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C",
}


def leaves(group: click.Group, ctx: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command that can be run, with its path (`user create`) and a context for its help."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        below = click.Context(command, info_name=name, parent=ctx, max_content_width=100, terminal_width=100)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield below.command_path.removeprefix("wio "), command, below
        if isinstance(command, click.Group):
            yield from leaves(command, below)


def reference() -> str:
    """The whole page, as Markdown."""
    lines = [INTRODUCTION + "\n".join(f"| {int(code)} | {text} |" for code, text in MEANINGS.items())]
    with click.Context(root, info_name="wio", max_content_width=100, terminal_width=100) as ctx:
        for path, command, below in leaves(root, ctx):
            lines.append(f"## wio {path}\n\n```text\n{command.get_help(below).rstrip()}\n```")
    return "\n\n".join(lines) + "\n"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
