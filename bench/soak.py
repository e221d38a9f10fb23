"""Random work on a real gate for as long as one likes: `python -m bench.soak [--minutes 10]` (`make soak`).

Runs every order of every two operations, then the state machine of `tests/proxy/room_machine.py` with new seeds until
the time is up. Prints what was done, and exits with 1 at the first thing that is not as it should be.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests import servers
from tests.proxy.gates import running_gate
from tests.proxy.room_machine import RoomMachine

ORDERS = "tests/quota/test_interleavings.py"


def run_orders() -> bool:
    """Every order of every two operations; returns whether all held."""
    print(f"every order of two operations, a worker killed at each step ({ORDERS})", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", ORDERS], env={**os.environ, "WIO_SOAK": "1"}, check=False
    )
    return done.returncode == 0


def run_machine(minutes: float) -> None:
    """Random work until the time is up. Raises what Hypothesis raises when something does not hold."""
    until = time.monotonic() + minutes * 60
    chosen = settings(
        max_examples=5, stateful_step_count=40, deadline=None, database=None, print_blob=True,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            servers.minio_server(folder / "minio") as minio,
            servers.valkey_server(folder / "valkey") as valkey,
            running_gate(
                minio, valkey, folder / "gate", workers=2, WIO_LEASE_SECONDS="1", WIO_COMMIT_SECONDS="0.5"
            ) as gate,
        ):
            number = int(time.time())
            while time.monotonic() < until:
                number += 1
                machine = seed(number)(type("Machine", (RoomMachine,), {"gate": gate}))
                print(f"seed {number}, {max(0, until - time.monotonic()):.0f} s left", flush=True)
                run_state_machine_as_test(machine, settings=chosen)


def main() -> int:
    """Run, and say what was done."""
    parser = argparse.ArgumentParser(description="Random work on a real gate, against a model.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the random work goes on")
    parser.add_argument("--no-orders", action="store_true", help="leave out the orders of two operations")
    asked = parser.parse_args()
    started, fine = time.monotonic(), False
    try:
        fine = asked.no_orders or run_orders()
        if fine:
            fine = False
            run_machine(asked.minutes)
            fine = True
    finally:
        print(f"\n{'done':<32} times")
        for what, times in sorted(RoomMachine.did.items()):
            print(f"{what:<32} {times}")
        seconds = time.monotonic() - started
        print(f"\n{'all as it should be' if fine else 'FAILED'} after {seconds:.0f} s", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
