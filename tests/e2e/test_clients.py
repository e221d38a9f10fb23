"""The main job with real clients: files go in and out by every kind of credential, and scopes hold."""

from __future__ import annotations

import filecmp
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.e2e.newcomer import PARTS, Person, Stack, aws_environment, boto, buckets, error_of, fetch, user

MIB = 1 << 20


@pytest.fixture(scope="module")
def photos(admin: Person) -> str:
    """A workspace of the admin's."""
    return str(admin.json("workspace", "create", "photos")["name"])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of 200 MiB, no two parts of which are alike."""
    path = tmp_path_factory.mktemp("large") / "film.bin"
    with path.open("wb") as file:
        for _ in range(25):
            file.write(os.urandom(8 * MIB))
    yield path
    path.unlink()


def test_what_is_printed_can_be_pasted(stack: Stack, admin: Person, photos: str) -> None:
    (admin.folder / "README.md").write_text("read me")
    admin.wio("mc", "cp", "README.md", "photos/")
    assert "README.md" in admin.wio("mc", "ls", "photos/").out
    exports = admin.wio("token", "create", "--format", "env").out
    told = admin.run("sh", "-c", f"{exports}\naws s3 ls s3://photos")
    assert "README.md" in told.out


def test_aws_with_a_key(admin: Person, photos: str) -> None:
    key = admin.key("--name", "aws")
    (admin.folder / "cat.jpg").write_bytes(b"meow" * 1000)
    admin.aws("s3", "cp", "cat.jpg", "s3://photos/aws/cat.jpg", by=key)
    assert "cat.jpg" in admin.aws("s3", "ls", "s3://photos/aws/", by=key).out
    assert "photos" in admin.aws("s3", "ls", by=key).out
    admin.aws("s3", "cp", "s3://photos/aws/cat.jpg", "back.jpg", by=key)
    assert (admin.folder / "back.jpg").read_bytes() == b"meow" * 1000


def test_mc_with_an_alias_and_with_a_session(stack: Stack, admin: Person, photos: str) -> None:
    key = admin.key("--name", "mc")
    (admin.folder / "dog.jpg").write_bytes(b"woof")
    admin.run(
        "mc", "alias", "set", "gate", stack.endpoint,
        stdin=f"{key['access_key_id']}\n{key['secret_access_key']}\n",
    )  # fmt: skip
    admin.run("mc", "cp", "dog.jpg", "gate/photos/mc/dog.jpg")
    assert "dog.jpg" in admin.run("mc", "ls", "gate/photos/mc/").out
    line = admin.wio("token", "create", "--format", "mc").out
    name, value = shlex.split(line)[1].split("=", 1)
    stack.secrets.update(value.rpartition("@")[0].split(":")[-2:])
    fresh = {name: value}
    admin.run("mc", "cp", "dog.jpg", "wio/photos/mc/by-session.jpg", **fresh)
    assert "by-session.jpg" in admin.run("mc", "ls", "wio/photos/mc/", **fresh).out
    assert admin.run("mc", "cat", "wio/photos/mc/dog.jpg", **fresh).out == "woof"


def sources(stack: Stack, admin: Person, how: str) -> Any:
    """A boto3 client whose credentials came in one of the ways that people use."""
    if how == "key":
        return boto(stack, admin.key("--name", "boto"))
    if how == "token":
        return boto(stack, admin.token("--duration", "1h"))
    if how == "assume-role":
        told = admin.aws(
            "sts", "assume-role", "--role-session-name", "me", "--role-arn", "arn:wio:iam:::role/all",
            by=admin.key("--name", "sts"),
        ).json["Credentials"]  # fmt: skip
        return boto(
            stack,
            {
                "access_key_id": told["AccessKeyId"],
                "secret_access_key": told["SecretAccessKey"],
                "session_token": told["SessionToken"],
            },
        )
    raise AssertionError(how)


@pytest.mark.parametrize("how", ["key", "token", "assume-role"])
def test_boto3_moves_200_mib_in_parts(
    how: str, stack: Stack, admin: Person, photos: str, large: Path, tmp_path: Path
) -> None:
    client = sources(stack, admin, how)
    client.upload_file(str(large), photos, f"{how}/film.bin", Config=PARTS)
    head = client.head_object(Bucket=photos, Key=f"{how}/film.bin")
    assert head["ContentLength"] == 200 * MIB
    assert head["ETag"].endswith('-13"')
    back = tmp_path / "back.bin"
    client.download_file(photos, f"{how}/film.bin", str(back), Config=PARTS)
    assert filecmp.cmp(large, back, shallow=False)
    back.unlink()
    client.delete_object(Bucket=photos, Key=f"{how}/film.bin")


@pytest.fixture(scope="module")
def profiles(stack: Stack, admin: Person, photos: str) -> dict[str, str]:
    """~/.aws with three profiles: a key, a role over it whose ARN is the scope, and a credential_process."""
    key = admin.key("--name", "profile")
    folder = admin.folder / ".aws"
    folder.mkdir()
    (folder / "credentials").write_text(
        f"[base]\naws_access_key_id = {key['access_key_id']}\n"
        f"aws_secret_access_key = {key['secret_access_key']}\n"
    )
    common = f"endpoint_url = {stack.endpoint}\nregion = us-east-1\n"
    (folder / "config").write_text(
        f"[profile base]\n{common}"
        f"[profile reader]\nrole_arn = arn:wio:iam:::role/admin.photos/read\nsource_profile = base\n{common}"
        f"[profile wio]\ncredential_process = {stack.bin}/wio token create --format process\n{common}"
    )
    return {
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
    }


def test_a_plain_profile_with_a_role_is_held_to_its_scope(
    stack: Stack, admin: Person, profiles: dict[str, str]
) -> None:
    admin.json("workspace", "create", "diary")
    (admin.folder / "note.txt").write_text("dear diary")

    def aws(*words: str) -> str:
        return admin.run("aws", *words).out

    def refused(*words: str) -> str:
        return admin.fails("aws", *words, "--profile", "reader")

    aws("s3", "cp", "note.txt", "s3://photos/note.txt", "--profile", "base")
    assert "note.txt" in aws("s3", "ls", "s3://photos/", "--profile", "reader")
    assert aws("s3", "cp", "s3://photos/note.txt", "-", "--profile", "reader") == "dear diary"
    write = refused("s3", "cp", "note.txt", "s3://photos/other.txt")
    assert "AccessDenied" in write
    assert "readwrite" in write
    assert "AccessDenied" in refused("s3", "ls", "s3://diary/")
    assert aws("s3", "ls", "--profile", "reader").split()[2:] == ["photos"]
    assert '"arn:wio:sts:::assumed-role/' in aws("sts", "get-caller-identity", "--profile", "reader")


def test_boto3_reads_the_same_profiles(
    stack: Stack, profiles: dict[str, str], photos: str, monkeypatch: pytest.MonkeyPatch, admin: Person
) -> None:
    for name, value in (profiles | {"WIO_DIR": str(stack.up.folder)}).items():
        monkeypatch.setenv(name, value)
    quick = Config(retries={"total_max_attempts": 1})
    for profile in ("reader", "wio"):
        client = boto3.Session(profile_name=profile).client("s3", config=quick)
        client.list_objects_v2(Bucket=photos)
        if profile == "wio":
            client.put_object(Bucket=photos, Key="by-process", Body=b"x")
        else:
            assert error_of(client.put_object, Bucket=photos, Key="no", Body=b"")[:2] == (403, "AccessDenied")


def test_every_format_of_a_token_is_a_session(stack: Stack, admin: Person, photos: str) -> None:
    exports = admin.wio("token", "create", "--format", "env").out.splitlines()
    environment = dict(shlex.split(line)[1].split("=", 1) for line in exports)
    assert environment["AWS_ENDPOINT_URL"] == stack.endpoint
    assert "photos" in admin.run("aws", "s3", "ls", **environment).out
    process = admin.wio("token", "create", "--format", "process").json
    assert process["Version"] == 1
    assert photos in buckets(
        boto(
            stack,
            {
                "access_key_id": process["AccessKeyId"],
                "secret_access_key": process["SecretAccessKey"],
                "session_token": process["SessionToken"],
            },
        )
    )
    assert photos in buckets(boto(stack, admin.wio("token", "create", "--format", "json").json))


def test_a_scoped_key_reaches_its_workspace_and_permission_only(
    stack: Stack, admin: Person, photos: str
) -> None:
    admin.json("workspace", "create", "scope-a")
    admin.json("workspace", "create", "scope-b")
    boto(stack, admin.key()).put_object(Bucket="scope-a", Key="x", Body=b"x")
    reader = boto(stack, admin.key("--workspace", "scope-a", "--permission", "read"))
    assert buckets(reader) == ["scope-a"]
    assert reader.get_object(Bucket="scope-a", Key="x")["Body"].read() == b"x"
    status, code, message = error_of(reader.put_object, Bucket="scope-a", Key="y", Body=b"")
    assert (status, code) == (403, "AccessDenied")
    assert "readwrite on scope-a" in message
    status, code, message = error_of(reader.list_objects_v2, Bucket="scope-b")
    assert (status, code) == (403, "AccessDenied")
    assert "limited to other workspaces" in message
    assert error_of(reader.create_bucket, Bucket="scope-new")[:2] == (403, "AccessDenied")


def test_what_is_made_from_a_scoped_key_is_never_wider(stack: Stack, admin: Person) -> None:
    admin.json("workspace", "create", "narrow")
    admin.json("workspace", "create", "beside")
    key = admin.key("--workspace", "narrow", "--permission", "read")
    narrow = Person(
        stack,
        admin.folder / "narrow",
        WIO_URL=stack.console,
        WIO_ACCESS_KEY_ID=key["access_key_id"],
        WIO_SECRET_ACCESS_KEY=key["secret_access_key"],
    )
    session = boto(stack, narrow.token())
    assert buckets(session) == ["narrow"]
    assert error_of(session.put_object, Bucket="narrow", Key="y", Body=b"")[1] == "AccessDenied"
    for words in (("--workspace", "beside"), ("--permission", "own")):
        told = narrow.run("wio", "token", "create", *words, "--json", code=None)
        if told.code == 0:
            made = boto(stack, told.json)
            assert buckets(made) == ["narrow"]
            assert error_of(made.put_object, Bucket="narrow", Key="y", Body=b"")[1] == "AccessDenied"
        else:
            assert told.code in (3, 4), told
    roles = narrow.aws_fails(
        "sts", "assume-role", "--role-session-name", "me", "--role-arn", "arn:wio:iam:::role/admin.beside/own",
        by=key,
    )  # fmt: skip
    assert "AccessDenied" in roles
    assert narrow.json("share", "create", "narrow", "everyone", "--permission", "read", code=4)["error"][
        "message"
    ]
    assert narrow.json("user", "create", "sneaky", code=4)["error"]["message"]


def test_a_wrong_role_or_a_policy_is_refused_never_ignored(admin: Person) -> None:
    key = admin.key()
    words = ("sts", "assume-role", "--role-session-name", "me", "--role-arn")
    assert "arn:wio:iam:::role/all" in admin.aws_fails(*words, "arn:aws:iam::123456789012:role/x", by=key)
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    assert "not supported" in admin.aws_fails(*words, "arn:wio:iam:::role/all", "--policy", policy, by=key)


def test_aws_presign_works_once_it_signs_with_v4(
    stack: Stack, admin: Person, photos: str, tmp_path: Path
) -> None:
    """Given awscli v1, which presigns with SigV2 in us-east-1, its URL is refused with what to set."""
    key = admin.key("--name", "presign")
    boto(stack, key).put_object(Bucket=photos, Key="lent.txt", Body=b"for a while")
    url = admin.aws("s3", "presign", "s3://photos/lent.txt", by=key).out.strip()
    status, said = fetch(url)
    assert status == 400
    assert b"signature_version" in said
    config = tmp_path / "config"
    config.write_text("[default]\ns3 =\n    signature_version = s3v4\n")
    environment = aws_environment(stack, key) | {"AWS_CONFIG_FILE": str(config)}
    url = admin.run("aws", "s3", "presign", "s3://photos/lent.txt", **environment).out.strip()
    assert fetch(url) == (200, b"for a while")


def test_workspaces_made_for_others_are_theirs(stack: Stack, admin: Person) -> None:
    nora = user(admin, "nora")
    admin.json("workspace", "create", "nora/books")
    assert buckets(boto(stack, nora.key())) == ["books"]
