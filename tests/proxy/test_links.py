"""Links for strangers, over a real proxy: what opens, what does not, and when it ends."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from argon2 import PasswordHasher

from broker.stack.child import wait_until
from quota import Change, new_access_key_id, new_secret
from tests import servers
from tests.proxy.flows import Download
from tests.proxy.gates import Gate, running_gate

HTML = {"accept": "text/html,*/*"}
HOSTILE = "<img src=x onerror=alert(1)>\"'.txt"


@pytest.fixture(scope="module")
def gate(
    minio: servers.Minio, valkey: servers.Valkey, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    with running_gate(
        minio,
        valkey,
        tmp_path_factory.mktemp("links"),
        workers=2,
        # As where TLS ends before the gate.
        WIO_PUBLIC_URL="https://s3.example.org",
    ) as running:
        client = running.client()
        for key, kind in (
            ("cat.jpg", "image/jpeg"),
            ("docs/page.html", "text/html"),
            ("docs/" + HOSTILE, "text/plain"),
            ("docs/deep/er ü.txt", "text/plain"),
            ("secret.txt", "text/plain"),
        ):
            client.put_object(Bucket="photos", Key=key, Body=key.encode() * 3, ContentType=kind)
        yield running


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=30) as client:
        yield client


class Made:
    """A link as a broker would make it."""

    def __init__(
        self, gate: Gate, key: str, *, user: str = "alice", workspace: str = "wsphotos", **more: Any
    ) -> None:
        self.gate, self.id, self.secret = gate, new_access_key_id("link"), new_secret()
        mode = more.get("mode", "read")
        self.record = {
            "kind": "link",
            "workspaces": [workspace],
            "permission": 1 if mode == "read" else 2,
            "workspace": workspace,
            "key": key,
            "mode": mode,
            "name": "",
            "password": None,
            "max_downloads": None,
            "max_bytes": None,
            **more,
        }
        self.user = user
        gate.apply([gate.key(self.id, user, self.secret, **self.record)])

    @property
    def base(self) -> str:
        return f"{self.gate.endpoint}/-/l/{self.id}.{self.secret}"

    def url(self, path: str = "/files/") -> str:
        return self.base + path

    def revoke(self) -> Any:
        return self.gate.delete("credential", self.id, [f"c:{self.id}", f"l:{self.id}"])


def test_one_object(gate: Gate, http: httpx.Client) -> None:
    url = Made(gate, "cat.jpg").url("/cat.jpg")
    whole = http.get(url)
    assert (whole.status_code, whole.content) == (200, b"cat.jpg" * 3)
    assert whole.headers["content-type"] == "image/jpeg"
    assert whole.headers["content-disposition"].startswith('inline; filename="cat.jpg"')
    assert http.get(url + "?download").headers["content-disposition"].startswith("attachment")
    assert "sandbox" in whole.headers["content-security-policy"]
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert whole.headers["referrer-policy"] == "no-referrer"
    head = http.head(url)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole.content)))
    part = http.get(url, headers={"range": "bytes=4-6"})
    assert (part.status_code, part.content) == (206, b"jpg")
    assert http.get(url, headers={"if-none-match": whole.headers["etag"]}).status_code == 304
    assert not [name for name in whole.headers if name.startswith("x-amz")]


def test_nothing_else_opens(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "cat.jpg")
    wrong = link.secret[:-1] + ("A" if link.secret[-1] != "A" else "B")
    for url in (
        link.url("/cat.jpg/secret.txt"),
        link.url("/x/%2e%2e/secret.txt"),
        f"{gate.endpoint}/-/l/{link.id}.{wrong}/cat.jpg",
        f"{gate.endpoint}/-/l/{link.id}/cat.jpg",
        f"{gate.endpoint}/-/l/{new_access_key_id('link')}.{link.secret}/cat.jpg",
        f"{gate.endpoint}/-/l/",
    ):
        assert http.get(url).status_code in (404, 400), url
    for method in ("PUT", "POST", "DELETE"):
        assert http.request(method, link.url("/cat.jpg"), content=b"x").status_code == 405
    # Its id and secret sign nothing.
    with pytest.raises(Exception, match="InvalidAccessKeyId"):
        gate.client_of(link.id, link.secret).list_buckets()


def test_a_folder_is_a_plain_page(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "docs/")
    assert http.get(link.url("/docs")).headers["location"].endswith("/docs/")
    page = http.get(link.url("/docs/"))
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "alice" not in page.text
    assert "photos" not in page.text
    links = re.findall(r'href="([^"]+)"', page.text)
    assert set(links) >= {"./deep/", "./page.html"}
    for target in links:
        assert target.startswith("./")
        got = http.get(link.url("/docs/") + target[2:])
        assert got.status_code == 200, target
    deeper = http.get(link.url("/docs/deep/"))
    assert 'href="../"' in deeper.text
    assert http.get(link.url("/docs/deep/er%20%C3%BC.txt")).text == "docs/deep/er ü.txt" * 3
    assert http.get(link.url("/docs/none/")).status_code == 404
    assert http.get(link.url("/docs/%2e%2e/secret.txt")).status_code == 404
    assert http.get(link.url("/docs/../secret.txt").replace("..", "%2E%2E")).status_code == 404


def test_content_never_runs_as_a_page_of_the_gate(gate: Gate, http: httpx.Client) -> None:
    got = http.get(Made(gate, "docs/").url("/docs/page.html"))
    assert got.headers["content-disposition"].startswith("attachment")
    assert got.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in got.headers["content-security-policy"]
    assert "allow-scripts" not in got.headers["content-security-policy"]


def test_a_page_after_the_first(gate: Gate, http: httpx.Client) -> None:
    client = gate.client()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: client.put_object(Bucket="inbox", Key=f"many/{i:04}", Body=b""), range(1005)))
    link = Made(gate, "many/", workspace="wsinbox")
    first = http.get(link.url("/many/"))
    more = re.search(r'href="(\?page=[^"]+)"', first.text)
    assert more is not None
    second = http.get(link.url("/many/") + more[1])
    assert len(re.findall(r'href="\./', first.text)) == 1000
    assert len(re.findall(r'href="\./', second.text)) == 5


def test_a_password(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "cat.jpg", password=PasswordHasher(1, 8, 1).hash("open sesame"))
    url = link.url("/cat.jpg")
    asked = http.get(url, headers=HTML)
    assert asked.status_code == 401
    assert 'type="password"' in asked.text
    assert "www-authenticate" in http.get(url).headers
    assert http.post(url, data={"password": "wrong"}, headers=HTML).status_code == 401
    opened = http.post(url, data={"password": "open sesame"})
    assert opened.status_code == 303
    assert opened.headers["location"] == urlsplit(url).path
    cookie = opened.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "; Secure" in cookie
    assert link.id in cookie
    value = cookie.partition(";")[0]
    http.cookies.clear()
    assert http.get(url, headers={"cookie": value}).status_code == 200
    other = Made(gate, "secret.txt", password=PasswordHasher(1, 8, 1).hash("open sesame"))
    assert http.get(other.url("/secret.txt"), headers={"cookie": value}).status_code == 401
    assert http.get(url, auth=("anybody", "open sesame")).content == b"cat.jpg" * 3
    assert http.get(url, auth=("anybody", "no")).status_code == 401


def test_guessing_is_bounded(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "cat.jpg", password=PasswordHasher(1, 8, 1).hash("open sesame"))
    with ThreadPoolExecutor(6) as pool:
        seen = list(
            pool.map(
                lambda i: httpx.get(link.url("/"), auth=("", f"guess{i}"), trust_env=False).status_code,
                range(16),
            )
        )
    assert sorted(set(seen)) == [401, 429]
    assert seen.count(401) == 10
    waiting = http.get(link.url("/"), auth=("", "open sesame"))
    assert waiting.status_code == 429
    assert 890 < int(waiting.headers["retry-after"]) <= 900


def test_downloads_are_counted_and_bounded(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "cat.jpg", max_downloads=3)
    url = link.url("/cat.jpg")
    # Not counted: a look, a file that has not changed, one that is not there.
    etag = http.head(url).headers["etag"]
    assert http.get(url, headers={"if-none-match": etag}).status_code == 304
    with ThreadPoolExecutor(8) as pool:
        seen = list(
            pool.map(lambda _: httpx.get(url, trust_env=False, headers={"range": "bytes=1-"}), range(9))
        )
    assert sorted(one.status_code for one in seen) == [200] * 3 + [410] * 6
    assert {one.content for one in seen if one.status_code == 200} == {b"cat.jpg" * 3}


def test_a_folder_gives_back_what_is_not_there(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "docs/", max_downloads=1)
    assert http.get(link.url("/docs/nothing")).status_code == 404
    assert http.get(link.url("/docs/page.html")).status_code == 200
    assert http.get(link.url("/docs/page.html")).status_code == 410


def test_revoked_one_by_one_under_a_running_download(gate: Gate, http: httpx.Client) -> None:
    gate.client().put_object(Bucket="photos", Key="big", Body=b"x" * (32 << 20))
    one, other = Made(gate, "big"), Made(gate, "big")
    flows = [Download(one.url("/big")), Download(other.url("/big"), pause=0.005)]
    for flow in flows:
        flow.start()
    for flow in flows:
        flow.wait_moving()
    acks = one.revoke()
    assert acks.transfers_cut == 1
    assert flows[0].wait_end() == "cut"
    assert http.get(one.url("/big")).status_code == 404
    assert flows[1].wait_end() == "whole"


def test_an_expired_link(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "big-enough", expires=int(time.time() * 1000) + 2500)
    gate.client().put_object(Bucket="photos", Key="big-enough", Body=b"x" * (32 << 20))
    flow = Download(link.url("/big-enough"))
    flow.start()
    flow.wait_moving()
    assert flow.wait_end() == "cut"
    assert http.get(link.url("/big-enough")).status_code == 404


def test_a_link_is_worth_what_its_maker_may_do(gate: Gate, http: httpx.Client) -> None:
    gate.apply([gate.grant("photos", "u:carol", 3)])
    link = Made(gate, "cat.jpg", user="carol")
    assert http.get(link.url("/cat.jpg")).status_code == 200
    gate.apply([gate.grant("photos", "u:carol", 2)], ["s:share-photos-u-carol"])
    assert http.get(link.url("/cat.jpg")).status_code == 404
    gate.apply([gate.grant("photos", "u:carol", 3)])
    assert http.get(link.url("/cat.jpg")).status_code == 200
    gate.apply([gate.user("carol", enabled=False)], ["u:carol"])
    assert http.get(link.url("/cat.jpg")).status_code == 404
    gate.apply([gate.user("carol"), Change("grant", "wsphotos|u:carol", next(gate.versions), None)])


def test_a_drop_box(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "drop/", mode="upload", workspace="wsinbox", max_bytes=200_000)
    page = http.get(link.url("/"), headers=HTML)
    assert page.status_code == 200
    assert 'type="file"' in page.text
    # The same name twice is two files, and names are names, not paths.
    names = [http.put(link.url("/drop/a.txt"), content=b"one%d" % i).text.strip() for i in range(2)]
    names.append(http.post(link.url("/drop/"), files={"file": ("../../x/b.png", b"b" * 70_000)}).text.strip())
    assert len(set(names)) == 3
    client = gate.client()
    keys = {
        one["Key"]: one["Size"] for one in client.list_objects_v2(Bucket="inbox", Prefix="drop/")["Contents"]
    }
    assert keys == {f"drop/{names[0]}": 4, f"drop/{names[1]}": 4, f"drop/{names[2]}": 70_000}
    assert re.fullmatch(r"a-[a-z2-7]{13}\.txt", names[0])
    assert re.fullmatch(r"b-[a-z2-7]{13}\.png", names[2])
    assert client.get_object(Bucket="inbox", Key=f"drop/{names[2]}")["Body"].read() == b"b" * 70_000
    # A name that runs is stored as one, and told to nobody as a page.
    told = http.post(link.url("/"), files={"file": (HOSTILE, b"x")}, headers=HTML)
    assert told.status_code == 200
    assert "<img" not in told.text
    # Nothing can be read, listed or overwritten.
    assert http.get(link.url(f"/drop/{names[0]}")).status_code == 405
    assert http.delete(link.url(f"/drop/{names[0]}")).status_code == 405
    # Together they have a size, and what was refused does not count.
    assert http.put(link.url("/drop/c"), content=b"c" * 150_000).status_code == 413
    assert http.put(link.url("/drop/c"), content=b"c" * 120_000).status_code == 201
    assert http.put(link.url("/drop/c"), content=b"c" * 20_000).status_code == 413


def test_a_file_of_many_pieces_arrives_whole(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "large/", mode="upload", workspace="wsinbox")
    content = bytes(range(256)) * 12_000
    sent = [
        http.post(link.url("/large/"), files={"file": ("form.bin", content)}),
        http.put(link.url("/large/put.bin"), content=content),
    ]
    for reply in sent:
        assert reply.status_code in (200, 201), reply.text
        found = gate.client().get_object(Bucket="inbox", Key=f"large/{reply.text.strip()}")
        assert found["Body"].read() == content


def test_a_drop_box_is_under_the_owners_quota(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "quota/", mode="upload", workspace="wsinbox")
    used = gate.charged("w:wsinbox")[0]
    gate.apply([Change("limit", "w:wsinbox", next(gate.versions), {"bytes": used + 1000, "objects": None})])
    try:
        refused = http.put(link.url("/x/big"), content=b"x" * 2000)
        assert refused.status_code == 413
        assert str(used) not in refused.text
        assert http.put(link.url("/x/small"), content=b"x" * 500).status_code == 201
    finally:
        gate.apply([Change("limit", "w:wsinbox", next(gate.versions), None)])


def test_what_does_not_fit_behind_the_prefix_does_not_tell_how_long_it_is(
    gate: Gate, http: httpx.Client
) -> None:
    folder = ("f" * 204 + "/") * 4
    room = str(1024 - len(gate.prefix("inbox")))
    box = Made(gate, folder, mode="upload", workspace="wsinbox")
    refused = http.put(box.url("/x/" + "n" * 200), content=b"x")
    assert (refused.status_code, refused.text) == (400, "The name of this file is too long.\n")
    assert http.put(box.url("/x/" + "n" * 20), content=b"x").status_code == 201
    folder_of = Made(gate, folder)
    for path in ("/files/" + "n" * 190, "/files/" + "n" * 190 + "/"):
        missing = http.get(folder_of.url(path))
        assert missing.status_code == 404
        assert room not in missing.text


def test_a_form_cut_short_stores_nothing(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "short/", mode="upload", workspace="wsinbox")
    head = b'--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\n'
    for body in (
        head + b"x" * 50,
        head + b"x" * 5000 + b"\r\n--c--\r\n",
        head + b"x" * 200_000 + b"\r\n--b\r\nmore",
    ):
        answer = http.post(
            link.url("/"), content=body, headers={"content-type": "multipart/form-data; boundary=b"}
        )
        assert answer.status_code >= 400
    assert "Contents" not in gate.client().list_objects_v2(Bucket="inbox", Prefix="short/")
    wait_until(lambda: gate.usage("w:wsinbox")["hb"] == 0, time.monotonic() + 10)
    assert gate.usage("w:wsinbox")["hb"] == 0


def test_curl_sends_and_fetches(gate: Gate, tmp_path: Path) -> None:
    source = tmp_path / "report.pdf"
    source.write_bytes(b"p" * 300_000)
    box = Made(gate, "curl/", mode="upload", workspace="wsinbox")
    command = ["curl", "-sSf", "-T", str(source), box.url("/drop/")]
    name = subprocess.run(
        command, env=servers.clean_env(), capture_output=True, check=True, text=True
    ).stdout.strip()
    link = Made(gate, f"curl/{name}", workspace="wsinbox")
    command = ["curl", "-sSfOJ", link.url("/report.pdf")]
    subprocess.run(command, env=servers.clean_env(), cwd=tmp_path, check=True)
    assert (tmp_path / name).read_bytes() == source.read_bytes()


def test_no_token_reaches_the_log(gate: Gate, http: httpx.Client) -> None:
    link = Made(gate, "cat.jpg", password=PasswordHasher(1, 8, 1).hash("open sesame"))
    http.get(link.url("/cat.jpg"), auth=("", "open sesame"))

    def logged() -> bool:
        return any(one.get("access_key_id") == link.id for one in gate.log_lines())

    wait_until(logged, time.monotonic() + 5)
    assert logged()
    said = gate.log.read_text()
    assert link.secret not in said
    assert "sesame" not in said
    assert base64.b64encode(b":open sesame").decode() not in said
    assert json.dumps(link.id) in said
