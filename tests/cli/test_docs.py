"""What the documentation tells people to paste is understood by the command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from broker.cli.app import root
from broker.cli.command import Session

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def pasted() -> list[tuple[str, str]]:
    """Every `wio …` in the shell blocks of README and docs: (page, command line)."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.splitlines():
                found += [(page.name, words) for words in re.findall(r"(?:^|\| |\$\()(wio [^|()]*)", line)]
    return found


@pytest.mark.parametrize(("page", "line"), pasted())
def test_it_is_understood(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    if "<" in words:  # the shell's
        words = words[: words.index("<")]
    command: click.Command = root
    ctx = click.Context(root, info_name="wio", obj=Session(environment={}))
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(ctx, words[0])
        assert found is not None, f"{page}: no command {words[0]!r}"
        command = found
        ctx = click.Context(command, info_name=words.pop(0), parent=ctx)
    if command.name == "up":
        return  # its defaults are checked where it runs
    command.make_context(ctx.info_name, words, parent=ctx.parent, obj=Session(environment={}))


def test_there_is_something_to_paste() -> None:
    assert len(pasted()) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
