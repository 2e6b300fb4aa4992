"""Routes of calibrations over real HTTP; how a camera is calibrated is tested with the calibrator."""

from __future__ import annotations

from typing import Any

from service.api.problems import Kind
from tests.doubles.servers import LiveServer, eventually
from tests.doubles.subscribers import device
from tests.service.api.test_clips import problem

ADDRESS = "/v1/cameras/gate/calibration"


def status(live: LiveServer) -> dict[str, Any]:
    document: dict[str, Any] = live.client.get(ADDRESS).json()
    return document


def test_a_calibration_runs_once_at_a_time_and_can_be_cancelled(live: LiveServer) -> None:
    live.client.put("/v1/cameras/gate", json={"url": "skeletons:"})
    assert (status(live)["state"], status(live)["active"]) == (None, None)
    with device(live, "gate"):
        begun = live.client.post(ADDRESS, json={"seconds": 3600})
        assert (begun.status_code, begun.json()["state"]) == (202, "gathering")
        problem(live.client.post(ADDRESS, json={"seconds": 3600}), Kind.CALIBRATION_RUNNING)
        eventually(lambda: status(live)["gathered_s"] > 0.5, "footage is gathered")
        assert live.client.delete(ADDRESS).status_code == 204
        eventually(lambda: status(live)["state"] == "cancelled", "it is cancelled")
    assert live.client.post(f"{ADDRESS}/rollback").json()["active"] is None


def test_a_calibration_that_cannot_be_is_refused(live: LiveServer) -> None:
    live.client.put("/v1/cameras/gate", json={"url": "skeletons:", "enabled": False})
    problem(live.client.post(ADDRESS, json={"seconds": 60}), Kind.CALIBRATION_REFUSED)
    problem(live.client.post(ADDRESS, json={"clip": "nobody"}), Kind.CLIP_NOT_FOUND)
    problem(live.client.post(ADDRESS, json={"seconds": 60, "clip": "nobody"}), Kind.INVALID_REQUEST)
    problem(live.client.post(ADDRESS), Kind.INVALID_REQUEST)
