from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pose.view import ViewMap
from service.addresses.urls import parse
from service.cameras.config import CameraConfig
from service.cameras.premises import Premises

URL = "rtsp://viewer:secret@192.168.1.20/stream1"
CONFIG = CameraConfig(url=URL)
SIZE = (640, 360)
PICTURE = np.random.default_rng(1).uniform(0, 255, (90, 160)).astype(np.float32)
VIEW = ViewMap.of(PICTURE, np.ones(PICTURE.shape, np.bool_))
PREMISES = Premises.of(parse(URL), CONFIG, SIZE, VIEW)


def causes(
    premises: Premises = PREMISES,
    *,
    url: str = URL,
    size: tuple[int, int] | None = SIZE,
    moved: bool = False,
    **config: Any,
) -> list[str]:
    changed = CONFIG.model_copy(update=config)
    return [one.cause for one in premises.broken(parse(url), changed, size, moved=moved)]


def test_a_calibration_holds_while_nothing_changes() -> None:
    assert causes() == []
    assert causes(size=None) == [], "the size is not known before the first picture"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"url": "rtsp://viewer:secret@192.168.1.21/stream1"}, "address"),
        ({"url": "rtsp://viewer:secret@192.168.1.20/stream2"}, "address"),
        ({"size": (1280, 720)}, "resolution"),
        ({"moved": True}, "moved"),
        ({"min_duration_s": 2.0}, "min_duration_s"),
        ({"quiet_s": 20.0}, "quiet_s"),
    ],
)
def test_each_change_is_named(change: dict[str, Any], cause: str) -> None:
    assert causes(**change) == [cause]


def test_changes_that_do_not_touch_the_calibration_leave_it() -> None:
    assert causes(url="rtsp://viewer:changed@192.168.1.20/stream1") == []
    assert causes(cooldown_s=0.0, name="Door", false_alarms_per_day=3.0) == []


def test_every_cause_is_named_with_what_was_and_what_is() -> None:
    told = PREMISES.broken(
        parse("skeletons:"), CONFIG.model_copy(update={"min_duration_s": 2.0, "quiet_s": 5.0}), (1280, 720), moved=True
    )
    assert [one.cause for one in told] == ["address", "resolution", "moved", "min_duration_s", "quiet_s"]
    words = {one.cause: one.detail for one in told}
    assert words["moved"] == (
        "The picture has moved since this camera was calibrated. Calibrate again or turn it back."
    )
    assert "1280x720 pixels now, and had 640x360" in words["resolution"]
    assert "is 2 s now, and was 0.5 s" in words["min_duration_s"]
    assert "is 5 s now, and was 10 s" in words["quiet_s"]


def test_without_pictures_only_address_and_settings_are_compared() -> None:
    feed = Premises.of(parse("skeletons:"), CONFIG, None, None)
    assert causes(feed, url="skeletons:", size=(1280, 720)) == []
    assert causes(feed, url="skeletons:", quiet_s=1.0) == ["quiet_s"]


def test_what_is_stored_is_read_again_and_shows_no_address() -> None:
    stored = PREMISES.to_dict()
    assert "192.168" not in str(stored)
    again = Premises.from_dict(stored)
    assert again.view is not None
    assert dataclasses.replace(again, view=None).to_dict() == dataclasses.replace(PREMISES, view=None).to_dict()
    assert Premises.from_dict(stored | {"view": None, "size": None}).view is None
    for damage in ({"size": [1]}, {"quiet_s": None}, {"view": {"width": 3}}):
        with pytest.raises(ValueError, match=r"cannot be read|damaged"):
            Premises.from_dict(stored | damage)
