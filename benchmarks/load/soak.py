"""Whether the service stays stable over time: ``python -m benchmarks.load.soak CLIP CLIP --minutes 20``.

Plays clips in a loop as cameras of a service, listens to their scores, and prints once a minute what the process uses
and how old scores are when they are published. At the end the second fifth of the time is compared with the last one;
exits with 1 if memory grew by more than 5 %, the 95th percentile of the age by more than half, or threads or files by
more than three.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.load.live import Listener, Service, service

_SAMPLE_S = 5.0
_MOST_GROWTH = {"rss_mb": 1.05, "age_p95_s": 1.5}
_MOST_MORE = {"threads": 3.0, "files": 3.0}


@dataclass
class Sample:
    """What was seen in a few seconds.

    Attributes:
        at: Seconds since the start.
        rss_mb: Resident memory of the process, MiB.
        threads: Its threads.
        files: Its open file handles.
        age_p50_s: Median age of scores at publication.
        age_p95_s: 95th percentile.
        fps: Scores per second and camera.
    """

    at: float
    rss_mb: float
    threads: float
    files: float
    age_p50_s: float
    age_p95_s: float
    fps: float


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--fps", type=float, default=8, help="pictures per second of each camera that are looked at")
    arguments = parser.parse_args()

    with service(arguments.clips) as running:
        names = [f"camera-{number}" for number in range(1, len(arguments.clips) + 1)]
        for name, clip in zip(names, arguments.clips, strict=True):
            running.add_looped(name, clip, max_fps=arguments.fps)
        listeners = [running.listen(name) for name in names]
        samples = _watch(running, listeners, arguments.minutes * 60)
        incidents = running.client.get("/v1/incidents", params={"limit": 200}).json()["incidents"]
    fifth = max(1, len(samples) // 5)
    early, late = _mean(samples[fifth : 2 * fifth]), _mean(samples[-fifth:])
    print(f"\n{'':12}{'second fifth':>14}{'last fifth':>14}")
    for name in ("rss_mb", "threads", "files", "age_p50_s", "age_p95_s", "fps"):
        print(f"{name:12}{getattr(early, name):14.3f}{getattr(late, name):14.3f}")
    print(f"{len(incidents)} incidents")
    grown = [name for name, most in _MOST_GROWTH.items() if getattr(late, name) > most * getattr(early, name)]
    grown += [name for name, most in _MOST_MORE.items() if getattr(late, name) > getattr(early, name) + most]
    print(f"grew: {', '.join(grown)}" if grown else "flat")
    return 1 if grown else 0


def _watch(running: Service, listeners: list[Listener], seconds: float) -> list[Sample]:
    print(f"{'minute':>7}{'RSS MiB':>9}{'threads':>9}{'files':>7}{'age p50':>9}{'age p95':>9}{'fps':>7}")
    started = time.monotonic()
    samples: list[Sample] = []
    while (now := time.monotonic()) - started < seconds:
        time.sleep(_SAMPLE_S)
        ages = [age for listener in listeners for age in listener.ages_between(now, now + _SAMPLE_S)]
        if not ages:
            raise SystemExit("no scores arrive")
        samples.append(
            Sample(
                at=now - started,
                rss_mb=running.process.memory_info().rss / 2**20,
                threads=running.process.num_threads(),
                files=running.process.num_fds(),
                age_p50_s=statistics.median(ages),
                age_p95_s=float(np.percentile(ages, 95)),
                fps=len(ages) / _SAMPLE_S / len(listeners),
            )
        )
        minute = [one for one in samples if one.at > samples[-1].at - 60]
        if len(samples) % round(60 / _SAMPLE_S) == 0:
            seen = _mean(minute)
            print(
                f"{(samples[-1].at + _SAMPLE_S) / 60:7.1f}{seen.rss_mb:9.1f}{seen.threads:9.1f}{seen.files:7.1f}"
                f"{seen.age_p50_s:9.3f}{seen.age_p95_s:9.3f}{seen.fps:7.2f}",
                flush=True,
            )
    return samples


def _mean(samples: list[Sample]) -> Sample:
    values = {name: statistics.fmean(getattr(one, name) for one in samples) for name in Sample.__annotations__}
    return Sample(**values)


if __name__ == "__main__":
    sys.exit(main())
