"""Post every video of a folder to a running service: ``python -m benchmarks.load.post_clips FOLDER``.

Checks each answer against the result document and prints one line for each clip that is not scored as it should be,
then a summary. Exits with 1 if any clip failed.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import httpx

from service.documents.results import ClipResult

SUFFIXES = {".mp4", ".avi", ".mkv", ".mov", ".webm"}


def main() -> int:
    """Post the clips one after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--wait", type=float, default=300, help="seconds to wait for one clip")
    arguments = parser.parse_args()

    clips = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    failed, seconds, scored, frames = 0, [], 0, 0
    with httpx.Client(base_url=arguments.url, timeout=arguments.wait + 30) as client:
        for clip in clips:
            started = time.perf_counter()
            with clip.open("rb") as file:
                answer = client.post("/v1/clips", params={"wait": arguments.wait}, files={"file": (clip.name, file)})
            seconds.append(time.perf_counter() - started)
            if answer.status_code != httpx.codes.OK:
                failed += 1
                print(f"{clip.relative_to(arguments.folder)}: {answer.status_code} {answer.text[:300]}")
                continue
            result = ClipResult.model_validate(answer.json()["result"])
            problem = inconsistency(result)
            if problem:
                failed += 1
                print(f"{clip.relative_to(arguments.folder)}: {problem}")
            scored += any(frame.level is not None for frame in result.frames)
            frames += result.clip.frames
    print(
        f"{len(clips)} clips, {frames} frames: {len(clips) - failed} valid results, {failed} failed; "
        f"somebody was scored in {scored}; median {statistics.median(seconds):.2f} s a clip"
        if clips
        else f"no videos in {arguments.folder}"
    )
    return 1 if failed or not clips else 0


def inconsistency(result: ClipResult) -> str | None:
    """What is wrong with a result beyond its schema, or None."""
    if [frame.index for frame in result.frames] != list(range(result.clip.frames)):
        return "frames are missing or out of order"
    if any((frame.level is None) != (frame.reason is not None) for frame in result.frames):
        return "a frame without a score gives no reason, or one with a score gives one"
    seen = {person.track for frame in result.frames for person in frame.people}
    if seen != {track.id for track in result.tracks}:
        return "people and tracks disagree"
    if not any(frame.level is not None for frame in result.frames) and not result.notes:
        return "nobody was scored and no note says why"
    return None


if __name__ == "__main__":
    sys.exit(main())
