"""Fights: people close to each other whose bodies move violently.

The score is a logistic regression over seven plain numbers about two people, or about one beside whom nobody is seen,
over the last 1.5 s. The coefficients are learnt from 150 labelled clips of surveillance cameras (MIT licence), half of
them fights; ``python -m benchmarks.research.fight_behaviour`` makes them again and says how well they do on clips that
they were not learnt from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.behaviours.base import FIRES, MOST_SCORE, Finding, Kind
from model.behaviours.posture import Posture
from model.kinematics import RATE_HZ, SEEN, Bodies, Measure
from pose.skeleton import COCO_JOINTS

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

FEATURES: Final = ("feet", "contact_feet", "wrists", "shape", "near_shape", "broken", "torso")
"""What the regression reads, as log(1 + x), of two people:

- feet: speed of the faster foot against the torso, body heights per second, of the person with more of it;
- contact_feet: the same, times how close the torsos are, 0..1 (after the logarithm);
- wrists: speed of the faster wrist against the torso, of the person with more of it;
- shape: |d log(width / height) / dt| of the box, per second, of the person with more of it;
- near_shape: the same of the person with less of it, times how close the boxes are, 0..1 (after the logarithm);
- broken: tracks per second that begin beside somebody, since trackers lose people who wrestle;
- torso: speed of the torso, of the person with more of it. Its coefficient is negative: feet and arms of people who
  walk or run are fast too.

Of one person alone contact_feet and near_shape are 0.
"""

MEAN: Final = (0.5544, 0.2943, 0.6766, 0.5178, 0.2416, 0.6226, 0.3022)
DEVIATION: Final = (0.3040, 0.2805, 0.3034, 0.2459, 0.2393, 0.4915, 0.1908)
COEFFICIENTS: Final = (0.4734, 0.4455, 0.3290, 0.5941, 0.2181, 0.4772, -0.2871)
INTERCEPT: Final = -0.0582
"""Logit of a fight: the features, standardised by `MEAN` and `DEVIATION`, times `COEFFICIENTS`, plus `INTERCEPT`."""

_SLOPES: Final = np.array(COEFFICIENTS) / DEVIATION
_OFFSET: Final = INTERCEPT - float(MEAN @ _SLOPES)

THRESHOLD: Final = 1.1604
"""Logit from which a fight fires, chosen on cross-validated clips."""

WINDOW_S: Final = 1.5
"""Time over which the features are taken. Shorter ones measured noise; longer ones did not help."""

_LEAST: Final = 4
"""Moments for which two people must be seen together, and over which a mean is spread at least: one wrong pose is no
agitation."""

_FASTEST: Final = 3.0
_MOST_SHAPE: Final = 2.0
_MOST_TORSO: Final = 4.0
"""Speeds count up to these, per second. Kicks are faster, but so are joints that jump, and those are more frequent."""

_SURE: Final = 0.65
"""Mean confidence of a pose from which its limbs count in full; from `SEEN` up to it they count in proportion. Limbs of
people who are half hidden are guessed and jump."""

_STEP: Final = 2
_TORSO_STEP: Final = 3
"""Moments over which changes of shape and speeds of the torso are taken."""

_NEAR_H: Final = 0.4
_CONTACT_H: Final = 0.8
"""Scales of closeness in body heights: exp(-gap / 0.4) for boxes, exp(-(distance / 0.8)^2) for torsos."""

_MOST_GAP_H: Final = 0.5
"""Boxes of people who fight are no farther apart, on average over the window."""

_MOST_AWAY_H: Final = 1.5
_NEIGHBOURS: Final = 3
"""Each person is looked at together with so many others at most, the nearest whose torsos are no farther away now."""

_SAME_H: Final = 0.12
"""Two tracks whose torsos are no farther apart are one person whom the tracker sees twice."""

_MOST_RATIO: Final = 2.5
"""People whose heights in the picture differ more are at different distances from the camera."""

_BESIDE_H: Final = 0.8
_AROUND_H: Final = 1.0
_KNOWN_S: Final = 1.0
_SETTLE_S: Final = 0.15
"""A track is broken if it begins within `_BESIDE_H` of a place where another was seen within the last `_KNOWN_S`. It
counts for people within `_AROUND_H`. The first people of a scene, and those who appear within `_SETTLE_S` of them, were
there before."""

_SPREAD: Final = 2.0
"""Logits to which the scores are spread: at a score of 0.5, 2.2 below the threshold, half of ordinary clips remain."""

_ALONE: Final = 0.79
"""Highest score of a person beside whom nobody is seen. Often one person hides the other, but such a score alone must
not fire, whatever the threshold of the camera: it is below `LOOSEST`."""

_REPORTED: Final = 0.5
_AGITATED: Final = 0.75
_CALM_S: Final = 1.0
"""People are agitated while their score is at least `_AGITATED`, 1 below the threshold in logits. It is over when the
score has been lower for so long."""

_GAIN: Final = 1.0
"""Once a fight fires, its score grows while people stay agitated: by `_GAIN` for each second and each 1 by which the
score of the last 1.5 s exceeds 1, and back where it is lower, as a cumulative sum does (Page, Biometrika 41, 1954).
People who pass each other closely are agitated for a second or two, people who fight for longer. When a fight fires
does not change; a threshold above 1, from the camera's calibration, is reached by agitation that lasts."""

_FAST: Final = 0.8
"""A limb is named if its mean speed exceeds this, in body heights per second."""

_SHOULDER_TO_MIDDLE: Final = 0.16
"""From the shoulders to the middle of the torso, in body heights; half the length of a torso."""

_LIMBS: Final = tuple(COCO_JOINTS.index(name) for name in ("left_wrist", "right_wrist", "left_ankle", "right_ankle"))
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


class Place(NamedTuple):
    """Where a track was seen last, or began: seconds and pixels.

    Example:
        >>> Place(1.0, 100.0, 80.0, 120.0).beside(Place(1.5, 140.0, 80.0, 110.0))
        True
    """

    time: float
    x: float
    y: float
    stature: float

    def beside(self, other: Place) -> bool:
        """Whether another place is so near that a track that begins here may continue one that was there."""
        return math.hypot(self.x - other.x, self.y - other.y) < _BESIDE_H * max(self.stature, other.stature)


@dataclass(frozen=True, slots=True)
class Agitation:
    """How long a person has been agitated.

    Attributes:
        since: The first moment, in seconds.
        last: The last moment, in seconds.
        excess: By how much the score was above 1, summed over the time, in seconds; 0 or more.

    Example:
        >>> Agitation(since=3.0, last=4.5).excess
        0.0
    """

    since: float
    last: float
    excess: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What is remembered.

    Attributes:
        settled: Tracks that begin later than this count as broken, seconds.
        seen: Where tracks were seen last, those of the last second.
        broken: Where tracks began beside somebody, those of the last window.
        agitated: People who are agitated, by track number.

    Example:
        >>> Scene().broken
        ()
    """

    settled: float = -math.inf
    seen: Mapping[int, Place] = field(default_factory=lambda: MappingProxyType({}))
    broken: tuple[Place, ...] = ()
    agitated: Mapping[int, Agitation] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """Pairs of people who are close, then each person alone.

    Attributes:
        first: Shape ``(N,)``: row of a person.
        second: Shape ``(N,)``: row of the other; that of the same person if alone.
        features: Shape ``(N, len(FEATURES))``.
        distance: Shape ``(N,)``: mean distance of the torsos in body heights; nan if alone.
        closing: Shape ``(N,)``: highest speed at which the torsos approach, body heights per second; nan if alone.
    """

    first: Rows
    second: Rows
    features: Floats
    distance: Floats
    closing: Floats


@dataclass(frozen=True, slots=True)
class Fight:
    """The behaviour `fight`.

    Example:
        >>> Fight().start().broken
        ()
    """

    kind = Kind.FIGHT

    def start(self) -> Scene:
        """Nobody was seen yet."""
        return Scene()

    def update(self, state: Scene, bodies: Bodies, posture: Posture) -> tuple[Scene, list[Finding]]:
        """Take the next moment.

        Args:
            state: What is remembered.
            bodies: The people at this moment.
            posture: Their postures, which are not needed.

        Returns:
            What is remembered now, and one finding for each group of people.
        """
        state = _follow(state, bodies)
        people = _people(bodies)
        candidates = _candidates(bodies, people, state.broken, _REPORTED)
        scores = _scores(candidates.features, candidates.first != candidates.second)
        agitated = {
            track: agitation
            for track, agitation in state.agitated.items()
            if abs(bodies.time - agitation.last) <= _CALM_S
        }
        findings = []
        for rows, best in _groups(candidates, scores):
            tracks, score = [bodies.track_ids[row] for row in rows], float(scores[best])
            known = [agitated[track] for track in tracks if track in agitated]
            since = min([one.since for one in known], default=bodies.time)
            if score >= _AGITATED:
                excess = max([one.excess for one in known], default=0.0) + (score - FIRES) / RATE_HZ
                agitation = Agitation(since, bodies.time, max(excess, 0.0))
                agitated |= dict.fromkeys(tracks, agitation)
                if candidates.first[best] != candidates.second[best]:
                    score = min(score + _GAIN * agitation.excess, MOST_SCORE)
            findings.append(_finding(bodies, people, candidates, score, best, rows, since))
        return Scene(state.settled, state.seen, state.broken, agitated), findings


def features(state: Scene, bodies: Bodies) -> tuple[Scene, Floats, NDArray[np.bool_]]:
    """What the regression reads at the next moment, for those who fit it.

    Args:
        state: What is remembered.
        bodies: The people at this moment.

    Returns:
        What is remembered now; the features, shape ``(N, len(FEATURES))``; and which of the N are pairs.
    """
    state = _follow(state, bodies)
    candidates = _candidates(bodies, _people(bodies), state.broken, 0.0)
    return state, candidates.features, candidates.first != candidates.second


def _follow(state: Scene, bodies: Bodies) -> Scene:
    """Notice the tracks that begin beside somebody."""
    now = bodies.time
    seen = {track: place for track, place in state.seen.items() if abs(now - place.time) <= _KNOWN_S}
    settled = state.settled if seen else now + _SETTLE_S
    middles = bodies.several(Measure.BOX_X, Measure.BOX_Y)[-1].tolist()
    here = dict(zip(bodies.track_ids, map(Place, repeat(now), *middles, bodies.stature.tolist()), strict=True))
    broken = [place for place in state.broken if abs(now - place.time) < WINDOW_S]
    if now > settled:
        for track in [track for track in here if track not in seen]:
            place = here[track]
            if any(place.beside(other) for number, other in (seen | here).items() if number != track):
                broken.append(place)
    return Scene(settled, seen | here, tuple(broken), state.agitated)


@dataclass(frozen=True, slots=True, eq=False)
class _People:
    """Measures of M people over the window of T moments. The people lie side by side; that is the fastest order."""

    limbs: Floats
    """Speed of wrists and ankles in body heights per second, shape ``(T, 4, M)``."""
    numbers: Floats
    """Wrists, feet, shape and torso, shape ``(4, M)``."""
    torso: Floats
    """Place of the torso in pixels, shape ``(T, 2, M)``."""
    box: Floats
    """Middle and sides of the box in pixels, shape ``(T, 4, M)``."""
    seen: Rows
    """Number of moments at which each was seen, shape ``(M,)``."""


def _people(bodies: Bodies) -> _People:
    stature = bodies.stature
    confidence = bodies.several(Measure.CONFIDENCE, Measure.CONFIDENCE, WINDOW_S)[:, 0]
    trust = ((confidence - SEEN) / (_SURE - SEEN)).clip(0.0, 1.0)
    limbs = np.minimum(bodies.several(Measure.LEFT_WRIST, Measure.RIGHT_ANKLE, WINDOW_S) / stature, _FASTEST)
    limbs *= trust[:, None]
    box = bodies.several(Measure.BOX_X, Measure.TALL, WINDOW_S)
    sides = np.log(np.maximum(box[:, 2:], 1.0))
    shape = sides[:, 0] - sides[:, 1]
    change = np.minimum(np.abs(shape[_STEP:] - shape[:-_STEP]) * (RATE_HZ / _STEP), _MOST_SHAPE)
    change *= np.minimum(trust[_STEP:], trust[:-_STEP])
    trunk = bodies.several(Measure.SHOULDER_X, Measure.HIP_Y, WINDOW_S)
    torso = (trunk[:, :2] + trunk[:, 2:]) / 2
    if np.isnan(torso).any():
        below = trunk[:, :2] + np.array([[0.0], [_SHOULDER_TO_MIDDLE]]) * stature
        torso = np.where(np.isnan(torso), below, torso)
        torso = np.where(np.isnan(torso), box[:, :2], torso)
    moved = torso[_TORSO_STEP:] - torso[:-_TORSO_STEP]
    pace = np.minimum(np.hypot(moved[:, 0], moved[:, 1]) / stature * (RATE_HZ / _TORSO_STEP), _MOST_TORSO)
    faster = np.fmax(limbs[:, ::2], limbs[:, 1::2])
    numbers = np.concatenate([_mean(faster), _mean(change)[None], _mean(pace)[None]])
    return _People(limbs, numbers, torso, box, np.count_nonzero(~np.isnan(confidence), axis=0))


def _mean(values: Floats, least: int = _LEAST) -> Floats:
    """Mean over the moments (axis 0) that are known, spread over at least so many."""
    unknown = np.isnan(values)
    if not unknown.any():
        return np.asarray(values.sum(axis=0) / max(len(values), least))
    number = len(values) - unknown.sum(axis=0)
    return np.asarray(np.where(unknown, 0.0, values).sum(axis=0) / np.maximum(number, least))


def _candidates(bodies: Bodies, people: _People, broken: Sequence[Place], least: float) -> _Candidates:
    """Pairs and people alone; pairs that cannot reach the least score are left out."""
    logs = np.log1p(np.concatenate([people.numbers, _broken(bodies, broken)[None]]))
    torso = people.torso[-1]
    first, second = _near(torso, bodies.stature)
    most, fewest = np.maximum(logs[:, first], logs[:, second]), np.minimum(logs[2, first], logs[2, second])
    # A pair that touches has the highest score. Most pairs would not reach the least even so, and need no more work.
    able = np.flatnonzero(_scores(_features(most, most[1], fewest)) >= least)
    able = able[_nearest(torso, bodies.stature, first, second, able)]
    close, gap, distances = _close(bodies, people, first[able], second[able])
    able = able[close]
    first, second, most, fewest = first[able], second[able], most[:, able], fewest[able]
    distance = _mean(distances, 1)
    approach = (distances[:-_TORSO_STEP] - distances[_TORSO_STEP:]) * (RATE_HZ / _TORSO_STEP)
    pairs = _features(most, most[1] * np.exp(-((distance / _CONTACT_H) ** 2)), fewest * np.exp(-gap / _NEAR_H))
    alone = np.flatnonzero(people.seen >= _LEAST)
    nothing, unknown = np.zeros(len(alone)), np.full(len(alone), np.nan)
    return _Candidates(
        first=np.concatenate([first, alone]),
        second=np.concatenate([second, alone]),
        features=np.concatenate([pairs, _features(logs[:, alone], nothing, nothing)]),
        distance=np.concatenate([distance, unknown]),
        closing=np.concatenate([np.fmax.reduce(approach, axis=0, initial=0.0), unknown]),
    )


def _features(logs: Floats, contact_feet: Floats, near_shape: Floats) -> Floats:
    """What `FEATURES` names, shape ``(N, 7)``, from logarithms of wrists, feet, shape, torso and broken tracks."""
    result = np.empty((len(FEATURES), len(contact_feet)))
    # Its columns: wrists, feet, shape, torso, broken.
    result[[2, 0, 3, 6, 5]] = logs
    result[1], result[4] = contact_feet, near_shape
    return result.T


def _close(bodies: Bodies, people: _People, first: Rows, second: Rows) -> tuple[Rows, Floats, Floats]:
    """Which pairs are close; the mean gap of their boxes; the distances of their torsos at each moment."""
    scale = (bodies.stature[first] + bodies.stature[second]) / 2
    one, other = people.box[:, :, first], people.box[:, :, second]
    sides = np.abs(one[:, :2] - other[:, :2]) - (one[:, 2:] + other[:, 2:]) / 2
    sides = np.maximum(sides, 0.0)
    gap = _mean(np.hypot(sides[:, 0], sides[:, 1]) / scale, 1)
    away = people.torso[:, :, first] - people.torso[:, :, second]
    distances = np.hypot(away[:, 0], away[:, 1]) / scale
    together = np.count_nonzero(~np.isnan(distances), axis=0)
    near = (together >= _LEAST) & (gap < _MOST_GAP_H) & (_mean(distances, 1) >= _SAME_H)
    close = np.flatnonzero(near)
    return close, gap[close], distances[:, close]


def _near(torso: Floats, stature: Floats) -> tuple[Rows, Rows]:
    """Pairs who may be neighbours: rows of the one and of the other, in increasing order."""
    first, second = _pairs(len(stature))
    near = np.flatnonzero(_distance(torso, stature, first, second) < _MOST_AWAY_H)
    return first[near], second[near]


@lru_cache(maxsize=64)
def _pairs(people: int) -> tuple[Rows, Rows]:
    """All pairs of so many people, in increasing order."""
    first, second = np.triu_indices(people, 1)
    return first, second


def _distance(torso: Floats, stature: Floats, first: Rows, second: Rows) -> Floats:
    """How far people are from others now, in heights of the taller; inf where their heights differ too much.

    Args:
        torso: Places now, shape ``(2, M)``.
        stature: Body heights, shape ``(M,)``.
        first: Rows of people.
        second: Rows of others; the shape of the result is that of the two together.
    """
    one, other = stature[first], stature[second]
    taller = np.maximum(one, other)
    x, y = torso
    distance = np.hypot(x[first] - x[second], y[first] - y[second]) / taller
    return np.where(taller < _MOST_RATIO * np.minimum(one, other), distance, np.inf)


def _nearest(torso: Floats, stature: Floats, first: Rows, second: Rows, asked: Rows) -> NDArray[np.bool_]:
    """Which of some pairs are neighbours: one of the two is among the `_NEIGHBOURS` nearest of the other.

    Args:
        torso: Places now, shape ``(2, M)``.
        stature: Body heights, shape ``(M,)``.
        first: One of each pair of `_near`.
        second: The other.
        asked: Numbers of these pairs.
    """
    everybody = np.arange(len(stature))
    near = np.bincount(first, minlength=len(stature)) + np.bincount(second, minlength=len(stature))
    one, other = first[asked], second[asked]
    wanted = np.zeros(len(stature), np.bool_)
    wanted[one] = wanted[other] = True
    crowded = np.flatnonzero(wanted & (near > _NEIGHBOURS))
    chosen = np.ones((len(stature), len(stature)), np.bool_)
    if len(crowded):
        distance = _distance(torso, stature, crowded[:, None], everybody)
        distance[np.arange(len(crowded)), crowded] = np.inf
        rank = distance.argsort(axis=1, kind="stable").argsort(axis=1)
        chosen[crowded] = rank < _NEIGHBOURS
    return np.asarray(chosen[one, other] | chosen[other, one])


def _broken(bodies: Bodies, broken: Sequence[Place]) -> Floats:
    """Broken tracks per second around each person, shape ``(M,)``."""
    if not broken:
        return np.zeros(len(bodies))
    here = bodies.several(Measure.BOX_X, Measure.BOX_Y)[-1].T
    places = np.array([[place.x, place.y] for place in broken])
    reach = np.maximum(bodies.stature[:, None], np.array([place.stature for place in broken]))
    away = np.linalg.norm(here[:, None] - places, axis=2)
    return np.asarray((away < _AROUND_H * reach).sum(axis=1) / WINDOW_S)


def _scores(features: Floats, paired: NDArray[np.bool_] | bool = True) -> Floats:
    """Scores of candidates, shape ``(N,)``: 1 at the threshold, 2 at most, less for people alone.

    They grow with every feature but the speed of the torso.
    """
    logits = features @ _SLOPES + _OFFSET
    scores: Floats = 2.0 / (1.0 + np.exp((THRESHOLD - logits) / _SPREAD))
    return np.asarray(np.where(paired, scores, np.minimum(scores, _ALONE)))


def _groups(candidates: _Candidates, scores: Floats) -> list[tuple[list[int], int]]:
    """People who fight together: their rows, increasing, and their strongest candidate; the strongest group first."""
    counted = np.flatnonzero(scores >= _REPORTED)
    # Pairs first, since a person in a pair is not alone, and the strongest of them first: it stands for its group.
    alone = candidates.first[counted] == candidates.second[counted]
    order = counted[np.lexsort((-scores[counted], alone))]
    score = dict(zip(order.tolist(), scores[order].tolist(), strict=True))
    member: dict[int, int] = {}
    groups: dict[int, set[int]] = {}
    for number, one, other in zip(
        score, candidates.first[order].tolist(), candidates.second[order].tolist(), strict=True
    ):
        joined = {member[row] for row in (one, other) if row in member}
        # Neither does a weak pair draw bystanders into a fight.
        if joined and (one == other or score[number] < 1 <= max(score[old] for old in joined)):
            continue
        rows = {one, other}.union(*(groups.pop(old) for old in joined))
        best = max([number, *joined], key=score.__getitem__)
        groups[best] = rows
        member |= dict.fromkeys(rows, best)
    strongest = sorted(groups, key=lambda number: -score[number])
    return [(sorted(groups[number]), number) for number in strongest]


def _finding(
    bodies: Bodies, people: _People, candidates: _Candidates, score: float, best: int, rows: list[int], since: float
) -> Finding:
    pair = sorted({int(candidates.first[best]), int(candidates.second[best])})
    fastest = _mean(people.limbs[:, :, pair]).max(axis=1)
    facts = {"limb_speed_h_s": float(fastest.max()), "agitation_s": bodies.time - since}
    shape = float(people.numbers[2, pair].max())
    facts |= {"shape_change_per_s": shape, "broken_tracks_per_s": math.expm1(candidates.features[best, 5])}
    moves = f"limbs at {facts['limb_speed_h_s']:.1f} body heights a second on average for {facts['agitation_s']:.1f} s"
    if len(pair) == 2:
        distance = float(candidates.distance[best])
        facts |= {"distance_h": distance, "closing_h_s": float(candidates.closing[best])}
        count = _NUMBERS[len(rows)] if len(rows) < len(_NUMBERS) else str(len(rows))
        saw = f"{count} people{', two of them' if len(rows) > 2 else ''} {distance:.1f} body heights apart; {moves}"
    else:
        saw = f"one person, nobody seen beside; {moves}"
    return Finding(
        kind=Kind.FIGHT,
        tracks=tuple(sorted(bodies.track_ids[row] for row in rows)),
        score=score,
        since=since,
        saw=saw,
        facts=facts,
        joints=tuple(joint for joint, speed in zip(_LIMBS, fastest, strict=True) if speed >= _FAST),
    )
