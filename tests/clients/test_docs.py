"""What docs/clients/ tells people to paste, pasted: the pages run from top to bottom, in a fresh home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers
from tests.cli.conftest import Wio
from tests.clients.conftest import Person

PAGES = sorted((Path(__file__).parents[2] / "docs" / "clients").glob("*.md"))


def script(page: Path, endpoint: str) -> str:
    """The blocks of a page as one shell script: sh as it is, ini into the file it names, python run."""
    lines = ["set -eu"]
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.DOTALL):
        block = block.replace("http://127.0.0.1:9000", endpoint)
        if kind == "sh":
            lines.append(block.replace("wio workspace create", "made"))
        elif kind == "ini":
            where = block.partition("\n")[0].removeprefix("# ").replace("~", "$HOME")
            lines.append(f'mkdir -p "$(dirname "{where}")"\ncat >> "{where}" <<\'END\'\n{block}END')
        elif kind == "python":
            lines.append(f"python - <<'END'\n{block}END")
        else:
            raise AssertionError(f"{page.name}: a block of {kind}")
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(page: Path, jane: Person, admin: Wio) -> None:
    tools = jane.home / "bin"
    tools.mkdir()
    (tools / "wio").write_text(f'#!/bin/sh\nexec {sys.executable} -m broker.cli "$@"\n')
    # The workspaces of one page are those of the next.
    (tools / "made").write_text(
        '#!/bin/sh\nwio workspace show "$1" >/dev/null 2>&1 || wio workspace create "$1"\n'
    )
    (tools / "mc").symlink_to(servers.find_program("mc"))
    # Not a link: a Python finds its virtual environment by where it is started.
    (tools / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for tool in ("wio", "made", "python"):
        (tools / tool).chmod(0o755)
    (jane.home / "cat.jpg").write_bytes(b"meow")
    (jane.home / "tree").rename(jane.home / "album")
    environment = admin.variables() | {
        "HOME": str(jane.home),
        "PATH": f"{tools}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
    }
    environment.pop("XDG_CONFIG_HOME")
    done = subprocess.run(
        ["bash", "-c", script(page, jane.endpoint)],
        cwd=jane.home, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
