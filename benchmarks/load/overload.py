"""More cameras than the machine can process: ``python -m benchmarks.load.overload CLIP --cameras 2 4 8 16``.

Plays a clip in a loop as more and more cameras of one service and prints, for each number: scores per second of the
camera that got least and of the one that got most, the age of scores at publication, and the frames dropped.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load.live import service


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=30, help="to measure each number of cameras")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds before that")
    arguments = parser.parse_args()

    print(f"{'cameras':>8}{'fps min':>9}{'fps max':>9}{'total':>8}{'p50 s':>9}{'p95 s':>9}{'max s':>9}  dropped per s")
    for number in arguments.cameras:
        with service([arguments.clip]) as running:
            names = [f"camera-{index}" for index in range(number)]
            for name in names:
                running.add_looped(name, arguments.clip)
            listeners = [running.listen(name) for name in names]
            time.sleep(arguments.warm_up)
            before, begin = _dropped(running.cameras()), time.monotonic()
            time.sleep(arguments.seconds)
            after, end = _dropped(running.cameras()), time.monotonic()
        heard = [listener.ages_between(begin, end) for listener in listeners]
        rates = [len(ages) / (end - begin) for ages in heard]
        ages = np.concatenate(heard)
        drops = {reason: (after[reason] - before.get(reason, 0)) / (end - begin) for reason in after}
        p50, p95 = np.percentile(ages, [50, 95])
        print(
            f"{number:8}{min(rates):9.2f}{max(rates):9.2f}{sum(rates):8.1f}{p50:9.3f}{p95:9.3f}{ages.max():9.3f}  "
            + ", ".join(f"{reason} {rate:.1f}" for reason, rate in drops.items()),
            flush=True,
        )
    return 0


def _dropped(cameras: list[dict[str, Any]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for camera in cameras:
        for reason, number in camera["dropped"].items():
            total[reason] = total.get(reason, 0) + number
    return total


if __name__ == "__main__":
    sys.exit(main())
