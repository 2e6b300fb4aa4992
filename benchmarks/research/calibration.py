"""Whether false-alarm budgets hold: ``python -m benchmarks.research.calibration --data DIR [--smoothing]``.

For every camera of PoseLift, several times: its normal clips are split at random, a live calibration is fitted to one
part, and the alarms that its threshold would have raised are counted on the rest, by the rule of incidents:
frames scored live, smoothed causally, held for the minimum duration, merged over the quiet period. It prints the
budget, the interval reported, the rate achieved, and in how many splits the two agree: the achieved count must be
explained by some rate of the interval, that is lie within the 5 % and 95 % quantiles of a Poisson count at its
lower and upper end. The checkpoint was trained on some of these clips; only the calibration of its scores is tested
here.

With --smoothing: for several time constants, how far the score must rise for two seconds to raise an alarm, when the
threshold costs so many false alarms on held-out clips of all cameras. The default is chosen by it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import poisson

from benchmarks.research.poselift import FRAME_RATE_HZ
from model.adaptation import calibrate, live_recording
from model.calibration import CalibrationError, Recording, exceedance_runs
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import PoseClip, hold_out, read_split
from model.footage import PoseFootage
from model.scorer import RawScorer
from service.documents.budget import HOURS_PER_DAY

QUIET_S = 10.0
MIN_DURATION_S = 0.5
EVENT_S = 2.0


@dataclass(frozen=True, slots=True)
class Split:
    """One random split of one camera's footage.

    Attributes:
        camera: Its name.
        asked: False alarms per hour.
        interval: 90 % interval of the false alarms per hour of the threshold.
        achieved: False alarms per hour on the rest.
        alarms: How many that were.
        judged_h: Hours of the rest.
        kept: Whether a rate in the interval explains the alarms.
    """

    camera: str
    asked: float
    interval: tuple[float, float]
    achieved: float
    alarms: int
    judged_h: float
    kept: bool


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Live calibration on PoseLift.")
    parser.add_argument("--data", type=Path, required=True, help="folder with pose/train")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="checkpoint to calibrate")
    parser.add_argument("--splits", type=int, default=5, help="splits of each camera")
    parser.add_argument("--rates", type=float, nargs="+", default=[20.0, 60.0], help="false alarms per hour to ask for")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--smoothing", action="store_true", help="compare time constants instead")
    arguments = parser.parse_args()
    clips = read_split(arguments.data / "pose" / "train")
    checkpoint = Checkpoint.load(arguments.checkpoint)
    console = Console(width=120)
    if arguments.smoothing:
        console.print(smoothing_table(checkpoint, hold_out(clips, 0.3, 0)[1]))
        return
    splits: list[Split] = []
    refusals: list[tuple[str, float]] = []
    for camera in sorted({clip.camera for clip in clips}):
        footage = [PoseFootage.of_clip(clip, FRAME_RATE_HZ) for clip in clips if clip.camera == camera]
        for seed in range(arguments.splits):
            for rate in arguments.rates:
                try:
                    splits.append(judged(camera, footage, checkpoint, rate, seed))
                except CalibrationError as error:
                    refusals.append((camera, rate))
                    Console(stderr=True).print(f"camera {camera}, {rate:g}/h: {error} ({error.needed_s})")
    console.print(table(splits, refusals))
    kept = sum(split.kept for split in splits)
    console.print(f"{kept} of {len(splits)} splits kept what was reported; {len(refusals)} refused")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(split) for split in splits], indent=2))


def judged(camera: str, footage: Sequence[PoseFootage], checkpoint: Checkpoint, rate: float, seed: int) -> Split:
    """Calibrate on a random part of about 60 % and count alarms on the rest.

    Raises:
        CalibrationError: The part does not support the rate.
    """
    order = np.random.default_rng(seed).permutation(len(footage))
    seconds = np.cumsum([len(footage[i].frame_times) for i in order])
    cut = max(int(np.searchsorted(seconds, 0.6 * seconds[-1])), 1)
    calibration, _ = calibrate(
        [footage[i] for i in order[:cut]], checkpoint, merge_s=QUIET_S, min_duration_s=MIN_DURATION_S
    )
    per_day = HOURS_PER_DAY * rate
    if calibration.supported_per_day(per_day) > per_day:
        raise CalibrationError(f"the footage does not support {rate:g} an hour", calibration.needed_s(per_day))
    level = calibration.threshold(false_alarms_per_day=per_day)
    threshold = float(calibration.nll(np.array(level)))
    scorer = RawScorer.of_checkpoint(checkpoint)
    rest = [live_recording(footage[i], scorer, min_duration_s=MIN_DURATION_S)[0] for i in order[cut:]]
    alarms, hours = count(rest, threshold), sum(recording.duration_s for recording in rest) / 3600
    low, high = (end / HOURS_PER_DAY for end in calibration.interval_per_day(level))
    kept = poisson.ppf(0.05, low * hours) <= alarms <= poisson.ppf(0.95, high * hours)
    return Split(camera, rate, (low, high), alarms / hours, alarms, hours, bool(kept))


def count(recordings: Sequence[Recording], threshold: float) -> int:
    """Alarms of a threshold on the held score."""
    merge_s = QUIET_S + MIN_DURATION_S
    return sum(len(exceedance_runs(own.times, own.highest, threshold, merge_s)) for own in recordings)


def table(splits: Sequence[Split], refusals: Sequence[tuple[str, float]]) -> Table:
    """One row for each camera and rate."""
    result = Table("camera", "asked/h", "reported/h (mean ends)", "achieved/h (mean)", "kept", "refused")
    for camera, rate in sorted({(split.camera, split.asked) for split in splits} | set(refusals)):
        own = [split for split in splits if (split.camera, split.asked) == (camera, rate)]
        reported = achieved = kept = "-"
        if own:
            low, high = np.mean([split.interval for split in own], axis=0)
            reported = f"{low:.1f} to {high:.1f}"
            achieved = f"{sum(split.alarms for split in own) / sum(split.judged_h for split in own):.1f}"
            kept = f"{sum(split.kept for split in own)} of {len(own)}"
        refused = str(refusals.count((camera, rate)))
        result.add_row(camera, f"{rate:g}", reported, achieved, kept, refused)
    return result


def smoothing_table(checkpoint: Checkpoint, clips: Sequence[PoseClip]) -> Table:
    """How far a score must rise for `EVENT_S` to raise an alarm, by time constant and rate of false alarms."""
    rates = (60.0, 20.0, 10.0)
    scorer = RawScorer.of_checkpoint(checkpoint)
    footage = [PoseFootage.of_clip(clip, FRAME_RATE_HZ) for clip in clips]
    result = Table("time constant, s", *(f"rise at {rate:g}/h, bits/dim" for rate in rates), "mean")
    for tau_s in (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0):
        scored = [live_recording(own, scorer, min_duration_s=MIN_DURATION_S, tau_s=tau_s) for own in footage]
        recordings = [recording for recording, _ in scored]
        usual = float(np.nanmedian(np.concatenate([smoothed for _, smoothed in scored])))
        response = 1 - np.exp(-(EVENT_S - MIN_DURATION_S) / tau_s) if tau_s else 1.0
        rises = [(threshold_at(recordings, rate) - usual) / response for rate in rates]
        result.add_row(f"{tau_s:g}", *(f"{rise:.3f}" for rise in rises), f"{np.mean(rises):.3f}")
    return result


def threshold_at(recordings: Sequence[Recording], rate: float) -> float:
    """The lowest held score that raises no more than so many alarms per hour, by bisection."""
    allowed = rate * sum(recording.duration_s for recording in recordings) / 3600
    low, high = (
        float(function([function(own.highest) for own in recordings if np.isfinite(own.highest).any()]))
        for function in (np.nanmin, np.nanmax)
    )
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if count(recordings, middle) > allowed else (low, middle)
    return high


if __name__ == "__main__":
    main()
