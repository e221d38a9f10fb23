"""Where the command finds its broker and keys, in which order."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from broker.cli.client import Keys
from broker.cli.failures import ExitCode, Failure
from broker.cli.profiles import Target, find_target, forget_profile, load_profile, save_profile

ADMIN = {
    "endpoint_url": "http://127.0.0.1:9000",
    "console_url": "http://127.0.0.1:9001",
    "username": "admin",
    "password": "p",
    "access_key_id": "WIOALOCAL",
    "secret_access_key": "local-secret",
}
PROFILE = Target("https://broker.example", Keys("WIOAPROFILE", "s"), "", "https://s3.example")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine of its own: an empty configuration folder, and a current folder without a stack."""
    monkeypatch.chdir(tmp_path)
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def start_stack(folder: Path) -> None:
    folder.mkdir()
    (folder / "admin.json").write_text(json.dumps(ADMIN))


def test_nothing_is_known(home: dict[str, str]) -> None:
    with pytest.raises(Failure, match=r"wio up.*wio login") as caught:
        find_target(home, None)
    assert caught.value.exit_code == ExitCode.DENIED


def test_the_local_stack_is_found_by_itself(home: dict[str, str], tmp_path: Path) -> None:
    start_stack(tmp_path / ".wio")
    found = find_target(home, None)
    assert (found.url, found.keys.access_key_id) == ("http://127.0.0.1:9001", "WIOALOCAL")
    assert found.endpoint_url == "http://127.0.0.1:9000"


def test_a_profile_comes_before_the_local_stack_and_wio_dir_before_a_profile(
    home: dict[str, str], tmp_path: Path
) -> None:
    start_stack(tmp_path / ".wio")
    start_stack(tmp_path / "other")
    save_profile(home, "work", PROFILE)
    assert find_target(home, None).url == "https://broker.example"
    assert find_target({**home, "WIO_DIR": str(tmp_path / "other")}, None).url == "http://127.0.0.1:9001"
    assert find_target({**home, "WIO_DIR": "nowhere"}, "work").url == "https://broker.example"


def test_the_environment_needs_nothing_else_and_replaces_what_it_names(home: dict[str, str]) -> None:
    keys = {"WIO_ACCESS_KEY_ID": "WIOAENV", "WIO_SECRET_ACCESS_KEY": "s", "WIO_SESSION_TOKEN": "t"}
    found = find_target({**home, "WIO_URL": "http://other:9001", **keys}, None)
    assert (found.url, found.keys) == ("http://other:9001", Keys("WIOAENV", "s", "t"))
    save_profile(home, "work", PROFILE)
    assert find_target({**home, **keys}, None).url == "https://broker.example"
    moved = find_target({**home, "WIO_URL": "http://other:9001"}, None)
    assert (moved.url, moved.keys.access_key_id, moved.endpoint_url) == (
        "http://other:9001",
        "WIOAPROFILE",
        None,
    )
    with pytest.raises(Failure, match="both"):
        find_target({**home, "WIO_ACCESS_KEY_ID": "WIOAENV"}, None)


def test_profiles_are_private_and_can_be_forgotten(home: dict[str, str]) -> None:
    path = save_profile(home, "work", PROFILE)
    save_profile(home, "home", PROFILE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert forget_profile(home, None) == "home"
    assert load_profile(home, None) is None
    assert load_profile(home, "work") is not None
    assert forget_profile(home, "home") is None
    with pytest.raises(Failure, match="no profile 'home'"):
        find_target(home, "home")


def test_no_secret_shows_in_a_repr() -> None:
    assert "local-secret" not in repr(Keys("A", "local-secret", "token-secret"))
    assert "token-secret" not in repr(Keys("A", "local-secret", "token-secret"))
