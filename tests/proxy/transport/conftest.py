"""Everything here runs on both event loops: uvloop's, which serves, and asyncio's, whose transports differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from proxy.upstream import Limits, Upstream
from tests.proxy.transport.serving import start

__all__ = ["start"]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A way to nodes, of which nothing is left when the test ends."""
    upstream = Upstream(limits=Limits(connections=4))
    yield upstream
    await upstream.aclose()
    assert not upstream._connections
    assert asyncio.all_tasks() == {asyncio.current_task()}
