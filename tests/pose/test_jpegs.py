from __future__ import annotations

import random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pose.jpegs import JpegCutter, MotionJpeg, is_motion_jpeg
from pose.live import SourceError


def jpeg(seed: int, *flags: int) -> bytes:
    picture = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", picture, list(flags))[1])


PLAIN = [jpeg(seed) for seed in range(3)]
PROGRESSIVE = [jpeg(seed, cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 4) for seed in range(3)]
WITH_THUMBNAIL = [
    picture[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2) + small + picture[2:]
    for picture, small in zip(PLAIN, map(jpeg, range(10, 13)), strict=True)
]
BETWEEN = [
    b"",
    b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n",
    b"\n--frame\nContent-Length: 0\n\n",
    b"preamble\r\n",
    b"\x00\x00\xff",
]


@pytest.mark.parametrize("pictures", [PLAIN, PROGRESSIVE, WITH_THUMBNAIL], ids=["plain", "progressive", "thumbnail"])
@given(between=st.sampled_from(BETWEEN), seed=st.integers(0, 1000))
def test_pictures_are_cut_out_whole_however_they_are_framed_and_arrive(
    pictures: list[bytes], between: bytes, seed: int
) -> None:
    body = between + between.join(pictures)
    chance, cutter, found, at = random.Random(seed), JpegCutter(), [], 0  # noqa: S311 - repeats the same cuts
    while at < len(body):
        size = chance.choice([1, 7, 100, 3000])
        found += cutter.feed(body[at : at + size])
        at += size
    assert found == pictures


@pytest.mark.parametrize("cut", [10, 300, 900])
def test_a_picture_that_breaks_off_costs_itself_only(cut: int) -> None:
    cutter = JpegCutter()
    body = PLAIN[0][:-cut] + b"\r\n--frame\r\n\r\n" + PLAIN[1] + b"\r\n--frame\r\n\r\n" + PLAIN[2]
    assert cutter.feed(body) == PLAIN[1:]


def test_a_picture_is_complete_with_its_last_byte() -> None:
    cutter = JpegCutter()
    assert cutter.feed(PLAIN[0][:-1]) == []
    assert cutter.feed(PLAIN[0][-1:]) == [PLAIN[0]]


@pytest.mark.parametrize("begun", [b"", b"\xff\xd8\xff\xda\x00\x02"])
def test_endless_bytes_without_a_picture_are_refused_and_not_kept(begun: bytes) -> None:
    cutter = JpegCutter()
    cutter.feed(begun)
    with pytest.raises(SourceError, match="no JPEG"):
        for _ in range(40):
            cutter.feed(b"a" * (1 << 20))


def test_a_single_picture_is_no_stream() -> None:
    pieces = [PLAIN[0], b""]
    file = MotionJpeg(lambda _: pieces.pop(0))
    assert PLAIN[0] in file.read(1 << 20)
    with pytest.raises(SourceError, match="a single picture"):
        file.read(1)


@pytest.mark.parametrize(
    ("content_type", "beginning", "is_one"),
    [
        ("multipart/x-mixed-replace;boundary=frame", b"", True),
        ("Multipart/Mixed", b"anything", True),
        ("video/x-motion-jpeg", b"", True),
        ("image/jpeg", b"", True),
        ("text/html", b"\r\n\r\n--frame", True),
        ("", b"\xff\xd8\xff", True),
        ("video/mp4", b"\x00\x00\x00\x20ftyp", False),
        ("video/mp2t", b"G@", False),
        ("text/html", b"<html>", False),
    ],
)
def test_motion_jpeg_is_known_by_its_announcement_or_its_beginning(
    content_type: str, beginning: bytes, is_one: bool
) -> None:
    assert is_motion_jpeg(content_type, beginning) is is_one
