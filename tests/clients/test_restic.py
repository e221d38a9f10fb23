"""restic, with a key scoped to one workspace, as docs/clients/restic.md says."""

from __future__ import annotations

import json

from tests.cli.conftest import Wio
from tests.clients.conftest import Person, same


def test_restic(jane: Person, admin: Wio, bucket: str) -> None:
    key = admin.json("key", "create", "--name", "restic", "--workspace", bucket, "--permission", "readwrite")
    keeper = Person(jane.endpoint, key["access_key_id"], key["secret_access_key"], jane.home)
    more = {"RESTIC_PASSWORD": "a password", "RESTIC_CACHE_DIR": str(jane.home / "cache")}

    def restic(*words: str) -> str:
        return keeper.run(
            "restic", "-r", f"s3:{jane.endpoint}/{bucket}", "-o", "s3.bucket-lookup=path", *words, **more
        )

    restic("init")
    restic("backup", "tree")
    (jane.home / "tree" / "a.txt").write_text("changed\n")
    restic("backup", "tree")
    assert len(json.loads(restic("snapshots", "--json"))) == 2
    restic("check", "--read-data")
    restic("restore", "latest", "--target", "restored")
    same(jane.home / "tree", next((jane.home / "restored").rglob("tree")))
    restic("forget", "--keep-last", "1", "--prune")
    assert len(json.loads(restic("snapshots", "--json"))) == 1
    restic("prune")
    restic("check")
    level = admin.json("quota", "show", "workspace", bucket)
    stored = [
        item["Size"]
        for page in jane.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for item in page["Contents"]
    ]
    assert (level["used_bytes"], level["held_bytes"]) == (sum(stored), 0)
