from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from model.behaviours import Behaviours, Finding, Kind
from model.behaviours.calibration import Usual
from model.scorer import WindowScores
from pose.tracker import TrackedPoses
from pose.windows import WindowSpec
from service.clips.anomalies import find_anomalies
from service.clips.timeline import ClipScoring, Timeline, explain_missing_scores, explain_video
from service.documents.results import ClipInfo, FrameScore
from tests.doubles.findings import finding
from tests.doubles.models import shipped_scorer

SPEC = WindowSpec(length=4, rate_hz=10.0, max_gap_s=0.5)


def people(*tracks: int) -> TrackedPoses:
    return TrackedPoses(list(tracks), np.zeros((len(tracks), 4), np.float32), torch.ones(len(tracks), 17, 3))


def windows(track: int, ends: list[float], nll: list[float]) -> WindowScores:
    level = np.array(nll) / 10
    return WindowScores(np.full(len(ends), track), np.array(ends), np.array(nll), np.array(nll), level, {"pose": level})


def frame(index: int, level: float | None, fps: float = 10.0, track: int = 1) -> FrameScore:
    return FrameScore(index=index, time_s=index / fps, score=level, level=level, people=[])


def filled(count: int = 20, track: int = 1) -> Timeline:
    timeline = Timeline(SPEC, keypoints=True)
    for index in range(count):
        timeline.add_frame(index, index / 10, people(track))
    return timeline


def test_a_frame_waits_until_no_window_can_change_it_and_then_never_changes() -> None:
    timeline = filled()
    assert timeline.settle(scored_until=0.3) == []
    timeline.add_scores(windows(1, [0.3, 0.4, 0.5], [1.0, 2.0, 3.0]))
    horizon = SPEC.duration_s + SPEC.max_gap_s + 1 / SPEC.rate_hz
    settled = timeline.settle(scored_until=horizon)
    assert [frame.index for frame in settled] == [0]
    # Grid points 0 to 3 are the first window, whose centre is point 2.
    assert settled[0].score == 1.0


def test_settling_step_by_step_gives_what_settling_at_the_end_gives() -> None:
    ends = [round(0.1 * k, 3) for k in range(3, 20)]
    scores = [float(k % 7) for k in range(3, 20)]
    at_once = filled()
    at_once.add_scores(windows(1, ends, scores))
    stepwise = filled()
    collected = []
    for end, score in zip(ends, scores, strict=True):
        stepwise.add_scores(windows(1, [end], [score]))
        collected += stepwise.settle(scored_until=end)
    collected += stepwise.settle(np.inf)
    assert collected == at_once.settle(np.inf)
    assert stepwise.tracks() == at_once.tracks()


def test_a_frame_has_the_highest_score_and_level_over_people() -> None:
    timeline = Timeline(SPEC, keypoints=False)
    timeline.add_frame(0, 0.2, people(1, 2, 3))
    timeline.add_scores(windows(1, [0.3], [1.0]))
    timeline.add_scores(windows(2, [0.3], [4.0]))
    (frame,) = timeline.settle(np.inf)
    assert (frame.score, frame.level, frame.reason) == (4.0, 0.4, None)
    assert [person.level for person in frame.people] == [0.1, 0.4, None]
    assert frame.people[1].parts == {"pose": 0.4}
    assert frame.people[0].keypoints is None


def test_a_person_has_the_highest_score_of_each_named_behaviour_and_others_have_none() -> None:
    timeline = Timeline(SPEC, keypoints=False)
    seen = [
        finding(Kind.RUNNING, 0.7, tracks=(2,)),
        finding(Kind.FIGHT, 0.9, tracks=(1, 2)),
        finding(Kind.FIGHT, 1.23456, tracks=(2, 3)),
    ]
    timeline.add_frame(0, 0.0, people(1, 2, 4), seen)
    (frame,) = timeline.settle(np.inf)
    assert [person.behaviours for person in frame.people] == [
        {Kind.FIGHT: 0.9},
        {Kind.FIGHT: 1.235, Kind.RUNNING: 0.7},
        {},
    ]
    assert [person.firing for person in frame.people] == [[], [Kind.FIGHT], []]
    assert frame.reason == "track_too_short"


class Watching(Behaviours):
    """Keeps what it is shown, and sees everybody fall from the second frame on."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, list[int], tuple[int, ...], tuple[int, int]]] = []

    def observe(
        self,
        time: float,
        track_ids: Sequence[int],
        boxes: NDArray[np.float32],
        keypoints: NDArray[np.float32],
        size: tuple[int, int],
    ) -> list[Finding]:
        self.shown.append((time, list(track_ids), keypoints.shape, size))
        return [finding(Kind.FALL, time * 10, tracks=(track,)) for track in track_ids]


def test_the_behaviours_watch_every_frame_of_a_clip_also_those_without_people() -> None:
    behaviours, told = Watching(), list[FrameScore]()
    scoring = ClipScoring(shipped_scorer(), behaviours, torch.device("cpu"), told.append, keypoints=False)
    for number, tracks in enumerate([(1,), (1, 2), ()]):
        scoring.add(number, number / 10, people(*tracks), (640, 480))
    frames = scoring.finish()
    assert behaviours.shown == [
        (0.0, [1], (1, 17, 3), (640, 480)),
        (0.1, [1, 2], (2, 17, 3), (640, 480)),
        (0.2, [], (0, 17, 3), (640, 480)),
    ]
    assert [one.at for one in scoring.fired] == [0.1, 0.1]
    assert [[person.behaviours for person in frame.people] for frame in frames] == [
        [{Kind.FALL: 0.0}],
        [{Kind.FALL: 1.0}] * 2,
        [],
    ]
    assert told == frames


def test_a_frame_without_a_score_says_why() -> None:
    timeline = Timeline(SPEC, keypoints=False)
    timeline.add_frame(0, 0.0, people())
    timeline.add_frame(1, 0.1, people(1))
    timeline.add_frame(2, 1.1, people(1))
    heads = people(1)
    heads.keypoints[:, 5:] = 0
    timeline.add_frame(3, 1.2, heads)
    reasons = ["nobody", "track_too_short", "frame_rate_too_low", "too_few_joints"]
    assert [frame.reason for frame in timeline.settle(np.inf)] == reasons


def test_tracks_tell_their_span_and_their_peak() -> None:
    timeline = filled(count=10, track=4)
    timeline.add_scores(windows(4, [0.3, 0.4], [2.0, 9.0]))
    (track,) = timeline.tracks()
    assert (track.id, track.first_frame, track.last_frame, track.windows, track.peak_level) == (4, 0, 9, 2, 0.9)


def test_a_level_is_not_rounded_up_to_a_strict_threshold() -> None:
    timeline = Timeline(SPEC, keypoints=False)
    timeline.add_frame(0, 0.2, people(1))
    timeline.add_scores(windows(1, [0.3], [9.999996]))
    assert find_anomalies(timeline.settle(np.inf), [], 0.9999998, merge_s=1.0) == []


@pytest.mark.parametrize(
    ("reason", "seen", "duration", "sentence"),
    [
        ("nobody", False, 5.0, "nobody was seen in the clip"),
        ("frame_rate_too_low", True, 60.0, "frames lie further apart than the 0.5 s"),
        ("track_too_short", True, 0.2, "lasts 0.20 s and is shorter than one window"),
        ("track_too_short", True, 5.0, "no person was followed without a break for a whole window"),
    ],
)
def test_a_result_without_scores_says_why_in_plain_words(
    reason: str, seen: bool, duration: float, sentence: str
) -> None:
    timeline = Timeline(SPEC, keypoints=False)
    timeline.add_frame(0, 0.0, people(*([1] if seen else [])))
    timeline.add_frame(1, 1.0 if reason == "frame_rate_too_low" else 0.1, people(*([1] if seen else [])))
    frames = timeline.settle(np.inf)
    assert frames[-1].reason == reason
    (note,) = explain_missing_scores(frames, duration, SPEC)
    assert sentence in note
    assert explain_missing_scores([frame(0, 0.5)], duration, SPEC) == []


def test_a_clip_that_shows_only_heads_says_so() -> None:
    timeline, heads = Timeline(SPEC, keypoints=False), people(1)
    heads.keypoints[:, 5:] = 0
    for number in range(20):
        timeline.add_frame(number, number / 10, heads)
    (note,) = explain_missing_scores(timeline.settle(np.inf), 2.0, SPEC)
    assert note == "nobody could be scored: fewer than 6 joints of each person were seen"


@pytest.mark.parametrize(
    ("undecoded", "jumps", "wanted"),
    [
        (0, 0, []),
        (3, 0, ["3 of 23 pictures could not be decoded; nothing that happened in them was seen"]),
        (0, 2, ["the clock of the video jumps 2 times; a frame after a jump is placed right after the one before"]),
    ],
)
def test_what_is_wrong_with_the_video_itself_is_said(undecoded: int, jumps: int, wanted: list[str]) -> None:
    clip = ClipInfo(frames=20, fps=10.0, width=64, height=48, duration_s=2.0, undecoded=undecoded, clock_jumps=jumps)
    assert explain_video(clip) == wanted


def test_a_clip_of_a_calibrated_camera_fires_from_the_thresholds_of_that_camera() -> None:
    here = {Kind.FALL: Usual(1.5, 1.3, times=2, marked=0, footage_s=1800.0, per_day=40.0, usable=True)}
    scoring = ClipScoring(
        shipped_scorer(), Watching(), torch.device("cpu"), lambda _: None, keypoints=False, usual=here
    )
    for number in range(10, 18):
        scoring.add(number, number / 80, people(1), (640, 480))
    frames = scoring.finish()
    scores = [frame.people[0].behaviours[Kind.FALL] for frame in frames]
    assert [bool(frame.people[0].firing) for frame in frames] == [score >= 1.5 for score in scores]
    assert [one.finding.score for one in scoring.fired] == [score for score in scores if score >= 1.5]
    assert len(scoring.fired) == 6
    assert scoring.fired[0].finding.saw.endswith("; score 1.5, normal life here up to 1.3, fires from 1.5")
