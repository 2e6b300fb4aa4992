"""A camera that can no longer see people says so, and says when it can again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pose.sight import CannotSee, SightChange
from service.cameras.sight import SightWatch
from service.documents.messages import CameraSight
from service.live.frames import Scored
from tests.doubles import media
from tests.doubles.cameras import add, sockets, status
from tests.doubles.live import socket_reader
from tests.doubles.servers import Serve, eventually

Image = NDArray[np.uint8]

DARK = np.full((180, 320, 3), 3, np.uint8)
BRIGHT = np.full((180, 320, 3), 255, np.uint8)


CHECKS = media.checks(180, 320)


def turns_dark(index: int, width: int, height: int) -> Image:
    """Frames of a camera with 5 frames a second: six seconds of light, then eight of darkness."""
    return media.checks(height, width) if index < 30 else np.full((height, width, 3), 3, np.uint8)


class Told:
    """A watch, and what it has told."""

    def __init__(self, *reasons: CannotSee) -> None:
        self.changes: list[SightChange] = []
        self.watch = SightWatch("door", reasons or tuple(CannotSee), self.changes.append)
        self.moment = 0.0

    def show(self, image: Image, seconds: float) -> None:
        for _ in range(round(10 * seconds)):
            self.watch.picture(image, self.moment)
            self.moment += 0.1

    @property
    def reasons(self) -> list[CannotSee | None]:
        return [change.cannot_see for change in self.changes]


def scored(moment: float, image: Image | None, height: float) -> Scored:
    """A processed frame with one person."""
    boxes = np.array([[10, 10, 50, 10 + height]], np.float32)
    keypoints = np.full((1, 17, 3), 0.9, np.float32)
    return Scored("door", 0, moment, image, 320, 180, [1], boxes, keypoints, [None], np.nan, np.nan, None, [])


def test_every_change_is_told_once_with_what_was_before() -> None:
    told = Told()
    told.show(CHECKS, 10)
    assert told.watch.blind is None
    told.show(DARK, 10)
    assert told.watch.blind is not None
    assert told.watch.blind[0] is CannotSee.TOO_DARK
    assert 16 <= told.watch.blind[1] <= 17
    told.show(CHECKS, 10)
    assert told.watch.blind is None
    assert [(change.previous, change.cannot_see) for change in told.changes] == [
        (None, CannotSee.TOO_DARK),
        (CannotSee.TOO_DARK, None),
    ]


def test_reasons_that_are_not_asked_for_are_not_told() -> None:
    told = Told(CannotSee.GLARE)
    told.show(DARK, 20)
    assert told.changes == []
    told.show(BRIGHT, 20)
    assert told.reasons == [CannotSee.GLARE]


def test_a_change_of_the_reasons_holds_at_once() -> None:
    told = Told()
    told.show(DARK, 10)
    told.watch.change([CannotSee.COVERED], told.moment)
    assert told.reasons == [CannotSee.TOO_DARK, None]
    told.watch.change(tuple(CannotSee), told.moment)
    assert told.reasons == [CannotSee.TOO_DARK, None, CannotSee.TOO_DARK]


def test_a_check_that_is_switched_off_and_on_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    told.show(DARK, 10)
    told.watch.change([], told.moment)
    assert told.reasons == [CannotSee.TOO_DARK, None]
    with monkeypatch.context() as patch:
        patch.setattr("service.cameras.sight.look_at", lambda _: pytest.fail("it is switched off"))
        told.show(DARK, 10)
    told.watch.change(tuple(CannotSee), told.moment)
    assert told.watch.blind is None
    told.show(DARK, 10)
    assert told.watch.blind is not None


def test_a_camera_that_is_stopped_is_not_blind_any_more_and_tells_nothing_more() -> None:
    told = Told()
    told.show(DARK, 10)
    told.watch.stop(told.moment)
    told.show(DARK, 20)
    assert told.reasons == [CannotSee.TOO_DARK, None]


def test_people_who_are_seen_prove_that_the_camera_sees() -> None:
    told = Told()
    for _ in range(200):
        told.watch.people(scored(told.moment, DARK, height=120))
        told.show(DARK, 0.1)
    assert told.changes == []
    # The skeletons of a feed say nothing of pictures.
    told.watch.people(replace(scored(told.moment, None, height=1), width=1))
    told.show(DARK, 10)
    assert told.reasons == [CannotSee.TOO_DARK]


@pytest.mark.slow
@pytest.mark.usefixtures("backend")
def test_a_camera_that_turns_dark_says_so_everywhere_and_recovers(serve: Serve, tmp_path: Path) -> None:
    clip = media.clip(tmp_path, frames=70, fps=5, size=(320, 180), paint=turns_dark)
    live = serve(media_dirs=str(tmp_path))
    events = socket_reader(f"{sockets(live)}/v1/incidents?last_event_id=0")
    add(live, url=str(clip), loop=True)
    assert status(live)["cannot_see"] is None
    dark = eventually(lambda: events.of("camera.sight"), "it says so")[0]
    assert (dark["cannot_see"], dark["previous"]) == ("too_dark", None)
    assert dark["detail"] == CannotSee.TOO_DARK.words
    now = status(live)
    assert (now["state"], now["cannot_see"]) == ("online", "too_dark")
    assert now["cannot_see_since"] is not None
    metrics = live.client.get("/metrics").text
    assert 'daflow_camera_cannot_see{camera="gate",reason="too_dark"} 1.0' in metrics
    assert 'daflow_camera_cannot_see{camera="gate",reason="covered"} 0.0' in metrics
    assert 'daflow_camera_sight_losses_total{camera="gate",reason="too_dark"} 1.0' in metrics
    light = eventually(lambda: events.of("camera.sight")[1:], "it sees again")[0]
    assert (light["cannot_see"], light["previous"]) == (None, "too_dark")
    assert status(live)["cannot_see"] is None
    eventually(lambda: status(live)["cannot_see"], "it is dark again")
    assert live.client.patch("/v1/cameras/gate", json={"sight_checks": ["covered"]}).json()["cannot_see"] is None
    assert live.client.patch("/v1/cameras/gate", json={"sight_checks": ["cold"]}).status_code == 422
    stored = live.runtime.streams.incidents.events_after(0, 1000)
    assert len([event for event in stored if isinstance(event, CameraSight)]) >= 4


@pytest.mark.usefixtures("backend")
def test_a_skeleton_feed_has_no_sight_that_it_could_lose(serve: Serve) -> None:
    live = serve()
    found = add(live)
    assert (found["cannot_see"], found["cannot_see_since"]) == (None, None)
