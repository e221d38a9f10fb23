"""What scripts read: every `--json` object keeps the contract, and so do failures and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from subprocess import PIPE, Popen
from typing import Any

import pytest

from tests.e2e import contract
from tests.e2e.contract import Shape, secretless, wrong
from tests.e2e.newcomer import Person, Stack, boto, command_lines, user
from tests.servers import free_port


def keep(rows: Sequence[Any], shape: Shape) -> None:
    """Fails unless there is something, and all of it keeps the contract."""
    assert rows
    assert [found for row in rows if (found := wrong(row, shape))] == []


@pytest.fixture(scope="module")
def carl(admin: Person) -> Person:
    """A user."""
    return user(admin, "carl")


@pytest.fixture(scope="module")
def ledger(stack: Stack, admin: Person) -> str:
    """A workspace with an object in it."""
    name = str(admin.json("workspace", "create", "ledger")["name"])
    boto(stack, admin.key()).put_object(Bucket=name, Key="a", Body=b"12345")
    return name


def test_workspaces(admin: Person, carl: Person, ledger: str) -> None:
    shown = admin.json("workspace", "show", ledger)
    listed = admin.json("workspace", "list")
    keep([shown, *listed], contract.WORKSPACE)
    assert shown in listed
    assert (shown["bucket"], shown["permission"], shown["used_bytes"]) == ("admin.ledger", "own", 5)
    admin.json("share", "create", ledger, "carl", "--permission", "read")
    seen = carl.json("workspace", "show", "admin/ledger")
    keep([seen, *carl.json("workspace", "list")], contract.WORKSPACE)
    assert seen["permission"] == "read"
    keep([admin.json("workspace", "alias", ledger, "ledger-2")], contract.WORKSPACE)
    keep([admin.json("workspace", "create", "short-lived")], contract.WORKSPACE)
    keep([admin.json("workspace", "rename", "short-lived", "shorter-lived")], contract.WORKSPACE)
    keep([admin.json("workspace", "delete", "shorter-lived")], contract.ENDED)


def test_shares_and_what_ends_them(admin: Person, carl: Person, ledger: str) -> None:
    made = admin.json("share", "create", ledger, "carl", "--permission", "own", "--expires", "7d")
    below = carl.json(
        "share", "create", "admin/ledger", "everyone", "--permission", "read", "--expires", "1d"
    )
    changed = admin.json("share", "update", made["id"], "--expires", "8d")
    keep([made, below, changed, *admin.json("share", "list", ledger)], contract.SHARE)
    assert (made["workspace"], made["principal"], made["created_by"]) == ("admin.ledger", "carl", "admin")
    assert below["parent_id"] == made["id"]
    would = admin.json("share", "revoke", ledger, "carl", "--dry-run")
    ended = admin.json("share", "revoke", made["id"])
    assert set(would["revoked"]) == set(ended["revoked"]) == {made["id"], below["id"]}
    keep([would, ended], contract.ENDED)


def test_keys_and_tokens(admin: Person, carl: Person, ledger: str) -> None:
    key = admin.key("--name", "a name", "--workspace", ledger, "--permission", "read", "--expires", "1d")
    token = admin.token("--workspace", ledger, "--duration", "20m")
    keep([key, token, *admin.json("key", "list"), *admin.json("token", "list")], contract.CREDENTIAL)
    assert (key["kind"], key["user"], key["name"]) == ("key", "admin", "a name")
    assert key["scope"] == {"workspaces": ["admin.ledger"], "permission": "read"}
    assert (token["kind"], token["scope"]) == (
        "session",
        {"workspaces": ["admin.ledger"], "permission": None},
    )
    assert len(key["secret_access_key"]) == 40
    assert token["session_token"]
    assert "session_token" not in key
    assert all(map(secretless, admin.json("key", "list") + admin.json("token", "list")))
    ends = [admin.json("token", "revoke", token["access_key_id"])]
    ends += [admin.json("key", verb, key["access_key_id"]) for verb in ("disable", "delete")]
    keep(ends, contract.ENDED)
    assert ends[0]["revoked"] == [token["access_key_id"]]


def test_quotas(admin: Person, ledger: str) -> None:
    told = admin.json(
        "quota",
        "set",
        "workspace",
        ledger,
        "--bytes",
        "10MiB",
        "--objects",
        "100",
        "--soft",
        "80%",
        "--grace",
        "7d",
    )
    shown = admin.json("quota", "show", "workspace", ledger)
    keep([told, shown, *admin.json("quota", "show"), *admin.json("quota", "list")], contract.QUOTA)
    assert (shown["level"], shown["subject"]) == ("workspace", "admin.ledger")
    assert (shown["used_bytes"], shown["limit_bytes"], shown["soft_limit_bytes"]) == (5, 10 << 20, 8 << 20)
    assert (shown["used_objects"], shown["limit_objects"], shown["soft_limit_objects"]) == (1, 100, 80)
    admin.json("quota", "recount", ledger)
    assert contract.moment(admin.json("quota", "show", "workspace", ledger)["recounted_at"])
    admin.json("quota", "set", "workspace", ledger, "--none")


def test_links(admin: Person, ledger: str) -> None:
    made = admin.json("link", "create", f"{ledger}/a", "--name", "printer", "--expires", "9d")
    keep(
        [made, admin.json("link", "create", f"{ledger}/box/", "--upload", "--max-bytes", "1MiB")],
        contract.LINK,
    )
    keep(admin.json("link", "list"), {**contract.LINK, "url": lambda _: True})
    keep([admin.json("link", "revoke", made["id"])], contract.ENDED)


def test_why_and_whoami(admin: Person, carl: Person, ledger: str) -> None:
    share = admin.json("share", "create", ledger, "carl", "--permission", "read")
    rows = [
        admin.json("why", "carl", "read", f"{ledger}/a"),
        admin.json("why", "carl", "s3:PutObject", f"{ledger}/a"),
        admin.json("why", "admin", "share", ledger),
        carl.json("why", "carl", "list", "admin.ledger"),
    ]
    keep(rows, contract.WHY)
    assert [row["allowed"] for row in rows] == [True, False, True, True]
    assert [row["permission_needed"] for row in rows] == ["read", "readwrite", "own", "read"]
    assert rows[0]["share"] == share["id"]
    keep([admin.json("whoami"), carl.json("whoami")], contract.WHOAMI)


def test_users_groups_and_audit(admin: Person, carl: Person) -> None:
    admin.json("user", "create", "brief")
    shown = admin.json("user", "show", "brief")
    assert shown in admin.json("user", "list")
    assert (shown["name"], shown["admin"], shown["enabled"]) == ("brief", False, True)
    keep([admin.json("user", verb, "brief") for verb in ("disable", "delete")], contract.ENDED)
    group = admin.json("group", "create", "contractors")
    assert group.keys() >= {"name", "members"}
    assert admin.json("group", "add", "contractors", "carl") in admin.json("group", "list")
    keep([admin.json("group", "remove", "contractors", "carl")], contract.ENDED)
    keep([admin.json("group", "delete", "contractors")], contract.ENDED)
    rows = admin.json("audit")
    assert all(row.keys() >= {"at", "user", "action"} and contract.moment(row["at"]) for row in rows)


def test_failures_keep_their_shape_and_exit_code(
    stack: Stack, admin: Person, carl: Person, ledger: str
) -> None:
    for person, words, code in (
        (admin, ("workspace", "show", "no-such-thing"), 3),
        (admin, ("share", "revoke", "aaaaaaaaaaaaaaaa"), 3),
        (carl, ("user", "create", "somebody"), 4),
        (carl, ("workspace", "delete", "admin/ledger"), 4),
        (admin, ("workspace", "create", ledger), 6),
        (admin, ("workspace", "delete", ledger), 6),
        (admin, ("workspace", "create", "NotAName"), 2),
        (admin, ("share", "create", ledger, "carl", "--permission", "all"), 2),
        (admin, ("share", "create", ledger, "carl", "--permission", "read", "--expires", "soon"), 2),
        (admin, ("no-such-command",), 2),
    ):
        told = person.json(*words, code=code)
        assert told.keys() == {"error"}, words
        assert wrong(told["error"], contract.ERROR) == {}, words
        if code in (3, 4, 6):
            assert told["error"]["request_id"], words
    people = admin.wio("workspace", "show", "no-such-thing", code=3)
    assert people.out == ""
    assert len(people.err.splitlines()) == 1


def test_a_stopped_broker_is_one_sentence(stack: Stack, admin: Person) -> None:
    away = Person(
        stack,
        admin.folder / "away",
        WIO_URL=f"http://127.0.0.1:{free_port()}",
        WIO_ACCESS_KEY_ID="WIOA" + "A" * 16,
        WIO_SECRET_ACCESS_KEY="x" * 40,
    )
    assert away.json("workspace", "list", code=5)["error"]["code"] == "ServiceUnavailable"
    said = away.wio("workspace", "list", code=5).err
    assert len(said.splitlines()) == 1
    assert "wio up" in said
    nowhere = Person(stack, admin.folder / "nowhere").wio("workspace", "list", code=4).err
    assert len(nowhere.splitlines()) == 1
    assert "wio login" in nowhere


def test_no_secret_is_an_argument_while_commands_run(stack: Stack, admin: Person, ledger: str) -> None:
    """`wio mc` has its credentials in the environment; a secret that is brought along comes on stdin."""
    brought = "a-secret-that-nobody-else-may-read-at-all"
    import_key = ("key", "create", "--access-key-id", "MYOWNKEY123456789012", "--secret-stdin", "--json")
    with started(admin, "mc", "pipe", f"{ledger}/piped") as piping, started(admin, *import_key) as making:
        assert piping.stdin is not None
        piping.stdin.write(b"x" * (1 << 20))  # more than a pipe holds, so mc runs and reads
        piping.stdin.flush()
        seen = command_lines()
        out, _ = making.communicate(brought.encode() + b"\n", timeout=60)
    assert " pipe wio/" in seen
    assert json.loads(out)["secret_access_key"] == brought
    stack.secrets.add(brought)
    kept = json.loads((stack.up.folder / "stack.json").read_text())["secrets"]
    assert [
        one for one in (*stack.secrets, *kept.values()) if one in seen and not one.startswith("WIO")
    ] == []


def started(person: Person, *words: str) -> Popen[bytes]:
    """`wio …` with pipes, not waited for."""
    command = [str(person.stack.bin / "wio"), *words]
    return Popen(command, stdin=PIPE, stdout=PIPE, env=person.variables(), cwd=person.folder)
