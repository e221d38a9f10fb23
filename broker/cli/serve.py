"""`wio serve`: one service, in place of this process."""

from __future__ import annotations

import os

import click

from broker.cli.command import Group


@click.group(cls=Group)
def command() -> None:
    """Run one service on real Redis, SQL and nodes; its settings are WIO_* variables."""


@command.command(
    example="WIO_REDIS_URL=redis://redis/0 WIO_SECRET_FILE=/run/secrets/wio wio serve proxy --workers 4"
)
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes; one a core by default.")
def proxy(workers: int | None) -> None:
    """Run the data plane: the S3 endpoint."""
    _become("proxy", *(["--workers", str(workers)] if workers else []))


@command.command(example="WIO_DATABASE_URL=postgresql+asyncpg://wio@db/wio wio serve broker")
def broker() -> None:
    """Run the control plane: users, shares, limits, credentials."""
    _become("broker")


def _become(module: str, *arguments: str) -> None:
    # Not imported: the planes never import each other, and a service wants this process for itself.
    from broker.stack.parts import module_command, module_environment

    command = module_command(module, *arguments)
    os.execve(command[0], command, module_environment(os.environ))
