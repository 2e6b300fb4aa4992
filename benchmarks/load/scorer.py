"""Windows per second: ``python -m benchmarks.load.scorer [--device cpu|cuda] [--threads N]``.

Times the scorer from a tensor of windows to scores on the CPU, for several batch sizes, compared with the plain module
in evaluation mode. The figure is the median over repeats, with the range of the middle half.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.scorer import Scorer

BATCHES = (1, 16, 256, 2048)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Windows per second of DA-Flow.")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads on the CPU")
    parser.add_argument("--seconds", type=float, default=3.0, help="time to spend on each figure")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    checkpoint = Checkpoint.load(arguments.checkpoint)
    scorer = Scorer(checkpoint, arguments.device)
    plain = checkpoint.flow().to(scorer.device)
    table = Table("batch", "scorer, windows/s", "middle half", "ms a batch", "plain module, windows/s", "ratio")
    for batch in BATCHES:
        windows = torch.randn(batch, 2, checkpoint.spec.length, 18, device=scorer.device)

        def fused(windows: torch.Tensor = windows) -> None:
            scorer.nll(windows)

        def unfused(windows: torch.Tensor = windows) -> None:
            with torch.inference_mode():
                plain.nll(windows).cpu()

        fast = batch / durations(fused, arguments.seconds)
        slow = batch / durations(unfused, arguments.seconds)
        low, median, high = np.quantile(fast, [0.25, 0.5, 0.75])
        table.add_row(
            str(batch),
            f"{median:,.0f}",
            f"{low:,.0f} to {high:,.0f}",
            f"{1000 * batch / median:.2f}",
            f"{np.median(slow):,.0f}",
            f"{median / np.median(slow):.1f}",
        )
    console = Console(width=110)
    console.print(table)
    console.print(machine(scorer.device))


def durations(call: Callable[[], object], seconds: float) -> np.ndarray:
    """Seconds of each of many calls, after some to warm up; at least five."""
    for _ in range(3):
        call()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 5:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return np.array(taken)


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
    return f"{name}, {threads}, torch {torch.__version__}, {platform.system()}"


def processor() -> str:
    """The processor's name as Linux reports it, or the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
