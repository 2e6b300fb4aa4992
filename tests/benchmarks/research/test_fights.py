from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.research.fights import (
    ALL_FOUR,
    COMBINATIONS,
    FightClip,
    FightsError,
    PairAUC,
    Split,
    measure,
    read_fights,
)
from benchmarks.research.fights_report import verdicts, write_figures, write_page
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import PersonTrack, PoseClip
from tests.model.skeletons import swaying

FRAMES = 90


def person(number: int, seed: int, first: int = 0, length: int = FRAMES, speed: float = 0.0) -> PersonTrack:
    poses = swaying(first + length, seed)[first:]
    poses[..., 0] += speed * np.arange(length)[:, None]
    return PersonTrack(number, np.arange(first, first + length), torch.from_numpy(poses).float())


def clip(name: str, seed: int, *, fight: bool) -> FightClip:
    """Somebody calm, and somebody who comes later; or also five who rush and whose tracks break."""
    people = [person(1, seed, speed=0.5), person(9, seed + 50, 45, FRAMES - 45)]
    if fight:
        people += [person(2 + i, seed + i, 30 + 10 * i, 10, speed=25.0) for i in range(5)]
    return FightClip(PoseClip(name, tuple(people)), fight, FRAMES, 15.0, 640 * 480)


@pytest.fixture(scope="module")
def clips() -> list[FightClip]:
    calm = [clip(f"calm{index:02d}", 100 * index, fight=False) for index in range(45)]
    return calm + [clip(f"fight{index}", 7 + 100 * index, fight=True) for index in range(6)]


def test_no_clip_that_is_learnt_from_is_judged(clips: list[FightClip]) -> None:
    split = Split.of(clips, seed=0)
    assert (len(split.normal), len(split.learnt)) == (37, 25)
    assert not set(split.normal) & set(split.judged)
    assert sum(name.startswith("fight") for name in split.judged) == 6
    assert split != Split.of(clips, seed=1)
    with pytest.raises(FightsError, match="37 are learnt from"):
        Split.of(clips[:30], seed=0)


def test_fights_that_break_tracks_are_found_and_tracking_says_so(clips: list[FightClip], tmp_path: Path) -> None:
    result = measure(clips, Checkpoint.load(DEFAULT_CHECKPOINT), seeds=[0])
    (flow,) = result["flows"]
    figures = {row["name"]: row for row in flow["rows"]}
    assert set(figures) == {combination.name for combination in COMBINATIONS}
    assert figures[ALL_FOUR]["auc"] == 1.0
    assert figures["tracking"]["auc"] == 1.0
    main_parts = {one["name"]: one["main_part"] for one in flow["clips"] if one["name"].startswith("fight")}
    assert len(main_parts) == 6
    assert {"tracking", "pair"} <= set(main_parts.values())
    assert {row["name"]: row["auc"] for row in result["baselines"]}["number of tracks"] == 1.0
    assert "these baselines are not lower: people per frame, number of tracks" in verdicts(result)[0]
    result["provenance"] = {"command": "c", "versions": {}, "poses_sha256": "p", "made_with": []}
    result["provenance"] |= {"checkpoint_sha256": "c", "stgnf_sha256": None}
    write_figures(result, tmp_path / "fights.json")
    write_page(result, tmp_path / "fights.md", tmp_path / "fights.json")
    assert json.loads((tmp_path / "fights.json").read_bytes())["flows"][0]["clips"] == flow["clips"]
    assert "## Shipped flow" in (tmp_path / "fights.md").read_text()
    assert (tmp_path / "images" / "fights.png").read_bytes().startswith(b"\x89PNG")


def test_a_clip_without_a_score_ranks_lowest_and_ties_count_half() -> None:
    labels = np.array([1, 1, 0, 0])
    once = np.ones(4, np.int64)
    assert PairAUC(labels, np.array([2.0, math.nan, 1.0, 1.0]))(once) == 0.5
    assert PairAUC(labels, np.array([1.0, 3.0, 1.0, 1.0]))(once) == 0.75
    assert math.isnan(PairAUC(np.ones(4, np.int64), np.zeros(4))(once))


def test_missing_poses_are_named_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(FightsError, match="expected videos in fight and noFight"):
        read_fights(tmp_path, tmp_path)
    for folder in ("fight", "noFight"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}1.mp4").touch()
    with pytest.raises(FightsError, match=r"poses of 2 of 2 clips are missing, .* daflow extract .*fight/\*\.mp4"):
        read_fights(tmp_path, tmp_path / "poses")


def test_a_clip_in_which_nobody_was_found_has_no_score(clips: list[FightClip]) -> None:
    empty = replace(clips[-1], poses=PoseClip("fight9", ()))
    result = measure([*clips, empty], Checkpoint.load(DEFAULT_CHECKPOINT), seeds=[0])
    row = next(row for row in result["flows"][0]["rows"] if row["name"] == "pose")
    assert (row["clips"], row["scored"]) == (15, 14)
