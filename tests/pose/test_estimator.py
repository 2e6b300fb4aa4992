from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from pose.estimator import DOWNLOADABLE, PoseEstimator, WeightsUnavailable, find_weights
from pose.skeleton import COCO_JOINTS
from pose.source import FileSource, Frame
from tests.doubles.home import run_in_new_home


@pytest.fixture(scope="module")
def estimator(pose_weights: Path) -> PoseEstimator:
    return PoseEstimator(pose_weights, image_size=320)


@pytest.fixture(scope="module")
def crowd(test_data: Path) -> list[Frame]:
    with FileSource(test_data / "clips/ubnormal/abnormal_scene_20_scenario_6.mp4") as source:
        return [frame for frame in source if frame.sequence in (100, 101, 102)]


def test_people_are_found_upright_and_inside_the_picture(estimator: PoseEstimator, crowd: list[Frame]) -> None:
    (poses,) = estimator([crowd[0].image])
    sure = poses.confidences > 0.5
    assert sure.sum() >= 2
    height, width = crowd[0].image.shape[:2]
    assert (poses.boxes[:, :2] >= 0).all()
    assert (poses.boxes[:, 2:] <= torch.tensor([width, height])).all()
    joints = poses.keypoints[sure]
    assert joints.shape[1:] == (len(COCO_JOINTS), 3)
    nose, ankles = joints[:, 0, 1], joints[:, -2:, 1].mean(dim=1)
    assert (nose < ankles).all()


def test_a_batch_gives_what_each_picture_gives_alone(estimator: PoseEstimator, crowd: list[Frame]) -> None:
    images = [frame.image for frame in crowd]
    for together, image in zip(estimator(images), images, strict=True):
        (alone,) = estimator([image])
        torch.testing.assert_close(together.keypoints, alone.keypoints, rtol=0, atol=0.05)


def test_pictures_of_different_sizes_go_together(estimator: PoseEstimator, crowd: list[Frame]) -> None:
    small = np.ascontiguousarray(crowd[0].image[::2, ::2])
    large_poses, small_poses = estimator([crowd[0].image, small])
    assert len(large_poses) > 0
    assert len(small_poses) > 0
    assert estimator([]) == []


def test_a_picture_without_people_gives_no_poses(estimator: PoseEstimator) -> None:
    (poses,) = estimator([np.zeros((48, 64, 3), np.uint8)])
    assert len(poses) == 0
    assert poses.keypoints.shape == (0, 17, 3)


def test_both_weight_formats_agree(estimator: PoseEstimator, crowd: list[Frame]) -> None:
    other = estimator.weights.with_suffix(".pt" if estimator.weights.suffix == ".onnx" else ".onnx")
    if not other.exists():
        pytest.skip(f"there is no {other.name} beside the weights of DAFLOW_POSE_WEIGHTS")
    image = crowd[0].image
    (a,), (b,) = estimator([image]), PoseEstimator(other, image_size=320)([image])
    torch.testing.assert_close(a.keypoints, b.keypoints, rtol=0, atol=0.5)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    for name in ("weights.pt", "weights.onnx", "weights.txt"):
        path = tmp_path / name
        path.write_bytes(b"certainly not a network" * 50)
        with pytest.raises(WeightsUnavailable, match=f"{name} cannot be used for pose estimation"):
            PoseEstimator(path)


def test_weights_are_found_by_path_by_name_or_not_at_all(tmp_path: Path) -> None:
    kept = tmp_path / "yolo11n-pose.pt"
    kept.touch()
    assert find_weights(str(kept), tmp_path / "elsewhere") == kept
    assert find_weights("yolo11n-pose.pt", tmp_path) == kept
    with pytest.raises(WeightsUnavailable, match=r"no pose weights at mine\.pt; give a path, or one of the names"):
        find_weights("mine.pt", tmp_path)
    with pytest.raises(WeightsUnavailable, match="no pose weights at"):
        find_weights(str(tmp_path / "missing" / "yolo11n-pose.pt"), tmp_path)


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served in place of Ultralytics' release page."""
    folder = tmp_path / "release"
    folder.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr("pose.estimator._RELEASE", f"http://127.0.0.1:{server.server_port}")
        yield folder
        server.shutdown()
        thread.join()


def test_published_weights_are_downloaded_once(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (release / "yolov8n-pose.pt").write_bytes(bytes(200_000))
    monkeypatch.setitem(DOWNLOADABLE, "yolov8n-pose.pt", hashlib.sha256(bytes(200_000)).hexdigest())
    found = find_weights("yolov8n-pose.pt", tmp_path / "weights")
    assert found == tmp_path / "weights" / "yolov8n-pose.pt"
    assert found.read_bytes() == bytes(200_000)
    (release / "yolov8n-pose.pt").unlink()
    assert find_weights("yolov8n-pose.pt", tmp_path / "weights") == found


def test_a_download_of_other_content_is_not_used(release: Path, tmp_path: Path) -> None:
    (release / "yolov8n-pose.pt").write_bytes(bytes(200_000))
    with pytest.raises(WeightsUnavailable, match="is not what Ultralytics published: its SHA-256 is") as caught:
        find_weights("yolov8n-pose.pt", tmp_path / "weights")
    assert str(tmp_path / "weights") in str(caught.value)
    assert not list((tmp_path / "weights").glob("*"))


def test_a_download_that_is_refused_leaves_nothing(release: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="could not be downloaded"):
        find_weights("yolov8n-pose.pt", tmp_path / "weights")
    assert not list((tmp_path / "weights").glob("*"))


def test_a_failed_download_says_where_to_put_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy that refuses every connection makes the download fail on any machine.
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(WeightsUnavailable, match=r"not in .* and could not be downloaded .*; put the file there"):
        find_weights("yolov8n-pose.pt", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_ultralytics_writes_only_into_its_folder(tmp_path: Path, pose_weights: Path) -> None:
    """A first run in a new home leaves no file but the settings in the folder that it was given."""
    folder = tmp_path / "ultralytics"
    script = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from pose.estimator import PoseEstimator, configure_ultralytics\n"
        "configure_ultralytics(Path(sys.argv[1]))\n"
        "PoseEstimator(Path(sys.argv[2]), image_size=64)([np.zeros((64, 64, 3), np.uint8)])\n"
        "import ultralytics.utils as u; print(u.ONLINE, u.AUTOINSTALL)\n"
    )
    assert run_in_new_home(tmp_path / "home", script, folder, pose_weights) == ["False", "False"]
    assert any(folder.rglob("settings.json"))
