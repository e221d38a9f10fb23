"""`python -m broker.bootstrap < wanted.json`: the first admin, node and root; again is harmless.

The JSON: {"admin": {"username", "password", "access_key_id", "secret_access_key"}, "node": {"name", "endpoint",
"region", "access_key_id", "secret_access_key"}, "root": {"name", "bucket", "kind", "default", "create"}}. Secrets
come on stdin, never as arguments. Changes are committed in SQL; the broker applies them when it starts.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import select

from broker.assemble import open_broker
from broker.auth import caller_of_user
from broker.context import Broker
from broker.errors import ApiError
from broker.keys.models import Credential
from broker.keys.service import mint, open_secret
from broker.marks import get_mark, set_mark
from broker.nodes.models import Node
from broker.nodes.service import NewNode, create_node, update_node
from broker.passwords import hash_password, verify_password
from broker.policy import SYSTEM, Scope
from broker.roots.models import Root
from broker.roots.service import NewRoot, create_root, set_default_root, ungrant_root
from broker.settings import Settings
from broker.users.models import User
from broker.users.service import NewUser, add_user
from quota.settings import wrong_settings

#: Which root this made everybody's default: one that an admin chose since is left alone.
_OUR_DEFAULT = "bootstrap_default"


async def bootstrap(broker: Broker, wanted: dict[str, Any]) -> None:
    """Makes what is absent of the admin, their key, the node and the root; brings password and node up to date.

    With another node than before, everybody's default moves to its root, unless an admin has chosen one since.
    Raises ApiError when the node does not answer or a name belongs to something else.
    """
    admin_id = await _admin(broker, wanted["admin"])
    async with broker.db.read() as session:
        caller = await caller_of_user(session, admin_id)
    node = wanted.get("node")
    if node is not None:
        async with broker.db.read() as session:
            known = await session.scalar(select(Node).where(Node.name == node["name"]))
        if known is None:
            await create_node(broker, caller, NewNode(**node))
        else:
            await update_node(broker, caller, known.id, {**node, "name": None})
    root = wanted.get("root")
    if root is None:
        return
    async with broker.db.read() as session:
        present = await session.scalar(select(Root).where(Root.name == root["name"]))
        everyones = await session.scalar(select(Root.id).where(Root.everyones_default))
        ours = await get_mark(session, _OUR_DEFAULT)
    if present is None:
        new = NewRoot(root["name"], (node or root)["name"] if node else root["node"], root["bucket"],
                      root.get("kind", "private"), root.get("prefix", ""))  # fmt: skip
        made = await create_root(broker, caller, new)
        if root.get("create", "everyone") != "everyone" and new.kind != "unmanaged":
            await ungrant_root(broker, caller, made.id, "everyone", "create")
        present = made
    if not root.get("default"):
        return
    if everyones != present.id and everyones in (None, ours or everyones):
        await set_default_root(broker, caller, present.id, everyone=True)
    async with broker.db.write() as session:
        await set_mark(session, _OUR_DEFAULT, present.id)


async def _admin(broker: Broker, wanted: dict[str, str]) -> str:
    async with broker.db.read() as session:
        user = await session.scalar(
            select(User).where(User.login == wanted["username"], User.deleted_at.is_(None))
        )
        key = await session.get(Credential, wanted["access_key_id"])
    same_password = await verify_password(user.password if user else None, wanted["password"])
    hashed = None if same_password else await hash_password(wanted["password"])
    async with broker.change(SYSTEM) as unit:
        if user is None:
            user = await add_user(unit, NewUser(wanted["username"], admin=True), hashed)
        elif hashed is not None or not user.admin or not user.enabled:
            row = await unit.session.get_one(User, user.id)
            row.password, row.admin, row.enabled = hashed or row.password, True, True
            unit.touch("user", row.id)
            unit.note("user.update", user=row.handle, bootstrap=True)
        if key is None:
            await unit.session.flush()
            await mint(
                unit, broker.sealer, kind="key", user_id=user.id, scope=Scope(), name="made at set-up",
                given=(wanted["access_key_id"], wanted["secret_access_key"]), ours=True,
            )  # fmt: skip
            unit.note("key.create", key=wanted["access_key_id"], user=user.id, bootstrap=True)
        elif key.user_id != user.id or open_secret(broker.sealer, key) != wanted["secret_access_key"]:
            raise ApiError("Conflict", "That access key id belongs to another key.", 409)
        return user.id


async def _run() -> None:
    wanted = json.loads(sys.stdin.read())
    async with open_broker(Settings(), deferred=True) as broker:
        await bootstrap(broker, wanted)


def main() -> int:
    """0, or 1 (2 for wrong settings) with one sentence on stderr."""
    try:
        asyncio.run(_run())
    except ApiError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except (ValidationError, SettingsError) as error:
        sys.stderr.write(f"{wrong_settings(error)}\n")
        return 2
    except (KeyError, TypeError, ValueError) as error:
        sys.stderr.write(f"What was asked for is malformed ({type(error).__name__}).\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
