"""Every command of mc's that touches objects or buckets, driven for real."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests import servers
from tests.cli.conftest import Wio
from tests.clients.conftest import Person, clear, same


class Mc:
    """mc with one alias, `wio`, from the environment, as it takes sessions too."""

    def __init__(self, person: Person) -> None:
        self.person = person
        token = f":{person.token}" if person.token else ""
        host = (
            f"http://{person.access_key_id}:{person.secret}{token}@{person.endpoint.removeprefix('http://')}"
        )
        self.host = {"MC_HOST_wio": host}

    def __call__(self, *words: str | Path, stdin: bytes = b"", code: int | None = 0) -> str:
        return self.person.run("mc", *words, stdin=stdin, code=code, **self.host)

    def json(self, *words: str | Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self("--json", *words).splitlines()]

    def keys(self, path: str) -> list[str]:
        return sorted(row["key"] for row in self.json("ls", "--recursive", path))

    @contextmanager
    def background(self, *words: str | Path) -> Iterator[Path]:
        """Run a command that does not end by itself; gives the file with what it says."""
        said = self.person.home / "said.txt"
        with said.open("wb") as out:
            process = subprocess.Popen(
                [servers.find_program("mc"), *map(str, words)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                cwd=self.person.home, env=self.person.environment(**self.host),
            )  # fmt: skip
        try:
            yield said
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def mc(jane: Person) -> Mc:
    return Mc(jane)


def eventually(condition: Any, said: Path | None = None, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, said.read_text() if said else "it did not come about"
        time.sleep(0.1)


TREE = ["a.txt", "people.csv", "sub/big.bin", "sub/ü +x&y.txt"]


def test_copy_look_and_remove(mc: Mc, bucket: str) -> None:
    there, home = f"wio/{bucket}", mc.person.home
    mc("cp", "--recursive", "tree/", f"{there}/tree/")
    assert mc.keys(there) == [f"tree/{name}" for name in TREE]
    assert mc("cat", f"{there}/tree/a.txt") == "hello\n"
    assert mc("head", "-n", "2", f"{there}/tree/people.csv") == "name,age\nann,30\n"
    assert [row["key"] for row in mc.json("ls", f"{there}/tree/")] == ["a.txt", "people.csv", "sub/"]
    (facts,) = mc.json("stat", f"{there}/tree/sub/big.bin")
    assert facts["size"] == 18_000_000
    mc("stat", there)
    assert f"{there}/tree/a.txt" in mc("find", there, "--name", "*.txt")
    assert mc("find", there, "--larger", "1MB").strip() == f"{there}/tree/sub/big.bin"
    (size,) = mc.json("du", there)
    assert (size["size"], size["objects"]) == (18_000_033, 4)
    assert "big.bin" in mc("tree", "--files", there)
    assert mc("diff", "tree", f"{there}/tree") == ""
    mc("mv", f"{there}/tree/a.txt", f"{there}/moved.txt")
    assert mc("cat", f"{there}/moved.txt") == "hello\n"
    mc("pipe", f"{there}/piped", stdin=b"from stdin")
    assert mc("cat", f"{there}/piped") == "from stdin"
    mc("cp", "--attr", "who=me;Cache-Control=no-store", "tree/a.txt", f"{there}/attributes")
    (facts,) = mc.json("stat", f"{there}/attributes")
    assert facts["metadata"]["X-Amz-Meta-Who"] == "me"
    mc("tag", "set", f"{there}/piped", "colour=blue")
    assert mc.json("tag", "list", f"{there}/piped")[0]["tagset"] == {"colour": "blue"}
    mc("tag", "remove", f"{there}/piped")
    mc("cp", f"{there}/tree/sub/big.bin", "big.bin")
    assert (home / "big.bin").read_bytes() == (home / "tree/sub/big.bin").read_bytes()
    mc("mv", "--recursive", f"{there}/tree/", f"{there}/other/")
    mc("rm", f"{there}/piped")
    mc("rm", "--recursive", "--force", f"{there}/other/")
    assert mc.keys(there) == ["attributes", "moved.txt"]
    mc("ls", "--versions", there)
    mc("ls", "--incomplete", there)


def test_buckets_aliases_and_readiness(mc: Mc, admin: Wio) -> None:
    mc("mb", "wio/made-here")
    mc("mb", "--ignore-existing", "wio/made-here")
    assert admin.json("workspace", "show", "made-here")["name"] == "made-here"
    assert "made-here/" in [row["key"] for row in mc.json("ls", "wio")]
    assert "successfully" not in mc("mb", "wio/-no-name-", code=1)
    person = mc.person
    mc("alias", "set", "mine", person.endpoint, person.access_key_id, person.secret)
    assert mc("ls", "mine/made-here") == ""
    mc("alias", "set", "other", person.endpoint, person.access_key_id, "wrong-secret", code=1)
    mc("ready", "wio")
    assert mc.json("quota", "info", "wio/made-here")[0].get("quota", 0) == 0
    admin("quota", "set", "workspace", "made-here", "--bytes", "1GiB")
    assert mc.json("quota", "info", "wio/made-here")[0]["quota"] == 1024**3
    mc("quota", "set", "wio/made-here", "--size", "2GiB", code=1)
    mc("admin", "info", "wio", code=1)
    mc("pipe", "wio/made-here/x", stdin=b"x")
    mc("rb", "wio/made-here", code=1)
    mc("rb", "--force", "wio/made-here")
    assert "made-here/" not in [row["key"] for row in mc.json("ls", "wio")]


def test_mirror_both_ways(mc: Mc, bucket: str) -> None:
    home = mc.person.home
    mc("mirror", "tree", f"wio/{bucket}")
    assert mc.keys(f"wio/{bucket}") == TREE
    mc("mirror", f"wio/{bucket}", "back")
    same(home / "tree", home / "back")
    (home / "tree/a.txt").unlink()
    (home / "tree/people.csv").write_text("changed,now\n")
    mc("mirror", "--overwrite", "--remove", "tree", f"wio/{bucket}")
    assert mc.keys(f"wio/{bucket}") == TREE[1:]
    assert mc("cat", f"wio/{bucket}/people.csv") == "changed,now\n"
    mc("mirror", f"wio/{bucket}/sub", f"wio/{bucket}/copied")
    assert f"wio/{bucket}/copied/big.bin" in mc("find", f"wio/{bucket}/copied")


def test_select(mc: Mc, bucket: str) -> None:
    mc("cp", "tree/people.csv", f"wio/{bucket}/")
    query = "select s.name from s3object s where cast(s.age as int) > 25"
    assert mc("sql", "--query", query, f"wio/{bucket}/people.csv").strip() == "ann"


def test_watch(mc: Mc, bucket: str) -> None:
    with mc.background("--json", "watch", f"wio/{bucket}") as said:
        # Nothing tells when mc listens but an event that it shows.
        def seen(word: str) -> bool:
            return word in said.read_text()

        def poke() -> bool:
            mc("pipe", f"wio/{bucket}/poke", stdin=b"x")
            return seen("poke")

        eventually(poke, said)
        mc("pipe", f"wio/{bucket}/made", stdin=b"x")
        mc("rm", f"wio/{bucket}/made")
        eventually(lambda: seen("ObjectRemoved:Delete"), said)
    rows = [json.loads(line) for line in said.read_text().splitlines()]
    events = [row["events"] for row in rows if row["events"]["path"].endswith("/made")]
    assert [event["type"] for event in events] == ["s3:ObjectCreated:Put", "s3:ObjectRemoved:Delete"]
    assert events[0]["path"] == f"{mc.person.endpoint}/{bucket}/made"


def test_mirror_and_watch(mc: Mc, bucket: str) -> None:
    home = mc.person.home
    clear(home / "down")
    with mc.background("mirror", "--watch", "--overwrite", f"wio/{bucket}", "down") as said:

        def arrived() -> bool:
            mc("pipe", f"wio/{bucket}/later.txt", stdin=b"later")
            return (home / "down/later.txt").exists()

        eventually(arrived, said)
    clear(home / "up")
    with mc.background("mirror", "--watch", "--overwrite", "--remove", "up", f"wio/{bucket}/up") as said:

        def sent() -> bool:
            (home / "up/new.txt").write_text("new")
            return "up/new.txt" in mc.keys(f"wio/{bucket}")

        eventually(sent, said)
        (home / "up/new.txt").unlink()
        eventually(lambda: "up/new.txt" not in mc.keys(f"wio/{bucket}"), said)


def test_share(mc: Mc, bucket: str) -> None:
    mc("cp", "tree/a.txt", f"wio/{bucket}/a.txt")
    (shared,) = mc.json("share", "download", "--expire", "1h", f"wio/{bucket}/a.txt")
    with urlopen(shared["share"]) as answer:
        assert answer.read() == b"hello\n"
    for words, key in (
        ([f"wio/{bucket}/form"], "form"),
        (["--recursive", f"wio/{bucket}/forms/"], "forms/x"),
    ):
        (shared,) = mc.json("share", "upload", *words)
        command = shared["share"].replace("<FILE>", "tree/people.csv").replace("<NAME>", "x")
        done = subprocess.run(
            [servers.find_program("curl"), *shlex.split(command)[1:], "--silent", "--show-error", "--fail-with-body"],
            capture_output=True, cwd=mc.person.home, env=mc.person.environment(),
        )  # fmt: skip
        assert done.returncode == 0, done
        assert mc("cat", f"wio/{bucket}/{key}") == "name,age\nann,30\nbob,20\n"


def test_a_session_by_environment(jane: Person, admin: Wio, bucket: str) -> None:
    made = admin.json("token", "create", "--workspace", bucket, "--permission", "readwrite")
    session = Mc(
        Person(
            jane.endpoint, made["access_key_id"], made["secret_access_key"], jane.home, made["session_token"]
        )
    )
    session("cp", "tree/a.txt", f"wio/{bucket}/")
    assert session("cat", f"wio/{bucket}/a.txt") == "hello\n"
    assert [row["key"] for row in session.json("ls", "wio")] == [f"{bucket}/"]
    (shared,) = session.json("share", "download", f"wio/{bucket}/a.txt")
    with urlopen(shared["share"]) as answer:
        assert answer.read() == b"hello\n"
    admin("token", "revoke", made["access_key_id"])
    session("cat", f"wio/{bucket}/a.txt", code=1)
