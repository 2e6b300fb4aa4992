"""The coefficients of fights are learnt from the folders that label the clips."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.research import fight_behaviour
from benchmarks.research.fight_behaviour import Clip, Regression, learn, main, read
from model.behaviours.fight import FEATURES


def _write(path: Path, seed: int, shaking: float) -> None:
    """Two people of 200 pixels for 2 s whose joints shake by so many pixels."""
    random = np.random.default_rng(seed)
    body = random.normal(0, [20, 60], (17, 2))
    frames = 20
    places = np.array([[300, 300], [390, 300]])[:, None] + body
    joints = places + random.normal(0, shaking, (frames, 2, 17, 2))
    keypoints = np.concatenate([joints, np.full((frames, 2, 17, 1), 0.9)], axis=3).reshape(-1, 17, 3)
    low, high = keypoints[:, :, :2].min(axis=1), keypoints[:, :, :2].max(axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        times=np.arange(frames) / 10,
        frame=np.repeat(np.arange(frames), 2),
        track=np.tile([1, 2], frames),
        box=np.concatenate([low, high], axis=1),
        kp=keypoints,
        size=np.array([640, 480]),
    )


def test_the_command_prints_figures_and_constants_and_counts_alarms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(10):
        _write(tmp_path / "clips" / "fight" / f"{seed}.npz", seed, 20.0)
        _write(tmp_path / "clips" / "noFight" / f"{seed}.npz", 100 + seed, 2.0)
    _write(tmp_path / "life" / "calm.npz", 1000, 2.0)
    _write(tmp_path / "life" / "wild.npz", 1001, 40.0)
    monkeypatch.setattr(fight_behaviour, "REPETITIONS", 2)
    arguments = ["--poses", str(tmp_path / "clips"), "--normal", str(tmp_path / "life")]
    monkeypatch.setattr(sys, "argv", ["fight_behaviour", *arguments])
    main()
    first = capsys.readouterr().out
    assert "20 clips, 10 fights" in first
    assert "AUC: 1.000" in first
    assert "THRESHOLD: Final = " in first
    assert "alarm in wild.npz" in first
    assert "alarm in calm.npz" not in first
    main()
    assert capsys.readouterr().out == first


def test_a_clip_in_which_nobody_is_seen_has_no_candidates_and_the_lowest_logit(tmp_path: Path) -> None:
    path = tmp_path / "empty.npz"
    np.savez(
        path,
        times=np.arange(5) / 10,
        frame=np.zeros(0, int),
        track=np.zeros(0, int),
        box=np.zeros((0, 4)),
        kp=np.zeros((0, 17, 3)),
        size=np.array([640, 480]),
    )
    clip = read(path)
    assert clip.candidates.shape == (0, len(FEATURES))
    regression = Regression(np.zeros(7), np.ones(7), np.ones(7), 0.0)
    assert regression.highest(clip, pairs_only=False) == fight_behaviour.LOWEST


def test_the_candidate_that_matters_is_found_among_others() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([1.0, 0.0], 30)
    clips = []
    for number, label in enumerate(labels):
        candidates = random.normal(0, 0.1, (20, len(FEATURES)))
        if label:
            candidates[random.integers(20), 0] += 2
        clips.append(Clip(str(number), candidates, np.ones(20, bool)))
    regression = learn(clips, labels)
    highest = np.array([regression.highest(clip, pairs_only=True) for clip in clips])
    assert roc_auc_score(labels, highest) > 0.95
    assert regression.coefficients.argmax() == 0
