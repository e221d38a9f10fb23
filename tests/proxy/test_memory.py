"""Memory does not grow with what passes: here with sizes for every day; `bench/memory.py` does it with 1 GiB each."""

from __future__ import annotations

from pathlib import Path

from tests import servers
from tests.proxy.gates import running_gate
from tests.proxy.transfers import most_resident

MIB = 1024 * 1024


def test_sixteen_transfers_at_once(valkey: servers.Valkey, tmp_path: Path) -> None:
    with (
        servers.minio_server(tmp_path / "minio") as minio,
        running_gate(minio, valkey, tmp_path / "gate") as gate,
    ):
        most, _ = most_resident(gate, uploads=8, downloads=8, size=64 * MIB)
        assert most < 200 * MIB
        assert gate.charged() == gate.stored() == (9 * 64 * MIB, 9)
