"""The evidence of one incident: what it shows, and what a full or vanished disk costs."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from model.behaviours import Kind
from service.documents.messages import Score
from service.drawing.live_view import encode_jpeg
from service.drawing.overlay import Image
from service.incidents import recording
from service.incidents.recording import VERSIONS, IncidentRecording, Shot, rank_of
from service.storage.evidence import EvidenceStore
from tests.doubles.evidence import CAMERA, SIZE, Stage
from tests.doubles.findings import finding
from tests.doubles.media import frame_number
from tests.doubles.scores import live_person, live_score
from tests.doubles.servers import eventually


def shot(moment: float, rank: float = 0.5) -> Shot:
    """A frame without a picture."""
    score = live_score(rank, size=SIZE, people=[]).model_dump_json().encode()
    return Shot(moment, SIZE, None, score, (), (0, rank, rank))


class Told(list[tuple[object, ...]]):
    """What a recording reports."""

    def __call__(self, *news: object) -> None:
        self.append(news)


def recording_of(root: Path, told: Told, max_s: float = 20.0) -> IncidentRecording:
    root.mkdir(exist_ok=True)
    return IncidentRecording(CAMERA, "a", EvidenceStore(root), versions=VERSIONS, max_s=max_s, report=told)


def test_a_recording_works_in_small_steps_until_it_is_done(tmp_path: Path) -> None:
    told = Told()
    one = recording_of(tmp_path / "incidents", told)
    assert not one.step(0.0, drained=True), "there is nothing to do before the first frame"
    for index in range(3):
        assert one.offer(shot(index / 10))
    one.end(0.3, after_s=0.0)
    steps = 0
    while one.step(10.0, drained=True):
        steps += 1
    assert steps == 5, "the snapshot, three frames, and the end of the clip"
    assert told == [("a", "snapshot", "ready", None), ("a", "clip", "ready", None)]
    assert one.done


def test_frames_that_find_no_room_are_dropped_and_may_still_be_the_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_BACKLOG_BYTES", 2 * shot(0.0).bytes)
    told = Told()
    one = recording_of(tmp_path / "incidents", told)
    assert [one.offer(shot(index / 10, 0.1 * index)) for index in range(4)] == [True, True, False, False]
    assert one.step(0.0, drained=False)
    assert told == [("a", "snapshot", "ready", None)]
    assert one.step(0.0, drained=False)
    assert one.offer(shot(0.5)), "a frame that was encoded makes room"


def test_what_is_given_up_is_missing_and_told_once(tmp_path: Path) -> None:
    told = Told()
    one = recording_of(tmp_path / "incidents", told)
    one.offer(shot(0.0))
    for _ in range(2):
        one.give_up("no reason")
    assert sorted(told) == [("a", "clip", "missing", "no reason"), ("a", "snapshot", "missing", "no reason")]
    assert one.done
    assert not one.step(10.0, drained=True)


def test_the_snapshot_follows_the_peak_to_the_end_of_the_incident(stage: Stage) -> None:
    stage.show([0.9999, 0.2, 0.995])
    stage.begin("a", ago=0.15)
    assert stage.outcome("a", "snapshot") == ("ready", None)
    assert frame_number(stage.snapshot("a")) == 2
    stage.show([0.9, 0.997, None, 0.998, 0.991])
    stage.recorder.ended(CAMERA, "a")
    stage.show([1.0])
    eventually(lambda: frame_number(stage.snapshot("a")) == 6, "the snapshot shows the peak")
    stage.show([0.1] * 20)
    stage.outcome("a", "clip")
    assert frame_number(stage.snapshot("a")) == 6
    assert stage.snapshot("a", background=False)[:48].max() < 90
    assert [news[1] for news in stage.done].count("snapshot") == 1


def test_the_snapshot_of_a_behaviour_shows_its_highest_score(stage: Stage) -> None:
    stage.begin("a")
    for level, behaviours in (
        (0.9999, {}),
        (0.2, {Kind.RUNNING: 3.0}),
        (0.3, {Kind.FALL: 1.25, Kind.RUNNING: 1.0}),
        (None, {Kind.FALL: 1.5}),
        (0.99999, {Kind.FALL: 1.25, Kind.LYING: 2.0}),
        (0.2, {Kind.FIGHT: 9.0, Kind.FALL: 0.99}),
    ):
        person = live_person(level, box=(70, 50, 90, 70), behaviours=behaviours)
        stage.score(live_score(level, camera=CAMERA, size=SIZE, people=[person]))
        stage.now += 0.1
    stage.recorder.ended(CAMERA, "a")
    stage.show([0.1] * 20)
    stage.outcome("a", "clip")
    assert frame_number(stage.snapshot("a")) == 3


def test_snapshot_and_clip_show_the_limbs_that_contributed(stage: Stage) -> None:
    fallen = live_person(0.3, box=(20, 5, 76, 65), behaviours={Kind.FALL: 1.3})
    for incident, findings in (("plain", ()), ("limbs", (finding(joints=(13, 14, 15, 16)),))):
        stage.begin(incident)
        for _ in range(3):
            stage.score(live_score(0.3, camera=CAMERA, size=SIZE, people=[fallen]), findings=findings)
            stage.now += 0.1
        stage.recorder.ended(CAMERA, incident)
        stage.show([0.1] * 20)
        assert stage.outcome(incident, "clip") == ("ready", None)
    assert fallen.keypoints is not None
    x, y, _ = np.mean([fallen.keypoints[13], fallen.keypoints[15]], axis=0)

    def violet(image: Image) -> float:
        """How violet the left shin is."""
        shin = image[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].astype(int)
        return float((shin[..., 0] + shin[..., 2] - 2 * shin[..., 1]).mean())

    for background in (True, False):
        plain, limbs = (stage.snapshot(one, background=background) for one in ("plain", "limbs"))
        assert violet(limbs) > violet(plain) + 100
        plain, limbs = (stage.clip(one, background=background)[1][-12] for one in ("plain", "limbs"))
        assert violet(limbs) > violet(plain) + 100


@pytest.mark.parametrize(
    ("worse", "better"),
    [
        (live_score(None, people=[]), live_score(0.1, people=[])),
        (live_score(0.1, people=[]), live_score(0.2, people=[])),
        (live_score(0.9999), live_score(0.1, people=[live_person(behaviours={Kind.RUNNING: 1.0})])),
        (
            live_score(0.1, people=[live_person(behaviours={Kind.RUNNING: 9.0})]),
            live_score(0.1, people=[live_person(behaviours={Kind.LYING: 1.0})]),
        ),
        (
            live_score(0.1, people=[live_person(behaviours={Kind.FALL: 0.999})]),
            live_score(0.2, people=[live_person(behaviours={Kind.FALL: 0.5})]),
        ),
        (
            live_score(0.1, people=[live_person(behaviours={Kind.FALL: 1.5})]),
            live_score(0.2, people=[live_person(behaviours={Kind.FALL: 1.5})]),
        ),
    ],
)
def test_the_most_severe_behaviour_ranks_first_then_its_score_then_the_level(worse: Score, better: Score) -> None:
    assert rank_of(worse) < rank_of(better)


def test_a_peak_that_grows_with_every_frame_is_written_once_a_second(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    save = recording.atomic_write

    def counted(target: Path) -> object:
        written.append(target.name)
        return save(target)

    monkeypatch.setattr(recording, "atomic_write", counted)
    stage.begin("a")
    stage.show([0.9 + index / 1000 for index in range(50)])
    stage.recorder.ended(CAMERA, "a")
    stage.show([0.1] * 15)
    stage.outcome("a", "clip")
    assert 5 <= written.count("snapshot.jpg") <= 7
    assert frame_number(stage.snapshot("a")) == 49


@pytest.mark.parametrize("feed", [True, False], ids=["feed without pictures", "pictures must not be kept"])
def test_without_pictures_there_are_skeletons_only(stage: Stage, feed: bool) -> None:
    for index in range(12):
        if index == 6:
            stage.begin("a", picture=feed)
        stage.frame(0.999, picture=not feed)
        stage.now += 0.1
    stage.recorder.ended(CAMERA, "a")
    stage.show([0.1] * 15)
    assert stage.outcome("a", "clip") == ("ready", None)
    assert stage.files("a") == ["clip-skeletons.mp4", "snapshot-skeletons.jpg"]
    assert stage.store.has("a", "clip")


def test_a_long_incident_has_a_clip_of_its_beginning_and_says_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "incidents", max_s=3.0)
    stage.recorder.start()
    stage.show([0.1] * 20)
    stage.begin("a")
    stage.show([0.995] * 30)
    outcome, note = stage.outcome("a", "clip")
    assert outcome == "ready"
    assert note is not None
    assert "ends before the incident" in note
    times, images = stage.clip("a")
    assert times[-1] == pytest.approx(3.0, abs=1e-4)
    assert frame_number(images[0]) == 10
    stage.show([0.9999])
    stage.recorder.ended(CAMERA, "a")
    eventually(lambda: frame_number(stage.snapshot("a")) == 50, "the snapshot shows the peak")
    stage.recorder.stop()


def test_an_incident_without_a_single_frame_has_no_evidence(stage: Stage) -> None:
    stage.begin("a")
    stage.recorder.ended(CAMERA, "a")
    stage.now += 3.0
    for kind in ("snapshot", "clip"):
        assert stage.outcome("a", kind) == ("missing", "no picture of it was taken")


def test_evidence_of_which_only_one_version_could_be_written_is_missing_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = recording.atomic_write

    def broken(target: Path) -> AbstractContextManager[IO[bytes]]:
        if target.name == "snapshot-skeletons.jpg":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write(target)

    monkeypatch.setattr(recording, "atomic_write", broken)
    told = Told()
    one = recording_of(tmp_path / "incidents", told)
    picture = encode_jpeg(np.zeros((SIZE[1], SIZE[0], 3), np.uint8))
    one.offer(replace(shot(0.0), jpeg=picture))
    assert one.step(0.0, drained=False)
    assert (tmp_path / "incidents" / "a" / "snapshot.jpg").exists()
    one.end(0.1, after_s=0.0)
    while one.step(10.0, drained=True):
        pass
    assert ("a", "snapshot", "missing", "the snapshot could not be written: Input/output error") in told
    files = sorted(path.name for path in (tmp_path / "incidents" / "a").iterdir())
    assert files == ["clip-skeletons.mp4", "clip.mp4"]


# Run in a process of its own: the limit would hold for everything that the test run writes, its report included.
_WITHOUT_ROOM = """
import queue, resource, sys, time
from pathlib import Path
import numpy as np
from service.incidents.recorder import EvidenceRecorder
from service.storage.evidence import EvidenceStore
from tests.doubles.scores import live_score
store, room, done = EvidenceStore(Path(sys.argv[1])), int(sys.argv[2]), queue.Queue()
recorder = EvidenceRecorder(
    store, before_s=0, after_s=0, max_s=9, width=640, on_done=lambda *news: done.put("|".join(map(str, news)))
)
recorder.start()
noise = np.random.default_rng(0).integers(0, 256, (12, 144, 192, 3), np.uint8)
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for incident, limit in (("full", room), ("later", soft)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    recorder.started("entrance", incident, True, time.monotonic())
    for picture in noise:
        recorder.frame("entrance", picture, live_score(0.999, size=(192, 144), people=[]), ())
    recorder.forget("entrance")
    print(done.get(timeout=60))
    print(done.get(timeout=60))
    print("|".join([incident, *sorted(path.name for path in (store.root / incident).iterdir())]))
recorder.stop()
"""


_ALL = "clip-skeletons.mp4|clip.mp4|snapshot-skeletons.jpg|snapshot.jpg"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "snapshot", "files"),
    [
        (1000, "missing|there is no room left to store the snapshot", ""),
        (50_000, "ready|None", "|snapshot-skeletons.jpg|snapshot.jpg"),
    ],
    ids=["for nothing", "for the snapshot"],
)
def test_a_full_disk_costs_the_evidence_that_does_not_fit_and_says_so(
    tmp_path: Path, room: int, snapshot: str, files: str
) -> None:
    (tmp_path / "incidents").mkdir()
    done = subprocess.run(
        [sys.executable, "-B", "-c", _WITHOUT_ROOM, str(tmp_path / "incidents"), str(room)],
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stdout.splitlines() if line.startswith(("full", "later"))]
    assert told == [
        f"full|snapshot|{snapshot}",
        "full|clip|missing|there is no room left to store the clip",
        f"full{files}",
        "later|snapshot|ready|None",
        "later|clip|ready|None",
        f"later|{_ALL}",
    ], done.stdout + done.stderr


def test_a_folder_that_vanishes_costs_the_clip_only(stage: Stage) -> None:
    stage.begin("a")
    stage.show([0.999] * 3)
    eventually(lambda: stage.store.has("a", "snapshot"), "there is a snapshot")
    stage.store.discard("a")
    stage.recorder.forget(CAMERA)
    outcome, problem = stage.outcome("a", "clip")
    assert outcome == "missing"
    assert problem == "the clip could not be written: No such file or directory"
