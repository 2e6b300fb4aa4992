from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from model.behaviours import Kind
from service.clips.anomalies import Fired, find_anomalies
from service.documents.results import Anomaly, FrameScore, PersonScore
from tests.doubles.findings import SAW, finding

MERGE_S = 1.0
FPS = 10.0


def frame(index: int, level: float | None, people: Mapping[int, float | None] | None = None) -> FrameScore:
    return FrameScore(
        index=index,
        time_s=index / FPS,
        score=level,
        level=level,
        people=[person(track, one) for track, one in (people or {}).items()],
    )


def person(track: int, level: float | None, parts: Mapping[str, float] | None = None) -> PersonScore:
    return PersonScore(track=track, box=(0, 0, 1, 1), score=level, level=level, parts=dict(parts or {}))


def unscored(count: int = 100) -> list[FrameScore]:
    return [frame(index, None) for index in range(count)]


def falls(*times: float, since: float = 0.0, score: float = 1.0, track: int = 1) -> list[Fired]:
    return [Fired(time, finding(Kind.FALL, score, since, tracks=(track,))) for time in times]


def test_anomalies_are_stretches_at_or_above_the_threshold_and_close_ones_are_one() -> None:
    levels = [0.1] * 5 + [0.95, 0.9] + [None] * 3 + [0.9] + [0.2] * (int(MERGE_S * 10) + 5) + [0.99]
    frames = [frame(index, level) for index, level in enumerate(levels)]
    first, second = find_anomalies(frames, [], 0.9, MERGE_S)
    assert (first.start_s, first.end_s, first.peak_level) == (0.5, 1.0, 0.95)
    assert (second.start_s, second.end_s) == (frames[-1].time_s, frames[-1].time_s)
    assert find_anomalies(frames, [], 0.995, MERGE_S) == []
    assert find_anomalies([], [], 0.5, MERGE_S) == []


def test_an_anomaly_names_the_people_at_or_above_the_threshold() -> None:
    (anomaly,) = find_anomalies([frame(0, 0.95, {1: 0.1, 2: 0.95})], [], 0.9, MERGE_S)
    assert (anomaly.tracks, anomaly.title) == ([2], "Unusual movement, 1 person")


def test_a_level_without_a_name_is_explained_by_its_rarity_and_its_strongest_part() -> None:
    calm, wild = person(1, 0.2, {"pose": 0.9999}), person(2, 0.99961, {"pose": 0.84, "motion": 0.9998})
    peak = FrameScore(index=1, time_s=0.1, score=1.0, level=0.99961, people=[calm, wild])
    (anomaly,) = find_anomalies([frame(0, 0.995), peak, frame(2, 0.995)], [], 0.99, MERGE_S)
    assert anomaly.kind == Kind.UNUSUAL
    assert anomaly.explanation == "level 0.99961 (1 in 2,600 moments of normal life); strongest part: motion"
    assert anomaly.facts == {"level": 0.99961, "pose": 0.84, "motion": 0.9998}


def test_a_named_anomaly_lasts_from_the_beginning_of_the_movement_to_the_last_frame_that_fires() -> None:
    (anomaly,) = find_anomalies(unscored(), falls(1.5, 1.6, 1.7, since=0.8), 0.9, MERGE_S)
    assert (anomaly.kind, anomaly.title) == (Kind.FALL, "Fall, 1 person")
    assert (anomaly.start_s, anomaly.end_s) == (0.8, 1.7)
    assert (anomaly.explanation, anomaly.facts) == (SAW, {"fell_h": 0.6, "fall_s": 0.7})
    assert (anomaly.tracks, anomaly.joints) == ([1], [11, 12])


def test_the_moment_when_it_was_clearest_explains_a_named_anomaly() -> None:
    fired = [
        Fired(0.1, finding(score=1.1, saw="first")),
        Fired(0.2, finding(score=1.9, saw="clearest", joints=(5,))),
        Fired(0.3, finding(score=1.2, saw="last")),
    ]
    (anomaly,) = find_anomalies(unscored(), fired, 0.9, MERGE_S)
    assert (anomaly.explanation, anomaly.joints) == ("clearest", [5])


@pytest.mark.parametrize(("since", "number"), [(2.99, 1), (3.0, 2), (1.0, 1)])
def test_periods_of_one_kind_are_one_if_they_are_closer_than_the_calibration_says(since: float, number: int) -> None:
    fired = [*falls(2.0, since=1.5), *falls(4.0, since=since, track=2)]
    anomalies = find_anomalies(unscored(), fired, 0.9, MERGE_S)
    assert len(anomalies) == number
    if number == 1:
        assert (anomalies[0].start_s, anomalies[0].end_s) == (min(1.5, since), 4.0)
        assert (anomalies[0].tracks, anomalies[0].title) == ([1, 2], "Fall, 1 person")


def test_different_kinds_are_different_anomalies_in_order_of_their_starts_the_most_severe_first() -> None:
    fired = [
        Fired(3.0, finding(Kind.LYING, since=2.0)),
        Fired(2.5, finding(Kind.FALL, since=2.0)),
        Fired(0.5, finding(Kind.RUNNING, since=0.0)),
    ]
    frames = [frame(index, 0.99 if index == 22 else 0.1) for index in range(40)]
    kinds = [(one.kind, one.start_s) for one in find_anomalies(frames, fired, 0.9, MERGE_S)]
    assert kinds == [(Kind.RUNNING, 0.0), (Kind.FALL, 2.0), (Kind.LYING, 2.0), (Kind.UNUSUAL, 2.2)]


def test_the_peak_level_of_a_named_anomaly_is_the_highest_of_its_frames() -> None:
    frames = [frame(index, level) for index, level in enumerate([0.8, 0.3, None, 0.5, 0.7])]
    (anomaly,) = find_anomalies(frames, falls(0.3, since=0.1), 0.9, MERGE_S)
    assert anomaly.peak_level == 0.5
    (anomaly,) = find_anomalies(unscored(), falls(0.3), 0.9, MERGE_S)
    assert anomaly.peak_level == 0


def test_facts_are_rounded_to_what_can_be_read() -> None:
    seen = replace(finding(), facts={"torso_deg": 7.599853038787842})
    (anomaly,) = find_anomalies(unscored(), [Fired(0.3, seen)], 0.9, MERGE_S)
    assert anomaly.facts == {"torso_deg": 7.6}


def test_a_movement_does_not_begin_before_the_clip_nor_after_the_frame() -> None:
    for since, start in ((-1e-9, 0.0), (0.30000001, 0.3)):
        (anomaly,) = find_anomalies(unscored(), falls(0.3, since=since), 0.9, MERGE_S)
        assert (anomaly.start_s, anomaly.end_s) == (start, 0.3)


def test_a_result_of_a_version_without_kinds_can_still_be_read() -> None:
    old = Anomaly.model_validate_json('{"start_s": 1.0, "end_s": 2.0, "peak_level": 0.99, "tracks": [1]}')
    assert (old.kind, old.title, old.explanation) == (Kind.UNUSUAL, "Unusual movement", "")


def test_findings_are_found_in_any_order() -> None:
    fired = [*falls(1.0, 1.1, 1.2, since=0.5), *falls(5.0, 5.1, since=4.6, score=1.4)]
    expected = find_anomalies(unscored(), fired, 0.9, MERGE_S)
    shuffled = [fired[index] for index in np.random.default_rng(0).permutation(len(fired))]
    assert find_anomalies(unscored(), shuffled, 0.9, MERGE_S) == expected
    assert len(expected) == 2
