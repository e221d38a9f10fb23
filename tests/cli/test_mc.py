"""`wio mc` for real: mc's own output and exit codes, and credentials that stay in its environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.cli.conftest import Wio


def test_files_go_there_and_back(admin: Wio, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"meow")
    admin.json("workspace", "create", "album")
    admin("mc", "cp", "cat.jpg", "album/2026/")
    assert admin("mc", "cat", "album/2026/cat.jpg").stdout == "meow"
    rows = [json.loads(line) for line in admin("mc", "ls", "--json", "album/2026/").stdout.splitlines()]
    assert [(row["key"], row["size"]) for row in rows] == [("cat.jpg", 4)]
    assert "album" in admin("mc", "ls").stdout
    admin("mc", "cp", "admin/album/2026/cat.jpg", "./copy.jpg")
    assert (tmp_path / "copy.jpg").read_bytes() == b"meow"
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "local.txt").write_text("x")
    admin("mc", "mirror", "./album", "album/mirrored/")
    assert admin("mc", "cat", "album/mirrored/local.txt").stdout == "x"
    assert admin("mc", "pipe", "album/piped", stdin="from stdin").code == 0
    assert admin("mc", "cat", "album/piped").stdout == "from stdin"
    admin("mc", "rm", "--recursive", "--force", "album/")
    assert admin("mc", "find", "album").stdout.strip() in ("", "wio/album", "wio/album/")


def test_somebody_elses_workspace(admin: Wio, person: Callable[[str], Wio], tmp_path: Path) -> None:
    mia = person("mia")
    (tmp_path / "a.txt").write_text("for mia")
    admin.json("workspace", "create", "lent")
    admin("mc", "cp", "a.txt", "lent/")
    assert "no workspace" in mia("mc", "ls", "admin/lent/", code=3).stderr
    admin.json("share", "create", "lent", "mia", "--permission", "read")
    assert mia("mc", "cat", "admin/lent/a.txt").stdout == "for mia"
    assert mia("mc", "cat", "admin.lent/a.txt").stdout == "for mia"
    assert mia("mc", "rm", "admin/lent/a.txt", code=1).code == 1


def test_exit_codes_and_words_are_mcs(admin: Wio) -> None:
    admin.json("workspace", "create", "empty-one")
    failed = admin("mc", "--json", "stat", "empty-one/nothing", code=1)
    assert json.loads(failed.stdout)["status"] == "error"
    assert admin("mc", "--version").stdout.startswith("mc version")
    assert admin("mc", "ls", "--help").stdout.startswith("NAME:\n  mc ls")
    assert admin("mc", "ls", "empty-one").stdout == ""
    assert admin("mc", "ls", "empty-one").stderr == ""


def test_nothing_is_written_to_mcs_own_configuration(admin: Wio, tmp_path: Path) -> None:
    admin.json("workspace", "create", "clean-one")
    admin("mc", "ls", "clean-one")
    assert not (tmp_path / ".mc").exists()
    assert not list(tmp_path.rglob("*.json"))


def test_a_bucket_is_made_and_removed(admin: Wio) -> None:
    admin("mc", "mb", "made-by-mc")
    assert admin.json("workspace", "show", "made-by-mc")["owner"] == "admin"
    admin("mc", "rb", "made-by-mc")
    admin("workspace", "show", "made-by-mc", code=3)
