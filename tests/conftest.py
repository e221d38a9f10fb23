"""Fixtures that every test may use: real servers, and an environment that leads nowhere else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from proxy import compiled

# Before anything imports a hot module; tests/compiled runs the tests of pure modules once more in this way.
if os.environ.get("TEST_COMPILED"):
    assert compiled.use(), "there is no compiled build: python -m proxy.compiled"

from tests import servers

# Before any test module is imported: a library that reads the environment at import time must not see a
# proxy, a CA bundle or somebody's AWS profile.
for _name in set(os.environ) - set(servers.clean_env()):
    del os.environ[_name]
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    # Started by nohup; what is started here shall hear it all the same.
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Minio]:
    """One MinIO for the whole run; make your own buckets in it."""
    with servers.minio_server(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture
def minio_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], servers.Minio]]:
    """Starts MinIOs that live until the test ends, for tests that stop, pause or count them."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(servers.minio_server(tmp_path_factory.mktemp("minio")))


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Valkey]:
    """One valkey-server for a test module; take a realm of your own in it, nothing is ever flushed."""
    with servers.valkey_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def valkey_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], servers.Valkey]]:
    """Starts valkey-servers that live until the test ends, for tests that stop, pause or restore them."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(servers.valkey_server(tmp_path_factory.mktemp("valkey")))


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    """One Postgres for the whole run; make your own databases in it."""
    with servers.postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def mc() -> Path:
    """The path of MinIO's `mc`."""
    return Path(servers.find_program("mc"))
