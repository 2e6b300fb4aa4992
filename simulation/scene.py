"""The settings of a scene, which are its camera, people and events, and scenes made from a seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, get_args

import numpy as np

from simulation.camera import SceneCamera

Event = Literal["running", "fall", "fight", "throw", "crawl", "disperse", "loiter", "gather", "wrong_way", "hands_up"]
"""Anomalous events; everything else that people do is normal."""

EVENTS: Final[tuple[Event, ...]] = get_args(Event)

USUAL_EVENTS: Final[tuple[Event, ...]] = ("running", "fall", "fight", "throw", "crawl")
"""Events of a scene with incidents that names none: short ones, for which two people are enough."""

Place = Literal["hall", "street", "park", "shop"]
"""Places of a scene."""

PLACES: Final[tuple[Place, ...]] = get_args(Place)

EVENT_S: Final[dict[Event, float]] = {
    "running": 6.0,
    "fall": 9.0,
    "fight": 8.0,
    "throw": 7.0,
    "crawl": 8.0,
    "disperse": 4.0,
    "loiter": 100.0,
    "gather": 40.0,
    "wrong_way": 8.0,
    "hands_up": 8.0,
}
"""Seconds that an event lasts unless its incident says otherwise."""

EVENT_WORDS: Final[dict[Event, str]] = {
    "running": "somebody runs",
    "fall": "somebody falls",
    "fight": "two people fight",
    "throw": "somebody throws things",
    "crawl": "somebody crawls",
    "disperse": "people who stand together run apart",
    "loiter": "somebody stays about one place for long",
    "gather": "a group forms and stays",
    "wrong_way": "somebody goes against the way that everybody else goes",
    "hands_up": "somebody holds both hands up",
}
"""What happens in an event."""

CAST: Final[dict[Event, int]] = {"fight": 2, "disperse": 4, "gather": 4}
"""People that an event takes; other events take one."""

MOST_PEOPLE: Final = 8

DEMO_FPS: Final = 10.0
"""Frames per second of the demo's cameras, and of all scenes that its models are judged on."""


@dataclass(frozen=True, slots=True)
class SceneIncident:
    """An event at a known time.

    Attributes:
        event: What happens.
        onset_s: When it begins, in seconds of the scene.
        end_s: When it is over.

    Raises:
        ValueError: There is no such event, or it ends before it begins.
    """

    event: Event
    onset_s: float
    end_s: float

    def __post_init__(self) -> None:
        if self.event not in EVENTS:
            raise ValueError(f"there is no event {self.event!r}; there are {', '.join(EVENTS)}")
        if not 0 <= self.onset_s < self.end_s:
            raise ValueError(f"an incident must end after it begins, got {self.onset_s} to {self.end_s} s")

    @property
    def cast(self) -> int:
        """How many people it takes."""
        return CAST.get(self.event, 1)


@dataclass(frozen=True, slots=True)
class Scene:
    """Settings of a scene; the same settings give the same frames.

    Attributes:
        seed: Decides the people, how they look and what they do.
        camera: The camera.
        place: The place.
        people: People at a time, 1 to 8.
        duration_s: Seconds of video; infinite for a scene without an end.
        incidents: Anomalous events, in order of time and without overlap.
        incident_every_s: Seconds between further incidents; the first comes half a period after the start.
        events: Kinds of these incidents, which come in turn.
        one_way: Whether people only pass through, from the left of the picture to the right.

    Raises:
        ValueError: A setting is out of its range, incidents overlap, or the scene has too few people for one of them.
    """

    seed: int = 0
    camera: SceneCamera = field(default_factory=SceneCamera)
    place: Place = "hall"
    people: int = 4
    duration_s: float = 20.0
    incidents: tuple[SceneIncident, ...] = ()
    incident_every_s: float | None = None
    events: tuple[Event, ...] = USUAL_EVENTS
    one_way: bool = False

    def __post_init__(self) -> None:
        _check_seed(self.seed)
        if self.place not in PLACES:
            raise ValueError(f"there is no place {self.place!r}; there are {', '.join(PLACES)}")
        if not 1 <= self.people <= MOST_PEOPLE:
            raise ValueError(f"a scene has 1 to {MOST_PEOPLE} people, got {self.people}")
        if not self.duration_s > 0:
            raise ValueError(f"a scene must last longer than 0 s, got {self.duration_s}")
        for before, after in itertools.pairwise(self.incidents):
            if after.onset_s < before.end_s:
                raise ValueError(
                    f"incidents must follow each other; one at {after.onset_s} s begins before {before.end_s}"
                )
        if self.incident_every_s is not None:
            if self.incidents:
                raise ValueError("a scene has either its own incidents or one every so many seconds, not both")
            if not self.events or not set(self.events) <= set(EVENTS):
                raise ValueError(f"events must be some of {', '.join(EVENTS)}, got {', '.join(self.events) or 'none'}")
            if not self.incident_every_s >= 15:
                raise ValueError(f"incidents need at least 15 s each, got one every {self.incident_every_s} s")
            longest = max(self.events, key=EVENT_S.__getitem__)
            if EVENT_S[longest] + 5 > self.incident_every_s:
                raise ValueError(
                    f"a {longest} lasts {EVENT_S[longest]:g} s, too long for one every {self.incident_every_s} s"
                )
        for incident in self.incidents:
            if self.people < incident.cast:
                raise ValueError(
                    f"a scene in which {EVENT_WORDS[incident.event]} needs at least {incident.cast} people"
                )
        asked = self.events if self.incident_every_s is not None else [one.event for one in self.incidents]
        if "wrong_way" in asked and not self.one_way:
            raise ValueError("somebody goes the wrong way only in a scene in which people go one way")

    @property
    def frames(self) -> int | None:
        """Number of frames; none for a scene without an end."""
        return None if math.isinf(self.duration_s) else max(1, round(self.duration_s * self.camera.fps))

    def schedule(self) -> Iterator[SceneIncident]:
        """Its incidents in order of time; endless if `incident_every_s` is set."""
        yield from self.incidents
        if self.incident_every_s is None:
            return
        possible = [event for event in self.events if CAST.get(event, 1) <= self.people]
        onset = self.incident_every_s / 2
        for event in itertools.cycle(possible):
            if onset >= self.duration_s:
                return
            yield SceneIncident(event, onset, onset + EVENT_S[event])
            onset += self.incident_every_s


def normal_scene(seed: int, duration_s: float = 20.0) -> Scene:
    """A scene of normal life; camera, place and people are chosen by the seed.

    Raises:
        ValueError: The seed is negative, or the scene has no length.
    """
    rng = _choices(seed)
    return Scene(
        seed=seed,
        camera=random_camera(rng),
        place=PLACES[rng.integers(len(PLACES))],
        people=int(rng.integers(1, 7)),
        duration_s=duration_s,
    )


def scene_with(event: Event, seed: int, onset_s: float = 5.0) -> Scene:
    """A scene with one event, which begins at `onset_s` and is followed by four seconds of normal life.

    Raises:
        ValueError: There is no such event, or the seed or the onset is negative.
    """
    if event not in EVENTS:
        raise ValueError(f"there is no event {event!r}; there are {', '.join(EVENTS)}")
    rng = _choices(seed)
    incident = SceneIncident(event, onset_s, onset_s + EVENT_S[event])
    return Scene(
        seed=seed,
        camera=random_camera(rng),
        place=PLACES[rng.integers(len(PLACES))],
        people=max(int(rng.integers(2, 6)), incident.cast),
        duration_s=incident.end_s + 4.0,
        incidents=(incident,),
        one_way=event == "wrong_way",
    )


def demo_scene(seed: int, incident_every_s: float | None = None, events: tuple[Event, ...] = USUAL_EVENTS) -> Scene:
    """A scene without an end at `DEMO_FPS`, with the next of the events every `incident_every_s` seconds, or never.

    Raises:
        ValueError: The seed is negative, there is no such event, or there is too little time between incidents.
    """
    rng = _choices(seed)
    return Scene(
        seed=seed,
        camera=replace(random_camera(rng), fps=DEMO_FPS),
        place=PLACES[rng.integers(len(PLACES))],
        people=4,
        duration_s=math.inf,
        incident_every_s=incident_every_s,
        events=events,
        one_way="wrong_way" in events,
    )


def story(every_s: float, events: Sequence[Event]) -> str:
    """What happens in a scene with incidents, as words.

    Example:
        >>> story(30.0, ["fall", "fight", "running"])
        'every 30 seconds one of these happens, in turn: somebody falls, two people fight, somebody runs'
        >>> story(45.0, ["fall"])
        'every 45 seconds somebody falls'
    """
    words = [EVENT_WORDS[event] for event in events]
    if len(words) == 1:
        return f"every {every_s:g} seconds {words[0]}"
    return f"every {every_s:g} seconds one of these happens, in turn: {', '.join(words)}"


def random_camera(rng: np.random.Generator) -> SceneCamera:
    """A camera as mounted under ceilings and on lamp posts."""
    height = rng.uniform(2.5, 4.5)
    return SceneCamera(
        height_m=height,
        # The middle of the picture lies six metres away or a little more.
        tilt_deg=math.degrees(math.atan((height - 0.9) / rng.uniform(5.4, 7.4))),
        yaw_deg=rng.uniform(-10, 10),
        focal=rng.uniform(0.8, 1.1),
        k1=rng.uniform(-0.12, 0.0),
        exposure=rng.uniform(-0.5, 0.25),
        noise=rng.uniform(1.5, 6.0),
        jpeg_quality=int(rng.integers(55, 92)),
    )


def _choices(seed: int) -> np.random.Generator:
    """Source of the settings that a seed chooses."""
    _check_seed(seed)
    return np.random.default_rng((seed, 0))


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"a seed must not be negative, got {seed}")
