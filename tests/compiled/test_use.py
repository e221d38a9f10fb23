"""When the compiled modules are used, and when not."""

from __future__ import annotations

import ast
import json
import os
from pathlib import Path

import pytest

from proxy import compiled
from proxy.compiled.modules import HOT, LEFT_OUT
from tests.compiled.conftest import ROOT, Run

pytestmark = pytest.mark.timeout(900)

#: Says whether the compiled ones are used, and where each hot module came from.
LOOK = """
import importlib, json, sys
{before}
from proxy import compiled
used = compiled.use()
tools = [name for name in sys.modules if name.partition(".")[0] in ("mypy", "mypyc", "setuptools", "distutils")]
files = {{name: importlib.import_module(name).__file__ for name in compiled.HOT}}
print(json.dumps([used, compiled.is_used(), files, tools]))
"""


def look(run: Run, before: str = "", **environment: str) -> tuple[bool, set[str], str]:
    """Whether they are used, the endings of the hot modules' files, and what was said."""
    done = run("-c", LOOK.format(before=before), **environment)
    assert done.returncode == 0, done.stderr
    used, is_used, files, tools = json.loads(done.stdout)
    assert used == is_used
    assert tools == []
    return used, {Path(file).suffix for file in files.values()}, done.stderr


def fake_build(cache: Path) -> Path:
    """A build for these sources that has every file, and nothing in them that can be loaded."""
    folder = cache / "wio-gate" / "compiled" / compiled.build_folder(compiled.read_sources()).name
    for name in (compiled.LIBRARY, *HOT):
        file = folder / (name.replace(".", "/") + compiled.SUFFIX)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"not a library")
    for path in (folder.parent, folder, *folder.rglob("*")):
        path.chmod(0o755)
    return folder


def test_every_hot_module_comes_from_the_build(built: Path, run: Run) -> None:
    used, endings, said = look(run)
    assert (used, endings, said) == (True, {".so"}, "")
    assert built.is_dir()


@pytest.mark.parametrize("choice", ["never", "nonsense", ""])
def test_only_auto_uses_it(built: Path, run: Run, choice: str) -> None:
    assert look(run, WIO_COMPILED=choice) == (False, {".py"}, "")
    assert look(run, WIO_COMPILED="auto")[0]


def test_compiled_and_plain_never_meet(built: Path, run: Run) -> None:
    """Given that a hot module is there already, all stay plain."""
    assert look(run, before="import quota.ids") == (False, {".py"}, "")


def test_without_a_build_the_plain_path_serves(run: Run, tmp_path: Path) -> None:
    assert look(run, XDG_CACHE_HOME=str(tmp_path)) == (False, {".py"}, "")


def test_a_build_that_cannot_be_loaded_is_said_and_left(run: Run, tmp_path: Path) -> None:
    fake_build(tmp_path)
    used, endings, said = look(run, XDG_CACHE_HOME=str(tmp_path))
    assert (used, endings) == (False, {".py"})
    assert len(said.splitlines()) == 1
    assert "plain" in said


def test_a_build_that_lacks_a_module_is_left_whole(run: Run, tmp_path: Path) -> None:
    folder = fake_build(tmp_path)
    (folder / "sigv4" / f"keys{compiled.SUFFIX}").unlink()
    used, endings, said = look(run, XDG_CACHE_HOME=str(tmp_path))
    assert (used, endings) == (False, {".py"})
    assert "lacks" in said


@pytest.mark.parametrize("which", ["builds", "build", "file"])
def test_nothing_is_loaded_that_others_may_write(tmp_path: Path, which: str) -> None:
    folder = fake_build(tmp_path)
    path = {"builds": folder.parent, "build": folder, "file": next(folder.rglob("*.so"))}[which]
    assert compiled.is_trusted(folder)
    for mode in (0o775, 0o757):
        path.chmod(mode)
        assert not compiled.is_trusted(folder)
    path.chmod(0o755)
    assert compiled.is_trusted(folder)


def test_nothing_is_loaded_that_another_user_owns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fake_build(tmp_path)
    file = next(folder.rglob("*.so"))
    if os.geteuid() == 0:
        os.chown(file, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert not compiled.is_trusted(folder)


def test_nothing_is_loaded_through_a_link(tmp_path: Path) -> None:
    folder = fake_build(tmp_path)
    (folder / "more").symlink_to("/")
    assert not compiled.is_trusted(folder)


def test_another_source_is_another_build(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = compiled.read_sources()
    first = compiled.build_folder(sources)
    assert compiled.build_folder(compiled.read_sources()) == first
    changed = {
        name: sources | {name: sources[name] + b"\n"}
        for name in (
            "sigv4/keys.py",
            "quota/answers.py",
            "proxy/compiled/modules.py",
            "proxy/compiled/driver.py",
        )
    }
    others = {compiled.build_folder(other) for other in changed.values()}
    others.add(compiled.build_folder({name: sources[name] for name in sources if name != "proxy/sts.py"}))
    monkeypatch.setattr(compiled, "version", lambda name: "0.1")
    others.add(compiled.build_folder(sources))
    assert len(others - {first}) == 6


def test_the_lists_name_modules() -> None:
    assert len(set(HOT)) == len(HOT)
    assert not set(HOT) & LEFT_OUT.keys()
    for name in (*HOT, *LEFT_OUT):
        assert (ROOT / f"{name.replace('.', '/')}.py").is_file(), name


@pytest.mark.parametrize("name", HOT)
def test_no_coroutine_of_a_hot_module_waits_while_an_error_is_on_its_way(name: str) -> None:
    # See quota/waiting.py: the next call of the same coroutine could end with that error.
    source = Path(__file__).parents[2] / f"{name.replace('.', '/')}.py"
    waits = (ast.Await, ast.Yield, ast.AsyncFor, ast.AsyncWith)
    for function in ast.walk(ast.parse(source.read_text())):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            assert not isinstance(node, ast.AsyncWith), f"{source.name}:{node.lineno}"
            if isinstance(node, ast.Try):
                late = [*node.finalbody, *(line for handler in node.handlers for line in handler.body)]
                for found in (one for line in late for one in ast.walk(line)):
                    assert not isinstance(found, waits), f"{source.name}:{node.lineno}"
