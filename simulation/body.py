"""Articulated bodies: bone lengths of a person, joint angles of a pose, and the positions of the joints.

A body's own axes are forward, left and up. Limbs hang straight down when every angle is zero.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pose.skeleton import COCO_JOINTS

Floats = NDArray[np.float64]

POSE_PARTS: Final = (
    "lift",
    "forward",
    "sideways",
    "root_yaw",
    "root_pitch",
    "root_roll",
    "spine_flexion",
    "spine_side",
    "spine_twist",
    "head_yaw",
    "head_pitch",
    "head_roll",
)
"""Values that a pose has once: metres above the ground, ahead and to the left of the place, then angles in degrees."""

LIMB_ANGLES: Final = (
    "shoulder_flexion",
    "shoulder_abduction",
    "shoulder_twist",
    "elbow",
    "hip_flexion",
    "hip_abduction",
    "hip_twist",
    "knee",
    "ankle",
)
"""Values that a pose has for the left and then the right side, in degrees; twists turn inwards, ankles point the
toes."""

EXTRA_JOINTS: Final = (
    "pelvis",
    "waist",
    "neck",
    "skull",
    "crown",
    "chin",
    "left_hand",
    "right_hand",
    "left_toe",
    "right_toe",
    "left_heel",
    "right_heel",
)
"""Joints beyond COCO's 17 that drawing and standing on the ground need."""

BODY_JOINTS: Final = COCO_JOINTS + EXTRA_JOINTS
"""Names of a body's joints in the order of `forward_kinematics`; the first 17 are COCO's."""

INDEX: Final = {name: index for index, name in enumerate(BODY_JOINTS)}

_PARTS: Final = (
    *POSE_PARTS,
    *(f"left_{angle}" for angle in LIMB_ANGLES),
    *(f"right_{angle}" for angle in LIMB_ANGLES),
)
"""Names of a pose's values in their order."""

POSE_SIZE: Final = len(_PARTS)

_COLUMNS: Final = {part: [place] for place, part in enumerate(_PARTS)} | {
    angle: [_PARTS.index(f"left_{angle}"), _PARTS.index(f"right_{angle}")] for angle in LIMB_ANGLES
}

_FLESH: Final = {
    "nose": 0.02,
    "crown": 0.02,
    "skull": 0.055,
    "neck": 0.065,
    "waist": 0.06,
    "pelvis": 0.062,
    "left_shoulder": 0.035,
    "right_shoulder": 0.035,
    "left_elbow": 0.022,
    "right_elbow": 0.022,
    "left_wrist": 0.016,
    "right_wrist": 0.016,
    "left_hand": 0.016,
    "right_hand": 0.016,
    "left_hip": 0.05,
    "right_hip": 0.05,
    "left_knee": 0.03,
    "right_knee": 0.03,
    "left_toe": 0.0,
    "right_toe": 0.0,
    "left_heel": 0.0,
    "right_heel": 0.0,
}
"""Distance from a joint to the skin under it, as a share of the stature, for joints that can touch the ground."""

_TOUCHING: Final = [INDEX[name] for name in _FLESH]
_DEPTH: Final = np.array(list(_FLESH.values()))


@dataclass(frozen=True, slots=True)
class Body:
    """Size of one person in metres.

    Attributes:
        stature: Height from the ground to the crown.
        girth: Thickness of the body around the bones; 1 is average.
        thigh: Hip to knee.
        shank: Knee to ankle.
        sole: Ankle to the ground.
        foot: Heel to toe.
        hip: Half the distance between the hips.
        shoulder: Half the distance between the shoulders.
        lumbar: Pelvis to waist.
        thorax: Waist to the point between the shoulders.
        neck: From there to the chin.
        head: Chin to crown.
        upper_arm: Shoulder to elbow.
        forearm: Elbow to wrist.
        hand: Wrist to the middle of the fist.
    """

    stature: float
    girth: float
    thigh: float
    shank: float
    sole: float
    foot: float
    hip: float
    shoulder: float
    lumbar: float
    thorax: float
    neck: float
    head: float
    upper_arm: float
    forearm: float
    hand: float

    @property
    def leg(self) -> float:
        """Hip to ankle when the leg is straight."""
        return self.thigh + self.shank

    def lengths(self) -> Floats:
        """Its attributes as an array, in their order."""
        return np.array(astuple(self))


def random_body(rng: np.random.Generator, *, child: bool = False) -> Body:
    """A person; the proportions are those of Winter's tables, each varied by a few per cent.

    Args:
        rng: Source of random numbers.
        child: Smaller, with a larger head and shorter legs.
    """
    stature = rng.uniform(1.05, 1.4) if child else float(np.clip(rng.normal(1.71, 0.09), 1.5, 1.95))
    legs, head = (0.94, 1.22) if child else (1.0, 1.0)
    shares = {
        "thigh": 0.245 * legs,
        "shank": 0.246 * legs,
        "sole": 0.039,
        "foot": 0.152,
        "hip": 0.053,
        "shoulder": 0.107,
        "lumbar": 0.115,
        "thorax": 0.18,
        "neck": 0.05,
        "head": 0.128 * head,
        "upper_arm": 0.176,
        "forearm": 0.15,
        "hand": 0.055,
    }
    varied = {name: share * rng.uniform(0.96, 1.04) for name, share in shares.items()}
    scale = stature / sum(varied[name] for name in ("thigh", "shank", "sole", "lumbar", "thorax", "neck", "head"))
    return Body(
        stature=stature,
        girth=float(np.clip(rng.normal(1.0, 0.12), 0.8, 1.35)),
        **{name: share * scale for name, share in varied.items()},
    )


def pose(**parts: float) -> Floats:
    """A pose from named parts; a limb's angle without a side holds for both.

    Args:
        parts: Names of `POSE_PARTS` and `LIMB_ANGLES`, the latter with ``left_`` or ``right_`` before them or without;
            later ones win. Values that are not named are zero.

    Returns:
        Shape ``(POSE_SIZE,)``: metres and degrees.

    Raises:
        KeyError: There is no such part.
    """
    values = np.zeros(POSE_SIZE)
    for name, value in parts.items():
        for column in _COLUMNS[name]:
            values[column] = value
    return values


def column(name: str) -> int:
    """Where a pose holds one part; limbs need their side."""
    (found,) = _COLUMNS[name]
    return found


def forward_kinematics(lengths: Floats, poses: Floats, places: Floats, headings: Floats) -> Floats:
    """Positions of the joints of several bodies in the world; each body stands on the ground with its lowest point.

    Args:
        lengths: Shape ``(P, 15)``: rows of `Body.lengths`.
        poses: Shape ``(P, POSE_SIZE)``.
        places: Shape ``(P, 2)``: x and y on the ground in metres.
        headings: Shape ``(P,)``: where each body faces, radians from the x axis towards the y axis.

    Returns:
        Shape ``(P, len(BODY_JOINTS), 3)``: x, y and height in metres.
    """
    people = len(lengths)
    stature, _, thigh, shank, sole, foot, hip, shoulder, lumbar, thorax, neck, head, upper_arm, forearm, hand = (
        lengths.T
    )
    radians = np.deg2rad(poses)
    _, _, _, yaw, pitch, roll, flexion, side, twist, head_yaw, head_pitch, head_roll = radians[:, : len(POSE_PARTS)].T
    limbs = radians[:, len(POSE_PARTS) :].reshape(people, 2, len(LIMB_ANGLES))
    mirror = np.array([1.0, -1.0])

    pelvis_frame = _rotation(headings + yaw, pitch, roll)
    waist_frame = pelvis_frame @ _rotation(twist / 2, flexion / 2, side / 2)
    chest_frame = pelvis_frame @ _rotation(twist, flexion, side)
    head_frame = chest_frame @ _rotation(head_yaw, head_pitch, head_roll)
    arm_frame = chest_frame[:, None] @ _limb(limbs[..., 0], limbs[..., 1] * mirror, -limbs[..., 2] * mirror)
    forearm_frame = arm_frame @ _hinge(-limbs[..., 3])
    thigh_frame = pelvis_frame[:, None] @ _limb(limbs[..., 4], limbs[..., 5] * mirror, -limbs[..., 6] * mirror)
    shank_frame = thigh_frame @ _hinge(limbs[..., 7])
    foot_frame = shank_frame @ _hinge(limbs[..., 8])

    joints = np.zeros((people, len(BODY_JOINTS), 3))

    def put(name: str, start: Floats, frame: Floats, forward: Floats, left: Floats, up: Floats) -> Floats:
        end = (
            start + frame[..., 0] * forward[..., None] + frame[..., 1] * left[..., None] + frame[..., 2] * up[..., None]
        )
        joints[:, [INDEX[f"left_{name}"], INDEX[f"right_{name}"]] if end.ndim == 3 else INDEX[name]] = end
        return end

    zero = np.zeros(people)
    both = zero[:, None]
    pelvis = put("pelvis", np.zeros((people, 3)), pelvis_frame, zero, zero, zero)
    waist = put("waist", pelvis, waist_frame, zero, zero, lumbar)
    throat = put("neck", waist, chest_frame, zero, zero, thorax)
    chin = put("chin", throat, head_frame, 0.25 * head, zero, neck)
    skull = put("skull", throat, head_frame, 0.08 * head, zero, neck + 0.52 * head)
    put("crown", skull, head_frame, zero, zero, 0.48 * head)
    put("nose", chin, head_frame, 0.30 * head, zero, 0.32 * head)
    pairs = skull[:, None], head_frame[:, None]
    put("eye", *pairs, 0.38 * head[:, None], 0.15 * head[:, None] * mirror, 0.03 * head[:, None])
    put("ear", *pairs, -0.04 * head[:, None], 0.34 * head[:, None] * mirror, -0.03 * head[:, None])
    shoulders = put("shoulder", throat[:, None], chest_frame[:, None], both, shoulder[:, None] * mirror, both)
    elbows = put("elbow", shoulders, arm_frame, both, both, -upper_arm[:, None])
    wrists = put("wrist", elbows, forearm_frame, both, both, -forearm[:, None])
    put("hand", wrists, forearm_frame, both, both, -hand[:, None])
    hips = put("hip", pelvis[:, None], pelvis_frame[:, None], both, hip[:, None] * mirror, both)
    knees = put("knee", hips, thigh_frame, both, both, -thigh[:, None])
    ankles = put("ankle", knees, shank_frame, both, both, -shank[:, None])
    put("toe", ankles, foot_frame, 0.75 * foot[:, None], both, -sole[:, None])
    put("heel", ankles, foot_frame, -0.25 * foot[:, None], both, -sole[:, None])

    lowest = (joints[:, _TOUCHING, 2] - _DEPTH * (stature * lengths[:, 1])[:, None]).min(axis=1)
    forward, left = poses[:, 1], poses[:, 2]
    cosine, sine = np.cos(headings), np.sin(headings)
    joints[..., 0] += (places[:, 0] + cosine * forward - sine * left)[:, None]
    joints[..., 1] += (places[:, 1] + sine * forward + cosine * left)[:, None]
    joints[..., 2] += (poses[:, 0] - lowest)[:, None]
    return joints


def reach(thigh: float, shank: float, ahead: float, below: float) -> tuple[float, float]:
    """Flexion of hip and knee, in degrees, that bring the ankle to a point in the leg's plane; the knee stays in front.

    Args:
        thigh: Hip to knee in metres.
        shank: Knee to ankle in metres.
        ahead: How far the point lies before the hip.
        below: How far it lies under the hip. A point out of reach is approached with a straight leg.
    """
    distance = float(np.clip(np.hypot(ahead, below), abs(thigh - shank) + 1e-3, 0.999 * (thigh + shank)))
    knee = np.pi - np.arccos((thigh**2 + shank**2 - distance**2) / (2 * thigh * shank))
    bend = np.arccos((thigh**2 + distance**2 - shank**2) / (2 * thigh * distance))
    return float(np.rad2deg(np.arctan2(ahead, below) + bend)), float(np.rad2deg(knee))


def _rotation(yaw: Floats, pitch: Floats, roll: Floats) -> Floats:
    """Matrices that roll around forward, then pitch around left, then yaw around up."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    return _matrices(
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )


def _limb(flexion: Floats, abduction: Floats, twist: Floats) -> Floats:
    """Matrices that twist a limb around its axis, lift it sideways, and swing it forward."""
    swing = _hinge(-flexion)
    ca, sa, ct, st = np.cos(abduction), np.sin(abduction), np.cos(twist), np.sin(twist)
    return swing @ _matrices((ct, -st, 0.0), (ca * st, ca * ct, -sa), (sa * st, sa * ct, ca))


def _hinge(angle: Floats) -> Floats:
    """Matrices that turn around the axis to the left."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return _matrices((cosine, 0.0, sine), (0.0, 1.0, 0.0), (-sine, 0.0, cosine))


def _matrices(*rows: tuple[Floats | float, ...]) -> Floats:
    """Matrices ``(..., 3, 3)`` of their entries, the first of which is an array."""
    matrices = np.empty((*np.shape(rows[0][0]), 3, 3))
    for number, row in enumerate(rows):
        for place, entry in enumerate(row):
            matrices[..., number, place] = entry
    return matrices
