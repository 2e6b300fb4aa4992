from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from model.behaviours import Finding, Kind
from model.events import Alarm, Event, EventOutcome
from service.cli.events import EventsError, LabelledEvent, alarm_of, read_folder, watched
from service.cli.main import main
from service.documents.results import Anomaly, ClipInfo, ClipResult, FrameScore, ModelInfo, PersonScore, Threshold
from simulation.weights import IMAGE_SIZE, POSE_WEIGHTS
from tests.doubles.findings import SAW, finding
from tests.doubles.servers import environment
from tests.doubles.walkers import RATE_HZ, walker

Daflow = Callable[..., subprocess.CompletedProcess[str]]

HEADER = "file,kind,start_s,end_s\n"


class ShoutsFrom:
    """Behaviours that see everybody fall from two seconds on, and run at the very start of a clip."""

    def __init__(self, _: object = ()) -> None:
        """Whatever is to be looked for."""

    def observe(self, time: float, track_ids: Sequence[int], *_: object) -> list[Finding]:
        if not track_ids:
            return []
        if time < 0.3:
            return [finding(Kind.RUNNING, 1.5, 0.0, tracks=(track_ids[0],))]
        return [finding(Kind.FALL, 0.6 if time < 2.0 else 1.2, min(time, 1.5), tracks=tuple(track_ids))]


@pytest.fixture
def daflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Daflow]:
    """Runs ``daflow evaluate`` in this process with behaviours of the tests."""
    monkeypatch.setattr("service.clips.scorer.Behaviours", ShoutsFrom)

    def here(*arguments: object) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["daflow", "evaluate", *map(str, arguments)])
        for name in [name for name in os.environ if name.startswith("DAFLOW_")]:
            monkeypatch.delenv(name)
        settings = {"pose_weights": POSE_WEIGHTS, "pose_image_size": IMAGE_SIZE, "device": "cpu"}
        for name, value in environment(tmp_path / "data", **settings).items():
            if name.startswith("DAFLOW_"):
                monkeypatch.setenv(name, value)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return subprocess.CompletedProcess(sys.argv, int(ended.value.code or 0), *capsys.readouterr())

    yield here


def write_skeletons(path: Path, seconds: float, *, people: int = 1) -> Path:
    """Skeletons of people who walk on the spot."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    poses = [walker(times, 200 * number) for number in range(people)]
    frames = [
        {
            "time_s": time,
            "people": [{"track": number + 1, "keypoints": own[i].tolist()} for number, own in enumerate(poses)],
        }
        for i, time in enumerate(times.tolist())
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"width": 640, "height": 480, "frames": frames}), encoding="utf-8")
    return path


def folder(path: Path, events: str) -> Path:
    """A folder of three files with skeletons, one of them deeper."""
    write_skeletons(path / "hall.json", 4.0)
    write_skeletons(path / "night" / "stairs.json", 3.0)
    write_skeletons(path / "quiet.json", 1.0, people=0)
    (path / "notes.txt").write_text("not footage")
    (path / "events.csv").write_text(HEADER + events, encoding="utf-8")
    return path


def test_the_footage_of_a_folder_is_all_its_videos_and_skeletons(tmp_path: Path) -> None:
    own = folder(tmp_path, "hall.json,fall,1.5,3\nhall.json, lying ,3.0,4\nquiet.json,,,\nnight/stairs.json\n")
    (own / "gate.MP4").write_bytes(b"")
    files = read_folder(own)
    assert [file.name for file in files] == ["gate.MP4", "hall.json", "night/stairs.json", "quiet.json"]
    fall, lying = Event(Kind.FALL, 1.5, 3.0), Event(Kind.LYING, 3.0, 4.0)
    assert [file.events for file in files] == [(), (LabelledEvent(2, fall), LabelledEvent(3, lying)), (), ()]


def test_the_columns_come_in_any_order_beside_others(tmp_path: Path) -> None:
    own = folder(tmp_path, "")
    text = "\ufeffwho,end_s,start_s,kind,file\nAda,3,1.5,fall,night/stairs.json\n"
    (own / "events.csv").write_text(text, encoding="utf-8")
    found = {file.name: file.events for file in read_folder(own)}
    assert found["night/stairs.json"] == (LabelledEvent(2, Event(Kind.FALL, 1.5, 3.0)),)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("gate.mp4,fall,1,2", "line 3: there is no video and no file of skeletons gate.mp4 in the folder"),
        ("../hall.json,fall,1,2", "line 3: there is no video and no file of skeletons ../hall.json"),
        ("notes.txt,fall,1,2", "line 3: there is no video and no file of skeletons notes.txt"),
        (",fall,1,2", "line 3: the row names no file"),
        (
            "hall.json,dance,1,2",
            "line 3: there is no kind 'dance'; there are fall, fight, lying, dispersal, hands_up, running, crawling, "
            "wrong_way, gathering, loitering, unusual",
        ),
        ("hall.json,,1,2", "line 3: there is no kind ''"),
        ("hall.json,fall,2,2", "line 3: an event must begin before it ends, got 2 to 2 s"),
        ("hall.json,fall,3,2", "line 3: an event must begin before it ends, got 3 to 2 s"),
        ("hall.json,fall,,2", "line 3: start_s must be seconds from the start of the file, got ''"),
        ("hall.json,fall,1,1:20", "line 3: end_s must be seconds from the start of the file, got '1:20'"),
        ("hall.json,fall,-1,2", "line 3: start_s must be seconds"),
        ("hall.json,fall,1,inf", "line 3: end_s must be seconds"),
        ("hall.json,fall,nan,2", "line 3: start_s must be seconds"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, row: str, complaint: str) -> None:
    own = folder(tmp_path, f"night/stairs.json,fall,1,2\n{row}\n")
    with pytest.raises(EventsError) as refused:
        read_folder(own)
    assert complaint in str(refused.value)
    assert str(refused.value).startswith("events.csv, ")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "there is no events.csv in "),
        (b"", "events.csv, line 1: there is no column file and no column kind"),
        (b"file,kind,start_s,end\n", "events.csv, line 1: there is no column end_s"),
        (b"file,kind,start_s,end_s\nh\xe4ll.json,fall,1,2\n", "events.csv is not a CSV file in UTF-8"),
    ],
)
def test_a_file_of_events_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    own = folder(tmp_path, "")
    (own / "events.csv").unlink() if content is None else (own / "events.csv").write_bytes(content)
    with pytest.raises(EventsError, match=complaint):
        read_folder(own)


def test_a_folder_without_footage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EventsError, match="there is no folder"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "events.csv").write_text(HEADER)
    with pytest.raises(EventsError, match="has no videos and no skeletons"):
        read_folder(tmp_path)


def result(anomalies: list[Anomaly], behaviours: dict[int, dict[Kind, float]], levels: dict[int, float]) -> ClipResult:
    """Five seconds at 10 frames a second with one person in the last four; behaviours and levels by frame."""
    frames = []
    for index in range(50):
        person = PersonScore(
            track=1, box=(0, 0, 10, 20), score=None, level=levels.get(index), behaviours=behaviours.get(index, {})
        )
        people = [person] if index >= 10 else []
        frames.append(FrameScore(index=index, time_s=index / 10, score=None, level=levels.get(index), people=people))
    return ClipResult(
        clip=ClipInfo(frames=50, fps=10.0, width=64, height=48, duration_s=5.0),
        model=ModelInfo(checkpoint="tiny", parameters=1, window=8, rate_hz=15.0, pose_weights=None),
        threshold=Threshold(level=0.9, unusual_per_day=24.0, false_alarms_per_day=48.0),
        frames=frames,
        tracks=[],
        anomalies=anomalies,
    )


def anomaly(kind: Kind, start_s: float, end_s: float, tracks: Sequence[int] = (1,)) -> Anomaly:
    return Anomaly(
        kind=kind, title="", start_s=start_s, end_s=end_s, explanation=SAW, peak_level=0.0, tracks=list(tracks)
    )


def test_a_named_behaviour_is_known_when_it_fires_not_when_the_movement_began() -> None:
    fall = anomaly(Kind.FALL, 1.0, 3.0)
    seen = {20: {Kind.FALL: 0.99}, 23: {Kind.LYING: 2.0}, 25: {Kind.FALL: 1.0}, 30: {Kind.FALL: 2.0}}
    assert alarm_of(fall, result([fall], seen, {})) == Alarm(Kind.FALL, 1.0, 3.0, 2.5, SAW)


def test_a_level_is_known_when_the_window_around_the_frame_has_ended() -> None:
    strange = anomaly(Kind.UNUSUAL, 2.0, 3.0)
    assert alarm_of(strange, result([strange], {}, {20: 0.95, 30: 0.9})).known == pytest.approx(2.0 + 3 / 15)
    late = anomaly(Kind.UNUSUAL, 4.9, 4.9)
    assert alarm_of(late, result([late], {}, {49: 0.95})).known == pytest.approx(4.9)


def test_seconds_with_people_are_counted() -> None:
    clip = watched("hall.mp4", result([], {}, {}), [Event(Kind.FALL, 1.0, 2.0)])
    assert (clip.name, clip.duration_s, clip.people_s, len(clip.events)) == ("hall.mp4", 5.0, 4.0, 1)
    assert EventOutcome(clip.events[0], (), None).delay() is None


@pytest.mark.slow
def test_labelled_skeletons_are_judged_by_the_command(daflow: Daflow, tmp_path: Path) -> None:
    own = folder(tmp_path / "site", "hall.json,fall,1.8,4\nnight/stairs.json,fight,0.5,2.5\nquiet.json,,,\n")
    finished = daflow("--events", own, "--json", tmp_path / "figures.json", "--replicates", 50)
    assert finished.returncode == 0, finished
    assert "site: 3 clips, 0.002 h, 0.002 h with people in view" in " ".join(finished.stdout.split())
    document = json.loads((tmp_path / "figures.json").read_text())
    assert document["refused"] == {}
    report, provenance = document["report"], document["provenance"]
    assert report["clips"] == 3
    by_title = {row["title"]: row for row in report["rows"]}
    assert by_title["fall"]["recall"]["value"] == by_title["fall"]["named"]["value"] == 1.0
    assert by_title["fall"]["median_delay_s"] == pytest.approx(0.2, abs=0.1)
    assert by_title["fight"]["recall"]["value"] == 1.0 and by_title["fight"]["named"]["value"] == 0.0
    assert report["confusion"]["fight"]["fall"] == 1
    hall = report["outcomes"][0]
    assert (hall["clip"], hall["events"][0]["name"]) == ("hall.json", "fall")
    assert hall["events"][0]["alarms"][0]["saw"] == SAW
    assert [alarm["kind"] for alarm in hall["false_alarms"]] == ["running"]
    assert provenance["command"].startswith("daflow evaluate --events ")
    assert (provenance["folder"], provenance["checkpoint"]) == ("site", "daflow-poselift")
    again = daflow("--events", own, "--json", tmp_path / "again.json", "--replicates", 50)
    assert again.returncode == 0
    assert json.loads((tmp_path / "again.json").read_text())["report"] == report


def test_a_file_that_cannot_be_scored_is_named_and_the_others_are_judged(daflow: Daflow, tmp_path: Path) -> None:
    own = folder(tmp_path / "site", "hall.json,fall,9,10\n")
    (own / "broken.json").write_text('{"width": 640}')
    (own / "broken.mp4").write_bytes(b"this is no video")
    finished = daflow("--events", own, "--json", tmp_path / "figures.json", "--replicates", 0)
    assert finished.returncode == 1
    errors = " ".join(finished.stderr.split())
    assert "broken.json: height: Field required" in errors
    assert "broken.mp4: " in errors
    assert "hall.json: events.csv, line 2: the event begins at 9 s, but hall.json lasts 4 s" in errors
    document = json.loads((tmp_path / "figures.json").read_text())
    assert set(document["refused"]) == {"broken.json", "broken.mp4", "hall.json"}
    assert document["report"]["clips"] == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "name either a data set with --data or a folder of footage with --events"),
        (("--data", ".", "--events", "."), "name either a data set with --data or a folder"),
        (("--events", "nowhere"), "there is no folder nowhere"),
        (("--events", ".", "--json", "nowhere/figures.json"), "there is no folder nowhere"),
    ],
)
def test_a_mistake_ends_in_one_clear_line(daflow: Daflow, arguments: tuple[str, ...], complaint: str) -> None:
    finished = daflow(*arguments)
    (line,) = finished.stderr.strip().splitlines()
    assert finished.returncode == 1
    assert line.startswith("error: ") and complaint in line
