"""What a command does not need it does not load: `wio` starts as fast as its longest import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Each takes from 50 ms to several hundred; the servers', and what checksums of bodies come from.
HEAVY = ("awscrt", "botocore", "fastapi", "sqlalchemy", "pydantic", "lxml", "redis", "uvloop")
LOADED = """
import sys
from broker.cli.app import run
code = run(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("words", ["--help", "--version", "up --help", "whoami", "workspace list"])
def test_a_command_loads_nothing_heavy(words: str) -> None:
    # Nobody listens on port 9; the commands are loaded as far as their first request all the same.
    environment = {
        **os.environ,
        "WIO_URL": "http://127.0.0.1:9",
        "WIO_ACCESS_KEY_ID": "WIOAALICEALICEALICE2",
        "WIO_SECRET_ACCESS_KEY": "x" * 40,
    }
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, *words.split()],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    loaded = {name.partition(".")[0] for name in ran.stderr.split()}
    assert "click" in loaded
    assert ("httpx" in loaded) == (words in ("whoami", "workspace list"))
    assert not loaded & set(HEAVY)
