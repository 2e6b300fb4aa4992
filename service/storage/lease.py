"""One process runs the cameras of a database: it holds a lease there, and lets go of everything when it has lost it."""

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
"""A lease that was not renewed for this long may be taken by another process."""

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

    While the database is away the holder goes on: nobody else can take the lease then. It loses the lease when another
    process has taken it before the holder could renew it.

    Args:
        database: Where it is kept.
        holder: Who asks. A process that starts again under the same name need not wait for the end of the term.
        on_lost: Called once, from the thread of the lease, when another process has it.
        term_s: How long it lasts without being renewed.
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
            StartupError: Another process has it.
            SQLAlchemyError: The database cannot be used.
        """
        other = self._take()
        if other is not None:
            raise StartupError(
                f"the cameras of this database are run by a process on {other}; stop it and wait "
                f"{self._term.total_seconds():g} s, or set DAFLOW_ROLE=api, or another DAFLOW_DATABASE_URL"
            )

    def start(self) -> None:
        """Renew it from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Give it back, so that another process can take it at once."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        try:
            with self._sessions.begin() as session:
                session.execute(delete(LeaseRow).where(LeaseRow.name == _NAME, LeaseRow.holder == self._holder))
        except SQLAlchemyError as error:
            log.warning("the lease of the cameras cannot be given back; it runs out", error=reason(error))

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
        """Take or renew the lease; the host of the process that has it, if that is another one."""
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
    """The time by the clock that all processes share."""
    if session.get_bind().dialect.name == "postgresql":
        now: datetime = session.scalars(select(func.clock_timestamp())).one()
        return now
    return utc_now()
