"""`wio completion`: the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from broker.cli.command import Command


@click.command(cls=Command, example="wio completion bash > ~/.local/share/bash-completion/completions/wio")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for bash, zsh or fish."""
    completion = get_completion_class(shell)
    assert completion is not None
    script = completion(ctx.find_root().command, {}, "wio", "_WIO_COMPLETE")
    click.echo(script.source())
