"""What the status of a camera says: thresholds in use, and a reason for every dropped frame."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from service.scoring.loading import LoadedModels
from service.settings import Settings
from tests.doubles.cameras import add, sockets, status
from tests.doubles.live import device, lying
from tests.doubles.models import cardboard_models
from tests.doubles.servers import Serve, eventually, live_server

pytestmark = pytest.mark.usefixtures("backend")


def test_new_rules_hold_at_once(serve: Serve) -> None:
    live = serve()
    before = add(live, false_alarms_per_day=48)["thresholds"]
    after = add(live, false_alarms_per_day=192)["thresholds"]
    assert (before["false_alarms_per_day"], after["false_alarms_per_day"]) == (48, 192)
    assert (before["unusual_per_day"], after["unusual_per_day"]) == (24, 96)
    assert set(after["behaviours"].values()) == {1.0}
    assert after["open"] < before["open"] < before["alert"]
    assert after["close"] < after["open"] < after["alert"]
    assert status(live)["thresholds"] == after


@pytest.mark.slow
@pytest.mark.parametrize("max_fps", [None, 5])
def test_every_frame_of_a_feed_is_accounted_for(max_fps: float | None, serve: Serve) -> None:
    live = serve()
    add(live, max_fps=max_fps)
    began = time.monotonic()
    with device(sockets(live), "gate", lying, rate_hz=60):
        eventually(lambda: status(live)["frames_processed"] >= 12, "frames are processed")
        if max_fps is not None:
            eventually(lambda: status(live)["dropped"].get("rate_limit", 0) >= 12, "frames above the limit are dropped")
    fed_s = time.monotonic() - began

    def settled() -> dict[str, Any] | None:
        now = status(live)
        return now if now["frames_read"] == now["frames_processed"] + sum(now["dropped"].values()) else None

    now = eventually(settled, "every frame was processed or dropped")
    if max_fps is None:
        assert now["dropped"].keys() <= {"overload"}
    else:
        # A frame that came a little early may be followed sooner; sixty come in a second.
        assert now["frames_processed"] <= 3 + 1.2 * max_fps * fed_s
        assert now["last_score_age_s"] < 2, "a feed that is faster than wanted does not fall behind"


@pytest.mark.slow
def test_frames_that_come_before_the_models_are_counted(tmp_path: Path) -> None:
    loading = threading.Event()

    def load(settings: Settings) -> LoadedModels:
        loading.wait()
        return cardboard_models(settings)

    with live_server(Settings(data_dir=tmp_path / "data"), load) as live:
        try:
            add(live)
            assert status(live)["thresholds"] is None
            with device(sockets(live), "gate", lying):
                eventually(lambda: status(live)["dropped"].get("not_ready", 0) > 0, "the backlog runs over")
                loading.set()
                eventually(lambda: status(live)["frames_processed"] > 0, "frames are processed once they can be")
            assert status(live)["thresholds"] is not None
        finally:
            loading.set()
