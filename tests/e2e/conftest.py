"""One stack for all that gets along with each other, run by `wio up` as a newcomer runs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.newcomer import Person, Stack, administrator, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everybody's stack; when the tests are done its logs are searched for every secret that was made."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def admin(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Person:
    """The admin of the stack."""
    return administrator(stack, tmp_path_factory.mktemp("admin"))
