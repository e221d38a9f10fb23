"""A stack that `wio up` runs for real, and the command as people call it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers import clean_env
from tests.stack.ups import Up, running_up


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of the command gave."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Its stdout as JSON."""
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The error under --json."""
        error: dict[str, Any] = self.json["error"]
        return error


class Wio:
    """`wio` as one person uses it, in a folder and with an environment of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.environment = environment

    def __call__(self, *words: str, stdin: str = "", code: int | None = 0) -> Result:
        """Run it; fails unless it exits with `code` (None: whatever)."""
        done = subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
            env=self.variables(),
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        assert code is None or result.code == code, result
        return result

    def command(self, *words: str) -> list[str]:
        """The command line that runs it."""
        return [sys.executable, "-m", "broker.cli", *words]

    def variables(self) -> dict[str, str]:
        """Its environment: a home of its own, and nothing of this machine's."""
        return clean_env(
            HOME=str(self.folder),
            XDG_CONFIG_HOME=str(self.folder / "config"),
            PYTHONPATH=str(Path(__file__).parents[2]),
            **self.environment,
        )

    def json(self, *words: str, stdin: str = "") -> Any:
        """The JSON that a command prints."""
        return self(*words, "--json", stdin=stdin).json


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One running stack for all tests of commands."""
    with running_up(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture
def admin(up: Up, tmp_path: Path) -> Wio:
    """The admin of the stack."""
    return Wio(tmp_path, WIO_DIR=str(up.folder), XDG_CACHE_HOME=up.cache)


@pytest.fixture
def person(up: Up, admin: Wio, tmp_path: Path) -> Callable[[str], Wio]:
    """Makes a user of that name, and gives the command as they use it, with a key of their own."""

    def make(name: str) -> Wio:
        admin.json("user", "create", name)
        key = admin.json("key", "create", "--user", name)
        folder = tmp_path / name
        folder.mkdir()
        return Wio(
            folder,
            WIO_URL=up.facts["console_url"],
            WIO_ACCESS_KEY_ID=key["access_key_id"],
            WIO_SECRET_ACCESS_KEY=key["secret_access_key"],
            XDG_CACHE_HOME=up.cache,
        )

    return make
