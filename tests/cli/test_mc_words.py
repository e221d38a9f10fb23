"""`wio mc`: which words are workspaces, and what mc is given for them."""

from __future__ import annotations

import pytest

from broker.cli.failures import ExitCode, Failure
from broker.cli.mc_words import Places, needs_credentials, rewrite

ROWS = [
    {"owner": "jane", "name": "photos"},
    {"owner": "jane", "name": "bob"},
    {"owner": "bob", "name": "data"},
    {"owner": "bob", "name": "photos"},
    {"owner": "ann", "name": "music"},
]
FILES = {"README.md", "downloads", "downloads/a.txt"}
ASKED = {"pictures": "photos", "eve.public": "eve.public"}


@pytest.fixture
def places() -> Places:
    return Places.from_rows(ROWS, "jane", ask=ASKED.get, is_file=FILES.__contains__)


def words(line: str, places: Places) -> str:
    return " ".join(rewrite(line.split(" "), places).words)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("ls photos/", "ls wio/photos/"),
        ("ls photos", "ls wio/photos"),
        ("ls ann/music/", "ls wio/ann.music/"),
        ("cat ann/music/a/b.mp3", "cat wio/ann.music/a/b.mp3"),
        ("cat ann.music/a/b.mp3", "cat wio/ann.music/a/b.mp3"),
        ("ls jane/photos/x", "ls wio/jane.photos/x"),
        ("ls jane.bob/", "ls wio/jane.bob/"),
        ("cp README.md photos/", "cp README.md wio/photos/"),
        ("cp -r ./photos photos/", "cp -r ./photos wio/photos/"),
        ("cp photos/a /tmp/photos/a", "cp wio/photos/a /tmp/photos/a"),
        ("cp photos/a downloads/b", "cp wio/photos/a downloads/b"),
        ("cp photos/a new-file", "cp wio/photos/a new-file"),
        ("mirror --exclude photos/* ~/x photos/", "mirror --exclude photos/* ~/x wio/photos/"),
        ("mirror --older-than=7d photos/ ../x", "mirror --older-than=7d wio/photos/ ../x"),
        ("find photos --name photos --json", "find wio/photos --name photos --json"),
        ("--json ls photos/", "--json ls wio/photos/"),
        ("-C photos ls photos", "-C photos ls wio/photos"),
        ("sql -e select photos/a.csv", "sql -e select wio/photos/a.csv"),
        ("share download --expire 1h photos/a", "share download --expire 1h wio/photos/a"),
        ("tag set photos/a photos=1", "tag set wio/photos/a photos=1"),
        ("cat -- photos/-a", "cat -- wio/photos/-a"),
        ("cp - photos/a", "cp - wio/photos/a"),
        ("pipe photos/a", "pipe wio/photos/a"),
        ("cp --enc-c photos/=KEY a photos/", "cp --enc-c wio/photos/=KEY a wio/photos/"),
        ("cat photos/a//../b", "cat wio/photos/a//../b"),
        ("ls pictures/x", "ls wio/photos/x"),
        ("ls eve/public/x", "ls wio/eve.public/x"),
        ("ls eve.public/x", "ls wio/eve.public/x"),
        ("ls wio/photos", "ls wio/photos"),
        ("ls", "ls wio"),
        ("tree --depth 2", "tree --depth 2 wio"),
        ("mb brand-new", "mb wio/brand-new"),
        ("mb ann/brand-new/", "mb wio/ann.brand-new"),
        ("alias list", "alias list"),
        ("admin info photos", "admin info photos"),
        ("--version", "--version"),
    ],
)
def test_words(given: str, expected: str, places: Places) -> None:
    assert words(given, places) == expected


def test_a_name_with_two_meanings_says_how_to_write_it(places: Places) -> None:
    with pytest.raises(Failure, match=r"jane\.bob/.*bob\.WORKSPACE/") as caught:
        words("ls bob/data/", places)
    assert caught.value.exit_code == ExitCode.USAGE


def test_an_owner_alone_lists_what_there_is(places: Places) -> None:
    with pytest.raises(Failure, match="ann/music/"):
        words("ls ann/", places)


@pytest.mark.parametrize(
    "given", ["ls nobody/nothing/", "cp README.md typo/", "ls ann/nothing/x", "ls ann.nothing/"]
)
def test_a_path_that_is_nothing_is_refused(given: str, places: Places) -> None:
    """Else `cp a typo/` would make a folder here, and nobody would look for the data there."""
    with pytest.raises(Failure) as caught:
        words(given, places)
    assert caught.value.exit_code == ExitCode.NOT_FOUND


def test_credentials_are_made_only_for_what_talks_to_the_gate() -> None:
    assert needs_credentials(["ls", "photos"])
    assert needs_credentials(["version", "info", "wio/photos"])
    assert not needs_credentials(["--version"])
    assert not needs_credentials(["ls", "--help"])
    assert not needs_credentials(["alias", "list"])
