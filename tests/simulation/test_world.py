from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simulation.body import INDEX
from simulation.camera import SceneCamera
from simulation.places import furnish
from simulation.scene import EVENTS, Event, Scene, SceneIncident, demo_scene, normal_scene, scene_with
from simulation.world import EVENT_ACTIONS, World


def world_of(scene: Scene) -> World:
    return World(scene, furnish(scene))


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_lasts_from_its_onset_to_its_end(event: Event) -> None:
    scene = scene_with(event, seed=4, onset_s=2.0)
    world = world_of(scene)
    (incident,) = scene.incidents
    assert scene.frames is not None
    for _ in range(scene.frames - 1):
        world.step()
        acting = [actor for actor in world.actors if actor.event is not None]
        assert len(acting) == (incident.cast if incident.onset_s <= world.time_s < incident.end_s else 0)
        assert all(actor.action == EVENT_ACTIONS[event] for actor in acting)
        assert all(actor.action not in EVENT_ACTIONS.values() for actor in world.actors if actor not in acting)


def test_an_endless_world_has_its_incidents_on_time() -> None:
    scene = demo_scene(seed=6, incident_every_s=20.0)
    world = world_of(scene)
    schedule = scene.schedule()
    incident = next(schedule)
    while world.time_s < 75:
        world.step()
        if world.time_s >= incident.end_s:
            incident = next(schedule)
        acting = [actor for actor in world.actors if actor.event is not None]
        assert len(acting) == (incident.cast if incident.onset_s <= world.time_s else 0)


@pytest.mark.parametrize("seed", range(3))
def test_people_who_fight_are_within_reach(seed: int) -> None:
    world = world_of(scene_with("fight", seed, onset_s=1.0))
    while world.time_s < 8:
        world.step()
        if world.time_s > 2:
            one, two = (actor.place for actor in world.actors if actor.event == "fight")
            assert 0.3 < math.dist(one, two) < 1.3


def test_people_meet_before_they_fight() -> None:
    scene = Scene(seed=8, people=5, duration_s=30, incidents=(SceneIncident("fight", 15, 20),))
    world = world_of(scene)
    while world.time_s < 16.5:
        world.step()
    one, two = (actor.place for actor in world.actors if actor.event == "fight")
    assert math.dist(one, two) < 1.3


@pytest.mark.parametrize("seed", range(4))
def test_a_person_who_falls_stays_down(seed: int) -> None:
    world = world_of(scene_with("fall", seed, onset_s=1.0))
    while world.time_s < 9:
        world.step()
        if world.time_s > 3:
            (row,) = (number for number, actor in enumerate(world.actors) if actor.event == "fall")
            assert world.joints()[row, INDEX["skull"], 2] < 0.5


def test_feet_stay_near_the_ground_while_people_walk() -> None:
    world = world_of(normal_scene(3))
    heights = []
    for _ in range(150):
        world.step()
        joints = world.joints()
        feet = joints[:, [INDEX[f"{side}_{part}"] for side in ("left", "right") for part in ("heel", "toe")], 2]
        heights += [foot.min() for foot, actor in zip(feet, world.actors, strict=True) if actor.action == "walk"]
    assert len(heights) > 100
    assert np.max(np.abs(heights)) < 0.05


def test_no_joint_jumps_from_one_frame_to_the_next() -> None:
    scene = replace(scene_with("fight", 5, onset_s=2.0), camera=SceneCamera(fps=30))
    world = world_of(scene)
    identities = [actor.identity for actor in world.actors]
    before = world.joints()
    for _ in range(300):
        world.step()
        after = world.joints()
        same = np.array(identities) == [actor.identity for actor in world.actors]
        # A fist is the fastest: ten metres a second.
        assert np.linalg.norm(after - before, axis=-1)[same].max() < 10 / 30
        before, identities = after, [actor.identity for actor in world.actors]


def test_people_do_not_overlap() -> None:
    world = world_of(Scene(seed=2, people=5, place="street"))
    near = 0
    for _ in range(300):
        world.step()
        places = np.array([actor.place for actor in world.actors])
        apart = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(len(places), 1)]
        near += int((apart < 0.25).sum())
    assert near < 15


def test_new_people_never_get_an_old_number() -> None:
    world = world_of(replace(demo_scene(seed=3), people=6))
    seen: dict[int, int] = {}
    for _ in range(1500):
        world.step()
        for row, actor in enumerate(world.actors):
            assert seen.setdefault(actor.identity, row) == row
    assert len(seen) > 6


def test_a_camera_that_sees_nobody_from_head_to_foot_is_refused() -> None:
    with pytest.raises(ValueError, match="sees nobody from head to foot"):
        world_of(Scene(camera=SceneCamera(height_m=1.0, tilt_deg=60, focal=3.0)))
