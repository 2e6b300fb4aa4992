"""Two who strike each other are a fight; two who walk, talk or embrace are not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.behaviours import fight
from model.behaviours.base import FIRES, LOOSEST, MOST_SCORE, Finding, Kind
from model.behaviours.fight import COEFFICIENTS, DEVIATION, FEATURES, MEAN, Fight, Place, Scene, features
from model.behaviours.posture import Posture
from model.kinematics import Kinematics
from pose.skeleton import COCO_JOINTS

STATURE = 200.0
SIZE = (1280, 720)
WRISTS, ANKLES = ("left_wrist", "right_wrist"), ("left_ankle", "right_ankle")
_FIGURE = {
    "nose": (0.0, 0.07),
    "left_eye": (0.02, 0.06),
    "right_eye": (-0.02, 0.06),
    "left_ear": (0.04, 0.07),
    "right_ear": (-0.04, 0.07),
    "left_shoulder": (0.1, 0.18),
    "right_shoulder": (-0.1, 0.18),
    "left_elbow": (0.13, 0.34),
    "right_elbow": (-0.13, 0.34),
    "left_wrist": (0.14, 0.48),
    "right_wrist": (-0.14, 0.48),
    "left_hip": (0.07, 0.5),
    "right_hip": (-0.07, 0.5),
    "left_knee": (0.08, 0.73),
    "right_knee": (-0.08, 0.73),
    "left_ankle": (0.08, 0.95),
    "right_ankle": (-0.08, 0.95),
}

Pose = np.ndarray
People = dict[int, Pose]


def standing(x: float, y: float = 300.0) -> Pose:
    """COCO joints ``(17, 3)`` of somebody who stands; x, y is the crown, in pixels."""
    places = np.array([_FIGURE[name] for name in COCO_JOINTS]) * STATURE + [x, y]
    return np.column_stack([places, np.full(17, 0.9)])


def moved(pose: Pose, joint: str, right: float, down: float) -> Pose:
    """The pose with one joint elsewhere, in body heights."""
    result = pose.copy()
    result[COCO_JOINTS.index(joint), :2] += np.array([right, down]) * STATURE
    return result


def walking(x: float, time: float, speed: float = 0.7) -> Pose:
    """Somebody who walks to the right, in body heights per second, with two steps a second."""
    pose = standing(x + speed * time * STATURE)
    for sign, ankle, wrist in ((1, "left_ankle", "right_wrist"), (-1, "right_ankle", "left_wrist")):
        swing = sign * math.sin(2 * math.pi * time)
        pose = moved(moved(pose, ankle, 0.11 * swing, 0), wrist, 0.06 * swing, 0)
    return pose


def striking(x: float, time: float, towards: int, phase: float = 0.0) -> Pose:
    """Somebody who strikes and kicks towards one side, nearly twice a second, and staggers."""
    turn = 2 * math.pi * (1.8 * time + phase)
    pose = standing(x + 10 * math.sin(2 * math.pi * time + phase))
    pose = moved(pose, "right_wrist", towards * 0.25 * (1 + math.sin(turn)), -0.25)
    pose = moved(pose, "left_wrist", towards * 0.25 * (1 + math.cos(turn)), -0.2)
    return moved(pose, "right_ankle", towards * 0.22 * (1 + math.sin(turn + 1)), -0.1 * (1 + math.sin(turn + 1)))


def two_fighting(time: float) -> People:
    return {1: striking(600, time, 1), 2: striking(690, time, -1, 0.3)}


def watch(scene: Callable[[float], People], rate: float = 10.0, seconds: float = 4.0) -> list[list[Finding]]:
    """The findings at every moment."""
    kinematics, behaviour, result = Kinematics(), Fight(), []
    state = behaviour.start()
    for frame in range(round(seconds * rate)):
        people = scene(frame / rate)
        poses = np.array(list(people.values())).reshape(-1, 17, 3)
        for bodies in kinematics.observe(frame / rate, list(people), boxes(poses), poses, SIZE):
            state, findings = behaviour.update(state, bodies, Posture.of(bodies))
            result.append(findings)
    return result


def boxes(poses: Pose) -> np.ndarray:
    low, high = poses[:, :, :2].min(axis=1), poses[:, :, :2].max(axis=1)
    return np.concatenate([low - 8, high + 8], axis=1)


def highest(moments: Sequence[Sequence[Finding]]) -> float:
    return max((finding.score for findings in moments for finding in findings), default=0.0)


@pytest.mark.parametrize("rate", [5, 10, 30])
def test_two_who_strike_each_other_fight_at_every_frame_rate(rate: float) -> None:
    moments = watch(two_fighting, rate)
    finding = moments[-1][0]
    assert finding.kind is Kind.FIGHT
    assert finding.tracks == (1, 2)
    assert finding.score >= 1


def test_a_fight_is_seen_within_two_seconds_and_says_what_was_seen() -> None:
    moments = watch(two_fighting, seconds=2.0)
    finding = moments[-1][0]
    assert finding.score >= 1
    assert 0 <= finding.since <= 1.5
    assert finding.facts["distance_h"] == pytest.approx(0.45, abs=0.15)
    assert finding.facts["limb_speed_h_s"] > 1
    assert finding.facts["agitation_s"] == pytest.approx(1.9 - finding.since)
    assert finding.saw.startswith(f"two people {finding.facts['distance_h']:.1f} body heights apart; limbs at ")
    assert COCO_JOINTS.index("right_wrist") in finding.joints
    assert COCO_JOINTS.index("left_ankle") not in finding.joints


def test_frame_rates_agree() -> None:
    scores = [watch(two_fighting, rate)[-1][0].score for rate in (10, 15, 30)]
    assert max(scores) - min(scores) < 0.2


def test_resolution_does_not_matter() -> None:
    def far(time: float) -> People:
        return {track: np.column_stack([pose[:, :2] * 0.4, pose[:, 2]]) for track, pose in two_fighting(time).items()}

    assert watch(far)[-1][0].score == pytest.approx(watch(two_fighting)[-1][0].score, abs=0.15)


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(lambda time: {1: walking(300, time), 2: walking(900, time, -0.7)}, id="walk past each other"),
        pytest.param(lambda time: {1: walking(300, time), 2: walking(370, time)}, id="walk side by side"),
        pytest.param(lambda time: {1: standing(600), 2: standing(650)}, id="stand close"),
        pytest.param(
            lambda time: {
                1: moved(moved(standing(600), "right_wrist", 0.3, -0.2), "left_wrist", 0.1, -0.2),
                2: moved(standing(640 - min(time, 1.0) * 15), "left_wrist", -0.3, -0.2 + 0.02 * math.sin(3 * time)),
            },
            id="embrace",
        ),
        pytest.param(
            lambda time: {
                1: moved(standing(500), "right_wrist", 0.1 * math.sin(4 * time), -0.25),
                2: standing(600),
            },
            id="talk with the hands",
        ),
    ],
)
def test_ordinary_life_of_two_is_no_fight(scene: Callable[[float], People]) -> None:
    assert highest(watch(scene)) < 1


@pytest.mark.parametrize("rate", [5, 10, 30])
def test_nobody_fights_alone(rate: float) -> None:
    moments = watch(lambda time: {1: striking(600, time, 1)}, rate)
    assert 0 < highest(moments) < 1
    assert moments[-1][0].saw.startswith("one person, nobody seen beside; ")


def test_two_who_are_far_apart_do_not_fight_each_other() -> None:
    assert highest(watch(lambda time: {1: striking(300, time, 1), 2: striking(900, time, -1)})) < 1


def test_one_person_tracked_twice_does_not_fight_with_himself() -> None:
    assert highest(watch(lambda time: {1: striking(600, time, 1), 2: striking(603, time, 1)})) < 1


def test_somebody_far_behind_is_not_in_the_fight_of_one_in_front() -> None:
    def scene(time: float) -> People:
        small = striking(0, time, -1)
        small[:, :2] = small[:, :2] * 0.3 + [620, 300]
        return {1: striking(600, time, 1), 2: small}

    assert highest(watch(scene)) < 1


def test_unseen_wrists_and_ankles_do_not_strike() -> None:
    unseen = [COCO_JOINTS.index(name) for name in (*WRISTS, *ANKLES)]

    def scene(time: float) -> People:
        people = two_fighting(time)
        for pose in people.values():
            pose[unseen] = [0, 0, 0]
        return people

    kinematics, behaviour = Kinematics(), Fight()
    state, found = behaviour.start(), []
    for frame in range(40):
        people = scene(frame / 10)
        poses = np.array(list(people.values()))
        frames = np.array([[500, 290, 640, 500], [640, 290, 780, 500]], float)
        for bodies in kinematics.observe(frame / 10, list(people), frames, poses, SIZE):
            state, findings = behaviour.update(state, bodies, Posture.of(bodies))
            found.append(findings)
    assert highest(found) < 1
    assert all(not finding.joints for findings in found for finding in findings)


def test_limbs_of_poorly_seen_people_count_for_less() -> None:
    def poor(time: float) -> People:
        return {track: np.column_stack([pose[:, :2], np.full(17, 0.35)]) for track, pose in two_fighting(time).items()}

    assert highest(watch(poor)) < 1 <= highest(watch(two_fighting))


def test_bystanders_take_no_part() -> None:
    moments = watch(lambda time: {**two_fighting(time), 3: standing(1150)})
    assert [finding.tracks for finding in moments[-1] if finding.score >= 1] == [(1, 2)]


def test_a_third_who_strikes_is_one_of_the_fight() -> None:
    moments = watch(lambda time: {**two_fighting(time), 3: striking(780, time, -1, 0.6)})
    firing = [finding for finding in moments[-1] if finding.score >= 1]
    assert [finding.tracks for finding in firing] == [(1, 2, 3)]
    assert firing[0].saw.startswith("three people, two of them ")


def test_tracks_that_break_beside_somebody_raise_the_score_and_new_arrivals_do_not() -> None:
    def broken(time: float) -> People:
        return {10 + int(time / 0.8): striking(600, time, 1), 2: striking(690, time, -1, 0.3)}

    assert highest(watch(broken, seconds=2.0)) > highest(watch(two_fighting, seconds=2.0))

    def arriving(time: float) -> People:
        return {track: standing(200.0 + 300 * track) for track in range(int(time) + 1) if track < 4}

    state, kinematics = Fight().start(), Kinematics()
    for frame in range(40):
        people = arriving(frame / 10)
        poses = np.array(list(people.values()))
        for bodies in kinematics.observe(frame / 10, list(people), boxes(poses), poses, SIZE):
            state, found, pairs = features(state, bodies)
            assert not found[:, FEATURES.index("broken")].any()
            assert len(found) == len(pairs)


def test_the_start_of_a_fight_is_kept_until_it_is_over() -> None:
    def scene(time: float) -> People:
        return two_fighting(time) if time < 3 or time > 7 else {1: standing(600), 2: standing(690)}

    moments = watch(scene, seconds=10.0)
    first = moments[29][0].since
    second = moments[-1][0].since
    assert first < 1.5
    assert 7 <= second < 9


def test_one_frame_says_nothing() -> None:
    assert watch(two_fighting, seconds=0.1) == [[]]


def test_updates_do_not_change_what_was_remembered() -> None:
    kinematics, behaviour = Kinematics(), Fight()
    poses = np.array(list(two_fighting(0.0).values()))
    (bodies,) = kinematics.observe(0.0, [1, 2], boxes(poses), poses, SIZE)
    before = Scene()
    once = behaviour.update(before, bodies, Posture.of(bodies))
    assert behaviour.update(before, bodies, Posture.of(bodies)) == once
    assert before == Scene()


def test_coefficients_have_one_number_for_each_feature() -> None:
    assert len(FEATURES) == len(MEAN) == len(DEVIATION) == len(COEFFICIENTS)
    assert min(DEVIATION) > 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), people=st.integers(2, 14), speed=st.sampled_from([5.0, 20.0, 60.0]))
def test_pairs_are_left_out_only_where_they_would_not_be_reported(seed: int, people: int, speed: float) -> None:
    random, kinematics = np.random.default_rng(seed), Kinematics()
    middles = random.uniform(300, 600, people)
    for frame in range(20):
        poses = np.stack([standing(middle) for middle in middles])
        poses[..., :2] += random.normal(0, speed, (people, 17, 2))
        (bodies,) = kinematics.observe(frame / 10, range(people), boxes(poses), poses, SIZE)
    measured = fight._people(bodies)
    broken = [Place(1.5, middles[0], 250.0, STATURE)]
    found = []
    for least in (0.0, 0.5):
        candidates = fight._candidates(bodies, measured, broken, least)
        scores = fight._scores(candidates.features, candidates.first != candidates.second)
        rows = zip(candidates.first.tolist(), candidates.second.tolist(), scores.tolist(), strict=True)
        found.append([row for row in rows if row[2] >= 0.5])
    assert found[0] == found[1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), people=st.integers(0, 12), step=st.sampled_from([0.02, 0.1, 0.5, 3.0]))
def test_any_input_gives_finite_scores(seed: int, people: int, step: float) -> None:
    random = np.random.default_rng(seed)
    kinematics, behaviour, time = Kinematics(), Fight(), 0.0
    state = behaviour.start()
    for _ in range(25):
        poses = random.uniform(-50, 700, (people, 17, 3))
        poses[..., 2] = random.choice([0.0, 0.2, 0.5, 1.0], (people, 17))
        poses[random.random(people) < 0.1] = random.choice([np.nan, 0.0, np.inf])
        frames = random.uniform(0, 700, (people, 4)) * random.choice([0.0, 1.0])
        time += step * random.uniform(-0.2, 1.5)
        tracks = random.permutation(20)[:people].tolist()
        for bodies in kinematics.observe(time, tracks, frames, poses, SIZE):
            state, findings = behaviour.update(state, bodies, Posture.of(bodies))
            for finding in findings:
                assert math.isfinite(finding.score) and 0 <= finding.score <= MOST_SCORE
                assert math.isfinite(finding.since)
                assert all(math.isfinite(value) for value in finding.facts.values())
                assert set(finding.tracks) <= set(tracks)


def scores(scene: Callable[[float], People], seconds: float) -> np.ndarray:
    """The highest score at every moment."""
    return np.array([max((one.score for one in findings), default=0.0) for findings in watch(scene, seconds=seconds)])


def test_a_fight_that_lasts_scores_higher_and_starts_anew_after_a_calm() -> None:
    def fight_and_calm(time: float) -> People:
        return two_fighting(time) if time < 10 or time >= 14 else {1: standing(600), 2: standing(690)}

    lasting = scores(fight_and_calm, 16.0)
    assert FIRES <= lasting[:15].max() < lasting[25] < lasting[99] <= MOST_SCORE
    assert lasting[130:140].max() < FIRES
    assert FIRES <= lasting[159] < lasting[25]


@pytest.mark.parametrize("steps", [0.6, 1.0, 1.8])
def test_that_agitation_lasts_changes_no_score_before_it_fires(steps: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def scene(time: float) -> People:
        return two_fighting(time * steps)

    lasting = scores(scene, 12.0)
    monkeypatch.setattr(fight, "_GAIN", 0.0)
    plain = scores(scene, 12.0)
    first = np.flatnonzero(plain >= FIRES)[0] if (plain >= FIRES).any() else len(plain)
    np.testing.assert_array_equal(lasting[:first], plain[:first])
    assert (lasting >= plain).all()


def test_whoever_is_left_alone_by_a_fight_does_not_fire() -> None:
    moments = watch(lambda time: two_fighting(time) if time < 5 else {1: striking(600, time, 1)}, seconds=8.0)
    alone = [one.score for findings in moments[70:] for one in findings]
    assert max(alone) < LOOSEST
