"""Who loiters, and who does not."""

import numpy as np
import pytest

from model.behaviours import Behaviours, Kind, Loitering
from tests.doubles.puppet import Act, Footage, Seen, film, script, standing, walking, watch

WALK = walking(0.6)


def to_and_fro(seconds: float) -> tuple[np.ndarray, float]:
    """Two steps ahead and two back, all the time."""
    position, _ = WALK(seconds)
    return position, 0.8 * float(np.sin(seconds))


def stays(footage: Footage, seconds: float = 10.0, **changes: object) -> list[Seen]:
    return watch(footage, behaviours=Behaviours([Loitering(seconds, **changes)]))


@pytest.mark.parametrize("fps", [5, 10, 30])
@pytest.mark.parametrize("act", [standing, to_and_fro], ids=["stands", "wanders"])
def test_who_stays_about_one_place_is_named_when_the_time_is_up(fps: float, act: Act) -> None:
    seen = stays(film(act, 14.0, fps=fps))
    assert seen[0].time == pytest.approx(10.0, abs=1.0)
    assert seen[-1].time > 13.5
    assert {(each.finding.kind, each.finding.tracks) for each in seen} == {(Kind.LOITERING, (7,))}
    assert seen[-1].finding.since == pytest.approx(0.0, abs=0.3)
    assert seen[-1].finding.facts["stayed_s"] == pytest.approx(seen[-1].time, abs=0.5)
    # A camera on which people stay for longer in normal life can ask for more.
    assert seen[-1].finding.score == pytest.approx(seen[-1].time / 10.0, abs=0.1)


def test_who_stays_for_less_is_not() -> None:
    assert stays(film(standing, 9.0)) == []


@pytest.mark.parametrize("fps", [5, 15])
def test_who_walks_through_is_not(fps: float) -> None:
    assert stays(film(walking(0.4), 11.0, fps=fps, place=(-3.5, 8.0))) == []


def test_who_stands_at_two_places_is_not() -> None:
    act = script((6.0, standing), (3.0, walking(0.9)), (9.0, standing))
    assert stays(film(act, 14.5, place=(-3.0, 8.0))) == []


def test_loitering_goes_on_under_another_number_after_a_gap() -> None:
    footage = film(standing, 14.0).numbered(7, (5.0, -1), (8.0, 9))
    seen = stays(footage)
    assert {each.finding.tracks for each in seen} == {(9,)}
    assert seen[-1].finding.since == pytest.approx(0.0, abs=0.3)


def test_somebody_else_begins_anew_after_a_long_gap() -> None:
    assert stays(film(standing, 18.0).numbered(7, (4.0, -1), (9.5, 9))) == []


def test_it_counts_in_its_zone_only() -> None:
    assert stays(film(standing, 12.0), zone=((0.4, 0.0), (0.6, 0.0), (0.6, 1.0), (0.4, 1.0)))
    assert stays(film(standing, 12.0), zone=((0.0, 0.0), (0.4, 0.0), (0.4, 1.0), (0.0, 1.0))) == []


def test_memory_is_bounded() -> None:
    loitering, watching = Loitering(3600.0), Behaviours([Loitering(10.0)])
    assert loitering.start() == {}
    watch(film(standing, 30.0, fps=5), behaviours=watching)
    (state,) = watching._states
    assert [len(stay.places) for stay in state.values()] == [40]
