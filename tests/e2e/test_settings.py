"""A wrong setting is one sentence that names it, and an exit code; never a traceback, never the secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import clean_env, free_port
from tests.stack.ups import ROOT

SECRET = "s" * 40


def wio(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    """`wio …` with settings; exit code and all it said."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "broker.cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        env=clean_env(PYTHONPATH=str(ROOT), HOME=str(folder), **environment),
    )
    return done.returncode, done.stdout + done.stderr


SHARED = {
    "WIO_PORT": "abc",
    "WIO_REDIS_URL": "nonsense",
    "WIO_REALM": "Not A Realm",
    "WIO_LOG_LEVEL": "loud",
    "WIO_LEASE_SECONDS": "0",
}
WRONG = [
    ("broker", SHARED | {"WIO_DATABASE_URL": "mysql://db/x", "WIO_ALLOWED_NETWORKS": "my-house"}),
    ("proxy", SHARED),
    ("broker", {"WIO_SECRET": "short"}),
    ("proxy", {"WIO_SECRET_FILE": "/no/such/file"}),
    ("proxy", {"WIO_COMPILED": "sometimes"}),
    ("proxy", {"WIO_DOMAINS": "s3.example.org"}),
    ("proxy", {"WIO_TLS_CERT": "/no/such/file", "WIO_TLS_KEY": "/no/such/file"}),
]


@pytest.mark.parametrize(("service", "settings"), WRONG)
def test_a_service_says_which(service: str, settings: dict[str, str], tmp_path: Path) -> None:
    given = {"WIO_SECRET": SECRET, "WIO_PORT": str(free_port())} | settings
    code, said = wio(tmp_path, "serve", service, **given)
    assert code in (1, 2)
    assert len(said.splitlines()) == 1, said
    assert SECRET not in said
    if "WIO_TLS_CERT" in settings:
        assert "/no/such/file" in said
    else:
        assert [name for name in settings if name not in said] == []


def test_a_host_that_is_not_here_is_no_taken_port(tmp_path: Path) -> None:
    code, said = wio(tmp_path, "up", "--host", "192.0.2.1")
    assert code == 1
    assert len(said.splitlines()) == 1, said
    assert "--host" in said
    assert "taken" not in said


def test_without_minio_and_go_it_says_what_helps(tmp_path: Path) -> None:
    """Given nothing on PATH, an empty cache, and no way to PyPI."""
    empty = tmp_path / "empty"
    empty.mkdir()
    code, said = wio(
        tmp_path, "up", "--port", str(free_port()), "--console-port", str(free_port()),
        PATH=str(empty), XDG_CACHE_HOME=str(tmp_path / "cache"),
        PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1",
    )  # fmt: skip
    assert code == 1
    sentence = next(line for line in said.splitlines() if line.startswith("wio: "))
    assert "minio" in sentence
    assert "PATH" in sentence
    assert "--node" in sentence
    assert "Traceback" not in said
    assert not list((tmp_path / "cache").rglob("go*"))
