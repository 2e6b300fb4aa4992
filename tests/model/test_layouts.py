"""Small data sets in every layout, with the traps of the real ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from model.dataset import SUFFIX, DatasetError, abnormal_windows, clip_windows, transposed
from model.layouts import FRAME_RATES_HZ, LAYOUTS, Layout, layout_named, pictures_in, read_dataset
from pose.windows import WindowSpec
from tests.model.skeletons import entry, swaying, write_clip

SPEC = WindowSpec(length=8, rate_hz=15.0)


def people(frames: int, *, digits: int = 4) -> dict[str, object]:
    """Two people; keys padded with zeros, as AlphaPose's are."""
    poses = swaying(frames, 0)
    return {
        str(person): {
            f"{frame:0{digits}d}": {"keypoints": poses[frame].ravel().tolist(), "scores": 2.5}
            for frame in range(frames)
        }
        for person in (2, 11)
    }


def write_mask(folder: Path, name: str, values: Sequence[float], dtype: type = np.int64) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npy"
    np.save(path, np.array(values, dtype))
    return path


def write_tracks(gt: Path, name: str, normal: Sequence[float]) -> Path:
    """UBnormal's labels of a test clip: a NumPy file under a text file's name."""
    gt.mkdir(parents=True, exist_ok=True)
    path = gt / f"{name}_tracks.txt"
    with path.open("wb") as stream:
        np.save(stream, np.array(normal, np.float64))
    return path


def write_picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.astype(np.uint8)).save(path)


def shanghaitech(root: Path) -> Path:
    write_clip(root / "pose" / "train", "01_001", people(30))
    for name in ("01_0014", "01_0130", "06_144"):
        write_clip(root / "pose" / "test", name, people(21))
    for name, frames in (("01_0014", 25), ("01_0130", 21), ("06_0144", 21), ("12_0152", 4), ("12_0175", 6)):
        write_mask(root / "gt" / "test_frame_mask", name, [0] * (frames - 2) + [1, 1], np.int8)
    return root


def ubnormal(root: Path) -> Path:
    write_clip(root / "pose" / "train", "normal_scene_1_scenario_1", people(30))
    write_clip(root / "pose" / "test", "abnormal_scene_2_scenario_3_fog", people(20))
    write_clip(root / "pose" / "test", "normal_scene_1_scenario1_10", people(20))
    write_tracks(root / "gt", "abnormal_scene_2_scenario_3_fog", [1] * 15 + [0] * 5)
    write_tracks(root / "gt", "normal_scene_1_scenario1_10", [1] * 20)
    return root


def videos(root: Path, *names: str) -> None:
    """Files that only have to be there."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def standing(x: float, y: float) -> list[float]:
    """All joints in one place."""
    return [x, y, 0.9] * 17


@pytest.mark.parametrize(("length", "stride"), [(8, 6), (8, 1), (24, 6)])
def test_published_windows_of_a_layout_are_as_many_as_in_stgnf(tmp_path: Path, length: int, stride: int) -> None:
    (clip,) = read_dataset("shanghaitech", shanghaitech(tmp_path), splits=("train",)).train
    spec = WindowSpec(length=length, rate_hz=15.0)
    windows = clip_windows(clip, spec, frame_rate_hz=24.0, slicing="published", stride=stride)
    assert len(windows) == 2 * math.ceil((30 - length) / stride)


def test_a_person_seen_for_exactly_one_window_yields_none_when_published(tmp_path: Path) -> None:
    write_clip(tmp_path / "pose" / "train", "01_001", people(8))
    (clip,) = read_dataset("shanghaitech", tmp_path, splits=("train",)).train
    assert len(clip_windows(clip, SPEC, frame_rate_hz=24.0, slicing="published")) == 0


@pytest.mark.parametrize(("length", "stride", "last"), [(8, 1, 21), (8, 22, 0), (10, 10, 10)])
def test_the_last_full_window_is_dropped_when_published_and_kept_on_the_grid(
    tmp_path: Path, length: int, stride: int, last: int
) -> None:
    """Windows could start in frames 0 to 30 - T; the last of those is never used."""
    (clip,) = read_dataset("shanghaitech", shanghaitech(tmp_path), splits=("train",), frame_rate_hz=15.0).train
    spec = WindowSpec(length=length, rate_hz=15.0)
    cut = {
        slicing: clip_windows(clip, spec, frame_rate_hz=15.0, slicing=slicing, stride=stride).end_times.max()
        for slicing in ("published", "grid")
    }
    starts = {slicing: round(end * 15.0) - length + 1 for slicing, end in cut.items()}
    assert starts == {"published": last, "grid": 30 - length}


@pytest.mark.parametrize(("missing", "kept"), [(2, True), (3, False)])
def test_a_published_window_may_lack_two_of_its_frames(tmp_path: Path, missing: int, kept: bool) -> None:
    frames = [0, 1, 2, 3, *range(4 + missing, 9 + missing)]
    poses = swaying(20, 0)
    person = {f"{frame:04d}": {"keypoints": poses[frame].ravel().tolist(), "scores": 1.0} for frame in frames}
    write_clip(tmp_path / "pose" / "train", "01_001", {"1": person})
    (clip,) = read_dataset("shanghaitech", tmp_path, splits=("train",)).train
    windows = clip_windows(clip, WindowSpec(8, 24.0), frame_rate_hz=24.0, slicing="published")
    assert len(windows) == kept


def test_keys_sorted_as_text_lose_the_order_of_time_only_where_they_are_not_padded(tmp_path: Path) -> None:
    """The last window starts at frame 111 of 120; of keys without zeros the text "84" comes there."""
    spec = WindowSpec(length=8, rate_hz=15.0)
    same = {}
    for digits in (1, 4):
        folder = tmp_path / str(digits)
        write_clip(folder / "pose" / "train", "01_001", people(120, digits=digits))
        (clip,) = read_dataset("poselift", folder, splits=("train",), axes="xy").train
        ordered, scrambled = (
            clip_windows(clip, spec, frame_rate_hz=15.0, slicing=slicing) for slicing in ("published", "scrambled")
        )
        np.testing.assert_array_equal(ordered.end_times, scrambled.end_times)
        same[digits] = bool(np.allclose(ordered.tensor.numpy(), scrambled.tensor.numpy()))
    assert same == {1: False, 4: True}


@pytest.mark.slow
def test_poselift_reads_all_of_it(test_data: Path) -> None:
    data = read_dataset("poselift", test_data / "poselift")
    assert (len(data.train), len(data.test), data.frame_rate_hz) == (104, 47, 15.0)
    assert sum(len(clip.tracks) for clip in data.train) == 566
    assert sum(len(track.frames) for clip in data.train for track in clip.tracks) == 79_632
    assert set(data.labels) == {clip.name for clip in data.test}
    assert sum(len(own) for own in data.labels.values()) == 4_846
    assert sum(int(own.sum()) for own in data.labels.values()) == 1_534
    assert not data.judged
    assert not data.train_abnormal
    stored = read_dataset("poselift", test_data / "poselift", axes="xy")
    for upright, lying in ((data.train, stored.train), (data.test, stored.test)):
        assert not transposed(upright)
        assert transposed(lying)


def test_axes_are_detected_only_in_layouts_whose_files_may_hold_y_first(tmp_path: Path) -> None:
    """The people of these files lie on their sides."""
    expected = swaying(60, 0)
    for name in LAYOUTS:
        if name in ("json", "videos"):
            continue
        write_clip(tmp_path / name / "pose" / "train", "01_001", people(60))
        write_clip(tmp_path / name / "pose" / "abnormal_train", "normal_scene_1_scenario_1", people(60))
        for axes, first in (("auto", int(name == "poselift")), ("xy", 0), ("yx", 1)):
            (clip,) = read_dataset(name, tmp_path / name, splits=("train",), axes=axes).train
            np.testing.assert_allclose(clip.tracks[0].keypoints[..., 0].numpy(), expected[..., first], rtol=1e-6)
    write_clip(tmp_path / "own", "yard", people(60))
    (clip,) = read_dataset("json", tmp_path / "own", splits=("train",), frame_rate_hz=15.0).train
    np.testing.assert_allclose(clip.tracks[0].keypoints[..., 0].numpy(), expected[..., 1], rtol=1e-6)
    (tmp_path / "own" / "yard.meta.json").write_text('{"fps": 15.0}')
    (clip,) = read_dataset("json", tmp_path / "own", splits=("train",)).train
    np.testing.assert_allclose(clip.tracks[0].keypoints[..., 0].numpy(), expected[..., 0], rtol=1e-6)


@pytest.mark.parametrize("digits", [1, 4])
def test_time_is_in_order_whether_frame_keys_are_padded_or_not(tmp_path: Path, digits: int) -> None:
    write_clip(tmp_path / "pose" / "train", "01_001", people(120, digits=digits))
    (clip,) = read_dataset("poselift", tmp_path, splits=("train",), axes="xy").train
    for track in clip.tracks:
        assert track.frames.tolist() == list(range(120))
        np.testing.assert_allclose(track.keypoints.numpy(), swaying(120, 0), rtol=1e-6)


def test_shanghaitech_matches_masks_by_number_and_counts_clips_in_which_nobody_was_seen(tmp_path: Path) -> None:
    data = read_dataset("shanghaitech", shanghaitech(tmp_path))
    assert data.frame_rate_hz == 24.0
    assert [clip.name for clip in data.train] == ["01_001"]
    assert [clip.name for clip in data.test] == ["01_0014", "01_0130", "06_144", "12_0152", "12_0175"]
    assert [len(clip.tracks) for clip in data.test] == [2, 2, 2, 0, 0]
    assert data.labels["01_0014"].tolist() == [0] * 23 + [1, 1]
    assert len(data.labels["06_144"]) == 21
    assert set(data.labels) == {clip.name for clip in data.test}


def test_the_human_related_shanghaitech_leaves_out_six_test_clips_by_scene_and_number(tmp_path: Path) -> None:
    left_out = ("01_0135", "01_0136", "06_0145")
    near = ("01_0131", "01_0144", "02_0130", "06_0143", "12_0145")
    masks = shanghaitech(tmp_path) / "gt" / "test_frame_mask"
    for name in (*left_out, *near):
        write_mask(masks, name, [0, 1])
    data = read_dataset("shanghaitech-hr", tmp_path)
    assert [clip.name for clip in data.test] == sorted(["01_0014", "12_0175", *near])
    assert set(data.labels) == {clip.name for clip in data.test}
    assert len(read_dataset("shanghaitech", tmp_path).test) == len(data.test) + 6
    assert len(data.train) == 1


def test_a_split_that_is_not_asked_for_may_be_missing(tmp_path: Path) -> None:
    write_clip(tmp_path / "pose" / "train", "01_001", people(30))
    data = read_dataset("shanghaitech", tmp_path, splits=("train",), frame_rate_hz=12.0)
    assert (len(data.train), data.test, dict(data.labels), data.frame_rate_hz) == (1, (), {}, 12.0)


def test_ubnormal_inverts_its_labels(tmp_path: Path) -> None:
    data = read_dataset("ubnormal", ubnormal(tmp_path))
    assert data.frame_rate_hz == 30.0
    assert data.labels["abnormal_scene_2_scenario_3_fog"].tolist() == [0] * 15 + [1] * 5
    assert data.labels["normal_scene_1_scenario1_10"].tolist() == [0] * 20
    assert [clip.camera for clip in data.test] == ["2", "1"]


def test_ubnormal_hr_masks_say_which_frames_count(tmp_path: Path) -> None:
    masks = ubnormal(tmp_path) / "hr_bool_masks" / "testing" / "test_frame_mask"
    write_mask(masks, "002_0351", [1] * 12 + [0] * 8, np.bool_)
    write_mask(masks, "normal_scene_1_scenario1_10", [1] * 20, np.bool_)
    data = read_dataset("ubnormal-hr", tmp_path)
    assert data.judged["abnormal_scene_2_scenario_3_fog"].tolist() == [True] * 12 + [False] * 8
    assert data.judged["normal_scene_1_scenario1_10"].all()
    assert len(data.labels["abnormal_scene_2_scenario_3_fog"]) == 20


def test_supervised_ubnormal_marks_poses_that_stand_on_an_abnormal_object_while_it_is_abnormal(tmp_path: Path) -> None:
    write_clip(ubnormal(tmp_path) / "pose" / "abnormal_train", "normal_scene_3_scenario_1", people(9))
    name, frames = "abnormal_scene_3_scenario_2", 20
    on, off = standing(30.9, 20.0), standing(5.0, 5.0)
    outside = standing(500.0, -3.0)
    split = [30.0, 20.0, 0.9] * 9 + [5.0, 5.0, 0.9] * 8
    poses = {"1": on, "2": off, "3": outside, "4": split}
    entries = {
        person: {str(frame): {"keypoints": pose, "scores": 1.0} for frame in range(frames)}
        for person, pose in poses.items()
    }
    write_clip(tmp_path / "pose" / "abnormal_train", name, entries)
    (tmp_path / "gt" / f"{name}_tracks.txt").write_bytes(b"8.0e+00,5.0e+00,1.2e+01\r\n3,0,2\r\n")
    picture = np.zeros((40, 60))
    picture[10:30, 20:31] = 8
    picture[0, 59] = 8
    picture[:10, :10] = 9
    for frame in range(frames):
        write_picture(tmp_path / "videos" / "Scene3" / f"{name}_annotations" / f"{name}_{frame}_gt.png", picture)
    data = read_dataset("ubnormal-supervised", tmp_path, splits=("train",))
    assert [clip.name for clip in data.train_abnormal] == [name, "normal_scene_3_scenario_1"]
    clip, normal = data.train_abnormal
    marks = {track.person: np.flatnonzero(track.abnormal).tolist() for track in clip.tracks}
    # Nine joints of 17 and no neck, which lies between the shoulders, make nine or ten of 18.
    assert marks == {1: list(range(5, 12)), 2: [], 3: list(range(5, 12)), 4: list(range(5, 12))}
    assert not any(track.abnormal.any() for track in normal.tracks)
    for slicing in ("published", "grid"):
        windows = clip_windows(clip, WindowSpec(8, 30.0), frame_rate_hz=30.0, slicing=slicing)
        abnormal = abnormal_windows(clip, windows, WindowSpec(8, 30.0), frame_rate_hz=30.0)
        first = np.rint(windows.end_times * 30 - 7).astype(int)
        assert abnormal.tolist() == ((windows.track_ids != 2) & (first >= 5) & (first < 12)).tolist()
        assert abnormal.any()


def test_avenue_reads_a_mask_for_each_frame_from_matlab_by_number(tmp_path: Path) -> None:
    for split, name in (("train", "01"), ("train", "02"), ("test", "01"), ("test", "10")):
        write_clip(tmp_path / "pose" / split, name, people(6))
    labels = tmp_path / "ground_truth_demo" / "testing_label_mask"
    labels.mkdir(parents=True)
    for number, anomalous in ((1, [2, 3]), (10, [])):
        volume = np.empty((1, 6), object)
        for frame in range(6):
            volume[0, frame] = np.zeros((4, 5), np.uint8)
            volume[0, frame][1, 1] = frame in anomalous
        savemat(labels / f"{number}_label.mat", {"volLabel": volume})
    data = read_dataset("avenue", tmp_path)
    assert data.frame_rate_hz == 25.0
    assert {name: own.tolist() for name, own in data.labels.items()} == {"01": [0, 0, 1, 1, 0, 0], "10": [0] * 6}
    assert {clip.camera for clip in (*data.train, *data.test)} == {"avenue"}


def ped2(root: Path) -> Path:
    for split, count in (("Train", 2), ("Test", 2)):
        for number in range(1, count + 1):
            for frame in range(1, 13):
                write_picture(root / split / f"{split}{number:03d}" / f"{frame:03d}.tif", np.zeros((4, 4)))
            write_clip(root / "pose" / split.lower(), f"{split}{number:03d}", people(12))
    return root


def test_ped2_reads_ranges_from_its_script_that_count_from_one_and_include_the_end(tmp_path: Path) -> None:
    script = (
        "TestVideoFile = {};\nTestVideoFile{end+1}.gt_frame = [2:4, 12];\nTestVideoFile{end+1}.gt_frame = [1:12];\n"
    )
    (ped2(tmp_path) / "Test" / "UCSDped2.m").write_text(script)
    (tmp_path / "Test" / ".DS_Store").write_bytes(b"")
    data = read_dataset("ped2", tmp_path)
    assert data.frame_rate_hz == 10.0
    assert data.labels["Test001"].tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert data.labels["Test002"].tolist() == [1] * 12
    assert {clip.camera for clip in (*data.train, *data.test)} == {"ped2"}


def test_ped2_reads_its_masks_where_there_is_no_script(tmp_path: Path) -> None:
    ped2(tmp_path)
    for name, anomalous in (("Test001", {3}), ("Test002", set())):
        for frame in range(1, 13):
            mask = np.zeros((4, 4))
            mask[2, 2] = 255 * (frame in anomalous)
            write_picture(tmp_path / "Test" / f"{name}_gt" / f"frame{frame}.bmp", mask)
    data = read_dataset("ped2", tmp_path)
    assert [clip.name for clip in data.test] == ["Test001", "Test002"]
    assert np.flatnonzero(data.labels["Test001"]).tolist() == [2]
    assert not data.labels["Test002"].any()


def test_pictures_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10.tif", "9.tif", "._9.tif", "100.TIF", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in pictures_in(tmp_path)] == ["9.tif", "10.tif", "100.TIF"]


def test_poses_that_are_missing_are_made_by_the_extractor_and_no_others(tmp_path: Path) -> None:
    videos(tmp_path, "train/yard.mp4", "train/gate.mkv", "train/notes.txt", "test/night.mp4")
    write_clip(tmp_path / "pose" / "train", "gate", people(9))
    asked: list[tuple[list[str], Path, float | None]] = []

    def extractor(sources: Sequence[Path], folder: Path, rate: float | None) -> None:
        asked.append(([path.name for path in sources], folder, rate))
        for path in sources:
            write_clip(folder, path.stem, people(9))
            (folder / f"{path.stem}.meta.json").write_text(json.dumps({"fps": 29.97}))

    data = read_dataset("videos", tmp_path, extractor=extractor)
    assert asked == [
        (["yard.mp4"], tmp_path / "pose/train", None),
        (["night.mp4"], tmp_path / "pose/test", None),
    ]
    assert [clip.name for clip in data.train] == ["gate", "yard"]
    assert {clip.camera for clip in data.train} == {tmp_path.name}
    assert data.frame_rate_hz == pytest.approx(29.97)
    assert not data.labels


def test_json_takes_a_plain_folder_for_training_and_labels_where_there_are_some(tmp_path: Path) -> None:
    write_clip(tmp_path / "plain", "yard", people(9))
    data = read_dataset("json", tmp_path / "plain", splits=("train",), frame_rate_hz=12.5)
    assert ([clip.name for clip in data.train], data.frame_rate_hz) == (["yard"], 12.5)
    for split, name in (("train", "05_001"), ("train", "gate"), ("test", "gate")):
        write_clip(tmp_path / "both" / split, name, people(9))
    write_mask(tmp_path / "both" / "gt", "gate", [0] * 8 + [1])
    data = read_dataset("json", tmp_path / "both", frame_rate_hz=12.5)
    assert [clip.camera for clip in data.train] == ["05", "both"]
    assert data.labels["gate"].tolist() == [0] * 8 + [1]


def test_list_entries_and_missing_confidences_are_read_in_every_layout(tmp_path: Path) -> None:
    poses = swaying(20, 0)
    poses[3, 4, 2] = np.nan
    write_clip(tmp_path, "yard", {"1": [entry(poses[10:], 10), entry(poses[:10])]})
    (clip,) = read_dataset("json", tmp_path, splits=("train",), frame_rate_hz=15.0).train
    assert clip.tracks[0].frames.tolist() == list(range(20))
    assert clip.tracks[0].keypoints[3, 4, 2] == pytest.approx(0.05)


def test_every_layout_has_a_name_and_published_ones_a_frame_rate() -> None:
    assert {layout_named(name) for name in LAYOUTS} == set(LAYOUTS)
    assert set(FRAME_RATES_HZ) == set(LAYOUTS) - {"json", "videos"}
    with pytest.raises(DatasetError, match="there is no layout 'kinetics'; there are poselift, shanghaitech,"):
        layout_named("kinetics")


def refusal(layout: Layout, folder: Path, **options: object) -> str:
    with pytest.raises(DatasetError) as refused:
        read_dataset(layout, folder, **options)
    return str(refused.value).replace(str(folder), "DATA")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    assert refusal("poselift", tmp_path / "none") == "DATA: there is no such folder"
    nothing = f"DATA/pose/train: no files named *{SUFFIX}; there is no such folder"
    assert refusal("shanghaitech", tmp_path, splits=("train",)) == nothing
    empty = tmp_path / "empty"
    empty.mkdir()
    neither = f"DATA: expected training_videos/*.avi, or their poses *{SUFFIX} in pose/train; there is neither"
    assert refusal("avenue", empty) == neither
    videos(tmp_path, "training_videos/01.avi", "training_videos/02.avi")
    assert refusal("avenue", tmp_path) == (
        "DATA/training_videos/01.avi: 2 of 2 clips have no poses in DATA/pose/train; "
        "make them with: daflow extract DATA/training_videos/*.avi --output DATA/pose/train"
    )


def test_a_test_clip_without_mask_is_refused(tmp_path: Path) -> None:
    (shanghaitech(tmp_path) / "gt" / "test_frame_mask" / "01_0014.npy").unlink()
    assert refusal("shanghaitech", tmp_path) == (
        "DATA/gt/test_frame_mask/01_0014.npy: the mask of a test clip is missing"
    )


def test_labels_in_the_wrong_one_of_ubnormals_two_formats_are_refused(tmp_path: Path) -> None:
    name = "abnormal_scene_2_scenario_3_fog"
    path = ubnormal(tmp_path) / "gt" / f"{name}_tracks.txt"
    path.write_text("1,0,450\n")
    assert "expected frame labels as a NumPy file in spite of its name, got text" in refusal("ubnormal", tmp_path)
    write_tracks(tmp_path / "gt", name, [0, 2])
    assert refusal("ubnormal", tmp_path) == f"DATA/gt/{name}_tracks.txt: expected a vector of 0 and 1, got shape (2,)"
    path.unlink()
    assert refusal("ubnormal", tmp_path) == f"DATA/gt/{name}_tracks.txt: the labels of a test clip are missing"
    write_tracks(tmp_path / "gt", name, [1] * 15)
    write_clip(tmp_path / "pose" / "abnormal_train", name, people(3))
    supervised = refusal("ubnormal-supervised", tmp_path, splits=("train",))
    assert supervised.endswith("expected lines of object,start,end, got a NumPy file, which test clips have")
    path.write_text("1,0,450\n1;2\n")
    supervised = refusal("ubnormal-supervised", tmp_path, splits=("train",))
    assert supervised == f"DATA/gt/{name}_tracks.txt, line 2: expected object,start,end, got '1;2'"
    path.write_text("1,0,450\n")
    annotations = tmp_path / "videos" / "Scene2" / f"{name}_annotations"
    assert refusal("ubnormal-supervised", tmp_path, splits=("train",)) == (
        f"DATA/videos/Scene2/{name}_annotations: no annotations *.png; expected a picture for each frame of {name}"
    )
    write_picture(annotations / "0.png", np.zeros((4, 4)))
    assert "no picture of frame 1; there are 1" in refusal("ubnormal-supervised", tmp_path, splits=("train",))
    whole = (annotations / "0.png").read_bytes()
    for content in (b"rubbish", b"", whole[:20], whole[:45]):
        (annotations / "0.png").write_bytes(content)
        assert "0.png: cannot be read as a picture" in refusal("ubnormal-supervised", tmp_path, splits=("train",))
    (annotations / "0.png").rename(annotations / "0.jpg")
    assert "0.jpg: expected a picture of labels as .bmp, .png" in refusal(
        "ubnormal-supervised", tmp_path, splits=("train",)
    )


def test_a_mask_of_frames_that_count_must_fit(tmp_path: Path) -> None:
    masks = ubnormal(tmp_path) / "hr_bool_masks" / "testing" / "test_frame_mask"
    message = refusal("ubnormal-hr", tmp_path)
    assert "abnormal_scene_2_scenario_3_fog.npy or " in message
    assert message.endswith("002_0351.npy: the mask of the frames that count is missing")
    write_mask(masks, "002_0351", [1] * 12, np.bool_)
    assert "expected 20 of True and False, as many as abnormal_scene_2_scenario_3_fog has labels, got 12" in refusal(
        "ubnormal-hr", tmp_path
    )


def test_labels_of_avenue_and_ped2_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    avenue, roads = tmp_path / "avenue", ped2(tmp_path / "ped2")
    for split in ("train", "test"):
        write_clip(avenue / "pose" / split, "01", people(6))
    assert "no labels; expected DATA/ground_truth_demo/testing_label_mask/<n>_label.mat" in refusal("avenue", avenue)
    (avenue / "testing_label_mask").mkdir()
    assert refusal("avenue", avenue) == "DATA/testing_label_mask/1_label.mat: the labels of a test clip are missing"
    (avenue / "testing_label_mask" / "1_label.mat").write_bytes(b"rubbish")
    assert "cannot be read as a MATLAB file with volLabel" in refusal("avenue", avenue)

    assert "DATA/Test/Test001_gt: no masks *.bmp; expected them, or DATA/Test/UCSDped2.m" in refusal("ped2", roads)
    script = roads / "Test" / "UCSDped2.m"
    script.write_text("TestVideoFile{end+1}.gt_frame = [1:2];")
    assert refusal("ped2", roads) == "DATA/Test/UCSDped2.m: expected gt_frame of 2 clips, got 1"
    script.write_text("x.gt_frame = [1:2];\nx.gt_frame = [5:13];")
    assert refusal("ped2", roads) == "DATA/Test/UCSDped2.m: Test002 has frames 1 to 12, got the range '5:13'"


def test_a_frame_rate_that_is_unknown_or_not_one_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_clip(tmp_path, name, people(9))
    assert refusal("json", tmp_path, splits=("train",)) == (
        "DATA: the frame rate is not known: no *.meta.json beside the poses; give it"
    )
    (tmp_path / "a.meta.json").write_text('{"fps": 25.0}')
    (tmp_path / "b.meta.json").write_text('{"fps": 30.0}')
    assert refusal("json", tmp_path, splits=("train",)) == (
        "clips of one data set need one frame rate: a has 25, b has 30"
    )
    (tmp_path / "b.meta.json").write_text("[]")
    assert "expected an object with the frame rate under 'fps'" in refusal("json", tmp_path, splits=("train",))
