"""Windows in, scores out, on one device; and the rule by which windows speak for frames.

A person's score is made of parts, each a witness with two verbs: `Part.fit` learns from normal footage what is normal,
`Part.score` turns windows into raw scores and levels. `PosePart`, the likelihood of DA-Flow, is the one part so far.
The level of a person is the highest level of the parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.calibration import Calibration, Recording
from model.checkpoint import Checkpoint, CheckpointError
from model.fused import FusedFlow
from pose.windows import Windows, WindowSpec

Floats = NDArray[np.float64]

_TOLERANCE: Final = 1e-6
"""Grid steps by which times may miss each other and still be the same."""

_CPU_CHUNK: Final = 256
"""Windows at a time on a CPU: intermediate results then stay in its caches."""


class DeviceUnavailableError(RuntimeError):
    """The device asked for is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowScores:
    """Scores of a batch of windows, in the order of the windows.

    Attributes:
        track_ids: Shape ``(N,)``, whose window it was.
        end_times: Shape ``(N,)``, seconds of the last grid point.
        nll: Shape ``(N,)``, negative log-likelihood in bits per dimension.
        level: Shape ``(N,)``, 0..1, the highest of the parts' levels.
        parts: Level of each part by name, each ``(N,)``.
    """

    track_ids: NDArray[np.int64]
    end_times: Floats
    nll: Floats
    level: Floats
    parts: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.track_ids)


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """One uninterrupted recording of normal life, as parts learn from it.

    Attributes:
        windows: Windows of everybody in it, at stride 1.
        frame_times: Shape ``(n,)``, times of all frames in seconds, on the clock of the windows.
    """

    windows: Windows
    frame_times: Floats


@dataclass(frozen=True, slots=True, eq=False)
class PartScores:
    """What one part says of N windows.

    Attributes:
        raw: Shape ``(N,)``, in the part's own unit; higher is stranger.
        level: Shape ``(N,)``, position among normal ones, 0..1.
    """

    raw: Floats
    level: Floats


class Part(Protocol):
    """One witness of a person's behaviour."""

    @property
    def name(self) -> str:
        """Key in `WindowScores.parts`."""

    def fit(self, normal: Sequence[Footage]) -> Self:
        """A copy of this part that knows what is normal in this footage."""

    def score(self, windows: Windows) -> PartScores:
        """Score windows; any number of them."""


class PosePart:
    """How unlikely DA-Flow finds the movement of a skeleton.

    Args:
        flow: The flow on its device.
        spec: The windows it takes.
        calibration: What its scores mean; may be missing before `fit`.
        max_batch: Windows scored at a time, which bounds the memory.
    """

    name = "pose"

    def __init__(
        self, flow: FusedFlow, spec: WindowSpec, calibration: Calibration | None = None, max_batch: int = 2048
    ) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, got {max_batch}")
        self.flow = flow
        self.spec = spec
        self.calibration = calibration
        self.max_batch = min(max_batch, _CPU_CHUNK) if flow.device.type == "cpu" else max_batch

    def fit(self, normal: Sequence[Footage]) -> PosePart:
        """A part with the same flow, calibrated on normal footage.

        Raises:
            CalibrationError: The footage is too short.
        """
        scores = [self.nll(footage.windows.tensor) for footage in normal]
        recordings = [
            Recording(footage.frame_times, highest_over_people(footage.frame_times, footage.windows, nll, self.spec))
            for footage, nll in zip(normal, scores, strict=True)
        ]
        calibration = Calibration.fit(np.concatenate([np.empty(0), *scores]), recordings)
        return PosePart(self.flow, self.spec, calibration, self.max_batch)

    def score(self, windows: Windows) -> PartScores:
        """Score windows.

        Raises:
            CheckpointError: The part was not calibrated.
            ValueError: A window has the wrong shape or is not finite.
        """
        if self.calibration is None:
            raise CheckpointError("the checkpoint has no calibration, so its scores have no level: calibrate it first")
        nll = self.nll(windows.tensor)
        return PartScores(nll, self.calibration.level(nll))

    def nll(self, tensor: Tensor) -> Floats:
        """Raw scores of windows ``(N, 2, T, 18)`` on any device, shape ``(N,)``.

        Raises:
            ValueError: A window has the wrong shape or is not finite.
        """
        starts = range(0, max(len(tensor), 1), self.max_batch)
        chunks = [self.flow.nll(tensor[start : start + self.max_batch].to(self.flow.device)) for start in starts]
        nll: Floats = torch.cat(chunks).cpu().numpy().astype(np.float64)
        if not np.isfinite(nll).all():
            wrong = np.flatnonzero(~np.isfinite(nll))
            raise ValueError(f"{len(wrong)} of {len(nll)} windows are not finite, the first is number {wrong[0]}")
        return nll


class Scorer:
    """Scores windows of any number of people and cameras on one device.

    Args:
        checkpoint: A calibrated checkpoint.
        device: Where to compute: ``cpu``, ``cuda``, ``cuda:1``.
        max_batch: Windows scored at a time, which bounds the memory; it does not change the scores.

    Raises:
        DeviceUnavailableError: The device is not there.
        CheckpointError: The checkpoint has no calibration.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device | str = "cpu", max_batch: int = 2048) -> None:
        if checkpoint.calibration is None:
            raise CheckpointError(f"checkpoint {checkpoint.name} has no calibration, so its scores have no level")
        self.checkpoint = checkpoint
        self.calibration = checkpoint.calibration
        self.device = available_device(device)
        flow = checkpoint.flow()
        self.parameters = sum(parameter.numel() for parameter in flow.parameters())
        self._pose = PosePart(FusedFlow(flow, self.device), checkpoint.spec, self.calibration, max_batch)

    @property
    def spec(self) -> WindowSpec:
        """The windows this scorer takes."""
        return self.checkpoint.spec

    def score(self, windows: Windows) -> WindowScores:
        """Score windows.

        Raises:
            ValueError: A window has the wrong shape or is not finite.
        """
        pose = self._pose.score(windows)
        parts = {self._pose.name: pose.level}
        return WindowScores(windows.track_ids, windows.end_times, pose.raw, combined_level(parts), parts)

    def nll(self, tensor: Tensor) -> Floats:
        """Negative log-likelihood in bits per dimension of windows ``(N, 2, T, 18)``, shape ``(N,)``."""
        return self._pose.nll(tensor)


def combined_level(parts: Mapping[str, Floats]) -> Floats:
    """A person's level, the highest of the parts': it takes one witness to raise an alarm."""
    return np.asarray(np.maximum.reduce(list(parts.values())))


def frame_scores_of_track(
    frame_times: Floats, window_end_times: Floats, window_scores: Floats, spec: WindowSpec
) -> Floats:
    """The score of one person in every frame: that of the window with the nearest centre among those around the frame.

    Args:
        frame_times: Shape ``(F,)``, seconds, in any order.
        window_end_times: Shape ``(N,)``, seconds of the last grid point of each window, in any order.
        window_scores: Shape ``(N,)``.
        spec: What a window is.

    Returns:
        Shape ``(F,)``; nan for frames in no window. Of two centres equally near the earlier counts.
    """
    scores = np.full(len(frame_times), np.nan)
    if not len(window_end_times):
        return scores
    order = np.argsort(window_end_times, kind="stable")
    ends, values = window_end_times[order], window_scores[order]
    centres = spec.center_times(ends)
    tolerance = _TOLERANCE / spec.rate_hz
    # A window is not symmetric about its centre, so the nearest centre on either side is looked at.
    after = np.searchsorted(centres, frame_times - tolerance)
    chosen = np.full(len(frame_times), -1)
    distance = np.full(len(frame_times), np.inf)
    for side in (np.maximum(after - 1, 0), np.minimum(after, len(ends) - 1)):
        inside = (frame_times <= ends[side] + tolerance) & (frame_times >= ends[side] - spec.duration_s - tolerance)
        nearer = inside & (np.abs(frame_times - centres[side]) < distance - tolerance)
        chosen[nearer] = side[nearer]
        distance[nearer] = np.abs(frame_times - centres[side])[nearer]
    found = chosen >= 0
    scores[found] = values[chosen[found]]
    return scores


def highest_over_people(frame_times: Floats, windows: Windows, scores: Floats, spec: WindowSpec) -> Floats:
    """The score of every frame: the highest of `frame_scores_of_track` over the tracks of the windows.

    Args:
        frame_times: Shape ``(F,)``, seconds.
        windows: The windows of one camera.
        scores: Shape ``(N,)``, one for each window.
        spec: What a window is.

    Returns:
        Shape ``(F,)``; nan where nobody is scored.
    """
    highest = np.full(len(frame_times), np.nan)
    for track in np.unique(windows.track_ids):
        own = windows.track_ids == track
        highest = np.fmax(highest, frame_scores_of_track(frame_times, windows.end_times[own], scores[own], spec))
    return highest


def available_device(device: torch.device | str) -> torch.device:
    """The device, if this machine has it.

    Raises:
        DeviceUnavailableError: It has not; nothing falls back to the CPU in silence.
    """
    wanted = torch.device(device)
    if wanted.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (wanted.index or 0) >= count:
            raise DeviceUnavailableError(f"asked for {wanted}, but torch {torch.__version__} sees {count} CUDA devices")
    elif wanted.type != "cpu":
        raise DeviceUnavailableError(f"asked for {wanted}; DA-Flow runs on cpu or cuda")
    return wanted
