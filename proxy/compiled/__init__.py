"""The hot path as native code, if it was compiled from exactly these sources; see `proxy.compiled.build`.

A build is never stale: it lies in a folder that is named by a digest over all that it depends on, so that one that
does not fit is simply not there, and the plain modules serve.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

from proxy.compiled.modules import HOT

#: Their sources are what a build is made of: a compiled module relies on the shapes of all that it sees.
PACKAGES: Final = ("sigv4", "quota", "proxy")
#: The name of the shared library that holds all the code; the modules themselves only point into it.
LIBRARY: Final = "wio_gate__mypyc"
SUFFIX: Final = EXTENSION_SUFFIXES[0]

_log = logging.getLogger(__name__)
_used: Path | None = None


def use() -> bool:
    """Let the hot modules be imported from their compiled build from now on; return whether they are.

    Does nothing where there is no build for these sources and this Python, where the environment's
    `WIO_COMPILED` is anything but `auto` (which is also what it is when it is not set), where a hot module has
    been imported before, since plain and compiled ones must not meet, and where others may write to the build.
    A build that does not load is reported in the log and not used, for no module. Raises nothing.
    """
    global _used  # noqa: PLW0603 -- a process has one set of modules
    if (
        _used is None
        and os.environ.get("WIO_COMPILED", "auto") == "auto"
        and sys.modules.keys().isdisjoint(HOT)
    ):
        try:
            folder = build_folder(read_sources())
            if is_trusted(folder):
                _load(folder)
                _used = folder
        except OSError:  # no cache, no build, or sources that are not files
            return False
        except ImportError as error:
            _log.warning("the compiled hot path cannot be loaded, so the plain one serves: %s", error)
    return _used is not None


def is_used() -> bool:
    """Whether this process runs the compiled modules."""
    return _used is not None


def read_sources() -> dict[str, bytes]:
    """Every module of ours that the hot path sees, by its path below the folder of the packages. Raises OSError."""
    root = Path(__file__).parents[2]
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }


def build_folder(sources: Mapping[str, bytes]) -> Path:
    """Where the build of `sources` is, or would be. Raises OSError where there is no home for a cache."""
    return builds_folder() / _digest(sources)


def builds_folder() -> Path:
    """The folder of all builds, in the cache that every checkout shares: `$XDG_CACHE_HOME/wio-gate/compiled`."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    try:
        cache = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:  # a user without a home
        raise OSError(str(error)) from error
    return cache / "wio-gate" / "compiled"


def is_trusted(folder: Path) -> bool:
    """Whether a build is there, and nobody but this user and root can have put anything into it.

    Raises OSError when it cannot be looked at.
    """
    # What is above need not be looked at: whoever can rename these folders can put in their place only his own,
    # and they would not be this user's.
    if not folder.is_dir():
        return False
    return all(_is_ours(path) for path in (folder.parent, folder, *folder.rglob("*")))


def _is_ours(path: Path) -> bool:
    found = path.lstat()
    return (
        found.st_uid in (0, os.geteuid())
        and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        and not stat.S_ISLNK(found.st_mode)
    )


def _digest(sources: Mapping[str, bytes]) -> str:
    # The list of modules, the flags and all else that a build follows are among the sources themselves.
    try:
        compiler = version("mypy")
    except PackageNotFoundError:
        compiler = "none"
    digest = hashlib.sha256()
    for word in (sys.version, sys.platform, os.uname().machine, SUFFIX, compiler):
        _add(digest, word.encode())
    for name, source in sorted(sources.items()):
        _add(digest, name.encode())
        _add(digest, source)
    return digest.hexdigest()[:32]


def _add(digest: hashlib._Hash, part: bytes) -> None:
    # With its length before it: no two lists of parts look alike.
    digest.update(b"%d:" % len(part))
    digest.update(part)


def _load(folder: Path) -> None:
    """Load the library, then stand before the other finders. Raises ImportError, and has done nothing then."""
    finder = _Finder(folder, HOT)
    spec = finder.find_spec(LIBRARY)
    if spec is None:
        raise ImportError(f"{folder} lacks a part of the build")
    try:
        # All the code is in here, so that a build that cannot be loaded shows before any module was imported.
        library = module_from_spec(spec)
        sys.modules[LIBRARY] = library
        assert spec.loader is not None
        spec.loader.exec_module(library)
    except BaseException:
        sys.modules.pop(LIBRARY, None)
        raise
    sys.meta_path.insert(0, finder)


class _Finder(MetaPathFinder):
    """Finds the compiled modules. When any file is missing it finds none of them."""

    def __init__(self, folder: Path, modules: Iterable[str]) -> None:
        files = {name: folder / (name.replace(".", "/") + SUFFIX) for name in (LIBRARY, *modules)}
        self._files = files if all(path.is_file() for path in files.values()) else {}

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """Return where a compiled module is, None for any other."""
        file = self._files.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, str(file)))
