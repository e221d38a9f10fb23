"""A running gate for a test module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests import servers
from tests.proxy.gates import Gate, running_gate


@pytest.fixture(scope="module")
def gate(
    minio: servers.Minio, valkey: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """One proxy with one worker; workspaces and keys as `Gate` says."""
    with running_gate(minio, valkey, tmp_path_factory.mktemp("gate")) as running:
        yield running


@pytest.fixture
def alice(gate: Gate) -> Any:
    """Alice's client, boto3 as it comes."""
    return gate.client("alice")
