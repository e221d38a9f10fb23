"""What is compiled does what the plain modules do: their own tests, once more, and a gate of each kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import servers
from tests.compiled.conftest import Run
from tests.proxy.gates import running_gate

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize(
    "words",
    [
        # What this leaves out looks at the text of the modules, which compiled classes do not keep.
        ["tests/sigv4", "--ignore", "tests/sigv4/test_sans_io.py"],
        # The rest of it, which takes a minute, is what all gates of all tests do.
        ["tests/quota/test_wire.py", "tests/quota/test_decision.py", "tests/quota/test_holds.py"],
        ["tests/proxy/s3"],
        ["tests/proxy/transport"],
    ],
    ids=lambda words: str(words[0]),
)
def test_the_tests_of_its_modules_pass(built: Path, run: Run, words: list[str]) -> None:
    done = run("-m", "pytest", *words, "-p", "no:cacheprovider", TEST_COMPILED="yes")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize(("choice", "kind"), [("auto", "compiled"), ("never", "plain Python")])
def test_a_gate_of_either_kind_serves_and_says_which(
    built: Path, minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path, choice: str, kind: str
) -> None:
    with running_gate(minio, valkey, tmp_path, WIO_COMPILED=choice) as gate:
        client = gate.client()
        for size in (0, 10, 3_000_000):
            client.put_object(Bucket="photos", Key=f"{size}", Body=b"x" * size)
            assert client.get_object(Bucket="photos", Key=f"{size}")["Body"].read() == b"x" * size
        assert len(client.list_objects_v2(Bucket="photos")["Contents"]) == 3
        client.delete_object(Bucket="photos", Key="10")
        (serving,) = [line for line in gate.log.read_text().splitlines() if "serving S3" in line]
        assert serving.endswith(f", {kind}")
