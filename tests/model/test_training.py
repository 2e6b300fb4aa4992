import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from model.checkpoint import Checkpoint
from model.config import DAFlowConfig
from model.dataset import DatasetError, abnormal_windows, clip_windows
from model.layouts import read_dataset
from model.scorer import DeviceUnavailableError, Scorer
from model.training import Epoch, TrainingError, TrainingSettings, train
from tests.model.skeletons import write_supervised_training_set, write_training_set


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_set(tmp_path_factory.mktemp("people"), frames=240)


@pytest.fixture
def settings(data: Path, tmp_path: Path) -> TrainingSettings:
    config = DAFlowConfig(length=8, steps=3)
    return TrainingSettings(data, tmp_path / "out.safetensors", epochs=4, config=config, batch_size=32, command="here")


def test_training_lowers_the_likelihood_of_held_out_clips_and_writes_a_working_checkpoint(
    settings: TrainingSettings,
) -> None:
    report = train(settings)
    first, last = report.epochs[0], report.chosen
    assert last.heldout_nll < first.heldout_nll - 0.1
    assert last == min(report.epochs, key=lambda epoch: epoch.heldout_nll)
    assert (report.train_clips, report.heldout_clips) == (6, 4)
    written = Checkpoint.load(settings.output)
    assert written.provenance == report.checkpoint.provenance
    assert written.provenance.command == "here"
    assert written.provenance.epoch == last.number
    assert Scorer(written).parameters == report.parameters
    assert f"epoch {last.number} of 4 is best" in report.account()
    assert f"wrote {settings.output}" in report.account()


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(
    settings: TrainingSettings, tmp_path: Path
) -> None:
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.randn(17)
        own = replace(settings, output=tmp_path / name / "flow.safetensors", seed=seed, epochs=2)
        train(own)
        digests.append(hashlib.sha256(own.output.read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("optimizer", [pytest.param("adam", marks=pytest.mark.slow), "adamax"])
def test_a_killed_run_that_is_resumed_ends_in_the_same_bytes(
    settings: TrainingSettings, tmp_path: Path, optimizer: str
) -> None:
    unbroken = replace(settings, optimizer=optimizer)
    expected = train(unbroken)
    content = settings.output.read_bytes()
    settings.output.unlink()

    def kill(epoch: Epoch) -> None:
        if epoch.number == 2:
            raise KilledError

    broken = replace(unbroken, resume=tmp_path / "state.safetensors")
    with pytest.raises(KilledError):
        train(broken, on_epoch=kill)
    assert not settings.output.exists()
    seen: list[Epoch] = []
    report = train(broken, on_epoch=seen.append)
    assert [epoch.number for epoch in seen] == [3, 4]
    assert report.epochs == expected.epochs
    assert settings.output.read_bytes() == content


def test_a_finished_run_can_be_continued_for_more_epochs(settings: TrainingSettings, tmp_path: Path) -> None:
    kept = replace(settings, resume=tmp_path / "state.safetensors", epochs=2)
    train(kept)
    assert train(replace(kept, epochs=3)).epochs == train(replace(settings, epochs=3)).epochs


def test_the_state_of_another_run_or_of_none_is_refused(settings: TrainingSettings, tmp_path: Path) -> None:
    kept = replace(settings, resume=tmp_path / "state.safetensors", epochs=1)
    train(kept)
    with pytest.raises(TrainingError, match="state of another run; different: seed, batch_size"):
        train(replace(kept, seed=1, batch_size=16))
    assert kept.resume is not None
    kept.resume.write_bytes(b"rubbish")
    with pytest.raises(TrainingError, match="not the state of a training run"):
        train(kept)


def test_a_likelihood_that_is_not_finite_ends_training(settings: TrainingSettings) -> None:
    with pytest.raises((TrainingError, ValueError), match="finite"):
        train(replace(settings, learning_rate=1e30, clip_norm=1e30))
    assert not settings.output.exists()


def test_data_that_cannot_be_learnt_from_is_refused(settings: TrainingSettings, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no files named"):
        train(replace(settings, data=tmp_path))
    with pytest.raises(TrainingError, match="nothing to learn from: 0 training windows"):
        train(replace(settings, config=DAFlowConfig(length=500, steps=1)))
    with pytest.raises(DeviceUnavailableError):
        train(replace(settings, device="cuda:99"))


@pytest.mark.slow
def test_the_frame_rate_comes_from_the_data_set_unless_it_is_given(
    settings: TrainingSettings, data: Path, tmp_path: Path
) -> None:
    short = replace(settings, epochs=1)
    expected = train(short)
    assert train(replace(short, frame_rate_hz=15.0)).epochs == expected.epochs
    plain = replace(short, data=data / "pose" / "train", layout="json")
    with pytest.raises(DatasetError, match="the frame rate is not known"):
        train(plain)
    given = replace(plain, frame_rate_hz=15.0)
    assert train(given).checkpoint.provenance.data_sha256 == expected.checkpoint.provenance.data_sha256
    assert train(given).epochs == expected.epochs
    assert train(replace(given, frame_rate_hz=30.0)).train_windows < expected.train_windows


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_supervised_training_set(tmp_path_factory.mktemp("streets"))


@pytest.mark.slow
def test_training_on_marked_abnormal_windows_makes_them_less_likely(
    settings: TrainingSettings, streets: Path, tmp_path: Path
) -> None:
    plain = replace(settings, data=streets, frame_rate_hz=15.0, heldout_share=0.5, epochs=12)
    reports = {
        layout: train(replace(plain, layout=layout, output=tmp_path / layout))
        for layout in ("ubnormal", "ubnormal-supervised")
    }
    unsupervised, supervised = reports.values()
    assert (unsupervised.train_clips, unsupervised.heldout_clips, unsupervised.abnormal_windows) == (2, 2, 0)
    assert (supervised.train_clips, supervised.heldout_clips) == (3, 2)
    # A window a stride of 6 points, and its mirror image, as long as the first pose is marked.
    assert supervised.abnormal_windows == 2 * 180 // 6
    assert f"windows of 3 clips, {supervised.abnormal_windows} of them abnormal, " in supervised.account()
    assert "of them abnormal" not in unsupervised.account()
    assert supervised.heldout_windows == unsupervised.heldout_windows
    assert supervised.chosen == min(supervised.epochs, key=lambda epoch: epoch.heldout_nll)

    (clip,) = read_dataset("ubnormal-supervised", streets, splits=("train",)).train_abnormal
    windows = clip_windows(clip, plain.spec, frame_rate_hz=15.0)
    abnormal = torch.from_numpy(abnormal_windows(clip, windows, plain.spec, frame_rate_hz=15.0))
    assert abnormal.any()
    worse, before = (
        Checkpoint.load(report.output).flow().nll(windows.tensor[abnormal]).mean()
        for report in (supervised, unsupervised)
    )
    assert worse > before + 0.5


def test_supervised_training_can_be_resumed_only_with_the_same_marks(
    settings: TrainingSettings, tmp_path: Path
) -> None:
    streets = write_supervised_training_set(tmp_path / "streets")
    whole = replace(settings, data=streets, layout="ubnormal-supervised", heldout_share=0.5, epochs=2)
    expected = train(whole)
    content = settings.output.read_bytes()
    kept = replace(whole, resume=tmp_path / "state.safetensors")
    train(replace(kept, epochs=1))
    assert train(kept).epochs == expected.epochs
    assert settings.output.read_bytes() == content
    with pytest.raises(TrainingError, match="state of another run; different: data_sha256"):
        train(replace(kept, layout="ubnormal"))
    (streets / "gt" / "abnormal_scene_1_scenario_9_tracks.txt").write_text("1,0,100\n")
    with pytest.raises(TrainingError, match="state of another run; different: data_sha256"):
        train(kept)


def test_windows_of_consecutive_frames_need_the_frame_rate_of_the_data(settings: TrainingSettings) -> None:
    published = replace(settings, slicing="published", frame_rate_hz=30.0, epochs=1)
    with pytest.raises(TrainingError, match="published windows hold consecutive frames: rate_hz must be the 30"):
        train(published)
    assert train(replace(published, rate_hz=30.0)).checkpoint.spec.rate_hz == 30.0


def test_clips_too_short_to_calibrate_on_give_a_checkpoint_that_says_so(
    settings: TrainingSettings, tmp_path: Path
) -> None:
    short = write_training_set(tmp_path / "short", clips=2, frames=30)
    for path in sorted((short / "pose" / "train").iterdir()):
        path.rename(path.with_name("01" + path.name[2:]))
    report = train(replace(settings, data=short, heldout_share=0.5, epochs=1))
    assert Checkpoint.load(settings.output).calibration is None
    assert "not calibrated: 0.00 h of normal footage hold" in report.account()


def test_without_held_out_clips_all_are_learnt_from_and_the_last_epoch_is_kept_uncalibrated(
    settings: TrainingSettings,
) -> None:
    report = train(replace(settings, heldout_share=0.0, keep="last"))
    assert (report.train_clips, report.heldout_clips, report.heldout_windows) == (10, 0, 0)
    assert [epoch.heldout_nll for epoch in report.epochs] == [None] * 4
    assert report.chosen.number == 4
    written = Checkpoint.load(settings.output)
    assert (written.calibration, written.provenance.heldout_nll) == (None, None)
    account = report.account()
    assert "epoch 4 of 4 is the last: train" in account
    assert "held out none" in account
    assert "not calibrated: no clips were held out to calibrate on" in account


def test_the_last_epoch_can_be_kept_though_another_is_better_on_held_out_clips(settings: TrainingSettings) -> None:
    rising = replace(settings, epochs=3, learning_rate=0.03, decay=10.0)
    best, last = train(rising), train(replace(rising, keep="last"))
    assert last.epochs == best.epochs
    assert last.chosen == last.epochs[-1] != best.chosen
    assert "epoch 3 of 3 is the last" in last.account()
    assert Checkpoint.load(settings.output).provenance.epoch == 3


def test_a_resumed_run_without_held_out_clips_ends_in_the_same_bytes(
    settings: TrainingSettings, tmp_path: Path
) -> None:
    whole = replace(settings, heldout_share=0.0, keep="last", epochs=2)
    train(whole)
    content = settings.output.read_bytes()
    kept = replace(whole, resume=tmp_path / "state.safetensors")
    train(replace(kept, epochs=1))
    train(kept)
    assert settings.output.read_bytes() == content


@pytest.mark.slow
def test_the_learning_rate_decays_only_after_the_constant_epochs(settings: TrainingSettings) -> None:
    plain = replace(settings, epochs=3, decay=0.5)
    late = train(replace(plain, constant_epochs=2)).epochs
    never = train(replace(plain, decay=1.0)).epochs
    assert train(plain).epochs[1] != never[1]
    assert late[:2] == never[:2]
    assert late[2] != never[2]


def test_stgnf_learns_by_its_own_protocol(settings: TrainingSettings) -> None:
    published = TrainingSettings.stgnf(settings.data, settings.output, seed=5)
    assert (published.config, published.seed, published.epochs) == (DAFlowConfig.stgnf(), 5, 8)
    report = train(replace(published, epochs=2))
    assert (report.parameters, report.chosen.number, report.heldout_clips) == (616, 2, 0)


def test_the_best_epoch_needs_held_out_clips_to_choose_by(settings: TrainingSettings) -> None:
    with pytest.raises(ValueError, match="keep='best' needs held-out clips"):
        replace(settings, heldout_share=0.0)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"stride": 0},
        {"constant_epochs": 0},
        {"heldout_share": 1.0},
        {"heldout_share": -0.1},
        {"learning_rate": 0.0},
        {"clip_norm": float("nan")},
    ],
)
def test_impossible_settings_are_refused(settings: TrainingSettings, change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(settings, **change)


def test_the_progress_bar_tells_the_likelihoods(settings: TrainingSettings) -> None:
    console = Console(force_terminal=True, width=120, file=io.StringIO())
    train(replace(settings, epochs=1), console=console)
    assert isinstance(console.file, io.StringIO)
    assert "held out" in console.file.getvalue()
