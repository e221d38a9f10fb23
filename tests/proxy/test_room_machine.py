"""A short run of random work against the model; `make soak` makes long ones."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import servers
from tests.proxy.gates import running_gate
from tests.proxy.room_machine import RoomMachine


def test_random_work_leaves_charged_what_is_stored(
    minio: servers.Minio, valkey: servers.Valkey, tmp_path: Path
) -> None:
    with running_gate(
        minio, valkey, tmp_path, workers=2, WIO_LEASE_SECONDS="1", WIO_COMMIT_SECONDS="0.5"
    ) as gate:
        machine = type("Machine", (RoomMachine,), {"gate": gate})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=4, stateful_step_count=15, deadline=None, database=None,
                phases=[Phase.generate], suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
