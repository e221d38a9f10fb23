"""Real clients against a stack that `wio up` runs, each in a home of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests import servers
from tests.cli.conftest import Wio
from tests.stack.ups import Up, running_up


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a key: what clients need to know."""

    endpoint: str
    access_key_id: str
    secret: str = field(repr=False)
    home: Path
    token: str | None = field(default=None, repr=False)

    @property
    def port(self) -> int:
        """The proxy's port."""
        return int(self.endpoint.rpartition(":")[2])

    def environment(self, **more: str) -> dict[str, str]:
        """Nothing of this machine's, and the credentials as aws, rclone and restic read them."""
        token = {"AWS_SESSION_TOKEN": self.token} if self.token else {}
        return servers.clean_env(
            HOME=str(self.home),
            AWS_ACCESS_KEY_ID=self.access_key_id,
            AWS_SECRET_ACCESS_KEY=self.secret,
            AWS_DEFAULT_REGION="us-east-1",
            AWS_ENDPOINT_URL=self.endpoint,
            AWS_EC2_METADATA_DISABLED="true",
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **token,
            **more,
        )

    def run(
        self, program: str, *words: str | Path, stdin: bytes = b"", code: int | None = 0, **more: str
    ) -> str:
        """Run a client; returns its stdout, fails unless it exits with `code` (None: whatever)."""
        done = subprocess.run(
            [servers.find_program(program), *map(str, words)],
            input=stdin,
            capture_output=True,
            timeout=100,
            cwd=self.home,
            env=self.environment(**more),
        )
        told = f"{words}: exit {done.returncode}\n{done.stdout[-3000:]!r}\n{done.stderr[-3000:]!r}"
        assert code is None or done.returncode == code, told
        return done.stdout.decode("utf-8", "replace")

    def s3(self, **config: Any) -> Any:
        """boto3 as it comes."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret,
            aws_session_token=self.token,
            region_name="us-east-1",
            **config,
        )


@pytest.fixture(scope="package")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One running stack for all clients."""
    with running_up(tmp_path_factory.mktemp("clients")) as started:
        yield started


@pytest.fixture(scope="package")
def admin(up: Up, tmp_path_factory: pytest.TempPathFactory) -> Wio:
    """The admin's `wio`."""
    return Wio(tmp_path_factory.mktemp("admin"), WIO_DIR=str(up.folder), XDG_CACHE_HOME=up.cache)


@pytest.fixture
def jane(up: Up, tmp_path: Path) -> Person:
    """The admin's key, in a folder with a few files in `tree/`."""
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "a.txt").write_text("hello\n")
    (tree / "people.csv").write_text("name,age\nann,30\nbob,20\n")
    (tree / "sub" / "ü +x&y.txt").write_text("odd\n")
    (tree / "sub" / "big.bin").write_bytes(os.urandom(18_000_000))
    facts = up.facts
    return Person(facts["endpoint_url"], facts["access_key_id"], facts["secret_access_key"], tmp_path)


@pytest.fixture
def bucket(jane: Person, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty workspace of this test's own, gone afterwards."""
    name = "t-" + request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[:40].strip("-")
    client = jane.s3()
    client.create_bucket(Bucket=name)
    yield name
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for item in page.get("Contents", ()):
            client.delete_object(Bucket=name, Key=item["Key"])
    for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", ()):
        client.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    client.delete_bucket(Bucket=name)


def same(one: Path, other: Path) -> None:
    """Assert that two folders hold the same files."""
    left, right = (
        {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}
        for top in (one, other)
    )
    assert sorted(left) == sorted(right)
    assert all(left[name] == right[name] for name in left)


def clear(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
