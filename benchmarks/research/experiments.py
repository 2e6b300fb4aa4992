"""The work behind `benchmarks.research.paper`: training, changing data, scoring and judging, one task at a time.

Settings are plain values. Clips are named by a *source*: the data set, its digest, which axis comes first in its files,
and how its training clips (``noise``, ``without_camera``, ``contamination``) or test clips (``camera``,
``perturbation``, ``uncontaminated``) differ from those on disk.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.research.baselines import (
    Autoencoder,
    AutoencoderBaseline,
    GaussianBaseline,
    MotionEnergyBaseline,
    WindowScorer,
    untrained_flow,
)
from benchmarks.research.cost import measure
from benchmarks.research.perturbation import perturbed
from benchmarks.research.runs import Settings
from benchmarks.research.synthetic import synthetic_table
from model.calibration import Calibration, CalibrationError, Recording
from model.checkpoint import Checkpoint
from model.config import DAFlowConfig
from model.dataset import SUFFIX, Axes, DatasetError, PersonTrack, PoseClip, Slicing, clip_windows
from model.evaluation import (
    PEOPLE_COUNT,
    PRESENCE,
    Assignment,
    ClipScores,
    FootageScorer,
    WindowFootageScorer,
    common_frames,
    judge,
    score_split,
)
from model.footage import PoseFootage
from model.frames import highest_over_people
from model.layouts import Dataset, Layout, read_dataset
from model.parts import Parts
from model.scorer import RawScorer, available_device
from model.stgnf import load_stgnf
from model.training import TrainingSettings, data_digest, train
from pose.windows import Windows, WindowSpec

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Mask = NDArray[np.bool_]

RATE_HZ: Final = 15.0
"""Rate of the time grid of all models except STG-NF, which takes frames as they are."""
STRIDE: Final = 6
"""Grid points between training windows."""
LARGEST_SHARE: Final = 0.1
"""Largest share of contaminated windows."""

_STGNF_EPOCHS: Final = 8
_ACTNORM_WINDOWS: Final = 512
_STRANGER: Final = 1_000_000
"""Added to the number of a person who was put into a training clip."""
_APART: Final = 60
"""Frames between people put into a training clip, too far apart to be a pair."""


def dataset_digest(data: Dataset) -> str:
    """Of all that is read."""
    labels = "".join(f"{name}{''.join(map(str, own.tolist()))}" for name, own in sorted(data.labels.items()))
    judged = "".join(f"{name}{np.packbits(own).tobytes().hex()}" for name, own in sorted(data.judged.items()))
    clips = [data_digest(part) for part in (data.train, data.test)]
    parts = [*clips, labels, str(data.frame_rate_hz), *([judged] if judged else [])]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@cache
def read_data(layout: Layout, folder: Path, axes: Axes = "auto") -> Dataset:
    """Read a data set whose poses lie on disk; a second time it is at hand.

    Raises:
        DatasetError: Something is missing or malformed, or there are no frame labels.
    """
    data = read_dataset(layout, folder, axes=axes)
    if not data.labels:
        raise DatasetError(f"{folder}: no frame labels to judge by")
    return data


@dataclass(frozen=True, slots=True)
class Workspace:
    """Folders and files on this machine; results do not depend on them.

    Attributes:
        layout: How the data sets lie on disk.
        folders: Data sets by name.
        files: Checkpoints by name.
        cache: Folder for checkpoints and changed data.
    """

    layout: Layout
    folders: Mapping[str, Path]
    files: Mapping[str, Path]
    cache: Path

    def __call__(self, kind: str, settings: Settings, digest: str) -> Mapping[str, Any]:
        """Compute a task."""
        if kind == "train":
            return self.train(settings, digest)
        if kind == "judge":
            return self.judge(settings)
        if kind == "synthetic":
            return self.synthetic(settings)
        if kind == "cost":
            return cost(settings)
        raise ValueError(f"unknown kind of task {kind!r}")

    def data(self, source: Settings) -> Dataset:
        """A data set with its training and test clips as the source says."""
        found = read_data(self.layout, self.folders[source["data"]], source["axes"])
        clips, test = list(found.train), list(found.test)
        if "noise" in source:
            clips = [perturbed(clip, "noise", source["noise"], seed=1) for clip in clips]
        if "without_camera" in source:
            clips = [clip for clip in clips if clip.camera != source["without_camera"]]
        if "contamination" in source:
            clips = contaminated(found, source["contamination"])
        if "camera" in source:
            test = [clip for clip in test if clip.camera == source["camera"]]
        if source.get("uncontaminated"):
            lent = donors(found.labels)
            test = [clip for clip in test if clip.name not in lent]
        if "perturbation" in source:
            test = [perturbed(clip, source["perturbation"], source["level"], seed=1) for clip in test]
        labels = {clip.name: found.labels[clip.name] for clip in test}
        judged = {name: mask for name, mask in found.judged.items() if name in labels}
        return replace(found, train=tuple(clips), test=tuple(test), labels=labels, judged=judged)

    def train(self, settings: Settings, digest: str) -> Mapping[str, Any]:
        """Train a flow and leave its checkpoint in the cache, under the digest."""
        source, data = settings["source"], self.data(settings["source"])
        output = self.checkpoint_path(digest)
        state = output.with_suffix(".state")
        self.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.cache) as temporary:
            folder, axes = self.folders[source["data"]], source["axes"]
            if self.layout != "poselift" or source.keys() - {"data", "sha256", "axes"}:
                folder, axes = Path(temporary, source["data"]), "xy"
                write_clips(data.train, folder / "pose" / "train")
            if settings["preset"] == "daflow":
                run = TrainingSettings(
                    folder, output, epochs=settings["epochs"], rate_hz=RATE_HZ, parts=settings["parts"]
                )
            else:
                run = replace(
                    TrainingSettings.stgnf(folder, output),
                    epochs=min(settings["epochs"], _STGNF_EPOCHS),
                    slicing=settings["preset"],
                    rate_hz=data.frame_rate_hz,
                )
            report = train(
                replace(
                    run,
                    config=DAFlowConfig.from_dict(settings["config"]),
                    axes=axes,
                    seed=settings["seed"],
                    frame_rate_hz=data.frame_rate_hz,
                    resume=state,
                    command="python -m benchmarks.research.paper",
                )
            )
        state.unlink(missing_ok=True)
        return {
            "parameters": report.parameters,
            "train_nll": report.chosen.train_nll,
            "heldout_nll": report.chosen.heldout_nll,
            "epoch": report.chosen.number,
            "history": [asdict(epoch) for epoch in report.epochs],
            "windows": report.train_windows,
            "heldout_windows": report.heldout_windows,
            "contamination": contamination_share(data, report.checkpoint.spec),
            "uncalibrated": report.uncalibrated,
        }

    def judge(self, settings: Settings) -> Mapping[str, Any]:
        """Score and judge a test split; without a report where its frames are all of one class or nobody is scored."""
        data = self.data(settings["test"])
        scores = score_split(self.scorer(settings["scorer"]), data.test, data.labels, frame_rate_hz=data.frame_rate_hz)
        common = None
        if settings["common"]:
            folder = self.folders[settings["test"]["data"]]
            common = _common(self.layout, folder, json.dumps(settings["common"], sort_keys=True))
        masks = {name: data.judged.get(name, np.ones(len(own), bool)) for name, own in data.labels.items()}
        try:
            report = judge(scores, data.labels, frame_rate_hz=data.frame_rate_hz, judged=masks, common=common)
        except ValueError as error:
            return {"report": None, "why": str(error)}
        return {"report": report.to_dict(), "why": None}

    def synthetic(self, settings: Settings) -> Mapping[str, Any]:
        """Anomalies made of held-out normal clips, found by every score of a checkpoint."""
        data = self.data(settings["source"])
        checkpoint = Checkpoint.load(self.checkpoint_path(settings["checkpoint"]))
        rows = synthetic_table(checkpoint, data.train, data.frame_rate_hz, settings["seed"])
        return {"rows": [asdict(row) for row in rows]}

    def checkpoint_path(self, digest: str) -> Path:
        """Where a training leaves its checkpoint."""
        return self.cache / f"{digest}.safetensors"

    def scorer(self, settings: Settings) -> FootageScorer:
        """The scorer that settings describe.

        Raises:
            ValueError: There is no such kind.
        """
        kind = settings["kind"]
        if kind == "presence":
            return PRESENCE
        if kind == "people":
            return PEOPLE_COUNT
        if kind == "flows":
            return self._flows(settings)
        spec = WindowSpec(settings["length"], RATE_HZ)
        return WindowFootageScorer(kind, self._baseline(kind, settings, spec), spec)

    def _baseline(self, kind: str, settings: Settings, spec: WindowSpec) -> WindowScorer:
        if kind == "motion":
            return MotionEnergyBaseline(spec.rate_hz)
        windows = _training_windows(self.data(settings["source"]), spec)
        if kind == "gaussian":
            return GaussianBaseline.fit(windows)
        if kind == "autoencoder":
            return AutoencoderBaseline.fit(windows, seed=settings["seed"], epochs=settings["epochs"])
        if kind == "untrained":
            rows = np.random.default_rng(settings["seed"]).permutation(len(windows))[:_ACTNORM_WINDOWS]
            config = DAFlowConfig.from_dict(settings["config"])
            return untrained_flow(config, windows[rows], seed=settings["seed"], actnorm=settings["actnorm"])
        raise ValueError(f"unknown kind of scorer {kind!r}")

    def _flows(self, settings: Settings) -> FootageScorer:
        checkpoints = [self._checkpoint(own, settings) for own in settings["checkpoints"]]
        spec, score = checkpoints[0].spec, _window_score(checkpoints, settings["parts"], settings["combine"])
        slicing: Slicing = settings["slicing"]
        assignment: Assignment = settings["assignment"]
        scorer = WindowFootageScorer("flows", score, spec, slicing, assignment)
        if settings["per_camera"] is None:
            return scorer
        return _PerCamera(scorer, camera_calibrations(scorer, self.data(settings["per_camera"])))

    def _checkpoint(self, own: str, settings: Settings) -> Checkpoint:
        if own not in self.files:
            return Checkpoint.load(self.checkpoint_path(own))
        path = self.files[own]
        return load_stgnf(path, rate_hz=settings["rate_hz"]) if path.suffix == ".tar" else Checkpoint.load(path)


@dataclass(frozen=True, slots=True, eq=False)
class _PerCamera:
    """Scores made comparable between cameras: how unusual each is among normal ones of its camera, in bits."""

    scorer: WindowFootageScorer
    calibrations: Mapping[str, Calibration]
    name: str = "per camera"

    def score_clip(self, clip: PoseClip, frames: int, frame_rate_hz: float) -> ClipScores:
        """See `FootageScorer`."""
        calibration, score = self.calibrations.get(clip.camera, self.calibrations[""]), self.scorer.score
        own = replace(self.scorer, score=lambda windows: calibration.surprise(score(windows)))
        return own.score_clip(clip, frames, frame_rate_hz)


def camera_calibrations(scorer: WindowFootageScorer, data: Dataset) -> dict[str, Calibration]:
    """What scores are normal on each camera that has enough footage for that, and under ``""`` on all.

    Raises:
        CalibrationError: All footage together is too short.
    """
    scores: dict[str, list[Floats]] = {}
    recordings: dict[str, list[Recording]] = {}
    for clip in data.train:
        footage = PoseFootage.of_clip(clip, data.frame_rate_hz)
        windows = footage.windows(scorer.spec)
        values = scorer.score(windows) if len(windows) else np.empty(0)
        recording = Recording(
            footage.frame_times, highest_over_people(footage.frame_times, windows, values, scorer.spec)
        )
        for camera in (clip.camera, ""):
            scores.setdefault(camera, []).append(values)
            recordings.setdefault(camera, []).append(recording)
    found = {}
    for camera, own in scores.items():
        try:
            found[camera] = Calibration.fit(np.concatenate(own), recordings[camera])
        except CalibrationError:
            if not camera:
                raise
    return found


def donors(labels: Mapping[str, Labels]) -> frozenset[str]:
    """Half of the test clips with an anomaly. They provide it to contaminated training clips and are not judged."""
    names = sorted(name for name, own in labels.items() if own.any())
    return frozenset(np.random.default_rng(0).permutation(names)[: len(names) // 2].tolist())


def contaminated(data: Dataset, share: float) -> list[PoseClip]:
    """Some normal training clips, in which a share of the windows shows anomalies.

    Anomalous poses of the donors are cut at every phase of the stride, so that each of their windows occurs at most
    once. The normal clips are a sample, the same for all shares, so small that the largest share can be reached
    without any window twice. Strangers appear after the end of a clip of their own camera, one after the other.
    Windows are counted at 24 points.

    Args:
        data: The data set.
        share: Of all windows of the training clips.
    """
    spec, lent = WindowSpec(rate_hz=RATE_HZ), donors(data.labels)
    parts = []
    for clip in (clip for clip in data.test if clip.name in lent):
        for track in clip.tracks:
            seen = track.frames < len(data.labels[clip.name])
            seen[seen] = data.labels[clip.name][track.frames[seen]] == 1
            for phase in range(STRIDE):
                rows = np.flatnonzero(seen)[phase:]
                part = PersonTrack(track.person, track.frames[rows], track.keypoints[torch.from_numpy(rows)])
                windows = _count(PoseClip(clip.name, (part,)), spec, data.frame_rate_hz)
                if windows:
                    parts.append((clip.camera, part, windows))
    offered = sum(windows for _, _, windows in parts)
    counts = {clip.name: _count(clip, spec, data.frame_rate_hz) for clip in data.train}
    wanted = offered * (1 - LARGEST_SHARE) / LARGEST_SHARE
    clips = _sample(data.train, min(1.0, wanted / max(sum(counts.values()), 1)))
    normal = sum(counts[clip.name] for clip in clips)

    rng = np.random.default_rng(0)
    given, guests = 0, {clip.name: list(clip.tracks) for clip in clips}
    for number, row in enumerate(rng.permutation(len(parts)).tolist()):
        if given >= share / (1 - share) * normal:
            break
        camera, part, windows = parts[row]
        hosts = [clip for clip in clips if clip.camera == camera] or clips
        people = guests[hosts[int(rng.integers(len(hosts)))].name]
        end = max((int(track.frames[-1]) for track in people if len(track.frames)), default=0)
        frames = part.frames - part.frames[0] + end + _APART
        people.append(PersonTrack(_STRANGER + number, frames, part.keypoints))
        given += windows
    return [PoseClip(clip.name, tuple(guests[clip.name])) for clip in clips]


def contamination_share(data: Dataset, spec: WindowSpec) -> float:
    """Share of a training set's windows that come from donors."""
    windows = _training_windows(data, spec)
    return float((windows.track_ids >= _STRANGER).mean()) if len(windows) else 0.0


def write_clips(clips: Sequence[PoseClip], folder: Path) -> None:
    """Write clips as `read_split` reads them with x before y, to the last digit."""
    folder.mkdir(parents=True, exist_ok=True)
    for clip in clips:
        people = {
            str(track.person): {
                str(frame): {"keypoints": [float(str(value)) for value in pose]}
                for frame, pose in zip(track.frames.tolist(), track.keypoints.flatten(1).numpy(), strict=True)
            }
            for track in clip.tracks
        }
        (folder / f"{clip.name}{SUFFIX}").write_text(json.dumps(people, separators=(",", ":")))


def cost(settings: Settings) -> Mapping[str, Any]:
    """Parameters, arithmetic, time and memory of a flow, or of the autoencoder."""
    if settings["config"] is not None:
        return measure(DAFlowConfig.from_dict(settings["config"]), device=settings["device"]).to_dict()
    length: int = settings["length"]
    device = available_device(settings["device"])
    network = Autoencoder(length).to(device).eval()
    macs: list[int] = []

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv1d)]
    sizes: dict[nn.Module, int] = {layer: layer.weight.numel() for layer in layers}

    def count(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        macs.append(sizes[layer] * output.shape[-1])

    hooks = [layer.register_forward_hook(count) for layer in layers]
    latency = {}
    with torch.inference_mode():
        network(torch.zeros(1, 2, length, 18, device=device))
        for hook in hooks:
            hook.remove()
        for size in (1, 256):
            x = torch.randn(size, 2, length, 18, device=device)
            latency[str(size)] = _latency(lambda x=x: network(x).cpu())  # type: ignore[misc]
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "convolution_macs": sum(macs),
        "macs": sum(macs),
        "latency": latency,
        "peak_memory_bytes": None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }


def _latency(call: Callable[[], object], repeats: int = 50) -> dict[str, Any]:
    taken = []
    for _ in range(5 + repeats):
        start = time.perf_counter()
        call()
        taken.append(1e3 * (time.perf_counter() - start))
    low, median, high = statistics.quantiles(taken[5:], n=4, method="inclusive")
    return {"median_ms": median, "quartiles_ms": [low, high]}


def _window_score(checkpoints: Sequence[Checkpoint], names: Sequence[str], combine: str) -> Callable[[Windows], Floats]:
    """The mean likelihood of several flows; with names of parts, the sum or the largest of their surprises."""
    scorers = [RawScorer.of_checkpoint(replace(checkpoint, parts=None)) for checkpoint in checkpoints]
    parts = checkpoints[0].parts

    def nll(windows: Windows) -> Floats:
        return np.asarray(np.mean([scorer.nll(windows.tensor) for scorer in scorers], axis=0))

    if not names:
        return nll
    if names == ["own"]:
        own = RawScorer.of_checkpoint(checkpoints[0])
        return own.raw
    if parts is None:
        raise CalibrationError(f"checkpoint {checkpoints[0].name} has no parts: its normal clips were too short")

    def surprise(windows: Windows, parts: Parts = parts) -> Floats:
        alone = np.zeros(len(windows), np.int64)
        bits = parts.surprises(windows, nll(windows), alone, scorers[0].spec)
        # Footage that never showed a pair has no pair part; the other parts remain.
        said = np.stack([bits[name] for name in names if name in bits] or [np.zeros(len(windows))])
        return np.asarray(said.sum(axis=0) if combine == "sum" else said.max(axis=0))

    return surprise


@cache
def _common(layout: Layout, folder: Path, ways: str) -> Mapping[str, Mask]:
    """Frames of a test split that all of some ways to cut windows score."""
    splits = []
    for way in json.loads(ways):
        data = read_data(layout, folder, way["axes"])
        spec = WindowSpec(way["length"], way["rate_hz"])
        scorer = WindowFootageScorer("", _nothing, spec, way["slicing"], way["assignment"])
        splits.append(score_split(scorer, data.test, data.labels, frame_rate_hz=data.frame_rate_hz))
    return common_frames(splits)


def _nothing(windows: Windows) -> Floats:
    return np.zeros(len(windows))


def _training_windows(data: Dataset, spec: WindowSpec) -> Windows:
    cut = [clip_windows(clip, spec, frame_rate_hz=data.frame_rate_hz, stride=STRIDE) for clip in data.train]
    return Windows.concatenate(cut) if cut else Windows.empty(spec)


def _count(clip: PoseClip, spec: WindowSpec, frame_rate_hz: float) -> int:
    return len(clip_windows(clip, spec, frame_rate_hz=frame_rate_hz, stride=STRIDE))


def _sample(clips: Sequence[PoseClip], share: float) -> list[PoseClip]:
    """A share of each camera's clips, at least two of each, so that one can be held out."""
    if share >= 1:
        return list(clips)
    rng, kept = np.random.default_rng(0), set()
    for camera in sorted({clip.camera for clip in clips}):
        own = [clip.name for clip in clips if clip.camera == camera]
        kept.update(rng.permutation(own)[: max(2, round(share * len(own)))].tolist())
    return [clip for clip in clips if clip.name in kept]
