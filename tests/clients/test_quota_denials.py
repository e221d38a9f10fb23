"""What people see of a full workspace: a clear no, and no retries by those who take one."""

from __future__ import annotations

import json
import os
import time

import pytest
from botocore.exceptions import ClientError

from tests.cli.conftest import Wio
from tests.clients.conftest import Person
from tests.clients.test_mc import Mc
from tests.stack.ups import Up

LIMIT = 1_000_000


@pytest.fixture
def full(admin: Wio, jane: Person, bucket: str) -> str:
    """A workspace of a megabyte with a tenth of it used."""
    jane.s3().put_object(Bucket=bucket, Key="there", Body=os.urandom(LIMIT // 10))
    admin("quota", "set", "workspace", bucket, "--bytes", str(LIMIT))
    (jane.home / "big.bin").write_bytes(os.urandom(2 * LIMIT))
    return bucket


def attempts(up: Up, bucket: str, method: str = "PUT") -> int:
    """How many requests to change the bucket the proxy has answered with QuotaExceeded."""
    # The log is written a moment after the answer.
    time.sleep(0.5)
    count = 0
    for log in up.folder.rglob("*.log"):
        for line in log.read_text(errors="replace").splitlines():
            count += "QuotaExceeded" in line and f"/{bucket}/" in line and method in line
    return count


def test_boto3(full: str, jane: Person, up: Up) -> None:
    with pytest.raises(ClientError) as refused:
        jane.s3().put_object(Bucket=full, Key="big", Body=b"x" * 2 * LIMIT)
    error = refused.value.response
    assert error["Error"]["Code"] == "QuotaExceeded"
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert error["ResponseMetadata"]["RetryAttempts"] == 0
    for told in ("workspace", "1000000", "100000", "2000000"):
        assert told in error["Error"]["Message"].replace(",", ""), error["Error"]["Message"]
    assert attempts(up, full) == 1


def test_aws(full: str, jane: Person, up: Up) -> None:
    started = time.monotonic()
    said = jane.run("aws", "s3", "cp", "big.bin", f"s3://{full}/big.bin", code=1)
    assert time.monotonic() - started < 20, said
    assert attempts(up, full) == 1


def test_mc(full: str, jane: Person, up: Up) -> None:
    started = time.monotonic()
    mc = Mc(jane)
    said = mc("--json", "cp", "big.bin", f"wio/{full}/big.bin", code=1)
    assert time.monotonic() - started < 20
    failures = [json.loads(line) for line in said.splitlines() if '"error"' in line]
    assert failures, said
    assert attempts(up, full) == 1


def test_rclone(full: str, jane: Person, up: Up) -> None:
    """It tries three times, whatever it is told, and then gives up."""
    (jane.home / "rclone.conf").write_text(
        f"[wio]\ntype = s3\nprovider = Minio\nendpoint = {jane.endpoint}\nregion = us-east-1\nenv_auth = true\n"
    )
    started = time.monotonic()
    jane.run(
        "rclone",
        "--config",
        "rclone.conf",
        "--low-level-retries",
        "1",
        "copy",
        "big.bin",
        f"wio:{full}",
        code=None,
    )
    assert time.monotonic() - started < 40
    assert 1 <= attempts(up, full) <= 12
    assert "big.bin" not in jane.run("rclone", "--config", "rclone.conf", "lsf", f"wio:{full}")


def test_restic_is_let_go_on_for_a_while(full: str, jane: Person, admin: Wio) -> None:
    """A full repository cannot even be pruned: the limit is raised for the time that it takes."""
    more = {"RESTIC_PASSWORD": "a password", "RESTIC_CACHE_DIR": str(jane.home / "cache")}

    def restic(*words: str, code: int | None = 0) -> str:
        return jane.run(
            "restic",
            "-r",
            f"s3:{jane.endpoint}/{full}/r",
            "-o",
            "s3.bucket-lookup=path",
            *words,
            code=code,
            **more,
        )

    restic("init")
    level = admin.json("quota", "show", "workspace", full)
    admin("quota", "set", "workspace", full, "--bytes", str(level["used_bytes"]))
    raised = admin.json("quota", "set", "workspace", full, "--bytes", "50MB", "--for", "1h")
    assert raised["raised_until"] is not None
    restic("backup", "tree")
    restic("forget", "--keep-last", "1", "--prune")
    shown = admin.json("quota", "show", "workspace", full)
    assert shown["limit_bytes"] == 50_000_000
