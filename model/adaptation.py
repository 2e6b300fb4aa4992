"""Fitting a camera: its calibration and, if asked, its own weights, from its calibration footage.

The footage is cut into contiguous blocks of time, used in turn for three purposes: *learning*, *choosing* the epoch,
and *judging*. Weights are fine-tuned by maximum likelihood with all batch statistics fixed, so the loss is exactly the
score that is published. They are accepted only if they make the judging blocks more likely, which were used for nothing
else: the mean score falls by a margin, and a one-sided paired t-test over stretches of time rejects at 5 % that it does
not. A camera with accepted weights is calibrated on the blocks that were not learnt from.

The calibration is of the value that the incident detector compares with its levels: frames scored by the live frame
rule (`model.online`), causally smoothed, held for the minimum duration, and merged over the quiet period.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.calibration import Calibration, CalibrationError, Recording
from model.checkpoint import Checkpoint
from model.dataset import mirrored
from model.footage import PoseFootage, online_series
from model.fused import FusedFlow
from model.online import held
from model.parts import Footage, Parts
from model.scorer import RawScorer, available_device
from model.smoothing import DEFAULT_TAU_S
from model.training import library_versions
from pose.windows import Windows, WindowSpec

Floats = NDArray[np.float64]

_TURNS: Final = "LJLCLJLCLJ"
"""The use of each block of time in turn: learning, judging or choosing. Each use is spread over the whole footage."""
_LONGEST_BLOCK_S: Final = 60.0
_SHORTEST_BLOCK_S: Final = 12.0
"""A block begins with a window's length without scores, which must be a small share of the block."""
_STRETCH_S: Final = 6.0
"""Seconds whose mean is one observation of the test: several windows' lengths, so that neighbours hardly overlap."""
_MIN_STRETCHES: Final = 5
_SIGNIFICANCE: Final = 0.05


_TAIL_SHARES: Final = (0.1, 0.15, 0.2, 0.25, 0.3)
"""Shares of the frames that make up the tail. With a larger share, runs merge instead of becoming more."""
_ENOUGH_EXCEEDANCES: Final = 20


class FitCancelled(Exception):
    """The caller asked to stop."""


@dataclass(frozen=True, slots=True)
class AdaptationSettings:
    """How weights are fine-tuned.

    Attributes:
        learning_rate: Of the first epoch.
        decay: Factor of the learning rate after every epoch.
        epochs: Passes over the learning windows, at most.
        patience: Epochs without a better likelihood on the choosing blocks after which training stops.
        max_windows: Windows to learn from, mirrored copies not counted, and half as many to choose by; of more, every
            n-th is taken, which keeps fine-tuning under a minute on two cores.
        batch_size: Windows in a step.
        margin: Bits per dimension by which the judging blocks must become more likely.
        seed: Decides the order of windows.

    Example:
        >>> AdaptationSettings(epochs=6).learning_rate
        0.01
    """

    learning_rate: float = 1e-2
    decay: float = 0.9
    epochs: int = 24
    patience: int = 6
    max_windows: int = 1600
    batch_size: int = 128
    margin: float = 0.005
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "decay", "epochs", "patience", "max_windows", "batch_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class AdaptedWeights:
    """The result of fine-tuning.

    Attributes:
        checkpoint: The adapted weights, without a calibration; None if they were not accepted.
        before_nll: Mean score of the judging windows under the base, bits per dimension; nan without any.
        after_nll: The same under the adapted weights; nan if none were learnt.
        reason: Why the weights were accepted or not, as a sentence.
        unlearnt: The footage that was not learnt from, in blocks.

    Example:
        >>> refused = AdaptedWeights(None, 0.31, math.nan, "not adapted: too little footage", ())
        >>> refused.checkpoint is None, refused.reason
        (True, 'not adapted: too little footage')
    """

    checkpoint: Checkpoint | None
    before_nll: float
    after_nll: float
    reason: str
    unlearnt: tuple[PoseFootage, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CameraFit:
    """The calibration and weights of a camera, and how certain its threshold is.

    Attributes:
        calibration: Levels and thresholds of this camera.
        checkpoint: The camera's own weights, with that calibration; None if it keeps the shared ones.
        threshold: The level that normal footage reaches `per_day` times a day.
        per_day: False alarms per day of the threshold: what was asked for, or the lowest that the footage supports.
        interval_per_day: 90 % interval of the false alarms per day of the threshold: lower and upper end.
        needed_s: About how many more seconds of footage would support what was asked for; 0 if it is supported.
        before_nll: Mean score of judging windows under the base, bits per dimension; None without adaptation.
        after_nll: The same under the adapted weights; None without adaptation.
        accepted: Whether the camera has weights of its own now.
        reason: Why, as a sentence; None without adaptation.
        footage_s: Seconds of calibration footage.
        windows: Windows in it.
        false_alarms_used: False alarms that were added to the calibration footage as normal life.

    Example:
        >>> fit = CameraFit(
        ...     calibration=Calibration((0.0, 1.0), (0.0, 0.9), 0.1, 0.5, 20, 1000, 3600.0, 2.0),
        ...     checkpoint=None,
        ...     threshold=0.995,
        ...     per_day=12.0,
        ...     interval_per_day=(7.0, 20.0),
        ...     needed_s=0.0,
        ...     before_nll=None,
        ...     after_nll=None,
        ...     accepted=False,
        ...     reason=None,
        ...     footage_s=3600.0,
        ...     windows=1000,
        ...     false_alarms_used=0,
        ... )
        >>> fit.calibration.level(np.array(0.5)).item()
        0.45
    """

    calibration: Calibration
    checkpoint: Checkpoint | None
    threshold: float
    per_day: float
    interval_per_day: tuple[float, float]
    needed_s: float
    before_nll: float | None
    after_nll: float | None
    accepted: bool
    reason: str | None
    footage_s: float
    windows: int
    false_alarms_used: int


def fit_camera(
    footage: Sequence[PoseFootage],
    base: Checkpoint,
    *,
    false_alarms_per_day: float,
    merge_s: float,
    min_duration_s: float,
    tau_s: float = DEFAULT_TAU_S,
    false_alarms: Sequence[float] = (),
    adapt: bool = False,
    settings: AdaptationSettings | None = None,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> CameraFit:
    """Calibrate a camera on its own normal footage, and adapt the weights to it if asked and if that helps.

    Args:
        footage: Uninterrupted recordings of normal life on this camera.
        base: The shared weights.
        false_alarms_per_day: What `unusual` may cost. Where the footage supports no rate that low, the threshold is
            that of the lowest that it supports.
        merge_s: Quiet period of incidents: alarms closer than this are one.
        min_duration_s: How long a level must be held to count.
        tau_s: Time constant of the live smoothing.
        false_alarms: See `calibrate`. They are scores of the shared weights, so the camera's own weights cannot use
            them.
        adapt: Whether to fine-tune the weights.
        settings: How.
        device: Where to compute.
        on_progress: Called with the share that is done, 0 to 1.
        cancelled: Called now and then; true ends the fit.

    Raises:
        CalibrationError: There is too little footage for any threshold, or what `unusual` may cost is more than any
            threshold costs; `needed_s` says how much more footage would do.
        FitCancelled: `cancelled` returned true.
        DeviceUnavailableError: The device is not there.
    """

    def calibrated(
        checkpoint: Checkpoint, pieces: Sequence[PoseFootage], skip_s: float, alarms: Sequence[float]
    ) -> tuple[Calibration, int]:
        if cancelled():
            raise FitCancelled
        return calibrate(
            pieces,
            checkpoint,
            merge_s=merge_s,
            min_duration_s=min_duration_s,
            tau_s=tau_s,
            skip_s=skip_s,
            false_alarms=alarms,
            device=device,
        )

    adaptation = None
    if adapt:
        adaptation = adapt_weights(
            footage,
            base,
            settings or AdaptationSettings(),
            device=device,
            on_progress=lambda share: on_progress(0.9 * share),
            cancelled=cancelled,
        )
    reason = None if adaptation is None else adaptation.reason
    checkpoint = None
    if adaptation is not None and adaptation.checkpoint is not None:
        try:
            calibration, used = calibrated(adaptation.checkpoint, adaptation.unlearnt, base.spec.duration_s, ())
            checkpoint = replace(adaptation.checkpoint, calibration=calibration)
        except CalibrationError as error:
            more = "" if error.needed_s is None else f", about {error.needed_s * len(_TURNS) / 5:.0f} s more in all"
            reason = f"the footage that was not learnt from is too little to calibrate own weights on{more}: {error}"
    if checkpoint is None:
        calibration, used = calibrated(base, footage, 0.0, false_alarms)
    per_day = calibration.supported_per_day(false_alarms_per_day)
    threshold = calibration.threshold(false_alarms_per_day=per_day)
    on_progress(1.0)
    return CameraFit(
        calibration=calibration,
        checkpoint=checkpoint,
        threshold=threshold,
        per_day=per_day,
        interval_per_day=calibration.interval_per_day(threshold),
        needed_s=calibration.needed_s(false_alarms_per_day),
        before_nll=None if adaptation is None else adaptation.before_nll,
        after_nll=None if adaptation is None else adaptation.after_nll,
        accepted=checkpoint is not None,
        reason=reason,
        footage_s=sum(Recording(piece.frame_times, piece.frame_times).duration_s for piece in footage),
        windows=sum(len(piece.windows(base.spec)) for piece in footage),
        false_alarms_used=used,
    )


def calibrate(
    footage: Sequence[PoseFootage],
    checkpoint: Checkpoint,
    *,
    merge_s: float,
    min_duration_s: float,
    tau_s: float = DEFAULT_TAU_S,
    skip_s: float = 0.0,
    false_alarms: Sequence[float] = (),
    device: torch.device | str = "cpu",
) -> tuple[Calibration, int]:
    """Fit the levels of live frames on normal footage.

    Levels rank smoothed frame scores; false alarms are runs of frames that held a level for the minimum duration. The
    tail begins as high as possible with 20 independent exceedances, or else where it has the most.

    Earlier false alarms are added as further exceedances, at most as many as the footage has of its own: a tail must
    not consist mainly of scores that were picked because they are high. They cannot replace footage that is too short
    for a tail.

    Args:
        footage: Uninterrupted recordings.
        checkpoint: The weights.
        merge_s: Quiet period of incidents: alarms closer than this are one.
        min_duration_s: How long a level must be held to count.
        tau_s: Time constant of the live smoothing.
        skip_s: Seconds at the start of each recording that do not count, because nobody has a score yet.
        false_alarms: The highest score that each of them has held, under the same weights and rules; the first of
            them count if not all can.
        device: Where to compute.

    Returns:
        The calibration, and how many of the false alarms are in its tail.

    Raises:
        CalibrationError: There is too little footage.
    """
    scorer = RawScorer.of_checkpoint(checkpoint, device)
    recordings = [
        live_recording(one, scorer, min_duration_s=min_duration_s, tau_s=tau_s, skip_s=skip_s) for one in footage
    ]
    smoothed = np.concatenate([np.empty(0), *(scores for _, scores in recordings)])

    def fitted(tail_share: float, further_peaks: Sequence[float] = ()) -> Calibration:
        return Calibration.fit(
            smoothed[np.isfinite(smoothed)],
            [recording for recording, _ in recordings],
            # An alarm ends when its level does, but begins only when the next level has been held.
            merge_s=merge_s + min_duration_s,
            tail_share=tail_share,
            further_peaks=further_peaks,
        )

    plain, tail_share = _with_enough_exceedances(fitted)
    peaks = [peak for peak in false_alarms if peak > plain.knots[-1]][: plain.exceedances]
    return (fitted(tail_share, peaks) if peaks else plain), len(peaks)


def _with_enough_exceedances(fitted: Callable[[float], Calibration]) -> tuple[Calibration, float]:
    """The fit whose tail begins highest of those with enough exceedances, or else has most; and the tail's share."""
    fits: list[tuple[Calibration, float]] = []
    refusals: list[CalibrationError] = []
    for tail_share in _TAIL_SHARES:
        try:
            fits.append((fitted(tail_share), tail_share))
        except CalibrationError as error:
            refusals.append(error)
            continue
        if fits[-1][0].exceedances >= _ENOUGH_EXCEEDANCES:
            return fits[-1]
    if not fits:
        raise min(refusals, key=lambda error: math.inf if error.needed_s is None else error.needed_s)
    return max(fits, key=lambda fit: fit[0].exceedances)


def live_recording(
    footage: PoseFootage, scorer: RawScorer, *, min_duration_s: float, tau_s: float = DEFAULT_TAU_S, skip_s: float = 0.0
) -> tuple[Recording, Floats]:
    """A recording of held levels, as `Calibration.fit` takes it, and the smoothed scores of its frames.

    Args:
        footage: An uninterrupted recording.
        scorer: What scores its windows.
        min_duration_s: How long a level must be held to count.
        tau_s: Time constant of the live smoothing.
        skip_s: Seconds at its start to leave out.
    """
    windows = footage.windows(scorer.spec)
    series = online_series(footage, windows, scorer.raw(windows), scorer.spec, tau_s=tau_s)
    times = footage.frame_times
    kept = times >= times[0] + skip_s if len(times) else np.empty(0, bool)
    levels = held(series.smoothed, times, min_duration_s)
    return Recording(times[kept], levels[kept]), series.smoothed[kept]


def adapt_weights(
    footage: Sequence[PoseFootage],
    base: Checkpoint,
    settings: AdaptationSettings,
    *,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> AdaptedWeights:
    """Fine-tune weights on a camera's own footage.

    Args:
        footage: Uninterrupted recordings of normal life on one camera.
        base: The weights to start from.
        settings: How.
        device: Where to compute.
        on_progress: Called with the share that is done, 0 to 1.
        cancelled: Called in every step; true ends it.

    Raises:
        FitCancelled: `cancelled` returned true.
    """
    place = available_device(device)
    blocks = time_blocks(footage)
    dealt = {
        turn: [block for block, own in zip(blocks, _turns(len(blocks)), strict=True) if own == turn] for turn in "LCJ"
    }
    unlearnt = tuple(block for block, turn in zip(blocks, _turns(len(blocks)), strict=True) if turn != "L")
    x, chosen_by = (_tensor(dealt[turn], base.spec) for turn in "LC")
    judged = [block.windows(base.spec) for block in dealt["J"]]
    y = Windows.concatenate([Windows.empty(base.spec), *judged])
    stretches = _stretches([windows.end_times for windows in judged])
    before = RawScorer(FusedFlow(base.flow(), place), base.spec).likelihood(y)

    def refused(reason: str, after: float = math.nan) -> AdaptedWeights:
        return AdaptedWeights(None, float(before.mean()) if len(before) else math.nan, after, reason, unlearnt)

    if not len(x) or not len(chosen_by) or len(set(stretches.tolist())) < _MIN_STRETCHES:
        return refused(
            f"not adapted: {len(x)} windows to learn from, {len(chosen_by)} to choose by and "
            f"{len(set(stretches.tolist()))} stretches of {_STRETCH_S:g} s to judge by are too few; record more footage"
        )
    state, epoch, learnt_nll, chosen_nll = _fine_tuned(base, x, chosen_by, settings, place, on_progress, cancelled)
    if epoch == 0:
        return refused("not adapted: no epoch made the footage held out for that choice more likely")
    adapted = replace(
        base,
        name=f"{base.name}-adapted",
        state=state,
        calibration=None,
        provenance=replace(
            base.provenance,
            data=f"a camera's own footage, from {base.name}",
            data_sha256=_digest(footage),
            command="",
            seed=settings.seed,
            epoch=epoch,
            train_nll=learnt_nll,
            heldout_nll=chosen_nll,
            versions=library_versions(),
        ),
    )
    after = RawScorer(FusedFlow(adapted.flow(), place), base.spec).likelihood(y)
    # Imported here, since it takes most of a second at every start, and a camera is adapted once.
    from scipy.stats import ttest_1samp

    gains = [float((before - after)[stretches == stretch].mean()) for stretch in np.unique(stretches)]
    gain, chance = float((before - after).mean()), float(ttest_1samp(gains, 0.0, alternative="greater").pvalue)
    figures = (
        f"{len(y)} windows in {len(gains)} stretches of time that were not learnt from became more likely by "
        f"{gain:.4f} bits per dimension (p = {chance:.2g})"
    )
    if not (gain >= settings.margin and chance < _SIGNIFICANCE):
        return refused(f"not adapted: {figures}; {settings.margin:g} and p < {_SIGNIFICANCE:g} are asked", after.mean())
    adapted = replace(adapted, parts=_parts(adapted, unlearnt, place))
    return AdaptedWeights(adapted, float(before.mean()), float(after.mean()), f"adapted: {figures}", unlearnt)


def _parts(adapted: Checkpoint, footage: Sequence[PoseFootage], device: torch.device) -> Parts | None:
    """The base's parts; the pose part is calibrated anew on the adapted weights if the footage supports that."""
    if adapted.parts is None:
        return None
    scorer = RawScorer(FusedFlow(adapted.flow(), device), adapted.spec)
    normal = [Footage(own.windows(adapted.spec), own.frame_times) for own in footage]
    with contextlib.suppress(CalibrationError):
        return replace(adapted.parts, pose=scorer.calibrated(normal))
    return adapted.parts


def time_blocks(footage: Sequence[PoseFootage]) -> list[PoseFootage]:
    """Cut footage into contiguous blocks of at most a minute, about ten if that keeps them long enough; in order."""
    total = sum(float(piece.frame_times[-1] - piece.frame_times[0]) for piece in footage if len(piece.frame_times))
    length = min(max(total / len(_TURNS), _SHORTEST_BLOCK_S), _LONGEST_BLOCK_S)
    blocks = []
    for piece in footage:
        if not len(piece.frame_times):
            continue
        first, last = float(piece.frame_times[0]), float(piece.frame_times[-1])
        edges = np.linspace(first, last, max(round((last - first) / length), 1) + 1)
        edges[-1] = math.inf
        blocks += [piece.between(start, stop) for start, stop in pairwise(edges.tolist())]
    return blocks


def _turns(blocks: int) -> str:
    return (_TURNS * (blocks // len(_TURNS) + 1))[:blocks]


def _tensor(blocks: Sequence[PoseFootage], spec: WindowSpec) -> Tensor:
    return torch.cat([torch.empty(0, 2, spec.length, 18), *(block.windows(spec).tensor for block in blocks)])


def _stretches(end_times: Sequence[Floats]) -> NDArray[np.int64]:
    """Number of the stretch of time of each window; blocks do not share any."""
    numbers: list[NDArray[np.int64]] = []
    first = 0
    for times in end_times:
        own = np.floor((times - times.min(initial=math.inf)) / _STRETCH_S).astype(np.int64) + first
        numbers.append(own)
        first = int(own.max(initial=first - 1)) + 1
    return np.concatenate([np.empty(0, np.int64), *numbers])


def _fine_tuned(
    base: Checkpoint,
    x: Tensor,
    chosen_by: Tensor,
    settings: AdaptationSettings,
    device: torch.device,
    on_progress: Callable[[float], None],
    cancelled: Callable[[], bool],
) -> tuple[dict[str, Tensor], int, float, float]:
    """The state after the best epoch, its number (0 is the base), and its mean scores in learning and choosing."""
    x = mirrored(_thinned(x, settings.max_windows), "swap").to(device)
    chosen_by = _thinned(chosen_by, -(-settings.max_windows // 2)).to(device)
    flow = base.flow().to(device)
    optimizer = torch.optim.Adam(flow.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, settings.decay)
    order = torch.Generator().manual_seed(settings.seed)
    best_state, best_epoch, learnt = dict(base.state), 0, math.nan
    best = float(RawScorer(FusedFlow(flow, device), base.spec).nll(chosen_by).mean())
    for epoch in range(1, settings.epochs + 1):
        total = 0.0
        shuffled = torch.randperm(len(x), generator=order)
        for start in range(0, len(x), settings.batch_size):
            if cancelled():
                raise FitCancelled
            rows = shuffled[start : start + settings.batch_size]
            loss = flow.nll(x[rows.to(device)]).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        schedule.step()
        nll = float(RawScorer(FusedFlow(flow, device), base.spec).nll(chosen_by).mean())
        if nll < best:
            best, best_epoch, learnt = nll, epoch, total / len(x)
            best_state = {name: value.detach().cpu().clone() for name, value in flow.state_dict().items()}
        on_progress(epoch / settings.epochs)
        if epoch - best_epoch >= settings.patience:
            break
    return best_state, best_epoch, learnt, best


def _thinned(windows: Tensor, most: int) -> Tensor:
    return windows[:: -(-len(windows) // most)]


def _digest(footage: Sequence[PoseFootage]) -> str:
    digest = hashlib.sha256()
    for piece in footage:
        for track in piece.tracks:
            digest.update(track.times.astype("<f8").tobytes())
            digest.update(track.keypoints.numpy().astype("<f4").tobytes())
    return digest.hexdigest()
