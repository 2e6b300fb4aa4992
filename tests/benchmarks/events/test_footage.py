from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.events.footage import (
    WHOLE,
    Case,
    FootageError,
    falls,
    gmdcsa_events,
    lying,
    movenet_recording,
    poselift,
    urfall_daily,
    urfall_falls_elsewhere,
)
from model.behaviours import Kind
from model.dataset import SUFFIX
from model.events import Event
from tests.model.skeletons import entry, swaying

UP, DOWN, LYING, NOBODY = -1, 0, 1, -9


def labels(*runs: tuple[int, int]) -> NDArray[np.int8]:
    return np.concatenate([np.full(length, value, np.int8) for value, length in runs])


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (((UP, 60), (DOWN, 30), (LYING, 45)), [Event(Kind.FALL, 2.0, 4.5, reached=3.0)]),
        (((UP, 60), (DOWN, 30), (LYING, 45), (UP, 30)), [Event(Kind.FALL, 2.0, 4.5, reached=3.0)]),
        # Getting up is labelled like going down.
        (((UP, 60), (DOWN, 30), (LYING, 45), (DOWN, 15)), [Event(Kind.FALL, 2.0, 4.5, reached=3.0)]),
        (((DOWN, 30), (UP, 30), (DOWN, 30), (LYING, 30)), [Event(Kind.FALL, 2.0, 4.0, reached=3.0)]),
        (((NOBODY, 30), (UP, 60)), []),
    ],
)
def test_a_fall_runs_from_going_down_to_the_end_of_lying(
    runs: tuple[tuple[int, int], ...], expected: list[Event]
) -> None:
    assert falls(labels(*runs)) == expected


def test_every_run_of_lying_is_an_event() -> None:
    found = lying(labels((UP, 30), (LYING, 30), (DOWN, 15), (UP, 15), (LYING, 30)))
    assert found == [Event(Kind.LYING, 1.0, 2.0), Event(Kind.LYING, 3.0, 4.0)]


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (" Falling (BW) [0.3 to 5]; Standing [0 to 0.2]", [Event(Kind.FALL, 0.3, 5.0)]),
        (" Fall (FW)[0 to 3]", [Event(Kind.FALL, 0.0, 3.0)]),
        (" Sitting[3 to 7.4]; Sleeping[0 to 1]", [Event(Kind.LYING, 0.0, 1.0)]),
        ("Falling (SW)[1 to 2; 3.5 to 4]", [Event(Kind.FALL, 1.0, 2.0), Event(Kind.FALL, 3.5, 4.0)]),
        ("Drinking[3.5 to 6]; Sitting[0 to 8]", []),
    ],
)
def test_classes_of_gmdcsa24_become_events(classes: str, expected: list[Event]) -> None:
    assert gmdcsa_events(classes) == expected


def test_skeletons_of_thirteen_joints_lie_in_the_picture_and_nobody_is_nobody() -> None:
    rows = np.zeros((4, 13, 4))
    rows[2, :, 0] = np.linspace(0.25, 0.5, 13)
    rows[2, :, 1] = 0.5
    found = movenet_recording(rows)
    assert (len(found.times), found.size, found.frames.tolist()) == (3, (640, 480), [1])
    assert found.times.tolist() == pytest.approx([0, 1 / 30, 2 / 30])
    (person,) = found.keypoints
    assert person[0].tolist() == [160, 240, 1]  # nose
    assert person[5, 0] == pytest.approx(640 * (0.25 + 0.25 / 12))  # left shoulder
    assert person[16].tolist() == [320, 240, 1]  # right ankle
    assert person[1:5].tolist() == [[0, 0, 0]] * 4  # eyes and ears
    assert found.boxes[0].tolist() == [160, 240, 320, 241]
    assert [len(frame.people) for frame in found.sequence().frames] == [0, 1, 0]


def test_an_event_ends_with_its_clip() -> None:
    case = Case(
        "clip", (Event(Kind.FIGHT, 0.0, WHOLE), Event(Kind.FALL, 9.0, 10.0)), lambda _: pytest.fail("not asked")
    )
    assert case.events_within(2.5) == (Event(Kind.FIGHT, 0.0, 2.5),)


def test_missing_footage_is_named(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match=r"frame_labels\.npz"):
        urfall_daily(tmp_path)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    np.savez(path, allow_pickle=False, **arrays)


def test_sequences_of_ur_fall_are_told_apart_by_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "events" / "urfall"
    folder.mkdir(parents=True)
    write_arrays(folder / "frame_labels.npz", {"fall-01": labels((DOWN, 30), (LYING, 30)), "adl-01": labels((UP, 60))})
    write_arrays(folder / "movenet13.npz", {name: np.ones((60, 13, 4)) for name in ("fall-01", "adl-01")})
    (daily,), (fall,) = urfall_daily(tmp_path), urfall_falls_elsewhere(tmp_path)
    assert (daily.name, daily.events, daily.video) == ("adl-01", (), False)
    assert (fall.name, len(fall.events), len(fall.record(1.0).times)) == ("fall-01", 1, 59)


def test_clips_of_poselift_keep_their_people(tmp_path: Path) -> None:
    folder = tmp_path / "poselift" / "pose" / "train"
    folder.mkdir(parents=True)
    people = {"0": entry(swaying(60, 0)), "7": entry(swaying(60, 1))}
    (folder / f"01_001{SUFFIX}").write_text(json.dumps(people))
    (case,) = poselift(tmp_path)
    recording = case.record(1.0)
    assert (case.events, len(recording.times)) == ((), 60)
    assert recording.fps == pytest.approx(15.0)
    assert recording.tracks is not None and set(recording.tracks.tolist()) == {1, 8}
    width, height = recording.size
    assert (recording.keypoints[..., :2].max(axis=(0, 1)) < (width, height)).all()
    assert all(len(frame.people) == 2 and frame.tracked for frame in recording.sequence().frames)
