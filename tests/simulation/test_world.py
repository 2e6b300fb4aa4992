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


@pytest.mark.parametrize(
    ("scene", "middle"),
    [
        (normal_scene(11), (0.823, 8.415, 0.926)),
        (normal_scene(12), (-2.647, 8.343, 0.882)),
        (scene_with("running", 4, onset_s=2.0), (0.465, 8.635, 0.937)),
        (scene_with("fall", 4, onset_s=2.0), (0.719, 8.115, 0.754)),
        (scene_with("fight", 4, onset_s=2.0), (1.707, 7.199, 1.002)),
        (scene_with("throw", 4, onset_s=2.0), (-0.1, 7.255, 0.968)),
        (scene_with("crawl", 4, onset_s=2.0), (0.527, 8.068, 0.822)),
    ],
    ids=["normal 11", "normal 12", "running", "fall", "fight", "throw", "crawl"],
)
def test_people_move_as_they_did_when_recordings_of_them_were_made(
    scene: Scene, middle: tuple[float, float, float]
) -> None:
    world = world_of(scene)
    for _ in range(int(8 * scene.camera.fps)):
        world.step()
    assert world.joints().mean(axis=(0, 1)) == pytest.approx(middle, abs=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_people_who_disperse_stood_together_and_are_far_apart_soon_after(seed: int) -> None:
    world = world_of(scene_with("disperse", seed, onset_s=16.0))
    while world.time_s < 15.9:
        world.step()
    cast = [actor for actor in world.actors if actor.incident is not None]
    places = np.array([actor.place for actor in cast])
    middle = places.mean(axis=0)
    assert len(cast) == 4
    assert np.median(np.linalg.norm(places - middle, axis=1)) < 1.5
    while world.time_s < 18.0:
        world.step()
    assert np.median([np.linalg.norm(actor.place - middle) for actor in cast]) > 2.5


def test_who_loiters_stays_about_one_place() -> None:
    world = world_of(scene_with("loiter", 5, onset_s=2.0))
    places = []
    while world.time_s < 70:
        world.step()
        places += [actor.place for actor in world.actors if actor.event == "loiter"]
    assert len(places) > 500
    assert np.linalg.norm(np.array(places) - places[0], axis=1).max() < 2.0
    assert np.ptp(np.array(places), axis=0).max() > 0.3


def test_people_who_gather_stand_together() -> None:
    world = world_of(scene_with("gather", 5, onset_s=2.0))
    while world.time_s < 20:
        world.step()
    places = np.array([actor.place for actor in world.actors if actor.event == "gather"])
    assert np.linalg.norm(places - places.mean(axis=0), axis=1).max() < 1.3


def test_in_a_place_with_one_way_only_one_person_goes_against_it() -> None:
    world = world_of(scene_with("wrong_way", 5, onset_s=6.0))
    before = {actor.identity: actor.place[0] for actor in world.actors}
    while world.time_s < 5:
        world.step()
    assert all(actor.place[0] > before.get(actor.identity, -math.inf) for actor in world.actors)
    while world.time_s < 11:
        world.step()
    assert {actor.event == "wrong_way": math.cos(actor.heading) < 0 for actor in world.actors if actor.speed > 0.5} == {
        True: True,
        False: False,
    }
