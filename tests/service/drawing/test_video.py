from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.drawing.video import VideoWriter
from tests.doubles.media import numbered

SIZE = (64, 48)


@given(times=st.lists(st.floats(0, 100), min_size=1, max_size=12), fps=st.sampled_from([0.5, 15.0, 29.97, 60.0]))
@settings(max_examples=20)
def test_every_picture_is_shown_until_the_next_and_times_always_rise(
    tmp_path_factory: pytest.TempPathFactory, times: list[float], fps: float
) -> None:
    path, times = tmp_path_factory.mktemp("video") / "clip.mp4", [0.0, *sorted(times)]
    with VideoWriter(path, SIZE, fps, threads=1) as writer:
        for index, time in enumerate(times):
            writer.add(numbered(index, *SIZE), time)
    with av.open(str(path)) as container:
        shown = [float(frame.time) for frame in container.decode(video=0)]
        assert (container.duration or 0) / av.time_base == pytest.approx(shown[-1] + 1 / fps, abs=0.002)
    assert shown == pytest.approx(times, abs=0.001)
    assert (np.diff(shown) > 0).all()


def test_a_writer_whose_pictures_end_in_an_exception_lets_go_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with pytest.raises(ZeroDivisionError), VideoWriter(path, SIZE, 15.0) as writer:
        for index in range(100):
            writer.add(numbered(index, *SIZE), index / 15)
        assert str(path) in open_files()
        raise ZeroDivisionError
    assert str(path) not in open_files()
    writer.abandon()


def test_a_folder_that_is_not_there_is_an_error_of_the_file_system(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No such file"),
        VideoWriter(tmp_path / "gone" / "clip.mp4", SIZE, 15.0) as writer,
    ):
        writer.add(numbered(0, *SIZE), 0.0)


def open_files() -> list[str]:
    return [file.path for file in psutil.Process().open_files()]
