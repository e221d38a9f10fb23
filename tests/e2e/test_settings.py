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


BOTH = ("broker", "proxy")
WRONG = [
    (BOTH, {"WIO_SECRET": "short"}, "WIO_SECRET"),
    (BOTH, {"WIO_SECRET_FILE": "/no/such/file"}, "WIO_SECRET_FILE"),
    (BOTH, {"WIO_PORT": "abc"}, "WIO_PORT"),
    (BOTH, {"WIO_REDIS_URL": "nonsense"}, "WIO_REDIS_URL"),
    (BOTH, {"WIO_REALM": "Not A Realm"}, "WIO_REALM"),
    (BOTH, {"WIO_LOG_LEVEL": "loud"}, "WIO_LOG_LEVEL"),
    (BOTH, {"WIO_LEASE_SECONDS": "0"}, "WIO_LEASE_SECONDS"),
    (("broker",), {"WIO_DATABASE_URL": "nonsense"}, "WIO_DATABASE_URL"),
    (("broker",), {"WIO_DATABASE_URL": "mysql://db/x"}, "WIO_DATABASE_URL"),
    (("broker",), {"WIO_ALLOWED_NETWORKS": "my-house"}, "WIO_ALLOWED_NETWORKS"),
    (("proxy",), {"WIO_DOMAINS": "s3.example.org"}, "WIO_DOMAINS"),
    (("proxy",), {"WIO_TLS_CERT": "/no/such/file", "WIO_TLS_KEY": "/no/such/file"}, "/no/such/file"),
]


@pytest.mark.parametrize(
    ("service", "settings", "named"),
    [(service, settings, named) for services, settings, named in WRONG for service in services],
)
def test_a_service_says_which(service: str, settings: dict[str, str], named: str, tmp_path: Path) -> None:
    given = {"WIO_SECRET": SECRET, "WIO_PORT": str(free_port())} | settings
    code, said = wio(tmp_path, "serve", service, **given)
    assert code in (1, 2)
    assert named in said
    assert len(said.splitlines()) == 1, said
    assert SECRET not in said


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
