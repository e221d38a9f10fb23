"""How `wio mc` reads mc's command line: which words are workspaces, and how mc must see them. Pure code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from broker.cli.failures import ExitCode, Failure, usage
from broker.cli.params import is_local_path, joined


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: The alias under which mc knows the gate; a word that begins with it is left as it is.
ALIAS = "wio"
#: mc's commands whose words are paths. Others (admin, alias, …) are passed on untouched.
PATH_COMMANDS = _words(
    "cat cp diff du find get head ls mb mirror mv od pipe put rb rm share sql stat tag tree undo watch"
)
#: These list what there is when they get no path: here, the workspaces and not the current folder.
_LISTING = frozenset({"ls", "tree", "du"})
#: Commands of two words, of which the second is no path.
_TWO_WORDS = frozenset({"share", "tag"})
#: Flags that take the next word as their value, over all of mc's path commands at the pinned version (no
#: name is a switch in one of them and takes a value in another).
VALUE_FLAGS = _words(
    "action attr checksum compression concurrent config-dir content-type count csv-input csv-output "
    "csv-output-header custom-header depth enc-c enc-kms enc-s3 error-count events exclude exclude-bucket "
    "exclude-storageclass exec expire ignore interval json-input json-output larger last legal-hold "
    "limit-download limit-upload lines maxdepth metadata monitoring-address name newer-than offset "
    "older-than parallel part-number part-size path prefix print query regex region resolve "
    "retention-duration retention-mode rewind sc smaller storage-class suffix tags tail version-id vid "
    "C E H P T c d e i n s"
)
#: Flags whose value begins with a path, as ALIAS/BUCKET/PREFIX=KEY.
_PATH_FLAGS = frozenset({"enc-c", "enc-kms", "enc-s3"})


@dataclass(frozen=True, slots=True)
class Places:
    """The workspaces that somebody may see: their own names, and owner → names for all of them."""

    own: frozenset[str]
    by_owner: Mapping[str, frozenset[str]]
    handle: str | None = None
    #: Asks the broker for a workspace that no list shows (an alias, a public one): its bucket, or None.
    ask: Callable[[str], str | None] = field(default=lambda _: None)
    #: Whether a file or folder of that name is here.
    is_file: Callable[[str], bool] = field(default=lambda _: False)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping[str, Any]], handle: str | None, **how: Any) -> Places:
        """From the broker's list of workspaces (`owner`, `name`)."""
        by_owner: dict[str, set[str]] = {}
        for row in rows:
            by_owner.setdefault(row["owner"], set()).add(row["name"])
        frozen = {owner: frozenset(names) for owner, names in by_owner.items()}
        return cls(frozen.get(handle or "", frozenset()), frozen, handle, **how)


@dataclass(frozen=True, slots=True)
class Line:
    """mc's command line as mc must see it, and the command in it (None when there is none)."""

    words: tuple[str, ...]
    command: str | None


def needs_credentials(words: Sequence[str]) -> bool:
    """Whether mc will talk to the gate at all: not for its help, its version or its own settings."""
    if {"--help", "-h"}.intersection(words):
        return False
    return bool(PATH_COMMANDS.intersection(words)) or any(
        word == ALIAS or word.startswith(f"{ALIAS}/") for word in words
    )


def rewrite(words: Sequence[str], places: Places) -> Line:
    """mc's words with each workspace path as `wio/BUCKET/…`; flags, their values and local paths stay.

    Raises Failure for a name that is neither a workspace nor here, and for one that can mean two things.
    """
    seen: list[str] = []
    positions: list[int] = []
    flag: str | None = None
    only_words = False
    for word in words:
        if flag is not None:
            seen.append(_path(word, places) if flag in _PATH_FLAGS else word)
            flag = None
        elif word.startswith("-") and word != "-" and not only_words:
            name, equals, value = word.lstrip("-").partition("=")
            if equals and name in _PATH_FLAGS:
                word = word[: -len(value)] + _path(value, places) if value else word
            only_words = word == "--"
            flag = name if name in VALUE_FLAGS and not equals else None
            seen.append(word)
        else:
            positions.append(len(seen))
            seen.append(word)
    if not positions or seen[positions[0]] not in PATH_COMMANDS:
        return Line(tuple(seen), seen[positions[0]] if positions else None)
    command = seen[positions[0]]
    paths = positions[2 if command in _TWO_WORDS else 1 :]
    if command == "tag":
        paths = paths[:1]  # the second word of `tag set` is the tags
    for position in paths:
        seen[position] = _bucket(seen[position]) if command == "mb" else _path(seen[position], places)
    if command in _LISTING and not paths:
        seen.append(ALIAS)
    return Line(tuple(seen), command)


def _path(word: str, places: Places) -> str:
    """`name/key` or `owner/name/key` as mc must see it; a local path as it is."""
    first, slash, rest = word.partition("/")
    if is_local_path(word) or first == ALIAS:
        return word
    if "." in first:
        owner, _, name = first.partition(".")
        known = name in places.by_owner.get(owner, ())
        return f"{ALIAS}/{word}" if known else _unlisted(word, first, slash + rest, places)
    if first in places.own:
        if first in places.by_owner and first != places.handle:
            raise _two_meanings(first, places)
        return f"{ALIAS}/{word}"
    if first in places.by_owner:
        name, slash, rest = rest.partition("/")
        if not name:
            names = joined(f"{first}/{name}/" for name in sorted(places.by_owner[first]))
            raise usage(f"{first!r} is an owner; name one of their workspaces: {names}.")
        if name in places.by_owner[first]:
            return f"{ALIAS}/{first}.{name}{slash}{rest}"
        return _unlisted(word, f"{first}.{name}", slash + rest, places)
    return _unlisted(word, first, slash + rest, places)


def _unlisted(word: str, workspace: str, rest: str, places: Places) -> str:
    """A word whose beginning no list shows: a file here, a workspace under another name, or a mistake."""
    if places.is_file(word) or places.is_file(word.partition("/")[0]):
        return word
    bucket = places.ask(workspace)
    if bucket is None and "." not in workspace and rest.strip("/"):
        owner_name, slash, key = rest.removeprefix("/").partition("/")
        bucket = places.ask(f"{workspace}.{owner_name}")
        rest = slash + key if bucket else rest
    if bucket is not None:
        return f"{ALIAS}/{bucket}{rest}"
    if "/" not in word:
        return word  # a file that is yet to be made, or mc's own to complain about
    raise Failure(
        "NoSuchWorkspace",
        f"{word!r}: there is no workspace {workspace!r} that you may see, nor such a folder here.",
        ExitCode.NOT_FOUND,
    )


def _bucket(word: str) -> str:
    """What `mb` makes: always a workspace, `name` or `owner/name`."""
    if is_local_path(word) or word.partition("/")[0] == ALIAS:
        return word
    return f"{ALIAS}/{word.strip('/').replace('/', '.')}"


def _two_meanings(name: str, places: Places) -> Failure:
    return usage(
        f"{name!r} is a workspace of yours and an owner too; write {places.handle}.{name}/… for your workspace, "
        f"or {name}.WORKSPACE/… for one of theirs."
    )
