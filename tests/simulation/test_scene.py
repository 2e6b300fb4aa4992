from __future__ import annotations

import itertools
import math

import pytest

from simulation.scene import EVENTS, USUAL_EVENTS, Event, Scene, SceneIncident, demo_scene, normal_scene, scene_with


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"seed": -1}, "seed"),
        ({"place": "moon"}, "moon"),
        ({"people": 0}, "1 to 8 people"),
        ({"people": 9}, "1 to 8 people"),
        ({"duration_s": 0.0}, "longer than 0"),
        ({"duration_s": math.nan}, "longer than 0"),
        ({"incident_every_s": 5.0}, "at least 15 s"),
        ({"incident_every_s": 30.0, "incidents": (SceneIncident("fall", 1, 2),)}, "not both"),
        ({"people": 1, "incidents": (SceneIncident("fight", 1, 2),)}, "at least 2 people"),
        ({"people": 3, "incidents": (SceneIncident("gather", 1, 2),)}, "at least 4 people"),
        ({"incidents": (SceneIncident("wrong_way", 1, 2),)}, "only in a scene in which people go one way"),
        ({"incident_every_s": 30.0, "events": ("loiter",)}, "a loiter lasts 100 s, too long for one every 30"),
        ({"incidents": (SceneIncident("fall", 1, 5), SceneIncident("throw", 3, 6))}, "follow each other"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Scene(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "event, onset, end", [("picnic", 1, 2), ("fall", 3, 3), ("fall", -1, 2), ("fall", 2, math.nan)]
)
def test_an_incident_needs_a_known_event_and_a_span(event: Event, onset: float, end: float) -> None:
    with pytest.raises(ValueError):
        SceneIncident(event, onset, end)


def test_an_unknown_event_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="there is no event 'picnic'; there are running, fall"):
        scene_with("picnic", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("event", EVENTS)
def test_a_scene_with_an_event_lasts_until_it_is_over(event: Event) -> None:
    scene = scene_with(event, seed=3, onset_s=2.0)
    (incident,) = scene.schedule()
    assert incident.event == event and incident.onset_s == 2.0
    assert scene.duration_s > incident.end_s


def test_a_seed_chooses_camera_place_and_people() -> None:
    assert normal_scene(5) == normal_scene(5)
    assert len({(scene.camera, scene.place, scene.people) for scene in map(normal_scene, range(8))}) == 8
    assert not list(normal_scene(5).schedule())


def test_a_demo_has_incidents_at_regular_intervals() -> None:
    scene = demo_scene(seed=1, incident_every_s=40.0)
    incidents = list(itertools.islice(scene.schedule(), 50))
    assert scene.frames is None
    assert [incident.onset_s for incident in incidents] == [20.0 + 40.0 * number for number in range(50)]
    assert [incident.event for incident in incidents] == [*USUAL_EVENTS] * 10
    assert not list(demo_scene(seed=1).schedule())


def test_a_demo_may_be_of_some_events_only_which_come_in_turn() -> None:
    scene = demo_scene(seed=1, incident_every_s=40.0, events=("fall", "running"))
    assert [incident.event for incident in itertools.islice(scene.schedule(), 4)] == ["fall", "running"] * 2
    with pytest.raises(ValueError, match="got none"):
        demo_scene(seed=1, incident_every_s=40.0, events=())
