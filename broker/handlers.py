"""What the proxy asks of the broker, over Redis: STS, CreateBucket, DeleteBucket."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from broker import policy, sts
from broker.auth import Unauthenticated, caller_who_uses
from broker.context import Broker
from broker.errors import ApiError, denied
from broker.logs import request_id
from broker.names import LONGEST_BUCKET, parse_workspace
from broker.oidc import OidcVerifier
from broker.patience import uninterrupted
from broker.policy import Caller
from broker.workspaces.find import Found, by_id, find_workspace
from broker.workspaces.places import delete_place
from broker.workspaces.service import create_workspace
from quota.calls import Handler


def call_handlers(broker: Broker, oidc: OidcVerifier | None) -> dict[str, Handler]:
    """The handlers by call name, for `quota.calls.CallServer`. The proxy has verified the signatures."""

    async def answer_sts(payload: dict[str, Any]) -> dict[str, Any]:
        request_id.set(str(payload.get("request_id") or "-"))
        params = {str(name): str(value) for name, value in payload["params"].items()}
        try:
            access_key_id = payload.get("access_key_id")
            caller = await caller_who_uses(broker, access_key_id) if access_key_id else None
        except Unauthenticated as error:
            answer = sts.failure(error, request_id.get())
        else:
            answer = await sts.respond(broker, oidc, params, caller, request_id.get())
        return {"status": answer.status, "body": answer.body}

    async def answer_create(payload: dict[str, Any]) -> dict[str, Any]:
        request_id.set(str(payload.get("request_id") or "-"))
        try:
            caller = await _caller(broker, payload)
            return {"workspace": await make_bucket(broker, caller, str(payload["name"]))}
        except ApiError as error:
            return _error(error)

    async def answer_delete(payload: dict[str, Any]) -> dict[str, Any]:
        request_id.set(str(payload.get("request_id") or "-"))
        try:
            caller = await _caller(broker, payload)
            await remove_bucket(broker, caller, str(payload["workspace"]))
        except ApiError as error:
            return _error(error)
        return {}

    handlers = {"sts": answer_sts, "create_workspace": answer_create, "delete_workspace": answer_delete}
    return {name: _whole(handler) for name, handler in handlers.items()}


def _whole(handler: Callable[[dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]) -> Handler:
    async def answer(payload: dict[str, Any]) -> dict[str, Any]:
        return await uninterrupted(handler(payload))

    return answer


def _error(error: ApiError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.message, "status": error.status}}


async def _caller(broker: Broker, payload: dict[str, Any]) -> Caller:
    caller = await caller_who_uses(broker, str(payload["access_key_id"]))
    if caller.user != payload["user"]:
        raise denied("The credential is another user's.")
    return caller


async def make_bucket(broker: Broker, caller: Caller, name: str) -> str:
    """CreateBucket: a workspace in the caller's default root; returns its id.

    Raises ApiError: BucketAlreadyOwnedByYou (409) on a name that the caller has any share on, because rclone
    sends CreateBucket before every upload and takes no other no.
    """
    if len(name) > LONGEST_BUCKET or "/" in name:
        raise ApiError("InvalidBucketName", "The specified bucket is not valid.", 400)
    try:
        wanted = parse_workspace(name)
    except ApiError:
        raise ApiError(
            "InvalidBucketName",
            "A bucket here is a workspace: 3 to 63 of a-z, 0-9 and hyphens, or OWNER.name for somebody's.", 400,
        ) from None  # fmt: skip
    found = await _seen(broker, caller, name)
    if (
        found is not None
        and found.row.id != wanted.name
        and policy.effective(caller, found.row.id, found.permission)
    ):
        raise ApiError("BucketAlreadyOwnedByYou", "The workspace is there, and you may use it.", 409)
    if wanted.owner not in (None, caller.handle):
        raise denied("Only its owner makes a workspace of that name.")
    try:
        made = await create_workspace(broker, caller, name=wanted.name, owner=None, root=None, prefix=None)
    except ApiError as error:
        if error.code == "InvalidRequest":
            raise ApiError("InvalidBucketName", error.message, 400) from None
        raise
    return made.row.id


async def _seen(broker: Broker, caller: Caller, name: str) -> Found | None:
    async with broker.db.read() as session:
        try:
            return await find_workspace(session, caller, name)
        except ApiError:
            return None


async def remove_bucket(broker: Broker, caller: Caller, workspace_id: str) -> None:
    """DeleteBucket: an empty workspace, by a holder of own. Raises ApiError (403; 409 BucketNotEmpty)."""
    async with broker.db.read() as session:
        found = await by_id(session, caller, workspace_id)
    if found is None:
        raise ApiError("NoSuchBucket", "The specified bucket does not exist.", 404)
    if policy.effective(caller, found.row.id, found.permission) < policy.OWN:
        raise denied(f"Deleting a workspace needs the permission own on {found.bucket}.")
    await delete_place(broker, caller, workspace_id, purge=False)
