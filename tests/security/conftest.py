"""A running gate for a test module, and the requests that attack it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import servers
from tests.proxy.gates import Gate, running_gate


@pytest.fixture(scope="module")
def gate(
    minio: servers.Minio, valkey: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """One proxy with one worker, which also understands virtual-host style below `s3.example.org`."""
    folder = tmp_path_factory.mktemp("gate")
    with running_gate(minio, valkey, folder, WIO_DOMAINS='["s3.example.org"]') as running:
        yield running
