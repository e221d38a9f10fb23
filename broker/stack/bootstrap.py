"""Setting the broker up: its tables, the admin, the node with a root. Done once, and again when it changes."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from broker.stack import parts
from broker.stack.child import last_lines, spawn, stop
from broker.stack.options import Node
from broker.stack.state import StackError, State, save

#: Seconds that it may take, a slow machine and a node far away included.
SECONDS = 60.0


def wanted(state: State, node: Node) -> bytes:
    """What `python -m broker.bootstrap` reads on stdin."""
    return json.dumps(
        {
            "admin": {
                "username": "admin",
                "password": state.secrets.admin_password,
                "access_key_id": state.secrets.access_key_id,
                "secret_access_key": state.secrets.secret_access_key,
            },
            "node": {
                "name": node.name,
                "endpoint": node.endpoint,
                "region": "us-east-1",
                "access_key_id": node.access_key_id,
                "secret_access_key": node.secret_access_key,
            },
            "root": {
                "name": node.name,
                "bucket": "wio",
                "kind": "private",
                "default": True,
                "create": "everyone",
            },
        }
    ).encode()


def is_done(folder: Path, state: State, wanted: bytes) -> bool:
    """Whether exactly this was set up before, in the database that is there."""
    return state.bootstrapped == hashlib.sha256(wanted).hexdigest() and (folder / "wio.db").exists()


def run(folder: Path, state: State, wanted: bytes, environment: Mapping[str, str]) -> None:
    """Set it up and remember that. Raises StackError with what was said when it fails."""
    log = folder / "logs" / "bootstrap.log"
    process = spawn(parts.module_command("broker.bootstrap"), environment=environment, log=log, stdin=wanted)
    try:
        code = process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        raise StackError(f"Setting up the broker took too long; see {log}.") from None
    finally:
        stop(process)
    if code != 0:
        raise StackError(f"The broker could not be set up; see {log}:\n{last_lines(log)}")
    save(folder, replace(state, bootstrapped=hashlib.sha256(wanted).hexdigest()))
