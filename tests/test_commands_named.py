"""Each command that a refusal of the proxy names is one that `wio` has."""

from __future__ import annotations

import click
import pytest

from broker.cli.app import root
from broker.cli.command import Session
from proxy.s3.headers import ALREADY_SO, REFUSED
from proxy.s3.operation_table import OPERATIONS, Disposition

NAMED = (
    {row.command for row in OPERATIONS if row.disposition is Disposition.REFUSED}
    | {command for _, command in ALREADY_SO.values()}
    | set(REFUSED.values())
)


@pytest.mark.parametrize("line", sorted(NAMED))
def test_the_command_is_there(line: str) -> None:
    program, *words = line.split()
    assert program == "wio"
    command: click.Command = root
    context = click.Context(root, info_name="wio", obj=Session(environment={}))
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, line
        command, context = found, click.Context(found, info_name=words.pop(0), parent=context)
    # What is left are mc's own words.
    assert not words or line.startswith("wio mc ")
