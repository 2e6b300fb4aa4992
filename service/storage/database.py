"""The database that all stores share: opened by URL, migrated at the start, safe to use from many threads."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, Self

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import BigInteger, DateTime, Engine, Integer, create_engine, event, func, select, text
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from service.errors import StartupError
from service.storage.private import create_private_files, make_private

Clock = Callable[[], datetime]

_POSTGRES_DISK_FULL: Final = "53100"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BUSY_MS: Final = 10_000
_POSTGRES: Final = "postgresql+psycopg"
_TURNS: Final = 0xDAF
"""Separates our advisory locks from those of other programs in the same database."""

_CONNECTING: Final = {"connect_timeout": "5", "tcp_user_timeout": "10000", "options": f"-c lock_timeout={_BUSY_MS}"}
"""Options of libpq, unless the URL sets them: without them, a server that is gone blocks a caller for minutes."""

Counter: Final = BigInteger().with_variant(Integer, "sqlite")
"""Type of ids, of 64 bits so that they never run out; in SQLite every integer has 64 bits."""


class Utc(TypeDecorator[datetime]):
    """Type of a time in UTC; SQLite does not store time zones, so they are added again when reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Convert a time for the database."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Convert a time from the database."""
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Turn(IntEnum):
    """Work that only one transaction may do at a time."""

    MIGRATE = 1
    TELL = 2
    ENQUEUE = 3
    LEASE = 4


class Base(DeclarativeBase):
    """Base class of all tables."""


def utc_now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(UTC)


class Database:
    """One database and its connections.

    Attributes:
        engine: SQLAlchemy's pool of connections.
        sessions: Makes sessions. Each method of a store is one transaction: ``with sessions.begin() as session``.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sessions: sessionmaker[Session] = sessionmaker(engine, expire_on_commit=False)

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect and bring the schema up to date.

        Raises:
            StartupError: The database cannot be reached or migrated; the message hides the password of the URL.
        """
        shown = make_url(url).render_as_string(hide_password=True)
        create_private_files()
        try:
            engine = connect(url)
            migrate(engine)
            _close_file(engine)
        except CommandError as error:
            engine.dispose()
            raise StartupError(
                f"database {shown} was migrated by another version of the service ({error}); start that version, or "
                "restore the backup from before the upgrade"
            ) from error
        except (SQLAlchemyError, ImportError) as error:
            raise StartupError(f"database {shown} cannot be used: {reason(error)}; set DAFLOW_DATABASE_URL") from error
        return cls(engine)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def check_writable(self) -> None:
        """Check that the database can be written, by an update that changes nothing.

        Raises:
            SQLAlchemyError: The database cannot be written.
        """
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = version_num WHERE 1 = 0"))

    def forget_old_pages(self) -> None:
        """Make SQLite move its log of changes into the database, so that no file shows what stood there before."""
        if self.engine.dialect.name == "sqlite":
            with contextlib.closing(self.engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def take_turn(connection: Connection | Session, turn: Turn) -> None:
    """Wait until no other transaction does this work, and keep others from it until this transaction ends.

    Nothing is needed for SQLite, which allows only one writer at a time.
    """
    bound = connection.get_bind() if isinstance(connection, Session) else connection
    if bound.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_TURNS, int(turn))))


def database_url(text: str) -> URL:
    """Parse the URL of a database; PostgreSQL without a driver gets the one that is installed with the service.

    Raises:
        ArgumentError: The text is not a URL.
    """
    url = make_url(text)
    return url.set(drivername=_POSTGRES) if url.drivername in ("postgres", "postgresql") else url


def reason(error: Exception) -> str:
    """Why the database failed, in one line, without the statement and its values."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def is_database_full(error: SQLAlchemyError) -> bool:
    """Whether a write failed because the database has no room to grow."""
    original = getattr(error, "orig", None)
    full = getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return full or getattr(original, "sqlstate", None) == _POSTGRES_DISK_FULL


def migrate(engine: Engine) -> None:
    """Migrate the schema to the newest revision; does nothing if it is there already."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        take_turn(connection, Turn.MIGRATE)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def connect(text: str) -> Engine:
    """Create the engine for a database; no connection is made yet.

    Raises:
        SQLAlchemyError: The URL is not valid, or names a database that is not supported.
        ImportError: The driver that the URL names is not installed.
    """
    url = database_url(text)
    postgres = url.get_backend_name() == "postgresql"
    options = {name: value for name, value in _CONNECTING.items() if name not in url.query} if postgres else {}
    # Errors are logged, and the values of statements may hold passwords of cameras.
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=options)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    return engine


def _close_file(engine: Engine) -> None:
    """Keep an SQLite database, and what SQLite writes beside it, from other users."""
    if engine.dialect.name == "sqlite" and engine.url.database:
        for suffix in ("", "-wal", "-shm"):
            make_private(Path(engine.url.database + suffix))


def _tune_sqlite(connection: Any, _record: object) -> None:
    # Off, because the driver would begin transactions late and upgrade their locks, which fails under contention.
    connection.isolation_level = None
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        # What was replaced, such as the address of a camera before it was encrypted, is overwritten in the file.
        cursor.execute("PRAGMA secure_delete=ON")


def _begin_immediate(connection: Any) -> None:
    connection.execute(text("BEGIN IMMEDIATE"))
