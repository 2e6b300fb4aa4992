"""Joints that were not seen: where they probably are, so that they decide nothing.

A joint with confidence 0 was not seen, whatever its coordinates say; many devices send (0, 0, 0). A window needs a
place for every joint all the same. `complete` gives one: for a short while the joint moves with the rest of the body,
later it takes its place in a standing figure that is fitted to the joints that were seen. The confidence of these
joints stays 0, and everything that measures leaves joints with confidence 0 out.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pose.skeleton import CENTER, JOINTS

LEAST_JOINTS: Final = 6
"""A pose with fewer of the 17 COCO joints in view is not one that can be judged."""

_LEFT_SHOULDER: Final = JOINTS.index("left_shoulder")
_RIGHT_SHOULDER: Final = JOINTS.index("right_shoulder")

STANDING: Final = {
    "eye": (0.02, 0.06),
    "ear": (0.04, 0.07),
    "shoulder": (0.11, 0.18),
    "elbow": (0.14, 0.36),
    "wrist": (0.15, 0.52),
    "hip": (0.06, 0.50),
    "knee": (0.065, 0.73),
    "ankle": (0.065, 0.95),
}
"""A standing adult seen from the front, in body heights: away from the middle, and down from the crown. Lengths of the
segments after Drillis and Contini, Body Segment Parameters (1966)."""


_CLEARLY: Final = 4.0
"""The figure from behind counts if it explains this many times as much of the spread of the seen joints."""


def _figure() -> Tensor:
    """The standing figure from the front, ``(18,)`` complex: x to the right, y down. Its left side is on the right."""
    places = []
    for joint in JOINTS:
        if joint == "nose":
            places.append(complex(0.0, 0.08))
        elif joint == "neck":
            places.append(complex(0.0, 0.18))
        else:
            side, name = joint.split("_")
            across, down = STANDING[name]
            places.append(complex(across if side == "left" else -across, down))
    return torch.tensor(places, dtype=torch.complex64)


_FIGURE: Final = _figure()


def hide_unseen(joints: Tensor) -> Tensor:
    """Mark the neck as unseen where a shoulder is: it was computed from both.

    Args:
        joints: Shape ``(..., 18, 3)``: x, y in pixels and confidence; 0 is unseen.

    Returns:
        The same with confidence 0 at such necks.
    """
    shoulders = joints[..., [_LEFT_SHOULDER, _RIGHT_SHOULDER], 2].amin(dim=-1) > 0
    hidden = joints.clone()
    hidden[..., CENTER, 2] = joints[..., CENTER, 2] * shoulders
    return hidden


def stand_in(joints: Tensor) -> Tensor:
    """Give unseen joints their place in a standing figure that is moved, turned and scaled onto the seen joints.

    The figure is fitted from the front, and from behind where that fits much better. Each fit is the least-squares
    similarity transform of the plane, which for complex coordinates is one division (Umeyama, IEEE PAMI 13, 1991, in
    two dimensions).

    Args:
        joints: Shape ``(N, 18, 3)``.

    Returns:
        The same shape; seen joints and all confidences are as they were.
    """
    seen = joints[..., 2] > 0
    weight = seen.to(joints.dtype)
    number = weight.sum(dim=1, keepdim=True).clamp_min(1.0)
    places = torch.complex(joints[..., 0].contiguous(), joints[..., 1].contiguous())
    centre = (places * weight).sum(dim=1, keepdim=True) / number
    shape = places - centre
    figures = torch.stack([_FIGURE, -_FIGURE.conj()]).to(joints.device)[:, None].expand(2, *places.shape)
    model = figures - (figures * weight).sum(dim=2, keepdim=True) / number
    spread = (weight * model.abs().square()).sum(dim=2, keepdim=True).clamp_min(1e-9)
    turn = (weight * model.conj() * shape).sum(dim=2, keepdim=True) / spread
    explained = (spread * turn.abs().square())[..., 0]
    view = (explained[1:] > _CLEARLY * explained[:1]).long()[..., None]
    fitted = torch.take_along_dim(centre + turn * model, view.expand(1, *places.shape), dim=0)[0]
    return torch.cat(
        [torch.where(seen[..., None], joints[..., :2], torch.view_as_real(fitted)), joints[..., 2:]], dim=-1
    )


def complete(joints: Tensor, before: Tensor, held: Tensor) -> Tensor:
    """Give every unseen joint a place.

    Args:
        joints: Shape ``(N, 18, 3)``, the poses as they were seen.
        before: Shape ``(N, 18, 3)``, the completed poses of the same people before.
        held: Shape ``(N, 18)``, bool: joints that were seen recently enough to move with the body.

    Returns:
        Shape ``(N, 18, 3)``; seen joints and all confidences are as in `joints`.
    """
    seen = joints[..., 2] > 0
    both = (seen & (before[..., 2] > 0)).to(joints.dtype)[..., None]
    shift = ((joints[..., :2] - before[..., :2]) * both).sum(dim=1, keepdim=True) / both.sum(
        dim=1, keepdim=True
    ).clamp_min(1.0)
    moved = torch.where(held[..., None], before[..., :2] + shift, stand_in(joints)[..., :2])
    return torch.cat([torch.where(seen[..., None], joints[..., :2], moved), joints[..., 2:]], dim=-1)


def seen_joints(keypoints: Tensor) -> NDArray[np.int64]:
    """How many of the 17 COCO joints of each pose were seen.

    Args:
        keypoints: Shape ``(N, 17, 3)``.

    Returns:
        Shape ``(N,)``; a pose with fewer than `LEAST_JOINTS` cannot be judged.
    """
    return np.asarray((keypoints[..., 2] > 0).sum(dim=-1).cpu().numpy())
