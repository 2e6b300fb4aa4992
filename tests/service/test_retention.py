from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pose.probe import VideoInfo
from service.clips.store import ClipStore
from service.incidents.store import IncidentStore
from service.retention import IncidentRetention, Janitor, RetentionPolicy, Stored, to_remove
from service.storage.database import Database
from service.storage.evidence import EvidenceStore
from service.storage.folder import DataFolder
from tests.doubles.live_records import incident_info, over
from tests.doubles.servers import Serve, eventually

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def stored(name: str, hours_ago: float, size: int = 10) -> Stored:
    return Stored(name, NOW - hours_ago * HOUR, size)


@pytest.mark.parametrize(
    ("clips", "unfinished", "removed"),
    [
        ([], 0, []),
        ([stored("new", 1), stored("newer", 0.5)], 0, []),
        ([stored("old", 24), stored("new", 1)], 0, ["old"]),
        ([stored("a", 3, 60), stored("b", 2, 30), stored("c", 1, 30)], 0, ["a"]),
        ([stored("c", 1, 60), stored("a", 3, 60), stored("b", 2, 60)], 0, ["a", "b"]),
        ([stored("a", 3, 40)], 70, ["a"]),
        ([stored("a", 3, 40)], 200, ["a"]),
        ([stored("old", 30, 90), stored("new", 1, 90)], 0, ["old"]),
    ],
)
def test_what_is_too_old_goes_and_then_the_oldest_until_the_rest_fits(
    clips: list[Stored], unfinished: int, removed: list[str]
) -> None:
    policy = RetentionPolicy(max_age=24 * HOUR, max_bytes=100)
    assert to_remove(policy, clips, unfinished, NOW) == removed


def test_a_sweep_removes_rows_and_files_and_spares_what_is_not_finished(tmp_path: Path, database_url: str) -> None:
    time = [NOW]
    folder = DataFolder.open(tmp_path)
    store = ClipStore(Database.open(database_url), clock=lambda: time[0])
    janitor = Janitor(store, folder, RetentionPolicy(24 * HOUR, 100), clock=lambda: time[0])
    for name in ("done", "later", "waiting"):
        folder.clip(name).mkdir()
        folder.source(name).write_bytes(bytes(40))
        store.enqueue(
            name,
            filename=None,
            size_bytes=40,
            keypoints=True,
            video=VideoInfo(1, 1.0, 1, 1, 1.0, "mp4", "h264"),
            limit=9,
        )
    for name in ("done", "later"):
        store.claim()
        store.finish(name, frames=1)
        time[0] += HOUR
    assert janitor.sweep() == ["done"]
    assert janitor.sweep() == []
    time[0] += 30 * HOUR
    assert janitor.sweep() == ["later"]
    assert store.ids() == {"waiting"}
    assert [path.name for path in folder.clips.iterdir()] == ["waiting"]
    store.database.close()
    folder.close()


@dataclass
class Evidence:
    """Incidents with evidence of 100 bytes each, in a store and on disk."""

    store: IncidentStore
    files: EvidenceStore
    now: list[datetime]
    removed: list[str] = field(default_factory=list)
    recording: set[str] = field(default_factory=set)
    age_of_camera: dict[str, timedelta] = field(default_factory=dict)

    def add(self, incident_id: str, *, hours_ago: float, ended: bool = True, camera: str = "door") -> None:
        incident = incident_info(incident_id, camera, start=-3600 * hours_ago)
        self.store.started(incident)
        if ended:
            self.store.ended(over(incident))
        self.files.make_room(incident_id)
        self.files.file(incident_id, "clip").write_bytes(bytes(100))
        written = (NOW - hours_ago * HOUR).timestamp()
        os.utime(self.files.file(incident_id, "clip").parent, (written, written))

    def retention(self, max_bytes: int) -> IncidentRetention:
        return IncidentRetention(
            self.store,
            self.files,
            RetentionPolicy(24 * HOUR, max_bytes),
            age_of_camera=lambda: self.age_of_camera,
            recording=lambda: self.recording,
            on_removed=self.removed.append,
            clock=lambda: self.now[0],
        )


@pytest.fixture
def evidence(tmp_path: Path, database_url: str) -> Iterator[Evidence]:
    now = [NOW]
    database = Database.open(database_url)
    (tmp_path / "incidents").mkdir()
    yield Evidence(IncidentStore(database, lambda: now[0]), EvidenceStore(tmp_path / "incidents"), now)
    database.close()


def test_without_room_the_oldest_evidence_goes_and_its_incident_stays(evidence: Evidence) -> None:
    for hours in (3, 2, 1):
        evidence.add(f"{hours} hours ago", hours_ago=hours)
    retention = evidence.retention(max_bytes=250)
    assert retention.sweep() == ["3 hours ago"]
    assert evidence.removed == ["3 hours ago"]
    assert evidence.files.ids() == {"2 hours ago", "1 hours ago"}
    assert len(evidence.store.ids()) == 3
    assert retention.sweep() == []


def test_incidents_go_by_age_with_their_evidence_and_nobody_is_told(evidence: Evidence) -> None:
    evidence.add("old", hours_ago=25)
    evidence.add("new", hours_ago=23)
    retention = evidence.retention(max_bytes=10_000)
    assert retention.sweep() == ["old"]
    assert evidence.removed == []
    assert evidence.store.ids() == evidence.files.ids() == {"new"}


def test_incidents_of_a_camera_go_by_its_own_age_with_their_evidence(evidence: Evidence) -> None:
    for camera in ("door", "till", "yard"):
        for hours in (1, 3, 25, 100):
            evidence.add(f"{camera} {hours}", hours_ago=hours, camera=camera)
    evidence.age_of_camera = {"till": 2 * HOUR, "yard": 1000 * HOUR}
    retention = evidence.retention(max_bytes=10_000)
    assert set(retention.sweep()) == {"door 25", "door 100", "till 3", "till 25", "till 100"}
    kept = {"door 1", "door 3", "till 1", "yard 1", "yard 3", "yard 25", "yard 100"}
    assert evidence.store.ids() == evidence.files.ids() == kept
    evidence.age_of_camera = {}
    assert set(retention.sweep()) == {"yard 25", "yard 100"}
    assert evidence.removed == []


def test_a_running_service_keeps_incidents_as_long_as_the_settings_of_their_camera_say(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.retention._EVERY_S", 0.05)
    live = serve()
    for camera in ("door", "till"):
        assert live.client.put(f"/v1/cameras/{camera}", json={"url": "skeletons:"}).status_code == 201
        incident = incident_info(f"at the {camera}", camera)
        times = dict.fromkeys(("started_at", "updated_at", "peak_at"), datetime.now(UTC) - 2 * HOUR)
        live.runtime.streams.incidents.started(incident.model_copy(update=times))
        live.runtime.streams.incidents.ended(over(incident.model_copy(update=times)))
    assert live.runtime.streams.incidents.ids() == {"at the door", "at the till"}
    assert live.client.patch("/v1/cameras/till", json={"retention_hours": 1}).status_code == 200
    eventually(lambda: live.runtime.streams.incidents.ids() == {"at the door"}, "the incident at the till is gone")


def test_evidence_that_is_being_recorded_stays_and_counts(evidence: Evidence) -> None:
    evidence.add("recording", hours_ago=30, ended=False)
    evidence.add("finished", hours_ago=1)
    evidence.recording.add("recording")
    assert evidence.retention(max_bytes=150).sweep() == ["finished"]
    assert evidence.files.ids() == {"recording"}


def test_a_sweep_of_the_janitor_takes_incidents_too(evidence: Evidence, tmp_path: Path, database_url: str) -> None:
    evidence.add("old", hours_ago=25)
    folder = DataFolder.open(tmp_path)
    database = Database.open(database_url)
    janitor = Janitor(
        ClipStore(database), folder, RetentionPolicy(HOUR, 1), incidents=evidence.retention(max_bytes=10_000)
    )
    janitor.start()
    assert eventually(lambda: not evidence.store.ids(), "the incident is gone")
    janitor.stop()
    database.close()
    folder.close()


def test_a_sweep_that_meets_a_defect_costs_neither_the_other_nor_the_next(
    evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setattr("service.retention._EVERY_S", 0.01)
    sweeps: list[None] = []

    def fail(_: Janitor) -> list[str]:
        sweeps.append(None)
        raise ValueError("a defect")

    monkeypatch.setattr(Janitor, "sweep", fail)
    evidence.add("old", hours_ago=25)
    folder = DataFolder.open(tmp_path)
    database = Database.open(database_url)
    janitor = Janitor(
        ClipStore(database), folder, RetentionPolicy(HOUR, 1), incidents=evidence.retention(max_bytes=10_000)
    )
    janitor.start()
    eventually(lambda: not evidence.store.ids() and len(sweeps) > 1, "the incident is gone, and retention goes on")
    janitor.stop()
    database.close()
    folder.close()
