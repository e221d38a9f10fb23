"""What every route shares: the broker and the caller as dependencies, bounded lists, strict bodies."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from broker.auth import authenticate
from broker.context import Broker
from broker.policy import PERMISSIONS, Caller

PAGE = 1000


class Body(BaseModel):
    """A request's JSON body: unknown fields are refused, so that a typing error is not silently ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Text = Annotated[str, StringConstraints(max_length=255)]
#: Workspaces of one scope, each of which is looked up now, and gone through for every request later.
Names = Annotated[list[Text], Field(max_length=1000)]
Long = Annotated[str, StringConstraints(max_length=2048)]
Permission = Annotated[str, StringConstraints(pattern="^(read|readwrite|own)$")]
Limit = Annotated[int, Query(ge=1, le=PAGE, description="How many at most.")]
After = Annotated[
    str, Query(max_length=255, description="Go on after this one (an id; names where lists go by name).")
]


def permission_number(word: str | None) -> int | None:
    """1 to 3, or None."""
    return None if word is None else PERMISSIONS[word]


def get_broker(request: Request) -> Broker:
    """The broker that the lifespan put together."""
    return cast(Broker, request.app.state.broker)


async def get_caller(request: Request) -> Caller:
    """Who signed the request. Raises Unauthenticated."""
    broker = get_broker(request)
    body = await request.body()
    raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
    return await authenticate(
        broker, request.method, raw_path, request.scope["query_string"], request.scope["headers"], body,
        region=broker.settings.region,
    )  # fmt: skip


BrokerDep = Annotated[Broker, Depends(get_broker)]
CallerDep = Annotated[Caller, Depends(get_caller)]
