"""Learns the coefficients of the behaviour `fight` from labelled clips, and says how well it does on others.

``python -m benchmarks.research.fight_behaviour --poses DIR [--normal DIR]``

--poses holds ``fight`` and ``noFight`` with the poses of the clips, one file each as NumPy archive: ``times`` (F,),
``frame`` (N,), ``track`` (N,), ``box`` (N, 4), ``kp`` (N, 17, 3) and ``size`` (2,). The folder is the label. --normal
holds such files of ordinary life; nothing is learnt from them, alarms on them are counted.

A clip's score is the highest score of its moments, whoever it is given for. So the coefficients are learnt from one
candidate of each clip: the pair of people, or person alone, and the moment that the last coefficients score highest
(multiple-instance learning; Andrews et al., NIPS 2002). A fight fires only for two people. The threshold is the mean
over repetitions of the logit that so many cross-validated clips without a fight reach, and a margin.

What was chosen, by repeated cross-validation over the same clips and before the last run:

- A window of 1.5 s: 0.7 s gave an AUC of 0.85, 1.0 s 0.86, 1.5 s 0.88 and 2.0 s 0.88.
- Seven features. Five came first (feet, contact_feet, shape, near_shape, broken); adding any of 42 others alone changed
  their AUC by -0.006 to +0.003, with a standard deviation of 0.005. Torso was added since walking explains part of what
  feet do, and wrists since people strike with them: together 0.889 to 0.895, about
  one standard deviation, and fewer alarms in ordinary life.
- Caps on speeds, limbs weighted by confidence, and no pair where one person is tracked twice: from 0.88 to 0.89, and
  the clips of PoseLift with an alarm from 9 of 104 to 1.
- An L2 penalty of 10; 5 did not differ. 20 was tried on earlier sets of features only.
- What did not help: a score that must be held for 0.3 to 0.5 s (0.82 to 0.85, since the clips last 2 s); limbs that
  move towards the other person, closing speed, overlap of boxes, acceleration, speed of the head, angle of the torso,
  neighbours, and PoseLift's moments as further examples without a fight (fewer fights at the same false rate).

As these choices saw all clips, the printed figures are slightly optimistic.

The clips carry the MIT licence, and so do the coefficients.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from model.behaviours.fight import FEATURES, Fight, features
from model.kinematics import Bodies, Kinematics

Floats = NDArray[np.float64]

PENALTY: Final = 10.0
FOLDS: Final = 5
REPETITIONS: Final = 20
SEED: Final = 16
FALSE_RATE: Final = 0.04
MARGIN: Final = 0.1
ROUNDS: Final = 6
LOWEST: Final = -9.0
"""Logit of a clip in which nobody is seen for long enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """The candidates of all moments of a clip: features ``(N, F)`` and which are pairs ``(N,)``."""

    name: str
    candidates: Floats
    pairs: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Regression:
    """A logistic regression over standardised features."""

    mean: Floats
    deviation: Floats
    coefficients: Floats
    intercept: float

    @classmethod
    def fit(cls, values: Floats, labels: Floats) -> Regression:
        """Fit by Newton's method, with an L2 penalty on the coefficients but not on the intercept."""
        mean, deviation = values.mean(axis=0), values.std(axis=0) + 1e-6
        design = np.column_stack([(values - mean) / deviation, np.ones(len(values))])
        penalty = np.diag([PENALTY] * values.shape[1] + [1e-6])
        weights = np.zeros(design.shape[1])
        for _ in range(15):
            chance = 1 / (1 + np.exp(-design @ weights))
            slope = design.T @ (chance - labels) + penalty @ weights
            curve = design.T @ (design * (chance * (1 - chance))[:, None]) + penalty
            weights -= np.linalg.solve(curve, slope)
        return cls(mean, deviation, weights[:-1], float(weights[-1]))

    def logits(self, values: Floats) -> Floats:
        """Logits of some candidates."""
        return np.asarray((values - self.mean) / self.deviation @ self.coefficients + self.intercept)

    def highest(self, clip: Clip, *, pairs_only: bool) -> float:
        """The highest logit in a clip."""
        chosen = clip.candidates[clip.pairs] if pairs_only else clip.candidates
        return float(self.logits(chosen).max(initial=LOWEST))


def replay(path: Path) -> Iterator[Bodies]:
    """The moments of a file of poses."""
    with np.load(path) as archive:
        times, frames, tracks = archive["times"], archive["frame"], archive["track"]
        boxes, keypoints, size = archive["box"], archive["kp"], archive["size"]
    order = np.argsort(frames, kind="stable")
    edges = np.searchsorted(frames[order], np.arange(len(times) + 1))
    kinematics = Kinematics()
    for number, time in enumerate(times.tolist()):
        rows = order[edges[number] : edges[number + 1]]
        yield from kinematics.observe(
            time, tracks[rows].tolist(), boxes[rows], keypoints[rows], (int(size[0]), int(size[1]))
        )


def read(path: Path) -> Clip:
    """Take the features of all moments of a file of poses."""
    state, values, pairs = Fight().start(), [np.zeros((0, len(FEATURES)))], [np.zeros(0, bool)]
    for bodies in replay(path):
        state, found, are_pairs = features(state, bodies)
        values.append(found)
        pairs.append(are_pairs)
    return Clip(path.stem, np.concatenate(values), np.concatenate(pairs))


def learn(clips: Sequence[Clip], labels: Floats) -> Regression:
    """Learn from the candidate of each clip that scores highest."""
    everything = np.concatenate([clip.candidates for clip in clips])
    mean, deviation = everything.mean(axis=0), everything.std(axis=0) + 1e-6
    regression = Regression(mean, deviation, np.ones(len(FEATURES)), 0.0)
    for _ in range(ROUNDS):
        chosen = [
            clip.candidates[regression.logits(clip.candidates).argmax()]
            if len(clip.candidates)
            else np.zeros(len(FEATURES))
            for clip in clips
        ]
        regression = Regression.fit(np.array(chosen), labels)
    return regression


def cross_validate(clips: Sequence[Clip], labels: Floats, seed: int) -> tuple[Floats, Floats]:
    """Highest logits of clips that were not learnt from: of all candidates, and of pairs only."""
    random = np.random.default_rng(seed)
    fold = np.zeros(len(clips), np.int64)
    for label in (0, 1):
        rows = random.permutation(np.flatnonzero(labels == label))
        fold[rows] = np.arange(len(rows)) % FOLDS
    anybody, pairs = np.zeros(len(clips)), np.zeros(len(clips))
    for number in range(FOLDS):
        kept = np.flatnonzero(fold != number).tolist()
        regression = learn([clips[row] for row in kept], labels[kept])
        for row in np.flatnonzero(fold == number).tolist():
            anybody[row] = regression.highest(clips[row], pairs_only=False)
            pairs[row] = regression.highest(clips[row], pairs_only=True)
    return anybody, pairs


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--poses", type=Path, required=True, help="folder with fight and noFight")
    parser.add_argument("--normal", type=Path, help="folder with ordinary life")
    arguments = parser.parse_args()
    paths = [path for folder in ("fight", "noFight") for path in sorted((arguments.poses / folder).glob("*.npz"))]
    clips = [read(path) for path in paths]
    labels = np.array([float(path.parent.name == "fight") for path in paths])
    runs = [cross_validate(clips, labels, SEED + number) for number in range(REPETITIONS)]
    allowed = int(FALSE_RATE * (labels == 0).sum())
    thresholds = np.array([np.sort(pairs[labels == 0])[-allowed - 1] for _, pairs in runs])
    threshold = float(thresholds.mean()) + MARGIN
    # The score of one person alone stays below that of a pair that fires.
    aucs = np.array([roc_auc_score(labels, np.maximum(pairs, np.minimum(every, threshold))) for every, pairs in runs])
    recalls = np.array([(pairs[labels == 1] >= threshold).mean() for _, pairs in runs])
    falses = np.array([(pairs[labels == 0] >= threshold).mean() for _, pairs in runs])
    print(f"{len(clips)} clips, {int(labels.sum())} fights; {REPETITIONS} repetitions of {FOLDS} folds")
    for name, values in (("AUC", aucs), ("recall", recalls), ("false", falses), ("4 % logit", thresholds)):
        spread = f"standard deviation {values.std():.3f}, {values.min():.3f}..{values.max():.3f}"
        print(f"{name}: {values.mean():.3f}, {spread}")
    regression = learn(clips, labels)
    for name, array in (
        ("MEAN", regression.mean),
        ("DEVIATION", regression.deviation),
        ("COEFFICIENTS", regression.coefficients),
    ):
        print(f"{name}: Final = ({', '.join(f'{value:.4f}' for value in array)})")
    print(f"INTERCEPT: Final = {regression.intercept:.4f}\nTHRESHOLD: Final = {threshold:.4f}")
    if arguments.normal is not None:
        for path in sorted(arguments.normal.glob("*.npz")):
            highest = regression.highest(read(path), pairs_only=True)
            if highest >= threshold:
                print(f"alarm in {path.name}: logit {highest:.2f}")


if __name__ == "__main__":
    main()
