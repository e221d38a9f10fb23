"""The commands against a running stack: what they do, what scripts read, how they fail."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.cli.conftest import Wio
from tests.servers import free_port
from tests.stack.ups import Up

Person = Callable[[str], Wio]
REVOKED = {"revoked", "sessions", "links", "transfers_cut", "workers_unreachable", "seconds"}


def s3(up: Up, credential: dict[str, str]) -> boto3.client:
    """boto3 with a credential that a command gave."""
    return boto3.client(
        "s3",
        endpoint_url=up.facts["endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id=credential["access_key_id"],
        aws_secret_access_key=credential["secret_access_key"],
        aws_session_token=credential.get("session_token"),
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
    )


def test_users_come_and_go(admin: Wio) -> None:
    made = admin.json("user", "create", "una", "--email", "una@example.org")
    assert (made["name"], made["email"], made["admin"], made["enabled"]) == (
        "una",
        "una@example.org",
        False,
        True,
    )
    assert "una" in [row["name"] for row in admin.json("user", "list")]
    assert admin.json("user", "update", "una", "--admin")["admin"] is True
    admin.json("user", "update", "una", "--no-admin")
    assert admin.json("user", "disable", "una").keys() >= REVOKED
    assert admin.json("user", "show", "una")["enabled"] is False
    assert admin.json("user", "enable", "una")["enabled"] is True
    assert admin.json("user", "delete", "una").keys() >= REVOKED
    assert admin("user", "show", "una", "--json", code=3).error["code"] == "NotFound"


def test_a_share_lets_in_and_a_revoke_ends_it(up: Up, admin: Wio, person: Person) -> None:
    person("sam")
    made = admin.json("workspace", "create", "shared-one")
    assert (made["name"], made["owner"], made["permission"], made["used_bytes"]) == (
        "shared-one",
        "admin",
        "own",
        0,
    )
    share = admin.json("share", "create", "shared-one", "sam", "--permission", "read", "--expires", "7d")
    assert share.keys() >= {
        "id", "workspace", "principal", "permission", "expires_at", "parent_id", "created_at", "created_by", "state"
    }  # fmt: skip
    key = admin.json("key", "create", "--user", "sam", "--name", "laptop")
    client = s3(up, key)
    bucket = share["workspace"]
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert admin.json("why", "sam", "read", f"{bucket}/x")["allowed"] is True
    refused = admin.json("why", "sam", "write", f"{bucket}/x")
    assert refused["allowed"] is False
    assert refused["reason"]
    assert admin.json("share", "update", share["id"], "--expires", "never")["expires_at"] is None
    would = admin.json("share", "revoke", "admin/shared-one", "sam", "--dry-run")
    assert share["id"] in would["revoked"]
    assert [row["id"] for row in admin.json("share", "list", "shared-one")] == [share["id"]]
    ended = admin.json("share", "revoke", "shared-one", "sam")
    assert ended.keys() >= REVOKED
    assert ended["revoked"] == [share["id"]]
    with pytest.raises(client.exceptions.ClientError, match=r"NoSuchBucket|AccessDenied"):
        client.list_objects_v2(Bucket=bucket)
    assert admin("share", "revoke", share["id"], "--json", code=3).error["request_id"]


def test_groups(admin: Wio, person: Person) -> None:
    person("gus")
    admin.json("group", "create", "lab")
    assert admin.json("group", "add", "lab", "gus")["members"] == ["gus"]
    admin.json("workspace", "create", "for-lab")
    admin.json("share", "create", "for-lab", "group:lab", "--permission", "readwrite")
    assert admin.json("why", "gus", "write", "for-lab")["allowed"] is True
    assert admin.json("group", "remove", "lab", "gus").keys() >= REVOKED
    assert admin.json("why", "gus", "write", "for-lab")["allowed"] is False
    assert "lab" in [row["name"] for row in admin.json("group", "list")]
    admin.json("group", "delete", "lab")


def test_a_key_of_ones_own_with_a_scope(up: Up, admin: Wio) -> None:
    admin.json("workspace", "create", "scoped-one")
    key = admin.json(
        "key", "create", "--workspace", "scoped-one", "--permission", "read", "--expires", "30d",
        "--access-key-id", "MYOWNKEYID1234567890", "--secret-stdin",
        stdin="a-secret-of-my-own-that-is-long-enough-1\n",
    )  # fmt: skip
    assert key["access_key_id"] == "MYOWNKEYID1234567890"
    assert key["scope"] == {"workspaces": ["admin.scoped-one"], "permission": "read"}
    client = s3(up, key)
    assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == ["scoped-one"]
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.put_object(Bucket="scoped-one", Key="x", Body=b"")
    assert "MYOWNKEYID1234567890" in admin("key", "list").stdout
    assert "secret" not in admin("key", "list", "--json").stdout
    admin.json("key", "disable", key["access_key_id"])
    admin.json("key", "delete", key["access_key_id"])


def test_tokens_in_every_form(up: Up, admin: Wio) -> None:
    admin.json("workspace", "create", "token-one")
    token = admin.json(
        "token", "create", "--workspace", "token-one", "--permission", "readwrite", "--duration", "20m"
    )
    client = s3(up, token)
    client.put_object(Bucket="token-one", Key="a", Body=b"x")
    process = json.loads(admin("token", "create", "--format", "process").stdout)
    assert process.keys() == {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    assert process["Version"] == 1
    lines = admin("token", "create", "--format", "env").stdout.splitlines()
    assert f"export AWS_ENDPOINT_URL={up.facts['endpoint_url']}" in lines
    assert all(line.startswith("export AWS_") for line in lines)
    assert admin("token", "create", "--format", "mc").stdout.startswith("export MC_HOST_wio=")
    assert token["access_key_id"] in [row["access_key_id"] for row in admin.json("token", "list")]
    assert token["access_key_id"] in admin.json("token", "revoke", token["access_key_id"])["revoked"]
    with pytest.raises(client.exceptions.ClientError, match=r"InvalidAccessKeyId|InvalidToken"):
        client.list_objects_v2(Bucket="token-one")


def test_quotas_at_every_level(up: Up, admin: Wio, person: Person) -> None:
    person("quinn")
    admin.json("workspace", "create", "quinn/data")
    root = admin.json("root", "list")[0]["name"]
    for scope in (
        ["workspace", "quinn/data"],
        ["user", "quinn"],
        ["user-root", "quinn", root],
        ["root", root],
    ):
        told = admin.json("quota", "set", *scope, "--bytes", "10MiB", "--objects", "100", "--soft", "80%")
        assert told["level"] == scope[0]
        assert (told["limit_bytes"], told["limit_objects"], told["soft_limit_bytes"]) == (
            10485760,
            100,
            8388608,
        )
    shown = admin.json("quota", "show", "workspace", "quinn/data")
    assert (shown["level"], shown["used_bytes"], shown["recount_pending"]) == ("workspace", 0, False)
    assert {row["level"] for row in admin.json("quota", "show")} >= {"user"}
    raised = admin.json("quota", "set", "user", "quinn", "--bytes", "20MiB", "--for", "1h")
    assert raised["limit_bytes"] == 20 << 20
    for scope in (
        ["workspace", "quinn/data"],
        ["user", "quinn"],
        ["user-root", "quinn", root],
        ["root", root],
    ):
        assert admin.json("quota", "set", *scope, "--none")["limit_bytes"] is None
    admin.json("quota", "set", "user", "--default", "--bytes", "1TiB")
    admin.json("quota", "set", "user", "--default", "--none")
    assert isinstance(admin.json("quota", "list", "--over", "80%"), list)
    admin.json("quota", "recount", "quinn/data")
    assert "10.0 MiB" in admin("quota", "set", "workspace", "quinn/data", "--bytes", "10MiB").stdout


def test_links(admin: Wio) -> None:
    admin.json("workspace", "create", "linked")
    link = admin.json(
        "link", "create", "linked/a b.txt", "--expires", "1h", "--name", "printer", "--max-downloads", "2"
    )
    assert link.keys() >= {
        "id", "url", "name", "workspace", "key", "mode", "created_at", "expires_at", "downloads", "max_downloads"
    }  # fmt: skip
    assert admin("link", "create", "linked/box/", "--upload", "--max-bytes", "1MiB").stdout.startswith("http")
    assert link["id"] in [row["id"] for row in admin.json("link", "list")]
    assert admin.json("link", "revoke", link["id"]).keys() >= REVOKED


def test_workspaces_are_renamed_aliased_transferred_and_deleted(admin: Wio, person: Person) -> None:
    person("tess")
    admin.json("workspace", "create", "old-name")
    assert admin.json("workspace", "rename", "old-name", "new-name")["name"] == "new-name"
    assert admin.json("workspace", "alias", "new-name", "other-name")["aliases"] == ["other-name"]
    admin.json("workspace", "transfer", "new-name", "tess")
    assert admin.json("workspace", "show", "tess/new-name")["owner"] == "tess"
    assert admin("workspace", "create", "tess/new-name", "--json", code=6).error["code"]
    admin.json("workspace", "delete", "tess.new-name", "--purge")
    admin("workspace", "show", "tess/new-name", code=3)


def test_nodes_and_roots_are_shown_without_secrets(admin: Wio) -> None:
    node = admin.json("node", "list")[0]["name"]
    shown = admin("node", "show", node, "--json").stdout
    assert "secret" not in shown
    assert admin.json("node", "check", node)["checks_payload"] is True
    made = admin.json("root", "create", "second", "--node", node, "--bucket", "second", "--kind", "public")
    assert made["kind"] == "public"
    admin.json("root", "ungrant", "second", "everyone")
    granted = admin.json("root", "grant", "second", "everyone", "--permission", "create")
    assert {"principal": "everyone", "permission": "create"} in granted["grants"]
    assert admin.json("root", "update", "second", "--name", "renamed")["name"] == "renamed"
    admin.json("root", "delete", "renamed")
    assert admin("root", "show", "renamed", "--json", code=3).error["message"]


def test_the_audit_trail_tells_who_did_what(admin: Wio) -> None:
    admin.json("workspace", "create", "audited")
    rows = admin.json("audit", "--workspace", "audited")
    assert rows[0]["user"] == "admin"
    assert admin.json("audit", "verify")["ok"] is True
    assert "audited" not in admin("transfers").stderr


def test_login_and_logout(up: Up, admin: Wio, tmp_path: Path) -> None:
    admin.json("user", "create", "lou", "--password-stdin", stdin="correct horse battery\n")
    lou = Wio(tmp_path)
    url = up.facts["console_url"]
    words = ("login", "--url", url, "--username", "lou", "--password-stdin")
    assert lou(*words, "--json", stdin="wrong\n", code=4).error["code"]
    told = lou.json(*words, stdin="correct horse battery\n")
    assert told["user"] == "lou"
    assert "secret_access_key" not in told
    config = tmp_path / "config" / "wio" / "config.json"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert lou.json("whoami")["user"] == "lou"
    assert lou.json("info")["endpoint_url"] == up.facts["endpoint_url"]
    assert lou("user", "create", "nobody", "--json", code=4).error["code"] == "AccessDenied"
    secret = json.loads(config.read_text())["profiles"]["default"]
    assert lou("logout").code == 0
    assert lou("whoami", "--json", code=4).error["code"] == "NotLoggedIn"
    stale = Wio(
        tmp_path,
        WIO_URL=url,
        WIO_ACCESS_KEY_ID=secret["access_key_id"],
        WIO_SECRET_ACCESS_KEY=secret["secret_access_key"],
    )
    assert stale("whoami", "--json", code=4).error["code"] == "InvalidAccessKeyId"


def test_passwords_are_set(up: Up, admin: Wio, tmp_path: Path) -> None:
    admin.json("user", "create", "pat")
    admin("user", "set-password", "pat", "--password-stdin", stdin="another good password\n")
    words = ("login", "--url", up.facts["console_url"], "--username", "pat", "--password-stdin")
    assert Wio(tmp_path).json(*words, stdin="another good password\n")["user"] == "pat"


def test_data_goes_to_stdout_and_talk_to_stderr(admin: Wio) -> None:
    told = admin("whoami")
    assert "http" in told.stderr
    assert "http" not in told.stdout
    assert admin("whoami", "--json").stderr == ""
    assert admin("--json", "whoami").json == admin("whoami", "--json").json


def test_failures_have_codes_and_one_shape(admin: Wio, tmp_path: Path) -> None:
    assert admin("user", "show", "nobody", code=3).stdout == ""
    for words, code in (
        (["user", "show", "nobody"], 3),
        (["share", "create", "nowhere", "admin", "--permission", "read"], 3),
        (["quota", "set", "user", "admin", "--bytes", "lots"], 2),
        (["quota", "set", "nothing", "admin", "--bytes", "1"], 2),
        (["workspace", "create", "Not-A-Name"], 2),
        (["frobnicate"], 2),
        (["user"], 2),
    ):
        error = admin(*words, "--json", code=code).error
        assert error.keys() == {"code", "message", "request_id"}
        assert error["message"]
    away = Wio(
        tmp_path,
        WIO_URL=f"http://127.0.0.1:{free_port()}",
        WIO_ACCESS_KEY_ID="WIOAAAAAAAAAAAAAAAAA",
        WIO_SECRET_ACCESS_KEY="x" * 40,
    )
    assert away("whoami", "--json", code=5).error["code"] == "ServiceUnavailable"
    assert "wio up" in away("whoami", code=5).stderr


def test_doctor(admin: Wio, tmp_path: Path) -> None:
    findings = admin.json("doctor")
    assert all(finding["ok"] for finding in findings), findings
    assert [finding["check"] for finding in findings][:2] == ["configuration", "broker"]
    lost = Wio(tmp_path)("doctor", "--json", code=1).json
    assert [finding["ok"] for finding in lost if finding["check"] == "configuration"] == [False]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(admin: Wio, shell: str) -> None:
    script = admin("completion", shell).stdout
    assert "_WIO_COMPLETE" in script
    offered = Wio(
        admin.folder,
        _WIO_COMPLETE="bash_complete",
        COMP_WORDS="wio work",
        COMP_CWORD="1",
    )
    assert "workspace" in offered().stdout
