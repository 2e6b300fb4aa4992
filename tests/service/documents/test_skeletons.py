from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pose.estimator import Poses
from pose.skeleton import COCO_JOINTS
from pose.tracker import TrackedPoses
from service.documents.skeletons import BadSkeletons, SkeletonFrame, SkeletonSequence, parse_frame, poses_of

NUMBER = st.floats(2, 1e5) | st.floats(-1e5, -2)
KEYPOINT = st.tuples(NUMBER, NUMBER, st.floats(0, 1))
KEYPOINTS = st.lists(KEYPOINT, min_size=17, max_size=17)


def person(**more: Any) -> dict[str, Any]:
    return {"keypoints": [[float(i), 2.0 * i, 0.5] for i in range(17)], **more}


def frame(*people: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"time_s": 1.5, "width": 64, "height": 48, "people": list(people), **more}


def sequence(*frames: tuple[float, list[dict[str, Any]]]) -> dict[str, Any]:
    return {"width": 64, "height": 48, "frames": [{"time_s": time, "people": people} for time, people in frames]}


def read(message: dict[str, Any]) -> Poses | TrackedPoses:
    found = SkeletonFrame.model_validate(message)
    return poses_of(found, found)


@given(everybody=st.lists(st.tuples(KEYPOINTS, st.floats(0, 1)), max_size=5))
def test_poses_without_numbers_are_what_an_estimator_would_have_found(
    everybody: list[tuple[list[tuple[float, float, float]], float]],
) -> None:
    given_people = [{"keypoints": keypoints, "confidence": confidence} for keypoints, confidence in everybody]
    poses = read(frame(*given_people))
    assert isinstance(poses, Poses)
    assert poses.keypoints.shape == (len(everybody), 17, 3)
    sent = torch.tensor([k for k, _ in everybody]).reshape(-1, 17, 3)
    one_point = [len({(x, y) for x, y, confidence in k if confidence > 0}) == 1 for k, _ in everybody]
    sent[one_point, :, 2] = 0
    assert torch.equal(poses.keypoints, sent)
    assert torch.equal(poses.confidences, torch.tensor([c for _, c in everybody]))
    assert (poses.boxes[:, :2] < poses.boxes[:, 2:]).all()
    seen = poses.keypoints[..., 2] > 0
    for box, points, shown in zip(poses.boxes, poses.keypoints, seen, strict=True):
        assert (points[shown][:, :2] >= box[:2]).all()
        assert (points[shown][:, :2] <= box[2:]).all()


def test_poses_with_numbers_are_what_a_tracker_would_have_said() -> None:
    box = (1.0, 2.0, 3.0, 4.0)
    poses = read(frame(person(track=7, box=box), person(track=2)))
    assert isinstance(poses, TrackedPoses)
    assert poses.track_ids == [7, 2]
    assert poses.boxes.tolist() == [list(box), [1.0, 2.0, 16.0, 32.0]]


def test_a_joint_at_the_very_corner_of_the_picture_was_not_seen_whatever_its_confidence() -> None:
    poses = read(frame({"keypoints": [[0.0, 0.0, 1.0], *[[10.0 + i, 20.0, 1.0] for i in range(16)]]}))
    assert poses.keypoints[0, :, 2].tolist() == [0.0, *[1.0] * 16]
    assert poses.boxes.tolist() == [[10.0, 20.0, 25.0, 21.0]]


def test_a_joint_that_was_not_seen_does_not_stretch_the_box() -> None:
    joints = [[10.0, 10.0, 0.9]] * 15 + [[20.0, 40.0, 0.9], [0.0, 0.0, 0.0]]
    poses = read(frame({"keypoints": joints}))
    assert poses.boxes.tolist() == [[10.0, 10.0, 20.0, 40.0]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "Invalid JSON"),
        ("[]", "should be an object"),
        (json.dumps(frame(person(), person(track=1))), "all people in a frame must have a track or none"),
        (json.dumps(frame(person(track=1), person(track=1))), "twice"),
        (json.dumps(frame({"keypoints": [[0.0, 0.0, 1.0]] * 16})), "people.0.keypoints"),
        (json.dumps(frame({"keypoints": [[0.0, 0.0, 2.0]] * 17})), "less than or equal to 1; 16 more"),
        (json.dumps(frame({"keypoints": [[1e9, 0.0, 1.0]] * 17})), "less than or equal to 100000"),
        (json.dumps(frame({"keypoints": [[float("nan"), 0.0, 1.0]] * 17})), "people.0.keypoints.0.0"),
        (json.dumps(frame(person(box=[5, 5, 5, 9]))), "left < right"),
        (json.dumps(frame(*[person()] * 1025)), "at most 1024"),
        (
            json.dumps(frame({"keypoints": [[0.5, 0.4, 0.9]] * 16 + [[0.6, 1.1, 0.9]]})),
            "all joints lie between 0 and 2; set units to fraction",
        ),
        (
            json.dumps(frame({"keypoints": [[0.1, 0.2, 0.9]] * 17, "box": [9, 9, 40, 30]}, units="fraction")),
            "a box lies 40",
        ),
        (json.dumps(frame(person(), units="fraction")), "set units to pixels"),
        (
            json.dumps(frame({"keypoints": [[9.0, 9.0, 1.0]] * 18})),
            "18 joints, but the layout coco17 has 17; set layout to openpose18",
        ),
        (json.dumps(frame({"keypoints": [[9.0, 9.0, 1.0]] * 25})), "set layout to body25"),
        (json.dumps(frame({"keypoints": [[9.0, 9.0, 1.0]] * 20})), "20 joints, but the layout coco17 has 17"),
        (json.dumps(frame(person(), layout="openpose18")), "17 joints, but the layout openpose18 has 18"),
        (json.dumps(frame(layout="halpe")), "layout"),
        (json.dumps(frame(time_s=float("inf"))), "time_s"),
        (json.dumps(frame(width=0)), "width"),
        (json.dumps(frame(note="hunter2")), "note: Extra inputs"),
    ],
)
def test_a_message_that_is_no_frame_is_refused_in_one_line_that_does_not_repeat_it(text: str, complaint: str) -> None:
    with pytest.raises(BadSkeletons) as refused:
        parse_frame(text)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (sequence(), "at least 1 item"),
        (sequence((1.0, []), (1.0, [])), "frame 1: time_s=1 must be at least 0.001 s after 1"),
        (sequence((1.0, []), (0.5, [])), "frame 1"),
        (sequence((1.0, [person()]), (2.0, [person(track=1)])), "either every frame with people has tracks or none"),
    ],
)
def test_a_sequence_that_contradicts_itself_is_refused(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        SkeletonSequence.model_validate(document)


def test_frames_without_people_fit_into_any_sequence() -> None:
    found = SkeletonSequence.model_validate(sequence((1.0, [person(track=1)]), (2.0, []), (3.0, [person(track=1)])))
    assert [frame.tracked for frame in found.frames] == [True, False, True]


def test_a_sequence_says_which_frame_does_not_fit() -> None:
    document = sequence((1.0, [person()]), (2.0, [{"keypoints": [[9.0, 9.0, 1.0]] * 18}]))
    with pytest.raises(ValidationError, match="frame 1: person 0 has 18 joints"):
        SkeletonSequence.model_validate(document)


@pytest.mark.parametrize("joint", [[0.0, 0.0, 1.0], [0.0, 0.0, 0.1], [31.0, 20.0, 0.9]])
def test_joints_that_all_lie_at_one_point_were_not_seen(joint: list[float]) -> None:
    assert not read(frame({"keypoints": [joint] * 17})).keypoints[..., 2].any()


def test_somebody_in_the_corner_of_one_frame_does_not_make_fractions_of_pixels() -> None:
    corner = {"keypoints": [[0.2 + number / 20, 0.3, 0.9] for number in range(17)]}
    SkeletonSequence.model_validate(sequence((1.0, [corner]), (2.0, [person()])))
    with pytest.raises(ValidationError, match="set units to fraction"):
        SkeletonSequence.model_validate(sequence((1.0, [corner]), (2.0, [corner])))


def test_a_box_has_at_least_one_pixel_in_each_direction() -> None:
    assert read(frame(person(box=[5, 5, 5 + 1e-12, 9]))).boxes.tolist() == [[5.0, 5.0, 6.0, 9.0]]


def test_people_of_whom_no_joint_was_seen_are_no_reason_to_refuse() -> None:
    poses = read(frame({"keypoints": [[0.0, 0.0, 0.0]] * 17}))
    assert poses.keypoints.shape == (1, 17, 3)


def test_fractions_become_pixels() -> None:
    joints = [[0.25, 0.5, 0.9]] * 16 + [[0.5, 1.0, 0.9]]
    poses = read(frame({"keypoints": joints, "box": [0.25, 0.5, 0.5, 1.0]}, units="fraction"))
    assert poses.keypoints[0, 0].tolist() == pytest.approx([16.0, 24.0, 0.9])
    assert poses.boxes.tolist() == [[16.0, 24.0, 32.0, 48.0]]


@pytest.mark.parametrize("layout", ["openpose18", "body25"])
def test_other_layouts_become_coco(layout: str) -> None:
    names = ["nose", "neck"] + [
        f"{side}_{part}" for side in ("right", "left") for part in ("shoulder", "elbow", "wrist")
    ]
    middle = ["hips"] if layout == "body25" else []
    names += middle + [f"{side}_{part}" for side in ("right", "left") for part in ("hip", "knee", "ankle")]
    names += ["right_eye", "left_eye", "right_ear", "left_ear"]
    names += ["feet"] * (25 - len(names)) if layout == "body25" else []
    joints = [[10.0 * number, 5.0, 0.9] for number in range(len(names))]
    poses = read(frame({"keypoints": joints}, layout=layout))
    assert poses.keypoints[0, :, 0].tolist() == [10.0 * names.index(name) for name in COCO_JOINTS]


def test_of_too_many_people_the_least_certain_are_left_out_and_counted() -> None:
    crowd = [person(confidence=1 - number / 100) for number in range(70)]
    found = SkeletonFrame.model_validate(frame(*reversed(crowd)))
    poses = poses_of(found, found)
    assert found.surplus == 6
    assert isinstance(poses, Poses)
    assert poses.confidences.tolist() == pytest.approx([1 - number / 100 for number in range(63, -1, -1)])
