from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from cryptography.fernet import Fernet
from sqlalchemy import Engine, MetaData, create_engine, event, insert, inspect, text
from sqlalchemy.exc import DBAPIError, OperationalError

from model.behaviours import Kind
from pose.probe import VideoInfo
from service.access import keys
from service.access.policy import EVERYBODY, Principal, Scope
from service.addresses.urls import parse
from service.cameras.store import CalibrationRow, CameraRow, CameraStore
from service.clips.store import ClipStore
from service.clips.tables import CallbackRow, ClipRow
from service.documents.messages import IncidentStarted
from service.documents.reviews import Verdict
from service.errors import StartupError
from service.incidents.store import IncidentStore
from service.incidents.tables import EventRow, IncidentRow, ReadRow, ReviewRow
from service.notifications import store as notifications
from service.storage import lease
from service.storage.database import Base, Database, is_database_full, migrate
from service.storage.secrets import Cipher
from tests.doubles.live_records import at, incident_info, over

VIDEO = VideoInfo(20, 10.0, 64, 48, 2.0, "mp4", "h264")


def move(engine: Engine, step: Callable[[Config, str], None], revision: str) -> None:
    """Bring the schema to any revision."""
    config = Config()
    config.set_main_option("script_location", "service:storage/migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        step(config, revision)


TABLES = (
    CallbackRow,
    ClipRow,
    CameraRow,
    CalibrationRow,
    IncidentRow,
    EventRow,
    ReviewRow,
    ReadRow,
    keys.KeyRow,
    keys.TokenRow,
    keys.AuditRow,
    lease.LeaseRow,
    notifications.SinkRow,
    notifications.DeliveryRow,
)


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(database: Database) -> None:
    assert {table.__tablename__ for table in TABLES} == set(Base.metadata.tables)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_of_the_first_release_keeps_its_clips_and_gains_the_tables_of_cameras(database_url: str) -> None:
    engine = create_engine(database_url)
    migrate(engine)
    move(engine, command.downgrade, "base")
    move(engine, command.upgrade, "0001")
    with engine.begin() as connection:
        accepted, finished = datetime(2026, 1, 31, 9, 26, 53, tzinfo=UTC), datetime(2026, 1, 31, 9, 27, tzinfo=UTC)
        values = (7, "old", "done", "a.mp4", 9, True, asdict(VIDEO), 1, 20, 20, None, None, accepted, None, finished)
        connection.execute(insert(ClipRow.__table__).values(values))
        assert not inspect(connection).has_table("incidents")
    engine.dispose()
    database = Database.open(database_url)
    job = ClipStore(database).get("old")
    assert (job.sequence, job.video, job.created_at) == (7, VIDEO, datetime(2026, 1, 31, 9, 26, 53, tzinfo=UTC))
    assert CameraStore(database).put("door", {"url": 0})
    assert IncidentStore(database).newest_event_id() is None
    database.close()


def test_incidents_and_events_from_before_there_were_kinds_are_unusual(database_url: str) -> None:
    engine = create_engine(database_url)
    migrate(engine)
    move(engine, command.downgrade, "0005")
    seen = incident_info("old")
    later = {"kind", "title", "explanation", "kinds", "pictures_removed_at", "acknowledged_by", "review"}
    payload = seen.model_dump(mode="json", exclude=later)
    with engine.begin() as connection:
        tables = MetaData()
        tables.reflect(connection, only=["incidents", "events"])
        assert "kind" not in tables.tables["incidents"].columns
        row = seen.model_dump(exclude=later | {"camera"})
        connection.execute(insert(tables.tables["incidents"]).values(row | {"camera_id": "door"}))
        event = {"at": at(1), "camera_id": "door", "incident_id": "old", "type": "incident.started"}
        connection.execute(insert(tables.tables["events"]).values(event | {"payload": {"incident": payload}}))
    engine.dispose()
    database = Database.open(database_url)
    store = IncidentStore(database)
    assert store.get("old") == seen
    assert store.events_after(0, 9) == [IncidentStarted(id=1, at=at(1), camera="door", incident=seen)]
    assert [one.id for one in store.page(limit=9, kind=Kind.UNUSUAL)[0]] == ["old"]
    assert store.page(limit=9, kind=Kind.FALL)[0] == []
    # It goes on as any other.
    assert store.ended(over(seen)) is not None
    assert store.get("old") == over(seen)
    database.close()


def test_false_alarms_from_before_there_were_verdicts_become_some_and_are_nobodys_news(database_url: str) -> None:
    engine = create_engine(database_url)
    migrate(engine)
    move(engine, command.downgrade, "0009")
    tables = MetaData()
    tables.reflect(engine)
    later = {"title", "explanation", "camera", "acknowledged_by", "review"}
    with engine.begin() as connection:
        for name, wrong in (("wrong", True), ("right", False)):
            row = incident_info(name, acknowledged_at=at(9)).model_dump(mode="python", exclude=later)
            values = row | {"camera_id": "door", "kinds": {}, "false_alarm": wrong, "people": {}}
            connection.execute(insert(tables.tables["incidents"]).values(values))
        key = {"id": "k" * 12, "name": "Anna", "digest": "", "scope": "read", "created_at": at(-9)}
        connection.execute(insert(tables.tables["api_keys"]).values(key | {"id": "0" * 12, "revoked_at": at(-5)}))
        connection.execute(insert(tables.tables["api_keys"]).values(key))
    engine.dispose()
    database = Database.open(database_url)
    store = IncidentStore(database)
    found = {one.id: (one.false_alarm, one.review.verdict, one.acknowledged_at) for one in store.page(limit=9)[0]}
    assert found == {"wrong": (True, Verdict.FALSE_ALARM, at(9)), "right": (False, None, at(9))}
    anna = Principal("k" * 12, "Anna", Scope.READ, None)
    assert (store.reviews.unread(anna), store.reviews.unread(EVERYBODY)) == (0, 0)
    store.started(incident_info("new"))
    assert (store.reviews.unread(anna), store.reviews.unread(EVERYBODY)) == (1, 1)
    if database.engine.dialect.name == "sqlite":
        # Numbers of incidents are cursors of pages, and must not be given twice.
        with database.engine.connect() as connection:
            made = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = 'incidents'")).scalar_one()
        assert "AUTOINCREMENT" in made
    move(database.engine, command.downgrade, "0009")
    with database.engine.connect() as connection:
        rows = connection.execute(text("SELECT id, false_alarm FROM incidents")).all()
    assert {name: bool(wrong) for name, wrong in rows} == {"wrong": True, "right": False, "new": False}
    database.close()


def test_an_older_version_keeps_every_clip_but_those_that_were_never_fetched(database_url: str) -> None:
    database = Database.open(database_url)
    store = ClipStore(database)
    store.use_cipher(Cipher([Fernet.generate_key().decode()]))
    address = parse("https://videos.example/a.mp4")
    store.enqueue("old", filename="a.mp4", size_bytes=1, keypoints=True, video=VIDEO, limit=9, callback=address)
    for name in ("fetching", "failed"):
        store.enqueue_address(name, address, keypoints=True, limit=9)
    store.fail("failed", "status", "videos.example answered 404")
    kept = store.get("old")
    move(database.engine, command.downgrade, "0009")
    assert "callbacks" not in inspect(database.engine).get_table_names()
    move(database.engine, command.upgrade, "head")
    assert store.ids() == {"old"}
    assert store.get("old") == replace(kept, callback=None)
    again = store.enqueue("new", filename=None, size_bytes=1, keypoints=True, video=VIDEO, limit=9)
    assert again.sequence > kept.sequence
    database.close()


def test_the_migrations_can_be_undone(database: Database) -> None:
    move(database.engine, command.downgrade, "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]


def test_a_database_that_cannot_be_written_is_noticed(database: Database) -> None:
    database.check_writable()
    database.engine.dispose()
    postgres = database.engine.dialect.name == "postgresql"
    forbid = "SET default_transaction_read_only = on" if postgres else "PRAGMA query_only=ON"

    def forbid_writing(connection: Any, _record: object) -> None:
        connection.execute(forbid)
        if postgres:
            connection.commit()

    event.listen(database.engine, "connect", forbid_writing)
    with pytest.raises(DBAPIError, match=r"read-?only"):
        database.check_writable()


def test_a_database_that_cannot_be_reached_is_one_line_without_the_password() -> None:
    with pytest.raises(StartupError) as refusal:
        Database.open("sqlite:////nowhere/at/all/daflow.db")
    assert "DAFLOW_DATABASE_URL" in str(refusal.value)
    with pytest.raises(StartupError) as refusal:
        Database.open("unknown+driver://user:hunter2@host/db")
    assert "hunter2" not in str(refusal.value)


def test_a_database_of_a_later_version_is_left_alone_and_one_line_says_so(database_url: str) -> None:
    database = Database.open(database_url)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StartupError, match=r"another version .*9999.* restore the backup from before the upgrade"):
        Database.open(database_url)
    assert inspect(database.engine).has_table("incidents")
    database.close()


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


def test_errors_do_not_repeat_values_which_may_hold_passwords_of_cameras(database: Database) -> None:
    with pytest.raises(DBAPIError) as raised, database.sessions.begin() as session:
        session.execute(text("INSERT INTO nowhere VALUES (:url)"), {"url": "rtsp://viewer:hunter2@door/live"})
    assert "nowhere" in str(raised.value)
    assert "hunter2" not in str(raised.value)
