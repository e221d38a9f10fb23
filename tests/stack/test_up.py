"""`wio up` for real: it starts everything, keeps everything, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
import redis

from broker.stack.child import wait_until
from tests.servers import Minio, free_port, http_status
from tests.stack.ups import Up, alive, running_up, start_up


def s3(facts: dict[str, Any]) -> Any:
    """boto3 as the admin of a stack."""
    return boto3.client(
        "s3",
        endpoint_url=facts["endpoint_url"],
        region_name="us-east-1",
        aws_access_key_id=facts["access_key_id"],
        aws_secret_access_key=facts["secret_access_key"],
    )


def test_it_starts_keeps_everything_and_starts_again_quickly(tmp_path: Path) -> None:
    with running_up(tmp_path) as first:
        facts = first.facts
        assert set(facts) == {
            "endpoint_url", "console_url", "username", "password", "access_key_id", "secret_access_key"
        }  # fmt: skip
        assert stat.S_IMODE((first.folder / "admin.json").stat().st_mode) == 0o600
        assert http_status(facts["endpoint_url"], "/-/ready") == 200
        assert http_status(facts["console_url"], "/-/ready") == 200
        client = s3(facts)
        client.create_bucket(Bucket="kept")
        client.put_object(Bucket="kept", Key="a/b", Body=b"still here")
        parts = first.parts()
        code, out, _ = first.stop()
        assert code == 0
        assert facts["endpoint_url"] in out
        assert not alive(parts)
        assert not (first.folder / "admin.json").exists()
    with running_up(tmp_path) as second:
        # The promise is for a machine of one's own; a busy one gives each process its share only.
        assert second.seconds < 5 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
        kept = ("username", "password", "access_key_id", "secret_access_key")
        assert [second.facts[name] for name in kept] == [facts[name] for name in kept]
        again = s3(second.facts)
        assert [bucket["Name"] for bucket in again.list_buckets()["Buckets"]] == ["kept"]
        assert again.get_object(Bucket="kept", Key="a/b")["Body"].read() == b"still here"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a stack has run once, so that the next ones start quickly."""
    folder = tmp_path_factory.mktemp("shared")
    with running_up(folder):
        pass
    return folder


@pytest.mark.parametrize("part", ["valkey-server", "minio server", "-m broker", "-m proxy"])
def test_a_part_that_dies_ends_all_with_a_word_on_which(part: str, shared: Path) -> None:
    with running_up(shared) as up:
        parts = up.parts()
        os.kill(up.part(part), signal.SIGKILL)
        _, err = up.process.communicate(timeout=60)
        assert up.process.returncode == 1
        name = part.replace("-m ", "").split("-")[0].split(" ")[0]
        assert f"The {name} was killed by SIGKILL" in err
        assert f"{name}.log" in err
        assert not alive(parts)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_it_too(number: int, shared: Path) -> None:
    with running_up(shared) as up:
        parts = up.parts()
        assert up.stop(number)[0] == 0
        assert not alive(parts)


def test_nothing_outlives_a_killed_wio_up(shared: Path) -> None:
    with running_up(shared) as up:
        parts = up.parts()
        up.process.kill()
        up.process.communicate(timeout=10)
        assert wait_until(lambda: not alive(parts), time.monotonic() + 20)
    (up.folder / "admin.json").unlink(missing_ok=True)


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    process = start_up(tmp_path)
    assert wait_until((tmp_path / ".wio" / "logs" / "valkey.log").exists, time.monotonic() + 30)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert not (tmp_path / ".wio" / "admin.json").exists()


@pytest.mark.parametrize(("which", "option"), [(0, "--port"), (1, "--console-port")])
def test_a_taken_port_is_one_sentence_that_names_the_option(which: int, option: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [free_port(), free_port()]
        ports[which] = taken.getsockname()[1]
        process = start_up(tmp_path, ports=(ports[0], ports[1]))
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert len(err.splitlines()) == 1
    assert option in err
    assert str(ports[which]) in err


def test_a_second_stack_in_the_folder_is_refused(shared: Path) -> None:
    with running_up(shared):
        process = start_up(shared)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "already runs" in err


def test_no_secret_is_in_an_argument_or_a_log(shared: Path) -> None:
    with running_up(shared) as up:
        state = json.loads((up.folder / "stack.json").read_text())["secrets"]
        secrets = [value for name, value in state.items() if name not in ("access_key_id", "minio_user")]
        arguments = "\n".join(up.parts().values())
        logs = "\n".join(log.read_text(errors="replace") for log in (up.folder / "logs").iterdir())
        for secret in secrets:
            assert secret not in arguments
            assert secret not in logs


def services_on_redis(up: Up) -> list[dict[str, str]]:
    """The connections of broker and proxy, as `CLIENT LIST` has them; asked over the port, which stays open."""
    state = json.loads((up.folder / "stack.json").read_text())
    client = redis.Redis(port=state["valkey_port"], password=state["secrets"]["valkey_password"])
    with client:
        own = client.client_id()
        return [one for one in client.client_list() if int(one["id"]) != own]


def test_redis_is_asked_over_a_socket_that_only_its_owner_may_use(shared: Path) -> None:
    with running_up(shared) as up:
        path = up.folder / "valkey" / "valkey.sock"
        found = services_on_redis(up)
        # Two workers at least, and the broker.
        assert len(found) >= 3
        assert all(str(path) in one["addr"] and "U" in one["flags"] for one in found)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_where_no_socket_can_be_made_redis_is_asked_over_its_port(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    with running_up(deep) as up:
        assert http_status(up.facts["endpoint_url"], "/-/ready") == 200
        found = services_on_redis(up)
        assert len(found) >= 3
        assert all(one["addr"].startswith("127.0.0.1:") for one in found)


def test_a_socket_in_a_folder_whose_name_needs_quotes(tmp_path: Path) -> None:
    odd = tmp_path / "a b%20#?é"
    odd.mkdir()
    with running_up(odd) as up:
        assert all("U" in one["flags"] for one in services_on_redis(up))


def test_a_node_of_ones_own_is_used_and_nothing_is_built(minio: Minio, tmp_path: Path) -> None:
    """Given an empty cache and no MinIO on PATH, `--node` still starts, in a moment."""
    with running_up(
        tmp_path,
        "--node",
        minio.endpoint,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PATH="/usr/bin:/bin",
        WIO_NODE_ACCESS_KEY_ID=minio.access_key,
        WIO_NODE_SECRET_ACCESS_KEY=minio.secret_key,
    ) as up:
        assert http_status(up.facts["endpoint_url"], "/-/ready") == 200
        assert not any("minio" in line for line in up.parts().values())
        assert not (up.folder / "minio").exists()
    assert not (tmp_path / "cache").exists()


def test_a_node_without_keys_is_a_usage_error(tmp_path: Path) -> None:
    process = start_up(tmp_path, "--node", "http://127.0.0.1:1")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "WIO_NODE_ACCESS_KEY_ID" in err
