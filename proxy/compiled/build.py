"""Compiling the hot path, once for the same sources, into the cache.

The copy that is compiled is the one whose digest names the build, so that an edit meanwhile does no harm.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from proxy.compiled import LIBRARY, build_folder, builds_folder, is_trusted, read_sources
from proxy.compiled.modules import HOT

#: So many builds are kept, those that were made or asked for last.
_KEPT: Final = 8
_DRIVER: Final = Path(__file__).with_name("driver.py")
#: All of the environment that the compiler sees: flags of somebody else's would make another build of the same name.
_PASSED_ON: Final = ("HOME", "PATH", "TMPDIR", "SDKROOT", "DEVELOPER_DIR", "MACOSX_DEPLOYMENT_TARGET")


class CannotCompile(Exception):
    """Something that compiling needs is not on this machine; `str()` is one sentence for people."""


class CompileFailed(Exception):
    """The compiler failed; `str()` is one sentence for people, and names its log."""


def build(*, again: bool = False) -> Path:
    """The folder of the build for these sources; compiles them, for a minute, when there is none.

    What failed once is not tried a second time, unless `again`. Safe beside other builders: they wait for each
    other, and a build appears in one step. Raises CannotCompile or CompileFailed.
    """
    sources = read_sources()
    try:
        builds = builds_folder()
        folder = build_folder(sources)
        if _is_there(folder):
            return folder
        if _log_of(folder).exists() and not again:
            raise CompileFailed(_failure(folder))
        compiler = _find_compiler()
        builds.mkdir(parents=True, exist_ok=True)
        # Whatever the umask: code is loaded from here only if nobody else may write it.
        builds.chmod(0o755)
        with _lock(builds):
            if not _is_there(folder):  # another process may have made it while this one waited
                sys.stderr.write("Compiling the hot path, once (a minute)…\n")
                _compile(sources, folder, compiler)
                _prune(builds)
    except OSError as error:
        raise CannotCompile(f"The hot path is not compiled, as its cache cannot be used: {error}.") from error
    return folder


def _log_of(folder: Path) -> Path:
    """What the compiler said when it failed."""
    return folder.with_suffix(".log")


def _failure(folder: Path) -> str:
    return (
        "The hot path could not be compiled and serves as plain Python; "
        f"{_log_of(folder)} says why, and `python -m proxy.compiled --again` tries once more."
    )


def _is_there(folder: Path) -> bool:
    if not folder.exists():
        return False
    if not is_trusted(folder):
        raise CannotCompile(f"The hot path is not compiled, as others may write to {folder}; remove it.")
    with suppress(PermissionError):  # root's, in an image
        os.utime(folder)
    return True


def _find_compiler() -> str:
    """The C compiler that Python was built with, or the one of the system. Raises CannotCompile."""
    if find_spec("mypyc") is None or find_spec("setuptools") is None:
        lacks = "mypyc (pip install mypy setuptools)"
    elif not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        lacks = "Python's headers (on Debian and Ubuntu: python3-dev)"
    else:
        theirs = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
        found = shutil.which(theirs) or shutil.which("cc")
        if found is not None:
            return found
        lacks = "a C compiler (on Debian and Ubuntu: gcc)"
    raise CannotCompile(f"The hot path is not compiled and serves as plain Python: {lacks} is missing.")


def _compile(sources: Mapping[str, bytes], folder: Path, compiler: str) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="making-", dir=folder.parent))
    try:
        copy, made = scratch / "sources", scratch / "made"
        for name, source in sources.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(source)
        made.mkdir()
        log = made / "build.log"
        with log.open("wb") as output:
            done = subprocess.run(  # noqa: S603 -- Python itself, on a file of ours
                [sys.executable, "-P", str(_DRIVER), str(_cores()), str(made), LIBRARY, *HOT],
                cwd=copy,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ}
                | {"CC": compiler, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
            )
        if done.returncode != 0:
            log.replace(_log_of(folder))
            raise CompileFailed(_failure(folder))
        _settle(made)
        made.rename(folder)
        _log_of(folder).unlink(missing_ok=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _settle(folder: Path) -> None:
    """Let nobody else write it, and the disk have it before its name says that it is whole."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _prune(builds: Path) -> None:
    """Keep the builds that were used last; what a killed builder left behind goes as well."""
    for left in builds.glob("making-*"):
        shutil.rmtree(left, ignore_errors=True)
    for kind in ([path for path in builds.iterdir() if path.is_dir()], [*builds.glob("*.log")]):
        for path in sorted(kind, key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT:]:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def _lock(builds: Path) -> Iterator[None]:
    with (builds / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
