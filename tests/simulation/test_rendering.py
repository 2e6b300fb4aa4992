from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from simulation.body import pose
from simulation.camera import SceneCamera
from simulation.places import Box, draw_background, furnish
from simulation.rendering import HIDDEN, OUTSIDE, VISIBLE, SimulatedFrame, SimulatedPerson, draw_people, empty, render
from simulation.scene import EVENTS, PLACES, Event, Place, Scene, demo_scene, scene_with
from simulation.world import Actor, World

CLEAN = SceneCamera(width=640, height=360, noise=0.0, jpeg_quality=95)
SMALL = SceneCamera(width=320, height=180)


def filmed(scene: Scene, count: int) -> list[SimulatedFrame]:
    return list(itertools.islice(render(scene), count))


def staged(*places: tuple[float, float]) -> tuple[list[SimulatedPerson], Scene]:
    """People who stand at places, facing the camera, in an empty hall with a pillar on the right."""
    scene = Scene(seed=1, people=len(places), camera=CLEAN)
    pillar = Box(1.0, 1.6, 5.0, 5.6, 3.0, (150.0, 150.0, 150.0), (1.0, 1.0))
    world = World(scene, (pillar,))
    actors: list[Actor] = world.actors
    for actor, place in zip(actors, places, strict=True):
        actor.place, actor.heading, actor.shown = np.array(place), -np.pi / 2, pose()
    background = draw_background(scene, (pillar,))
    people = draw_people(background.image.copy(), scene.camera, background, actors, world.joints())
    return list(people), scene


def test_frames_that_are_not_drawn_are_simulated() -> None:
    scene = replace(demo_scene(3), camera=replace(SMALL, noise=0.0), duration_s=2.0)
    some = list(render(scene, every=7))
    assert [frame.time_s for frame in some] == [frame.time_s for frame in filmed(scene, 30)[::7]]
    for one, two in zip(some, filmed(scene, 30)[::7], strict=True):
        assert [person.identity for person in one.people] == [person.identity for person in two.people]
        for mine, yours in zip(one.people, two.people, strict=True):
            np.testing.assert_array_equal(mine.keypoints, yours.keypoints)


def test_rendering_may_start_later_than_the_scene() -> None:
    scene = replace(demo_scene(3), camera=replace(SMALL, noise=0.0), duration_s=2.0)
    whole = filmed(scene, 30)
    late = list(render(scene, every=3, start_s=1.0))
    assert [frame.time_s for frame in late] == [frame.time_s for frame in whole if frame.time_s >= 1.0][::3]
    np.testing.assert_array_equal(late[0].people[0].keypoints, whole[15].people[0].keypoints)
    with pytest.raises(ValueError, match="no time before it begins"):
        render(scene, start_s=-1.0)


def test_no_frame_in_less_than_one_can_be_drawn() -> None:
    with pytest.raises(ValueError, match="got one of 0"):
        render(demo_scene(3), every=0)


def test_the_same_seed_gives_the_same_bytes() -> None:
    scene = replace(scene_with("fight", 7, onset_s=0.5), camera=SMALL)
    first, second = filmed(scene, 20), filmed(scene, 20)
    assert all(one.image.tobytes() == two.image.tobytes() for one, two in zip(first, second, strict=True))
    for one, two in zip(first[-1].people, second[-1].people, strict=True):
        assert one.keypoints.tobytes() == two.keypoints.tobytes()
    other = filmed(replace(scene, seed=8), 1)
    assert other[0].image.tobytes() != first[0].image.tobytes()


@pytest.mark.parametrize("fps, frames", [(8.0, 16), (15.0, 30), (29.97, 60)])
def test_frames_come_at_the_cameras_rate(fps: float, frames: int) -> None:
    scene = Scene(seed=2, duration_s=2.0, people=2, camera=replace(SMALL, fps=fps))
    times = [frame.time_s for frame in render(scene)]
    assert len(times) == scene.frames == frames
    assert times == pytest.approx(np.arange(frames) / fps)


def test_a_demo_has_no_end() -> None:
    scene = replace(demo_scene(seed=1), camera=SMALL)
    assert len(filmed(scene, 60)) == 60


@pytest.mark.parametrize("place", PLACES)
def test_visible_joints_lie_on_the_drawn_figure(place: Place) -> None:
    scene = Scene(seed=5, people=4, place=place, camera=CLEAN)
    ground = empty(scene).astype(int)
    differs = []
    for frame in filmed(scene, 40)[::8]:
        assert frame.image.shape == (360, 640, 3) and frame.image.dtype == np.uint8
        difference = np.abs(frame.image.astype(int) - ground).max(axis=-1)
        for person in frame.people:
            for x, y, seen in person.keypoints:
                if seen == VISIBLE:
                    differs.append(
                        difference[round(y), round(x)] > 6 if 0 <= round(y) < 360 and 0 <= round(x) < 640 else True
                    )
    # Clothes may have the colour of what is behind them.
    assert len(differs) > 100
    assert np.mean(differs) > 0.93


def test_visible_joints_lie_in_the_box() -> None:
    for frame in filmed(Scene(seed=9, people=6, camera=SMALL), 30):
        for person in frame.people:
            left, top, right, bottom = person.box
            x, y, seen = person.keypoints.T
            inside = seen != OUTSIDE
            assert ((x >= left) & (x <= right) & (y >= top) & (y <= bottom))[inside].all()
            assert 0 <= left < right <= 320 and 0 <= top < bottom <= 180


def test_a_person_in_front_hides_the_one_behind() -> None:
    (front, behind), _ = staged((0.0, 5.0), (0.0, 6.5))
    assert (front.keypoints[5:, 2] == VISIBLE).all()
    assert (behind.keypoints[11:, 2] == HIDDEN).sum() >= 4
    assert (behind.keypoints[:, 2] != OUTSIDE).all()


def test_people_side_by_side_hide_nothing() -> None:
    people, _ = staged((-1.6, 6.0), (0.0, 6.0))
    assert all((person.keypoints[5:, 2] == VISIBLE).all() for person in people)


def test_furniture_hides_people_behind_it_and_not_those_in_front() -> None:
    (behind, before), _ = staged((1.7, 6.8), (1.2, 4.4))
    assert (behind.keypoints[:, 2] == HIDDEN).sum() >= 8
    assert (before.keypoints[5:, 2] == VISIBLE).all()


def test_joints_beyond_the_edge_are_outside() -> None:
    line = np.array([[x, 6.0, 1.0] for x in np.linspace(-8, 0, 81)])
    pixels, _ = CLEAN.project(line)
    (person,), scene = staged((float(np.interp(0, pixels[:, 0], line[:, 0])), 6.0))
    outside = person.keypoints[:, 2] == OUTSIDE
    assert 0 < outside.sum() < 17
    assert (outside == ~scene.camera.contains(person.keypoints[:, :2])).all()


def test_a_face_that_looks_away_is_hidden_by_its_own_head() -> None:
    scene = Scene(seed=1, people=1, camera=CLEAN)
    world = World(scene, ())
    actor = world.actors[0]
    actor.place, actor.heading, actor.shown = np.array([0.0, 6.0]), np.pi / 2, pose()
    background = draw_background(scene, ())
    (person,) = draw_people(background.image.copy(), scene.camera, background, world.actors, world.joints())
    assert (person.keypoints[:3, 2] == HIDDEN).all()
    assert (person.keypoints[5:, 2] == VISIBLE).all()


@pytest.mark.parametrize("event", EVENTS)
def test_labels_match_the_event(event: Event) -> None:
    scene = replace(scene_with(event, 2, onset_s=0.5), camera=SMALL, duration_s=2.0)
    (incident,) = scene.incidents
    for frame in render(scene):
        found = [person.incident for person in frame.people if person.incident is not None]
        if frame.time_s < incident.onset_s:
            assert found == []
        elif event == "disperse" and frame.time_s > incident.onset_s + 0.5:
            # Who runs away may leave the picture.
            assert set(found) <= {incident} and len(found) <= incident.cast
        else:
            assert found == [incident] * incident.cast


def test_furniture_stays_in_its_place() -> None:
    scene = Scene(seed=3, people=1, place="shop", camera=CLEAN)
    assert len(furnish(scene)) == 3
    assert furnish(scene) == furnish(scene)
