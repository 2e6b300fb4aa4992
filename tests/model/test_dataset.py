import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model.dataset import (
    DatasetError,
    PersonTrack,
    PoseClip,
    clip_windows,
    hold_out,
    mirrored,
    read_clip,
    read_masks,
    read_split,
    transposed,
)
from pose.skeleton import JOINTS
from pose.windows import WindowSpec
from tests.model.skeletons import entry, swaying, write_clip

SPEC = WindowSpec(length=8, rate_hz=15.0)


def clip_of(frames: list[int], name: str = "01_001") -> PoseClip:
    poses = torch.from_numpy(swaying(max(frames) + 1, 0)[frames]).float()
    return PoseClip(name, (PersonTrack(5, np.array(frames), poses),))


def test_frames_and_people_are_sorted_as_numbers(tmp_path: Path) -> None:
    poses = swaying(3, 0)
    person = {key: {"keypoints": pose.ravel().tolist()} for key, pose in zip(("100", "9", "20"), poses, strict=True)}
    clip = read_clip(write_clip(tmp_path, "01_097", {"10": person, "2": entry(poses)}))
    assert clip.name == "01_097"
    assert clip.camera == "01"
    assert [track.person for track in clip.tracks] == [2, 10]
    assert clip.tracks[1].frames.tolist() == [9, 20, 100]
    np.testing.assert_allclose(clip.tracks[1].keypoints.numpy(), poses[[1, 2, 0]], rtol=1e-6)
    assert clip.frame_span().tolist() == list(range(101))


def test_a_person_in_pieces_is_merged(tmp_path: Path) -> None:
    poses = swaying(6, 0)
    clip = read_clip(write_clip(tmp_path, "01_1", {"1": [entry(poses[3:], 3), entry(poses[:3])]}))
    assert clip.tracks[0].frames.tolist() == list(range(6))
    np.testing.assert_allclose(clip.tracks[0].keypoints.numpy(), poses, rtol=1e-6)


def test_a_missing_confidence_is_zero(tmp_path: Path) -> None:
    poses = swaying(1, 0)
    poses[0, 4, 2] = np.nan
    clip = read_clip(write_clip(tmp_path, "01_1", {"1": entry(poses)}))
    assert clip.tracks[0].keypoints[0, 4, 2] == pytest.approx(0.05), "a guess of the authors, not an unseen joint"


@pytest.mark.parametrize(
    ("name", "camera"),
    [("01_0222", "01"), ("abnormal_scene_20_scenario_6", "20"), ("normal_scene_3_scenario_1", "3"), ("yard", "yard")],
)
def test_the_camera_is_the_scene_of_the_name(name: str, camera: str) -> None:
    assert PoseClip(name, ()).camera == camera


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ([], "expected an object of people, got list"),
        ({"1": 3}, "person '1': expected an object of frames, got int"),
        ({"x": {}}, "person key 'x' is not a number"),
        ({"1": {"y": {}}}, "person '1': frame key 'y' is not a number"),
        ({"1": {"7": {"keypoints": [1.0] * 50}}}, "person '1', frame 7: expected 51 numbers"),
        ({"1": {"7": {"keypoints": ["a"] * 51}}}, "person '1', frame 7: expected 51 numbers"),
        ({"1": {"7": None}}, "person '1', frame 7: expected 51 numbers"),
        ({"1": {"7": {"keypoints": [float("nan")] * 51}}}, "person '1': a keypoint is not finite"),
    ],
)
def test_malformed_clips_are_refused_by_place(tmp_path: Path, people: object, message: str) -> None:
    path = write_clip(tmp_path, "01_1", people)
    with pytest.raises(DatasetError, match=message):
        read_clip(path)


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no files named"):
        read_split(tmp_path)
    with pytest.raises(DatasetError, match="no frame masks"):
        read_masks(tmp_path)
    with pytest.raises(DatasetError, match="cannot be read as JSON"):
        read_clip(tmp_path / "absent")
    broken = tmp_path / "01_1_alphapose_tracked_person.json"
    broken.write_text(json.dumps({})[:1])
    with pytest.raises(DatasetError, match="cannot be read as JSON"):
        read_split(tmp_path)


def test_masks_are_vectors_of_zeros_and_ones_and_cannot_run_code(tmp_path: Path) -> None:
    np.save(tmp_path / "01_1.npy", np.array([0, 1, 1]))
    assert read_masks(tmp_path)["01_1"].tolist() == [0, 1, 1]
    np.save(tmp_path / "01_2.npy", np.array([0, 2]))
    with pytest.raises(DatasetError, match="a vector of 0 and 1"):
        read_masks(tmp_path)
    np.save(tmp_path / "01_2.npy", np.array([object()]))
    with pytest.raises(DatasetError, match="cannot be read as an array"):
        read_masks(tmp_path)


def test_both_slicings_agree_where_no_frame_is_missing() -> None:
    clip = clip_of(list(range(40)))
    grid = clip_windows(clip, SPEC, frame_rate_hz=15.0, stride=3)
    published = clip_windows(clip, SPEC, frame_rate_hz=15.0, slicing="published", stride=3)
    assert len(published) == 11
    torch.testing.assert_close(published.tensor, grid.tensor[: len(published)], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(published.end_times, grid.end_times[: len(published)])


@pytest.mark.parametrize(("frames", "stride", "count"), [(8, 1, 0), (9, 1, 1), (20, 1, 12), (20, 6, 2), (21, 6, 3)])
def test_published_slicing_drops_the_last_full_window(frames: int, stride: int, count: int) -> None:
    clip = clip_of(list(range(frames)))
    assert len(clip_windows(clip, SPEC, frame_rate_hz=15.0, slicing="published", stride=stride)) == count


def test_published_slicing_allows_two_missing_frames_and_scores_the_middle_one() -> None:
    two = clip_of([0, 1, 2, 5, 6, 7, 8, 9, 10])
    windows = clip_windows(two, SPEC, frame_rate_hz=15.0, slicing="published")
    assert np.rint(SPEC.center_times(windows.end_times) * 15).tolist() == [4]
    three = clip_of([0, 1, 2, 6, 7, 8, 9, 10, 11])
    assert len(clip_windows(three, SPEC, frame_rate_hz=15.0, slicing="published")) == 0


def test_scrambled_slicing_takes_poses_in_the_string_order_of_their_frames() -> None:
    clip = clip_of(list(range(12)))
    track = clip.tracks[0]
    order = [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    stacked = PoseClip("01_1", (PersonTrack(5, track.frames, track.keypoints[order]),))
    scrambled = clip_windows(clip, SPEC, frame_rate_hz=15.0, slicing="scrambled")
    expected = clip_windows(stacked, SPEC, frame_rate_hz=15.0, slicing="published")
    assert torch.equal(scrambled.tensor, expected.tensor)
    assert np.array_equal(scrambled.end_times, expected.end_times)


def test_a_clip_without_people_has_no_windows() -> None:
    for slicing in ("grid", "published", "scrambled"):
        assert len(clip_windows(PoseClip("01_1", ()), SPEC, frame_rate_hz=15.0, slicing=slicing)) == 0
    assert len(PoseClip("01_1", ()).frame_span()) == 0


def test_mirrored_windows_are_those_of_the_mirrored_picture() -> None:
    clip = clip_of(list(range(20)))
    track = clip.tracks[0]
    flipped = track.keypoints.clone()
    flipped[..., 0] = 856 - flipped[..., 0]
    other = PoseClip("01_1", (PersonTrack(5, track.frames, flipped),))
    windows = clip_windows(clip, SPEC, frame_rate_hz=15.0).tensor
    plain = clip_windows(other, SPEC, frame_rate_hz=15.0).tensor
    both = mirrored(windows, "plain")
    torch.testing.assert_close(both[: len(windows)], windows)
    torch.testing.assert_close(both[len(windows) :], plain, atol=1e-5, rtol=1e-5)
    swapped = mirrored(windows, "swap")[len(windows) :]
    left, right = JOINTS.index("left_wrist"), JOINTS.index("right_wrist")
    torch.testing.assert_close(swapped[..., left], plain[..., right], atol=1e-5, rtol=1e-5)
    assert mirrored(windows, "none") is windows


def test_every_camera_holds_out_its_share_by_whole_clips() -> None:
    clips = [PoseClip(f"{camera:02d}_{index}", ()) for camera in (1, 2) for index in range(8)] + [PoseClip("03_1", ())]
    learnt, held = hold_out(clips, 0.25, seed=0)
    assert [clip.camera for clip in held] == ["01", "01", "02", "02"]
    assert len(learnt) == 13
    assert not {clip.name for clip in learnt} & {clip.name for clip in held}
    assert hold_out(clips, 0.25, seed=0)[1] == held
    assert any(hold_out(clips, 0.25, seed=seed)[1] != held for seed in range(1, 5))


def test_a_split_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(DatasetError, match="no clip can be held out"):
        hold_out([PoseClip("01_1", ()), PoseClip("02_1", ())], 0.5, 0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        hold_out([], 1.0, 0)


def standing(n: int, seed: int = 0) -> Tensor:
    """People of 100 pixels, upright: the nose above, the ankles below, all else about the middle."""
    joints = torch.rand((n, 17, 3), generator=torch.Generator().manual_seed(seed)) * torch.tensor([40.0, 40.0, 0.0])
    joints[:, 0, 1] -= 40
    joints[:, 15:17, 1] += 60
    joints[..., 2] = 0.9
    return joints


def test_files_that_hold_y_before_x_are_detected(tmp_path: Path) -> None:
    poses = standing(60)
    write_clip(tmp_path, "01_1", {"1": entry(poses[..., [1, 0, 2]])})
    raw, found = read_split(tmp_path, "xy"), read_split(tmp_path)
    assert transposed(raw)
    assert not transposed(found)
    torch.testing.assert_close(found[0].tracks[0].keypoints, poses)
    torch.testing.assert_close(read_split(tmp_path, "yx")[0].tracks[0].keypoints, poses)


def test_files_that_hold_x_before_y_stay_as_they_are(tmp_path: Path) -> None:
    poses = standing(60)
    write_clip(tmp_path, "01_1", {"1": entry(poses)})
    torch.testing.assert_close(read_split(tmp_path)[0].tracks[0].keypoints, poses)


def test_too_few_poses_do_not_decide_the_axes(tmp_path: Path) -> None:
    lying = standing(60)[..., [1, 0, 2]]
    lying[20:, 16, 2] = 0.1
    write_clip(tmp_path, "01_1", {"1": entry(lying)})
    torch.testing.assert_close(read_split(tmp_path)[0].tracks[0].keypoints, lying)


def test_people_of_poselift_stand_upright(test_data: Path) -> None:
    for split in ("train", "test"):
        folder = test_data / "poselift" / "pose" / split
        assert transposed(read_split(folder, "xy"))
        spreads = [track.keypoints[..., :2].std(dim=1) for clip in read_split(folder) for track in clip.tracks]
        wide, high = torch.cat(spreads).median(dim=0).values.tolist()
        assert wide < 0.6 * high
