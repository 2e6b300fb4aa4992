from __future__ import annotations

import threading

import pytest

from service.errors import StartupError
from service.storage.database import Database
from service.storage.lease import Lease
from tests.doubles.servers import PATIENCE_S


def never() -> None:
    raise AssertionError("the lease was lost")


def test_a_second_process_is_refused_in_one_line_and_told_what_to_do(database: Database) -> None:
    first = Lease(database, "first", never)
    first.acquire()
    with pytest.raises(StartupError, match=r"run by a process on .*DAFLOW_ROLE=api") as refusal:
        Lease(database, "second", never).acquire()
    assert "\n" not in str(refusal.value)
    first.stop()
    Lease(database, "second", never).acquire()


def test_a_process_that_starts_again_need_not_wait(database: Database) -> None:
    Lease(database, "first", never).acquire()
    Lease(database, "first", never).acquire()


def test_a_lease_that_is_renewed_lasts_and_one_that_is_not_runs_out(database: Database) -> None:
    renewed = threading.Event()
    kept = Lease(database, "first", never, term_s=0.4)
    take = kept._take

    def watched() -> str | None:
        other = take()
        if kept._thread.ident is not None:
            renewed.set()
        return other

    kept._take = watched  # type: ignore[method-assign]
    kept.acquire()
    kept.start()
    assert renewed.wait(PATIENCE_S)
    kept.stop()
    Lease(database, "second", never, term_s=0.0).acquire()
    Lease(database, "third", never).acquire()


def test_who_finds_its_lease_taken_is_told_once(database: Database) -> None:
    lost = threading.Event()
    first = Lease(database, "first", lost.set, term_s=0.2)
    first.acquire()
    # As if the database had been away for longer than the term.
    with database.sessions.begin() as session:
        session.connection().exec_driver_sql("UPDATE leases SET holder = 'second', expires_at = '2999-01-01'")
    first.start()
    assert lost.wait(PATIENCE_S)
    first.stop()
    with pytest.raises(StartupError):
        Lease(database, "first", never).acquire()
