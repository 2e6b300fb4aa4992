"""The whole path of a clip with real weights: decoder process, estimator, tracker, windows, scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.load.post_clips import inconsistency
from model.behaviours import Behaviours, Finding, Kind
from pose.probe import VideoInfo
from pose.source import FileSource
from service.clips.decoding import ClipRejected
from service.clips.scorer import ClipScorer, ScoringCancelled, clip_limits
from service.documents.results import ClipResult, FrameScore
from service.documents.skeletons import SkeletonSequence
from service.scoring.loading import LoadedModels
from service.settings import Settings
from tests.doubles import media, zoo
from tests.doubles.findings import finding


@dataclass
class Watcher:
    """Keeps what it hears and stops the work after some frames."""

    stop_after: int | None = None
    done: list[int] = field(default_factory=list)
    frames: list[FrameScore] = field(default_factory=list)

    def progress(self, done: int, total: int) -> None:
        assert done <= total
        self.done.append(done)

    def frame(self, frame: FrameScore) -> None:
        self.frames.append(frame)

    def cancelled(self) -> bool:
        return self.stop_after is not None and bool(self.done) and self.done[-1] >= self.stop_after


@pytest.fixture(scope="module")
def settings(pose_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("data")
    return Settings(
        data_dir=folder, pose_weights=str(pose_weights), device="cpu", pose_precision="auto", sum_parts=True
    )


@pytest.fixture(scope="module")
def models(settings: Settings) -> LoadedModels:
    return LoadedModels.load(settings)


@pytest.fixture(scope="module")
def scorer(models: LoadedModels, settings: Settings) -> ClipScorer:
    return ClipScorer(models, clip_limits(settings))


@pytest.fixture(scope="module")
def people(scorer: ClipScorer, test_data: Path) -> ClipResult:
    """The scores of three seconds of people."""
    watcher = Watcher()
    result = scorer.score(test_data / "clips/surveillance-fight/noFight/nofi001.mp4", watcher)
    assert watcher.frames == result.frames
    assert watcher.done == sorted(watcher.done)
    assert watcher.done[-1] == result.clip.frames
    return result


def test_people_are_followed_and_every_part_is_scored(people: ClipResult) -> None:
    assert inconsistency(people) is None
    assert (people.clip.frames, people.clip.width, people.clip.height) == (78, 480, 360)
    assert any(track.last_frame - track.first_frame >= 50 for track in people.tracks)
    scored = [person for frame in people.frames for person in frame.people if person.level is not None]
    assert all({"pose", "motion"} <= set(person.parts) <= {"pose", "motion", "pair"} for person in scored)
    assert all(person.keypoints and len(person.keypoints) == 17 for person in scored)
    assert len({person.score for person in scored}) > 50


@pytest.fixture(scope="module")
def crowd(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first seven seconds of a film of a crowd, at half size."""
    film = cv2.VideoCapture(str(test_data / "clips/ubnormal/abnormal_scene_20_scenario_6.mp4"))

    def paint(index: int, width: int, height: int) -> NDArray[np.uint8]:
        read, image = film.read()
        assert read
        return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    return media.clip(tmp_path_factory.mktemp("crowd"), frames=210, fps=30, size=(576, 360), paint=paint)


@pytest.mark.slow
def test_a_crowd_is_followed_and_scored(scorer: ClipScorer, crowd: Path) -> None:
    watcher = Watcher()
    result = scorer.score(crowd, watcher)
    assert inconsistency(result) is None
    assert (result.clip.frames, result.clip.width, result.clip.height) == (210, 576, 360)
    assert result.clip.fps == pytest.approx(30)
    assert watcher.frames == result.frames
    assert watcher.done[-1] == 210
    assert watcher.done == sorted(watcher.done)
    assert sum(track.last_frame - track.first_frame >= 100 for track in result.tracks) >= 3
    assert sum(track.windows for track in result.tracks) > 300
    scored = [person for frame in result.frames for person in frame.people if person.level is not None]
    assert all(list(person.parts) == ["pose", "motion", "pair"] for person in scored)
    assert len({max(person.parts, key=person.parts.__getitem__) for person in scored}) > 1, (
        "no part is the highest of everybody"
    )
    assert all(person.keypoints and len(person.keypoints) == 17 for person in scored)
    assert len({person.score for person in scored}) > 300


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("fight/fi001", marks=pytest.mark.slow),
        pytest.param("fight/fi075", marks=pytest.mark.slow),
        pytest.param("noFight/nofi001", marks=pytest.mark.slow),
        "noFight/nofi075",
    ],
)
def test_a_short_surveillance_clip_gets_a_valid_result(name: str, scorer: ClipScorer, test_data: Path) -> None:
    result = scorer.score(test_data / f"clips/surveillance-fight/{name}.mp4", Watcher(), keypoints=False)
    assert inconsistency(result) is None
    assert result.tracks
    assert all(person.keypoints is None for frame in result.frames for person in frame.people)


@pytest.mark.slow
def test_the_batch_size_does_not_change_the_scores(
    settings: Settings, models: LoadedModels, people: ClipResult, test_data: Path
) -> None:
    clip = test_data / "clips/surveillance-fight/noFight/nofi001.mp4"
    other = ClipScorer.load(settings.model_copy(update={"pose_batch": models.batch + 3})).score(clip, Watcher())
    assert [track.id for track in other.tracks] == [track.id for track in people.tracks]
    for a, b in zip(people.frames, other.frames, strict=True):
        assert (a.score is None) == (b.score is None)
        if a.score is not None:
            assert b.score == pytest.approx(a.score, abs=2e-3)


def test_an_empty_scene_is_a_valid_result_that_says_so(scorer: ClipScorer, tmp_path: Path) -> None:
    result = scorer.score(media.constant_black(tmp_path), Watcher())
    assert inconsistency(result) is None
    assert {frame.reason for frame in result.frames} == {"nobody"}
    assert result.notes == ["nobody was seen in the clip"]


def test_what_the_behaviours_see_in_a_clip_is_named(
    scorer: ClipScorer, test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Running(Behaviours):
        """Sees everybody run in the first second."""

        def observe(
            self,
            time: float,
            track_ids: Sequence[int],
            boxes: NDArray[np.float32],
            keypoints: NDArray[np.float32],
            size: tuple[int, int],
        ) -> list[Finding]:
            assert (len(boxes), keypoints.shape[1:], size) == (len(track_ids), (17, 3), (704, 480))
            return [finding(Kind.RUNNING, 1.2, tracks=(track,)) for track in track_ids if time <= 1.0]

    monkeypatch.setattr("service.clips.scorer.Behaviours", Running)
    result = scorer.score(test_data / "clips/surveillance-fight/noFight/nofi075.mp4", Watcher())
    assert inconsistency(result) is None
    (anomaly,) = [one for one in result.anomalies if one.kind == Kind.RUNNING]
    seen = [frame for frame in result.frames if frame.people and frame.time_s <= 1.0]
    assert (anomaly.start_s, anomaly.end_s) == (0.0, seen[-1].time_s)
    assert anomaly.tracks == sorted({person.track for frame in seen for person in frame.people})
    for frame in result.frames:
        assert all(person.behaviours == ({Kind.RUNNING: 1.2} if frame in seen else {}) for person in frame.people)


@pytest.mark.parametrize("numbered", [True, False])
def test_skeletons_without_video_get_the_scores_that_the_video_they_came_from_gets(
    numbered: bool, scorer: ClipScorer, people: ClipResult
) -> None:
    frames = [
        {
            "time_s": 1_700_000_000 + frame.time_s,
            "people": [
                {"keypoints": person.keypoints, "box": person.box} | ({"track": person.track} if numbered else {})
                for person in frame.people
            ],
        }
        for frame in people.frames
    ]
    sequence = SkeletonSequence.model_validate(
        {"width": people.clip.width, "height": people.clip.height, "frames": frames}
    )
    result = scorer.score_skeletons(sequence, keypoints=False)
    assert inconsistency(result) is None
    assert result.model.pose_weights is None
    assert result.clip.frames == people.clip.frames
    scored = 0
    for before, after in zip(people.frames, result.frames, strict=True):
        assert after.time_s == pytest.approx(before.time_s, abs=1e-5)
        numbers = {person.box: person for person in before.people}
        for person in after.people:
            if numbered:
                assert person.track == numbers[person.box].track
                assert person.score == pytest.approx(numbers[person.box].score, abs=0.02)
            scored += person.score is not None
    assert scored > 100


def test_a_single_skeleton_frame_is_a_valid_result_that_says_so(scorer: ClipScorer) -> None:
    one = {"time_s": 5.0, "people": [{"keypoints": [(10.0 + joint, 10.0 + 2 * joint, 1.0) for joint in range(17)]}]}
    result = scorer.score_skeletons(SkeletonSequence.model_validate({"width": 64, "height": 48, "frames": [one]}))
    assert inconsistency(result) is None
    assert len(result.tracks) == 1
    assert "shorter than one window" in result.notes[0]


@pytest.fixture(scope="module")
def plain(scorer: ClipScorer, test_data: Path) -> ClipResult:
    """The scores of the plain file of which the odd ones are copies."""
    return scorer.score(test_data / "faults/nob.mp4", Watcher(), keypoints=False)


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("interlaced.mp4", "pyav"),
        ("hflip.mp4", "pyav"),
        pytest.param("outlier100s.mkv", "opencv", marks=pytest.mark.slow),
    ],
)
def test_an_odd_file_gets_the_people_of_the_plain_one(
    name: str, reader: str, scorer: ClipScorer, plain: ClipResult, test_data: Path
) -> None:
    result = scorer.score(test_data / "faults" / name, Watcher(), keypoints=False)
    assert inconsistency(result) is None
    assert (result.clip.reader, result.clip.undecoded, result.notes) == (reader, 0, [])
    assert (result.clip.frames, result.clip.duration_s) == (plain.clip.frames, plain.clip.duration_s)
    assert seen_in(result) == pytest.approx(seen_in(plain), abs=4)
    assert len(result.tracks) == len(plain.tracks)
    assert sum(track.windows for track in result.tracks) == pytest.approx(
        sum(track.windows for track in plain.tracks), abs=8
    )


@pytest.mark.slow
def test_pixels_that_are_not_square_do_not_stretch_the_people(
    scorer: ClipScorer, plain: ClipResult, test_data: Path, tmp_path: Path
) -> None:
    with FileSource(test_data / "faults/nob.mp4") as source:
        narrow = [cv2.resize(frame.image, (384, 432)).astype(np.uint8) for frame in source]
    zoo.encode(tmp_path / "narrow.mp4", images=narrow, fps=10, aspect=Fraction(2))
    result = scorer.score(tmp_path / "narrow.mp4", Watcher(), keypoints=False)
    assert (result.clip.width, result.clip.height, result.clip.reader) == (768, 432, "pyav")
    assert seen_in(result) == pytest.approx(seen_in(plain), abs=4)
    assert peak_of(result) == pytest.approx(peak_of(plain), abs=0.15)


def seen_in(result: ClipResult) -> int:
    """Number of frames with people."""
    return sum(bool(frame.people) for frame in result.frames)


def peak_of(result: ClipResult) -> float:
    """The highest level."""
    return max(frame.level for frame in result.frames if frame.level is not None)


def test_pictures_that_cannot_be_decoded_are_counted_and_said(scorer: ClipScorer, tmp_path: Path) -> None:
    zoo.damaged(tmp_path / "clip.avi", "mjpeg", {12, 13, 14, 15})
    result = scorer.score(tmp_path / "clip.avi", Watcher())
    assert inconsistency(result) is None
    assert (result.clip.frames, result.clip.undecoded) == (zoo.FRAMES - 4, 4)
    assert "4 of 30 pictures could not be decoded; nothing that happened in them was seen" in result.notes


def test_a_clock_that_jumps_is_said(scorer: ClipScorer, tmp_path: Path) -> None:
    (animal,) = [one for one in zoo.ZOO if one.name == "slower.ts"]
    animal.make(tmp_path / animal.name)
    result = scorer.score(tmp_path / animal.name, Watcher())
    assert (result.clip.clock_jumps, result.clip.frames) == (1, 2 * zoo.FRAMES)
    assert result.clip.duration_s == pytest.approx(zoo.FRAMES / zoo.FPS + zoo.FRAMES / 10, abs=0.02)
    assert any(note.startswith("the clock of the video jumps once") for note in result.notes)


def test_a_clip_of_which_nothing_can_be_decoded_is_an_error(scorer: ClipScorer, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    zoo.damaged(path, "mjpeg", set(range(zoo.FRAMES)))
    with pytest.raises(ClipRejected) as refused:
        scorer.score(path, Watcher())
    assert refused.value.cause == "undecodable"
    # The file changed after it was looked at.
    whole = VideoInfo(zoo.FRAMES, 25.0, *zoo.SIZE, 1.2, "avi", "mjpeg", reader="opencv")
    with pytest.raises(ClipRejected, match="none of the 30 pictures could be decoded") as refused:
        scorer.score(path, Watcher(), video=whole)
    assert refused.value.cause == "undecodable"


def test_a_cancelled_clip_stops_at_the_next_batch(models: LoadedModels, scorer: ClipScorer, test_data: Path) -> None:
    watcher = Watcher(stop_after=5)
    with pytest.raises(ScoringCancelled):
        scorer.score(test_data / "clips/ubnormal/normal_scene_16_scenario_2.mp4", watcher)
    assert watcher.done[-1] < 5 + models.batch


def test_a_file_that_is_no_video_is_rejected(scorer: ClipScorer, tmp_path: Path) -> None:
    with pytest.raises(ClipRejected, match="not a video"):
        scorer.score(media.text_named_mp4(tmp_path), Watcher())


@pytest.mark.parametrize("later_s", [60.0, 600.0, 36_000.0])
def test_an_empty_frame_long_after_changes_no_track(later_s: float, scorer: ClipScorer, people: ClipResult) -> None:
    frames = [
        {"time_s": frame.time_s, "people": [{"keypoints": one.keypoints, "box": one.box} for one in frame.people]}
        for frame in people.frames
    ]
    late = {"time_s": people.frames[-1].time_s + later_s, "people": []}
    size = {"width": people.clip.width, "height": people.clip.height}
    alone, followed = (
        scorer.score_skeletons(SkeletonSequence.model_validate({**size, "frames": some}), keypoints=False)
        for some in (frames, [*frames, late])
    )
    assert [(track.id, track.first_frame, track.last_frame, track.windows) for track in followed.tracks] == [
        (track.id, track.first_frame, track.last_frame, track.windows) for track in alone.tracks
    ]
