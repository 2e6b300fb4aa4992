from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from model.behaviours import Finding, Kind
from service.documents.messages import Score
from service.drawing import live_view
from service.drawing.live_view import LiveView, encode_jpeg
from service.drawing.overlay import Contributions, Image, draw_live
from tests.doubles.findings import finding
from tests.doubles.scores import live_person, live_score


@dataclass(frozen=True, eq=False)
class Shown:
    image: Image | None
    score: Score
    findings: Sequence[Finding] = ()


def white(incident: str | None = None) -> Shown:
    return Shown(np.full((480, 640, 3), 255, np.uint8), live_score(0.5, size=(640, 480), incident=incident))


def decoded(jpeg: bytes) -> Image:
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(image, np.uint8)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each drawing had a background, in order."""
    calls: list[bool] = []

    def draw(
        image: Image | None, score: Score, *, background: bool, size: tuple[int, int], joints: Contributions
    ) -> Image:
        calls.append(background)
        return draw_live(image, score, background=background, size=size, joints=joints)

    monkeypatch.setattr(live_view, "draw_live", draw)
    return calls


def test_a_frame_is_drawn_once_for_everybody_who_looks(drawn: list[bool]) -> None:
    view, latest, together = LiveView(320), white(), threading.Barrier(8)

    def look() -> bytes:
        together.wait()
        return view.jpeg("entrance", latest)

    with ThreadPoolExecutor(8) as pool:
        pictures = {future.result() for future in [pool.submit(look) for _ in range(8)]}
    assert len(pictures) == 1
    assert drawn == [True]


def test_each_frame_camera_and_version_is_its_own(drawn: list[bool]) -> None:
    view, latest = LiveView(320), white()
    assert view.jpeg("a", latest) != view.jpeg("a", latest, "none")
    view.jpeg("b", latest)
    view.jpeg("a", white(incident="x"))
    assert drawn == [True, False, True, True]
    view.forget("b")
    view.jpeg("b", latest)
    assert drawn[4:] == [True]


def test_without_background_the_picture_cannot_be_seen() -> None:
    view, latest = LiveView(320), white()
    shown, hidden = (decoded(view.jpeg("a", latest, ground)) for ground in ("picture", "none"))
    assert shown.shape == hidden.shape == (240, 320, 3)
    assert shown[100, 30].min() > 200
    assert hidden[100, 30].max() < 80


def test_a_feed_without_pictures_is_drawn_on_a_plain_ground() -> None:
    latest = Shown(None, live_score(0.5, size=(640, 480)))
    view = LiveView(1280)
    assert decoded(view.jpeg("a", latest)).shape == (480, 640, 3)
    assert view.jpeg("a", latest) == view.jpeg("a", latest, "none")


def test_the_limbs_that_contributed_are_emphasised() -> None:
    fallen = live_person(0.5, box=(100.0, 40.0, 400.0, 440.0), behaviours={Kind.FALL: 1.2})
    score = live_score(0.5, size=(640, 480), people=[fallen])
    view = LiveView(640)
    plain, limbs = (
        decoded(view.jpeg("a", Shown(None, score, findings), "none")) for findings in ((), (finding(joints=(13, 15)),))
    )
    left, right = np.s_[330:420, 260:310], np.s_[330:420, 200:240]
    assert np.abs(plain[left].astype(int) - limbs[left]).max() > 80
    np.testing.assert_array_equal(plain[right], limbs[right])


def test_what_cannot_be_a_jpeg_is_refused() -> None:
    with pytest.raises((ValueError, cv2.error)):
        encode_jpeg(np.zeros((1, 70_000, 3), np.uint8))


def test_blurred_people_keep_their_skeleton_and_lose_their_face() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    person = live_person(0.5, box=(100.0, 100.0, 200.0, 400.0))
    latest = Shown(noise, live_score(0.5, size=(640, 480), people=[person]))
    view = LiveView(640)
    picture, blurred = (decoded(view.jpeg("a", latest, ground)) for ground in ("picture", "blurred"))
    body, wall = np.s_[130:370, 120:180], np.s_[100:400, 300:500]
    assert np.var(blurred[body]) < 0.5 * np.var(picture[body])
    np.testing.assert_array_equal(blurred[wall], picture[wall])
    assert noise.std() > 70
