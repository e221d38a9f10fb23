"""What README and docs tell people to paste is run, in order, as it stands there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.newcomer import Person, Stack, programs, running_stack
from tests.stack.ups import ROOT

#: Users, workspaces and files that a page takes for granted, made by the admin before its blocks run.
BEFORE = {
    "README.md": "",
    "docs/quickstart.md": "",
    "docs/sharing.md": """
        wio user show jane || wio user create jane
        wio workspace create photos
        wio workspace create inbox
        mkdir -p album && echo x > cat.jpg && cp cat.jpg album/
        wio mc cp cat.jpg photos/
        wio mc mirror ./album photos/album/
    """,
    "docs/keys-and-tokens.md": """
        wio user show jane || wio user create jane
        wio workspace create photos
        wio workspace create backups
        wio workspace create jane/photos
        wio share create jane/photos admin --permission read
        echo x > cat.jpg && wio mc cp cat.jpg photos/
    """,
}
#: What stands for something of the reader's own, and how this reader finds theirs.
PLACEHOLDERS: dict[str, Callable[[Person], str]] = {
    "WIOA…": lambda reader: _newest(reader, "key", "laptop-backup"),
    "link revoke ID": lambda reader: "link revoke " + reader.json("link", "list")[0]["id"],
}
#: Blocks that are not for a second terminal: they start a stack, or speak of a server that is not here.
ELSEWHERE = ("make run", "restic")


def _newest(reader: Person, noun: str, name: str) -> str:
    rows = [row for row in reader.json(noun, "list") if row["name"] == name]
    return str(max(rows, key=lambda row: row["created_at"])["access_key_id"])


def blocks(page: str) -> list[str]:
    """The shell blocks of a page, in order, that are for a second terminal."""
    found = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return [block for block in found if not any(word in block for word in ELSEWHERE)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A folder as `git clone` and `make run` leave it: README.md, .venv/bin, and a stack in .wio."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "README.md", folder)
    with running_stack(folder) as stack:
        stack.bin = programs(folder / ".venv" / "bin")
        yield stack


@pytest.fixture
def reader(checkout: Stack) -> Iterator[Person]:
    """Somebody in that folder with nothing on PATH but the system's programs; afterwards all is as before."""
    folder = checkout.up.folder.parent
    person = Person(checkout, folder)
    yield person
    for row in person.json("workspace", "list"):
        if row["permission"] == "own":
            person.json("workspace", "delete", row["bucket"], "--purge")
    for row in person.json("group", "list"):
        person.json("group", "delete", row["name"])
    for row in person.json("user", "list"):
        if row["name"] not in ("admin", "jane"):  # a name is never used twice, and jane is on several pages
            person.json("user", "delete", row["name"], "--purge")


@pytest.mark.parametrize("page", BEFORE)
def test_a_page_runs_as_it_is_written(page: str, reader: Person) -> None:
    found = blocks(page)
    assert found
    reader.run("sh", "-euc", BEFORE[page])
    kept = "true"  # exports of one block hold in the next one, as in a terminal
    for block in found:
        text = block
        for placeholder, own in PLACEHOLDERS.items():
            if placeholder in text:
                text = _one_by_one(reader, kept, text, placeholder, own)
        if text:
            told = reader.run("sh", "-euc", f"{kept}\n{text}", code=None)
            assert told.code == 0, f"{page}:\n{block}\n{told.out}\n{told.err}"
        kept += "".join(
            f"\n{line}"
            for line in block.splitlines()
            if line.startswith(("export ", "eval ")) and "…" not in line
        )


def _one_by_one(reader: Person, kept: str, block: str, placeholder: str, own: Callable[[Person], str]) -> str:
    """Run a block's lines up to the first placeholder, then fill it in: what it stands for exists only then."""
    before, line, after = [], "", []
    for one in block.splitlines():
        if not line and placeholder in one:
            line = one
        elif line:
            after.append(one)
        else:
            before.append(one)
    told = reader.run("sh", "-euc", kept + "\n" + "\n".join(before), code=None)
    assert told.code == 0, (before, told)
    return "\n".join([line, *after]).replace(placeholder, own(reader))


def test_what_wio_up_prints_is_what_the_readme_says(checkout: Stack) -> None:
    readme = (ROOT / "README.md").read_text()
    for line in (
        "wio workspace create photos",
        "wio mc cp README.md photos/",
        'eval "$(wio token create --format env)"',
    ):
        assert line in readme
    facts = json.loads((checkout.up.folder / "admin.json").read_text())
    assert facts["endpoint_url"] == checkout.endpoint
