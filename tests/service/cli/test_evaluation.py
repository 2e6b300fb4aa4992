from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from model.checkpoint import DEFAULT_CHECKPOINT, CheckpointError
from model.dataset import DatasetError, read_split
from model.training import data_digest
from service.cli.evaluation import evaluate, tables
from tests.model.skeletons import entry, swaying, write_clip, write_test_set, write_ubnormal_test_set


def test_figures_carry_what_they_depend_on(tmp_path: Path) -> None:
    data = write_test_set(tmp_path / "swaying")
    first = evaluate(data, replicates=0, command="daflow evaluate")
    provenance = first.provenance
    assert (provenance.command, provenance.data, provenance.layout) == ("daflow evaluate", "swaying", "poselift")
    assert provenance.checkpoint == DEFAULT_CHECKPOINT.stem
    assert provenance.checkpoint_sha256 == hashlib.sha256(DEFAULT_CHECKPOINT.read_bytes()).hexdigest()
    assert provenance.data_sha256 == data_digest(read_split(data / "pose" / "test"))
    assert {"torch", "scikit-learn", "scipy", "daflow-live"} <= set(provenance.versions)
    assert evaluate(data, replicates=0, command="daflow evaluate") == first
    assert json.loads(json.dumps(first.to_dict(), allow_nan=False))["provenance"]["data"] == "swaying"

    np.save(data / "gt" / "test_frame_mask" / "01_000.npy", np.repeat([0, 1], 60))
    changed = evaluate(data, replicates=0).provenance
    assert changed.data_sha256 == provenance.data_sha256
    assert changed.labels_sha256 != provenance.labels_sha256


def test_scorers_meet_on_the_frames_that_all_of_them_score(tmp_path: Path) -> None:
    reports = evaluate(write_test_set(tmp_path / "swaying"), replicates=0).reports
    common = [report.common for report in reports.values()]
    assert {frames.frames for frames in common if frames} == {4 * (120 - 7)}
    assert len(reports) == len([frames for frames in common if frames]) == 6


def test_tables_name_the_footage_and_every_scorer(tmp_path: Path) -> None:
    evaluation = evaluate(write_test_set(tmp_path / "[swaying]"), replicates=20)
    console = Console(width=200, file=io.StringIO())
    with console.capture() as captured:
        console.print(*tables(evaluation))
    text = captured.get()
    assert "[swaying]: 4 clips, 480 frames (160 anomalous), 0.01 h; 95% intervals over clips" in text
    assert "4 events; recall and delay at 5 false alarms/h, 0 on this footage" in text
    assert all(text.count(name) == 3 for name in evaluation.reports)
    assert "0.500 [0.50, 0.50]" in text


def test_frames_that_the_human_related_ubnormal_does_not_count_are_not_judged(tmp_path: Path) -> None:
    data = write_ubnormal_test_set(tmp_path / "streets")
    whole = evaluate(data, layout="ubnormal", replicates=0)
    counted = evaluate(data, layout="ubnormal-hr", replicates=0)
    for evaluation, frames in ((whole, 4 * 120), (counted, 4 * 90)):
        for report in evaluation.reports.values():
            assert (report.clips, report.frames, report.anomalous_frames) == (4, frames, 2 * 40)
    assert (whole.provenance.layout, counted.provenance.layout) == ("ubnormal", "ubnormal-hr")
    assert whole.provenance.frame_rate_hz == 30.0
    assert whole.provenance.data_sha256 == counted.provenance.data_sha256
    assert whole.provenance.labels_sha256 != counted.provenance.labels_sha256


def test_the_human_related_shanghaitech_is_judged_with_clips_in_which_nobody_was_seen(tmp_path: Path) -> None:
    data = write_test_set(tmp_path / "campus")
    masks = data / "gt" / "test_frame_mask"
    (data / "pose" / "test" / "01_003_alphapose_tracked_person.json").unlink()
    np.save(masks / "12_0152.npy", np.repeat([0, 1, 0], 40))
    for layout, clips in (("shanghaitech", 5), ("shanghaitech-hr", 4)):
        reports = evaluate(data, layout=layout, replicates=0).reports
        assert {(report.clips, report.frames) for report in reports.values()} == {(clips, clips * 120)}


def test_the_frame_rate_and_the_axes_can_be_given(tmp_path: Path) -> None:
    data = write_test_set(tmp_path / "swaying")
    found = evaluate(data, replicates=0).provenance
    given = evaluate(data, frame_rate_hz=12.0, axes="yx", replicates=0).provenance
    assert (found.frame_rate_hz, given.frame_rate_hz) == (15.0, 12.0)
    swapped = read_split(data / "pose" / "test", "yx")
    assert given.data_sha256 == data_digest(swapped)
    assert evaluate(data, axes="xy", replicates=0).provenance.data_sha256 != given.data_sha256


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no files named"):
        evaluate(tmp_path)
    write_clip(tmp_path / "test", "gate", {"1": entry(swaying(60, 0))})
    with pytest.raises(DatasetError, match="there are no frame labels"):
        evaluate(tmp_path, layout="json", frame_rate_hz=15.0)
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        evaluate(tmp_path, tmp_path / "none.safetensors")
