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
from service.evaluation import evaluate, tables
from tests.model.skeletons import write_test_set


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
    assert {frames.frames for frames in common if frames} == {4 * (120 - 23)}
    assert len(reports) == len([frames for frames in common if frames]) == 4


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


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no files named"):
        evaluate(tmp_path)
    with pytest.raises(DatasetError, match="there is no layout 'avenue', only poselift"):
        evaluate(tmp_path, layout="avenue")
    with pytest.raises(CheckpointError, match=r"none\.safetensors"):
        evaluate(tmp_path, tmp_path / "none.safetensors")
