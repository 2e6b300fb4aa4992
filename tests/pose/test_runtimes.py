"""Converting pose weights for the CPU. The weights and the people are those of the small world, unless real ones are
named."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from numpy.typing import NDArray

from pose import runtimes
from pose.estimator import PRECISIONS, PoseEstimator, Poses, WeightsUnavailable
from pose.runtimes import (
    Conversion,
    ConversionFailed,
    PrecisionLacking,
    Verification,
    available_precision,
    convert,
)
from simulation.rendering import render
from simulation.scene import normal_scene
from simulation.weights import POSE_WEIGHTS
from tests.doubles.home import run_in_new_home

Pictures = list[NDArray[np.uint8]]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return [frame.image for frame in islice(render(normal_scene(7)), 0, 40, 20)]


@pytest.fixture(scope="module")
def conversion(tmp_path_factory: pytest.TempPathFactory, pictures: Pictures) -> Conversion:
    return convert(POSE_WEIGHTS, tmp_path_factory.mktemp("runtimes"), pictures)


@pytest.fixture
def never_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: object, **__: object) -> Verification:
        raise AssertionError("it was converted again")

    monkeypatch.setattr(runtimes, "_make", make)


VERSIONS = "openvino, ultralytics, torch, onnxruntime"


def record_of(conversion: Conversion) -> Path:
    return conversion.folder.with_name(conversion.folder.name.replace("_openvino_model", ".json"))


def names(conversion: Conversion) -> list[str]:
    """Of the files that belong to a conversion, sorted."""
    return sorted([record_of(conversion).name, conversion.folder.name])


def shown(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_network_runs_in_the_precision_that_was_asked_for_or_the_cpu_is_said_to_lack_it(
    precision: str, conversion: Conversion, pictures: Pictures
) -> None:
    try:
        asked = convert(POSE_WEIGHTS, conversion.folder.parent, pictures, precision=precision)
    except PrecisionLacking as lacking:
        assert precision != "float32"
        assert str(lacking).startswith(f"this CPU does not compute in {precision}; OpenVINO would compute in ")
        return
    assert (asked.folder, asked.precision) == (conversion.folder, precision)
    estimator = PoseEstimator(POSE_WEIGHTS, converted=asked.folder, precision=precision)
    estimator(pictures)
    assert (estimator.precision, estimator.runtime) == (precision, f"OpenVINO, {PRECISIONS[precision]}")


@pytest.mark.slow
def test_the_check_sees_nothing_but_the_precision(pictures: Pictures, tmp_path: Path) -> None:
    """In float32 there is nothing to see, though the pictures have several sizes, as those of Ultralytics have."""
    several = [*pictures, np.ascontiguousarray(pictures[0][:, : pictures[0].shape[1] * 2 // 3])]
    made = convert(POSE_WEIGHTS, tmp_path, several, precision="float32")
    assert made.verification.people > 2
    assert made.verification.difference < 1e-5
    bits = {"float32": 1e-5, "float16": 1e-4, "bfloat16": 1e-3}
    usual = convert(POSE_WEIGHTS, tmp_path, several)
    assert usual.precision == available_precision()
    assert usual.verification.difference < 10 * bits[usual.precision]


@pytest.mark.slow
def test_a_precision_that_the_cpu_lacks_is_refused_instead_of_another_being_used(
    conversion: Conversion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU is imagined that computes in float32 whatever it is asked for."""
    for module in ("estimator", "runtimes"):
        monkeypatch.setattr(f"pose.{module}.precision_of", lambda _: "float32")
    lacking = "this CPU does not compute in float16; OpenVINO would compute in float32"
    with pytest.raises(PrecisionLacking, match=lacking):
        convert(POSE_WEIGHTS, tmp_path / "runtimes", precision="float16")
    assert not (tmp_path / "runtimes").exists()
    with pytest.raises(WeightsUnavailable, match=lacking):
        PoseEstimator(POSE_WEIGHTS, converted=conversion.folder, precision="float16")


@pytest.mark.usefixtures("never_made")
def test_a_conversion_is_made_once(conversion: Conversion) -> None:
    assert convert(POSE_WEIGHTS, conversion.folder.parent) == conversion


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt", ".onnx"])
def test_published_weights_are_converted_and_checked_on_the_pictures_of_their_makers(
    suffix: str, pose_weights: Path, tmp_path: Path
) -> None:
    weights = pose_weights.with_suffix(suffix)
    if not weights.exists():
        pytest.skip(f"there is no {weights.name} beside the weights of DAFLOW_POSE_WEIGHTS")
    made = convert(weights, tmp_path)
    assert made.verification.people >= 4
    assert shown(tmp_path) == names(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pose.xml", "pose.bin", "metadata.yaml", "record"])
def test_what_was_cut_short_is_made_anew(name: str, conversion: Conversion, pictures: Pictures) -> None:
    broken = record_of(conversion) if name == "record" else conversion.folder / name
    content = broken.read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    again = convert(POSE_WEIGHTS, conversion.folder.parent, pictures)
    assert again == conversion
    assert broken.read_bytes() != content[: len(content) // 2]
    assert runtimes._outcomes(again.folder) == {again.precision: again.verification}
    assert PoseEstimator(POSE_WEIGHTS, converted=again.folder).runtime.startswith("OpenVINO")


def test_another_cpu_gets_a_conversion_of_its_own(
    conversion: Conversion, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = runtimes._key(POSE_WEIGHTS)
    assert key in conversion.folder.name
    monkeypatch.setattr("openvino.Core.get_property", lambda *_: "another CPU")
    assert runtimes._key(POSE_WEIGHTS) != key


@pytest.mark.slow
def test_two_that_convert_at_once_share_one_conversion(tmp_path: Path, pictures: Pictures) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: convert(POSE_WEIGHTS, tmp_path, pictures), range(2))
    assert first == second
    assert json.loads(record_of(first).read_text())["checks"][first.precision]["people"] >= 2


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


@pytest.mark.slow
def test_what_a_killed_process_left_over_is_removed(tmp_path: Path, pictures: Pictures) -> None:
    (tmp_path / ".converting-1").mkdir()
    (tmp_path / ".converting-1" / "pose.bin").touch()
    made = convert(POSE_WEIGHTS, tmp_path, pictures)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", *names(made)}


def test_the_cpu_is_used_though_there_is_a_graphics_processor(
    conversion: Conversion, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openvino.Core.available_devices", ["CPU", "GPU"])
    estimator = PoseEstimator(POSE_WEIGHTS, converted=conversion.folder)
    assert estimator.runtime.startswith("OpenVINO, ")
    assert estimator.device == torch.device("cpu")
    assert [len(poses) > 0 for poses in estimator(pictures)] == [True, True]


@pytest.mark.slow
def test_nothing_is_sent_and_nothing_written_elsewhere(tmp_path: Path, pose_weights: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from pose.estimator import configure_ultralytics; configure_ultralytics(Path(sys.argv[1]))\n"
        "from pose.runtimes import convert; convert(Path(sys.argv[2]), Path(sys.argv[3]))\n"
        "from openvino.tools.ovc import telemetry_utils; print(telemetry_utils.tm.__name__)\n"
    )
    weights = pose_weights.with_suffix(".pt") if pose_weights.with_suffix(".pt").exists() else pose_weights
    printed = run_in_new_home(tmp_path / "home", script, tmp_path / "ultralytics", weights, tmp_path / "runtimes")
    assert printed[-1] == "openvino.tools.ovc.telemetry_stub"


def other_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let OpenVINO be of another version than it is."""
    versions = runtimes._versions()
    monkeypatch.setattr(runtimes, "_versions", lambda: versions | {"openvino": "another"})


def test_a_new_conversion_replaces_those_of_other_versions_and_content(
    tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        other_version(patched)
        old = convert(POSE_WEIGHTS, tmp_path, pictures)
    failed = tmp_path / "pose-onnx-0123456789abcdef.json"
    failed.write_text("{}")
    others = ("pose-pt-0123456789abcdef", "pose-large-onnx-0123456789abcdef", "pose-onnx-mine")
    foreign = [tmp_path / f"{name}_openvino_model" for name in others]
    for folder in foreign:
        folder.mkdir()
    for path in (*tmp_path.iterdir(), old.folder):
        os.utime(path, (0, 0))
    made = convert(POSE_WEIGHTS, tmp_path, pictures)
    assert made.folder != old.folder
    assert shown(tmp_path) == sorted([*names(made), *(folder.name for folder in foreign)])


@pytest.mark.slow
def test_what_another_process_asked_for_a_moment_ago_is_left_to_it(
    tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        other_version(patched)
        old = convert(POSE_WEIGHTS, tmp_path, pictures)
        for path in (record_of(old), old.folder):
            os.utime(path, (0, 0))
        assert convert(POSE_WEIGHTS, tmp_path) == old
        assert time.time() - record_of(old).stat().st_mtime < 60
    made = convert(POSE_WEIGHTS, tmp_path, pictures)
    assert shown(tmp_path) == sorted([*names(made), *names(old)])
    assert PoseEstimator(POSE_WEIGHTS, converted=old.folder, precision=old.precision).precision == old.precision


@pytest.mark.slow
def test_precisions_that_are_asked_for_at_once_share_one_conversion(tmp_path: Path, pictures: Pictures) -> None:
    asked = [None, "float32"]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda precision: convert(POSE_WEIGHTS, tmp_path, pictures, precision=precision), asked))
    assert [each.precision for each in made] == [available_precision(), "float32"]
    assert shown(tmp_path) == names(made[0]) == names(made[1])
    assert set(json.loads(record_of(made[0]).read_text())["checks"]) == {each.precision for each in made}


@pytest.mark.slow
def test_a_failure_is_remembered_with_its_reason_until_a_version_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Pictures
) -> None:
    empty = [np.zeros((64, 64, 3), np.uint8)]
    with pytest.raises(ConversionFailed, match="finds nobody in the pictures") as first:
        convert(POSE_WEIGHTS, tmp_path, empty)
    (record,) = tmp_path.glob("*.json")
    assert shown(tmp_path) == [record.name]
    assert json.loads(record.read_text())["made_with"] == runtimes._versions()
    with monkeypatch.context() as patched:
        patched.setattr(runtimes, "PoseEstimator", None)
        with pytest.raises(ConversionFailed) as again:
            convert(POSE_WEIGHTS, tmp_path, pictures)
    assert str(again.value) == str(first.value)
    assert str(first.value).endswith(f"; this is tried again with other versions of {VERSIONS}, or without {record}")
    with monkeypatch.context() as patched:
        other_version(patched)
        assert convert(POSE_WEIGHTS, tmp_path, pictures).verification.people >= 2
    record.unlink()
    assert convert(POSE_WEIGHTS, tmp_path, pictures).verification.people >= 2


@pytest.mark.usefixtures("never_made")
def test_a_failure_in_one_precision_says_nothing_of_another(conversion: Conversion, tmp_path: Path) -> None:
    shutil.copytree(conversion.folder, tmp_path / conversion.folder.name)
    record = json.loads(record_of(conversion).read_text())
    failures = {each: f"it misses people in {each}" for each in PRECISIONS if each != conversion.precision}
    record["checks"] |= {precision: {"failed": reason} for precision, reason in failures.items()}
    (tmp_path / record_of(conversion).name).write_text(json.dumps(record))
    assert convert(POSE_WEIGHTS, tmp_path).verification == conversion.verification
    assert runtimes._outcomes(tmp_path / conversion.folder.name) == {
        **failures,
        conversion.precision: conversion.verification,
    }


def test_what_the_machine_could_not_do_is_tried_again(
    tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_memory(*_: object, **__: object) -> PoseEstimator:
        raise WeightsUnavailable("Cannot allocate memory") from MemoryError("Cannot allocate memory")

    def full_in_the_words_of_openvino(*_: object) -> Path:
        raise RuntimeError("basic_ios::clear: iostream error")

    def usage(_: object) -> Any:
        return type("Usage", (), {"free": 1000})

    for failing in (full, full_in_the_words_of_openvino):
        with monkeypatch.context() as patched:
            patched.setattr(runtimes, "_from_onnx", failing)
            patched.setattr("shutil.disk_usage", usage)
            with pytest.raises(ConversionFailed, match=r"pose\.onnx cannot be converted: .*No space left on device$"):
                convert(POSE_WEIGHTS, tmp_path, pictures)
        assert shown(tmp_path) == []
    original = PoseEstimator(POSE_WEIGHTS)
    with monkeypatch.context() as patched:
        patched.setattr(runtimes, "PoseEstimator", no_memory)
        with pytest.raises(MemoryError):
            runtimes._make(original, tmp_path / "pose_openvino_model", "float32", pictures, intact=False)
    assert shown(tmp_path) == []
    assert convert(POSE_WEIGHTS, tmp_path, pictures).verification.people >= 2


def test_a_conversion_that_does_not_run_fails_and_is_remembered(
    tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenVINO compiles nothing that pools on CPUs of some kinds."""

    def estimator(weights: Path, converted: Path | None = None, **options: Any) -> PoseEstimator:
        if converted is None:
            return PoseEstimator(weights, **options)
        raise WeightsUnavailable("Supported primitive descriptors list is empty for node: /model.9/m/MaxPool")

    monkeypatch.setattr(runtimes, "PoseEstimator", estimator)
    for _ in range(2):
        with pytest.raises(ConversionFailed, match="the converted network does not run: Supported primitive"):
            convert(POSE_WEIGHTS, tmp_path, pictures)
        monkeypatch.setattr(runtimes, "PoseEstimator", None)
