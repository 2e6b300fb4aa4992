"""A zoo of containers, codecs and oddities: count, order, times, size and pixels of what is read from each file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from pose.probe import probe
from pose.source import FileSource
from tests.doubles.zoo import FPS, FRAMES, ZOO, Animal, damaged


@pytest.mark.parametrize("animal", ZOO, ids=lambda animal: animal.name)
def test_a_file_is_read_as_a_player_shows_it(animal: Animal, tmp_path: Path) -> None:
    path = tmp_path / animal.name
    animal.make(path)
    info = probe(path)
    with FileSource(path, video=info) as source:
        frames = list(source)
    times = [frame.captured_at for frame in frames]

    assert info.reader == animal.reader, info.reason
    assert info.frames == len(frames) == len(animal.times) == decoded(path, info.stream)
    np.testing.assert_allclose(times, animal.times, atol=0.011)
    assert info.duration_s == pytest.approx(animal.times[-1] + animal.times[-1] - animal.times[-2], abs=0.02)
    assert (info.width, info.height) == animal.size
    for frame in frames:
        wanted = animal.picture(frame.sequence)
        assert frame.image.shape == (animal.size[1], animal.size[0], 3)
        difference = np.abs(np.subtract(frame.image, wanted, dtype=np.int16)).mean()
        assert difference <= animal.alike, f"picture {frame.sequence} differs by {difference:.1f}"
        # A wrong neighbour differs by less than a bad codec, so the order is checked by the nearest one.
        others = [animal.picture(other) for other in neighbours(frame.sequence, len(frames))]
        assert all(np.abs(np.subtract(frame.image, other, dtype=np.int16)).mean() > difference for other in others)


@pytest.mark.parametrize(
    ("name", "codec", "interlaced"),
    [("clip.avi", "mjpeg", False), ("clip.mkv", "libx264", False), ("interlaced.mkv", "mpeg2video", True)],
)
def test_pictures_that_cannot_be_decoded_leave_a_gap(name: str, codec: str, interlaced: bool, tmp_path: Path) -> None:
    lost = {12, 13, 14, 15}
    path = tmp_path / name
    damaged(path, codec, lost, interlaced=interlaced)
    info = probe(path)
    with FileSource(path, video=info) as source:
        times = [frame.captured_at for frame in source]
    assert info.frames == FRAMES
    np.testing.assert_allclose(times, [index / FPS for index in range(FRAMES) if index not in lost], atol=0.011)


def neighbours(index: int, count: int) -> list[int]:
    return [other for other in (index - 1, index + 1) if 0 <= other < count]


def decoded(path: Path, stream: int) -> int:
    """Number of pictures that FFmpeg's own decoding finds."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(container.streams[stream]))
