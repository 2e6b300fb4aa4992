"""Windows in, scores out, on one device.

`RawScorer` gives the likelihood that DA-Flow finds in a window and, if the checkpoint has parts beside it
(`model.parts`), the sum of their surprises. `Scorer` adds what a raw score means: its level, by a calibration.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.behaviours.base import Kind
from model.behaviours.calibration import Usual
from model.calibration import Calibration
from model.checkpoint import Checkpoint, CheckpointError
from model.fused import FoldedFlow, FusedFlow
from model.parts import POSE, Footage, Parts, calibrated, summed
from pose.skeleton import CENTER, COCO_JOINTS, COCO_TO_GRAPH, NUM_JOINTS
from pose.windows import Windows, WindowSpec

Floats = NDArray[np.float64]

_CPU_CHUNK: Final = 256
"""Windows at a time on a CPU: intermediate results then stay in its caches."""


def _coco_shares() -> Floats:
    shares = np.zeros((NUM_JOINTS, len(COCO_JOINTS)))
    for joint, coco in enumerate(COCO_TO_GRAPH):
        if joint == CENTER:
            shares[joint, [COCO_JOINTS.index("left_shoulder"), COCO_JOINTS.index("right_shoulder")]] = 0.5
        else:
            shares[joint, coco] = 1.0
    return shares


_COCO_SHARES: Final = _coco_shares()
"""Share of each graph joint's score that each COCO joint gets: the neck's is split between the two shoulders."""


class DeviceUnavailableError(RuntimeError):
    """The device asked for does not exist."""


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """The scores of one window.

    Attributes:
        track_id: Number of the person's track.
        end_time: Seconds of the last grid point.
        nll: Negative log-likelihood in bits per dimension.
        raw: What calibrations rank: the sum of the surprises of the parts in bits, or `nll` if there are no parts.
        level: 0..1, position of `raw` among normal scores.
        parts: Level of each part by name; the part with the highest level contributes most to `raw`.
        joints: What each of the 17 COCO joints adds to `nll`; None if that was not asked for.

    Example:
        >>> window = ScoredWindow(7, end_time=1.0, nll=0.4, raw=3.0, level=0.9, parts={"pose": 0.2, "motion": 0.9})
        >>> max(window.parts, key=window.parts.get)
        'motion'
    """

    track_id: int
    end_time: float
    nll: float
    raw: float
    level: float
    parts: Mapping[str, float]
    joints: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WindowScores:
    """Scores of a batch of windows, in the order of the windows.

    Attributes:
        track_ids: Shape ``(N,)``, number of the person's track.
        end_times: Shape ``(N,)``, seconds of the last grid point.
        nll: Shape ``(N,)``, negative log-likelihood in bits per dimension.
        raw: Shape ``(N,)``, what calibrations rank: the sum of the surprises of the parts in bits, or `nll` if there
            are no parts.
        level: Shape ``(N,)``, 0..1, position of `raw` among normal scores.
        parts: Level of each part by name, each ``(N,)``.
        joints: Shape ``(N, 17)``, what each COCO joint adds to `nll`, the flow's neck counted half to either shoulder;
            None if that was not asked for.

    Example:
        >>> one = np.array([0.5])
        >>> scores = WindowScores(np.array([7]), one, one, one, one, {"pose": one})
        >>> [window.track_id for window in scores]
        [7]
    """

    track_ids: NDArray[np.int64]
    end_times: Floats
    nll: Floats
    raw: Floats
    level: Floats
    parts: dict[str, Floats]
    joints: Floats | None = None

    def __len__(self) -> int:
        return len(self.track_ids)

    def __iter__(self) -> Iterator[ScoredWindow]:
        parts = {name: levels.tolist() for name, levels in self.parts.items()}
        joints = None if self.joints is None else [tuple(row) for row in self.joints.tolist()]
        columns = (self.track_ids, self.end_times, self.nll, self.raw, self.level)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for i, (track, end, nll, raw, level) in enumerate(rows):
            own_parts = {name: levels[i] for name, levels in parts.items()}
            yield ScoredWindow(track, end, nll, raw, level, own_parts, None if joints is None else joints[i])


class RawScorer:
    """How unusual DA-Flow and the parts beside it find a window, without a calibration.

    Args:
        flow: The flow on its device.
        spec: The windows it takes.
        parts: What is normal to each part; None if the likelihood alone is the raw score.
        max_batch: Windows scored at a time, which bounds the memory.

    Example:
        >>> from model.checkpoint import DEFAULT_CHECKPOINT
        >>> scorer = RawScorer.of_checkpoint(Checkpoint.load(DEFAULT_CHECKPOINT))
        >>> scorer.nll(torch.randn(4, 2, 8, 18)).shape
        (4,)
    """

    def __init__(self, flow: FusedFlow, spec: WindowSpec, parts: Parts | None = None, max_batch: int = 2048) -> None:
        self.flow = flow
        self.spec = spec
        self.parts = parts
        self.max_batch = _batch_limit(max_batch, flow.device)

    @classmethod
    def of_checkpoint(cls, checkpoint: Checkpoint, device: torch.device | str = "cpu") -> RawScorer:
        """A checkpoint's flow and parts.

        Raises:
            DeviceUnavailableError: The device is not there.
        """
        return cls(FusedFlow(checkpoint.flow(), available_device(device)), checkpoint.spec, checkpoint.parts)

    def raw(self, windows: Windows) -> Floats:
        """What calibrations rank, shape ``(N,)``, of windows of one camera.

        Raises:
            ValueError: A window has the wrong shape or is not finite.
        """
        nll = self.likelihood(windows)
        return summed(windows, nll, np.zeros(len(windows), np.int64), self.parts, self.spec)[0]

    def likelihood(self, windows: Windows) -> Floats:
        """Negative log-likelihood in bits per dimension, shape ``(N,)``, without the joints that were not seen.

        Raises:
            ValueError: A window has the wrong shape or is not finite.
        """
        return _finite(_likelihood(self.flow, windows, self.max_batch)[0])

    def calibrated(self, normal: Sequence[Footage]) -> Calibration:
        """What raw scores mean, by normal footage, each piece of one camera.

        Raises:
            CalibrationError: The footage is too short.
        """
        return calibrated(normal, [self.raw(footage.windows) for footage in normal], self.spec)

    def nll(self, tensor: Tensor) -> Floats:
        """Raw scores of windows ``(N, 2, T, 18)`` on any device, shape ``(N,)``.

        Raises:
            ValueError: A window has the wrong shape or is not finite.
        """
        return _finite(_scored(self.flow, tensor, self.max_batch))

    def nll_by_joint(self, tensor: Tensor) -> Floats:
        """What each COCO joint adds to `nll`, shape ``(N, 17)``; rows sum to it. Arguments and errors are its own."""
        return _finite(_scored(self.flow, tensor, self.max_batch, by_joint=True) @ _COCO_SHARES)


@dataclass(frozen=True, slots=True, eq=False)
class CameraModel:
    """The calibration and weights of one camera.

    Attributes:
        calibration: What scores mean on this camera.
        checkpoint: The camera's own weights; None for those that all cameras share.
        usual: What is usual on this camera to named behaviours, and from which scores they fire; one that is missing
            fires at `FIRES`.

    Example:
        >>> from model.checkpoint import DEFAULT_CHECKPOINT
        >>> shared = Checkpoint.load(DEFAULT_CHECKPOINT)
        >>> CameraModel(shared.calibration).checkpoint is None
        True
    """

    calibration: Calibration
    checkpoint: Checkpoint | None = None
    usual: Mapping[Kind, Usual] = field(default_factory=dict)


class Scorer:
    """Scores windows of any number of people and cameras on one device.

    All cameras share the checkpoint's weights and calibration, but each may have a model of its own. A clip has no
    camera: its windows are scored by what all cameras share.

    Any thread may score. Models may be set and removed from any thread, also meanwhile: a call sees all of a change or
    nothing of it.

    Args:
        checkpoint: A calibrated checkpoint, for everything without a model of its own.
        device: Where to compute: ``cpu``, ``cuda``, ``cuda:1``.
        max_batch: Windows scored at a time, which bounds the memory; it does not change the scores.

    Raises:
        DeviceUnavailableError: The device is not there.
        CheckpointError: The checkpoint has no calibration.
        ValueError: `max_batch` is below 1.

    Example:
        >>> from model.checkpoint import DEFAULT_CHECKPOINT
        >>> scorer = Scorer(Checkpoint.load(DEFAULT_CHECKPOINT))
        >>> windows = Windows.of_poses(torch.randn(2, 8, 18, 3), np.array([4, 7]), np.array([1.0, 1.0]))
        >>> scores = scorer.score(windows)
        >>> scores.level.shape, list(scores.parts)
        ((2,), ['pose', 'motion', 'pair'])
        >>> scorer.set_model(3, CameraModel(scorer.calibration))
        >>> len(scorer.score(windows, cameras=np.array([3, 5])))
        2
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device | str = "cpu", max_batch: int = 2048) -> None:
        self.checkpoint = checkpoint
        self.calibration = _calibration(checkpoint)
        self.device = available_device(device)
        flow = checkpoint.flow()
        self.parameters = sum(parameter.numel() for parameter in flow.parameters())
        self._shared = CameraModel(self.calibration)
        self._max_batch = _batch_limit(max_batch, self.device)
        self._lock = threading.Lock()
        self._base = FoldedFlow.of(flow)
        self._folded: dict[int, FoldedFlow] = {}
        self._models = _Models({}, {}, FusedFlow(self._base, self.device))

    @property
    def spec(self) -> WindowSpec:
        """The windows this scorer takes."""
        return self.checkpoint.spec

    def set_model(self, camera: int, model: CameraModel) -> None:
        """Score a camera by a model of its own from the next call on.

        Raises:
            ValueError: The model's checkpoint takes other windows, has another architecture than the shared one, or one
                that cannot be stacked (see `FusedFlow`).
        """
        own = model.checkpoint
        if own is not None and (own.config, own.spec) != (self.checkpoint.config, self.checkpoint.spec):
            raise ValueError(f"checkpoint {own.name} has another architecture than {self.checkpoint.name}")
        folded = None if own is None else FoldedFlow.of(own.flow())
        with self._lock:
            self._change(camera, model, folded)

    def remove_model(self, camera: int) -> None:
        """Score a camera by the shared weights and calibration again; one without a model of its own is fine."""
        with self._lock:
            self._change(camera, None, None)

    def score(
        self, windows: Windows, cameras: NDArray[np.int64] | None = None, *, joints: bool = False
    ) -> WindowScores:
        """Score windows.

        Args:
            windows: Any number of them.
            cameras: Shape ``(N,)``, the number of each window's camera. None if all windows are of one scene that is
                scored by the shared model.
            joints: Whether to say what each joint adds.

        Returns:
            The scores in the order of the windows. With `cameras`, a window that is not finite has nan, so that it
            holds up no other camera.

        Raises:
            ValueError: A shape is wrong; or, without `cameras`, a window is not finite.
        """
        models = self._models
        if cameras is None:
            which, scenes, scored_by = None, np.zeros(len(windows), np.int64), [self._shared]
        elif cameras.shape == (len(windows),):
            present, scenes = np.unique(cameras, return_inverse=True)
            which = np.array([models.set_of_camera.get(camera, 0) for camera in present.tolist()], np.int64)[scenes]
            scored_by = [models.of_camera.get(camera, self._shared) for camera in present.tolist()]
        else:
            raise ValueError(f"expected the camera of each of {len(windows)} windows, got shape {cameras.shape}")
        nll, by_joint = _likelihood(models.flow, windows, self._max_batch, which=which, joints=joints)
        nll = _finite(nll) if cameras is None else np.where(np.isfinite(nll), nll, np.nan)
        raw, parts = self._judged_by_camera(windows, nll, scenes, scored_by)
        level = np.empty_like(nll)
        for number, model in enumerate(scored_by):
            own = scenes == number
            level[own] = model.calibration.level(raw[own])
        return WindowScores(windows.track_ids, windows.end_times, nll, raw, level, parts or {POSE: level}, by_joint)

    def nll(self, tensor: Tensor) -> Floats:
        """Negative log-likelihood of windows ``(N, 2, T, 18)`` under the shared weights, bits per dimension, ``(N,)``.

        Raises:
            ValueError: A window has the wrong shape or is not finite.
        """
        return _finite(_scored(self._models.flow, tensor, self._max_batch))

    def _judged_by_camera(
        self, windows: Windows, nll: Floats, cameras: NDArray[np.int64], models: Sequence[CameraModel]
    ) -> tuple[Floats, dict[str, Floats]]:
        """Raw scores and levels of the parts; a camera with weights of its own has the parts of its own checkpoint."""
        own = [model.checkpoint is not None for model in models]
        if not any(own):
            return summed(windows, nll, cameras, self.checkpoint.parts, self.spec)
        raw = nll.copy()
        parts: dict[str, Floats] = {}
        shared = np.isin(cameras, np.flatnonzero(np.logical_not(own)))
        groups = [(shared, self.checkpoint)]
        groups += [(cameras == number, model.checkpoint) for number, model in enumerate(models) if model.checkpoint]
        for rows, checkpoint in groups:
            raw[rows], levels = summed(windows[rows], nll[rows], cameras[rows], checkpoint.parts, self.spec)
            for name, values in levels.items():
                parts.setdefault(name, np.full_like(nll, np.nan))[rows] = values
        return raw, parts

    def _change(self, camera: int, model: CameraModel | None, folded: FoldedFlow | None) -> None:
        """Replace the models by changed ones; weights are stacked anew only if they differ."""
        of_camera = {known: own for known, own in self._models.of_camera.items() if known != camera}
        if model is not None:
            of_camera[camera] = model
        restack = folded is not None or camera in self._folded
        self._folded.pop(camera, None)
        if folded is not None:
            self._folded[camera] = folded
        if restack:
            flow = FusedFlow([self._base, *self._folded.values()], self.device)
            self._models = _Models(of_camera, {known: i for i, known in enumerate(self._folded, start=1)}, flow)
        else:
            self._models = _Models(of_camera, self._models.set_of_camera, self._models.flow)


@dataclass(frozen=True, slots=True, eq=False)
class _Models:
    """What a `Scorer` scores by at one moment.

    Attributes:
        of_camera: Models of the cameras that have one of their own.
        set_of_camera: Number of the set of weights of the cameras that have one of their own; the others' is 0.
        flow: All sets.
    """

    of_camera: Mapping[int, CameraModel]
    set_of_camera: Mapping[int, int]
    flow: FusedFlow


def _likelihood(
    flow: FusedFlow,
    windows: Windows,
    max_batch: int,
    *,
    which: NDArray[np.int64] | None = None,
    joints: bool = False,
) -> tuple[Floats, Floats | None]:
    """Likelihoods ``(N,)`` without unseen joints, and what each COCO joint adds ``(N, 17)`` if that was asked for."""
    unseen = bool((windows.poses[..., 2] <= 0).any())
    if not (joints or unseen):
        return _scored(flow, windows.tensor, max_batch, which=which), None
    by_joint = _scored(flow, windows.tensor, max_batch, which=which, by_joint=True)
    if unseen:
        by_joint *= seen_shares(windows)
    return by_joint.sum(axis=1), by_joint @ _COCO_SHARES if joints else None


def seen_shares(windows: Windows) -> Floats:
    """How much each graph joint counts in the likelihood of its window, ``(N, 18)``.

    A joint counts by the share of the window's points at which it was seen. What the unseen points would have added is
    taken to be what the seen ones add on average, so the shares of a window have the mean 1.
    """
    seen = (windows.poses[..., 2] > 0).double().mean(dim=1).cpu().numpy()
    return np.asarray(seen / np.maximum(seen.mean(axis=1, keepdims=True), 1e-9))


def _calibration(checkpoint: Checkpoint) -> Calibration:
    if checkpoint.calibration is None:
        raise CheckpointError(f"checkpoint {checkpoint.name} has no calibration, so its scores have no level")
    return checkpoint.calibration


def _batch_limit(max_batch: int, device: torch.device) -> int:
    if max_batch < 1:
        raise ValueError(f"max_batch must be at least 1, got {max_batch}")
    return min(max_batch, _CPU_CHUNK) if device.type == "cpu" else max_batch


def _scored(
    flow: FusedFlow,
    tensor: Tensor,
    max_batch: int,
    *,
    which: NDArray[np.int64] | None = None,
    by_joint: bool = False,
) -> Floats:
    """Scores ``(N,)``, or what each graph joint adds to them ``(N, 18)``; not finite where a window is not."""
    order = None
    if which is not None and len(which) > max_batch and which.any():
        # Windows of one set side by side: the fewer sets in a batch, the fewer matrices to gather.
        order = np.argsort(which, kind="stable")
        tensor, which = tensor[torch.from_numpy(order).to(tensor.device)], which[order]
    chunks = []
    for start in range(0, max(len(tensor), 1), max_batch):
        rows = slice(start, start + max_batch)
        sets = None if which is None else torch.from_numpy(which[rows])
        x = tensor[rows].to(flow.device)
        chunks.append(flow.nll_by_joint(x, sets) if by_joint else flow.nll(x, sets))
    scores: Floats = torch.cat(chunks).cpu().numpy().astype(np.float64)
    if order is not None:
        scores[order] = scores.copy()
    return scores


def _finite(scores: Floats) -> Floats:
    wrong = np.flatnonzero(~np.isfinite(scores if scores.ndim == 1 else scores.sum(axis=1)))
    if len(wrong):
        raise ValueError(f"{len(wrong)} of {len(scores)} windows are not finite, the first is number {wrong[0]}")
    return scores


def available_device(device: torch.device | str) -> torch.device:
    """The device, if this machine has it.

    Raises:
        DeviceUnavailableError: It does not; there is no silent fallback to the CPU.
    """
    wanted = torch.device(device)
    if wanted.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (wanted.index or 0) >= count:
            raise DeviceUnavailableError(f"asked for {wanted}, but torch {torch.__version__} sees {count} CUDA devices")
    elif wanted.type != "cpu":
        raise DeviceUnavailableError(f"asked for {wanted}; DA-Flow runs on cpu or cuda")
    return wanted
