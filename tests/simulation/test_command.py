from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from simulation.__main__ import main


def test_the_command_writes_a_video_and_its_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, truth = tmp_path / "out.mp4", tmp_path / "truth.json"
    main(["--seed", "3", "--seconds", "4", "--event", "fight", "--output", str(video), "--truth", str(truth)])
    told = json.loads(truth.read_text(encoding="utf-8"))
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        decoded = sum(1 for _ in container.decode(stream))
        assert (stream.width, stream.height) == (told["camera"]["width"], told["camera"]["height"])
        assert stream.average_rate == told["camera"]["fps"]
    assert decoded == len(told["frames"]) == 60
    assert told["events"] == [{"event": "fight", "onset_s": 1.0, "end_s": 4.0}]
    fighting = [{person["event"] for person in frame["people"]} >= {"fight"} for frame in told["frames"]]
    assert fighting == [frame["time_s"] >= 1.0 for frame in told["frames"]]
    assert all(len(person["keypoints"]) == 17 for frame in told["frames"] for person in frame["people"])
    assert "60 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--seconds", "0"], "longer than 0 s"),
        (["--seed", "-1"], "seed must not be negative"),
        (["--event", "picnic"], "invalid choice"),
    ],
)
def test_bad_arguments_are_explained(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*arguments, "--output", str(tmp_path / "out.mp4")])
    assert message in capsys.readouterr().err


def test_a_missing_directory_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seconds", "1", "--output", str(tmp_path / "none" / "out.mp4")])
    assert "No such file" in capsys.readouterr().err
