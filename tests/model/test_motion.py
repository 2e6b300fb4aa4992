import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.motion import (
    MOTION_FEATURES,
    PAIR_FEATURES,
    REACH,
    UpperTails,
    body_heights,
    companions,
    motion_features,
    pair_features,
)
from pose.skeleton import JOINTS, coco_to_graph

RATE = 15.0
T = 8


def person(height: float = 100.0) -> Tensor:
    """Somebody who stands upright, `height` pixels tall, shape (18, 3)."""
    coco = torch.tensor(
        [
            *[(0.0, 0.06), (0.02, 0.05), (-0.02, 0.05), (0.04, 0.06), (-0.04, 0.06)],
            *[(0.12, 0.2), (-0.12, 0.2), (0.16, 0.36), (-0.16, 0.36), (0.17, 0.5), (-0.17, 0.5)],
            *[(0.08, 0.5), (-0.08, 0.5), (0.09, 0.74), (-0.09, 0.74), (0.09, 0.97), (-0.09, 0.97)],
        ]
    )
    pose = torch.cat([coco * height, torch.ones(17, 1)], dim=1)
    return coco_to_graph(pose[None])[0]


def window(height: float = 100.0, *, speed: float = 0.0, acceleration: float = 0.0, x: float = 0.0) -> Tensor:
    """A window (1, T, 18, 3) of that person, moving right in heights a second."""
    times = (torch.arange(T) - (T - 1) / 2) / RATE
    poses = person(height).repeat(T, 1, 1)
    poses[..., 0] += x + height * (speed * times + acceleration / 2 * times.square())[:, None]
    return poses[None]


def feature(poses: Tensor, name: str) -> float:
    return float(motion_features(poses, RATE)[0, MOTION_FEATURES.index(name)])


@pytest.mark.parametrize("height", [30.0, 100.0, 700.0])
def test_a_body_is_measured_in_any_posture_and_at_any_distance(height: float) -> None:
    standing = window(height)
    lying = standing[..., [1, 0, 2]]
    assert float(body_heights(standing)) == pytest.approx(height, rel=0.1)
    assert float(body_heights(lying)) == pytest.approx(float(body_heights(standing)))


@pytest.mark.parametrize("height", [50.0, 400.0])
def test_speed_and_acceleration_are_in_heights_whatever_the_distance(height: float) -> None:
    measured = height / float(body_heights(window(height)))
    moving = window(height, speed=1.2, acceleration=2.0)
    assert feature(moving, "speed") == pytest.approx(1.2 * measured, rel=1e-3)
    assert feature(moving, "acceleration") == pytest.approx(2.0 * measured, rel=1e-3)
    for name in ("limbs", "fastest joint", "growth"):
        assert feature(moving, name) == pytest.approx(0, abs=1e-3)


def test_limbs_are_measured_relative_to_the_torso_and_by_confidence() -> None:
    times = torch.arange(T) / RATE
    poses = window(speed=1.0)
    waving = [JOINTS.index(name) for name in ("right_wrist", "right_elbow", "left_wrist")]
    poses[:, :, waving, 1] += (100 * 2.0 * times)[None, :, None]
    assert feature(poses, "fastest joint") == pytest.approx(2.0 * 100 / float(body_heights(poses)), rel=0.05)
    unsure = poses.clone()
    unsure[:, :, waving, 2] = 0.05
    assert feature(unsure, "limbs") < 0.5 * feature(poses, "limbs")


def test_two_joints_that_jump_are_not_the_fastest() -> None:
    poses = window()
    poses[0, ::2, [0, 4], 0] += 80
    assert feature(poses, "fastest joint") < 0.01


def test_growth_is_the_rate_at_which_a_figure_fills_the_picture() -> None:
    growth = torch.exp(0.5 * torch.arange(T) / RATE)
    poses = window()
    poses[..., :2] *= growth[None, :, None, None]
    assert feature(poses, "growth") == pytest.approx(0.5, rel=1e-2)


def test_a_pair_is_measured_by_its_relative_speed_and_its_nearness() -> None:
    poses = torch.cat([window(speed=1.0), window(speed=-1.0, x=50.0), window(speed=-1.0, x=REACH * 130)])
    near, far = pair_features(poses, np.array([0, 0]), np.array([1, 2]), RATE)
    scale = 100 / float(body_heights(window()))
    expected = 2 * scale * (1 - 0.5 * scale / REACH)
    assert float(near[PAIR_FEATURES.index("relative speed")]) == pytest.approx(expected, rel=0.1)
    assert not far.any()


def test_people_at_different_distances_from_the_camera_are_no_pair() -> None:
    poses = torch.cat([window(100.0, speed=1.0), window(50.0, x=20.0)])
    assert not pair_features(poses, np.array([0]), np.array([1]), RATE).any()


def test_no_windows_have_no_features() -> None:
    nothing = torch.empty(0, T, 18, 3)
    assert motion_features(nothing, RATE).shape == (0, 5)
    none = np.empty(0, np.int64)
    assert pair_features(nothing, none, none, RATE).shape == (0, 2)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 3)), max_size=20))
def test_companions_are_all_ordered_pairs_of_one_camera_and_moment(rows: list[tuple[int, int]]) -> None:
    cameras, moments = np.array(rows, np.int64).reshape(-1, 2).T
    found = sorted(zip(*(index.tolist() for index in companions(cameras, moments)), strict=True))
    assert found == [(i, j) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j and a == b]


def test_tails_measure_deviations_above_the_median_only() -> None:
    rng = np.random.default_rng(0)
    normal = np.exp(rng.normal(-1.0, 0.5, (20_000, 1)))
    tails = UpperTails.fit(["growth"], normal)
    high = math.exp(math.log(math.exp(-1) + 0.05))
    assert tails.excess(np.array([[high - 0.05]]))[0, 0] == pytest.approx(0, abs=1e-3)
    assert tails.excess(np.array([[0.0]]))[0, 0] == 0
    quantile = np.quantile(normal, 0.95)
    assert tails.excess(np.array([[quantile]]))[0, 0] == pytest.approx(1.645**2, rel=1e-3)


def test_tails_survive_json_and_refuse_nonsense() -> None:
    tails = UpperTails.fit(PAIR_FEATURES, np.random.default_rng(0).uniform(size=(50, 2)))
    assert UpperTails.from_dict(tails.to_dict()) == tails
    with pytest.raises(ValueError, match="features must be among"):
        UpperTails(("mood",), (0.0,), (1.0,))
    with pytest.raises(ValueError, match="one median and one scale"):
        UpperTails(("speed",), (), (1.0,))
    with pytest.raises(ValueError, match="scales finite and positive"):
        UpperTails(("speed",), (0.0,), (0.0,))
    with pytest.raises(ValueError, match="expected features, medians and scales"):
        UpperTails.from_dict({"features": []})


def test_a_constant_feature_still_has_a_tail() -> None:
    tails = UpperTails.fit(["speed"], np.full((10, 1), 0.3))
    assert tails.excess(np.array([[0.3]]))[0, 0] == 0
    assert np.isfinite(tails.excess(np.array([[3.0]]))).all()
