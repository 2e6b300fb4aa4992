"""The people of a scene: they walk around, meet, sit and leave, and take part in incidents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from simulation import actions
from simulation.actions import Action, Move, Style, random_style
from simulation.body import Body, Floats, column, forward_kinematics, random_body
from simulation.camera import SceneCamera
from simulation.clothing import Clothing, random_clothing
from simulation.places import Box
from simulation.scene import Event, Scene, SceneIncident

EVENT_ACTIONS: Final[dict[Event, Action]] = {
    "running": "run",
    "fall": "fall",
    "fight": "fight",
    "throw": "throw",
    "crawl": "crawl",
    "disperse": "flee",
    "loiter": "linger",
    "gather": "meet",
    "wrong_way": "oppose",
    "hands_up": "hands_up",
}
"""What the people in an event do."""

_REHEARSAL_S: Final = 9.0
"""Seconds before an incident during which its people walk to its place."""

_TOGETHER: Final = frozenset[Event]({"disperse", "gather"})
_RING_M: Final = 0.85
"""People in a group stand so far from its middle."""

_LINGER_M: Final = 0.8
"""Who loiters stays this near to one place."""

_REACH: Final[dict[Move, float]] = {
    "guard": 0.95,
    "left punch": 0.72,
    "right punch": 0.72,
    "kick": 0.95,
    "push": 0.68,
    "grapple": 0.48,
    "recoil": 0.9,
}
"""Metres between two people at each move."""

_MOVING: Final = frozenset[Action]({"walk", "run", "crawl", "flee", "linger", "meet", "oppose"})
_PERSONAL_M: Final = 0.95
_TURN: Final[dict[Action, float]] = {
    "walk": 2.6,
    "run": 2.4,
    "crawl": 0.9,
    "flee": 7.0,
    "linger": 2.6,
    "meet": 2.6,
    "oppose": 2.6,
}
_PACES: Final[dict[Action, float]] = {"run": 2.6, "flee": 2.6, "linger": 0.6}
"""Speed of an action against that of walking."""

_ACCELERATION: Final = 1.8
_FORWARD, _SIDEWAYS = column("forward"), column("sideways")


@dataclass(slots=True, eq=False)
class Actor:
    """The state of one person; changed by the world.

    Attributes:
        identity: Number of the person, never used twice.
        body: Size.
        style: Manner of moving.
        clothing: Looks.
        place: Shape ``(2,)``: x and y in metres.
        heading: Direction that the person faces, radians from the x axis.
        action: The current action.
        since: Start of the action, in seconds.
        until: Earliest end of the action.
        pace: Preferred walking speed in metres per second.
        speed: Present speed in metres per second.
        phase: Strides, crawling cycles or fighting steps so far.
        target: Where the person walks to; none if nowhere.
        facing: Where the person turns to while standing.
        leaving: Whether the person leaves the picture.
        incident: The incident that the person takes part in.
        partner: The person to talk or fight with.
        seat: The seat in use, or about to be used.
        spot: The place in an incident at which the person stands or about which the person stays.
        move: The current move of a fight.
        move_since: Start of the move, in seconds.
        shown: The pose as last seen.
        lag: By how much the shown pose is behind the action's, after a change of action.
        drift: How fast that changes.
        stiffness: How fast the lag vanishes, per second.
    """

    identity: int
    body: Body
    style: Style
    clothing: Clothing
    place: Floats
    heading: float
    pace: float
    action: Action = "walk"
    since: float = 0.0
    until: float = 0.0
    speed: float = 0.0
    phase: float = 0.0
    target: Floats | None = None
    facing: float | None = None
    leaving: bool = False
    incident: SceneIncident | None = None
    partner: Actor | None = None
    seat: Box | None = None
    spot: Floats | None = None
    move: Move = "guard"
    move_since: float = 0.0
    shown: Floats | None = None
    lag: Floats = field(default_factory=lambda: np.zeros(1))
    drift: Floats = field(default_factory=lambda: np.zeros(1))
    stiffness: float = 9.0

    def begin(self, action: Action, time_s: float, duration_s: float = math.inf, stiffness: float = 9.0) -> None:
        """Change to another action; the pose follows smoothly, and the person stays where the body is."""
        if self.shown is not None:
            ahead, left = self.shown[_FORWARD], self.shown[_SIDEWAYS]
            keeps_place = action == "sit" or self.action == "sit"
            if not keeps_place:
                cosine, sine = math.cos(self.heading), math.sin(self.heading)
                self.place = self.place + np.array([cosine * ahead - sine * left, sine * ahead + cosine * left])
                self.shown[[_FORWARD, _SIDEWAYS]] = 0.0
        self.action, self.since, self.until = action, time_s, time_s + duration_s
        self.stiffness = stiffness
        self.lag = np.zeros(1)
        if action not in _MOVING:
            self.target = None
            self.speed = 0.0

    def strike(self, move: Move, time_s: float) -> None:
        """Change to another move of a fight."""
        self.move, self.move_since = move, time_s
        self.stiffness = 14.0
        self.lag = np.zeros(1)

    @property
    def event(self) -> Event | None:
        """The event that it takes part in right now."""
        incident = self.incident
        return incident.event if incident is not None and self.action == EVENT_ACTIONS[incident.event] else None


class World:
    """The people of a scene, advanced frame by frame.

    Args:
        scene: The scene.
        boxes: The furniture.

    Raises:
        ValueError: The camera cannot see anybody from head to foot.
    """

    def __init__(self, scene: Scene, boxes: Sequence[Box]) -> None:
        self._scene = scene
        self._boxes = boxes
        self._rng = np.random.default_rng((scene.seed, 2))
        self._floor = visible_floor(scene.camera, boxes)
        self._stage = clear_floor(self._floor, boxes)
        self._schedule: Iterator[SceneIncident] = scene.schedule()
        self._next = next(self._schedule, None)
        self._cast: list[Actor] = []
        self._identities = 0
        self._number = 0
        self.time_s = 0.0
        self.actors: list[Actor] = []
        for _ in range(scene.people):
            self.actors.append(self._person(self._free_spot()))
            self._decide(self.actors[-1])
        if self._next is not None and self._next.onset_s < _rehearsal_s(self._next):
            self._assemble(self._next, at_once=True)
        self._show(0.0)

    def step(self) -> None:
        """Advance by the time of one frame."""
        seconds = 1 / self._scene.camera.fps
        self._number += 1
        self.time_s = self._number / self._scene.camera.fps
        self._direct()
        for actor in self.actors:
            if actor.incident is None:
                self._live(actor)
            else:
                self._perform(actor)
        for actor in self.actors:
            self._move(actor, seconds)
        self._replace_gone()
        self._show(seconds)

    def joints(self) -> Floats:
        """Shape ``(P, J, 3)``: the joints of all people in metres, in the order of `actors`."""
        return forward_kinematics(
            np.stack([actor.body.lengths() for actor in self.actors]),
            np.stack([actor.shown for actor in self.actors if actor.shown is not None]),
            np.stack([actor.place for actor in self.actors]),
            np.array([actor.heading for actor in self.actors]),
        )

    # Incidents

    def _direct(self) -> None:
        incident = self._next
        if incident is None:
            return
        if not self._cast and self.time_s >= incident.onset_s - _rehearsal_s(incident):
            self._assemble(incident, at_once=False)
        if self.time_s >= incident.end_s:
            for actor in self._cast:
                down = actor.action in ("fall", "crawl")
                actor.incident = actor.partner = actor.spot = None
                if actor.action == "fall":
                    actor.begin("rise", self.time_s, actions.RISE_S, stiffness=6.0)
                else:
                    actor.begin("stand", self.time_s, 2.5, stiffness=3.0 if down else 6.0)
            self._cast = []
            self._next = next(self._schedule, None)

    def _assemble(self, incident: SceneIncident, *, at_once: bool) -> None:
        """Choose who takes part, those nearest to the middle, and send them there, or put them there at the start."""
        if incident.event == "wrong_way":
            self._turn_round(incident)
            return
        middle = self._stage.mean(axis=0)
        centre = self._stage[np.argmin(((self._stage - middle) ** 2).sum(axis=1))]
        free = [actor for actor in self.actors if not actor.leaving and actor.body.stature > 1.45] or self.actors
        grown = sorted(free, key=lambda actor: float(np.hypot(*(actor.place - centre))))
        rest = [actor for actor in self.actors if actor not in grown]
        self._cast = (grown + rest)[: incident.cast]
        for number, actor in enumerate(self._cast):
            actor.incident, actor.leaving, actor.seat, actor.partner = incident, False, None, None
            spot = centre
            if incident.cast == 2:
                actor.partner = self._cast[1 - number]
                spot = centre + np.array([(number - 0.5) * 1.1, 0.0])
            elif incident.event in _TOGETHER:
                angle = 2 * math.pi * (number + 0.5) / incident.cast
                spot = actor.spot = centre + _RING_M * np.array([math.cos(angle), math.sin(angle)])
                actor.facing = angle + math.pi
            if at_once:
                actor.place, actor.heading = spot.copy(), math.pi * number
                actor.shown = None
                actor.begin("talk" if incident.cast == 2 else "stand", 0.0)
                if actor.facing is not None:
                    actor.heading = actor.facing
                if incident.cast == 1 and incident.event != "throw":
                    actor.begin("walk", 0.0)
            else:
                if actor.action == "sit":
                    actor.begin("stand", self.time_s, 0.8, stiffness=5.0)
                else:
                    actor.begin("walk", self.time_s)
                actor.target = spot

    def _perform(self, actor: Actor) -> None:
        """The action of a person in an incident, before it and while it lasts."""
        incident = actor.incident
        if incident is None:
            return
        if self.time_s < incident.onset_s:
            self._wait(actor, incident)
            return
        action = EVENT_ACTIONS[incident.event]
        if actor.action != action:
            actor.begin(action, self.time_s, stiffness={"fall": 14.0, "crawl": 4.0}.get(action, 9.0))
            actor.move_since = self.time_s - 10.0
            if action == "flee":
                actor.target, actor.spot, actor.facing = self._way_out(actor), None, None
            elif action == "linger":
                actor.spot, actor.target, actor.until = actor.place.copy(), None, self.time_s
        if action == "linger":
            self._linger(actor)
        elif action in ("meet", "oppose"):
            actor.target = actor.spot
        elif action in _MOVING and (actor.target is None or self._arrived(actor)):
            actor.target = self._next_spot(actor)
        if action == "fight":
            self._choose_move(actor)

    def _next_spot(self, actor: Actor) -> Floats:
        match actor.action:
            case "run":
                return self._far_spot(actor)
            case "flee":
                return self._outside(actor.place)
            case _:
                return self._stage_spot()

    def _wait(self, actor: Actor, incident: SceneIncident) -> None:
        partner = actor.partner
        if actor.action == "stand" and self.time_s >= actor.until:
            actor.begin("walk", self.time_s)
        if partner is not None:
            if actor.action == "walk":
                actor.target = partner.place + _unit(actor.place - partner.place) * 1.1
                if math.dist(actor.place, partner.place) < 1.3:
                    actor.begin("talk", self.time_s)
            actor.facing = _angle(partner.place - actor.place)
        elif actor.spot is not None:
            if actor.action == "walk":
                actor.target = actor.spot
                if math.dist(actor.place, actor.spot) < 0.45:
                    actor.begin("talk", self.time_s)
        elif actor.action == "walk" and (actor.target is None or self._arrived(actor)):
            actor.target = self._stage_spot()

    def _turn_round(self, incident: SceneIncident) -> None:
        """Send somebody back who is in view and has most of the way behind."""
        ahead = [
            (actor.place[0], number)
            for number, actor in enumerate(self.actors)
            if np.hypot(*(self._floor - actor.place).T).min() < 0.4
        ]
        actor = self.actors[max(ahead)[1] if ahead else 0]
        self._cast = [actor]
        actor.incident, actor.leaving = incident, False
        actor.begin("oppose", self.time_s)
        actor.spot = self._beside(actor.place, -1)

    def _way_out(self, actor: Actor) -> Floats:
        """Where somebody runs who flees from the middle of a group: straight away from it, as far as can be seen."""
        middle = np.mean([other.place for other in self._cast], axis=0)
        away = _unit(actor.place - middle)
        along = (self._floor - actor.place) @ away
        aside = np.abs((self._floor - actor.place) @ np.array([-away[1], away[0]]))
        return np.asarray(actor.place + max(float(along[aside < 0.8].max(initial=0.0)), 4.0) * away)

    def _linger(self, actor: Actor) -> None:
        """Stand about a place, with a few steps now and then."""
        if actor.spot is None or self.time_s < actor.until:
            return
        if actor.target is None:
            angle, far = self._rng.uniform(-math.pi, math.pi), self._rng.uniform(0.3, 1.0) * _LINGER_M
            actor.target = actor.spot + far * np.array([math.cos(angle), math.sin(angle)])
            actor.until = self.time_s + self._rng.uniform(2, 5)
        else:
            actor.target = None
            actor.until = self.time_s + self._rng.uniform(3, 12)

    def _choose_move(self, actor: Actor) -> None:
        partner = actor.partner
        if partner is None or self.time_s < actor.move_since + actions.MOVE_S[actor.move]:
            return
        moves: tuple[Move, ...] = ("guard", "left punch", "right punch", "kick", "push", "grapple")
        move = moves[self._rng.choice(len(moves), p=(0.12, 0.28, 0.28, 0.13, 0.11, 0.08))]
        if partner.move == "grapple":
            move = "push"
        actor.strike(move, self.time_s)
        if move == "grapple":
            partner.strike(move, self.time_s)
        elif move != "guard" and self._rng.random() < 0.55:
            partner.strike("recoil", self.time_s + 0.12)

    # Ordinary life

    def _live(self, actor: Actor) -> None:
        match actor.action:
            case "walk":
                if actor.target is None:
                    self._decide(actor)
                elif self._arrived(actor):
                    if actor.seat is not None:
                        self._sit(actor)
                    elif not actor.leaving:
                        self._decide(actor)
            case "talk":
                partner = actor.partner
                if partner is None or partner.partner is not actor or self.time_s >= actor.until:
                    actor.partner = None
                    self._decide(actor)
                else:
                    actor.facing = _angle(partner.place - actor.place)
            case "sit":
                if self.time_s >= actor.until:
                    actor.seat = None
                    actor.begin("stand", self.time_s, 1.5, stiffness=4.5)
            case _:
                if self.time_s >= actor.until:
                    self._decide(actor)

    def _decide(self, actor: Actor) -> None:
        """What to do next."""
        rng = self._rng
        actor.facing = None
        if self._scene.one_way:
            actor.begin("walk", self.time_s)
            actor.leaving, actor.target = True, self._beside(actor.place, 1)
            if self.time_s == 0:
                actor.heading, actor.speed = 0.0, actor.pace
            return
        choice = rng.random()
        idle = [
            other
            for other in self.actors
            if other is not actor
            and other.incident is None
            and other.action in ("stand", "walk")
            and not other.leaving
            and other.seat is None
            and math.dist(other.place, actor.place) < 2.5
        ]
        taken = [other.seat for other in self.actors if other.seat is not None]
        seats = [box for box in self._boxes if box.seat and box not in taken]
        if choice < 0.16:
            actor.begin("stand", self.time_s, rng.uniform(2, 6), stiffness=6.0)
        elif choice < 0.34 and idle:
            other = idle[rng.integers(len(idle))]
            duration = rng.uniform(4, 10)
            for one, two in ((actor, other), (other, actor)):
                one.partner = two
                one.begin("talk", self.time_s, duration, stiffness=6.0)
        elif choice < 0.5 and seats and actor.body.stature > 1.45:
            seat = seats[rng.integers(len(seats))]
            actor.begin("walk", self.time_s)
            actor.seat = seat
            actor.target = np.array([rng.uniform(seat.left + 0.3, seat.right - 0.3), seat.near - 0.12])
        elif choice < 0.58 and self.time_s > 0:
            actor.begin("walk", self.time_s)
            actor.leaving = True
            actor.target = self._outside(actor.place)
        else:
            actor.begin("walk", self.time_s)
            actor.target = self._spot()

    def _sit(self, actor: Actor) -> None:
        away = -math.pi / 2
        if abs(_turn(actor.heading, away)) > 0.15:
            actor.speed = 0.0
            actor.facing = away
            return
        actor.heading = away
        actor.begin("sit", self.time_s, self._rng.uniform(6, 15), stiffness=5.0)
        actor.facing = None

    def _replace_gone(self) -> None:
        """Replace people who have left the picture by new ones."""
        for number, actor in enumerate(self.actors):
            if actor.leaving and actor.target is not None and math.dist(actor.place, actor.target) < 0.6:
                spot = self._spot()
                entrance = self._beside(spot, -1) if self._scene.one_way else self._outside(spot)
                person = self._person(entrance)
                person.target = spot
                person.heading = _angle(spot - entrance)
                person.speed = person.pace
                if self._scene.one_way:
                    person.leaving, person.target = True, self._beside(spot, 1)
                self.actors[number] = person

    # Movement

    def _move(self, actor: Actor, seconds: float) -> None:
        if actor.action == "fight" and actor.partner is not None:
            self._close_in(actor, actor.partner, seconds)
            return
        if actor.facing is not None and (actor.action in ("stand", "talk", "throw") or actor.speed == 0.0):
            turn = _turn(actor.heading, actor.facing)
            actor.heading += float(np.clip(turn, -2.5 * seconds, 2.5 * seconds))
        if actor.action not in _MOVING or actor.target is None:
            return
        if actor.facing is not None and actor.seat is not None:
            return
        way = actor.target - actor.place
        distance = float(np.hypot(*way))
        if actor.spot is not None and distance < 0.3 and actor.action != "walk":
            actor.speed = max(actor.speed - 2 * _ACCELERATION * seconds, 0.0)
            return
        wanted = _unit(way) + self._avoidance(actor)
        turn = _turn(actor.heading, _angle(wanted))
        rate = _TURN[actor.action] * seconds
        actor.heading += float(np.clip(turn, -rate, rate))
        top = _PACES.get(actor.action, 1.0) * actor.pace
        if actor.action == "crawl":
            top = 0.45 if self.time_s - actor.since > actions.KNEEL_S else 0.0
        top *= max(math.cos(min(abs(turn), 1.4)), 0.15)
        if actor.seat is not None:
            top = min(top, 0.25 + distance)
        change = _ACCELERATION * seconds * {"run": 2.0, "flee": 3.5}.get(actor.action, 1.0)
        actor.speed += float(np.clip(top - actor.speed, -2 * change, change))
        step = actor.speed * seconds
        actor.place = actor.place + step * np.array([math.cos(actor.heading), math.sin(actor.heading)])
        stride = (
            0.75
            if actor.action == "crawl"
            else actions.stride_length(actor.body, actor.speed, running=actor.action in ("run", "flee"))
        )
        actor.phase += step / stride

    def _close_in(self, actor: Actor, partner: Actor, seconds: float) -> None:
        way = partner.place - actor.place
        distance = float(np.hypot(*way))
        toward = _unit(way)
        wanted = min(_REACH[actor.move], _REACH[partner.move])
        step = float(np.clip((distance - wanted) / 2, -1.3 * seconds, 1.6 * seconds))
        around = 0.22 * seconds * actor.style.side * np.array([-toward[1], toward[0]])
        actor.place = actor.place + step * toward + around
        actor.phase += (0.9 + abs(step) / max(seconds, 1e-6)) * seconds
        actor.heading += float(np.clip(_turn(actor.heading, _angle(way)), -5 * seconds, 5 * seconds))

    def _avoidance(self, actor: Actor) -> Floats:
        """Away from people and furniture that are too near, and a little to the right, to pass each other."""
        push = np.zeros(2)
        for other in self.actors:
            if other is actor:
                continue
            way = actor.place - other.place
            distance = float(np.hypot(*way))
            room = 1.5 * _PERSONAL_M if other.incident is not None else _PERSONAL_M
            if 1e-6 < distance < room:
                away = way / distance
                push += (room - distance) / room * 2.2 * (away + 0.6 * np.array([-away[1], away[0]]))
        for box in self._boxes:
            if box is actor.seat:
                continue
            way = actor.place - box.nearest(actor.place)
            distance = float(np.hypot(*way))
            if 1e-6 < distance < 0.7:
                away = way / distance
                push += (0.7 - distance) * 4.0 * (away + 0.5 * np.array([-away[1], away[0]]))
        return push

    def _arrived(self, actor: Actor) -> bool:
        near = 0.14 if actor.seat is not None else 0.7 if actor.action in ("run", "flee") else 0.45
        return actor.target is not None and math.dist(actor.place, actor.target) < near

    # Poses

    def _show(self, seconds: float) -> None:
        """Compute the pose of every person: that of the action, blended with the one before."""
        for actor in self.actors:
            wanted = self._pose(actor)
            if actor.shown is None:
                actor.shown, actor.lag = wanted, np.zeros_like(wanted)
                actor.drift = np.zeros_like(wanted)
                continue
            if actor.lag.shape != wanted.shape:
                actor.lag = actor.shown - wanted
                actor.drift = np.zeros_like(wanted)
            # A critically damped spring: x'' = -2wx' - w²x, solved for the step.
            speed = actor.stiffness
            decay = math.exp(-speed * seconds)
            lag, drift = actor.lag, actor.drift
            slope = drift + speed * lag
            actor.lag = (lag + slope * seconds) * decay
            actor.drift = (drift - speed * slope * seconds) * decay
            actor.shown = wanted + actor.lag

    def _pose(self, actor: Actor) -> Floats:
        elapsed = self.time_s - actor.since
        match actor.action:
            case "meet" if actor.speed < 0.15:
                return actions.talk(actor.style, self.time_s)
            case "walk" | "linger" | "oppose" | "meet":
                if actor.speed < 0.15:
                    return actions.stand(actor.style, self.time_s)
                return actions.walk(actor.body, actor.style, actor.phase, actor.speed)
            case "run" | "flee":
                return actions.run(actor.body, actor.style, actor.phase, max(actor.speed, 1.0))
            case "stand":
                return actions.stand(actor.style, self.time_s)
            case "talk":
                return actions.talk(actor.style, self.time_s)
            case "sit":
                return actions.sit(actor.body, actor.style, self.time_s)
            case "fall":
                return actions.fall(actor.body, actor.style, elapsed)
            case "rise":
                return actions.rise(actor.body, actor.style, elapsed)
            case "crawl":
                return actions.crawl(actor.style, actor.phase, elapsed)
            case "throw":
                return actions.throw(actor.style, elapsed)
            case "hands_up":
                return actions.hands_up(actor.style, self.time_s)
            case "fight":
                return actions.fight(actor.style, actor.move, max(self.time_s - actor.move_since, 0.0), actor.phase)

    # Places and people

    def _person(self, place: Floats) -> Actor:
        rng = self._rng
        self._identities += 1
        body = random_body(rng, child=rng.random() < 0.12)
        return Actor(
            identity=self._identities,
            body=body,
            style=random_style(rng),
            clothing=random_clothing(rng),
            place=place.copy(),
            heading=rng.uniform(-math.pi, math.pi),
            pace=float(rng.uniform(0.9, 1.5)),
            phase=rng.random(),
        )

    def _spot(self) -> Floats:
        spot: Floats = self._floor[self._rng.integers(len(self._floor))]
        return spot

    def _stage_spot(self) -> Floats:
        spot: Floats = self._stage[self._rng.integers(len(self._stage))]
        return spot

    def _free_spot(self) -> Floats:
        """A random spot, far from other people."""
        spots = self._floor[self._rng.integers(len(self._floor), size=12)]
        others = np.array([actor.place for actor in self.actors]).reshape(-1, 2)
        apart = np.hypot(*(spots[:, None] - others[None]).transpose(2, 0, 1)).min(axis=1, initial=2.0)
        spot: Floats = spots[np.argmax(apart)]
        return spot

    def _far_spot(self, actor: Actor) -> Floats:
        spots = self._floor[self._rng.integers(len(self._floor), size=8)]
        spot: Floats = spots[np.argmax(np.hypot(*(spots - actor.place).T))]
        return spot

    def _outside(self, place: Floats) -> Floats:
        """The point beside the picture that is nearest to a place, a metre out of sight."""
        hidden = np.concatenate([self._out_of_sight(place, side) for side in (-1, 1)])
        if not len(hidden):
            return np.array([math.copysign(14.0, place[0]), place[1]])
        return np.asarray(hidden[np.argmin(np.abs(hidden[:, 0] - place[0]))])

    def _beside(self, place: Floats, side: int) -> Floats:
        """The same to the left of the picture for the side -1, and to the right for 1."""
        hidden = self._out_of_sight(place, side)
        if not len(hidden):
            return np.array([14.0 * side, place[1]])
        return np.asarray(hidden[np.argmin(np.abs(hidden[:, 0] - place[0]))])

    def _out_of_sight(self, place: Floats, side: int) -> Floats:
        """Points of the ground beside the picture on one of its sides, as far ahead of the camera as a place."""
        camera = self._scene.camera
        ground = np.array([[x, place[1], 1.0] for x in np.arange(-14.0, 14.1, 0.25)])
        pixels, _ = camera.project(ground)
        margin = camera.width * 0.12
        beyond = pixels[:, 0] < -margin if side < 0 else pixels[:, 0] > camera.width + margin
        return np.asarray(ground[beyond, :2])


def _rehearsal_s(incident: SceneIncident) -> float:
    match incident.event:
        case "wrong_way" | "gather":  # Somebody turns round on the spot; a group forms.
            return 0.0
        case "disperse":
            return 1.6 * _REHEARSAL_S
        case _:
            return _REHEARSAL_S


def visible_floor(camera: SceneCamera, boxes: Sequence[Box]) -> Floats:
    """Points of the ground, ``(N, 2)`` in metres, on which a person is seen from head to foot.

    Raises:
        ValueError: There are none.
    """
    grid = np.stack(np.meshgrid(np.arange(-8, 8.01, 0.25), np.arange(2.0, 10.51, 0.25)), axis=-1).reshape(-1, 2)
    margin = 0.04 * camera.height
    seen = np.ones(len(grid), bool)
    pixels = []
    for height in (0.0, 1.8):
        pixel, depth = camera.project(np.column_stack([grid, np.full(len(grid), height)]))
        inside = (pixel >= margin) & (pixel <= (camera.width - margin, camera.height - margin))
        seen &= inside.all(axis=1) & (depth > 1.5)
        pixels.append(pixel)
    seen &= np.hypot(*(pixels[0] - pixels[1]).T) > 0.2 * camera.height
    for box in boxes:
        seen &= ~box.covers(grid, 0.6)
    if seen.sum() < 8:
        raise ValueError("this camera sees nobody from head to foot; change its height, tilt or focal length")
    return np.asarray(grid[seen])


def clear_floor(floor: Floats, boxes: Sequence[Box]) -> Floats:
    """Those of the points ``(N, 2)`` where somebody can lie down in sight; all of them if these are too few."""
    clear = np.ones(len(floor), bool)
    for box in boxes:
        clear &= ~box.covers(floor, 1.3)
        corners = [math.atan2(x, y) for x in (box.left, box.right) for y in (box.near, box.far)]
        across = np.arctan2(floor[:, 0], floor[:, 1])
        hidden = (across > min(corners) - 0.12) & (across < max(corners) + 0.12) & (floor[:, 1] > box.near)
        clear &= ~hidden
    return np.asarray(floor[clear]) if clear.sum() >= 8 else floor


def _unit(way: Floats) -> Floats:
    return way / max(float(np.hypot(*way)), 1e-9)


def _angle(way: Floats) -> float:
    return math.atan2(way[1], way[0])


def _turn(heading: float, wanted: float) -> float:
    """Radians to turn, the short way round."""
    return (wanted - heading + math.pi) % (2 * math.pi) - math.pi
