"""Time of a picture by what runs the pose network: ``python -m benchmarks.load.runtimes WEIGHTS...``.

Each has one thread, and they take turns, so that other work beside them slows them alike. Letterboxing and non-maximum
suppression are left out. Joints are compared with those of the weights as they are.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pose.estimator import PRECISIONS, configure_ultralytics
from pose.runtimes import ConversionFailed, convert

Run = Callable[[NDArray[np.float32]], object]
"""Runs the network on a picture of shape ``(1, 3, height, width)``, RGB in 0..1."""


def original(weights: Path) -> tuple[str, Run]:
    """The weights as they are, and what runs them."""
    if weights.suffix == ".pt":
        from ultralytics import YOLO

        torch.set_num_threads(1)
        network = YOLO(weights, task="pose").model.fuse().eval()
        return "PyTorch", torch.inference_mode()(lambda picture: network(torch.from_numpy(picture)))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return "ONNX Runtime", lambda picture: session.run(None, {name: picture})


def converted(folder: Path, precision: str) -> Run:
    """What was converted for OpenVINO, in a precision."""
    import openvino

    config = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": 1,
    }
    network = openvino.Core().compile_model(next(folder.glob("*.xml")), "CPU", config)
    return lambda picture: network(picture)


def street(width: int, height: int) -> NDArray[np.float32]:
    """A picture with people, which comes with Ultralytics."""
    from ultralytics.utils import ASSETS

    picture = cv2.imread(str(ASSETS / "bus.jpg"))
    if picture is None:
        raise FileNotFoundError(ASSETS / "bus.jpg")
    pixels = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)[:, :, ::-1]
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None] / 255, np.float32)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", type=Path, help=".pt or .onnx files")
    parser.add_argument("--rounds", type=int, default=60, help="turns of each (default: %(default)s)")
    parser.add_argument("--size", default="640x384", help="of the picture in pixels (default: %(default)s)")
    options = parser.parse_args()
    console = Console(width=120)
    runs: dict[str, Run] = {}
    apart: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        configure_ultralytics(Path(folder) / "ultralytics")
        for weights in options.weights:
            name, run = original(weights)
            runs[f"{weights.name}, {name}"] = run
            for precision in PRECISIONS:
                name = f"{weights.name}, OpenVINO, {precision}"
                try:
                    made = convert(weights, Path(folder) / "runtimes", precision=precision)
                except ConversionFailed as error:
                    console.print(f"{name}: {error}")
                    continue
                runs[name], apart[name] = converted(made.folder, precision), f"{made.verification.difference:.3%}"
        picture = street(*map(int, options.size.split("x")))
        times: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(options.rounds + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                run(picture)
                # The first turn prepares what depends on the size of the picture.
                if number:
                    times[name].append((time.perf_counter() - started) * 1000)
    table = Table("what runs", "median ms", "fastest ms", "joints apart, of body height")
    for name, spent in times.items():
        table.add_row(name, f"{statistics.median(spent):.0f}", f"{min(spent):.0f}", apart.get(name, ""))
    console.print(table)


if __name__ == "__main__":
    main()
