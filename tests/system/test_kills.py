"""Random kills: of the service, of PostgreSQL and of Redis, with clips and incidents on their way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.doubles.backends import Servers
from tests.doubles.killed import KilledService, schedule


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_random_kills_lose_nothing_and_leave_nothing_half_done(
    tmp_path: Path,
    servers: Servers | None,
    backend: str,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kills, seed = request.config.getoption("--kills"), request.config.getoption("--kills-seed")
    service = KilledService(tmp_path, servers, seed)
    service.run(schedule(kills, seed, ["postgres", "redis"] if servers else []))
    faults = service.faults(os.environ.get("DAFLOW_DATABASE_URL") or f"sqlite:///{service.data / 'daflow.db'}")
    with capsys.disabled():
        print(f"\n{kills} kills, seed {seed}, {'PostgreSQL and Redis' if servers else 'SQLite'}:")
        for name, number in service.summary().items():
            print(f"  {number:6} {name}")
        print(*(f"  WRONG: {fault}" for fault in faults), sep="\n")
    assert faults == []
