"""Fights against no-fights from pixels, trained on normal life only.

``python -m benchmarks.research.fights --clips DIR --poses DIR [--data POSELIFT]
[--json benchmarks/research/fights.json --page docs/fights.md]``

The clips lie in ``fight`` and ``noFight``; the folder is the label. Their poses come from ``daflow extract``. Of the
no-fight clips 37 drawn at random are normal footage, from which the parts for motion and pairs, the norm of tracking
and all calibrations are learnt; the other no-fight clips and all fights are judged. A clip's score is the highest score
that a live camera would have published in it: windows that have ended, causal smoothing, evidence added up by Fisher's
sum of surprises. The flow is the shipped one, and, with --data, one trained on PoseLift's normal clips together with
two thirds of the normal no-fight clips and calibrated on the rest; where the rest is too short to calibrate on, on all
normal no-fight clips, and the page says so.

They are compared with baselines that ignore movement, and with properties of the video files: where those separate
fights from no-fights, the two kinds of clips were collected differently, and part of every AUC may come from that.

With --json the figures are written, with --page also a page and ``images/fights.png`` beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.research.baselines import MotionEnergyBaseline
from benchmarks.research.experiments import write_clips
from benchmarks.research.fights_report import print_tables, write_figures, write_page
from model.calibration import CalibrationError
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import SUFFIX, PersonTrack, PoseClip, read_clip, read_split
from model.evaluation import people_counts
from model.footage import PoseFootage, online_series
from model.layouts import META_SUFFIX
from model.metrics import bootstrap_by_clip
from model.parts import MOTION, PAIR, POSE, Footage, Parts, fit_parts
from model.scorer import RawScorer
from model.smoothing import DEFAULT_GAP_S, DEFAULT_TAU_S, smooth_causally
from model.stgnf import load_stgnf
from model.tracking import SPAN_S, TrackingEvents, TrackingNorm
from model.training import TrainingSettings, library_versions, train
from pose.windows import Windows, WindowSpec

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]

Rule = Literal["sum", "max"]
"""How surprises are combined: by their sum (Fisher), or by the largest (the smallest p)."""

TRACKING: Final = "tracking"
FOLDERS: Final = {"fight": True, "noFight": False}
NORMAL_CLIPS: Final = 37
LEARNT_CLIPS: Final = 25
"""Of the normal clips, those that the flow trained here learns from; the rest calibrate it."""
EPOCHS: Final = 20
REPLICATES: Final = 2000

ALL_FOUR: Final = "all four, Fisher's sum"
TRACKS: Final = "number of tracks"

_LONGER: Final = 1.2
"""Of two clips that match, the longer is at most so many times as long."""
_SAME_RATE_HZ: Final = 0.5


class FightsError(ValueError):
    """The clips or their poses are not what they should be; the message says how to fix it."""


@dataclass(frozen=True, slots=True)
class Combination:
    """Parts that are judged together.

    Attributes:
        name: What to call it in tables.
        parts: Those whose surprises are combined.
        rule: How.
    """

    name: str
    parts: tuple[str, ...]
    rule: Rule = "sum"


COMBINATIONS: Final = (
    Combination("pose", (POSE,)),
    Combination("motion", (MOTION,)),
    Combination("pair", (PAIR,)),
    Combination("tracking", (TRACKING,)),
    Combination("pose, motion, pair, Fisher's sum", (POSE, MOTION, PAIR)),
    Combination(ALL_FOUR, (POSE, MOTION, PAIR, TRACKING)),
    Combination("all four, smallest p", (POSE, MOTION, PAIR, TRACKING), "max"),
)


@dataclass(frozen=True, eq=False)
class FightClip:
    """One clip as poses.

    Attributes:
        poses: All people in it.
        fight: The label.
        frames: Frames of the video.
        rate_hz: Frames per second.
        pixels: Of a frame.
        digest: SHA-256 of the file with the poses.
    """

    poses: PoseClip
    fight: bool
    frames: int
    rate_hz: float
    pixels: int
    digest: str = ""

    @property
    def name(self) -> str:
        """The clip's."""
        return self.poses.name

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return self.frames / self.rate_hz

    @cached_property
    def footage(self) -> PoseFootage:
        """The clip on its own clock."""
        return PoseFootage.of_clip(self.poses, self.rate_hz, self.frames)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The input of the parts for one clip.

    Attributes:
        footage: The clip.
        windows: Its windows at stride 1.
        nll: Shape ``(N,)``, their negative log-likelihood.
        events: Shape ``(F,)``, events of tracking in the last `SPAN_S` seconds before each frame.
        exposure: Shape ``(F,)``, the person-seconds they came from.
    """

    footage: PoseFootage
    windows: Windows
    nll: Floats
    events: NDArray[np.int64]
    exposure: Floats

    @classmethod
    def of(cls, footage: PoseFootage, scorer: RawScorer) -> Evidence:
        """Look at a clip."""
        windows = footage.windows(scorer.spec)
        nll = scorer.nll(windows.tensor) if len(windows) else np.empty(0)
        return cls(footage, windows, nll, *tracking_events(footage))


@dataclass(frozen=True, slots=True)
class Norm:
    """What is normal to all four parts.

    Attributes:
        parts: Pose, motion and pair.
        tracking: Of tracking.
    """

    parts: Parts
    tracking: TrackingNorm

    @classmethod
    def learn(cls, normal: Sequence[Evidence], spec: WindowSpec) -> Norm:
        """Learn from normal clips.

        Raises:
            CalibrationError: They are too short.
        """
        footage = [Footage(own.windows, own.footage.frame_times) for own in normal]
        counts = []
        for own in normal:
            times = own.footage.frame_times
            last = np.searchsorted(times, np.arange(SPAN_S, times[-1], SPAN_S))
            counts += [(int(own.events[frame]), float(own.exposure[frame])) for frame in last]
        return cls(fit_parts(footage, [own.nll for own in normal], spec), TrackingNorm.fit(counts))


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment with the highest score of a clip.

    Attributes:
        score: Bits, smoothed causally.
        time_s: Seconds from the start of the clip.
        main_part: The part with the largest surprise in that frame.
    """

    score: float
    time_s: float
    main_part: str


@dataclass(frozen=True, slots=True)
class Split:
    """Which clips are what; every list in order of names.

    Attributes:
        seed: Decided it.
        learnt: Normal clips that a flow may learn from.
        calibrated: The other normal clips.
        judged: Fights, and the no-fights held back.
    """

    seed: int
    learnt: tuple[str, ...]
    calibrated: tuple[str, ...]
    judged: tuple[str, ...]

    @classmethod
    def of(cls, clips: Sequence[FightClip], seed: int, normal: int = NORMAL_CLIPS, learnt: int = LEARNT_CLIPS) -> Split:
        """Draw the normal clips among the no-fights.

        Raises:
            FightsError: No no-fight would be left to judge.
        """
        calm = sorted(clip.name for clip in clips if not clip.fight)
        if len(calm) <= normal:
            raise FightsError(f"{len(calm)} no-fight clips; {normal} are learnt from, and some must be left to judge")
        drawn = [str(name) for name in np.random.default_rng(seed).permutation(calm)]
        judged = drawn[normal:] + [clip.name for clip in clips if clip.fight]
        return cls(seed, tuple(sorted(drawn[:learnt])), tuple(sorted(drawn[learnt:normal])), tuple(sorted(judged)))

    @property
    def normal(self) -> tuple[str, ...]:
        """All normal clips."""
        return tuple(sorted(self.learnt + self.calibrated))


class PairAUC:
    """Share of pairs of a fight and a no-fight in which the fight scores higher, ties one half, in a sample of clips.

    Args:
        labels: Shape ``(n,)``, 1 is a fight.
        scores: Shape ``(n,)``; nan ranks lowest.
        allowed: Shape ``(n, n)``, which pairs of clips count; all if missing.
    """

    def __init__(self, labels: Labels, scores: Floats, allowed: Mask | None = None) -> None:
        ranked = np.where(np.isnan(scores), -np.inf, scores)
        fights, calm = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
        pairs = np.zeros((len(labels), len(labels)))
        pairs[np.ix_(fights, calm)] = 1.0
        self._pairs = pairs if allowed is None else pairs * allowed
        above = (ranked[:, None] > ranked).astype(np.float64) + 0.5 * (ranked[:, None] == ranked)
        self._wins = self._pairs * above

    @property
    def pairs(self) -> int:
        """How many pairs count."""
        return int(self._pairs.sum())

    def __call__(self, counts: NDArray[np.int64]) -> float:
        """The AUC where each clip is in the sample so often, shape ``(n,)``; nan without a pair."""
        pairs = float(counts @ self._pairs @ counts)
        return float(counts @ self._wins @ counts) / pairs if pairs else math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Scores of the judged clips of one split.

    Attributes:
        labels: Shape ``(n,)``, 1 is a fight.
        matched: Shape ``(n, n)``, which clips have the same frame size and rate, and nearly the same length.
        scores: By row of the table, shape ``(n,)``; nan where nobody was scored.
        peaks: By row, the peak of each clip; rows of parts only.
    """

    labels: Labels
    matched: Mask
    scores: dict[str, Floats]
    peaks: dict[str, list[Peak | None]] = field(default_factory=dict)

    def figures(self, row: str, *, replicates: int = REPLICATES) -> dict[str, Any]:
        """Figures of one row, ready for JSON."""
        scores = self.scores[row]
        scored = ~np.isnan(scores)
        both = scored[:, None] & scored
        whole = PairAUC(self.labels, scores)
        conditional = PairAUC(self.labels, scores, both)
        matched = PairAUC(self.labels, scores, self.matched)
        result: dict[str, Any] = {"clips": len(scores), "scored": int(scored.sum()), "matched_pairs": matched.pairs}
        for name, auc in (("auc", whole), ("conditional", conditional), ("matched", matched)):
            result[name] = _number(auc(np.ones(len(scores), np.int64)))
            result[f"{name}_interval"] = self._interval(auc, replicates)
        return result

    def difference(self, row: str, other: str, *, replicates: int = REPLICATES) -> dict[str, Any]:
        """AUC of a row minus that of another on the same clips, ready for JSON."""
        one, two = PairAUC(self.labels, self.scores[row]), PairAUC(self.labels, self.scores[other])

        def statistic(counts: NDArray[np.int64]) -> float:
            return one(counts) - two(counts)

        value = _number(statistic(np.ones(len(self.labels), np.int64)))
        return {"row": row, "other": other, "auc": value, "auc_interval": self._interval(statistic, replicates)}

    def _interval(self, statistic: Any, replicates: int) -> list[float] | None:
        interval = bootstrap_by_clip(statistic, len(self.labels), replicates=replicates, seed=0) if replicates else None
        return None if interval is None else [interval.low, interval.high]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Fights against no-fights from pixels, learnt from normal life only.")
    parser.add_argument("--clips", type=Path, required=True, help="folder with fight/ and noFight/")
    parser.add_argument("--poses", type=Path, required=True, help="folder that `daflow extract` wrote their poses into")
    parser.add_argument("--data", type=Path, help="PoseLift; also train a flow on it and on no-fight clips")
    parser.add_argument("--checkpoint", type=Path, default=DEFAULT_CHECKPOINT, help="the shipped flow")
    parser.add_argument("--stgnf-checkpoint", type=Path, help="a .tar of STG-NF's public code, as one more baseline")
    parser.add_argument("--seeds", type=int, default=5, help="splits of the no-fight clips")
    parser.add_argument("--jobs", type=int, default=torch.get_num_threads(), help="threads")
    parser.add_argument("--cache", type=Path, help="folder to train in; by default mixed/ in the folder of the poses")
    parser.add_argument("--json", type=Path, help="write figures here")
    parser.add_argument("--page", type=Path, help="with --json: write a page here, and a plot into images/ beside it")
    arguments = parser.parse_args()
    if arguments.page and not arguments.json:
        parser.error("--page needs --json: the page links to the figures")
    torch.set_num_threads(arguments.jobs)
    console = Console(width=150)
    try:
        clips = read_fights(arguments.clips, arguments.poses)
        result = measure(
            clips,
            Checkpoint.load(arguments.checkpoint),
            seeds=range(arguments.seeds),
            stgnf=None if arguments.stgnf_checkpoint is None else load_stgnf(arguments.stgnf_checkpoint),
            data=arguments.data,
            cache=arguments.cache or arguments.poses / "mixed",
            console=Console(stderr=True),
        )
    except FightsError as error:
        sys.exit(f"error: {error}")
    result["provenance"] = {
        "command": _command(),
        "versions": library_versions() | {name: version(name) for name in ("scipy", "scikit-learn", "ultralytics")},
        "poses_sha256": _joint_digest(clips),
        "made_with": _made_with(arguments.poses, clips),
        "checkpoint_sha256": _digest(arguments.checkpoint),
        "stgnf_sha256": None if arguments.stgnf_checkpoint is None else _digest(arguments.stgnf_checkpoint),
    }
    print_tables(result, console)
    if arguments.json:
        write_figures(result, arguments.json)
        if arguments.page:
            write_page(result, arguments.page, arguments.json)


def read_fights(clips: Path, poses: Path) -> list[FightClip]:
    """Read all clips, in order of their names.

    Args:
        clips: Folder with the videos in ``fight`` and ``noFight``.
        poses: Folder with what ``daflow extract`` made of them.

    Raises:
        FightsError: There are no videos, their poses are missing, or they were made from other videos.
        DatasetError: A file with poses is malformed.
    """
    videos = [(path, fight) for folder, fight in FOLDERS.items() for path in sorted((clips / folder).glob("*.*"))]
    if {fight for _, fight in videos} != {True, False}:
        raise FightsError(f"{clips}: expected videos in {' and '.join(FOLDERS)}")
    missing = [path for path, _ in videos if not (poses / f"{path.stem}{META_SUFFIX}").exists()]
    if missing:
        sources = " ".join(str(clips / folder / f"*{missing[0].suffix}") for folder in FOLDERS)
        raise FightsError(
            f"{poses}: poses of {len(missing)} of {len(videos)} clips are missing, the first is {missing[0].name}; "
            f"make them with: daflow extract {sources} --output {poses}"
        )
    return sorted((_read(path, poses, fight) for path, fight in videos), key=lambda clip: clip.name)


def measure(
    clips: Sequence[FightClip],
    checkpoint: Checkpoint,
    *,
    seeds: Sequence[int],
    stgnf: Checkpoint | None = None,
    data: Path | None = None,
    cache: Path | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """All figures, ready for JSON.

    Args:
        clips: All clips.
        checkpoint: The shipped flow.
        seeds: Of the splits; intervals, clips and the flow trained here belong to the first.
        stgnf: One more baseline.
        data: PoseLift, to train a flow on it and on no-fight clips.
        cache: Folder to train in; needed with `data`.
        console: Where progress of training goes.
    """
    splits = [Split.of(clips, seed) for seed in seeds]
    by_name = {clip.name: clip for clip in clips}
    known = baselines(clips, checkpoint.spec, stgnf)
    scorer = RawScorer.of_checkpoint(checkpoint)
    spec = scorer.spec
    evidence = {clip.name: Evidence.of(clip.footage, scorer) for clip in clips}
    judged = [
        judge(by_name, split, evidence, Norm.learn([evidence[name] for name in split.normal], spec), known, spec)
        for split in splits
    ]
    flows = [_flow("shipped flow", checkpoint, splits[0], judged, by_name, calibrated_on=len(splits[0].normal))]
    if data is not None and cache is not None:
        trained = train_mixed(data, [by_name[name] for name in splits[0].learnt], checkpoint, cache, console)
        own = RawScorer.of_checkpoint(trained)
        seen = {clip.name: Evidence.of(clip.footage, own) for clip in clips}
        used, problem = splits[0].calibrated, None
        try:
            norm = Norm.learn([seen[name] for name in used], own.spec)
        except CalibrationError as error:
            used, problem = splits[0].normal, str(error)
            norm = Norm.learn([seen[name] for name in used], own.spec)
        once = [judge(by_name, splits[0], seen, norm, known, own.spec)]
        flow = _flow("flow trained with no-fights", trained, splits[0], once, by_name, calibrated_on=len(used))
        nll = {
            part: _mean_nll(seen, names)
            for part, names in (("learnt", splits[0].learnt), ("others", splits[0].calibrated))
        }
        flows.append(flow | {"learnt_from": len(splits[0].learnt), "too_few": problem, "nll": nll})
    return {
        "protocol": {
            "clips": len(clips),
            "fights": sum(clip.fight for clip in clips),
            "normal": len(splits[0].normal),
            "judged": len(splits[0].judged),
            "seeds": list(seeds),
            "tau_s": DEFAULT_TAU_S,
            "gap_s": DEFAULT_GAP_S,
            "replicates": REPLICATES,
            "longer": _LONGER,
        },
        "baselines": [_row(name, judged) for name in known],
        "flows": flows,
    }


def tracking_events(footage: PoseFootage) -> tuple[NDArray[np.int64], Floats]:
    """Events of tracking and the person-seconds they came from, at every frame, each of shape ``(F,)``."""
    present: dict[float, list[int]] = {time: [] for time in footage.frame_times.tolist()}
    for track in footage.tracks:
        for time in track.times.tolist():
            present[time].append(track.track_id)
    counter = TrackingEvents()
    counts = [counter.frame(time, people) for time, people in present.items()]
    return np.array([events for events, _ in counts], np.int64), np.array([exposure for _, exposure in counts])


def peak(evidence: Evidence, norm: Norm, combination: Combination, spec: WindowSpec) -> Peak | None:
    """Where the combined score of some parts is highest; None if none of them has a score."""
    footage, windows = evidence.footage, evidence.windows
    alone = np.zeros(len(windows), np.int64)
    surprises = norm.parts.surprises(windows, evidence.nll, alone, spec)
    chosen = {name: surprises[name] for name in combination.parts if name in surprises}
    combined = _together(list(chosen.values()), combination.rule, len(windows))
    people = online_series(footage, windows, combined, spec).raw
    series = [people]
    if TRACKING in combination.parts:
        series.append(norm.tracking.surprise(evidence.events, evidence.exposure))
    raw = _together(series, combination.rule, len(people))
    if np.isnan(raw).all():
        return None
    smoothed = smooth_causally(footage.frame_times, raw)
    frame = int(np.nanargmax(smoothed))
    time = float(footage.frame_times[frame])
    shares: dict[str, float] = {}
    if not np.isnan(people[frame]):
        scored = _scored_window(windows, combined, float(people[frame]), time)
        shares |= {name: float(bits[scored]) for name, bits in chosen.items()}
    if TRACKING in combination.parts:
        shares[TRACKING] = float(series[1][frame])
    return Peak(float(smoothed[frame]), time, max(shares, key=lambda name: np.nan_to_num(shares[name], nan=-1.0)))


def baselines(
    clips: Sequence[FightClip], spec: WindowSpec, stgnf: Checkpoint | None = None
) -> dict[str, dict[str, float]]:
    """By baseline and by clip, a score that ignores movement, of a model without parts, or of the file alone."""
    energy = MotionEnergyBaseline(spec.rate_hz)
    known = {
        "people per frame": {clip.name: float(people_counts(clip.poses, clip.frames).mean()) for clip in clips},
        TRACKS: {clip.name: float(len(clip.poses.tracks)) for clip in clips},
        "tracks per second": {clip.name: len(clip.poses.tracks) / clip.duration_s for clip in clips},
        "motion energy": {
            clip.name: _highest(clip.footage, clip.footage.windows(spec), energy, spec) for clip in clips
        },
    }
    if stgnf is not None:
        scorer = RawScorer.of_checkpoint(stgnf)
        known["STG-NF"] = {
            clip.name: _highest(clip.footage, clip.footage.windows(scorer.spec), scorer.raw, scorer.spec)
            for clip in clips
        }
    return known | {
        "file: duration": {clip.name: clip.duration_s for clip in clips},
        "file: frame rate": {clip.name: clip.rate_hz for clip in clips},
        "file: pixels of a frame": {clip.name: float(clip.pixels) for clip in clips},
    }


def judge(
    clips: Mapping[str, FightClip],
    split: Split,
    evidence: Mapping[str, Evidence],
    norm: Norm,
    known: Mapping[str, Mapping[str, float]],
    spec: WindowSpec,
) -> Judged:
    """Score the judged clips of a split by every combination of parts and every baseline."""
    own = [clips[name] for name in split.judged]
    peaks = {
        combination.name: [peak(evidence[clip.name], norm, combination, spec) for clip in own]
        for combination in COMBINATIONS
    }
    scores = {
        row: np.array([math.nan if found is None else found.score for found in of_clips])
        for row, of_clips in peaks.items()
    }
    scores |= {row: np.array([values[clip.name] for clip in own]) for row, values in known.items()}
    return Judged(np.array([clip.fight for clip in own], np.int64), matched_clips(own), scores, peaks)


def matched_clips(clips: Sequence[FightClip]) -> Mask:
    """Which clips have as many pixels, as many frames per second and nearly the same length, shape ``(n, n)``."""
    pixels, rates, durations = (
        np.array([getattr(clip, name) for clip in clips], np.float64) for name in ("pixels", "rate_hz", "duration_s")
    )
    ratio = durations[:, None] / durations
    return np.asarray(
        (pixels[:, None] == pixels)
        & (np.abs(rates[:, None] - rates) < _SAME_RATE_HZ)
        & (np.maximum(ratio, 1 / ratio) <= _LONGER)
    )


def train_mixed(
    data: Path, learnt: Sequence[FightClip], like: Checkpoint, cache: Path, console: Console | None = None
) -> Checkpoint:
    """Train a flow of the same architecture on PoseLift's normal clips and on some no-fight clips.

    The split of a flow's own training holds out clips of PoseLift only, to choose the epoch. A run that was cut short
    goes on.
    """
    settings = TrainingSettings(
        cache / "data",
        cache / "poselift-no-fights.safetensors",
        epochs=EPOCHS,
        config=like.config,
        rate_hz=like.spec.rate_hz,
        max_gap_s=like.spec.max_gap_s,
        axes="xy",
        parts=True,
        resume=cache / "state.safetensors",
        command=_command(),
    )
    folder = settings.data / "pose" / "train"
    shutil.rmtree(folder, ignore_errors=True)
    calm = [resampled(clip.poses, clip.rate_hz, settings.rate_hz, settings.max_gap_s) for clip in learnt]
    write_clips([*read_split(data / "pose" / "train"), *calm], folder)
    return train(settings, console=console).checkpoint


def resampled(clip: PoseClip, from_hz: float, to_hz: float, max_gap_s: float) -> PoseClip:
    """A clip as a camera of another frame rate would have it, interpolated linearly where no gap is too long."""
    tracks = []
    for track in clip.tracks:
        times = track.frames / from_hz
        values = track.keypoints.numpy().reshape(len(times), -1)
        pieces = np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > max_gap_s) + 1)
        frames, poses = [], []
        for piece in pieces:
            own = times[piece]
            grid = np.arange(math.ceil(own[0] * to_hz - 1e-6), math.floor(own[-1] * to_hz + 1e-6) + 1)
            frames.append(grid)
            poses.append(np.stack([np.interp(grid / to_hz, own, column) for column in values[piece].T], axis=1))
        number = np.concatenate(frames).astype(np.int64)
        if len(number):
            keypoints = torch.from_numpy(np.concatenate(poses)).float().reshape(len(number), *track.keypoints.shape[1:])
            tracks.append(PersonTrack(track.person, number, keypoints))
    return PoseClip(clip.name, tuple(tracks))


def _read(video: Path, poses: Path, fight: bool) -> FightClip:
    path, meta = poses / f"{video.stem}{SUFFIX}", poses / f"{video.stem}{META_SUFFIX}"
    record = json.loads(meta.read_bytes())
    if record["source_sha256"] != _digest(video) or record["poses_sha256"] != _digest(path):
        raise FightsError(f"{path} was not made from {video}; extract it again")
    capture = cv2.VideoCapture(str(video))
    pixels = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    capture.release()
    if not pixels:
        raise FightsError(f"{video}: cannot be read as a video")
    return FightClip(read_clip(path), fight, record["frames"], record["fps"], pixels, record["poses_sha256"])


def _together(series: Sequence[Floats], rule: Rule, length: int) -> Floats:
    """Surprises of the same windows or frames as one, shape ``(length,)``; nan where there is none."""
    if not series:
        return np.full(length, np.nan)
    if rule == "max":
        return np.asarray(np.fmax.reduce(list(series)))
    return np.where(np.isnan(series).all(axis=0), np.nan, np.nansum(series, axis=0))


def _scored_window(windows: Windows, scores: Floats, value: float, time: float) -> int:
    """The newest window with this score that had ended at this time."""
    candidates = np.flatnonzero((scores == value) & (windows.end_times <= time + 1e-6))
    return int(candidates[np.argmax(windows.end_times[candidates])])


def _highest(footage: PoseFootage, windows: Windows, score: Any, spec: WindowSpec) -> float:
    if not len(windows):
        return math.nan
    smoothed = online_series(footage, windows, score(windows), spec).smoothed
    return math.nan if np.isnan(smoothed).all() else float(np.nanmax(smoothed))


def _row(name: str, judged: Sequence[Judged]) -> dict[str, Any]:
    """A row of the table: all figures of the first split, and their spread over splits."""
    every = [own.figures(name, replicates=0) for own in judged]
    spread = {}
    for figure in ("auc", "conditional", "matched"):
        values = [row[figure] for row in every if row[figure] is not None]
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        spread[figure] = {"values": values, "mean": float(np.mean(values)) if values else None, "sd": sd}
    return {"name": name, **judged[0].figures(name), "spread": spread}


def _flow(
    name: str,
    checkpoint: Checkpoint,
    split: Split,
    judged: Sequence[Judged],
    clips: Mapping[str, FightClip],
    *,
    calibrated_on: int,
) -> dict[str, Any]:
    first = judged[0]
    table = []
    for row, (clip, found) in enumerate(zip(split.judged, first.peaks[ALL_FOUR], strict=True)):
        about = clips[clip]
        table.append(
            {
                "name": clip,
                "fight": about.fight,
                "duration_s": about.duration_s,
                "score": None if found is None else found.score,
                "time_s": None if found is None else found.time_s,
                "main_part": None if found is None else found.main_part,
                "scores": {name: _number(float(scores[row])) for name, scores in first.scores.items()},
            }
        )
    differences = [own.difference(ALL_FOUR, TRACKS, replicates=0)["auc"] for own in judged]
    return {
        "name": name,
        "parameters": sum(tensor.numel() for tensor in checkpoint.flow().parameters()),
        "length": checkpoint.spec.length,
        "rate_hz": checkpoint.spec.rate_hz,
        "data": checkpoint.provenance.data,
        "data_sha256": checkpoint.provenance.data_sha256,
        "calibrated_on": calibrated_on,
        "splits": len(judged),
        "rows": [_row(combination.name, judged) for combination in COMBINATIONS],
        "difference": first.difference(ALL_FOUR, TRACKS) | {"of_splits": differences},
        "clips": table,
    }


def _mean_nll(evidence: Mapping[str, Evidence], names: Sequence[str]) -> float:
    return float(np.concatenate([evidence[name].nll for name in names]).mean())


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _command() -> str:
    """The command without the folders of this machine."""
    ours = ("docs/", "benchmarks/")
    words = [Path(word).name if "/" in word and not word.startswith(ours) else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "benchmarks.research.fights", *words])


def _made_with(poses: Path, clips: Sequence[FightClip]) -> list[dict[str, Any]]:
    """What the poses were made with; more than one entry if not all with the same."""
    names = ("pose_weights", "pose_weights_sha256", "image_size", "confidence", "versions")
    records = (json.loads((poses / f"{clip.name}{META_SUFFIX}").read_bytes()) for clip in clips)
    unique = {json.dumps({name: record[name] for name in names}, sort_keys=True) for record in records}
    return [json.loads(text) for text in sorted(unique)]


def _joint_digest(clips: Sequence[FightClip]) -> str:
    return hashlib.sha256("".join(f"{clip.name} {clip.digest}\n" for clip in clips).encode()).hexdigest()


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
