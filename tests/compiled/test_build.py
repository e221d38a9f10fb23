"""Making a build: once, in one step, and with a sentence where it cannot be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy import compiled
from proxy.compiled import build as builder
from proxy.compiled.build import CannotCompile, CompileFailed
from tests.compiled.conftest import Run

pytestmark = pytest.mark.timeout(900)

#: Instead of the compiler's process: notes that it ran, and makes one file.
QUICK = """
import sys, pathlib
print("what the compiler says")
target = pathlib.Path(sys.argv[2])
cache = target.parent.parent.parent
with (cache / "ran").open("a") as ran: ran.write("x")
if (cache / "fail").exists(): sys.exit(1)
(target / "made.so").write_text("")
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of our own, with a quick compiler; the folder that notes are left in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    driver = tmp_path / "driver.py"
    driver.write_text(QUICK)
    monkeypatch.setattr(builder, "_DRIVER", driver)
    return tmp_path / "wio-gate"


def test_a_build_is_made_once(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = builder.build()
    assert (folder / "made.so").exists()
    assert "what the compiler says" in (folder / "build.log").read_text()
    assert compiled.is_trusted(folder)
    assert builder.build() == folder
    assert (cache / "ran").read_text() == "x"
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert [path.name for path in folder.parent.iterdir() if path.name not in (folder.name, "lock")] == []


def test_builders_wait_for_each_other(cache: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: builder.build(), range(4)))
    assert len(set(made)) == 1
    assert (cache / "ran").read_text() == "x"


def test_what_failed_is_not_tried_again_by_itself(cache: Path) -> None:
    cache.mkdir()
    (cache / "fail").touch()
    for again, ran in ((False, "x"), (False, "x"), (True, "xx")):
        with pytest.raises(CompileFailed) as failed:
            builder.build(again=again)
        assert (cache / "ran").read_text() == ran
    log = next(Path(word) for word in str(failed.value).split() if word.endswith(".log"))
    assert "what the compiler says" in log.read_text()
    (cache / "fail").unlink()
    assert builder.build(again=True).is_dir()
    assert not log.exists()


def test_the_last_used_are_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "_KEPT", 3)
    sources = compiled.read_sources()
    made = []
    for number in range(5):
        monkeypatch.setattr(
            builder, "read_sources", lambda number=number: sources | {"proxy/x.py": b"%d" % number}
        )
        made.append(builder.build())
    assert [folder.exists() for folder in made] == [False, False, True, True, True]


def test_others_may_not_write_to_it_whatever_the_umask(cache: Path, run: Run) -> None:
    code = (
        "import os; from pathlib import Path; from proxy import compiled; from proxy.compiled import build; "
        f"os.umask(0); build._DRIVER = Path({str(cache.parent / 'driver.py')!r}); "
        "print(compiled.is_trusted(build.build()))"
    )
    done = run("-c", code, XDG_CACHE_HOME=str(cache.parent))
    assert done.stdout == "True\n", done.stderr


def test_one_that_others_may_write_is_not_taken_for_a_build(cache: Path) -> None:
    builder.build().chmod(0o777)
    with pytest.raises(CannotCompile, match="others may write"):
        builder.build()


def test_without_a_compiler_there_is_a_sentence(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run("-m", "proxy.compiled", PATH=str(empty), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert (done.returncode, done.stdout) == (0, "")
    assert len(done.stderr.splitlines()) == 1
    assert "C compiler" in done.stderr
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written_is_a_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wio-gate").write_text("a file where a folder should be")
    done = run("-m", "proxy.compiled", XDG_CACHE_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "")
    assert len(done.stderr.splitlines()) == 1
    assert "cache" in done.stderr


def test_the_compiler_makes_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, built: Path
) -> None:
    """With the real compiler, two small modules, which then are what is imported."""
    two = ("sigv4.canonical", "sigv4.keys")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(builder, "HOT", two)
    folder = builder.build()
    code = (
        "from pathlib import Path; from proxy import compiled; "
        f"compiled.HOT = {two!r}; compiled._load(Path({str(folder)!r})); import sigv4, sys; "
        "print(*(Path(sys.modules[f'sigv4.{name}'].__file__).suffix for name in ('keys', 'canonical', 'sign')))"
    )
    done = run("-c", code)
    assert done.stdout == ".so .so .py\n", done.stderr
