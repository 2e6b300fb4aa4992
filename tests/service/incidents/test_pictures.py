"""Removing the stored pictures of a camera: what goes, what stays, and what incidents say of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.incidents.feed import EventFeed
from service.incidents.log import IncidentLog
from service.incidents.pictures import PictureRemoval, RemovedPictures
from service.incidents.store import IncidentStore
from service.live.clock import SteadyClock
from service.live.incident import Started
from service.storage.database import Database
from service.storage.evidence import EVIDENCE_KINDS, EvidenceStore
from tests.doubles.evidence import CAMERA, Stage
from tests.doubles.live_records import incident, incident_info, over
from tests.doubles.media import frame_number
from tests.doubles.servers import eventually


class Archive:
    """Incidents in a store, their evidence on disk, and a recorder that runs."""

    def __init__(self, root: Path, url: str) -> None:
        self.database = Database.open(url)
        self.stage = Stage(root / "incidents")
        self.stage.recorder.start()
        self.boot()

    def boot(self) -> None:
        clock = SteadyClock()
        self.store = IncidentStore(self.database, lambda: clock.utc(clock.now()))
        self.log = IncidentLog(self.store, EventFeed(self.store, clock), clock)
        self.removal = PictureRemoval(self.store, self.log, self.stage.recorder, self.files)

    @property
    def files(self) -> EvidenceStore:
        return self.stage.store

    def add(self, name: str, camera: str = CAMERA, *, pictures: bool = True) -> None:
        """An incident that is over, with 10 bytes of skeletons and 100 of pictures for each kind of evidence."""
        info = incident_info(name, camera)
        self.store.started(info)
        self.store.ended(over(info))
        self.files.make_room(name)
        for kind in EVIDENCE_KINDS:
            self.store.evidence(name, kind, "ready")
            self.files.file(name, kind, background=False).write_bytes(bytes(10))
            if pictures:
                self.files.file(name, kind).write_bytes(bytes(100))

    def removed(self) -> set[str]:
        """The incidents that say that their pictures were removed."""
        return {info.id for info in self.store.page(limit=100)[0] if info.pictures_removed_at is not None}


SKELETONS = ["clip-skeletons.mp4", "snapshot-skeletons.jpg"]
EVERYTHING = [*SKELETONS[:1], "clip.mp4", *SKELETONS[1:], "snapshot.jpg"]


@pytest.fixture
def archive(tmp_path: Path, database_url: str) -> Iterator[Archive]:
    archive = Archive(tmp_path, database_url)
    yield archive
    archive.stage.recorder.stop()
    archive.database.close()


def test_pictures_of_all_incidents_of_the_camera_go_and_skeletons_stay(archive: Archive) -> None:
    names = {f"at the entrance {number}" for number in range(3)}
    for name in names:
        archive.add(name)
    archive.add("in the yard", "yard")
    archive.add("never had any", pictures=False)
    newest = archive.store.newest_event_id() or 0
    assert archive.removal.remove(CAMERA) == RemovedPictures(incidents=3, files=6, bytes=600)
    for name in names:
        assert archive.stage.files(name) == SKELETONS
        info = archive.store.get(name)
        assert (info.snapshot, info.clip, info.evidence_problem) == ("ready", "ready", None)
    assert archive.stage.files("in the yard") == EVERYTHING
    assert archive.removed() == names
    told = archive.store.events_after(newest, 100)
    assert {event.type for event in told} == {"incident.evidence"}
    assert {event.incident.id for event in told if event.type == "incident.evidence"} == names


def test_removing_them_again_changes_nothing(archive: Archive) -> None:
    archive.add("one")
    archive.removal.remove(CAMERA)
    before, newest = archive.store.get("one"), archive.store.newest_event_id()
    assert archive.removal.remove(CAMERA) == RemovedPictures(incidents=0, files=0, bytes=0)
    assert (archive.store.get("one"), archive.store.newest_event_id()) == (before, newest)
    assert archive.removal.remove("nobody knows it") == RemovedPictures(incidents=0, files=0, bytes=0)


def test_more_incidents_than_a_statement_may_name_lose_their_pictures(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.incidents.store._AT_ONCE", 2)
    names = {f"{number}" for number in range(5)}
    for name in names:
        archive.add(name)
    assert archive.removal.remove(CAMERA).incidents == 5
    assert archive.removed() == names


def test_evidence_is_as_old_as_before_to_retention(archive: Archive) -> None:
    archive.add("one")
    written = archive.files.written_at("one")
    archive.removal.remove(CAMERA)
    assert archive.files.written_at("one") == written


def test_a_removal_that_was_cut_short_shows_nothing_and_is_finished_at_the_next_start(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        archive.add(name)
    archive.add("in the yard", "yard")

    def die(self: EvidenceStore, incident_id: str) -> list[int]:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(EvidenceStore, "discard_pictures", die)
        with pytest.raises(OSError, match="the disk is gone"):
            archive.removal.remove(CAMERA)
    assert archive.removed() == {"one", "two"}, "it is noted before the first file goes"
    assert archive.stage.files("one") == EVERYTHING
    archive.boot()
    archive.removal.finish()
    for name in ("one", "two"):
        assert archive.stage.files(name) == SKELETONS
    assert archive.stage.files("in the yard") == EVERYTHING


def test_a_removal_whose_files_could_not_go_can_be_repeated(archive: Archive) -> None:
    archive.add("one")
    archive.store.remove_pictures(["one"])
    assert archive.removal.remove(CAMERA) == RemovedPictures(incidents=1, files=2, bytes=200)
    assert archive.stage.files("one") == SKELETONS


def test_an_incident_that_is_being_recorded_goes_on_as_skeletons_and_the_next_one_has_pictures_again(
    archive: Archive,
) -> None:
    stage = archive.stage
    archive.store.started(incident_info("now", CAMERA))
    stage.show([0.1] * 5)
    stage.begin("now")
    stage.show([0.999] * 5)
    eventually(lambda: archive.files.pictures("now"), "there is a snapshot with the picture")
    assert archive.removal.remove(CAMERA).incidents == 1
    assert archive.files.pictures("now") == []
    assert not [name for name in stage.files("now") if name.startswith("clip.")], "no unfinished video is left"
    assert archive.removed() == {"now"}
    stage.show([0.9999] * 5)
    stage.recorder.ended(CAMERA, "now")
    stage.begin("next")
    stage.show([0.999] * 15)
    assert stage.outcome("now", "clip") == ("ready", None)
    assert stage.outcome("now", "snapshot") == ("ready", None)
    assert stage.files("now") == SKELETONS
    assert len(stage.clip("now", background=False)[0]) > 15
    stage.recorder.forget(CAMERA)
    assert stage.outcome("next", "clip") == ("ready", None)
    assert stage.files("next") == EVERYTHING
    assert min(frame_number(image) for image in stage.clip("next")[1]) == 10, "no picture from before the removal"


def test_recordings_of_other_cameras_keep_their_pictures(archive: Archive) -> None:
    archive.stage.begin("in the yard", camera="yard")
    archive.stage.show([0.999] * 3, camera="yard")
    assert archive.removal.remove(CAMERA) == RemovedPictures(incidents=0, files=0, bytes=0)
    archive.stage.recorder.forget("yard")
    archive.stage.outcome("in the yard", "clip")
    assert archive.stage.files("in the yard") == EVERYTHING


@pytest.mark.parametrize("picture", [True, False], ids=["feed without pictures", "pictures must not be kept"])
def test_a_recording_that_has_no_pictures_lost_none(archive: Archive, picture: bool) -> None:
    archive.stage.begin("now", picture=picture)
    archive.stage.frame(0.999, picture=not picture)
    assert archive.removal.remove(CAMERA).incidents == 0


def test_an_incident_whose_start_waits_for_the_database_is_noted_after_it(archive: Archive) -> None:
    archive.log.record(Started(incident("now", CAMERA)))
    archive.stage.begin("now")
    archive.stage.show([0.999] * 3)
    assert archive.removal.remove(CAMERA).incidents == 1
    assert archive.store.ids() == set()
    archive.log.start()
    eventually(lambda: archive.removed() == {"now"}, "the note came after the start")
    archive.log.stop()


def test_without_a_recorder_that_runs_stored_pictures_go_all_the_same(archive: Archive) -> None:
    archive.add("one")
    archive.stage.recorder.stop()
    assert archive.removal.remove(CAMERA) == RemovedPictures(incidents=1, files=2, bytes=200)
