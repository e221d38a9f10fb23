"""MinIO and mc: which ones on PATH are taken, and what happens when there is nothing to build with."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from broker.stack import binaries, golang
from broker.stack.state import StackError, exclusive, load
from tests.servers import clean_env


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on PATH and an empty cache; programs put into the folder are on PATH."""
    path = tmp_path / "path"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' '{says}'\n")
    path.chmod(0o755)
    return path


def test_nothing_is_found_on_an_empty_machine(machine: Path) -> None:
    assert binaries.find("minio") is None
    assert binaries.find("mc") is None


def test_midnight_commander_is_no_mc(machine: Path) -> None:
    program(machine / "mc", "GNU Midnight Commander 4.8.29")
    assert binaries.find("mc") is None


def test_releases_on_path_are_taken_when_new_enough(machine: Path) -> None:
    mc = program(machine / "mc", "mc version RELEASE.2025-08-13T08-35-41Z (commit-id=x)")
    program(machine / "minio", "minio version RELEASE.2021-01-01T00-00-00Z (commit-id=x)")
    assert binaries.find("mc") == mc
    assert binaries.find("minio") is None


def test_a_cached_build_counts_only_at_the_pinned_version(machine: Path, tmp_path: Path) -> None:
    cached = program(tmp_path / "cache" / "wio-gate" / "bin" / "mc", "mod\tgithub.com/minio/mc\tv0.0.0-old\t")
    assert binaries.find("mc") is None
    cached.write_bytes(b"\x7fELF" + binaries.TOOLS["mc"].build_mark)
    assert binaries.find("mc") == cached


def test_a_failed_build_says_what_was_said_and_leaves_nothing(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = machine / "go"
    go.write_text(
        '#!/bin/sh\nif [ "$1" = env ]; then echo go1.26.0; else echo "no such module" >&2; exit 1; fi\n'
    )
    go.chmod(0o755)
    with pytest.raises(binaries.ToolMissing, match=r"mc could not be built(.|\n)*no such module"):
        binaries.ensure("mc")
    cache = tmp_path / "cache" / "wio-gate"
    assert [path.name for path in cache.iterdir()] == ["build.lock"]


def test_a_build_is_moved_in_place_whole_and_its_caches_are_removed(
    machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a Go that leaves read-only modules behind, as Go does, only the program is left."""
    monkeypatch.setenv("PATH", f"{machine}:/usr/bin:/bin")
    mark = binaries.TOOLS["mc"].build_mark.decode().replace("\t", "\\t")
    go = machine / "go"
    go.write_text(
        f"""#!/bin/sh
if [ "$1" = env ]; then echo go1.24.8; exit 0; fi
mkdir -p "$GOMODCACHE/a" "$GOBIN" && echo x > "$GOMODCACHE/a/b" && chmod -R a-w "$GOMODCACHE"
echo "$*" > '{tmp_path}/arguments'
printf '{mark}' > "$GOBIN/mc" && chmod 755 "$GOBIN/mc"
"""
    )
    go.chmod(0o755)
    built = binaries.ensure("mc")
    cache = tmp_path / "cache" / "wio-gate"
    assert built == cache / "bin" / "mc"
    assert binaries.find("mc") == built
    assert sorted(path.name for path in cache.iterdir()) == ["bin", "build.lock"]
    assert "github.com/minio/mc@v0.0.0-20250313080218-cf909e1063a9" in (tmp_path / "arguments").read_text()


def test_two_builds_at_once_wait_for_each_other(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with golang.build_lock(tmp_path):
            order.append("second")

    with golang.build_lock(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_the_module_says_which_names_it_knows() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "broker.stack.binaries", "nothing"],
        capture_output=True,
        text=True,
        env=clean_env(),
    )
    assert answer.returncode == 2
    assert "minio|mc" in answer.stderr


def test_a_folder_holds_one_stack_and_keeps_its_secrets(tmp_path: Path) -> None:
    folder = tmp_path / "stack"
    with exclusive(folder):
        first = load(folder)
        with pytest.raises(StackError, match="already runs"), exclusive(folder):
            pass
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "stack.json").stat().st_mode & 0o777 == 0o600
    assert load(folder) == first
    (folder / "stack.json").write_text("{}")
    with pytest.raises(StackError, match="restore it"):
        load(folder)
