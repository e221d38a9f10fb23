"""The broker over https."""

from __future__ import annotations

import ssl
import subprocess
import sys
from pathlib import Path

import httpx

from tests.certificates import make_certificate
from tests.servers import Valkey, clean_env, free_port, running


def _answers(url: str, trusted: ssl.SSLContext) -> bool:
    try:
        return httpx.get(f"{url}/-/live", verify=trusted, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_the_broker_serves_https_with_a_given_certificate(valkey: Valkey, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "broker.pem", "broker.test", "127.0.0.1")
    trusted = ssl.create_default_context(cafile=str(certificate))
    port = free_port()
    settings = {
        "WIO_SECRET": "x" * 40,
        "WIO_REALM": "tls",
        "WIO_REDIS_URL": valkey.url,
        "WIO_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/wio.db",
        "WIO_TLS_CERT": str(certificate),
    }
    url = f"https://127.0.0.1:{port}"
    command = [sys.executable, "-m", "broker", "--port", str(port)]
    with running(
        command, ready=lambda: _answers(url, trusted), log=tmp_path / "broker.log", env=clean_env(**settings)
    ):
        refused = httpx.get(f"{url}/api/v1/whoami", verify=trusted)
        assert refused.status_code == 401


def test_a_certificate_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    env = clean_env(WIO_SECRET="x" * 40, WIO_TLS_CERT=str(tmp_path / "none.pem"))
    ended = subprocess.run(
        [sys.executable, "-m", "broker", "--port", "0"], env=env, capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 1
    assert (
        ended.stderr
        == f"The TLS certificate {tmp_path}/none.pem cannot be used: No such file or directory.\n"
    )
