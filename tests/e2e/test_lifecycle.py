"""Ctrl-C in a terminal, and a second start: nothing is left running, and everything is still there."""

from __future__ import annotations

import os
import pty
import time
from pathlib import Path
from typing import Any

from broker.stack.child import wait_until
from tests.e2e.newcomer import Person, administrator, boto, buckets, own_key, programs, running_stack, user
from tests.servers import clean_env, free_port, http_status
from tests.stack.ups import alive, descendants

#: What a second start may take here: the promise is 5 s on a machine of one's own.
SECOND_START_SECONDS = 15.0


def everything(admin: Person) -> dict[str, list[dict[str, Any]]]:
    """What the lists show, but for when a key was last used: looking uses one."""
    found = {noun: admin.json(noun, "list") for noun in ("user", "workspace", "share", "key", "root")}
    for row in found["key"]:
        del row["last_used_at"]
    return found


def test_a_second_start_has_kept_everything(tmp_path: Path) -> None:
    with running_stack(tmp_path) as stack:
        admin = administrator(stack, tmp_path / "admin")
        eve = user(admin, "eve")
        admin.json("workspace", "create", "kept")
        admin.json("share", "create", "kept", "eve", "--permission", "read", "--expires", "7d")
        admin.json("quota", "set", "workspace", "kept", "--bytes", "10MiB")
        session = admin.token("--duration", "2h")
        boto(stack, session).put_object(Bucket="kept", Key="a", Body=b"12345")
        before = everything(admin)
        parts = stack.up.parts()
        code, out, err = stack.up.stop()
        assert code == 0
        assert "kept for the next" in err
        assert "wio workspace create photos" in out
        assert not alive(parts)
        assert admin.json("workspace", "list", code=4)["error"]["code"] == "NotLoggedIn"
    with running_stack(tmp_path) as stack:
        assert stack.up.seconds < SECOND_START_SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        admin = administrator(stack, tmp_path / "admin")
        assert everything(admin) == before
        assert admin.json("quota", "show", "workspace", "kept")["limit_bytes"] == 10 << 20
        assert boto(stack, session).get_object(Bucket="kept", Key="a")["Body"].read() == b"12345"
        hers = boto(stack, own_key(eve))
        assert buckets(hers) == ["admin.kept"]
        assert hers.get_object(Bucket="admin.kept", Key="a")["Body"].read() == b"12345"
        admin.json("share", "revoke", "kept", "eve")
        assert buckets(hers) == []


def test_ctrl_c_in_a_terminal_leaves_nothing(tmp_path: Path) -> None:
    """Given a terminal, in which Ctrl-C goes to all of its foreground group, `make` and shells included."""
    port, console_port = free_port(), free_port()
    wio = programs(tmp_path / "bin") / "wio"
    line = f"{wio} up --port {port} --console-port {console_port} --workers 1; echo exit code $?"
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execve("/bin/sh", ["sh", "-c", line], clean_env())
    said = b""
    pressed = False
    parts: dict[int, str] = {}
    while True:
        try:
            said += os.read(terminal, 65536)
        except OSError:  # what Linux says at a terminal's end
            break
        if not pressed and b"Ctrl-C stops everything" in said:
            parts = descendants(child)
            assert http_status(f"http://127.0.0.1:{port}", "/-/ready") == 200
            os.write(terminal, b"\x03")
            pressed = True
    os.waitpid(child, 0)
    os.close(terminal)
    assert pressed, said.decode()
    assert b"Stopped; everything is kept" in said
    assert wait_until(lambda: not alive(parts), time.monotonic() + 10), parts
