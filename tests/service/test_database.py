from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from service import camera_store, incident_store, storage
from service.database import Base, Database, is_database_full
from service.files import StartupError


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(f"sqlite:///{tmp_path / 'daflow.db'}")
    yield database
    database.close()


TABLES = (
    storage.ClipRow,
    camera_store.CameraRow,
    camera_store.CalibrationRow,
    incident_store.IncidentRow,
    incident_store.EventRow,
)


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(database: Database) -> None:
    assert {table.__tablename__ for table in TABLES} == set(Base.metadata.tables)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_that_cannot_be_reached_is_one_line_without_the_password() -> None:
    with pytest.raises(StartupError) as refusal:
        Database.open("sqlite:////nowhere/at/all/daflow.db")
    assert "DAFLOW_DATABASE_URL" in str(refusal.value)
    with pytest.raises(StartupError) as refusal:
        Database.open("unknown+driver://user:hunter2@host/db")
    assert "hunter2" not in str(refusal.value)


def test_a_database_without_room_is_told_apart_from_a_broken_one() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE filling (content)"))
        connection.execute(text("PRAGMA max_page_count = 3"))
        with pytest.raises(OperationalError) as full:
            connection.execute(text("INSERT INTO filling VALUES (zeroblob(100000))"))
        with pytest.raises(OperationalError) as broken:
            connection.execute(text("INSERT INTO nowhere VALUES (1)"))
    engine.dispose()
    assert is_database_full(full.value)
    assert not is_database_full(broken.value)
