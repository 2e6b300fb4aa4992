from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from model.checkpoint import Checkpoint
from model.reports import Report
from service.cli.console import out
from service.cli.main import main
from service.clips.scorer import ClipScorer
from service.documents.results import ClipResult
from tests.doubles import media
from tests.doubles.servers import PATIENCE_S, CardboardScorer, command, environment, free_port
from tests.model.skeletons import write_test_set, write_ubnormal_test_set

Daflow = Callable[..., subprocess.CompletedProcess[str]]
"""A ``daflow`` command in this process; see the fixture `daflow`."""


@pytest.fixture
def daflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Daflow:
    """Runs commands as `run` does, without the seconds that a new process takes to import everything."""
    monkeypatch.setattr("service.cli.main.configure_logging", lambda *_: None)

    def here(*arguments: object, cwd: Path = tmp_path, **settings: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["daflow", *map(str, arguments)])
        for name in [name for name in os.environ if name.startswith("DAFLOW_")]:
            monkeypatch.delenv(name)
        for name, value in environment(cwd, **settings).items():
            if name.startswith("DAFLOW_"):
                monkeypatch.setenv(name, value)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), *capsys.readouterr())

    return here


def run(data_dir: Path, *arguments: object, **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*map(str, arguments)),
        env=environment(data_dir, **settings) | {"COLUMNS": "120"},
        cwd=data_dir,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def one_line(finished: subprocess.CompletedProcess[str]) -> str:
    """The single line of complaint of a command that failed."""
    assert finished.returncode == 1, finished
    (line,) = finished.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_help_is_quick_because_torch_stays_out_of_it(tmp_path: Path) -> None:
    script = "import sys; import service.cli.main; sys.exit('torch' in sys.modules or 'ultralytics' in sys.modules)"
    assert subprocess.run([*command()[:2], script], cwd=tmp_path).returncode == 0
    finished = run(tmp_path, "--help")
    names = ("serve", "score", "extract", "train", "evaluate", "import-stgnf", "doctor", "keys")
    assert all(name in finished.stdout for name in names)


@pytest.mark.parametrize(
    ("arguments", "settings", "complaint"),
    [
        (("score", "nowhere.mp4"), {}, "there is no file nowhere.mp4"),
        (("score", "."), {}, "there is no file ."),
        (("score", "https://a.example/b.mp4", "--json", "nowhere/scores.json"), {}, "there is no folder nowhere"),
        (("serve",), {"auth": "maybe"}, "DAFLOW_AUTH"),
        (("serve", "--port", "70000"), {}, "DAFLOW_PORT"),
        (("serve",), {"device": "cuda:99"}, "DAFLOW_DEVICE"),
        (("train", "--data", ".", "--output", "nowhere/checkpoint.safetensors"), {}, "there is no folder nowhere"),
        (("train", "--data", ".", "--output", "checkpoint.safetensors"), {}, "no files named"),
        (("train", "--data", ".", "--output", "x.safetensors", "--layout", "mars"), {}, "there is no layout 'mars'"),
        (("extract", "nowhere.mp4", "--output", "poses"), {}, "there is no file or folder nowhere.mp4"),
        (("evaluate", "--data", "."), {}, "no files named"),
        (("evaluate", "--data", ".", "--layout", "mars"), {}, "there is no layout 'mars'; there are poselift, "),
        (("evaluate", "--data", ".", "--layout", "videos"), {}, "expected test/*, or their poses"),
        (("evaluate", "--data", ".", "--checkpoint", "none.safetensors"), {}, "none.safetensors"),
        (("evaluate", "--data", ".", "--json", "nowhere/figures.json"), {}, "there is no folder nowhere"),
        (("import-stgnf", "nowhere.tar", "checkpoint.safetensors"), {}, "nowhere.tar: no such file"),
        (("import-stgnf", "nowhere.tar", "nowhere/checkpoint.safetensors"), {}, "there is no folder nowhere"),
    ],
)
def test_a_mistake_ends_in_one_clear_line(
    daflow: Daflow, arguments: tuple[str, ...], settings: dict[str, str], complaint: str
) -> None:
    assert complaint in one_line(daflow(*arguments, **settings))


@pytest.mark.slow
def test_a_service_that_cannot_start_ends_in_one_clear_line(tmp_path: Path) -> None:
    finished = run(tmp_path, "serve", database_url="sqlite:////nowhere/at/all.db")
    assert "DAFLOW_DATABASE_URL" in one_line(finished)


@pytest.mark.parametrize(
    ("option", "output"),
    [("--video", "clip.mp4"), ("--json", "../videos/clip.mp4"), ("--csv", "symbolic.mp4"), ("--plot", "hard.mp4")],
)
def test_the_clip_is_never_overwritten(daflow: Daflow, tmp_path: Path, option: str, output: str) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    clip = folder / "clip.mp4"
    clip.write_bytes(b"precious")
    (folder / "symbolic.mp4").symlink_to(clip)
    (folder / "hard.mp4").hardlink_to(clip)
    assert f"{output} is the clip itself" in one_line(daflow("score", "clip.mp4", option, output, cwd=folder))
    assert clip.read_bytes() == b"precious"


def test_a_misspelt_variable_is_warned_of(daflow: Daflow) -> None:
    finished = daflow("score", "nowhere.mp4", pose_wieghts="x")
    assert "warning: DAFLOW_POSE_WIEGHTS is not a setting of daflow" in finished.stderr


def test_missing_weights_and_bad_clips_end_in_one_clear_line(
    daflow: Daflow, tmp_path: Path, pose_weights: Path
) -> None:
    text = media.text_named_mp4(tmp_path)
    assert "not a video" in one_line(daflow("score", text, pose_weights=pose_weights))
    assert "DAFLOW_POSE_WEIGHTS" in one_line(daflow("score", text, pose_weights=tmp_path / "none.onnx"))


def test_the_summary_says_what_happened_when_and_what_was_seen(
    daflow: Daflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClipScorer, "load", lambda _settings: CardboardScorer())
    monkeypatch.setattr(out, "width", 120)
    (tmp_path / "clip.mp4").write_bytes(b"a clip")
    finished = daflow("score", "clip.mp4", "--csv", "scores.csv")
    assert finished.returncode == 0, finished.stderr
    assert "Fall, 1 person, 0.00 to 0.10 s, track 1: hips fell 0.6 body heights in 0.7 s" in finished.stdout
    kinds = [row["kinds"] for row in csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())]
    assert kinds == ["fall", "fall", "", "", ""]


def test_a_clip_is_scored_into_every_kind_of_file(tmp_path: Path, pose_weights: Path, test_data: Path) -> None:
    clip = test_data / "clips" / "surveillance-fight" / "noFight" / "nofi089.mp4"
    files = {option: tmp_path / f"out.{option}" for option in ("json", "csv", "plot", "video")}
    options = [text for option, path in files.items() for text in (f"--{option}", str(path))]
    finished = run(tmp_path, "score", clip, *options, "--no-keypoints", pose_weights=pose_weights, pose_image_size=320)
    assert finished.returncode == 0, finished.stderr
    assert "36 frames" in finished.stdout
    result = ClipResult.model_validate_json(files["json"].read_bytes())
    assert len(result.frames) == 36
    assert all(person.keypoints is None for frame in result.frames for person in frame.people)
    assert len(files["csv"].read_text().splitlines()) > 36
    assert files["plot"].read_bytes().startswith(b"\x89PNG")
    with av.open(str(files["video"])) as container:
        assert sum(1 for _ in container.decode(video=0)) == 36


@pytest.mark.slow
def test_videos_are_extracted_past_a_broken_one_and_the_poses_train_a_checkpoint(
    daflow: Daflow, tmp_path: Path, pose_weights: Path, test_data: Path
) -> None:
    fights = test_data / "clips" / "surveillance-fight" / "noFight"
    broken = media.text_named_mp4(tmp_path)
    names = ("nofi001", "nofi003", "nofi005", "nofi007")
    clips = [media.reencode(fights / f"{name}.mp4", tmp_path / f"{name}.mp4", frames=30) for name in names]
    settings = {"pose_weights": pose_weights, "pose_image_size": 320}
    finished = daflow("extract", broken, *clips, "--output", "poses", **settings)
    assert finished.returncode == 1
    first, *others = finished.stderr.strip().splitlines()
    assert first.startswith(f"error: {broken}: the file is not a video")
    assert len(others) == 4
    assert all("frames" in line for line in others)
    options = ("--data", "poses", "--layout", "json", "--output", "own.safetensors", "--epochs", "1")
    trained = daflow("train", *options, "--frame-rate", 20)
    assert trained.returncode == 0, trained.stderr
    assert Checkpoint.load(tmp_path / "own.safetensors").provenance.data == "poses"


def test_training_on_videos_extracts_their_poses_first(daflow: Daflow, tmp_path: Path, pose_weights: Path) -> None:
    folder = tmp_path / "data" / "train"
    folder.mkdir(parents=True)
    for name in ("01_001.mp4", "01_002.mp4"):
        media.clip(folder, name, frames=3, paint=media.black)
    options = ("--data", "data", "--layout", "videos", "--output", "own.safetensors")
    finished = daflow("train", *options, pose_weights=pose_weights)
    assert finished.returncode == 1
    *done, complaint = finished.stderr.strip().splitlines()
    assert [line.rpartition(": ")[0] for line in done] == [
        f"data/pose/train/{name}_alphapose_tracked_person.json" for name in ("01_001", "01_002")
    ]
    assert complaint == "error: nothing to learn from: 0 training windows, 0 held out"


def test_a_checkpoint_is_judged_beside_presence_and_the_number_of_people(
    daflow: Daflow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "width", 120)
    data = write_test_set(tmp_path / "swaying")
    finished = daflow("evaluate", "--data", data, "--json", "figures.json", "--seed", 3, "--replicates", 20)
    assert finished.returncode == 0, finished.stderr
    assert "swaying: 4 clips, 480 frames (160 anomalous)" in finished.stdout
    document = json.loads((tmp_path / "figures.json").read_text())
    assert document["provenance"]["command"].startswith("daflow evaluate --data")
    reports = {name: Report.from_dict(report) for name, report in document["scorers"].items()}
    middle, covering, *alone, presence, people = reports.values()
    assert [name for name in reports if "pose alone" in name] == list(reports)[2:-2]
    assert len(alone) == 2
    assert (middle.seed, middle.replicates, people.frames) == (3, 20, 480)
    assert middle.conditional is not None
    assert covering.conditional is not None
    assert middle.conditional.frames < covering.conditional.frames == 480
    assert presence.published.micro.auc_roc == 0.5
    assert all(name in finished.stdout for name in ("presence", "number of people"))


def test_only_the_frames_that_count_of_another_layout_are_judged(daflow: Daflow, tmp_path: Path) -> None:
    write_ubnormal_test_set(tmp_path / "streets")
    options = ("--data", "streets", "--layout", "ubnormal-hr", "--json", "figures.json", "--replicates", 0)
    finished = daflow("evaluate", *options)
    assert finished.returncode == 0, finished.stderr
    assert "streets: 4 clips, 360 frames (80 anomalous)" in finished.stdout
    first = json.loads((tmp_path / "figures.json").read_text())["provenance"]
    assert (first["layout"], first["frame_rate_hz"]) == ("ubnormal-hr", 30.0)
    finished = daflow("evaluate", *options, "--frame-rate", 15, "--axes", "yx")
    assert finished.returncode == 0, finished.stderr
    second = json.loads((tmp_path / "figures.json").read_text())["provenance"]
    assert second["frame_rate_hz"] == 15.0
    assert second["data_sha256"] != first["data_sha256"]


def test_the_doctor_finds_everything_in_place(tmp_path: Path, pose_weights: Path) -> None:
    settings = {"pose_runtime": "openvino", "pose_precision": "float32"}
    finished = run(tmp_path, "doctor", "--json", pose_weights=pose_weights, **settings)
    assert finished.returncode == 0, finished.stdout
    found = {finding["name"]: finding["value"] for finding in json.loads(finished.stdout)}
    assert found["pose runtime"].startswith("OpenVINO, f32: joints of ")
    assert found["pose weights"] == f"{pose_weights}, as set in DAFLOW_POSE_WEIGHTS"
    assert "488 parameters" in found["checkpoint"]


@pytest.mark.slow
def test_the_doctor_refuses_a_precision_of_weights_that_run_as_they_are(tmp_path: Path, pose_weights: Path) -> None:
    settings = {"pose_runtime": "original", "pose_precision": "bfloat16"}
    finished = run(tmp_path, "doctor", "--json", pose_weights=pose_weights, **settings)
    assert finished.returncode == 1
    (wrong,) = [finding for finding in json.loads(finished.stdout) if not finding["ok"]]
    assert wrong["setting"] == "DAFLOW_POSE_PRECISION"
    assert wrong["value"].endswith("do not compute in bfloat16; set DAFLOW_POSE_RUNTIME=openvino")


def test_the_doctor_names_what_is_missing_and_the_setting_that_fixes_it(daflow: Daflow, tmp_path: Path) -> None:
    finished = daflow(
        "doctor",
        "--json",
        pose_weights=tmp_path / "none.onnx",
        database_url="unknown+driver://user:hunter2@host/db",
        redis_url=f"redis://:hunter2@127.0.0.1:{free_port()}",
        webhook_url="http://user:hunter2@127.0.0.1/",
        mqtt_url=f"mqtt://user:hunter2@127.0.0.1:{free_port()}",
        max_clip_bytes=2**60,
        clip_storage_bytes=2**60,
    )
    assert finished.returncode == 1
    assert "hunter2" not in finished.stdout
    missing = {finding["name"]: finding["setting"] for finding in json.loads(finished.stdout) if not finding["ok"]}
    assert missing == {
        "models": "DAFLOW_POSE_WEIGHTS",
        "database": "DAFLOW_DATABASE_URL",
        "redis": "DAFLOW_REDIS_URL",
        "webhook": "DAFLOW_WEBHOOK_URL",
        "mqtt": "DAFLOW_MQTT_URL",
        "disk": "DAFLOW_DATA_DIR",
    }
