from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.events import named
from benchmarks.events.recordings import Collector
from model.behaviours import Finding, Kind
from model.events import Event
from service.cli.events import watched
from service.clips.scorer import ClipScorer
from service.settings import load_settings
from simulation.weights import IMAGE_SIZE, POSE_WEIGHTS
from tests.doubles.findings import finding
from tests.doubles.walkers import person


class Falls:
    """Behaviours that see a fall between one second and two, and again from three on."""

    def __init__(self, _: object = ()) -> None:
        """Whatever is to be looked for."""

    def observe(self, time: float, track_ids: Sequence[int], *_: object) -> list[Finding]:
        firing = 1 <= time < 2 or time >= 3
        return [finding(Kind.FALL, 1.2 if firing else 0.7, min(time, 0.8), tracks=tuple(track_ids))]


def test_named_behaviours_alone_are_those_of_the_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.clips.scorer.Behaviours", Falls)
    monkeypatch.setattr("benchmarks.events.named.Behaviours", Falls)
    collector = Collector()
    for index in range(60):
        collector.add(index / 15, person(0, index / 15))
    recording = collector.recording((640, 480))
    settings = load_settings(
        data_dir=tmp_path, pose_weights=str(POSE_WEIGHTS), pose_image_size=IMAGE_SIZE, device="cpu"
    )
    scorer = ClipScorer.load(settings)
    events = (Event(Kind.FALL, 0.5, 4.0),)
    whole = watched("clip", scorer.score_skeletons(recording.sequence(), keypoints=False), events)
    clip, highest = named.watch("clip", recording, events, scorer._models.scorer.calibration.merge_s)
    assert [alarm for alarm in whole.alarms if alarm.kind == Kind.FALL] == list(clip.alarms)
    assert clip.alarms[0].known == 1.0
    assert clip.duration_s == pytest.approx(whole.duration_s, abs=1e-3)
    assert clip.people_s == pytest.approx(whole.people_s, abs=1e-3)
    assert highest == {Kind.FALL: 1.2}
