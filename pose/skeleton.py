"""The skeleton: joint names, their order, the bones between them, and how a COCO pose becomes one.

Pose estimators return COCO-17. DA-Flow and related models use the 18-joint OpenPose layout, which adds a neck
half-way between the shoulders. Everything downstream of the tracker uses the 18-joint order defined here.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

COCO_JOINTS: Final = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
"""The 17 keypoints of COCO, in the order every YOLO-pose model returns them."""

COCO_EDGES: Final = (
    (15, 13),
    (13, 11),
    (16, 14),
    (14, 12),
    (11, 12),
    (5, 11),
    (6, 12),
    (5, 6),
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (1, 2),
    (0, 1),
    (0, 2),
    (1, 3),
    (2, 4),
    (3, 5),
    (4, 6),
)
"""Bones of the COCO skeleton as joint index pairs, for drawing."""

NUM_JOINTS: Final = 18

_LEFT_SHOULDER: Final = 5
_RIGHT_SHOULDER: Final = 6
_NECK: Final = 17

COCO_TO_GRAPH: Final = (0, _NECK, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""For each of the 18 graph joints, its index in COCO-17 with the neck appended as number 17."""

JOINTS: Final = tuple("neck" if index == _NECK else COCO_JOINTS[index] for index in COCO_TO_GRAPH)
"""Names of the 18 graph joints (OpenPose order)."""

EDGES: Final = (
    (4, 3),
    (3, 2),
    (7, 6),
    (6, 5),
    (13, 12),
    (12, 11),
    (10, 9),
    (9, 8),
    (11, 5),
    (8, 2),
    (5, 1),
    (2, 1),
    (0, 1),
    (15, 0),
    (14, 0),
    (17, 15),
    (16, 14),
)
"""Bones of the 18-joint graph as joint index pairs. The longest path between two joints has 8 bones."""

CENTER: Final = 1
"""The neck, centre of the graph."""

FLIP: Final = tuple(
    JOINTS.index(name.replace("left", "right") if "left" in name else name.replace("right", "left")) for name in JOINTS
)
"""For each graph joint, its mirror image: ``keypoints[..., FLIP, :]`` swaps left and right."""


_BODY25: Final = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
"""For each of the 18 graph joints, its index in OpenPose's BODY_25, which adds the middle of the hips and the feet."""

COCO_FROM_LAYOUT: Final = {
    "coco17": tuple(range(len(COCO_JOINTS))),
    "openpose18": tuple(JOINTS.index(name) for name in COCO_JOINTS),
    "body25": tuple(_BODY25[JOINTS.index(name)] for name in COCO_JOINTS),
}
"""For each layout of joints that is understood, where each of the 17 COCO joints is in it."""

JOINTS_IN_LAYOUT: Final = {"coco17": 17, "openpose18": 18, "body25": 25}
"""How many joints each layout has."""


def coco_to_graph(keypoints: Tensor) -> Tensor:
    """Turn COCO-17 poses into 18-joint poses.

    The neck is the mean of the shoulders in every channel, so a confidence channel is averaged as well.

    Args:
        keypoints: Shape ``(..., 17, C)``; the channels are usually x, y (pixels) and confidence (0..1).

    Returns:
        Shape ``(..., 18, C)`` in the order of `JOINTS`, on the same device.

    Raises:
        ValueError: The joint axis is not 17 long.
    """
    if keypoints.shape[-2] != len(COCO_JOINTS):
        raise ValueError(f"expected 17 COCO joints on axis -2, got shape {tuple(keypoints.shape)}")
    neck = (keypoints[..., _LEFT_SHOULDER, :] + keypoints[..., _RIGHT_SHOULDER, :]) / 2
    extended = torch.cat([keypoints, neck.unsqueeze(-2)], dim=-2)
    return extended[..., list(COCO_TO_GRAPH), :]
