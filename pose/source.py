"""Frame sources: they turn a video file into a sequence of pictures with presentation times.

`FileSource` yields every frame and waits for its consumer; nothing is dropped. What is in the file, and which reader
shows it right, is decided by `pose.probe`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pose.frame_times import FrameTimes
from pose.pictures import Image
from pose.probe import VideoInfo, probe
from pose.readers import OpenCvReader, PyAvReader, Reader


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture for the pose estimator.

    Attributes:
        camera_id: Which camera or clip it belongs to.
        sequence: Number of the frame in its stream, from 0.
        captured_at: Seconds: for files the presentation time from the first frame on, for live sources a moment of the
            monotonic clock.
        image: Shape ``(height, width, 3)``, uint8, BGR, upright.

    Example:
        >>> Frame("yard", 0, 0.0, np.zeros((480, 640, 3), np.uint8)).image.shape
        (480, 640, 3)
    """

    camera_id: str
    sequence: int
    captured_at: float
    image: NDArray[np.uint8]


class FileSource:
    """Every frame of a video file, in order, as a player shows it, with its presentation time.

    Pictures are upright, deinterlaced, have square pixels and are all of the size in `video`; where the size changes in
    the file, they are fitted into the largest without being stretched. Variable frame rates keep their times; times
    start at 0 and strictly increase, see `pose.frame_times.FrameTimes`. A picture that cannot be decoded is left out:
    there are then fewer frames than `VideoInfo.frames`.

    Args:
        path: The file.
        camera_id: Written into every `Frame`.
        video: What `probe` returned for the file; None probes it now.

    Attributes:
        video: What is in the file.

    Raises:
        UnreadableVideo: The file is no video that can be read.

    Example:
        >>> import cv2, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "clip.avi"
        ...     video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
        ...     for _ in range(3):
        ...         _ = video.write(np.zeros((48, 64, 3), np.uint8))
        ...     video.release()
        ...     with FileSource(path) as source:
        ...         times = [round(frame.captured_at, 3) for frame in source]
        >>> times
        [0.0, 0.1, 0.2]
    """

    def __init__(self, path: Path, camera_id: str = "", *, video: VideoInfo | None = None) -> None:
        self.camera_id = camera_id
        self.video = probe(path, allow_cut=True) if video is None else video
        self._path = path
        self._reader: Reader = OpenCvReader(path) if self.video.reader == "opencv" else self._pyav()

    def __iter__(self) -> Iterator[Frame]:
        """Decode the frames that have not been read yet."""
        times = FrameTimes(1 / self.video.fps)
        for sequence, (image, time) in enumerate(times.of(self._pictures())):
            yield Frame(self.camera_id, sequence, time, image)

    def _pictures(self) -> Iterator[tuple[Image, float | None]]:
        """All pictures. Where OpenCV ends early, at one that it cannot decode, PyAV goes on behind it."""
        count, last = 0, None
        for image, last in self._reader.pictures():
            count += 1
            yield image, last
        if self.video.reader != "opencv" or count >= self.video.frames:
            return
        self._reader.close()
        self._reader = self._pyav()
        # OpenCV counts time from the start of the stream, PyAV as the file does.
        shift = 0.0
        for number, (image, stamp) in enumerate(self._reader.pictures(), start=1):
            if number > count:
                yield image, None if stamp is None else stamp + shift
            elif number == count and stamp is not None and last is not None:
                shift = last - stamp

    def _pyav(self) -> PyAvReader:
        return PyAvReader(self._path, self.video.stream, (self.video.width, self.video.height))

    def close(self) -> None:
        """Release the decoder and the file."""
        self._reader.close()

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
