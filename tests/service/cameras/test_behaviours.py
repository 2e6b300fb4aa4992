"""Settings of the behaviours that a camera reports only if it is asked to."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from model.behaviours import BEHAVIOURS, Gathering, Kind, Loitering, WrongWay
from service.cameras.config import CameraConfig, CameraPatch, read_cameras
from service.documents.base import Severity
from service.documents.kinds import ON_REQUEST

ZONE = ((0.0, 0.0), (1.0, 0.0), (1.0, 0.5))


def test_they_are_off_unless_a_camera_switches_them_on() -> None:
    config = CameraConfig(url="skeletons:", wrong_way={"direction_deg": 90})
    assert {Kind.WRONG_WAY, Kind.LOITERING, Kind.GATHERING} == ON_REQUEST
    assert not ON_REQUEST & config.severities.keys()
    assert config.looked_for == BEHAVIOURS


def test_a_camera_looks_for_what_it_asks_for() -> None:
    config = CameraConfig(
        url="skeletons:",
        behaviours={"loitering": "warning", "gathering": "alert", "wrong_way": "warning", "fall": "off"},
        loitering={"seconds": 120, "zone": ZONE},
        gathering={"people": 6},
        wrong_way={"direction_deg": 90},
    )
    assert config.looked_for == (*BEHAVIOURS, WrongWay(90.0), Loitering(120.0, ZONE), Gathering(6, 30.0))
    assert config.severities[Kind.GATHERING] is Severity.ALERT
    assert Kind.FALL not in config.severities
    assert CameraPatch(behaviours={}).apply(config).looked_for == BEHAVIOURS


def test_the_wrong_way_needs_a_direction() -> None:
    with pytest.raises(ValidationError, match="wrong_way needs the direction in which people are to go: set wrong_way"):
        CameraConfig(url="skeletons:", behaviours={"wrong_way": "warning"})
    assert CameraConfig(url="skeletons:", behaviours={"wrong_way": "off"}).wrong_way is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"loitering": {"seconds": 5}},
        {"loitering": {"minutes": 5}},
        {"gathering": {"people": 1}},
        {"gathering": {"seconds": 4000}},
        {"wrong_way": {}},
        {"wrong_way": {"direction_deg": 360}},
        {"wrong_way": {"direction_deg": 0, "zone": [[0, 0], [1, 1]]}},
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        CameraConfig(url="skeletons:", **wrong)


def test_they_are_read_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(
        """platform:
  url: "skeletons:"
  behaviours: {wrong_way: alert}
  wrong_way: {direction_deg: 270}
"""
    )
    assert read_cameras(file)["platform"].looked_for[-1] == WrongWay(270.0)
