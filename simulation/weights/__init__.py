"""Models of the simulated world: a YOLO-pose and a DA-Flow for its figures, not trained on real people."""

from __future__ import annotations

from pathlib import Path
from typing import Final

IMAGE_SIZE: Final = 384
"""Longer side in pixels of the pictures that the YOLO-pose has learnt from."""

POSE_WEIGHTS: Final = Path(__file__).with_name("pose.onnx")
CHECKPOINT: Final = Path(__file__).with_name("daflow.safetensors")
