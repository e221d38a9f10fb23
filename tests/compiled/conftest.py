"""The compiled build of these sources, and processes that may use it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.compiled.build import build
from tests.servers import clean_env

ROOT = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder of the build; `make test` made it, else it is made here."""
    return build()


@pytest.fixture
def run() -> Run:
    """Runs this Python with words and variables, from the checkout."""

    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=clean_env(**environment),
            capture_output=True,
            text=True,
            timeout=600,
        )

    return run
