"""The database that all stores share: opened by URL, migrated at start, safe to use from many threads."""

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

Clock = Callable[[], datetime]

_POSTGRES_DISK_FULL: Final = "53100"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_BUSY_MS: Final = 10_000
_POSTGRES: Final = "postgresql+psycopg"
_TURNS: Final = 0xDAF
"""Sets our advisory locks apart from those of other programs in the same database."""

_CONNECTING: Final = {"connect_timeout": "5", "tcp_user_timeout": "10000", "options": f"-c lock_timeout={_BUSY_MS}"}
"""What libpq is told, unless the URL says otherwise: a server that is gone must not hold anybody for minutes."""

Counter: Final = BigInteger().with_variant(Integer, "sqlite")
"""A number that never runs out; SQLite counts in 64 bits whatever it is told."""


class Utc(TypeDecorator[datetime]):
    """SQLite forgets time zones; every time in the store is UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Towards the database."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """From the database."""
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


class Turn(IntEnum):
    """What only one transaction at a time may do."""

    MIGRATE = 1
    TELL = 2
    ENQUEUE = 3
    LEASE = 4


class Base(DeclarativeBase):
    """Tables of the store."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class Database:
    """One database and its connections.

    Attributes:
        engine: Where connections come from.
        sessions: Makes sessions; a store's method is one transaction, ``with sessions.begin() as session``.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.sessions: sessionmaker[Session] = sessionmaker(engine, expire_on_commit=False)

    @classmethod
    def open(cls, url: str) -> Self:
        """Connect and bring the schema up to date.

        Raises:
            StartupError: The database cannot be reached or migrated; the password of the URL is not repeated.
        """
        shown = make_url(url).render_as_string(hide_password=True)
        try:
            engine = connect(url)
            migrate(engine)
        except CommandError as error:
            engine.dispose()
            raise StartupError(
                f"database {shown} was migrated by another version of the service ({error}); start that one, or "
                "restore the backup from before the upgrade"
            ) from error
        except (SQLAlchemyError, ImportError) as error:
            raise StartupError(f"database {shown} cannot be used: {reason(error)}; set DAFLOW_DATABASE_URL") from error
        return cls(engine)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def check_writable(self) -> None:
        """Take the write lock and give it back.

        Raises:
            SQLAlchemyError: The database cannot be written.
        """
        with self.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = version_num WHERE 1 = 0"))


def take_turn(connection: Connection | Session, turn: Turn) -> None:
    """Wait until no other transaction has this turn, and keep it to the end of this one.

    SQLite has one writer at a time in any case.
    """
    bound = connection.get_bind() if isinstance(connection, Session) else connection
    if bound.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_TURNS, int(turn))))


def database_url(text: str) -> URL:
    """A URL with the driver that comes with us, where it names none.

    Raises:
        ArgumentError: It is no URL.
    """
    url = make_url(text)
    return url.set(drivername=_POSTGRES) if url.drivername in ("postgres", "postgresql") else url


def reason(error: Exception) -> str:
    """Why the database did not do what it was asked to, in one line without statement and values."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]


def is_database_full(error: SQLAlchemyError) -> bool:
    """Whether a write failed because the database has no room to grow."""
    original = getattr(error, "orig", None)
    full = getattr(original, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return full or getattr(original, "sqlstate", None) == _POSTGRES_DISK_FULL


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest revision; does nothing when it is."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        take_turn(connection, Turn.MIGRATE)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def connect(text: str) -> Engine:
    """Where connections to a database come from; none is made yet.

    Raises:
        SQLAlchemyError: The URL is none, or names a database that is not supported.
        ImportError: The driver that it names is not installed.
    """
    url = database_url(text)
    postgres = url.get_backend_name() == "postgresql"
    told = {name: value for name, value in _CONNECTING.items() if name not in url.query} if postgres else {}
    # Values may hold passwords of cameras, and errors are logged.
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=told)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    return engine


def _tune_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transaction handling starts transactions late and upgrades locks, which fails under contention.
    connection.isolation_level = None
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MS}")
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")


def _begin_immediate(connection: Any) -> None:
    connection.execute(text("BEGIN IMMEDIATE"))
