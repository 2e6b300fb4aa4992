from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from model.behaviours import Kind
from service.clips.anomalies import Fired, find_anomalies
from service.clips.decoding import ClipLimits, ClipRejected
from service.clips.rendering import CSV_COLUMNS, annotate, timeline_png, write_csv
from service.documents.base import MissingScore
from service.documents.results import (
    ClipInfo,
    ClipResult,
    FrameScore,
    ModelInfo,
    PersonScore,
    Threshold,
    Track,
)
from tests.doubles import media
from tests.doubles.findings import finding
from tests.doubles.scores import live_person

LIMITS = ClipLimits(max_seconds=60, max_pixels=4_000_000, max_fps=240, stall_s=30, memory_bytes=4 << 30)
THRESHOLD = 0.99
BOX = (100.0, 80.0, 160.0, 200.0)
KEYPOINTS = live_person(box=BOX).keypoints


def scored(
    levels: Sequence[float | None],
    *,
    times: Sequence[float] | None = None,
    fps: float = 30.0,
    size: tuple[int, int] = (320, 240),
    people: bool = True,
    named: Sequence[Kind] = (),
) -> ClipResult:
    """A result with one person, who has these levels; the named behaviours fire from its middle on."""
    instants = [index / fps for index in range(len(levels))] if times is None else times
    frames = []
    for index, (time, level) in enumerate(zip(instants, levels, strict=True)):
        score = None if level is None else 1 + level
        behaviours = dict.fromkeys(named, 1.5 if 2 * index >= len(levels) else 0.6)
        person = PersonScore(track=1, box=BOX, keypoints=KEYPOINTS, score=score, level=level, behaviours=behaviours)
        reason: MissingScore | None = None if level is not None else "track_too_short" if people else "nobody"
        frames.append(
            FrameScore(
                index=index, time_s=time, score=score, level=level, reason=reason, people=[person] if people else []
            )
        )
    known = [level for level in levels if level is not None]
    fired = [
        Fired(frame.time_s, finding(kind, 1.5, frame.time_s, joints=(12, 14, 16)))
        for frame in frames[(len(frames) + 1) // 2 :]
        for kind in named
    ]
    track = Track(
        id=1, first_frame=0, last_frame=len(frames) - 1, windows=len(known), peak_level=max(known, default=None)
    )
    return ClipResult(
        clip=ClipInfo(frames=len(frames), fps=fps, width=size[0], height=size[1], duration_s=instants[-1] + 1 / fps),
        model=ModelInfo(checkpoint="test", parameters=488, window=24, rate_hz=15.0, pose_weights="pose.onnx"),
        threshold=Threshold(level=THRESHOLD, unusual_per_day=24.0, false_alarms_per_day=48.0),
        frames=frames,
        tracks=[track] if people else [],
        anomalies=find_anomalies(frames, fired, THRESHOLD, merge_s=1.0),
    )


def rows(result: ClipResult) -> list[dict[str, str]]:
    stream = io.StringIO()
    write_csv(result, stream)
    return list(csv.DictReader(io.StringIO(stream.getvalue())))


def test_csv_has_one_row_per_person_and_frame() -> None:
    first, second, third = rows(scored([None, 0.5, 0.9999999]))
    assert tuple(first) == CSV_COLUMNS
    assert first["reason"] == "track_too_short"
    assert first["score"] == first["level"] == first["anomalous"] == ""
    assert [second[side] for side in ("left", "top", "right", "bottom")] == ["100.00", "80.00", "160.00", "200.00"]
    assert (second["frame"], second["time_s"], second["track"]) == ("1", "0.033333", "1")
    assert (second["level"], second["anomalous"], second["reason"]) == ("0.5", "false", "")
    assert float(third["level"]) < 1
    assert third["anomalous"] == "true"


def test_csv_says_why_a_frame_is_empty() -> None:
    (row,) = rows(scored([None], people=False))
    assert {name for name, cell in row.items() if cell} == {"frame", "time_s", "reason"}
    assert row["reason"] == "nobody"


def test_csv_names_what_fires_for_a_person_in_a_frame_whether_scored_or_not() -> None:
    result = scored([0.5, 0.5, None, 0.995], named=[Kind.LYING, Kind.FALL])
    assert [(row["anomalous"], row["kinds"]) for row in rows(result)] == [
        ("false", ""),
        ("false", ""),
        ("true", "fall lying"),
        ("true", "fall lying unusual"),
    ]
    assert [row["reason"] for row in rows(result)] == ["", "", "track_too_short", ""]


@pytest.mark.parametrize(
    "result",
    [
        scored([0.1, 0.5, 0.995, 1.0, None, 0.2]),
        scored([0.5]),
        scored([1.0]),
        scored([None]),
        scored([None] * 40),
        scored([None] * 40, people=False),
        scored([0.3, None] * 20, fps=1.0),
        scored([0.1, 0.995] * 3, named=list(Kind)[:-1]),
        scored([None] * 40, named=[Kind.FALL]),
    ],
    ids=[
        "ordinary",
        "one frame",
        "one anomalous frame",
        "one unscored frame",
        "too short",
        "nobody",
        "one fps",
        "named",
        "named and unscored",
    ],
)
def test_timeline_is_a_picture_whatever_was_scored(result: ClipResult) -> None:
    image = cv2.imdecode(np.frombuffer(timeline_png(result), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape[1] == 1440
    assert 300 < image.shape[0] < 1000
    blank = (image == 255).all(axis=(1, 2))
    longest = max((len(run) for run in "".join("x" if row else " " for row in blank).split()), default=0)
    assert longest < 60, "the two parts of the plot lie next to each other"


def test_timeline_shows_a_single_anomalous_frame_of_a_long_clip() -> None:
    levels: list[float | None] = [0.5] * 20_000
    levels[12_001] = 0.9999
    image = cv2.imdecode(np.frombuffer(timeline_png(scored(levels)), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    warm = image[..., 2].astype(int) - image[..., 0] > 80
    height, width = warm.shape
    for part in (warm[: height // 4], warm[3 * height // 4 :]):
        columns = np.flatnonzero(part.any(axis=0)) / width
        assert len(columns)
        assert columns.mean() == pytest.approx(0.62, abs=0.02)


def test_timeline_has_a_bar_for_a_named_behaviour_where_it_was_seen() -> None:
    plain, named = (
        np.asarray(cv2.imdecode(np.frombuffer(timeline_png(result), np.uint8), cv2.IMREAD_COLOR)).astype(int)
        for result in (scored([0.5] * 60), scored([0.5] * 60, named=[Kind.FALL]))
    )
    assert named.shape[0] > plain.shape[0]
    for image, there in ((plain, False), (named, True)):
        blue, green, red = np.moveaxis(image, -1, 0)
        violet = (blue - green > 100) & (red - green > 80)
        assert violet.any() == there
    columns = np.flatnonzero(violet.any(axis=0)) / named.shape[1]
    assert columns.min() == pytest.approx(0.53, abs=0.05)
    assert columns.max() > 0.95


@pytest.mark.slow
def test_timelines_are_drawn_in_several_threads_at_once() -> None:
    results = [scored([0.1 * part] * 30) for part in range(8)]
    expected = [timeline_png(result) for result in results]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(timeline_png, results)) == expected


def presentation_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (media.clip, (320, 240)),
        (media.one_frame, (320, 240)),
        (media.odd_size, (321, 241)),
        (media.portrait, (240, 320)),
        (media.variable_rate, (320, 240)),
        (media.one_fps, (320, 240)),
        (media.mpeg4_avi, (320, 240)),
        (media.vp9_webm, (160, 120)),
    ],
)
def test_annotated_video_plays_in_browsers_and_hides_nothing(
    tmp_path: Path, make: Callable[[Path], Path], size: tuple[int, int]
) -> None:
    source, target = make(tmp_path), tmp_path / "annotated" / "clip.mp4"
    target.parent.mkdir()
    times = presentation_times(source)
    period = times[-1] - times[-2] if len(times) > 1 else 1 / 30
    result = scored([None] * len(times), times=times, fps=1 / period, size=size, people=False)
    annotate(source, result, target, LIMITS)

    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.width == size[0] + size[0] % 2
        assert stream.height % 2 == 0
        images = [frame.to_ndarray(format="bgr24")[: size[1], : size[0]] for frame in container.decode(video=0)]
        assert (container.duration or 0) / av.time_base == pytest.approx(times[-1] + period, abs=0.01)
    assert [media.frame_number(np.asarray(image, np.uint8)) for image in images] == list(range(len(times)))
    assert presentation_times(target) == pytest.approx(times, abs=1e-4)
    data = target.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert [path.name for path in target.parent.iterdir()] == ["clip.mp4"]


def test_annotated_video_draws_people_and_moves_the_cursor(tmp_path: Path) -> None:
    source = media.clip(tmp_path, frames=20, paint=media.black)
    levels = [0.2] * 10 + [0.9999] * 10
    annotate(source, scored(levels), tmp_path / "annotated.mp4", LIMITS)
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        calm, *_, hot = (frame.to_ndarray(format="bgr24").astype(int) for frame in container.decode(video=0))
    blue, _, red = calm[140, 100]
    assert blue > red
    blue, _, red = hot[140, 100]
    assert red > blue
    cursors = [int(image[240:250].mean(axis=(0, 2)).argmax()) for image in (calm, hot)]
    assert cursors[0] < 5
    assert cursors[1] == pytest.approx(304, abs=3)


def test_annotated_video_names_what_is_seen_and_marks_the_joints_that_contributed(tmp_path: Path) -> None:
    source = media.clip(tmp_path, frames=20, paint=media.black)
    annotate(source, scored([0.2] * 20, named=[Kind.FALL]), tmp_path / "annotated.mp4", LIMITS)
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        before, *_, after = (frame.to_ndarray(format="bgr24").astype(int) for frame in container.decode(video=0))

    def violet(image: NDArray[np.int_], x: float, y: float) -> bool:
        blue, green, red = image[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].mean(axis=(0, 1))
        return bool(blue - green > 40 and red - green > 40)

    assert KEYPOINTS is not None
    shins = {}
    for side, (knee, ankle) in (("left", (13, 15)), ("right", (14, 16))):
        (knee_x, knee_y, _), (ankle_x, ankle_y, _) = KEYPOINTS[knee], KEYPOINTS[ankle]
        shins[side] = (0.6 * knee_x + 0.4 * ankle_x, 0.6 * knee_y + 0.4 * ankle_y)
    left_edge = (BOX[0], 0.5 * (BOX[1] + BOX[3]))
    assert [violet(before, *at) for at in (left_edge, shins["left"], shins["right"])] == [False] * 3
    assert [violet(after, *at) for at in (left_edge, shins["left"], shins["right"])] == [True, False, True]


def test_frames_of_another_size_are_fitted(tmp_path: Path) -> None:
    source, target = media.clip(tmp_path, frames=3), tmp_path / "annotated.mp4"
    annotate(source, scored([None] * 3, size=(160, 120), people=False), target, LIMITS)
    with av.open(str(target)) as container:
        images = [frame.to_ndarray(format="bgr24")[:120] for frame in container.decode(video=0)]
    assert [media.frame_number(np.asarray(image, np.uint8)) for image in images] == [0, 1, 2]


def test_progress_counts_every_frame(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    annotate(
        media.clip(tmp_path, frames=4),
        scored([0.5] * 4),
        tmp_path / "annotated.mp4",
        LIMITS,
        lambda *at: seen.append(at),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_failed_annotation_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    source, target = media.clip(tmp_path, frames=6), tmp_path / "annotated" / "clip.mp4"
    target.parent.mkdir()
    target.write_bytes(b"earlier")
    for result in (scored([0.5] * 5), scored([0.5] * 7)):
        with pytest.raises(ValueError, match="argument 2 is"):
            annotate(source, result, target, LIMITS)
    with pytest.raises(ClipRejected):
        annotate(media.text_named_mp4(tmp_path), scored([0.5]), target, LIMITS)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate(source, scored([0.5] * 6), target, LIMITS, stop)
    assert target.read_bytes() == b"earlier"
    assert list(target.parent.iterdir()) == [target]
