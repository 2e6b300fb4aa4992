"""Who gathers, and who does not."""

import pytest

from model.behaviours import Behaviours, Gathering, Kind
from tests.doubles.puppet import Act, Footage, Seen, film, script, standing, walking, watch

PLACES = ((-0.6, 7.4), (0.6, 7.4), (0.0, 8.4), (0.1, 6.8))


def group(
    act: Act = standing,
    *,
    people: int = 3,
    fps: float = 15.0,
    seconds: float = 11.0,
    places: tuple[tuple[float, float], ...] = PLACES,
) -> list[Footage]:
    return [
        film(act, seconds, fps=fps, place=place).numbered(number) for number, place in enumerate(places[:people], 1)
    ]


def gather(footage: list[Footage], **changes: object) -> list[Seen]:
    return watch(*footage, behaviours=Behaviours([Gathering(**{"people": 3, "seconds": 8.0, **changes})]))


@pytest.mark.parametrize("fps", [5, 10, 30])
def test_a_group_that_stays_is_named_when_the_time_is_up(fps: float) -> None:
    seen = gather(group(fps=fps))
    assert seen[0].time == pytest.approx(9.0, abs=0.8)
    assert seen[-1].time > 10.5
    finding = seen[-1].finding
    assert (finding.kind, finding.tracks) == (Kind.GATHERING, (1, 2, 3))
    assert finding.saw.startswith("3 people stay together for ")
    assert finding.facts["together_s"] == pytest.approx(seen[-1].time - finding.since, abs=0.3)


def test_a_group_goes_on_while_one_of_it_is_hidden_for_a_moment() -> None:
    people = group()
    people[0] = people[0].numbered(1, (4.0, -1), (6.0, 9))
    seen = gather(people)
    assert seen[-1].finding.tracks == (2, 3, 9)
    assert seen[-1].finding.since < 2.0


@pytest.mark.parametrize(
    ("people", "asked"),
    [
        (group(people=2), {}),
        (group(), {"people": 4}),
        (group(), {"seconds": 20.0}),
        (group(walking(0.5), places=((-4.0, 8.0), (-4.8, 8.4), (-4.4, 9.0))), {}),
        (group(script((5.0, standing), (1.0, walking(0.9)))), {}),
        (group(places=((-4.0, 9.0), (0.0, 9.0), (4.0, 9.0))), {}),
    ],
    ids=["two", "fewer than asked for", "too short", "walk together", "part", "far apart"],
)
def test_what_is_no_gathering(people: list[Footage], asked: dict) -> None:
    assert gather(people, **asked) == []


def test_it_counts_in_its_zone_only() -> None:
    assert gather(group(), zone=((0.2, 0.0), (0.8, 0.0), (0.8, 1.0), (0.2, 1.0)))
    assert gather(group(), zone=((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))) == []
