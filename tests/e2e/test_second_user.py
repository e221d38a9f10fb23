"""What the second user sees: a share opens, narrows and closes; the very next request knows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, IncompleteReadError, ResponseStreamingError

from broker.stack.child import wait_until
from tests.e2e.newcomer import Person, Stack, boto, buckets, error_of, fetch, own_key, user

_numbers = count(1)


@pytest.fixture(scope="module")
def mary(admin: Person) -> Person:
    """Somebody who owns nothing at first."""
    return user(admin, "mary")


@pytest.fixture(scope="module")
def mine(stack: Stack, admin: Person) -> Any:
    """The admin's S3 client."""
    return boto(stack, admin.key("--name", "second-user"))


@pytest.fixture(scope="module")
def hers(stack: Stack, mary: Person) -> Any:
    """Mary's S3 client."""
    return boto(stack, own_key(mary))


@pytest.fixture
def album(admin: Person, mine: Any) -> Iterator[str]:
    """A fresh workspace of the admin's with one photo, by the name that others call it."""
    name = f"album-{next(_numbers)}"
    admin.json("workspace", "create", name)
    mine.put_object(Bucket=name, Key="cat.jpg", Body=b"meow")
    yield f"admin.{name}"
    admin.json("workspace", "delete", name, "--purge")


def reads(client: Any, bucket: str) -> bool:
    """Whether the photo can be read. A refusal is AccessDenied, or NoSuchBucket where nothing may be known; and what
    is under way when a share ends is cut."""
    try:
        return bool(client.get_object(Bucket=bucket, Key="cat.jpg")["Body"].read() == b"meow")
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "NoSuchBucket"):
            raise
        return False
    except (ConnectionClosedError, ResponseStreamingError):
        return False


def test_a_share_opens_and_closes(stack: Stack, admin: Person, mary: Person, hers: Any, album: str) -> None:
    unknown = error_of(hers.get_object, Bucket="admin.no-such-thing", Key="cat.jpg")
    hidden = error_of(hers.get_object, Bucket=album, Key="cat.jpg")
    assert hidden[:2] == unknown[:2]
    assert hidden[2].replace(album, "") == unknown[2].replace("admin.no-such-thing", "")
    share = admin.json("share", "create", album, "mary", "--permission", "read")
    assert buckets(hers) == [album]
    assert album in mary.aws("s3", "ls", by=own_key(mary)).out
    assert reads(hers, album)
    status, code, message = error_of(hers.put_object, Bucket=album, Key="dog.jpg", Body=b"woof")
    assert (status, code) == (403, "AccessDenied")
    assert f"readwrite on {album}" in message
    assert "your share gives read" in message
    told = mary.fails("wio", "mc", "rm", f"{album}/cat.jpg")
    assert "readwrite" in told
    url = hers.generate_presigned_url("get_object", Params={"Bucket": album, "Key": "cat.jpg"})
    stack.note(url)
    assert fetch(url) == (200, b"meow")
    ended = admin.json("share", "revoke", album, "mary")
    assert ended["revoked"] == [share["id"]]
    assert not reads(hers, album)
    status, body = fetch(url)
    assert status in (403, 404)
    assert b"meow" not in body
    assert buckets(hers) == []
    assert not admin.json("why", "mary", "read", f"{album}/cat.jpg")["allowed"]


def test_readwrite_and_own_give_what_they_say(admin: Person, mary: Person, hers: Any, album: str) -> None:
    admin.json("share", "create", album, "mary", "--permission", "readwrite")
    hers.put_object(Bucket=album, Key="dog.jpg", Body=b"woof")
    hers.copy_object(Bucket=album, Key="copy.jpg", CopySource={"Bucket": album, "Key": "dog.jpg"})
    hers.delete_object(Bucket=album, Key="dog.jpg")
    assert error_of(hers.delete_bucket, Bucket=album)[1] in ("AccessDenied", "BucketNotEmpty")
    assert mary.json("share", "create", album, "everyone", "--permission", "read", code=4)["error"]["message"]
    admin.json("share", "create", album, "mary", "--permission", "own")
    shared = mary.json("share", "create", album, "everyone", "--permission", "read")
    mary.json("share", "revoke", shared["id"])


def test_a_downgrade_takes_away_at_once(admin: Person, hers: Any, album: str) -> None:
    share = admin.json("share", "create", album, "mary", "--permission", "readwrite")
    hers.put_object(Bucket=album, Key="dog.jpg", Body=b"woof")
    admin.json("share", "update", share["id"], "--permission", "read")
    assert error_of(hers.put_object, Bucket=album, Key="dog.jpg", Body=b"")[1] == "AccessDenied"
    assert reads(hers, album)


def test_a_share_expires_by_itself(admin: Person, hers: Any, album: str) -> None:
    share = admin.json("share", "create", album, "mary", "--permission", "read", "--expires", "4s")
    assert share["expires_at"]
    assert reads(hers, album)
    assert wait_until(lambda: not reads(hers, album), time.monotonic() + 20)
    assert album not in buckets(hers)


def test_a_group_and_everyone(stack: Stack, admin: Person, hers: Any, album: str) -> None:
    admin.json("group", "create", "darkroom")
    admin.json("share", "create", album, "group:darkroom", "--permission", "read")
    assert not reads(hers, album)
    admin.json("group", "add", "darkroom", "mary")
    assert reads(hers, album)
    admin.json("group", "remove", "darkroom", "mary")
    assert not reads(hers, album)
    admin.json("group", "add", "darkroom", "mary")
    assert reads(hers, album)
    admin.json("group", "delete", "darkroom")
    assert not reads(hers, album)
    admin.json("share", "create", album, "everyone", "--permission", "read")
    assert reads(hers, album)
    status, _ = fetch(f"{stack.endpoint}/{album}/cat.jpg")
    assert status == 403  # everyone is every signed-in user
    admin.json("share", "revoke", album, "everyone")
    assert not reads(hers, album)


def test_a_reshare_dies_with_what_it_came_from(
    stack: Stack, admin: Person, mary: Person, hers: Any, album: str
) -> None:
    zoe = user(admin, "zoe")
    zoes = boto(stack, own_key(zoe))
    first = admin.json("share", "create", album, "mary", "--permission", "own", "--expires", "1h")
    second = mary.json("share", "create", album, "zoe", "--permission", "read", "--expires", "30m")
    assert second["parent_id"] == first["id"]
    assert second["created_by"] == "mary"
    assert reads(zoes, album)
    would = admin.json("share", "revoke", album, "mary", "--dry-run")
    assert set(would["revoked"]) == {first["id"], second["id"]}
    assert reads(zoes, album)
    ended = admin.json("share", "revoke", album, "mary")
    assert set(ended["revoked"]) == {first["id"], second["id"]}
    assert not reads(zoes, album)
    assert not reads(hers, album)


def test_a_disabled_user_is_out_with_everything(stack: Stack, admin: Person, album: str) -> None:
    dan = user(admin, "dan")
    admin.json("share", "create", album, "dan", "--permission", "read")
    clients = [boto(stack, own_key(dan)), boto(stack, dan.token())]
    url = clients[0].generate_presigned_url("get_object", Params={"Bucket": album, "Key": "cat.jpg"})
    stack.note(url)
    assert all(reads(client, album) for client in clients)
    admin.json("user", "disable", "dan")
    for client in clients:
        assert error_of(client.get_object, Bucket=album, Key="cat.jpg")[0] == 403
        assert error_of(client.list_buckets)[0] == 403
    assert fetch(url)[0] == 403
    assert dan.json("whoami", code=4)["error"]["message"]
    admin.json("user", "enable", "dan")
    assert reads(clients[0], album)


@pytest.mark.parametrize("how", ["disable", "delete"])
def test_a_key_that_ends_takes_its_sessions_and_urls_along(
    how: str, stack: Stack, admin: Person, mary: Person, hers: Any, album: str
) -> None:
    admin.json("share", "create", album, "mary", "--permission", "read")
    key = mary.key("--name", "to end")
    by_key = Person(
        stack,
        mary.folder / how,
        WIO_URL=stack.console,
        WIO_ACCESS_KEY_ID=key["access_key_id"],
        WIO_SECRET_ACCESS_KEY=key["secret_access_key"],
    )
    session = by_key.token()
    clients = [boto(stack, key), boto(stack, session)]
    url = clients[0].generate_presigned_url("get_object", Params={"Bucket": album, "Key": "cat.jpg"})
    stack.note(url)
    assert all(reads(client, album) for client in clients)
    ended = mary.json("key", how, key["access_key_id"])
    assert ended["sessions"] == 1
    for client in clients:
        assert error_of(client.get_object, Bucket=album, Key="cat.jpg")[:2] == (403, "InvalidAccessKeyId")
    assert fetch(url)[0] == 403
    assert by_key.json("whoami", code=4)["error"]["code"] in ("InvalidAccessKeyId", "AccessDenied")
    assert session["access_key_id"] not in [row["access_key_id"] for row in mary.json("token", "list")]
    assert reads(hers, album)


def test_a_session_ends_alone(stack: Stack, admin: Person, mary: Person, hers: Any, album: str) -> None:
    admin.json("share", "create", album, "mary", "--permission", "read")
    session = mary.token()
    client = boto(stack, session)
    assert reads(client, album)
    assert mary.json("token", "revoke", session["access_key_id"])["revoked"] == [session["access_key_id"]]
    assert error_of(client.get_object, Bucket=album, Key="cat.jpg")[0] == 403
    assert reads(hers, album)
    wrong = boto(stack, session | {"session_token": "x" * 40})
    assert error_of(wrong.list_buckets)[0] in (400, 403)


def test_a_revoke_ends_a_download_in_its_middle(admin: Person, mine: Any, hers: Any, album: str) -> None:
    mine.put_object(Bucket=album, Key="film", Body=b"x" * (32 << 20))
    admin.json("share", "create", album, "mary", "--permission", "read")
    body = hers.get_object(Bucket=album, Key="film")["Body"]
    assert body.read(1 << 16)
    ended = admin.json("share", "revoke", album, "mary")
    assert ended["transfers_cut"] == 1
    with pytest.raises((ResponseStreamingError, IncompleteReadError, ConnectionError)):
        body.read()
