"""Frames as an MP4 that browsers play."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from simulation.camera import Image, SceneCamera


def write_video(path: Path, images: Iterable[Image], camera: SceneCamera) -> None:
    """Encode frames as H.264 at the camera's rate.

    Args:
        path: The file to write.
        images: Shape ``(height, width, 3)`` each, BGR.
        camera: The camera that made them.

    Raises:
        ValueError: The camera's width or height is odd, which H.264 cannot store in colour.
        OSError: The file cannot be written.
    """
    if camera.width % 2 or camera.height % 2:
        raise ValueError(f"a video needs an even width and height, got {camera.width}x{camera.height}")
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(camera.fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = camera.width, camera.height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
