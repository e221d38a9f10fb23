"""Where MinIO's data is while it is measured, and that nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import storage
from bench.storage import node_storage


def test_what_is_in_memory_is_removed_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_MEMORY", tmp_path)
    monkeypatch.setattr(storage, "_NEEDED_MIB", 0)

    def interrupted() -> None:
        with node_storage(tmp_path / "disk") as found:
            assert found.folder.parent == tmp_path
            (found.folder / "data").write_bytes(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_without_room_in_memory_it_is_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "_NEEDED_MIB", 2**40)
    with node_storage(tmp_path) as found:
        assert found.folder == tmp_path
        assert "disk" in found.where
