from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pose.containers import UnreadableVideo
from pose.probe import probe
from pose.source import FileSource
from tests.doubles import media


def read(path: Path) -> tuple[list[int], list[float]]:
    with FileSource(path, "gate") as source:
        frames = list(source)
    assert all(frame.camera_id == "gate" for frame in frames)
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    return [media.frame_number(frame.image) for frame in frames], [frame.captured_at for frame in frames]


@pytest.mark.parametrize("make", [media.clip, media.mpeg4_avi, media.vp9_webm, media.fast])
def test_every_frame_comes_in_order_with_its_time(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    info = probe(path)
    numbers, times = read(path)
    assert numbers == list(range(info.frames))
    np.testing.assert_allclose(times, np.arange(info.frames) / info.fps, atol=2e-3)


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    wanted = (0.0, 0.04, 0.08, 0.5, 0.54, 1.2, 1.21)
    numbers, times = read(media.variable_rate(tmp_path, wanted))
    assert numbers == list(range(len(wanted)))
    np.testing.assert_allclose(times, wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("make", "frames", "fps", "duration"),
    [(media.trimmed, 30, 30.0, 1.0), (media.gaps_avi, 47, 23.4, 2.0), (media.joined_ts, 60, 30.0, 2.0)],
)
def test_a_trimmed_a_gapped_and_a_joined_recording_are_whole(
    make: Callable[[Path], Path], frames: int, fps: float, duration: float, tmp_path: Path
) -> None:
    path = make(tmp_path)
    info = probe(path)
    _, times = read(path)
    assert info.frames == len(times) == frames
    assert info.fps == pytest.approx(fps, abs=0.1)
    assert info.duration_s == pytest.approx(duration, abs=0.1)
    assert times[-1] == pytest.approx(duration - 1 / 30, abs=0.05)


def test_a_rotation_tag_turns_the_picture_upright(tmp_path: Path) -> None:
    path = media.portrait(tmp_path)
    info = probe(path)
    with FileSource(path) as source:
        height, width = next(iter(source)).image.shape[:2]
    assert (info.width, info.height) == (width, height)
    assert height > width


def test_a_single_frame_is_a_video(tmp_path: Path) -> None:
    info = probe(media.one_frame(tmp_path))
    assert info.frames == 1
    assert info.duration_s > 0


def test_counting_stops_beyond_the_limit(tmp_path: Path) -> None:
    assert probe(media.clip(tmp_path), max_frames=5).frames == 6


def test_large_pictures_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="4000x4000 = 16000000 pixels; at most 1000000") as refused:
        probe(media.clip(tmp_path, size=(4000, 4000), frames=1), max_pixels=1_000_000)
    assert refused.value.cause == "too-many-pixels"


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (media.empty, "empty"),
        (media.text_named_mp4, "not-a-video"),
        (media.picture, "picture"),
        (media.still_gif, "picture"),
        (media.animated_webp, "picture"),
        (media.audio_only, "no-video-stream"),
        (media.truncated_moov, "truncated"),
        (media.truncated_faststart, "truncated"),
        (media.truncated_mkv, "truncated"),
        (media.zero_length_stream, "no-frames"),
        (media.hostile_length, "truncated"),
        (media.hostile_size, "undecodable"),
    ],
)
def test_a_file_that_is_no_video_is_refused_with_its_cause(
    make: Callable[[Path], Path], cause: str, tmp_path: Path
) -> None:
    with pytest.raises(UnreadableVideo) as refused:
        probe(make(tmp_path))
    assert refused.value.cause == cause


@pytest.mark.parametrize("make", [media.playlist_in_disguise, media.concat_in_disguise])
def test_a_playlist_cannot_read_another_file(make: Callable[[Path, Path], Path], tmp_path: Path) -> None:
    disguised = make(tmp_path, media.clip(tmp_path))
    with pytest.raises(UnreadableVideo) as refused:
        probe(disguised)
    assert refused.value.cause == "not-a-video"
    with pytest.raises(UnreadableVideo):
        FileSource(disguised)
