"""The media files that other tests rely on are what they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import pytest

from tests.doubles import media


def decoded(path: Path) -> list[media.Image]:
    capture = cv2.VideoCapture(str(path))
    images = []
    while True:
        found, image = capture.read()
        if not found:
            return images
        images.append(image)


def presentation_times(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def duration(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


@pytest.mark.parametrize(
    ("make", "frames", "shape"),
    [
        (media.one_frame, 1, (240, 320)),
        (media.shorter_than_a_window, 10, (240, 320)),
        (media.one_fps, 5, (240, 320)),
        (media.fast, 60, (240, 320)),
        (media.odd_size, 12, (241, 321)),
        (media.variable_rate, 7, (240, 320)),
        (media.mpeg4_avi, 30, (240, 320)),
        (media.vp9_webm, 30, (120, 160)),
        (media.portrait, 12, (320, 240)),
    ],
)
def test_good_clips_show_their_frames_in_order(
    tmp_path: Path, make: Callable[[Path], Path], frames: int, shape: tuple[int, int]
) -> None:
    images = decoded(make(tmp_path))
    assert [media.frame_number(image) for image in images] == list(range(frames))
    assert {image.shape[:2] for image in images} == {shape}


def test_black_is_black(tmp_path: Path) -> None:
    assert max(int(image.max()) for image in decoded(media.constant_black(tmp_path))) <= 2


def test_variable_rate_keeps_the_times_asked_for(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 1.2, 1.25]
    path = media.variable_rate(tmp_path, times)
    assert presentation_times(path) == pytest.approx(times, abs=1e-4)
    assert duration(path) == pytest.approx(1.3, abs=0.06)


def test_portrait_is_coded_lying_down(tmp_path: Path) -> None:
    with av.open(str(media.portrait(tmp_path))) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (320, 240)


def test_truncated_clips_give_some_frames_or_none(tmp_path: Path) -> None:
    assert decoded(media.truncated_moov(tmp_path)) == []
    assert 5 < len(decoded(media.truncated_faststart(tmp_path))) < 60
    assert 5 < len(decoded(media.truncated_mkv(tmp_path))) < 60


def test_files_without_video_are_recognised_as_what_they_are(tmp_path: Path) -> None:
    for make in (media.empty, media.text_named_mp4):
        with pytest.raises(av.error.InvalidDataError):
            av.open(str(make(tmp_path)))
    with av.open(str(media.picture(tmp_path, ".jpg"))) as container:
        assert container.format.name == "jpeg_pipe"
    with av.open(str(media.audio_only(tmp_path))) as container:
        assert not container.streams.video
        assert sum(frame.samples for frame in container.decode(audio=0)) > 44_100
    with av.open(str(media.zero_length_stream(tmp_path))) as container:
        assert container.streams.video[0].width == 320
        assert list(container.decode(video=0)) == []


def test_hostile_headers_claim_what_they_should(tmp_path: Path) -> None:
    with av.open(str(media.hostile_size(tmp_path, 16_000, 16_000))) as container:
        assert container.streams.video[0].width == 16_000
    assert decoded(media.hostile_size(tmp_path)) == []
    assert b"\xff\xff\xff\xff" in media.hostile_container_size(tmp_path).read_bytes()
    with av.open(str(media.hostile_length(tmp_path))) as container:
        assert container.streams.video[0].frames == 10**9
    assert duration(media.hostile_length(tmp_path)) > 365 * 24 * 3600


def test_a_script_in_disguise_reaches_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Our own source leaves OpenCV confined for the rest of the process.
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)
    secret = media.one_frame(tmp_path)
    assert len(decoded(media.concat_in_disguise(tmp_path, secret))) == 1
    assert secret.as_uri().encode() in media.playlist_in_disguise(tmp_path, secret).read_bytes()


def test_reencoding_drops_frames_but_not_time(tmp_path: Path) -> None:
    source = media.clip(tmp_path, "source.mp4", frames=30, fps=30)
    target = media.reencode(source, tmp_path / "target.mp4", every=3, scale=0.5)
    assert presentation_times(target) == pytest.approx([index / 10 for index in range(10)], abs=1e-3)
    assert duration(target) == pytest.approx(1.0, abs=0.04)
    images = decoded(target)
    assert [media.frame_number(image) for image in images] == list(range(0, 30, 3))
    assert images[0].shape == (120, 160, 3)
    with av.open(str(target)) as container:
        assert float(container.streams.video[0].average_rate or 0) == pytest.approx(10, rel=0.01)
