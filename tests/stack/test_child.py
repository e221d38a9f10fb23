"""Child processes: clean environments, stopping whole groups, and not outliving their parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from broker.stack.child import clean_environment, spawn, stop, wait_until
from tests.servers import clean_env

PYTHON = sys.executable


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def pid_from(path: Path) -> int:
    assert wait_until(lambda: path.exists() and path.read_text().endswith("\n"), time.monotonic() + 10)
    return int(path.read_text())


def test_nothing_of_the_shell_leads_elsewhere() -> None:
    shell = {
        "PATH": "/bin",
        "HOME": "/home/x",
        "https_proxy": "http://proxy:1",
        "NO_PROXY": "*",
        "AWS_CA_BUNDLE": "/ca",
        "REQUESTS_CA_BUNDLE": "/ca",
        "SSL_CERT_FILE": "/ca",
        "AWS_PROFILE": "prod",
        "WIO_URL": "https://prod",
        "MINIO_ROOT_USER": "somebody",
        "MC_HOST_prod": "https://a:b@prod",
    }
    assert clean_environment(shell) == {"PATH": "/bin", "HOME": "/home/x"}


def test_a_group_ends_with_its_leader(tmp_path: Path) -> None:
    """Given a service that was killed and left its worker behind, stopping it ends the worker."""
    script = f"""
import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(tmp_path / "pid")!r}, "w").write(f"{{worker.pid}}\\n")
time.sleep(600)
"""
    process = spawn([PYTHON, "-c", script], environment=clean_env(), log=tmp_path / "log")
    worker = pid_from(tmp_path / "pid")
    process.kill()
    process.wait()
    assert alive(worker)
    assert stop(process) == -signal.SIGKILL
    assert wait_until(lambda: not alive(worker), time.monotonic() + 5)


def test_a_process_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    script = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("x", flush=True)
time.sleep(600)
"""
    log = tmp_path / "log"
    process = spawn([PYTHON, "-c", script], environment=clean_env(), log=log)
    assert wait_until(lambda: log.read_text() == "x\n", time.monotonic() + 10)
    began = time.monotonic()
    assert stop(process, grace=0.3) == -signal.SIGKILL
    assert time.monotonic() - began < 3


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """Nothing that a parent does can help against SIGKILL; the kernel ends the child."""
    script = f"""
import os, time
from pathlib import Path
from broker.stack.child import spawn
folder = Path({str(tmp_path)!r})
command = [{PYTHON!r}, "-c", "import time; time.sleep(600)"]
child = spawn(command, environment=os.environ, log=folder / "log")
open(folder / "pid", "w").write(f"{{child.pid}}\\n")
time.sleep(600)
"""
    parent = subprocess.Popen([PYTHON, "-c", script], env=clean_env(PYTHONPATH=str(Path.cwd())))
    child = pid_from(tmp_path / "pid")
    # The tether must have told the kernel before the parent goes, else it sees that the parent is gone.
    parent.kill()
    parent.wait()
    assert wait_until(lambda: not alive(child), time.monotonic() + 5)


def test_what_goes_to_stdin_is_in_no_argument(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn(
        [PYTHON, "-c", "import sys; print(sys.stdin.read())"],
        environment=clean_env(),
        log=log,
        stdin=b"a secret",
    )
    assert process.wait(10) == 0
    assert log.read_text() == "a secret\n"
    assert log.stat().st_mode & 0o777 == 0o600
