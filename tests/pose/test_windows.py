from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pose.skeleton import coco_to_graph
from pose.windows import WindowBuffer, Windows, WindowSpec, normalise, slice_track

SPEC = WindowSpec(length=8, rate_hz=15.0, max_gap_s=0.5)

Times = NDArray[np.float64]


def poses(count: int, seed: int = 0, unseen: float = 0.0) -> Tensor:
    """Poses whose joints lie anywhere; of these a share was not seen, as devices say it: (0, 0, 0)."""
    source = torch.Generator().manual_seed(seed)
    places = torch.randn(count, 17, 2, generator=source) * 50 + 200
    confidences = torch.rand(count, 17, 1, generator=source) * 0.9 + 0.1
    seen = torch.rand(count, 17, 1, generator=source) >= unseen
    return torch.cat([places, confidences], dim=2) * seen


@st.composite
def capture_times(draw: st.DrawFn) -> Times:
    """Steady, irregular or broken streams, at rates from 2 to 120 fps."""
    count = draw(st.integers(0, 60))
    start = draw(st.floats(0, 3))
    if draw(st.booleans()):
        return start + np.arange(count) / draw(st.sampled_from([2.0, 8.0, 10.0, 15.0, 29.97, 30.0, 120.0]))
    steps = draw(
        st.lists(st.sampled_from([1 / 120, 1 / 30, 1 / 15, 0.1, 0.4, 0.5, 0.6, 2.0]), min_size=count, max_size=count)
    )
    return start + np.cumsum(np.array(steps, np.float64))


def streamed(times: Times, keypoints: Tensor, spec: WindowSpec, stride: int) -> Windows:
    buffer = WindowBuffer(spec, stride=stride, slots=1)
    batches = [buffer.push(times[i : i + 1], [7], keypoints[i : i + 1]) for i in range(len(times))]
    return Windows.concatenate([Windows.empty(spec), *batches])


def assert_same(a: Windows, b: Windows) -> None:
    np.testing.assert_array_equal(a.track_ids, b.track_ids)
    np.testing.assert_array_equal(a.end_times, b.end_times)
    torch.testing.assert_close(a.tensor, b.tensor, rtol=0, atol=1e-5)
    torch.testing.assert_close(a.poses[..., 2], b.poses[..., 2], rtol=0, atol=1e-5)


@given(capture_times(), st.integers(1, 4), st.sampled_from([0.0, 0.1, 0.5, 0.9]))
def test_slicing_a_track_and_streaming_it_give_the_same_windows(times: Times, stride: int, unseen: float) -> None:
    keypoints = poses(len(times), unseen=unseen)
    assert_same(slice_track(7, times, keypoints, SPEC, stride=stride), streamed(times, keypoints, SPEC, stride))


@given(st.lists(capture_times(), min_size=2, max_size=5))
def test_tracks_streamed_together_give_what_each_gives_alone(tracks: list[Times]) -> None:
    keypoints = [poses(len(times), seed, unseen=0.2) for seed, times in enumerate(tracks)]
    buffer = WindowBuffer(SPEC, slots=1)
    seen: dict[int, list[Windows]] = {track: [Windows.empty(SPEC)] for track in range(len(tracks))}
    for moment in sorted({float(time) for times in tracks for time in times}):
        now = [(track, i) for track, times in enumerate(tracks) for i in np.flatnonzero(times == moment)]
        pushed = buffer.push(
            np.full(len(now), moment),
            [track for track, _ in now],
            torch.stack([keypoints[track][i] for track, i in now]),
        )
        for track, windows in seen.items():
            mine = np.flatnonzero(pushed.track_ids == track)
            windows.append(pushed[mine])
    for track, windows in seen.items():
        assert_same(slice_track(track, tracks[track], keypoints[track], SPEC), Windows.concatenate(windows))


def test_a_stream_at_the_grid_rate_is_cut_without_interpolation() -> None:
    times, keypoints = np.arange(10) / SPEC.rate_hz, poses(10)
    windows = slice_track(3, times, keypoints, SPEC)
    joints = coco_to_graph(keypoints)
    expected = normalise(torch.stack([joints[i : i + SPEC.length] for i in range(3)]))
    torch.testing.assert_close(windows.tensor, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(windows.end_times, times[SPEC.length - 1 :])


def test_a_straight_walk_looks_the_same_at_any_frame_rate() -> None:
    start, velocity = poses(1)[0], torch.tensor([40.0, -15.0, 0.0])

    def walk(fps: float) -> Windows:
        times = np.arange(int(2 * fps) + 1) / fps
        keypoints = start + torch.from_numpy(times)[:, None, None].float() * velocity
        return slice_track(1, times, keypoints, SPEC)

    reference = walk(15.0)
    for fps in (2.0, 8.0, 10.0, 29.97, 30.0, 120.0):
        same = walk(fps)
        count = min(len(reference), len(same))
        assert count >= 20
        torch.testing.assert_close(same.tensor[:count], reference.tensor[:count], rtol=0, atol=1e-4)


def test_a_gap_is_bridged_up_to_the_limit_and_ends_the_run_beyond_it() -> None:
    def windows_with_gap(gap: float) -> int:
        before = np.arange(SPEC.length - 1) / SPEC.rate_hz
        after = before[-1] + gap + np.arange(SPEC.length - 1) / SPEC.rate_hz
        times = np.concatenate([before, after])
        return len(slice_track(1, times, poses(len(times)), SPEC))

    assert windows_with_gap(SPEC.max_gap_s) > 0
    assert windows_with_gap(SPEC.max_gap_s + 0.01) == 0


def test_one_frame_per_second_gives_no_windows() -> None:
    assert len(slice_track(1, np.arange(60.0), poses(60), SPEC)) == 0


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_normalisation_removes_place_and_size(scale: float) -> None:
    raw = torch.randn(4, 8, 18, 3) * 50
    moved = raw * scale + torch.tensor([300.0, 120.0, 0.0])
    torch.testing.assert_close(normalise(raw), normalise(moved), rtol=0, atol=1e-4)


def test_normalisation_equals_the_published_protocol_on_benchmark_video() -> None:
    raw = torch.rand(4, 24, 18, 3, dtype=torch.float64) * torch.tensor([856.0, 480.0, 1.0])
    scaled = raw[..., :2] / torch.tensor([856.0, 480.0])
    centred = scaled - scaled.mean(dim=(1, 2), keepdim=True)
    published = (centred / scaled[..., 1].std(dim=(1, 2), correction=0)[:, None, None, None]).permute(0, 3, 1, 2)
    torch.testing.assert_close(normalise(raw), published)


def test_a_window_without_any_height_stays_finite() -> None:
    assert torch.isfinite(normalise(torch.full((1, 8, 18, 3), 5.0))).all()


def test_the_buffer_reuses_the_slots_of_people_who_left() -> None:
    buffer = WindowBuffer(SPEC, slots=2)
    for track in range(200):
        buffer.push(np.array([float(track)]), [track], poses(1))
    assert buffer.tracks <= 8


def test_the_centre_of_a_window_is_the_frame_that_the_protocol_names() -> None:
    spec = WindowSpec(length=24, rate_hz=15.0)
    np.testing.assert_allclose(spec.center_times(np.array([23 / 15])), [12 / 15])


def test_impossible_specifications_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 grid points"):
        WindowSpec(length=1)
    with pytest.raises(ValueError, match="rate_hz must be a positive number, got 0"):
        WindowSpec(rate_hz=0)
    with pytest.raises(ValueError, match="max_gap_s must be a positive number"):
        WindowSpec(max_gap_s=float("nan"))


def test_wrong_input_is_refused() -> None:
    buffer = WindowBuffer(SPEC)
    buffer.push(np.array([1.0]), [1], poses(1))
    with pytest.raises(ValueError, match="capture times of track 1 must strictly increase"):
        buffer.push(np.array([1.0]), [1], poses(1))
    with pytest.raises(ValueError, match="different tracks"):
        buffer.push(np.array([2.0, 2.0]), [1, 1], poses(2))
    with pytest.raises(ValueError, match="expected 1 poses of shape"):
        buffer.push(np.array([2.0]), [1], poses(2))
    with pytest.raises(ValueError, match="must strictly increase"):
        slice_track(1, np.array([0.0, 0.0]), poses(2), SPEC)
    with pytest.raises(ValueError, match="stride must be at least 1"):
        slice_track(1, np.array([0.0]), poses(1), SPEC, stride=0)
    with pytest.raises(ValueError, match="stride must be at least 1"):
        WindowBuffer(SPEC, stride=0)
    with pytest.raises(ValueError, match="no windows to concatenate"):
        Windows.concatenate([])


def test_windows_keep_the_poses_that_they_normalise() -> None:
    windows = slice_track(3, np.arange(12) / SPEC.rate_hz, poses(12), SPEC)
    torch.testing.assert_close(windows.tensor, normalise(windows.poses), rtol=0, atol=1e-5)
    some = windows[np.array([2, 0])]
    torch.testing.assert_close(some.poses, windows.poses[[2, 0]], rtol=0, atol=0)
    torch.testing.assert_close(some.tensor, windows.tensor[[2, 0]], rtol=0, atol=0)
    assert some.end_times.tolist() == windows.end_times[[2, 0]].tolist()
    assert len(windows[windows.end_times > windows.end_times[0]]) == len(windows) - 1


@given(st.integers(0, 1000), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_where_an_unseen_joint_is_said_to_be_makes_no_difference(seed: int, x: float, y: float) -> None:
    times, keypoints = np.arange(20) / 15, poses(20, seed, unseen=0.3)
    elsewhere = torch.where(keypoints[..., 2:] > 0, keypoints, torch.tensor([x, y, 0.0]))
    assert_same(slice_track(7, times, keypoints, SPEC), slice_track(7, times, elsewhere, SPEC))


def test_poses_with_too_few_joints_are_no_sightings() -> None:
    times, keypoints = np.arange(24) / 15, poses(24)
    keypoints[:, 5:] = 0
    assert not len(slice_track(7, times, keypoints, SPEC))
    assert not len(streamed(times, keypoints, SPEC, 1))
    whole = poses(24)
    whole[8:12, 5:] = 0
    assert_same(
        slice_track(7, times, whole, SPEC),
        slice_track(7, np.delete(times, range(8, 12)), whole[[*range(8), *range(12, 24)]], SPEC),
    )


def test_a_joint_between_a_sighting_and_none_is_unseen() -> None:
    keypoints = poses(20)
    keypoints[7, 9] = 0
    confidence = slice_track(7, np.arange(20) / 10, keypoints, SPEC).poses[:, 0, 4, 2]
    joint = coco_to_graph(keypoints)[:, 4, 2]
    assert joint[7] > 0, "the right wrist is not the joint that was lost"
    left_wrist = slice_track(7, np.arange(20) / 10, keypoints, SPEC).poses[:, 0, 7, 2]
    assert (confidence > 0).all()
    lost = np.arange(len(left_wrist)) / 15
    assert (left_wrist == 0).tolist() == ((lost > 0.6 + 1e-6) & (lost < 0.8 - 1e-6)).tolist()
