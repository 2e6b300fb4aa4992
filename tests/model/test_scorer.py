import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.calibration import CalibrationError
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint, CheckpointError
from model.frames import frame_scores_of_track, highest_over_people
from model.fused import FusedFlow
from model.parts import Footage
from model.scorer import CameraModel, DeviceUnavailableError, RawScorer, ScoredWindow, Scorer, available_device
from pose.skeleton import COCO_JOINTS, JOINTS
from pose.windows import Windows, WindowSpec

SPEC = WindowSpec(length=4, rate_hz=10.0)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return Checkpoint.load(DEFAULT_CHECKPOINT)


@pytest.fixture(scope="module")
def scorer(checkpoint: Checkpoint) -> Scorer:
    return Scorer(checkpoint)


def windows(n: int, seed: int = 0) -> Windows:
    poses = torch.randn(n, 8, 18, 3, generator=torch.Generator().manual_seed(seed))
    poses[..., 2] = 0.9
    return Windows.of_poses(poses, np.arange(n), np.arange(n) / 15)


def test_scores_are_those_of_the_flow_and_their_levels(scorer: Scorer, checkpoint: Checkpoint) -> None:
    batch = windows(50)
    scores = scorer.score(batch)
    with torch.no_grad():
        np.testing.assert_allclose(scores.nll, checkpoint.flow().nll(batch.tensor).numpy(), rtol=1e-5, atol=1e-5)
    assert np.array_equal(scores.level, scorer.calibration.level(scores.raw))
    assert np.array_equal(scores.track_ids, batch.track_ids)
    assert np.array_equal(scores.end_times, batch.end_times)
    assert list(scores.parts) == ["pose", "motion", "pair"]
    surprises = [-np.log2(1 - level) for level in scores.parts.values()]
    np.testing.assert_allclose(scores.raw, np.sum(surprises, axis=0), rtol=1e-6)
    assert len(scores) == 50
    assert scorer.parameters == 488
    assert scorer.spec == checkpoint.spec


def test_joints_share_the_score_and_the_neck_is_that_of_the_shoulders(scorer: Scorer, checkpoint: Checkpoint) -> None:
    batch = windows(20)
    scores = scorer.score(batch, joints=True)
    assert scores.joints is not None
    np.testing.assert_allclose(scores.joints.sum(axis=1), scores.nll, rtol=1e-9)
    np.testing.assert_allclose(scores.nll, scorer.score(batch).nll, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        of_graph = dict(zip(JOINTS, checkpoint.flow().nll_by_joint(batch.tensor).numpy().T, strict=True))
    for name, share in zip(COCO_JOINTS, scores.joints.T, strict=True):
        neck = of_graph["neck"] / 2 if name.endswith("shoulder") else 0
        np.testing.assert_allclose(share, of_graph[name] + neck, rtol=1e-3, atol=1e-4)


def test_scores_can_be_taken_window_by_window(scorer: Scorer) -> None:
    scores = scorer.score(windows(3), joints=True)
    assert scores.joints is not None
    taken = list(scores)
    assert [window.track_id for window in taken] == [0, 1, 2]
    assert taken[1] == ScoredWindow(
        1,
        scores.end_times[1],
        scores.nll[1],
        scores.raw[1],
        scores.level[1],
        {name: level[1] for name, level in scores.parts.items()},
        tuple(scores.joints[1]),
    )
    assert next(iter(scorer.score(windows(1)))).joints is None
    assert list(scorer.score(Windows.empty(scorer.spec), joints=True)) == []


def moved(checkpoint: Checkpoint, seed: int) -> Checkpoint:
    """Other weights of the same architecture, as adaptation would make them."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        name: value + 0.01 * torch.randn(value.shape, generator=generator) if name.endswith("bias") else value
        for name, value in checkpoint.state.items()
    }
    parts = checkpoint.parts
    assert parts is not None
    pose = replace(parts.pose, knots=tuple(knot - 0.1 * seed for knot in parts.pose.knots))
    return replace(checkpoint, name=f"moved-{seed}", state=state, parts=replace(parts, pose=pose))


def test_every_camera_is_scored_under_its_own_weights_and_its_own_calibration(checkpoint: Checkpoint) -> None:
    shared = checkpoint.calibration
    assert shared is not None
    strict = replace(shared, scale=shared.scale * 2)
    scorer = Scorer(checkpoint, max_batch=64)
    own = moved(checkpoint, 1)
    scorer.set_model(7, CameraModel(strict))
    scorer.set_model(8, CameraModel(strict, own))
    scorer.set_model(9, CameraModel(shared, moved(checkpoint, 2)))
    batch = windows(200)
    cameras = np.arange(200) % 4 + 6
    scores = scorer.score(batch, cameras, joints=True)
    for camera, weights, calibration in (
        (6, checkpoint, shared),
        (7, checkpoint, strict),
        (8, own, strict),
        (9, moved(checkpoint, 2), shared),
    ):
        mine = cameras == camera
        expected = Scorer(weights).score(batch[mine])
        np.testing.assert_allclose(scores.nll[mine], expected.nll, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(scores.raw[mine], expected.raw, rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(scores.level[mine], calibration.level(scores.raw[mine]))
        for name, level in expected.parts.items():
            np.testing.assert_allclose(scores.parts[name][mine], level, atol=1e-3)
    assert scores.joints is not None
    np.testing.assert_allclose(scores.joints.sum(axis=1), scores.nll, rtol=1e-9)
    assert np.array_equal(scores.track_ids, batch.track_ids)
    plain = scorer.score(batch, cameras)
    assert plain.joints is None
    np.testing.assert_allclose(plain.nll, scores.nll, rtol=1e-4, atol=1e-4)


def test_a_camera_whose_model_is_removed_is_scored_as_before(checkpoint: Checkpoint) -> None:
    scorer = Scorer(checkpoint)
    batch = windows(30)
    cameras = np.arange(30) % 3
    before = scorer.score(batch, cameras)
    assert checkpoint.calibration is not None
    for camera in (0, 1):
        scorer.set_model(camera, CameraModel(checkpoint.calibration, moved(checkpoint, camera)))
    own = scorer.score(batch, cameras).nll
    for camera in (0, 1):
        assert not np.allclose(own[cameras == camera], before.nll[cameras == camera])
    np.testing.assert_allclose(scorer.score(batch).nll, before.nll, rtol=1e-4, atol=1e-4)
    scorer.set_model(0, CameraModel(checkpoint.calibration))
    for camera in (1, 2):
        scorer.remove_model(camera)
    after = scorer.score(batch, cameras)
    np.testing.assert_allclose(after.nll, before.nll, rtol=1e-6)


def test_models_may_change_while_another_thread_scores(checkpoint: Checkpoint) -> None:
    scorer = Scorer(checkpoint)
    assert checkpoint.calibration is not None
    model = CameraModel(checkpoint.calibration, moved(checkpoint, 1))
    batch, cameras = windows(8), np.arange(8) % 2
    shared = scorer.score(batch, cameras).nll
    scorer.set_model(1, model)
    own = scorer.score(batch, cameras).nll
    scorer.remove_model(1)
    done = threading.Event()

    def change() -> None:
        for _ in range(20):
            scorer.set_model(1, model)
            scorer.remove_model(1)
        done.set()

    thread = threading.Thread(target=change)
    thread.start()
    while not done.is_set():
        nll = scorer.score(batch, cameras).nll
        assert np.allclose(nll, shared, atol=1e-4) or np.allclose(nll, own, atol=1e-4)
    thread.join()


def test_a_window_that_is_not_finite_has_no_score_and_does_not_affect_other_cameras(checkpoint: Checkpoint) -> None:
    scorer = Scorer(checkpoint)
    batch = windows(4)
    batch.tensor[2, 0, 0, 0] = torch.inf
    scores = scorer.score(batch, np.arange(4), joints=True)
    assert np.isnan(scores.nll).tolist() == np.isnan(scores.level).tolist() == [False, False, True, False]


def test_models_that_do_not_fit_are_refused(checkpoint: Checkpoint) -> None:
    scorer = Scorer(checkpoint)
    assert checkpoint.calibration is not None
    other = replace(checkpoint, spec=replace(checkpoint.spec, rate_hz=10.0))
    with pytest.raises(ValueError, match="another architecture"):
        scorer.set_model(1, CameraModel(checkpoint.calibration, other))
    with pytest.raises(ValueError, match="the camera of each of 3 windows"):
        scorer.score(windows(3), np.arange(2))


def test_no_windows_have_no_scores(scorer: Scorer) -> None:
    scores = scorer.score(Windows.empty(scorer.spec))
    assert len(scores) == 0
    assert scores.nll.shape == scores.level.shape == scores.parts["pose"].shape == (0,)


@pytest.mark.parametrize("max_batch", [1, 7, 64, 2048])
def test_the_batch_limit_does_not_change_the_scores(scorer: Scorer, checkpoint: Checkpoint, max_batch: int) -> None:
    batch = windows(600)
    limited = Scorer(checkpoint, max_batch=max_batch).nll(batch.tensor)
    np.testing.assert_allclose(limited, scorer.nll(batch.tensor), rtol=1e-5, atol=1e-5)


@settings(max_examples=20)
@given(st.permutations(range(20)))
def test_order_does_not_change_the_scores(scorer: Scorer, order: list[int]) -> None:
    batch = windows(20)
    np.testing.assert_allclose(scorer.nll(batch.tensor[order]), scorer.nll(batch.tensor)[order], rtol=1e-5, atol=1e-5)


def test_windows_that_are_not_finite_are_refused_by_number(scorer: Scorer) -> None:
    batch = windows(5)
    batch.tensor[3, 0, 2, 1] = torch.nan
    with pytest.raises(ValueError, match="1 of 5 windows are not finite, the first is number 3"):
        scorer.score(batch)


def test_windows_of_another_length_are_refused(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match=r"expected .* \(N, 2, 8, 18\)"):
        scorer.nll(torch.zeros(1, 2, 16, 18))


def test_an_uncalibrated_checkpoint_is_refused(checkpoint: Checkpoint) -> None:
    bare = Checkpoint("bare", checkpoint.config, checkpoint.spec, checkpoint.state, checkpoint.provenance)
    with pytest.raises(CheckpointError, match="bare has no calibration"):
        Scorer(bare)


def test_a_batch_limit_below_one_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(ValueError, match="max_batch must be at least 1"):
        Scorer(checkpoint, max_batch=0)


def test_devices_that_are_not_there_are_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(DeviceUnavailableError, match=r"asked for cuda:99, but torch .* sees \d+ CUDA devices"):
        Scorer(checkpoint, "cuda:99")
    with pytest.raises(DeviceUnavailableError, match="runs on cpu or cuda"):
        available_device("meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_scores_of_the_cpu(scorer: Scorer, checkpoint: Checkpoint) -> None:
    batch = windows(3000)
    on_gpu = Scorer(checkpoint, "cuda").nll(batch.tensor)
    np.testing.assert_allclose(on_gpu, scorer.nll(batch.tensor), rtol=1e-4, atol=1e-4)


def normal_footage(seed: int = 0) -> Footage:
    batch = windows(3000, seed)
    ends = 7 / 15 + np.arange(3000) / 15
    return Footage(Windows.of_poses(batch.poses, np.zeros(3000, np.int64), ends), np.arange(3007) / 15)


def test_footage_says_what_raw_scores_mean(checkpoint: Checkpoint) -> None:
    raw_scorer = RawScorer(FusedFlow(checkpoint.flow()), checkpoint.spec)
    footage = normal_footage()
    calibration = raw_scorer.calibrated([footage])
    assert calibration.footage_s == pytest.approx(3007 / 15)
    assert calibration.level(raw_scorer.raw(footage.windows)).mean() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(CalibrationError, match="more footage"):
        raw_scorer.calibrated([Footage(footage.windows[np.arange(30)], footage.frame_times[:37])])


def test_a_frame_takes_the_window_with_the_nearest_centre() -> None:
    # Windows of 4 points at 10 Hz end at 0.3, 0.4 and 0.5; their centres are 0.2, 0.3 and 0.4.
    frames = np.arange(7) / 10
    scores = frame_scores_of_track(frames, np.array([0.3, 0.4, 0.5]), np.array([1.0, 2.0, 3.0]), SPEC)
    np.testing.assert_array_equal(scores, [1, 1, 1, 2, 3, 3, np.nan])


def test_between_two_centres_the_earlier_counts() -> None:
    frames = np.array([0.24, 0.25, 0.26])
    scores = frame_scores_of_track(frames, np.array([0.3, 0.4]), np.array([1.0, 2.0]), SPEC)
    assert scores.tolist() == [1.0, 1.0, 2.0]


def test_a_nearer_window_that_does_not_contain_the_frame_does_not_count() -> None:
    # The first window covers 0.0 to 0.3 (centre 0.2), the second 0.31 to 0.61 (centre 0.51).
    ends, values = np.array([0.3, 0.61]), np.array([1.0, 2.0])
    frames = np.array([0.3, 0.305, 0.32, 0.62])
    np.testing.assert_array_equal(frame_scores_of_track(frames, ends, values, SPEC), [1, np.nan, 2, np.nan])


def test_frames_off_the_grid_by_rounding_are_on_it() -> None:
    ends = np.array([0.3])
    frames = np.array([0.0 - 1e-9, 0.3 + 1e-9])
    assert frame_scores_of_track(frames, ends, np.array([1.0]), SPEC).tolist() == [1.0, 1.0]


def test_no_windows_score_no_frames() -> None:
    assert np.isnan(frame_scores_of_track(np.arange(3.0), np.empty(0), np.empty(0), SPEC)).all()
    assert frame_scores_of_track(np.empty(0), np.array([1.0]), np.array([1.0]), SPEC).shape == (0,)


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, 30), max_size=12, unique=True),
    st.lists(st.integers(0, 400), max_size=20),
    st.sampled_from([3, 4, 7]),
)
def test_the_rule_equals_a_plain_implementation_of_its_description(
    ends: list[int], frames: list[int], length: int
) -> None:
    spec = WindowSpec(length=length, rate_hz=10.0)
    end_times, frame_times = np.array(ends, float) / 10, np.array(frames, float) / 101
    values = np.arange(float(len(ends)))
    centres = spec.center_times(end_times)
    expected = []
    for time in frame_times:
        around = [i for i, end in enumerate(end_times) if end - spec.duration_s - 1e-9 <= time <= end + 1e-9]
        best = min(around, key=lambda i: (round(abs(time - centres[i]), 9), centres[i]), default=None)
        expected.append(np.nan if best is None else values[best])
    np.testing.assert_array_equal(frame_scores_of_track(frame_times, end_times, values, spec), expected)


def test_a_frame_has_the_highest_score_of_its_people() -> None:
    batch = Windows.of_poses(torch.zeros(3, 4, 18, 3), np.array([1, 2, 2]), np.array([0.3, 0.3, 0.4]))
    highest = highest_over_people(np.arange(6) / 10, batch, np.array([1.0, 5.0, 0.5]), SPEC)
    np.testing.assert_array_equal(highest, [5, 5, 5, 1, 0.5, np.nan])
