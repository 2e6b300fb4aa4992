"""Converting pose weights for the CPU. The weights and the people are those of the small world, unless real ones are
named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray

from pose import runtimes
from pose.estimator import PoseEstimator, Poses, WeightsUnavailable
from pose.runtimes import Conversion, ConversionFailed, Verification, convert
from simulation.rendering import render
from simulation.scene import normal_scene
from simulation.weights import POSE_WEIGHTS

Pictures = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return [frame.image for frame in islice(render(normal_scene(7)), 0, 40, 20)]


@pytest.fixture(scope="module")
def conversion(tmp_path_factory: pytest.TempPathFactory, pictures: Pictures) -> Conversion:
    return convert(POSE_WEIGHTS, tmp_path_factory.mktemp("runtimes"), pictures)


@pytest.fixture
def never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: object) -> Verification:
        raise AssertionError("it was converted again")

    monkeypatch.setattr(runtimes, "_make", make)


def one(x: float = 0.0, confidence: float = 0.9, joints: float = 0.9, left: float = 0.0) -> Poses:
    """One person 100 pixels high, whose joints lie `x` pixels from where they should."""
    keypoints = torch.full((1, 17, 3), 50.0)
    keypoints[..., 0] += left + x
    keypoints[..., 2] = joints
    return Poses(torch.tensor([[left, 0.0, left + 60.0, 100.0]]), keypoints, torch.tensor([confidence]))


def together(*people: Poses) -> Poses:
    return Poses(
        *(torch.cat([getattr(each, name) for each in people]) for name in ("boxes", "keypoints", "confidences"))
    )


NOBODY = Poses(torch.empty(0, 4), torch.empty(0, 17, 3), torch.empty(0))


def test_a_converted_network_finds_the_same_people(conversion: Conversion, pictures: Pictures) -> None:
    assert conversion.verification.people >= 2
    assert conversion.verification.difference < 0.01
    original, converted = PoseEstimator(POSE_WEIGHTS), PoseEstimator(POSE_WEIGHTS, converted=conversion.folder)
    assert original.runtime == "ONNX Runtime"
    assert converted.runtime.startswith("OpenVINO, ")
    assert converted.weights == POSE_WEIGHTS
    assert Verification.compare(original(pictures), converted(pictures)).people == conversion.verification.people


@pytest.mark.usefixtures("never_made")
def test_a_conversion_is_made_once(conversion: Conversion) -> None:
    assert convert(POSE_WEIGHTS, conversion.folder.parent) == conversion


@pytest.mark.parametrize("suffix", [".pt", ".onnx"])
def test_published_weights_are_converted_and_checked_on_the_pictures_of_their_makers(
    suffix: str, pose_weights: Path, tmp_path: Path
) -> None:
    weights = pose_weights.with_suffix(suffix)
    if not weights.exists():
        pytest.skip(f"there is no {weights.name} beside the weights of DAFLOW_POSE_WEIGHTS")
    made = convert(weights, tmp_path)
    assert made.verification.people >= 4
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [made.folder.name]


@pytest.mark.parametrize("name", ["pose.xml", "pose.bin", "metadata.yaml", "verified.json"])
def test_what_was_cut_short_is_made_anew(name: str, conversion: Conversion, pictures: Pictures) -> None:
    broken = conversion.folder / name
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    again = convert(POSE_WEIGHTS, conversion.folder.parent, pictures)
    assert again == conversion
    assert len(broken.read_bytes()) > 0.9 * len(content)
    assert PoseEstimator(POSE_WEIGHTS, converted=again.folder).runtime.startswith("OpenVINO")


def test_another_cpu_gets_a_conversion_of_its_own(
    conversion: Conversion, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = runtimes._key(POSE_WEIGHTS)
    assert key in conversion.folder.name
    monkeypatch.setattr("openvino.Core.get_property", lambda *_: "another CPU")
    assert runtimes._key(POSE_WEIGHTS) != key


def test_two_that_convert_at_once_share_one_conversion(tmp_path: Path, pictures: Pictures) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: convert(POSE_WEIGHTS, tmp_path, pictures), range(2))
    assert first == second
    assert json.loads((first.folder / "verified.json").read_text())["verification"]["people"] >= 2


@pytest.mark.parametrize("name", ["weights.onnx", "weights.pt"])
def test_what_is_no_network_cannot_be_converted(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"certainly not a network" * 50)
    with pytest.raises(WeightsUnavailable, match=f"{name} cannot be used for pose estimation"):
        convert(path, tmp_path / "runtimes")
    assert [path.name for path in (tmp_path / "runtimes").iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "runtimes").touch()
    with pytest.raises(ConversionFailed, match=r"pose\.onnx cannot be converted: .*runtimes"):
        convert(POSE_WEIGHTS, tmp_path / "runtimes")


def test_the_check_says_how_many_people_and_how_far_apart() -> None:
    assert Verification.compare([one(), one()], [one(0.5), one()]) == Verification(2, pytest.approx(0.0025))
    both = together(one(), one(left=100.0))
    assert Verification.compare([both], [together(one(left=100.0), one())]) == Verification(2, 0.0)


def some_elsewhere() -> Poses:
    poses = one()
    poses.keypoints[0, :2, 0] += 9.0
    return poses


@pytest.mark.parametrize(
    ("original", "converted", "why"),
    [
        (one(), NOBODY, "misses 1 people"),
        (one(), one(left=30.0), "misses 1 people"),
        (one(), one(confidence=0.1), "misses 1 people"),
        (together(one(), one()), one(), "misses 1 people"),
        (one(), together(one(), one(left=100.0)), "finds people whom the original does not"),
        (one(), one(2.0), r"2\.0% of a body height away"),
        (one(), one(float("nan")), "nan% of a body height away"),
        (one(), some_elsewhere(), "12% are missing or elsewhere"),
        (one(), one(joints=0.1), "100% are missing or elsewhere"),
        (NOBODY, NOBODY, "finds nobody in the pictures"),
    ],
)
def test_people_who_are_not_the_same_fail_the_check(original: Poses, converted: Poses, why: str) -> None:
    with pytest.raises(ConversionFailed, match=why):
        Verification.compare([original], [converted])


def test_what_neither_is_sure_of_is_not_compared() -> None:
    unsure = one(confidence=0.3, left=100.0)
    found = Verification.compare([one(), unsure, one(joints=0.3)], [one(), NOBODY, one(9.0)])
    assert found == Verification(2, 0.0)


def test_weights_with_their_numbers_in_another_file_are_known_by_both(tmp_path: Path) -> None:
    weights = tmp_path / "pose.onnx"
    weights.write_bytes(b"graph")
    keys = {runtimes._key(weights)}
    for name in ("pose.onnx.data", "pose.data"):
        (tmp_path / name).write_bytes(b"numbers")
        keys.add(runtimes._key(weights))
    (tmp_path / "pose.data").write_bytes(b"others")
    assert len(keys | {runtimes._key(weights)}) == 4


@pytest.mark.usefixtures("never_made")
def test_what_is_there_is_used_though_nothing_can_be_written(conversion: Conversion) -> None:
    with FileLock(conversion.folder.parent / ".lock"):
        assert convert(POSE_WEIGHTS, conversion.folder.parent) == conversion


def test_somebody_who_converts_for_too_long_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "_PATIENCE_S", 0.1)
    with FileLock(tmp_path / ".lock"), pytest.raises(ConversionFailed, match="another process has been converting in"):
        convert(POSE_WEIGHTS, tmp_path)


def test_what_a_killed_process_left_over_is_removed(tmp_path: Path, pictures: Pictures) -> None:
    (tmp_path / ".converting-1").mkdir()
    (tmp_path / ".converting-1" / "pose.bin").touch()
    made = convert(POSE_WEIGHTS, tmp_path, pictures)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", made.folder.name}


def test_the_cpu_is_used_though_there_is_a_graphics_processor(
    conversion: Conversion, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openvino.Core.available_devices", ["CPU", "GPU"])
    estimator = PoseEstimator(POSE_WEIGHTS, converted=conversion.folder)
    assert estimator.runtime.startswith("OpenVINO, ")
    assert estimator.device == torch.device("cpu")
    assert [len(poses) > 0 for poses in estimator(pictures)] == [True, True]


def test_nothing_is_sent_and_nothing_written_elsewhere(tmp_path: Path, pose_weights: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    script = (
        "import sys; from pathlib import Path\n"
        "from pose.estimator import configure_ultralytics; configure_ultralytics(Path(sys.argv[1]))\n"
        "from pose.runtimes import convert; convert(Path(sys.argv[2]), Path(sys.argv[3]))\n"
        "from openvino.tools.ovc import telemetry_utils; print(telemetry_utils.tm.__name__)\n"
    )
    weights = pose_weights.with_suffix(".pt") if pose_weights.with_suffix(".pt").exists() else pose_weights
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "ultralytics"), str(weights), str(tmp_path / "runtimes")],
        cwd=home,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "openvino.tools.ovc.telemetry_stub"
    assert list(home.rglob("*")) == []
