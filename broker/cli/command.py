"""What every command shares: the session of one run, `--json` anywhere, examples in the help, lazy loading."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from broker.cli import failures
from broker.cli.output import Output

if TYPE_CHECKING:
    from broker.cli.client import Broker
    from broker.cli.profiles import Target


class Session:
    """One run of the command: its output, and the broker that it talks to, found when first needed."""

    def __init__(self, profile: str | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.output = Output()
        self.profile = profile
        self.environment = os.environ if environment is None else environment
        self._target: Target | None = None
        self._broker: Broker | None = None

    @property
    def target(self) -> Target:
        """Where the broker is and the keys for it. Raises Failure when nothing is configured."""
        if self._target is None:
            from broker.cli.profiles import find_target

            self._target = find_target(self.environment, self.profile)
        return self._target

    @property
    def broker(self) -> Broker:
        """The signed API client. Raises Failure when nothing is configured."""
        if self._broker is None:
            from broker.cli.client import Broker

            self._broker = Broker(self.target.url, self.target.keys, region=self.region)
        return self._broker

    @property
    def region(self) -> str:
        """What requests are signed for: WIO_REGION, as the deployment has it."""
        return self.environment.get("WIO_REGION") or "us-east-1"


pass_session = click.make_pass_decorator(Session)


def secret_from_stdin() -> str:
    """One line of stdin without its line end: the only way a secret comes in. Raises Failure when empty."""
    secret = sys.stdin.readline().rstrip("\r\n")
    if not secret:
        raise failures.usage("Nothing came on stdin; the secret is read from its first line.")
    return secret


class Command(click.Command):
    """A command with `--json` and with an example under its help."""

    def __init__(self, *args: Any, example: str = "", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.example = example
        self.params.append(_json_option())

    def format_epilog(
        self,
        ctx: click.Context,  # noqa: ARG002 - the signature is click's
        formatter: click.HelpFormatter,
    ) -> None:
        """Print the example where click prints an epilog."""
        _write_example(self.example, formatter)


class Group(click.Group):
    """A noun: verbs are its commands, loaded only when used (`lazy`: name → module and line of help)."""

    command_class = Command

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str]] | None = None,
        example: str = "",
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.example = example
        self.lazy = dict(lazy or {})
        self.params.append(_json_option())

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - the signature is click's
        """The names, in the order they were declared."""
        return [*self.lazy, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now if it must be; None for an unknown one."""
        if cmd_name in self.lazy:
            command = import_module(self.lazy[cmd_name][0]).command
            assert isinstance(command, click.Command)
            return command
        return super().get_command(ctx, cmd_name)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - the signature is click's
        formatter: click.HelpFormatter,
    ) -> None:
        """List the commands; the lazy ones by the line in the table, without importing any."""
        rows = [(name, line) for name, (_, line) in self.lazy.items()]
        rows += [(name, command.get_short_help_str(90)) for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def format_epilog(
        self,
        ctx: click.Context,  # noqa: ARG002 - the signature is click's
        formatter: click.HelpFormatter,
    ) -> None:
        """Print the example where click prints an epilog."""
        _write_example(self.example, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the command that was probably meant when there is no such one."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" See `{ctx.command_path} --help`."
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


def _write_example(example: str, formatter: click.HelpFormatter) -> None:
    if example:
        with formatter.section("Example"):
            formatter.write("".join(f"  {line}\n" for line in example.strip().splitlines()))


def _json_option() -> click.Option:
    def switch_on(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.ensure_object(Session).output.as_json = True

    return click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        callback=switch_on,
        help="Print JSON, for scripts.",
    )
