"""Training a flow on normal clips by maximum likelihood, and calibrating it on clips that it was not trained on.

A data set may also have training clips with abnormal people, as in STG-NF's supervised setting: their abnormal windows
are trained under the prior N(-R, I). Scores, also those of held-out clips, are always under N(R, I).

The state after every epoch can be kept in a file; a run that is killed and resumed ends in the same bytes as one that
was not. On one machine, device and number of threads the same settings always give the same checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, Self

import numpy as np
import safetensors
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from model.calibration import CalibrationError
from model.checkpoint import Checkpoint, Provenance, write_atomically
from model.config import DAFlowConfig
from model.dataset import Axes, Mirror, PoseClip, Slicing, abnormal_windows, clip_windows, hold_out, mirrored
from model.flow import DAFlow
from model.fused import FusedFlow
from model.layouts import Extractor, Layout, read_dataset
from model.parts import Footage, fit_parts
from model.scorer import RawScorer, available_device
from pose.windows import Windows, WindowSpec

Optimizer = Literal["adam", "adamax"]

Keep = Literal["best", "last"]
"""Which epoch's weights become the checkpoint: those most likely on held-out clips, or the last."""


_RATE_TOLERANCE: Final = 0.01
"""Share by which frame rates may differ, as 29.97 does from 30."""


class TrainingError(RuntimeError):
    """Training cannot continue; the message says why."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """One training run.

    Attributes:
        data: The data set's folder.
        output: The checkpoint to write.
        seed: Decides held-out clips, first weights and the order of windows.
        epochs: Passes over the training windows.
        config: The architecture.
        rate_hz: Rate of the time grid; the window length is the architecture's.
        max_gap_s: Longest gap that is bridged, seconds.
        layout: How the data set lies on disk (see `model.layouts`); its training clips are learnt from.
        frame_rate_hz: Frames per second of the data's video; None takes what the data set says.
        axes: Which coordinate of a keypoint comes first in the data, see `model.dataset`.
        slicing: How windows are cut.
        stride: Grid points between training windows of a person.
        mirror: Mirrored copies of training windows.
        heldout_share: Share of each camera's clips that choose the epoch and calibrate; 0 learns from all clips, and
            leaves the checkpoint uncalibrated.
        keep: Which epoch to keep; without held-out clips that can only be the last.
        batch_size: Windows in a step.
        optimizer: Adam or Adamax.
        learning_rate: Of the first epoch.
        constant_epochs: Epochs at this learning rate before it decays.
        decay: Factor of the learning rate in every epoch after those.
        clip_norm: Largest norm of the gradient.
        parts: Whether motion and pairs of people are parts of the score beside the pose, see `model.parts`.
        device: Where to train.
        resume: File for the state after each epoch; if it exists, training goes on from it.
        command: What is recorded as the command that made the checkpoint.

    Example:
        >>> TrainingSettings(Path("poselift"), Path("own.safetensors"), epochs=2).spec
        WindowSpec(length=24, rate_hz=15.0, max_gap_s=0.5)
    """

    data: Path
    output: Path
    seed: int = 0
    epochs: int = 40
    config: DAFlowConfig = field(default_factory=DAFlowConfig)
    rate_hz: float = 15.0
    max_gap_s: float = 0.5
    layout: Layout = "poselift"
    frame_rate_hz: float | None = None
    axes: Axes = "auto"
    slicing: Slicing = "grid"
    stride: int = 6
    mirror: Mirror = "swap"
    heldout_share: float = 0.3
    keep: Keep = "best"
    batch_size: int = 256
    optimizer: Optimizer = "adam"
    learning_rate: float = 1e-2
    constant_epochs: int = 1
    decay: float = 0.93
    clip_norm: float = 100.0
    parts: bool = True
    device: str = "cpu"
    resume: Path | None = None
    command: str = ""

    def __post_init__(self) -> None:
        for name in ("epochs", "stride", "batch_size", "constant_epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("learning_rate", "decay", "clip_norm", "frame_rate_hz"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not 0 <= self.heldout_share < 1:
            raise ValueError(f"heldout_share must be at least 0 and below 1, got {self.heldout_share}")
        if self.keep == "best" and not self.heldout_share:
            raise ValueError("keep='best' needs held-out clips to choose by: with heldout_share=0 keep the 'last'")

    @classmethod
    def stgnf(cls, data: Path, output: Path, seed: int = 0) -> Self:
        """STG-NF learning as its public code does: all clips, the last of eight epochs, no selection.

        From its options and its training loop: Adamax at 5e-4 without weight decay, times 0.99 an epoch from the third
        on (the rate is set after an epoch, from that epoch's number), batches of 256, gradient norm at most 100, stride
        6, every window also with x negated. Coordinates are taken as stored, x before y. Poses are stacked in the
        string order of frame keys, which differs from the order of time only where keys are not zero-padded, as in
        PoseLift.
        """
        return cls(
            data,
            output,
            seed,
            epochs=8,
            config=DAFlowConfig.stgnf(),
            axes="xy",
            slicing="scrambled",
            mirror="plain",
            heldout_share=0.0,
            keep="last",
            optimizer="adamax",
            learning_rate=5e-4,
            constant_epochs=2,
            decay=0.99,
            parts=False,
        )

    @property
    def spec(self) -> WindowSpec:
        """What a window is."""
        return WindowSpec(length=self.config.length, rate_hz=self.rate_hz, max_gap_s=self.max_gap_s)


@dataclass(frozen=True, slots=True)
class Epoch:
    """Likelihoods after one epoch.

    Attributes:
        number: From 1.
        train_nll: Mean over the steps of the epoch, bits per dimension; abnormal windows under their own prior.
        heldout_nll: Mean over held-out windows and their mirror images if training had those, bits per dimension; None
            if nothing was held out.

    Example:
        >>> Epoch(1, train_nll=0.4, heldout_nll=0.5).number
        1
    """

    number: int
    train_nll: float
    heldout_nll: float | None


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """The result of a run.

    Attributes:
        output: The checkpoint written.
        parameters: Trained parameters.
        train_clips: Clips learnt from.
        heldout_clips: Clips held out.
        train_windows: Windows learnt from, mirrored copies included.
        abnormal_windows: How many of those are abnormal.
        heldout_windows: Windows that chose the epoch, mirrored copies included.
        epochs: Every epoch's likelihoods.
        chosen: The epoch kept.
        checkpoint: What was written.
        uncalibrated: Why the checkpoint has no calibration; None if it has one.
    """

    output: Path
    parameters: int
    train_clips: int
    heldout_clips: int
    train_windows: int
    abnormal_windows: int
    heldout_windows: int
    epochs: tuple[Epoch, ...]
    chosen: Epoch
    checkpoint: Checkpoint
    uncalibrated: str | None

    def account(self) -> str:
        """The run in a few lines of plain text."""
        abnormal = f", {self.abnormal_windows} of them abnormal" if self.abnormal_windows else ""
        which = "best" if self.chosen == _best(self.epochs) else "the last"
        lines = [
            f"{self.parameters} parameters, {self.train_windows} windows of {self.train_clips} clips{abnormal}, "
            f"{self.heldout_windows} windows of {self.heldout_clips} clips held out",
            f"epoch {self.chosen.number} of {len(self.epochs)} is {which}: "
            f"train {self.chosen.train_nll:.4f}, held out {_bits(self.chosen.heldout_nll)} bits/dimension",
        ]
        calibration = self.checkpoint.calibration
        if calibration is not None:
            lines.append(
                f"calibrated on {calibration.footage_s / 3600:.2f} h of held-out footage: "
                f"{calibration.exceedances} independent exceedances of {calibration.knots[-1]:.3f} bits/dimension"
            )
        if self.uncalibrated is not None:
            lines.append(f"not calibrated: {self.uncalibrated}")
        return "\n".join([*lines, f"wrote {self.output}"])


def train(
    settings: TrainingSettings,
    *,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
    console: Console | None = None,
    extractor: Extractor | None = None,
) -> TrainingReport:
    """Train, calibrate and write a checkpoint.

    If the held-out clips are too few to calibrate on, or there are none, the checkpoint is written without a
    calibration.

    Args:
        settings: The run.
        on_epoch: Called after every epoch, when its state has been kept.
        console: Where the progress bar goes; no bar without one.
        extractor: Makes poses of videos that have none yet.

    Raises:
        DatasetError: The data is missing or malformed.
        TrainingError: The state to resume belongs to another run, or the likelihood is no longer finite, or there is
            nothing to learn from, or frames that are not cut on the time grid come at another rate than windows.
        DeviceUnavailableError: The device is not there.
    """
    device = available_device(settings.device)
    data = read_dataset(
        settings.layout,
        settings.data,
        splits=("train",),
        frame_rate_hz=settings.frame_rate_hz,
        axes=settings.axes,
        extractor=extractor,
    )
    rate = data.frame_rate_hz
    if settings.slicing != "grid" and not math.isclose(rate, settings.rate_hz, rel_tol=_RATE_TOLERANCE):
        raise TrainingError(
            f"{settings.slicing} windows hold consecutive frames: rate_hz must be the {rate:g} of the data, "
            f"got {settings.rate_hz:g}"
        )
    settings = replace(settings, frame_rate_hz=rate)
    normal, held = (
        hold_out(data.train, settings.heldout_share, settings.seed) if settings.heldout_share else (data.train, ())
    )
    learnt = [*normal, *data.train_abnormal]
    digest = data_digest([*data.train, *data.train_abnormal])
    x, abnormal = (tensor.to(device) for tensor in _windows(learnt, settings, rate))
    y = _windows(held, settings, rate)[0].to(device)
    if not len(x) or (held and not len(y)):
        raise TrainingError(f"nothing to learn from: {len(x)} training windows, {len(y)} held out")

    run = _Run(settings, digest, device)
    run.resume()
    with _EpochBar(console, settings.epochs, len(run.history)) as advance:
        while len(run.history) < settings.epochs:
            on_epoch(run.epoch(x, abnormal, y))
            advance(run.history)

    best = _best(run.history)
    chosen = run.history[-1] if settings.keep == "last" or best is None else best
    flow = DAFlow(settings.config)
    flow.load_state_dict(run.chosen_state)
    fused = FusedFlow(flow.eval(), device)
    calibration, parts = None, None
    uncalibrated = None if held else "no clips were held out to calibrate on"
    try:
        if held:
            footage = [_footage(clip, settings, rate) for clip in held]
            if settings.parts:
                scorer = RawScorer(fused, settings.spec)
                parts = fit_parts(footage, [scorer.likelihood(own.windows) for own in footage], settings.spec)
            calibration = RawScorer(fused, settings.spec, parts).calibrated(footage)
    except CalibrationError as error:
        uncalibrated = str(error)
    provenance = Provenance(
        data=settings.data.resolve().name,
        data_sha256=digest,
        command=settings.command,
        seed=settings.seed,
        epoch=chosen.number,
        train_nll=chosen.train_nll,
        heldout_nll=chosen.heldout_nll,
        versions=library_versions(),
    )
    checkpoint = Checkpoint(
        settings.output.stem, settings.config, settings.spec, run.chosen_state, provenance, calibration, parts
    )
    checkpoint.save(settings.output)
    return TrainingReport(
        output=settings.output,
        parameters=sum(parameter.numel() for parameter in flow.parameters()),
        train_clips=len(learnt),
        heldout_clips=len(held),
        train_windows=len(x),
        abnormal_windows=int(abnormal.sum()),
        heldout_windows=len(y),
        epochs=tuple(run.history),
        chosen=chosen,
        checkpoint=checkpoint,
        uncalibrated=uncalibrated,
    )


def data_digest(clips: Sequence[PoseClip]) -> str:
    """SHA-256 of names, frames, poses and which of them are abnormal, independent of how the files were formatted."""
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(clip.name.encode())
        for track in clip.tracks:
            digest.update(f"{track.person} {len(track.frames)} ".encode())
            digest.update(track.frames.astype("<i8").tobytes())
            digest.update(track.keypoints.numpy().astype("<f4").tobytes())
            if track.abnormal is not None:
                digest.update(b"abnormal " + track.abnormal.astype("u1").tobytes())
    return digest.hexdigest()


def library_versions() -> dict[str, str]:
    """Versions that numbers may depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }


class _Run:
    """What changes during a run: flow, optimiser, history and the weights to keep so far."""

    def __init__(self, settings: TrainingSettings, digest: str, device: torch.device) -> None:
        self.settings = settings
        self.digest = digest
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.flow = DAFlow(settings.config).to(device)
        self.optimizer = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax}[settings.optimizer](
            self.flow.parameters(), lr=settings.learning_rate
        )
        self.history: list[Epoch] = []
        self.chosen_state: dict[str, Tensor] = {}

    def epoch(self, x: Tensor, abnormal: Tensor, y: Tensor) -> Epoch:
        """Train on all of `x` once, measure `y` if there is any, keep the state; `abnormal` says which of `x` are."""
        number = len(self.history)
        for group in self.optimizer.param_groups:
            decays = max(number + 1 - self.settings.constant_epochs, 0)
            group["lr"] = self.settings.learning_rate * self.settings.decay**decays
        # A seed per epoch, not one running generator: a resumed run then shuffles as an unbroken one.
        shuffle = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + number)
        total = torch.zeros((), device=x.device)
        self.flow.train()
        order = torch.randperm(len(x), generator=shuffle).to(x.device)
        for start in range(0, len(x), self.settings.batch_size):
            batch = order[start : start + self.settings.batch_size]
            loss = self.flow.nll(x[batch], abnormal[batch]).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.flow.parameters(), self.settings.clip_norm)
            self.optimizer.step()
            total += loss.detach() * len(batch)
        scorer = RawScorer(FusedFlow(self.flow, x.device), self.settings.spec)
        done = Epoch(number + 1, float(total) / len(x), float(scorer.nll(y).mean()) if len(y) else None)
        if not np.isfinite([done.train_nll, done.heldout_nll or 0.0]).all():
            raise TrainingError(f"the likelihood is no longer finite in epoch {done.number}: lower the learning rate")
        self.history.append(done)
        if self.settings.keep == "last" or done == _best(self.history):
            self.chosen_state = {name: value.detach().cpu().clone() for name, value in self.flow.state_dict().items()}
        self._keep()
        return done

    def resume(self) -> None:
        """Go on from the state on disk, if there is one.

        Raises:
            TrainingError: It cannot be read, or belongs to a run with other settings.
        """
        path = self.settings.resume
        if path is None or not path.exists():
            return
        try:
            with safe_open(path, framework="pt") as file:
                kept = json.loads((file.metadata() or {})["run"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise TrainingError(f"{path}: not the state of a training run: {error}") from error
        if kept["identity"] != self._identity():
            changed = [name for name, value in self._identity().items() if kept["identity"].get(name) != value]
            raise TrainingError(f"{path}: the state of another run; different: {', '.join(changed)}")
        self.history = [Epoch(**epoch) for epoch in kept["history"]]
        self.flow.load_state_dict(_under("flow.", tensors))
        self.chosen_state = _under("chosen.", tensors)
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _keep(self) -> None:
        if self.settings.resume is None:
            return
        optimizer = {
            f"optimizer.{index}.{key}": value
            for index, slots in self.optimizer.state_dict()["state"].items()
            for key, value in slots.items()
        }
        flow = {f"flow.{name}": value for name, value in self.flow.state_dict().items()}
        chosen = {f"chosen.{name}": value for name, value in self.chosen_state.items()}
        tensors = {name: value.detach().cpu().contiguous() for name, value in (optimizer | flow | chosen).items()}
        run = {"identity": self._identity(), "history": [asdict(epoch) for epoch in self.history]}
        write_atomically(self.settings.resume, save(tensors, {"run": json.dumps(run, sort_keys=True)}))

    def _identity(self) -> dict[str, Any]:
        """All that the numbers of a run depend on; more epochs only make it longer."""
        settings = asdict(self.settings)
        for name in ("data", "layout", "output", "resume", "command", "epochs"):
            del settings[name]
        return settings | {"data_sha256": self.digest}


class _EpochBar:
    """A progress bar over epochs, or nothing."""

    def __init__(self, console: Console | None, total: int, done: int) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console or Console(file=sys.stderr),
            disable=console is None,
        )
        self._task = self._bar.add_task("epochs", total=total, completed=done)

    def __enter__(self) -> Callable[[Sequence[Epoch]], None]:
        self._bar.start()
        return self._advance

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _advance(self, history: Sequence[Epoch]) -> None:
        text, best = f"train {history[-1].train_nll:.4f}", _best(history)
        if best is not None:
            text += f"  held out {_bits(history[-1].heldout_nll)}  best {_bits(best.heldout_nll)}"
        self._bar.update(self._task, completed=len(history), description=text)


def _best(history: Sequence[Epoch]) -> Epoch | None:
    """The first epoch of the lowest held-out likelihood; None if nothing was held out."""
    judged = [(epoch.heldout_nll, epoch) for epoch in history if epoch.heldout_nll is not None]
    return min(judged, key=lambda pair: pair[0])[1] if judged else None


def _bits(nll: float | None) -> str:
    return "none" if nll is None else f"{nll:.4f}"


def _windows(clips: Sequence[PoseClip], settings: TrainingSettings, rate: float) -> tuple[Tensor, Tensor]:
    """Training windows with their mirrored copies ``(N, 2, T, 18)``, and which of them are abnormal ``(N,)``."""
    cut = [(clip, _cut(clip, settings, rate, settings.stride)) for clip in clips]
    windows = torch.cat([Windows.empty(settings.spec).tensor, *(own.tensor for _, own in cut)])
    marks = [abnormal_windows(clip, own, settings.spec, frame_rate_hz=rate) for clip, own in cut]
    abnormal = torch.from_numpy(np.concatenate([np.zeros(0, np.bool_), *marks]))
    x = mirrored(windows, settings.mirror)
    return x, abnormal if settings.mirror == "none" else abnormal.repeat(2)


def _footage(clip: PoseClip, settings: TrainingSettings, rate: float) -> Footage:
    return Footage(_cut(clip, settings, rate, stride=1), clip.frame_span() / rate)


def _cut(clip: PoseClip, settings: TrainingSettings, rate: float, stride: int) -> Windows:
    return clip_windows(clip, settings.spec, frame_rate_hz=rate, slicing=settings.slicing, stride=stride)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
