"""`wio serve`: one service in place of the command, with what it says and its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Wio
from tests.servers import Valkey, free_port, http_status, running


@pytest.mark.parametrize("service", ["proxy", "broker"])
def test_missing_settings_are_said_in_a_sentence(service: str, tmp_path: Path) -> None:
    told = Wio(tmp_path)("serve", service, code=None)
    assert told.code in (1, 2)
    assert "WIO_SECRET" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_folder_named_like_a_package_of_ours_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "proxy").mkdir()
    (tmp_path / "proxy" / "__main__.py").write_text("print('not ours')")
    assert "not ours" not in Wio(tmp_path)("serve", "proxy", code=None).stdout


def test_the_broker_serves_on_redis_and_sql(valkey: Valkey, tmp_path: Path) -> None:
    port = free_port()
    wio = Wio(
        tmp_path,
        WIO_SECRET="s" * 40,
        WIO_REDIS_URL=valkey.url,
        WIO_REALM="serve",
        WIO_DATABASE_URL=f"sqlite+aiosqlite:///{tmp_path}/wio.db",
        WIO_PORT=str(port),
    )
    url = f"http://127.0.0.1:{port}"
    with running(
        wio.command("serve", "broker"),
        ready=lambda: http_status(url, "/-/ready") == 200,
        log=tmp_path / "broker.log",
        env=wio.variables(),
    ):
        assert http_status(url, "/-/live") == 200
