from __future__ import annotations

import numpy as np
import pytest

from pose.skeleton import COCO_JOINTS
from simulation import actions
from simulation.actions import Move, random_style
from simulation.body import BODY_JOINTS, INDEX, Body, Floats, forward_kinematics, pose, random_body, reach

BONES = {
    ("hip", "knee"): "thigh",
    ("knee", "ankle"): "shank",
    ("shoulder", "elbow"): "upper_arm",
    ("elbow", "wrist"): "forearm",
    ("wrist", "hand"): "hand",
}
MOVES: tuple[Move, ...] = ("guard", "left punch", "right punch", "kick", "push", "grapple", "recoil")


def stand_up(body: Body, posed: Floats, heading: float = 0.0) -> Floats:
    return forward_kinematics(body.lengths()[None], posed[None], np.zeros((1, 2)), np.array([heading]))[0]


def every_pose(body: Body) -> list[Floats]:
    style = random_style(np.random.default_rng(3))
    times = np.linspace(0, 3, 13)
    return [
        *(actions.walk(body, style, time, 1.3) for time in times),
        *(actions.run(body, style, time, 3.4) for time in times),
        *(actions.fall(body, style, time) for time in times),
        *(actions.rise(body, style, time) for time in times),
        *(actions.sit(body, style, time) for time in times),
        *(actions.stand(style, time) for time in times),
        *(actions.talk(style, time) for time in times),
        *(actions.throw(style, time) for time in times),
        *(actions.crawl(style, time, time) for time in times),
        *(actions.fight(style, move, time / 3, time) for move in MOVES for time in times),
    ]


def test_the_first_joints_are_those_of_coco() -> None:
    assert BODY_JOINTS[:17] == COCO_JOINTS


@pytest.mark.parametrize("child", [False, True])
def test_bones_keep_their_length_in_every_action(child: bool) -> None:
    body = random_body(np.random.default_rng(1), child=child)
    for posed in every_pose(body):
        joints = stand_up(body, posed, heading=0.7)
        for (start, end), name in BONES.items():
            for side in ("left", "right"):
                length = np.linalg.norm(joints[INDEX[f"{side}_{start}"]] - joints[INDEX[f"{side}_{end}"]])
                assert length == pytest.approx(getattr(body, name), abs=1e-9)


def test_nobody_sinks_into_the_ground() -> None:
    body = random_body(np.random.default_rng(2))
    assert min(stand_up(body, posed)[:, 2].min() for posed in every_pose(body)) > -0.03


def test_a_body_without_angles_is_as_tall_as_its_stature() -> None:
    body = random_body(np.random.default_rng(4))
    joints = stand_up(body, pose())
    assert joints[INDEX["crown"], 2] - joints[INDEX["left_heel"], 2] == pytest.approx(body.stature, rel=0.01)
    assert joints[INDEX["left_shoulder"], 1] > 0 > joints[INDEX["right_shoulder"], 1]
    assert joints[INDEX["nose"], 0] > joints[INDEX["skull"], 0]


def test_a_raised_arm_points_forward() -> None:
    body = random_body(np.random.default_rng(5))
    joints = stand_up(body, pose(left_shoulder_flexion=90.0), heading=np.pi / 2)
    way = joints[INDEX["left_wrist"]] - joints[INDEX["left_shoulder"]]
    assert way == pytest.approx([0, body.upper_arm + body.forearm, 0], abs=1e-9)


def test_children_are_smaller_with_larger_heads() -> None:
    child, adult = random_body(np.random.default_rng(6), child=True), random_body(np.random.default_rng(6))
    assert child.stature < 1.41 < adult.stature
    assert child.head / child.stature > adult.head / adult.stature


def test_a_leg_reaches_the_point_it_is_asked_to() -> None:
    body = random_body(np.random.default_rng(7))
    flexion, knee = reach(body.thigh, body.shank, 0.3, 0.7)
    joints = stand_up(body, pose(left_hip_flexion=flexion, left_knee=knee))
    way = joints[INDEX["left_ankle"]] - joints[INDEX["left_hip"]]
    assert way == pytest.approx([0.3, 0, -0.7], abs=1e-9)


def test_an_unknown_part_of_a_pose_is_an_error() -> None:
    with pytest.raises(KeyError, match="tail"):
        pose(tail=3.0)


def test_the_foot_on_the_ground_does_not_slide_while_walking() -> None:
    body, style = random_body(np.random.default_rng(8)), random_style(np.random.default_rng(8))
    stride = actions.stride_length(body, 1.2, running=False)
    # Flat on the ground, between the strike of the heel and its rise.
    phases = np.linspace(0.03, 0.3, 20)
    joints = np.array([stand_up(body, actions.walk(body, style, phase, 1.2)) for phase in phases])
    toe = joints[:, INDEX["left_toe"]]
    assert np.ptp(toe[:, 0] + stride * phases) < 0.01
    assert abs(toe[:, 2]).max() < 0.01


def test_a_fallen_person_lies_low() -> None:
    for seed in range(6):
        body, style = random_body(np.random.default_rng(seed)), random_style(np.random.default_rng(seed))
        joints = stand_up(body, actions.fall(body, style, 3.0))
        assert joints[INDEX["skull"], 2] < 0.45
        assert joints[INDEX["pelvis"], 2] < 0.35
