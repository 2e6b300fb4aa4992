"""Anomalies made from normal poses, to choose between scores without the labels of the test split.

A score chosen by the labels that it is judged by looks better than it is. These anomalies are made from clips of normal
life, so they need no labels, and each differs from normal life in one known way: time, shape, speed or other people.
Their sizes follow from what people can do, not from what a model finds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.dataset import PersonTrack, PoseClip
from model.motion import body_heights
from pose.skeleton import COCO_JOINTS, coco_to_graph

Floats = NDArray[np.float64]

SyntheticAnomaly = Literal[
    "reversal", "double speed", "half speed", "noise", "splice", "flailing", "fall", "lunges", "rush"
]
"""What is made of every person in a clip:

* ``reversal``: the clip runs backwards.
* ``double speed``, ``half speed``: it runs twice or half as fast.
* ``noise``: every joint is shifted on its own in every frame, standard deviation 0.05 body heights along each axis.
* ``splice``: the arms are those of another person, scaled and attached to the shoulders.
* ``flailing``: the wrists swing by 0.2 body heights beside their own movement, the elbows by half of it, at 1.5 to
  3 Hz.
* ``fall``: in the middle of the track the person falls to one side within 0.6 s and stays there; the first half of the
  track is cut off.
* ``lunges``: the whole person moves from side to side, 0.5 body heights to either side, at up to 2.5 heights/s.
* ``rush``: every person gets a companion from another track; the two move together and apart, between 1.3 and 0.3 body
  heights of each other, at up to 3.1 heights/s.

A reversed or slowed walk may well be normal: a score that finds it reacts to more than anomalies.
"""

_NOISE: Final = 0.05
_SWING: Final = 0.2
_SWING_HZ: Final = (1.5, 3.0)
_FALL_S: Final = 0.6
_LUNGE: Final = 0.5
_LUNGE_HZ: Final = (0.5, 0.8)
_RUSH: Final = (0.3, 1.3)
_RUSH_HZ: Final = (0.7, 1.0)

_TORSO: Final = [COCO_JOINTS.index(name) for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip")]
_ANKLES: Final = [COCO_JOINTS.index(name) for name in ("left_ankle", "right_ankle")]
_ARMS: Final = tuple(
    tuple(COCO_JOINTS.index(f"{side}_{joint}") for joint in ("shoulder", "elbow", "wrist"))
    for side in ("left", "right")
)


def synthetic(clips: Sequence[PoseClip], kind: SyntheticAnomaly, frame_rate_hz: float, seed: int) -> list[PoseClip]:
    """Turn every person of every clip into an anomaly.

    Args:
        clips: Normal clips, upright: x to the right, y down.
        kind: Which anomaly.
        frame_rate_hz: Frames per second of their videos.
        seed: Decides the random numbers, together with the clip's name and the person's number.

    Returns:
        A new clip for each, of the same name; people without a frame are left out.

    Raises:
        ValueError: The kind is unknown, the rate impossible, or one person is alone where two are needed.
    """
    if kind not in get_args(SyntheticAnomaly):
        raise ValueError(f"unknown anomaly {kind!r}: choose one of {', '.join(get_args(SyntheticAnomaly))}")
    if not (math.isfinite(frame_rate_hz) and frame_rate_hz > 0):
        raise ValueError(f"frame_rate_hz must be a positive number, got {frame_rate_hz}")
    present = [PoseClip(clip.name, tuple(track for track in clip.tracks if len(track.frames))) for clip in clips]
    people = [track for clip in present for track in clip.tracks]
    if kind in ("splice", "rush") and len(people) == 1:
        raise ValueError(f"{kind} needs another person: give clips with at least two people")
    return [_anomalous(clip, kind, people, frame_rate_hz, seed) for clip in present]


def person_rng(clip: PoseClip, track: PersonTrack, seed: int) -> np.random.Generator:
    """Random numbers for one person of a clip; they do not depend on who else is in it."""
    digest = hashlib.sha256(f"{seed}\n{track.person}\n{clip.name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def track_height(track: PersonTrack) -> float:
    """A person's body height in pixels, the median over the track; at least 1."""
    return float(body_heights(coco_to_graph(track.keypoints)[None]))


def _anomalous(
    clip: PoseClip, kind: SyntheticAnomaly, people: Sequence[PersonTrack], rate_hz: float, seed: int
) -> PoseClip:
    if not clip.tracks:
        return clip
    if kind == "reversal":
        return _reversed(clip)
    if kind == "double speed":
        return _doubled(clip)
    if kind == "half speed":
        return _halved(clip)
    if kind == "noise":
        return PoseClip(clip.name, tuple(_noisy(track, person_rng(clip, track, seed)) for track in clip.tracks))
    tracks = []
    newcomer = max(track.person for track in clip.tracks) + 1
    for number, track in enumerate(clip.tracks, start=newcomer):
        rng = person_rng(clip, track, seed)
        if kind == "splice":
            tracks.append(_spliced(track, people, rng))
        elif kind == "flailing":
            tracks.append(_flailing(track, rate_hz, rng))
        elif kind == "fall":
            tracks.append(_falling(track, rate_hz, rng))
        elif kind == "lunges":
            tracks.append(_lunging(track, rate_hz, rng))
        else:
            tracks.extend(_rushing(track, number, people, rate_hz, rng))
    return PoseClip(clip.name, tuple(sorted(tracks, key=lambda track: track.person)))


def _reversed(clip: PoseClip) -> PoseClip:
    span = clip.frame_span()
    return PoseClip(
        clip.name,
        tuple(
            PersonTrack(track.person, (span[0] + span[-1] - track.frames)[::-1].copy(), track.keypoints.flip(0))
            for track in clip.tracks
        ),
    )


def _doubled(clip: PoseClip) -> PoseClip:
    """Every other frame, at the original frame rate."""
    first, tracks = clip.frame_span()[0], []
    for track in clip.tracks:
        kept = (track.frames - first) % 2 == 0
        if kept.any():
            frames = first + (track.frames[kept] - first) // 2
            tracks.append(PersonTrack(track.person, frames, track.keypoints[torch.from_numpy(kept)]))
    return PoseClip(clip.name, tuple(tracks))


def _halved(clip: PoseClip) -> PoseClip:
    """Every frame at twice its time; the time grid interpolates between them."""
    first = clip.frame_span()[0]
    return PoseClip(
        clip.name,
        tuple(
            PersonTrack(track.person, first + 2 * (track.frames - first), track.keypoints.clone())
            for track in clip.tracks
        ),
    )


def _noisy(track: PersonTrack, rng: np.random.Generator) -> PersonTrack:
    keypoints = track.keypoints.clone()
    shift = rng.normal(size=(*keypoints.shape[:2], 2))
    keypoints[..., :2] += _NOISE * track_height(track) * _tensor(shift)
    return PersonTrack(track.person, track.frames.copy(), keypoints)


def _spliced(track: PersonTrack, people: Sequence[PersonTrack], rng: np.random.Generator) -> PersonTrack:
    """The track is cut to the length of the longest other track."""
    poses = _donated(track, people, rng)
    keypoints = track.keypoints[: len(poses)].clone()
    for shoulder, *arm in _ARMS:
        keypoints[:, arm, :2] = keypoints[:, [shoulder], :2] + poses[:, arm] - poses[:, [shoulder]]
    return PersonTrack(track.person, track.frames[: len(poses)].copy(), keypoints)


def _flailing(track: PersonTrack, rate_hz: float, rng: np.random.Generator) -> PersonTrack:
    keypoints, times = track.keypoints.clone(), track.frames / rate_hz
    for _, elbow, wrist in _ARMS:
        swing = [_swing(times, _SWING_HZ, rng) for _ in ("x", "y")]
        shift = _SWING * track_height(track) * _tensor(np.stack(swing, axis=1))
        keypoints[:, elbow, :2] += shift / 2
        keypoints[:, wrist, :2] += shift
    return PersonTrack(track.person, track.frames.copy(), keypoints)


def _falling(track: PersonTrack, rate_hz: float, rng: np.random.Generator) -> PersonTrack:
    """Turn about the feet, ever faster until flat; the feet stay where they are, the limbs go on moving."""
    middle = len(track.frames) // 2
    frames, keypoints = track.frames[middle:].copy(), track.keypoints[middle:].clone()
    share = np.clip((frames - frames[0]) / rate_hz / _FALL_S, 0, 1)
    angle = _tensor(np.square(share) * (math.pi / 2) * rng.choice((-1, 1)))[:, None]
    feet = keypoints[:, _ANKLES, :2].mean(dim=1, keepdim=True)
    right, down = (keypoints[..., :2] - feet).unbind(-1)
    turned = torch.stack([angle.cos() * right - angle.sin() * down, angle.sin() * right + angle.cos() * down], dim=-1)
    keypoints[..., :2] = feet[:1] + turned
    return PersonTrack(track.person, frames, keypoints)


def _lunging(track: PersonTrack, rate_hz: float, rng: np.random.Generator) -> PersonTrack:
    keypoints = track.keypoints.clone()
    shift = _LUNGE * track_height(track) * _swing(track.frames / rate_hz, _LUNGE_HZ, rng)
    keypoints[..., 0] += _tensor(shift)[:, None]
    return PersonTrack(track.person, track.frames.copy(), keypoints)


def _rushing(
    track: PersonTrack, number: int, people: Sequence[PersonTrack], rate_hz: float, rng: np.random.Generator
) -> tuple[PersonTrack, PersonTrack]:
    """The person and a companion with that number, both cut to the length of the longest other track."""
    poses = _donated(track, people, rng)
    frames, keypoints = track.frames[: len(poses)], track.keypoints[: len(poses)]
    nearest, farthest = _RUSH
    distance = (nearest + farthest) / 2 + (farthest - nearest) / 2 * _swing(frames / rate_hz, _RUSH_HZ, rng)
    aside = _tensor(distance / 2 * track_height(track) * rng.choice((-1, 1)))[:, None]
    own, other = keypoints.clone(), keypoints.clone()
    other[..., :2] = poses - _torso(poses) + _torso(keypoints)
    own[..., 0] -= aside
    other[..., 0] += aside
    return PersonTrack(track.person, frames.copy(), own), PersonTrack(number, frames.copy(), other)


def _donated(track: PersonTrack, people: Sequence[PersonTrack], rng: np.random.Generator) -> Tensor:
    """Joints ``(m, 17, 2)`` of another person, scaled to this one's height.

    There are as many poses as in the track, or as in the longest other track. They are consecutive rows, so the other's
    gaps in time close up.
    """
    others = [other for other in people if other is not track]
    count = min(len(track.frames), max(len(other.frames) for other in others))
    long_enough = [other for other in others if len(other.frames) >= count]
    other = long_enough[rng.integers(len(long_enough))]
    start = rng.integers(len(other.frames) - count + 1)
    return track_height(track) / track_height(other) * other.keypoints[start : start + count, :, :2]


def _torso(keypoints: Tensor) -> Tensor:
    """Centre of the torso: ``(n, 17, >=2)`` to ``(n, 1, 2)``."""
    return keypoints[:, _TORSO, :2].mean(dim=1, keepdim=True)


def _swing(times: Floats, frequencies_hz: tuple[float, float], rng: np.random.Generator) -> Floats:
    """A sine of random frequency and phase at times in seconds, -1 to 1."""
    frequency, phase = rng.uniform(*frequencies_hz), rng.uniform(0, 2 * math.pi)
    return np.asarray(np.sin(2 * math.pi * frequency * times + phase))


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
