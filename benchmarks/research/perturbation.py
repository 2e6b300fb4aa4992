"""Poses made worse on purpose, as estimators, trackers and cameras make them, to measure what a model withstands.

Each kind has one level, and level 0 changes nothing. Random numbers depend on the clip, the person and the seed, not on
the level: a curve over levels scales the same noise and loses ever more of the same joints or frames.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import PersonTrack, PoseClip
from model.synthetic import person_rng, track_height

Perturbation = Literal["noise", "joints", "frames", "jitter"]
"""What is done to poses, and what its level is:

* ``noise``: every joint of every frame is shifted on its own; standard deviation along each axis, in body heights.
* ``joints``: every joint of every frame is lost on its own; the share lost.
* ``frames``: every frame of a person is missing on its own; the share missing.
* ``jitter``: all joints of a person are shifted together, anew in every frame; standard deviation along each axis, in
  body heights.

A pose estimator answers for a joint that it does not see as well: with no confidence, and with a place somewhere on the
person. So a lost joint gets confidence 0 and a place drawn uniformly from the box around the person's joints in that
frame. `pose.windows` hands both on as they are and the flow looks at places alone, so to it a lost joint is a wrong
one; the motion part counts it for next to nothing.
"""

_SHARES: Final = ("joints", "frames")


def perturbed(clip: PoseClip, kind: Perturbation, level: float, seed: int) -> PoseClip:
    """A clip with worse poses; the one given stays as it is.

    Args:
        clip: The clip.
        kind: What is done.
        level: How much of it, at least 0; of ``joints`` and ``frames`` at most 1.
        seed: Decides the random numbers, together with the clip's name and the person's number.

    Returns:
        A new clip with the same people, less those who have no frame left.

    Raises:
        ValueError: The kind is unknown, or the level impossible.
    """
    if kind not in get_args(Perturbation):
        raise ValueError(f"unknown perturbation {kind!r}: choose one of {', '.join(get_args(Perturbation))}")
    if not (math.isfinite(level) and level >= 0):
        raise ValueError(f"the level of {kind} must be a number from 0 on, got {level}")
    if kind in _SHARES and level > 1:
        raise ValueError(f"the level of {kind} is the share lost, give one between 0 and 1, got {level}")
    tracks = (_perturbed(track, kind, level, person_rng(clip, track, seed)) for track in clip.tracks)
    return PoseClip(clip.name, tuple(track for track in tracks if len(track.frames)))


def _perturbed(track: PersonTrack, kind: Perturbation, level: float, rng: np.random.Generator) -> PersonTrack:
    keypoints, count = track.keypoints.clone(), len(track.frames)
    joints = keypoints.shape[1]
    if kind == "frames":
        kept = rng.random(count) >= level
        return PersonTrack(track.person, track.frames[kept], keypoints[torch.from_numpy(kept)])
    if kind == "joints":
        lost = torch.from_numpy(rng.random((count, joints)) < level)
        keypoints[lost] = _unseen(keypoints, rng)[lost]
    elif count:
        shift = rng.normal(size=(count, joints if kind == "noise" else 1, 2))
        keypoints[..., :2] += level * track_height(track) * _tensor(shift)
    return PersonTrack(track.person, track.frames.copy(), keypoints)


def _unseen(keypoints: Tensor, rng: np.random.Generator) -> Tensor:
    """What an estimator says of joints it does not see, for every joint ``(n, 17, 3)``."""
    xy = keypoints[..., :2]
    low, high = xy.amin(dim=1, keepdim=True), xy.amax(dim=1, keepdim=True)
    guess = low + (high - low) * _tensor(rng.random(xy.shape))
    return torch.cat([guess, torch.zeros_like(guess[..., :1])], dim=-1)


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
