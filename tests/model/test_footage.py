from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.dataset import PersonTrack, PoseClip
from model.footage import PoseFootage, PoseTrack, online_series
from model.online import OnlineFrameScore
from model.scorer import ScoredWindow
from pose.windows import WindowBuffer, Windows, WindowSpec
from tests.model.skeletons import swaying

SPEC = WindowSpec(length=6, rate_hz=15.0, max_gap_s=0.5)


def fingerprint(windows: Windows) -> np.ndarray:
    """A score that tells windows apart, without a model."""
    return windows.tensor[:, 0].abs().sum(dim=(1, 2)).numpy().astype(np.float64)


def recording(frame_times: np.ndarray, seen: Mapping[int, np.ndarray]) -> PoseFootage:
    """People seen in the frames that a mask names."""
    tracks = [
        PoseTrack(person, frame_times[mask], torch.from_numpy(swaying(int(mask.sum()), person)).float())
        for person, mask in seen.items()
    ]
    return PoseFootage(frame_times, tuple(tracks))


def live(footage: PoseFootage, tau_s: float) -> tuple[list[float], list[float]]:
    """The same frames pushed one by one, as the engine does."""
    buffer, online = WindowBuffer(SPEC), OnlineFrameScore(SPEC, tau_s)
    raw, smoothed = [], []
    for time in footage.frame_times:
        rows = [(track, int(np.flatnonzero(track.times == time)[0])) for track in footage.tracks if time in track.times]
        if rows:
            poses = torch.stack([track.keypoints[row] for track, row in rows])
            windows = buffer.push(np.full(len(rows), time), [track.track_id for track, _ in rows], poses)
            for track, end, nll in zip(windows.track_ids, windows.end_times, fingerprint(windows), strict=True):
                online.add(ScoredWindow(int(track), float(end), np.nan, float(nll), 0.5, {}))
        score = online.frame(float(time))
        raw.append(score.raw)
        smoothed.append(score.smoothed)
    return raw, smoothed


@settings(max_examples=40)
@given(
    st.lists(st.floats(0.02, 0.3), min_size=2, max_size=60),
    st.lists(st.lists(st.booleans(), min_size=60, max_size=60), max_size=3),
    st.floats(0.0, 1.0),
)
def test_a_replay_gives_the_scores_of_the_live_camera(
    intervals: list[float], people: list[list[bool]], tau_s: float
) -> None:
    times = 1000 + np.cumsum(intervals)
    masks = {number: np.array(seen[: len(times)]) for number, seen in enumerate(people) if any(seen[: len(times)])}
    footage = recording(times, masks)
    windows = footage.windows(SPEC)
    series = online_series(footage, windows, fingerprint(windows), SPEC, tau_s=tau_s)
    raw, smoothed = live(footage, tau_s)
    np.testing.assert_allclose(series.raw, raw, rtol=1e-5)
    np.testing.assert_allclose(series.smoothed, smoothed, rtol=1e-5)


def test_a_clip_is_footage_on_its_own_clock() -> None:
    poses = torch.from_numpy(swaying(3, 1)).float()
    clip = PoseClip("01_1", (PersonTrack(7, np.array([2, 3, 5]), poses),))
    footage = PoseFootage.of_clip(clip, 10.0)
    assert footage.frame_times.tolist() == pytest.approx([0.2, 0.3, 0.4, 0.5])
    assert footage.tracks[0].times.tolist() == pytest.approx([0.2, 0.3, 0.5])
    assert len(PoseFootage.of_clip(clip, 10.0, frames=9).frame_times) == 9


def test_parts_of_footage_are_disjoint_and_complete() -> None:
    times = np.arange(40) / 10
    footage = recording(times, {1: times < 2.5, 2: times > 1.0})
    first, second = footage.between(0.0, 2.0), footage.between(2.0, 9.0)
    assert np.array_equal(np.concatenate([first.frame_times, second.frame_times]), times)
    assert [track.track_id for track in first.tracks] == [track.track_id for track in second.tracks] == [1, 2]
    for part, low, high in ((first, 0.0, 1.95), (second, 2.0, 3.95)):
        assert all(low <= time <= high for track in part.tracks for time in track.times)
    assert sum(len(track.keypoints) for part in (first, second) for track in part.tracks) == 25 + 29
    assert footage.between(3.0, 9.0).tracks[0].track_id == 2


def test_footage_without_people_has_no_windows_and_no_scores() -> None:
    footage = PoseFootage(np.arange(30) / 15, ())
    windows = footage.windows(SPEC)
    assert len(windows) == 0
    assert np.isnan(online_series(footage, windows, np.empty(0), SPEC).smoothed).all()
