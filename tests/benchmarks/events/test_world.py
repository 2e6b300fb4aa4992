from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.events.world import (
    BUDGET_PER_DAY,
    EVENTS_EACH,
    KINDS,
    PLACE_EVENTS,
    WorldClip,
    cameras,
    record,
    watch_places,
)
from model.behaviours import Kind
from service.settings import Settings
from simulation.scene import EVENTS, SceneIncident
from simulation.weights import IMAGE_SIZE, POSE_WEIGHTS


def small(tmp_path: Path) -> Settings:
    """The models of the demo."""
    return Settings(data_dir=tmp_path, pose_weights=str(POSE_WEIGHTS), pose_image_size=IMAGE_SIZE, device="cpu")


def test_every_event_of_the_simulation_is_to_be_called_something() -> None:
    assert set(KINDS) == set(EVENTS)
    assert BUDGET_PER_DAY == 24


def test_a_camera_sees_all_its_scenes_from_one_point_with_other_people() -> None:
    every = cameras()
    scenes = [clip.scene for camera in every for clip in (*camera.calibration, *camera.clips)]
    assert len({scene.seed for scene in scenes}) == len(scenes)
    for camera in every:
        assert len({clip.scene.camera for clip in (*camera.calibration, *camera.clips)}) == 1
        assert sum(clip.scene.duration_s for clip in camera.calibration) == 1800
        assert not any(clip.events for clip in camera.calibration)
    assert len({camera.clips[0].scene.camera for camera in every}) == len(every) == 8


def test_there_are_enough_events_of_every_kind_each_whole() -> None:
    clips = [clip for camera in cameras() for clip in camera.clips]
    for event in EVENTS:
        own = [clip for clip in clips if clip.event == event]
        assert sum(len(clip.events) for clip in own) == 8 * EVENTS_EACH >= 20
        assert all(one.kind == KINDS[event] for clip in own for one in clip.events)
        assert all(one.end <= clip.scene.duration_s for clip in own for one in clip.events)
    assert sum(clip.scene.duration_s for clip in clips if clip.event is None) == 8 * 240


@pytest.mark.slow
def test_scenes_are_rendered_once(tmp_path: Path) -> None:
    scene = cameras(1)[0].clips[0].scene
    short = replace(scene, duration_s=1.0, incident_every_s=None, incidents=(SceneIncident("fall", 0.2, 0.8),))
    clip = WorldClip("camera 1, fall", short, "fall")
    assert [event.kind for event in clip.events] == [Kind.FALL]
    console = Console(quiet=True)
    (recording,) = record([clip], tmp_path, small(tmp_path), 1, console)
    assert (len(recording.times), recording.size) == (10, (640, 360))
    (kept,) = tmp_path.glob("camera1-fall-*.npz")
    made = kept.stat().st_mtime_ns
    record([clip], tmp_path, small(tmp_path), 1, console)
    assert kept.stat().st_mtime_ns == made


@pytest.mark.slow
def test_behaviours_of_places_are_looked_for_alone_and_the_wrong_way_where_there_is_one(tmp_path: Path) -> None:
    clips = [clip for clip in cameras(1)[0].clips if clip.event in PLACE_EVENTS]
    assert {KINDS[clip.event] for clip in clips if clip.event} == {
        Kind.DISPERSAL,
        Kind.WRONG_WAY,
        Kind.LOITERING,
        Kind.GATHERING,
    }
    assert [clip.event for clip in clips if clip.scene.one_way] == ["wrong_way"]
    (fighting,) = (clip for clip in cameras(1)[0].clips if clip.event == "fight")
    onset = SceneIncident("fight", 0.0, 4.0)
    short = replace(fighting.scene, duration_s=4.0, incident_every_s=None, incidents=(onset,))
    clip = WorldClip("camera 1, fight", short, "fight")
    (recording,) = record([clip], tmp_path, small(tmp_path), 1, Console(quiet=True))
    seen = watch_places(clip, recording, 1.0)
    assert (seen.events[0].kind, seen.alarms) == (Kind.FIGHT, ())
