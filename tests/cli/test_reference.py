"""Every command has help, an example, `--json`, and its place in the reference."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from broker.cli.app import root
from broker.cli.failures import ExitCode
from broker.cli.reference import MEANINGS, leaves, reference

COMMANDS = {path: command for path, command, _ in leaves(root, click.Context(root, info_name="wio"))}
PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_help_and_an_example_of_itself(path: str) -> None:
    command = COMMANDS[path]
    assert command.help
    if path == "mc":  # its options are mc's own
        return
    assert f"wio {path}" in command.example  # type: ignore[attr-defined]
    assert any("--json" in parameter.opts for parameter in command.params)
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help or isinstance(parameter.type, click.Choice), parameter.name


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_documented(path: str) -> None:
    assert f"\n## wio {path}\n" in PAGE.read_text()


def test_the_reference_is_as_the_commands_are() -> None:
    assert PAGE.read_text() == reference(), "docs/reference.md is old: make docs"


def test_every_exit_code_is_explained() -> None:
    assert set(MEANINGS) == set(ExitCode)


def test_no_option_takes_a_secret() -> None:
    for path, command in COMMANDS.items():
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.is_flag:
                assert not any(word in (parameter.name or "") for word in ("secret", "password")), path
