from __future__ import annotations

import pytest
import torch

from pose.skeleton import CENTER, COCO_JOINTS, EDGES, FLIP, JOINTS, NUM_JOINTS, coco_to_graph


def test_the_joints_are_coco_with_a_neck_in_openpose_order() -> None:
    assert len(JOINTS) == NUM_JOINTS
    assert set(JOINTS) == {*COCO_JOINTS, "neck"}
    assert JOINTS[:5] == ("nose", "neck", "right_shoulder", "right_elbow", "right_wrist")
    assert JOINTS[CENTER] == "neck"


def test_a_pose_keeps_every_joint_under_its_name_and_the_neck_is_between_the_shoulders() -> None:
    pose = torch.arange(17 * 3, dtype=torch.float32).reshape(17, 3)
    graph = coco_to_graph(pose)
    for name, joint in zip(JOINTS, graph, strict=True):
        if name != "neck":
            assert torch.equal(joint, pose[COCO_JOINTS.index(name)])
    shoulders = pose[[COCO_JOINTS.index("left_shoulder"), COCO_JOINTS.index("right_shoulder")]]
    assert torch.equal(graph[CENTER], shoulders.mean(dim=0))


def test_the_bones_connect_all_joints_without_a_cycle() -> None:
    reached = {CENTER}
    while grown := {b for a, b in [*EDGES, *((b, a) for a, b in EDGES)] if a in reached} - reached:
        reached |= grown
    assert reached == set(range(NUM_JOINTS))
    assert len(EDGES) == NUM_JOINTS - 1


def test_mirroring_swaps_left_and_right_and_twice_is_nothing() -> None:
    assert [FLIP[i] for i in FLIP] == list(range(NUM_JOINTS))
    assert JOINTS[FLIP[JOINTS.index("left_ankle")]] == "right_ankle"
    assert FLIP[CENTER] == CENTER


def test_a_pose_without_17_joints_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 17 COCO joints"):
        coco_to_graph(torch.zeros(16, 3))
