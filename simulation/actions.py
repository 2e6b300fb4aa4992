"""How a body moves: the pose of every action as a function of time, gait phase and the person's own style."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from simulation.body import Body, Floats, pose, reach

Action = Literal[
    "walk",
    "stand",
    "talk",
    "sit",
    "run",
    "fall",
    "rise",
    "fight",
    "throw",
    "crawl",
    "hands_up",
    "flee",
    "linger",
    "meet",
    "oppose",
]
"""What a person is doing; ``fall`` includes lying on the ground afterwards, ``rise`` is getting up again.

In the last four, people run away, walk and stand about one place, stand in a group, and walk against the others."""

Move = Literal["guard", "left punch", "right punch", "kick", "push", "grapple", "recoil"]
"""What a person in a fight is doing at the moment."""

MOVE_S: Final[dict[Move, float]] = {
    "guard": 0.5,
    "left punch": 0.42,
    "right punch": 0.48,
    "kick": 0.75,
    "push": 0.7,
    "grapple": 1.8,
    "recoil": 0.55,
}
"""Seconds that each move takes."""

THROW_S: Final = 1.7
"""Seconds from one throw to the next."""

FALL_S: Final = 0.85
"""Seconds from losing balance to lying."""

RISE_S: Final = 2.6
"""Seconds from lying to standing."""

KNEEL_S: Final = 1.8
"""Seconds from standing to hands and knees."""


@dataclass(frozen=True, slots=True)
class Style:
    """How one person moves, apart from size.

    Attributes:
        swing: Arm swing; 1 is average.
        bend: Elbows' bend at rest in degrees.
        stoop: Forward lean of the spine in degrees.
        tempo: Speed of gestures; 1 is average.
        phases: Shape ``(8,)``: phases of the slow movements of this person, in radians.
        side: 1 or -1: the leading side.
        direction: In degrees, which way this person falls: 0 forward, 90 to the left, 180 backward.
    """

    swing: float
    bend: float
    stoop: float
    tempo: float
    phases: tuple[float, ...]
    side: int
    direction: float


def random_style(rng: np.random.Generator) -> Style:
    """A way to move."""
    return Style(
        swing=rng.uniform(0.5, 1.4),
        bend=rng.uniform(8, 30),
        stoop=rng.uniform(0, 9),
        tempo=rng.uniform(0.7, 1.3),
        phases=tuple(rng.uniform(0, 2 * np.pi, 8)),
        side=int(rng.choice((-1, 1))),
        direction=float(rng.choice((0, 90, -90, 180))),
    )


def stride_length(body: Body, speed: float, *, running: bool) -> float:
    """Metres from one step of a foot to its next at a speed in metres per second."""
    if running:
        return 1.25 * body.stature * math.sqrt(max(speed, 1.0) / 3.2)
    return 0.74 * body.stature * math.sqrt(max(speed, 0.25) / 1.3)


def walk(body: Body, style: Style, phase: float, speed: float) -> Floats:
    """Walking: the foot on the ground moves back exactly as fast as the body moves ahead.

    Args:
        body: The person's body.
        style: How the person moves.
        phase: Strides since the left foot touched the ground.
        speed: Metres per second.
    """
    stride = stride_length(body, speed, running=False)
    swing = 2 * math.pi * phase
    pace = min(speed / 1.3, 1.4)
    arm = 24 * style.swing * pace
    elbow = style.bend + 8 * pace
    return pose(
        **_legs(body, phase, stance=0.62, travel=0.62 * stride, clearance=0.05 + 0.05 * pace, heel_rise=48 * pace),
        spine_flexion=style.stoop + 2 * pace,
        spine_twist=7 * pace * math.cos(swing),
        spine_side=1.5 * pace * math.sin(swing),
        head_pitch=-0.6 * style.stoop,
        head_yaw=6 * math.sin(0.11 * swing + style.phases[0]) - 5 * pace * math.cos(swing),
        shoulder_abduction=9,
        left_shoulder_flexion=-arm * math.cos(swing) + 3,
        right_shoulder_flexion=arm * math.cos(swing) + 3,
        left_elbow=elbow * (1 - 0.4 * math.cos(swing)),
        right_elbow=elbow * (1 + 0.4 * math.cos(swing)),
    )


def run(body: Body, style: Style, phase: float, speed: float) -> Floats:
    """Running, with both feet off the ground between the steps; arguments as for `walk`."""
    stride = stride_length(body, speed, running=True)
    swing = 2 * math.pi * phase
    arm = 42 * style.swing**0.3
    return pose(
        **_legs(body, phase, stance=0.36, travel=0.36 * stride, clearance=0.32, heel_rise=58),
        spine_flexion=14 + style.stoop,
        spine_twist=14 * math.cos(swing),
        head_pitch=-10,
        shoulder_abduction=14,
        shoulder_twist=15,
        left_shoulder_flexion=-arm * math.cos(swing) - 4,
        right_shoulder_flexion=arm * math.cos(swing) - 4,
        left_elbow=92 - 14 * math.cos(swing),
        right_elbow=92 + 14 * math.cos(swing),
    )


def stand(style: Style, time_s: float) -> Floats:
    """Standing, the weight shifting from leg to leg."""
    shift = _wave(style, 0, 0.12, time_s)
    look = _wave(style, 1, 0.09, time_s) + 0.5 * _wave(style, 2, 0.23, time_s)
    sway = _wave(style, 3, 0.21, time_s)
    return pose(
        root_roll=2.5 * shift,
        root_pitch=0.6 * sway,
        sideways=0.03 * shift,
        spine_flexion=style.stoop + sway,
        spine_side=-3 * shift,
        spine_twist=5 * look,
        head_yaw=28 * look,
        head_pitch=5 + 6 * sway,
        left_hip_abduction=5 - 2.5 * shift,
        right_hip_abduction=5 + 2.5 * shift,
        left_hip_flexion=5 + 6 * max(-shift, 0),
        right_hip_flexion=5 + 6 * max(shift, 0),
        left_knee=6 + 14 * max(-shift, 0),
        right_knee=6 + 14 * max(shift, 0),
        left_ankle=-3 - 8 * max(-shift, 0),
        right_ankle=-3 - 8 * max(shift, 0),
        shoulder_abduction=8,
        left_shoulder_flexion=2 + 3 * sway,
        right_shoulder_flexion=2 - 3 * sway,
        elbow=style.bend,
    )


def talk(style: Style, time_s: float) -> Floats:
    """Standing, with the gestures of talk."""
    still = stand(style, time_s)
    beat = 0.55 * style.tempo
    lively = 0.5 + 0.5 * _wave(style, 4, 0.11, time_s)
    left, right = _wave(style, 5, beat, time_s), _wave(style, 6, 0.8 * beat, time_s)
    arms = pose(
        left_shoulder_flexion=22 * lively + 12 * lively * left,
        right_shoulder_flexion=34 * lively + 14 * lively * right,
        shoulder_twist=18 * lively,
        shoulder_abduction=6 * lively,
        left_elbow=(58 + 26 * left) * lively,
        right_elbow=(66 + 30 * right) * lively,
        head_pitch=5 * _wave(style, 7, 0.7, time_s),
    )
    return still + arms


def sit(body: Body, style: Style, time_s: float) -> Floats:
    """Sitting on something knee-high behind the person's place, hands in the lap."""
    ease, look = _wave(style, 0, 0.1, time_s), _wave(style, 1, 0.08, time_s)
    return pose(
        forward=-0.85 * body.thigh,
        root_pitch=-4 + 3 * ease,
        spine_flexion=10 + style.stoop + 4 * ease,
        spine_twist=4 * look,
        head_yaw=25 * look,
        head_pitch=4,
        hip_flexion=84 + 3 * ease,
        hip_abduction=7,
        left_knee=84 + 5 * look,
        right_knee=84 - 5 * look,
        left_shoulder_flexion=30 + 5 * ease,
        right_shoulder_flexion=32 - 5 * ease,
        shoulder_abduction=8,
        shoulder_twist=22,
        elbow=58 + 8 * look,
    )


def fall(body: Body, style: Style, time_s: float) -> Floats:
    """Falling over the feet and lying there.

    Args:
        body: The person's body.
        style: How the person falls, and which way.
        time_s: Seconds since the balance was lost.
    """
    share = min(time_s / FALL_S, 1.0)
    tip = share**1.8
    buckle = math.sin(math.pi * min(share * 1.1, 1.0))
    calm = 1 - math.exp(-max(time_s - FALL_S, 0.0) / 0.4)
    ahead, left = math.cos(math.radians(style.direction)), math.sin(math.radians(style.direction))
    front, back, aside = max(ahead, 0.0), max(-ahead, 0.0), abs(left)
    stir = _wave(style, 1, 0.13, time_s) * calm
    balance = 60 * math.sin(math.pi * share)
    # Lying limbs stay in the plane of the ground; otherwise they would hold the body up.
    return pose(
        forward=0.75 * body.leg * ahead * math.sin(tip * math.pi / 2),
        sideways=0.75 * body.leg * left * math.sin(tip * math.pi / 2),
        root_pitch=88 * tip * ahead,
        root_roll=-88 * tip * left,
        spine_flexion=(26 * buckle + 8 * aside * tip) + 1.5 * stir,
        spine_side=8 * left * tip,
        head_pitch=(14 * back - 8 * front) * tip + 10 * buckle,
        head_yaw=55 * front * tip * style.side + 12 * stir * back,
        left_hip_flexion=34 * buckle + (38 * aside + 6 * back) * tip,
        right_hip_flexion=26 * buckle + (52 * aside + 26 * back) * tip + 3 * stir * back,
        hip_abduction=9 * (1 - aside) * tip,
        left_knee=48 * buckle + (6 + 34 * aside) * tip,
        right_knee=40 * buckle + (10 + 40 * (1 - front)) * tip,
        ankle=(25 + 45 * front) * tip,
        left_shoulder_flexion=balance + 75 * aside * tip,
        right_shoulder_flexion=balance + 55 * aside * tip,
        left_shoulder_abduction=24 + ((110 if style.side > 0 else 8) * front + 34 * back - 22 * aside) * tip,
        right_shoulder_abduction=24 + ((110 if style.side < 0 else 8) * front + 16 * back - 22 * aside) * tip,
        left_elbow=30 * (1 - tip) + (34 * back + 30 * aside) * tip + 6 * stir * (1 - front),
        right_elbow=24 * (1 - tip) + (18 * back + 50 * aside) * tip,
    )


def rise(body: Body, style: Style, time_s: float) -> Floats:
    """Getting up: onto hands and knees, then into a squat, then up."""
    return _keyed(
        time_s,
        (0.0, fall(body, style, 10.0) * _PLACED),
        (1.0, _on_all_fours(style, 0.0)),
        (1.8, _squat()),
        (RISE_S, stand(style, 0.0)),
    )


def crawl(style: Style, phase: float, time_s: float) -> Floats:
    """Getting down and crawling on hands and knees.

    Args:
        style: How the person moves.
        phase: Cycles of the limbs.
        time_s: Seconds since the person stood.
    """
    crawling = _on_all_fours(style, phase)
    if time_s >= KNEEL_S:
        return crawling
    return _keyed(time_s, (0.0, stand(style, 0.0)), (0.55 * KNEEL_S, _squat()), (KNEEL_S, crawling))


def _squat() -> Floats:
    return pose(
        root_pitch=30,
        spine_flexion=35,
        head_pitch=-20,
        left_hip_flexion=105,
        right_hip_flexion=70,
        left_knee=110,
        right_knee=120,
        left_ankle=-15,
        right_ankle=20,
        shoulder_flexion=55,
        elbow=20,
        shoulder_abduction=10,
    )


def _on_all_fours(style: Style, phase: float) -> Floats:
    """On hands and knees, opposite limbs together; `phase` counts cycles."""
    swing = math.sin(2 * math.pi * phase)
    lift = math.cos(2 * math.pi * phase)
    return pose(
        root_pitch=80,
        root_yaw=3 * swing,
        spine_flexion=6,
        spine_side=5 * swing,
        head_pitch=-52 + 6 * swing,
        left_hip_flexion=84 + 20 * swing,
        right_hip_flexion=84 - 20 * swing,
        left_knee=88 + 16 * max(lift, 0),
        right_knee=88 + 16 * max(-lift, 0),
        ankle=50,
        hip_abduction=6,
        left_shoulder_flexion=82 - 22 * swing,
        right_shoulder_flexion=82 + 22 * swing,
        shoulder_abduction=8,
        left_elbow=12 + 30 * max(-lift, 0),
        right_elbow=12 + 30 * max(lift, 0),
    )


def throw(style: Style, time_s: float) -> Floats:
    """Throwing repeatedly: picking something up, winding up, and letting go."""
    time_s %= THROW_S
    arm, other = ("right", "left") if style.side > 0 else ("left", "right")
    side = style.side
    pick = pose(
        root_pitch=25,
        spine_flexion=48,
        hip_flexion=70,
        knee=62,
        ankle=-12,
        **{f"{arm}_shoulder_flexion": 62.0, f"{other}_shoulder_flexion": 30.0, f"{other}_elbow": 50.0},
    )
    wind = pose(
        spine_twist=-42 * side,
        spine_flexion=-12,
        root_yaw=-25 * side,
        **{
            f"{arm}_shoulder_flexion": 70.0,
            f"{arm}_shoulder_abduction": 92.0,
            f"{arm}_elbow": 105.0,
            f"{other}_shoulder_flexion": 75.0,
            f"{other}_elbow": 15.0,
            f"{other}_hip_flexion": 32.0,
            f"{other}_knee": 38.0,
            f"{arm}_hip_flexion": -12.0,
            f"{arm}_knee": 18.0,
        },
    )
    release = pose(
        spine_twist=38 * side,
        spine_flexion=26,
        root_yaw=18 * side,
        **{
            f"{arm}_shoulder_flexion": 140.0,
            f"{arm}_shoulder_abduction": 12.0,
            f"{arm}_elbow": 8.0,
            f"{other}_shoulder_flexion": -30.0,
            f"{other}_elbow": 40.0,
            f"{other}_hip_flexion": 38.0,
            f"{other}_knee": 26.0,
            f"{arm}_hip_flexion": -22.0,
            f"{arm}_knee": 20.0,
            f"{arm}_ankle": 20.0,
        },
    )
    follow = release + pose(**{f"{arm}_shoulder_flexion": -85.0, f"{arm}_shoulder_twist": 40.0}, spine_flexion=14)
    return _keyed(time_s, (0.0, follow), (0.5, pick), (1.0, wind), (1.22, release), (1.4, follow), (THROW_S, follow))


def hands_up(style: Style, time_s: float) -> Floats:
    """Standing with both hands beside or above the head, as somebody who is threatened; arms tire and sway."""
    tire = _wave(style, 4, 0.17, time_s)
    bend = 35 + 1.5 * style.bend + 4 * tire
    arms = pose(
        shoulder_flexion=160 - 0.75 * bend,
        shoulder_abduction=14 + 6 * style.tempo,
        left_elbow=bend + 3 * style.side,
        right_elbow=bend - 3 * style.side,
    )
    legs_and_trunk = stand(style, time_s) * ~_ARMS
    return np.asarray(legs_and_trunk + arms)


def fight(style: Style, move: Move, time_s: float, step: float) -> Floats:
    """One move of a fight.

    Args:
        style: How the person moves.
        move: The move.
        time_s: Seconds since it began.
        step: Phase of the footwork in cycles.
    """
    guard = _guard(style, step)
    share = min(time_s / MOVE_S[move], 1.0)
    # Quick to its peak, slower back.
    hit = share / 0.35 if share < 0.35 else (1 - share) / 0.65
    hit = hit * hit * (3 - 2 * hit)
    return guard + hit * (_peak(style, move) - _guard(style, 0.0))


def _guard(style: Style, step: float) -> Floats:
    bounce = math.sin(2 * math.pi * step)
    lead, rear = ("left", "right") if style.side > 0 else ("right", "left")
    return pose(
        root_yaw=-22 * style.side,
        spine_flexion=16,
        spine_twist=6 * bounce,
        head_yaw=18 * style.side,
        head_pitch=-4,
        shoulder_abduction=16,
        elbow=112 + 8 * bounce,
        **{
            f"{lead}_shoulder_flexion": 58.0 + 6 * bounce,
            f"{rear}_shoulder_flexion": 42.0 - 6 * bounce,
            f"{lead}_hip_flexion": 30.0 + 12 * bounce,
            f"{lead}_knee": 30.0 + 10 * max(bounce, 0),
            f"{rear}_hip_flexion": -8.0 - 10 * bounce,
            f"{rear}_knee": 24.0 + 10 * max(-bounce, 0),
            f"{rear}_ankle": 12.0,
        },
    )


def _peak(style: Style, move: Move) -> Floats:
    """The pose in the middle of a move."""
    guard = _guard(style, 0.0)
    side = style.side
    match move:
        case "guard":
            return guard
        case "left punch" | "right punch":
            arm = move.split()[0]
            turn = -34 if arm == "left" else 34
            return _changed(
                guard,
                spine_twist=turn,
                spine_flexion=22,
                **{f"{arm}_shoulder_flexion": 98, f"{arm}_elbow": 4, f"{arm}_shoulder_abduction": 4},
            )
        case "kick":
            leg = "right" if side > 0 else "left"
            return _changed(
                guard,
                root_pitch=-18,
                spine_flexion=8,
                shoulder_abduction=40,
                **{f"{leg}_hip_flexion": 98, f"{leg}_knee": 8, f"{leg}_ankle": 20},
            )
        case "push":
            return _changed(guard, root_pitch=14, spine_flexion=24, shoulder_flexion=88, elbow=8, shoulder_abduction=6)
        case "grapple":
            return _changed(
                guard,
                root_pitch=20,
                spine_flexion=30,
                shoulder_flexion=78,
                elbow=48,
                shoulder_twist=35,
                head_yaw=25 * side,
            )
        case "recoil":
            return _changed(
                guard,
                root_pitch=-16,
                spine_flexion=-20,
                spine_twist=22 * side,
                head_pitch=-24,
                head_yaw=30 * side,
                shoulder_flexion=30,
                shoulder_abduction=38,
                elbow=55,
            )


def _legs(
    body: Body, phase: float, *, stance: float, travel: float, clearance: float, heel_rise: float
) -> dict[str, float]:
    """Both legs in a gait, and the lift of the body while neither foot is down.

    Args:
        body: The person's body.
        phase: Strides since the left foot touched the ground.
        stance: Share of a stride in which a foot is down.
        travel: Metres that the body moves over it meanwhile.
        clearance: Metres by which the ankle is lifted as the foot swings forward.
        heel_rise: Degrees that the foot is rolled over the toes as it leaves the ground.
    """
    first = 0.44 * travel
    low = math.sqrt(max((0.985 * body.leg) ** 2 - first**2, 0.25 * body.leg**2))
    high = max(0.975 * body.leg, low)
    if stance < 0.5:  # Running: lowest in the middle of the stance.
        low = high = 0.9 * body.leg
    hip = low + (high - low) * (0.5 - 0.5 * math.cos(4 * math.pi * phase))
    angles: dict[str, float] = {}
    heights = []
    toe, sole = 0.75 * body.foot, body.sole
    for name, offset in (("left", 0.0), ("right", 0.5)):
        share = (phase + offset) % 1.0
        if share < stance:
            done = share / stance
            pitch = heel_rise * max((done - 0.55) / 0.45, 0.0) ** 1.5
            height = 0.0
            place = first - travel * done
        else:
            done = (share - stance) / (1 - stance)
            ease = done * done * (3 - 2 * done)
            pitch = heel_rise * (1 - ease) - 14 * math.sin(math.pi * done) * done
            height = clearance * body.leg * math.sin(math.pi * done**0.8)
            place = first - travel + travel * (ease + 0.25 * done * (1 - done) * (1 - 2 * done))
        tip = math.radians(max(pitch, 0.0))
        ankle_x = place + toe - toe * math.cos(tip) + sole * math.sin(tip)
        ankle_z = height + toe * math.sin(tip) + sole * math.cos(tip) - sole
        flexion, knee = reach(body.thigh, body.shank, ankle_x, hip - ankle_z)
        angles |= {
            f"{name}_hip_flexion": flexion,
            f"{name}_knee": knee,
            f"{name}_ankle": pitch + flexion - knee,
        }
        heights.append(height)
    flight = min(heights)
    return angles | {"lift": flight}


def _keyed(time_s: float, *keys: tuple[float, Floats]) -> Floats:
    """The pose at a time between poses at rising times."""
    for (start, before), (end, after) in itertools.pairwise(keys):
        if time_s < end:
            share = max(time_s - start, 0.0) / (end - start)
            return before + share * share * (3 - 2 * share) * (after - before)
    return keys[-1][1]


def _changed(base: Floats, **parts: float) -> Floats:
    """A pose with some values replaced."""
    named = pose(**dict.fromkeys(parts, 1.0)) != 0
    return np.where(named, pose(**parts), base)


def _wave(style: Style, number: int, hertz: float, time_s: float) -> float:
    """A slow movement between -1 and 1 with a long period."""
    angle = 2 * math.pi * hertz * time_s + style.phases[number]
    return 0.65 * math.sin(angle) + 0.35 * math.sin(1.73 * angle + style.phases[(number + 3) % len(style.phases)])


_ARMS: Final = pose(shoulder_flexion=1, shoulder_abduction=1, elbow=1) != 0
"""The values of a pose that raise and bend the arms."""

_PLACED: Final = np.where(np.isin(np.arange(len(pose())), (1, 2)), 0.0, 1.0)
"""Removes the displacement of a pose from its place."""
