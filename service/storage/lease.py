"""The lease in the database that lets only one process run the cameras; a process that loses it must stop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import String, delete, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Mapped, Session, mapped_column

from service.errors import StartupError
from service.storage.database import Base, Database, Turn, Utc, reason, take_turn, utc_now

TERM_S: Final = 20.0
"""Seconds after its last renewal when another process may take the lease."""

_NAME: Final = "cameras"
_RENEWALS: Final = 4

log = structlog.get_logger(__name__)


class LeaseRow(Base):
    """Table of leases; `expires_at` is by the clock of the database."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(String(255))
    expires_at: Mapped[datetime] = mapped_column(Utc)


class Lease:
    """The right to run the cameras of a database.

    While the database cannot be reached, the holder goes on, because no other process can take the lease either. It
    loses the lease if another process takes it before the holder can renew it.

    Args:
        database: The database whose cameras are to be run.
        holder: Name of this process. With the same name after a restart, it need not wait for the end of the term.
        on_lost: Called once, from the thread of the lease, when another process has taken it.
        term_s: Seconds that the lease is valid without being renewed.
    """

    def __init__(self, database: Database, holder: str, on_lost: Callable[[], None], *, term_s: float = TERM_S) -> None:
        self._sessions = database.sessions
        self._holder = holder
        self._on_lost = on_lost
        self._term = timedelta(seconds=term_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take the lease.

        Raises:
            StartupError: Another process has the lease.
            SQLAlchemyError: The database cannot be used.
        """
        other = self._take()
        if other is not None:
            raise StartupError(
                f"the cameras of this database are run by a process on {other}; stop it and wait "
                f"{self._term.total_seconds():g} s, or set DAFLOW_ROLE=api, or another DAFLOW_DATABASE_URL"
            )

    def start(self) -> None:
        """Start to renew the lease."""
        self._thread.start()

    def stop(self) -> None:
        """Release the lease, so that another process can take it at once."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        try:
            with self._sessions.begin() as session:
                session.execute(delete(LeaseRow).where(LeaseRow.name == _NAME, LeaseRow.holder == self._holder))
        except SQLAlchemyError as error:
            log.warning("the lease of the cameras cannot be released; it will expire", error=reason(error))

    def _keep(self) -> None:
        while not self._stopping.wait(self._term.total_seconds() / _RENEWALS):
            try:
                other = self._take()
            except SQLAlchemyError as error:
                log.warning("the lease of the cameras cannot be renewed; trying again", error=reason(error))
                continue
            if other is not None:
                log.critical("another process runs the cameras now", host=other)
                self._on_lost()
                return

    def _take(self) -> str | None:
        """Take or renew the lease; if another process has it, return the host of that process."""
        with self._sessions.begin() as session:
            take_turn(session, Turn.LEASE)
            now, row = _now(session), session.get(LeaseRow, _NAME)
            if row is None:
                row = LeaseRow(name=_NAME)
                session.add(row)
            elif row.holder != self._holder and row.expires_at > now:
                return row.host
            row.holder, row.host, row.expires_at = self._holder, socket.gethostname(), now + self._term
            return None


def _now(session: Session) -> datetime:
    """The current time, by a clock that all processes share."""
    if session.get_bind().dialect.name == "postgresql":
        now: datetime = session.scalars(select(func.clock_timestamp())).one()
        return now
    return utc_now()
