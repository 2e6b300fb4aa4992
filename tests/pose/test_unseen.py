from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pose.skeleton import CENTER, JOINTS, coco_to_graph
from pose.unseen import complete, hide_unseen, seen_joints, stand_in

ANKLES = [JOINTS.index("left_ankle"), JOINTS.index("right_ankle")]
WRIST = JOINTS.index("left_wrist")


def standing(height: float = 100.0, x: float = 300.0, y: float = 50.0, turn: float = 0.0) -> Tensor:
    """Somebody upright in front of the camera, turned in the picture by an angle in radians, ``(1, 18, 3)``."""
    side = {"eye": (2, 5), "ear": (4, 6), "shoulder": (12, 20), "elbow": (16, 36)}
    side |= {"wrist": (17, 50), "hip": (8, 50), "knee": (9, 74), "ankle": (9, 97)}
    rows = []
    for joint in JOINTS:
        across, down = (0, 6 if joint == "nose" else 20) if "_" not in joint else side[joint.split("_")[1]]
        across = across if joint.startswith("left") else -across
        rows.append((across * height / 100, down * height / 100))
    places = torch.tensor(rows) @ torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return torch.cat([places + torch.tensor([x, y]), torch.full((18, 1), 0.8)], dim=1)[None]


def without(joints: Tensor, *hidden: int) -> Tensor:
    lost = joints.clone()
    lost[:, list(hidden)] = 0
    return lost


@given(st.floats(20, 800), st.floats(-500, 2000), st.floats(-500, 2000), st.floats(-math.pi, math.pi))
def test_hidden_legs_are_put_where_a_standing_figure_has_them(height: float, x: float, y: float, turn: float) -> None:
    person = standing(height, x, y, turn)
    legs = [joint for joint, name in enumerate(JOINTS) if "knee" in name or "ankle" in name]
    placed = stand_in(without(person, *legs))
    assert float((placed[0, legs, :2] - person[0, legs, :2]).norm(dim=1).max()) < 0.15 * height
    assert (placed[0, legs, 2] == 0).all(), "a guess is not a sighting"


def test_joints_that_were_seen_stay_where_they_are() -> None:
    person = without(standing(), *ANKLES)
    seen = person[..., 2] > 0
    assert torch.equal(stand_in(person)[seen], person[seen])
    assert torch.equal(complete(person, standing(x=10.0), torch.ones(1, 18, dtype=torch.bool))[seen], person[seen])


def test_a_joint_that_is_lost_for_a_moment_moves_with_the_body() -> None:
    held = torch.ones(1, 18, dtype=torch.bool)
    before = standing()
    before[0, WRIST, :2] += torch.tensor([40.0, -60.0])
    now = complete(without(standing(x=310.0, y=54.0), WRIST), before, held)
    torch.testing.assert_close(now[0, WRIST, :2], before[0, WRIST, :2] + torch.tensor([10.0, 4.0]))
    later = complete(without(standing(x=310.0, y=54.0), WRIST), before, ~held)
    assert float((later[0, WRIST, :2] - standing(x=310.0, y=54.0)[0, WRIST, :2]).norm()) < 10


def test_the_neck_is_unseen_where_a_shoulder_is() -> None:
    coco = torch.full((2, 17, 3), 0.5)
    coco[0, 5] = 0
    neck = hide_unseen(coco_to_graph(coco))[:, CENTER, 2]
    assert neck.tolist() == [0.0, 0.5]


def test_joints_with_confidence_are_counted() -> None:
    keypoints = torch.zeros(3, 17, 3)
    keypoints[1, :5, 2], keypoints[2, ..., 2] = 0.3, 1.0
    assert seen_joints(keypoints).tolist() == [0, 5, 17]


@given(st.integers(0, 18), st.integers(0, 1000))
def test_whatever_was_seen_every_place_is_finite(seen: int, seed: int) -> None:
    source = torch.Generator().manual_seed(seed)
    joints = torch.rand(3, 18, 3, generator=source) * 500
    joints[..., 2] = (torch.rand(3, 18, generator=source).argsort(dim=1) < seen) * 0.7
    before = torch.zeros_like(joints)
    assert stand_in(joints).isfinite().all()
    assert complete(joints, before, torch.rand(3, 18, generator=source) < 0.5).isfinite().all()


@pytest.mark.parametrize(
    "hidden",
    [
        ("knee", "ankle", "hip"),
        ("knee", "ankle", "hip", "eye", "nose", "ear"),
        ("knee", "ankle", "hip", "elbow", "wrist"),
    ],
)
def test_people_seen_from_behind_are_completed_as_upright_as_from_the_front(hidden: tuple[str, ...]) -> None:
    front = standing()
    behind = front * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([600.0, 0.0, 0.0])
    lost = [joint for joint, name in enumerate(JOINTS) if name.split("_")[-1] in hidden]
    for person in (front, behind):
        placed = stand_in(without(person, *lost))
        assert float((placed[0, ANKLES, 1] - person[0, ANKLES, 1]).abs().max()) < 30, "feet are about where they are"
