"""Random work on one workspace against a model: what is charged is what the node holds, whatever ends how.

Used by a short test and by `make soak`. The rules that end surely are followed by the model byte by byte; a worker that
is killed, and two writers of one key at once, leave it to the node which of them it kept.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.stack.child import wait_until
from quota import Change
from tests.proxy.gates import Gate
from tests.proxy.rooms import reap, recount

KEYS = st.sampled_from(["a", "b", "c", "d/ü +e"])
#: Bodies are read whole up to 64 KiB and streamed beyond.
SIZES = st.sampled_from([0, 1, 500, 64 * 1024, 64 * 1024 + 1, 150_000])
LIMIT = 400_000


class RoomMachine(RuleBasedStateMachine):
    """One run; `gate` is set by whoever starts it, `did` counts what was done in all runs."""

    gate: ClassVar[Gate]
    did: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.client = self.gate.client(max_pool_connections=8)
        self.objects: dict[str, int] = {}
        self.uploads: dict[str, tuple[str, dict[int, tuple[int, str]]]] = {}
        self.is_certain = True

    def _do(self, what: str, call: Any, **kwargs: Any) -> tuple[str, Any]:
        # Killed workers are replaced, and connections to them die: a client tries again.
        deadline = time.monotonic() + 20
        while True:
            try:
                answer = call(Bucket="photos", **kwargs)
            except ClientError as error:
                code = str(error.response["Error"]["Code"])
                if code not in ("SlowDown", "503") or time.monotonic() > deadline:
                    self.did[f"{what}: {code}"] += 1
                    return code, None
            except BotoCoreError:
                self.is_certain = False
                if time.monotonic() > deadline:
                    raise
            else:
                self.did[what] += 1
                return "OK", answer
            time.sleep(0.05)

    def _total(self) -> int:
        parts = sum(size for _, parts in self.uploads.values() for size, _ in parts.values())
        return sum(self.objects.values()) + parts

    @initialize()
    def begin(self) -> None:
        """An empty workspace with a limit."""
        limit = {"bytes": LIMIT, "objects": None}
        self.gate.apply([Change("limit", "w:wsphotos", next(self.gate.versions), limit)])
        self._settle()
        self._sync()

    def _fits(self, more: int, code: str) -> None:
        if self.is_certain:
            assert (code == "OK") == (self._total() + more <= LIMIT or more <= 0), (code, self._total(), more)

    @rule(key=KEYS, size=SIZES)
    def put(self, key: str, size: int) -> None:
        code, _ = self._do("put", self.client.put_object, Key=key, Body=b"p" * size)
        self._fits(size - self.objects.get(key, 0), code)
        if code == "OK":
            self.objects[key] = size

    @rule(key=KEYS, size=SIZES)
    def put_new_only(self, key: str, size: int) -> None:
        code, _ = self._do(
            "put if absent", self.client.put_object, Key=key, Body=b"n" * size, IfNoneMatch="*"
        )
        if self.is_certain and key in self.objects:
            assert code in ("PreconditionFailed", "QuotaExceeded")
        if code == "OK":
            self.objects[key] = size

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self._do("delete", self.client.delete_object, Key=key)[0] == "OK"
        self.objects.pop(key, None)

    @rule(keys=st.lists(KEYS, min_size=1, max_size=6))
    def delete_many(self, keys: list[str]) -> None:
        doomed = {"Objects": [{"Key": key} for key in keys]}
        code, answer = self._do("delete many", self.client.delete_objects, Delete=doomed)
        assert code == "OK"
        assert "Errors" not in answer
        for key in keys:
            self.objects.pop(key, None)

    @rule(source=KEYS, to=KEYS)
    def copy(self, source: str, to: str) -> None:
        code, _ = self._do(
            "copy", self.client.copy_object, Key=to, CopySource={"Bucket": "photos", "Key": source},
            MetadataDirective="REPLACE",
        )  # fmt: skip
        if source in self.objects:
            self._fits(self.objects[source] - self.objects.get(to, 0), code)
        elif self.is_certain:
            assert code != "OK"
        if code == "OK":
            self.objects[to] = self.objects[source]

    @rule(key=KEYS)
    def begin_upload(self, key: str) -> None:
        if len(self.uploads) >= 3:
            return
        code, answer = self._do("begin upload", self.client.create_multipart_upload, Key=key)
        assert code == "OK"
        self.uploads[answer["UploadId"]] = (key, {})

    @rule(which=st.integers(0, 2), number=st.integers(1, 2), size=SIZES)
    def part(self, which: int, number: int, size: int) -> None:
        if not self.uploads:
            return
        upload = list(self.uploads)[which % len(self.uploads)]
        key, parts = self.uploads[upload]
        code, answer = self._do(
            "part", self.client.upload_part, Key=key, UploadId=upload, PartNumber=number, Body=b"u" * size
        )
        self._fits(size - parts.get(number, (0, ""))[0], code)
        if code == "OK":
            parts[number] = (size, answer["ETag"])

    @rule(which=st.integers(0, 2), number=st.sampled_from([1, 1, 1, 2, 2, 2, 3]))
    def complete(self, which: int, number: int) -> None:
        if not self.uploads:
            return
        upload = list(self.uploads)[which % len(self.uploads)]
        key, parts = self.uploads[upload]
        numbers = (number,) if number in parts or number == 3 or not parts else (next(iter(parts)),)
        named = [{"PartNumber": n, "ETag": parts.get(n, (0, '"none"'))[1]} for n in numbers]
        code, _ = self._do(
            "complete", self.client.complete_multipart_upload, Key=key, UploadId=upload,
            MultipartUpload={"Parts": named},
        )  # fmt: skip
        if code == "OK":
            self.objects[key] = sum(parts[n][0] for n in numbers)
            del self.uploads[upload]
        elif code == "NoSuchUpload":
            # Done by an attempt whose answer a killed worker took along.
            assert not self.is_certain
            self._sync()

    @rule(key=KEYS, sizes=st.lists(SIZES, min_size=1, max_size=3))
    def upload_whole(self, key: str, sizes: list[int]) -> None:
        """A part that is tried again and again, then completed."""
        if len(self.uploads) >= 3:
            return
        code, answer = self._do("begin upload", self.client.create_multipart_upload, Key=key)
        assert code == "OK"
        upload, parts = answer["UploadId"], {}
        self.uploads[upload] = (key, parts)
        for size in sizes:
            code, answer = self._do(
                "part", self.client.upload_part, Key=key, UploadId=upload, PartNumber=2, Body=b"w" * size
            )
            if code == "OK":
                parts[2] = (size, answer["ETag"])
        if not parts:
            return
        code, _ = self._do(
            "complete", self.client.complete_multipart_upload, Key=key, UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 2, "ETag": parts[2][1]}]},
        )  # fmt: skip
        if code == "OK":
            self.objects[key] = parts[2][0]
            del self.uploads[upload]
        else:
            self._sync()

    @rule(which=st.integers(0, 2))
    def abort(self, which: int) -> None:
        if not self.uploads:
            return
        upload = list(self.uploads)[which % len(self.uploads)]
        key, _ = self.uploads.pop(upload)
        code, _ = self._do("abort", self.client.abort_multipart_upload, Key=key, UploadId=upload)
        assert code == "OK" or not self.is_certain

    @rule(key=KEYS, share=st.sampled_from([0, 0.5, 0.99]))
    def go_away(self, key: str, share: float) -> None:
        """A client that breaks off: nothing is stored, and the room is back."""
        size = 100_000
        url = self.client.generate_presigned_url(
            "put_object", Params={"Bucket": "photos", "Key": key}, ExpiresIn=60
        )
        parts = urlsplit(url)
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {size}\r\n\r\n"
        with suppress(OSError), socket.create_connection((parts.hostname, parts.port), timeout=10) as sock:
            sock.sendall(head.encode() + b"g" * int(size * share))
        self.did["gone away"] += 1

    @rule(key=KEYS, sizes=st.tuples(SIZES, SIZES), deletes=st.booleans())
    def at_once(self, key: str, sizes: tuple[int, int], deletes: bool) -> None:
        """Writers of one key at the same time; the node says which was last."""
        calls = [(self.client.put_object, {"Key": key, "Body": b"r" * size}) for size in sizes]
        if deletes:
            calls.append((self.client.delete_object, {"Key": key}))
        threads = [
            threading.Thread(target=self._do, args=("at once", call), kwargs=kwargs) for call, kwargs in calls
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._sync()

    @rule(key=KEYS, delay=st.sampled_from([0.0, 0.003, 0.01, 0.03]))
    def kill(self, key: str, delay: float) -> None:
        """A worker killed while it carries changes out."""
        before = self._total()
        if before > LIMIT // 2:
            return
        threads = [
            threading.Thread(target=self._quietly, args=(self.client.put_object, key, n)) for n in range(3)
        ]
        for thread in threads:
            thread.start()
        time.sleep(delay)
        if workers := _workers(self.gate):
            with suppress(ProcessLookupError):
                os.kill(random.choice(workers), signal.SIGKILL)
                self.did["killed"] += 1
        for thread in threads:
            thread.join()
        self.is_certain = False
        self._sync()

    def _quietly(self, call: Any, key: str, n: int) -> None:
        with suppress(ClientError, BotoCoreError):
            call(Bucket="photos", Key=key, Body=b"k" * (40_000 * n))

    def _sync(self) -> None:
        """Take over what the node holds."""
        node, prefix = self.gate.node_client(), self.gate.prefix("photos")
        pages = node.get_paginator("list_objects_v2").paginate(Bucket=self.gate.bucket, Prefix=prefix)
        self.objects = {
            item["Key"][len(prefix) :]: item["Size"] for page in pages for item in page.get("Contents", ())
        }
        for upload, (key, parts) in list(self.uploads.items()):
            try:
                code, answer = self._do("list parts", self.client.list_parts, Key=key, UploadId=upload)
            except BotoCoreError:
                continue
            if code == "OK":
                parts.clear()
                parts.update({p["PartNumber"]: (p["Size"], p["ETag"]) for p in answer.get("Parts", ())})
            elif code == "NoSuchUpload":
                del self.uploads[upload]

    @invariant()
    def charged_is_what_is_stored(self) -> None:
        """Never less; and as soon as what was broken off has been let go, not more, unless a worker was killed."""
        stored = self._total(), len(self.objects)
        charged = self.gate.charged()
        assert charged[0] >= stored[0], (charged, stored)
        assert charged[1] >= stored[1], (charged, stored)
        if self.is_certain:
            assert wait_until(lambda: self.gate.charged() == stored, time.monotonic() + 10), (
                self.gate.usage(), stored,
            )  # fmt: skip

    def _settle(self) -> None:
        """Wait until nothing is under way or in doubt any more."""

        def quiet() -> bool:
            reap(self.gate)
            usage = self.gate.usage()
            if not any(usage[m] for m in ("hb", "ho", "db", "do")):
                return True
            if usage["db"] or usage["do"]:
                recount(self.gate)
            return False

        assert wait_until(quiet, time.monotonic() + 60), self.gate.usage()
        recount(self.gate)

    def teardown(self) -> None:
        """Usage is what a listing of the node sums to; then everything goes."""
        self._settle()
        self._sync()
        assert self.gate.charged() == (self._total(), len(self.objects)), (self.gate.usage(), self._total())
        usage = self.gate.usage()
        assert self.gate.stored() == (usage["b"] - usage["mb"], usage["o"])
        for upload, (key, _parts) in self.uploads.items():
            self._do("abort", self.client.abort_multipart_upload, Key=key, UploadId=upload)
        for key in self.objects:
            self._do("delete", self.client.delete_object, Key=key)
        self._settle()
        assert self.gate.charged() == (0, 0)
        self.did["runs"] += 1


def _workers(gate: Gate) -> list[int]:
    """The worker processes of a proxy: those of its group that have no children."""
    assert gate.process is not None
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, rest = stat.parent.name, stat.read_text().rpartition(")")[2].split()
            if int(rest[2]) == gate.process.pid and rest[0] != "Z":
                parents[int(pid)] = int(rest[1])
    return sorted(set(parents) - set(parents.values()))
