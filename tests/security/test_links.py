"""Links in the hands of somebody hostile: what their holder may not learn, nor make the gate do."""

from __future__ import annotations

import time

import httpx
from argon2 import PasswordHasher

from proxy.links.dropping import unique_name
from quota import Change
from tests.proxy.gates import Gate
from tests.proxy.test_links import HTML, Made

SAFE = {"referrer-policy": "no-referrer", "x-content-type-options": "nosniff"}


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=30)


def test_a_stranger_is_not_told_how_full_the_owner_is(gate: Gate) -> None:
    link = Made(gate, "drop/", mode="upload", workspace="wsinbox")
    gate.apply([gate.limit("w:wsinbox", bytes=1 << 30, soft_bytes=1, grace_ms=3_600_000)])
    try:
        told = gate.client().put_object(Bucket="inbox", Key="own", Body=b"x" * 100)
        told = gate.client().put_object(Bucket="inbox", Key="own", Body=b"x" * 100)
        assert "x-wio-quota-warning" in told["ResponseMetadata"]["HTTPHeaders"]
        for _ in range(2):
            stored = httpx.put(link.url("/a.txt"), content=b"x" * 100, trust_env=False)
            assert stored.status_code == 201
            assert "x-wio-quota-warning" not in stored.headers
    finally:
        gate.apply([Change("limit", "w:wsinbox", next(gate.versions), None)])


def test_a_name_of_any_length_is_shortened_at_once() -> None:
    before = time.monotonic()
    name = unique_name("é" * 3_000_000 + ".txt")
    assert time.monotonic() - before < 5
    assert name.endswith(".txt")
    assert len(name.encode()) < 220
    for given in ("../../etc/passwd", "..\\..\\x", "\u202egpj.exe", "a\0b\r\n", "...", ""):
        made = unique_name(given)
        assert not set(made) & set("/\\\0\r\n\u202e")
        assert not made.startswith(".")


def test_nothing_above_the_folder_opens(gate: Gate) -> None:
    client = gate.client()
    client.put_object(Bucket="photos", Key="docs/in.txt", Body=b"in")
    client.put_object(Bucket="photos", Key="docs2/out.txt", Body=b"out")
    link = Made(gate, "docs/")
    assert get(link.url("/docs/in.txt")).content == b"in"
    for path in (
        "%2e%2e/docs2/out.txt", "..%2fdocs2%2fout.txt", "%2e%2e%2fdocs2/out.txt", "x/..%2f..%2fdocs2/out.txt",
        "%2fdocs2%2fout.txt", "..%5cdocs2%5cout.txt", "in.txt%00", "%c0%ae%c0%ae/docs2/out.txt", "./%2e/in.txt/",
    ):  # fmt: skip
        answer = get(link.url("/docs/") + path)
        assert answer.status_code in (400, 404), (path, answer.status_code)
        assert b"out" not in answer.content
        assert SAFE.items() <= dict(answer.headers).items(), path


def test_who_is_gone_opens_nothing(gate: Gate) -> None:
    gate.client().put_object(Bucket="photos", Key="a.txt", Body=b"a")
    gate.apply([gate.user("dave"), gate.grant("photos", "u:dave", 3)])
    read, drop = Made(gate, "a.txt", user="dave"), Made(gate, "drop/", user="dave", mode="upload")

    def opened() -> tuple[int, int]:
        put = httpx.put(drop.url("/b"), content=b"b", trust_env=False, headers=HTML)
        return get(read.url("/a.txt")).status_code, put.status_code

    assert opened() == (200, 201)
    gate.delete("grant", "wsphotos|u:dave", ["s:share-photos-u-dave"])
    assert opened() == (404, 404)
    gate.apply([gate.grant("photos", "u:dave", 3)])
    assert opened() == (200, 201)
    gate.delete("user", "dave", ["u:dave"])
    assert opened() == (404, 404)


def test_a_cookie_is_found_beside_any_other_and_forged_by_nobody(gate: Gate) -> None:
    gate.client().put_object(Bucket="photos", Key="a.txt", Body=b"a")
    link = Made(gate, "a.txt", password=PasswordHasher(1, 8, 1).hash("open sesame"))
    url = link.url("/a.txt")
    opened = httpx.post(url, data={"password": "open sesame"}, trust_env=False)
    value = opened.headers["set-cookie"].partition(";")[0]
    for beside in ('a={"x": [1, 2]}', "b", 'c="' + "\\" * 4000, "é=ü"):
        sent = f"{beside}; {value}".encode()
        assert httpx.get(url, headers=[(b"cookie", sent)], trust_env=False).status_code == 200, beside
    ends, _, seal = value.partition("=")[2].partition(".")
    for forged in (f"{int(ends) + 1}.{seal}", f"{ends}.", f"{ends}.{seal[:-1]}", ends, f"٣{ends}.{seal}"):
        sent = f"wio_link={forged}".encode()
        assert httpx.get(url, headers=[(b"cookie", sent)], trust_env=False).status_code == 401, forged


def test_a_body_without_a_length_is_refused(gate: Gate) -> None:
    link = Made(gate, "nolength/", mode="upload", workspace="wsinbox", max_bytes=1000)
    answer = httpx.put(link.url("/a"), content=iter([b"x" * 5000]), trust_env=False)
    assert answer.status_code == 411
    assert "Contents" not in gate.client().list_objects_v2(Bucket="inbox", Prefix="nolength/")


def test_a_name_is_stored_as_people_read_it(gate: Gate) -> None:
    link = Made(gate, "named/", mode="upload", workspace="wsinbox")
    stored = httpx.put(link.url("/caf%C3%A9%20menu.txt"), content=b"x" * 300_000, trust_env=False)
    assert stored.status_code == 201
    (found,) = gate.client().list_objects_v2(Bucket="inbox", Prefix="named/")["Contents"]
    assert found["Key"].startswith("named/café menu")
    assert found["Key"].endswith(".txt")
    assert "%" not in found["Key"]
