"""Calibrating cameras that run: what is gathered, fitted, kept, rolled back and forgotten."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.adaptation import AdaptationSettings, fit_camera
from model.behaviours import Behaviours, Kind
from model.calibration import Calibration
from model.checkpoint import DEFAULT_CHECKPOINT, Checkpoint
from model.dataset import read_split
from service.calibration import calibrator
from service.calibration.gathering import CalibrationRefused
from service.calibration.report import CalibrationRequest
from service.cameras.config import CameraConfig
from service.cameras.store import CameraStore
from service.documents.messages import KindSeen
from service.documents.results import ClipResult, FrameScore, PersonScore
from service.documents.reviews import ReviewChange, Verdict
from service.incidents.reviews import Seen
from service.incidents.store import HeldPeak
from service.live.frames import Scored
from service.settings import Settings
from tests.doubles.live import device, lying
from tests.doubles.live_records import FALSE, incident_info, over
from tests.doubles.puppet import Footage, falling, film, running, script, standing
from tests.doubles.scores import scored_frame
from tests.doubles.servers import CardboardScorer, LiveServer, Serve, clip_result, eventually, live_server
from tests.model.skeletons import swaying

ADDRESS = "/v1/cameras/gate/calibration"
FEED = {"url": "skeletons:", "quiet_s": 1, "min_duration_s": 0.2, "false_alarms_per_day": 2880}
RATE_HZ = 15.0
LEFT = (-4.5, 8.0)
"""Where somebody begins to run, who then crosses the picture."""

QUICK = AdaptationSettings(epochs=3, max_windows=300)
TIMID = AdaptationSettings(epochs=1, learning_rate=1e-7, max_windows=300)

Poses = NDArray[np.float64]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few epochs, and no long sleeps between looks."""
    monkeypatch.setattr(calibrator, "fit_camera", partial(fit_camera, settings=QUICK))
    monkeypatch.setattr(calibrator, "_POLL_S", 0.05)


def normal_life(seconds: float, seed: int = 1) -> Iterator[Scored]:
    """Two people who sway, as no person in the shipped checkpoint's training data did; it ends now."""
    frames = round(RATE_HZ * seconds)
    first, second = (swaying(frames, 9 * seed + person) for person in (1, 2))
    begin = time.monotonic() - seconds
    for number in range(frames):
        yield scored_frame(begin + number / RATE_HZ, {1: first[number], 2: second[number]})


def put(live: LiveServer, camera: str = "gate", **config: Any) -> None:
    assert live.client.put(f"/v1/cameras/{camera}", json=FEED | config).status_code in (200, 201)


def watch(live: LiveServer, frames: Iterator[Scored], camera: str = "gate") -> None:
    """Let a camera see hours in a moment."""
    watched = live.runtime.cameras.manager.camera(camera)
    eventually(lambda: watched.taps, "somebody gathers")
    for one in frames:
        for tap in watched.taps:
            tap(one)


def calibration(live: LiveServer, camera: str = "gate") -> dict[str, Any]:
    document: dict[str, Any] = live.client.get(f"/v1/cameras/{camera}/calibration").json()
    return document


def finished(live: LiveServer, camera: str = "gate") -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        now = calibration(live, camera)
        return now if now["state"] not in ("gathering", "fitting") else None

    return eventually(look, "the calibration is finished")


def calibrated(live: LiveServer, camera: str = "gate", *, seed: int = 1, **request: Any) -> dict[str, Any]:
    """Calibrate a camera on four minutes of normal life."""
    answer = live.client.post(f"/v1/cameras/{camera}/calibration", json={"seconds": 235} | request)
    assert answer.status_code == 202, answer.text
    watch(live, normal_life(240, seed), camera)
    return finished(live, camera)


def thresholds(live: LiveServer, camera: str = "gate") -> dict[str, Any]:
    document: dict[str, Any] = live.client.get(f"/v1/cameras/{camera}").json()["thresholds"]
    return document


def weights(live: LiveServer, camera: str = "gate") -> list[Path]:
    return sorted((live.runtime.folder.cameras / camera).glob("*"))


def test_a_camera_is_calibrated_on_what_it_sees_and_goes_back(serve: Serve) -> None:
    live = serve()
    put(live)
    shipped = thresholds(live)
    assert shipped["calibration"] == "shipped"
    first = calibrated(live)
    assert (first["state"], first["active"], first["refusal"], first["problem"]) == ("done", 1, None, None)
    assert first["gathered_s"] == pytest.approx(240, abs=6)
    assert first["gathered_poses"] == pytest.approx(7200, abs=200)
    report = first["versions"][0]["report"]
    low, high = report["interval_per_day"]
    assert low <= report["unusual_per_day"] == 1440 <= high
    assert (report["false_alarms_per_day"], report["support"]) == (2880, None)
    assert report["adaptation"] is None
    assert weights(live) == []
    own = thresholds(live)
    assert (own["calibration"], own["adapted"], own["open"]) == ("camera", False, report["threshold"])
    gate = live.runtime.cameras.manager.camera("gate")
    assert gate.taps == (), "nothing is gathered any more"
    found = gate.calibration()

    second = calibrated(live, seed=2)
    assert second["active"] == 2
    # By chance both may call the same level one that comes so often; the scores that they call so differ.
    assert gate.calibration() != found
    back = live.client.post(f"{ADDRESS}/rollback").json()
    assert back["active"] == 1
    assert [(one["version"], one["withdrawn"]) for one in back["versions"]] == [(2, True), (1, False)]
    assert (thresholds(live), gate.calibration()) == (own, found)
    assert live.client.post(f"{ADDRESS}/rollback").json()["active"] is None
    assert thresholds(live) == shipped
    assert live.client.post(f"{ADDRESS}/rollback").json()["active"] is None


@pytest.mark.slow
@pytest.mark.usefixtures("backend")
def test_own_weights_are_used_kept_over_a_restart_and_removed_with_the_camera(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with live_server(settings) as live:
        put(live)
        put(live, "yard")
        done = calibrated(live, adapt=True)
        adaptation = done["versions"][0]["report"]["adaptation"]
        assert adaptation["accepted"], adaptation["reason"]
        assert adaptation["after"] < adaptation["before"]
        own = thresholds(live)
        assert (own["calibration"], own["adapted"]) == ("camera", True)
        kept = weights(live)
        assert len(kept) == 1
        (live.runtime.folder.cameras / "gate" / "left-behind.safetensors").touch()
        (live.runtime.folder.cameras / "nobody").mkdir()
        (live.runtime.folder.cameras / "nobody" / "left-behind.safetensors").touch()
    with live_server(settings) as live:
        assert thresholds(live) == own
        assert thresholds(live, "yard")["calibration"] == "shipped"
        assert calibration(live)["active"] == 1
        assert calibration(live)["state"] is None
        assert weights(live) == kept, "what nothing refers to is gone"
        assert not (live.runtime.folder.cameras / "nobody").exists()

        # The same movement on both cameras at once has another score where the weights are others.
        scores: dict[str, list[float]] = {"gate": [], "yard": []}
        for name, found in scores.items():
            camera = live.runtime.cameras.manager.camera(name)
            camera.tap(lambda one, found=found: found.append(one.nll))
        base = f"ws://127.0.0.1:{live.port}"
        with device(base, "gate", lying), device(base, "yard", lying):
            eventually(lambda: all(np.isfinite(found[-1:]).any() for found in scores.values()), "both are scored")
        highest = {name: np.nanmax(found) for name, found in scores.items()}
        assert abs(highest["gate"] - highest["yard"]) > 1e-3

        assert live.client.delete("/v1/cameras/gate").status_code == 204
        assert not (live.runtime.folder.cameras / "gate").exists()
        put(live)
        assert (calibration(live)["versions"], thresholds(live)["calibration"]) == ([], "shipped")


def threshold_score(live: LiveServer, camera: str = "gate") -> float:
    """The held score at which an incident opens; levels of two calibrations cannot be compared."""
    own = live.runtime.cameras.manager.camera(camera).calibration()
    assert own is not None
    return float(own.nll(np.array(thresholds(live, camera)["open"])))


def test_an_incident_that_is_called_a_false_alarm_raises_the_threshold_of_the_next_calibration(serve: Serve) -> None:
    live = serve(sum_parts=True)
    put(live)

    def incident() -> dict[str, Any] | None:
        found: list[dict[str, Any]] = live.client.get("/v1/incidents").json()["incidents"]
        return found[0] if found else None

    with device(f"ws://127.0.0.1:{live.port}", "gate", lying):
        eventually(incident, "an incident opens")
    ended = eventually(lambda: (one := incident()) and one["ended_at"] and one, "it is over")
    address = f"/v1/incidents/{ended['id']}/false-alarm"
    found: list[tuple[int, int]] = []
    scores: list[float] = []
    for wrong in (False, True):
        assert live.client.post(address, json={"false_alarm": wrong}).status_code == 200
        report = calibrated(live)["versions"][0]["report"]
        found.append((report["false_alarms_marked"], report["false_alarms_used"]))
        scores.append(threshold_score(live))
    assert found == [(0, 0), (1, 1)]
    assert scores[1] > scores[0] + 0.1


def test_only_false_alarms_of_this_camera_and_these_weights_count_and_the_report_says_how_many(serve: Serve) -> None:
    live = serve()
    put(live)
    own = Checkpoint.load(DEFAULT_CHECKPOINT).pose_alone().fingerprint()
    created = live.runtime.cameras.store.get("gate").created_at

    def happened(name: str, peak: HeldPeak | None, camera: str = "gate", start: timedelta = timedelta()) -> None:
        incident = incident_info(name, camera).model_copy(
            update={"started_at": created + start, "updated_at": created + start, "peak_at": created + start}
        )
        live.runtime.streams.incidents.started(incident)
        live.runtime.streams.incidents.ended(over(incident, 0.0), peak)
        live.runtime.streams.incidents.reviews.change(Seen(name), FALSE)

    happened("other camera", HeldPeak(1000.0, own), "yard")
    happened("before this camera", HeldPeak(1000.0, own), start=-timedelta(hours=1))
    happened("while footage is gathered", HeldPeak(1000.0, own), start=timedelta(hours=1))
    plain = calibrated(live)["versions"][0]["report"]
    assert (plain["false_alarms_marked"], plain["false_alarms_used"]) == (0, 0)
    happened("other weights", HeldPeak(1000.0, "0" * 64))
    happened("not known", None)
    alike = calibrated(live)["versions"][0]["report"]
    assert (alike["false_alarms_marked"], alike["false_alarms_used"]) == (2, 0)
    alarm = threshold_score(live) + 1.0
    for number in range(100):
        happened(f"false alarm {number}", HeldPeak(alarm, own))
    most = calibrated(live)["versions"][0]["report"]
    assert most["false_alarms_marked"] == 102
    assert 10 < most["false_alarms_used"] < 100
    assert most["exceedances"] == 2 * most["false_alarms_used"], "as many as the footage has of its own"


def acting(film: Footage, begin: float) -> Iterator[Scored]:
    """The frames of one person, numbered 7, with what named behaviours see of them."""
    behaviours = Behaviours()
    for number, moment in enumerate(film.times.tolist()):
        joints, boxes = film.keypoints[number : number + 1], film.boxes[number : number + 1]
        findings = behaviours.observe(moment, [7], boxes.astype(np.float32), joints.astype(np.float32), film.size)
        yield scored_frame(begin + moment, {7: joints[0]}, findings=findings)


def life_with(film: Footage, times: int) -> Iterator[Scored]:
    """Normal life in which somebody does this so many times, evenly; it ends now."""
    frames = list(normal_life(240))
    spare = len(frames) // times
    for turn in range(times):
        part = frames[turn * spare : (turn + 1) * spare]
        acts = acting(film, part[0].captured_at)
        for frame in part:
            act = next(acts, None)
            yield (
                frame
                if act is None
                else replace(
                    frame,
                    findings=act.findings,
                    track_ids=[*frame.track_ids, 7],
                    boxes=np.zeros((3, 4), np.float32),
                    keypoints=np.concatenate([frame.keypoints, act.keypoints]),
                    newest=[None] * 3,
                )
            )


_EPISODES = itertools.count()


def incidents_of(live: LiveServer, film: Footage) -> list[str]:
    """The kinds of the incidents that somebody raises who does this in front of the camera, some minutes ago."""
    camera = live.runtime.cameras.manager.camera("gate")
    assert camera.lane is not None
    before = {one["id"] for one in live.client.get("/v1/incidents").json()["incidents"]}
    begin = time.monotonic() - 1000 + 20 * next(_EPISODES)
    for frame in acting(film, begin):
        camera.lane.deliver(frame)
    for pause in range(1, 4):
        camera.lane.deliver(scored_frame(begin + film.times[-1] + pause))
    eventually(lambda: camera.status().incident is None, "the incident is over")

    counted = [sample for metric in live.runtime.metrics.incidents.collect() for sample in metric.samples]
    opened = sum(sample.value for sample in counted if sample.name.endswith("_total"))

    def stored() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = live.client.get("/v1/incidents").json()["incidents"]
        return found

    eventually(lambda: len(stored()) == opened and all(one["ended_at"] for one in stored()), "all are stored")
    return [one["kind"] for one in stored() if one["id"] not in before]


def test_where_people_run_only_faster_running_is_an_incident_and_a_fall_still_is(serve: Serve) -> None:
    run, faster = film(running(1.5), 2.5, place=LEFT), film(running(2.4), 2.0, place=LEFT)
    fall = film(script((1.5, standing), (5.0, falling())), 6.0, place=(0.0, 8.0))
    live = serve(sum_parts=True)
    put(live, false_alarms_per_day=1.0, cooldown_s=0)
    assert [incidents_of(live, each) for each in (run, faster)] == [["running"], ["running"]]

    assert live.client.post(ADDRESS, json={"seconds": 235}).status_code == 202
    watch(live, life_with(run, 4))
    done = finished(live)
    assert done["state"] == "done", done
    report = done["versions"][0]["report"]
    assert report["support"].startswith("4 min"), "the budget is strict, and the calibration says what it supports"
    assert report["unusual_per_day"] > 0.5
    found = report["behaviours"]["running"]
    assert (found["times"], found["usable"]) == (4, True)
    assert 1.0 < found["highest"] < found["threshold"] < 2.4 / 1.25
    assert found["words"].startswith(f"Running: {found['threshold']:.3g} instead of 1, because normal life here came")
    assert {one["threshold"] for kind, one in report["behaviours"].items() if kind != "running"} == {1.0}
    assert thresholds(live)["behaviours"]["running"] == found["threshold"]

    assert [incidents_of(live, each) for each in (run, faster, fall)] == [[], ["running"], ["fall"]]
    (told,) = [one for one in live.client.get("/v1/incidents").json()["incidents"] if one["kind"] == "running"][:1]
    assert f"normal life here up to {found['highest']:.3g}, fires from {found['threshold']:.3g}" in told["explanation"]


def test_a_false_alarm_of_a_named_behaviour_makes_it_stricter_at_the_next_calibration(serve: Serve) -> None:
    run = film(running(1.5), 2.5, place=LEFT)
    live = serve()
    put(live, cooldown_s=0)
    assert incidents_of(live, run) == ["running"]
    (raised,) = live.client.get("/v1/incidents").json()["incidents"]
    score = raised["kinds"][0]["score"]
    # The same incident, after the camera was added.
    created = live.runtime.cameras.store.get("gate").created_at
    seen = KindSeen.model_validate(raised["kinds"][0]).model_copy(update={"first_at": created, "last_at": created})
    times = {"started_at": created, "updated_at": created, "peak_at": created}
    incident = incident_info("marked", "gate", kind=seen.kind, kinds=[seen]).model_copy(update=times)
    live.runtime.streams.incidents.started(incident)
    live.runtime.streams.incidents.ended(over(incident, 0.0), None)
    assert live.client.post("/v1/incidents/marked/false-alarm", json={}).status_code == 200

    report = calibrated(live)["versions"][0]["report"]
    found = report["behaviours"]["running"]
    assert (report["false_alarms_marked"], report["false_alarms_used"]) == (1, 0)
    assert (found["times"], found["marked"], found["highest"]) == (0, 1, score)
    assert found["threshold"] > score
    assert "1 incident was marked as a false alarm" in found["words"]
    camera = live.runtime.cameras.manager.camera("gate")
    assert camera.lane is not None
    for frame in acting(run, time.monotonic() - 600):
        camera.lane.deliver(frame)
    assert camera.status().incident is None


def test_weights_that_do_not_help_are_not_used(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrator, "fit_camera", partial(fit_camera, settings=TIMID))
    live = serve()
    put(live)
    done = calibrated(live, adapt=True)
    adaptation = done["versions"][0]["report"]["adaptation"]
    assert (adaptation["accepted"], adaptation["reason"][:13]) == (False, "not adapted: ")
    assert (thresholds(live)["calibration"], thresholds(live)["adapted"]) == ("camera", False)
    assert weights(live) == []


@pytest.mark.slow
def test_too_little_footage_is_refused_with_what_is_lacking(serve: Serve) -> None:
    live = serve()
    put(live)
    with device(f"ws://127.0.0.1:{live.port}", "gate", lying):
        assert live.client.post(ADDRESS, json={"seconds": 10}).status_code == 202
        refused = finished(live)
    assert (refused["state"], refused["active"], refused["versions"]) == ("refused", None, [])
    assert refused["gathered_s"] >= 10
    assert refused["gathered_poses"] > 50
    assert refused["refusal"]["needed_s"] > 0
    assert "more" in refused["refusal"]["detail"]
    assert thresholds(live)["calibration"] == "shipped"


@pytest.mark.slow
@pytest.mark.usefixtures("backend")
def test_a_calibration_with_another_checkpoint_is_left_aside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = Checkpoint.load(DEFAULT_CHECKPOINT).pose_alone()
    name, tensor = next(iter(base.state.items()))
    other = tmp_path / "other.safetensors"
    replace(base, state={**base.state, name: tensor * 1.01}).save(other)
    settings = Settings(data_dir=tmp_path / "data")
    with live_server(settings) as live:
        put(live)
        calibrated(live, adapt=True)
        own = thresholds(live)
    with live_server(settings.model_copy(update={"checkpoint": other})) as live:
        assert thresholds(live)["calibration"] == "shipped"
        assert "calibrate the camera again" in capsys.readouterr().out
        found = calibration(live)
        assert (found["active"], found["versions"][0]["active"]) == (None, False)
        assert len(weights(live)) == 1, "the other checkpoint may come back"
    with live_server(settings) as live:
        assert thresholds(live) == own
        weights(live)[0].write_bytes(b"damaged")
    with live_server(settings) as live:
        assert thresholds(live)["calibration"] == "shipped"
        assert "calibrate the camera again" in capsys.readouterr().out
        live.client.post(f"{ADDRESS}/rollback")
        assert weights(live) == [], "what was rolled back never returns"


def poselift_clip(test_data: Path, camera: str) -> ClipResult:
    """All normal footage of one camera as one scored clip, with pauses between the recordings."""
    frames: list[FrameScore] = []
    begin, track = 0.0, 0
    for clip in read_split(test_data / "poselift" / "pose" / "train"):
        if clip.camera != camera:
            continue
        people: dict[int, list[PersonScore]] = {}
        for person in clip.tracks:
            track += 1
            for number, joints in zip(person.frames.tolist(), person.keypoints.tolist(), strict=True):
                one = PersonScore(track=track, box=(0, 0, 1, 1), keypoints=joints, score=None, level=None)
                people.setdefault(number, []).append(one)
        span = clip.frame_span()
        for number in span.tolist():
            moment = begin + (number - span[0]) / RATE_HZ
            seen = people.get(number, [])
            frames.append(FrameScore(index=len(frames), time_s=moment, score=None, level=None, people=seen))
        begin = frames[-1].time_s + 60
    return clip_result().model_copy(update={"frames": frames})


class ClipsOf(CardboardScorer):
    """Gives every clip one result."""

    def __init__(self, result: ClipResult) -> None:
        super().__init__()
        self.result = result

    def score(self, *_: Any, **__: Any) -> ClipResult:
        return self.result


def test_a_camera_is_calibrated_on_a_clip_of_real_life(serve: Serve, test_data: Path) -> None:
    result = poselift_clip(test_data, "04")
    live = serve(scorer=ClipsOf(result))
    eventually(lambda: live.runtime.models.loaded is not None, "the models are loaded")
    put(live, false_alarms_per_day=1440, quiet_s=10, min_duration_s=0.5)
    posted = post_clip(live)
    live.client.until(posted, "done")
    assert live.client.post(ADDRESS, json={"clip": posted}).status_code == 202
    done = finished(live)
    assert done["state"] == "done", done
    report = done["versions"][0]["report"]
    assert report["interval_per_day"][0] <= report["unusual_per_day"] == 720 <= report["interval_per_day"][1]
    pauses = np.diff([frame.time_s for frame in result.frames])
    assert report["footage_s"] == pytest.approx(pauses[pauses < 2].sum(), rel=0.02)
    assert thresholds(live)["open"] == report["threshold"]


def post_clip(live: LiveServer) -> str:
    answer = live.client.post_clip(b"a clip")
    assert answer.status_code in (201, 202), answer.text
    return str(answer.json()["id"])


def test_a_clip_that_cannot_be_used_is_refused(serve: Serve) -> None:
    live = serve()
    put(live)
    posted = post_clip(live)
    live.client.until(posted, "done")
    refusal = live.client.post(ADDRESS, json={"clip": posted})
    assert (refusal.status_code, "keypoints=true" in refusal.json()["detail"]) == (422, True)
    live.runtime.folder.result(posted).unlink()
    assert live.client.post(ADDRESS, json={"clip": posted}).status_code == 422
    held = live.client.post_clip(b"hold").json()["id"]
    refusal = live.client.post(ADDRESS, json={"clip": held})
    assert (refusal.status_code, "has not been scored" in refusal.json()["detail"]) == (422, True)
    assert calibration(live)["state"] is None


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (lambda live: put(live, max_fps=3), "cancelled"),
        (lambda live: put(live, behaviours={"loitering": "warning"}), "cancelled"),
        (lambda live: put(live, enabled=False), "cancelled"),
        (lambda live: put(live, quiet_s=7, name="Gate"), "gathering"),
    ],
)
def test_footage_of_a_camera_that_is_changed_meanwhile_is_not_used(
    change: Callable[[LiveServer], None], state: str, serve: Serve
) -> None:
    live = serve()
    put(live)
    assert live.client.post(ADDRESS, json={"seconds": 3600}).status_code == 202
    watch(live, normal_life(5))
    change(live)
    if state == "cancelled":
        found = finished(live)
        assert (found["state"], "start the calibration again" in found["problem"]) == ("cancelled", True)
    else:
        watch(live, (replace(one, captured_at=one.captured_at + 10) for one in normal_life(5)))
        assert calibration(live)["gathered_s"] > 8
        live.client.delete(ADDRESS)
        assert finished(live)["problem"] is None


@pytest.mark.parametrize("comes_back", [False, True])
def test_what_was_learnt_for_a_camera_that_is_removed_meanwhile_is_thrown_away(
    comes_back: bool, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        fit = fit_camera(*arguments, settings=QUICK, **options | {"cancelled": lambda: False})
        fitted.set()
        go_on.wait()
        return fit

    monkeypatch.setattr(calibrator, "fit_camera", slow)
    live = serve()
    put(live)
    live.client.post(ADDRESS, json={"seconds": 235, "adapt": True})
    watch(live, normal_life(240))
    try:
        eventually(fitted.is_set, "it is fitted")
        assert live.client.delete("/v1/cameras/gate").status_code == 204
        if comes_back:
            put(live)
    finally:
        go_on.set()
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "calibration-gate"], "it has ended")
    assert not (live.runtime.folder.cameras / "gate").exists()
    if comes_back:
        assert (calibration(live)["versions"], calibration(live)["state"]) == ([], None)
        assert thresholds(live)["calibration"] == "shipped"


def test_a_defect_is_told_and_the_next_calibration_can_begin(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("one over nothing")

    monkeypatch.setattr(calibrator, "fit_camera", fail)
    live = serve()
    put(live)
    failed = calibrated(live)
    assert (failed["state"], failed["problem"]) == ("failed", "the calibration failed: one over nothing")
    monkeypatch.setattr(calibrator, "fit_camera", partial(fit_camera, settings=QUICK))
    assert calibrated(live)["state"] == "done"


def test_calibrations_and_rollbacks_at_once_leave_what_the_store_says(serve: Serve) -> None:
    live = serve()
    put(live)
    for seed in (1, 2, 3):
        calibrated(live, seed=seed)
    camera, runtime = live.runtime.cameras.manager.camera("gate"), live.runtime
    calls = [lambda: runtime.cameras.calibrator.roll_back("gate"), lambda: runtime.cameras.models.equip(camera)] * 2
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = CameraStore(runtime.database).active("gate")
    assert stored is not None
    assert stored.version == 1
    assert camera.calibration() == Calibration.from_dict(stored.calibration or {})


@pytest.mark.usefixtures("backend")
def test_a_service_that_stops_gives_calibrations_up(tmp_path: Path) -> None:
    with live_server(Settings(data_dir=tmp_path / "data")) as live:
        put(live)
        live.client.post(ADDRESS, json={"seconds": 3600})
        live.runtime.cameras.calibrator.stop()
        assert calibration(live)["state"] == "cancelled"
        with pytest.raises(CalibrationRefused):
            live.runtime.cameras.calibrator.start("gate", CalibrationRequest(seconds=60))


def test_a_disabled_camera_gathers_nothing(serve: Serve) -> None:
    live = serve()
    live.runtime.cameras.manager.put("gate", CameraConfig(url="skeletons:", enabled=False))
    with pytest.raises(CalibrationRefused, match="disabled"):
        live.runtime.cameras.calibrator.start("gate", CalibrationRequest(seconds=60))


def test_a_confirmed_incident_lowers_its_kind_and_a_corrected_one_makes_what_it_was_called_stricter(
    serve: Serve,
) -> None:
    run = film(running(1.5), 2.5, place=LEFT)
    live = serve()
    put(live, cooldown_s=0, false_alarms_per_day=1.0)
    created = live.runtime.cameras.store.get("gate").created_at
    reviews = live.runtime.streams.incidents.reviews

    def happened(name: str, scores: dict[Kind, float], said: ReviewChange) -> None:
        times = {"started_at": created, "updated_at": created, "peak_at": created}
        seen = incident_info(name).kinds[0].model_copy(update={"first_at": created, "last_at": created})
        kinds = [seen.model_copy(update={"kind": kind, "score": score}) for kind, score in scores.items()]
        incident = incident_info(name, "gate", kind=kinds[0].kind, kinds=kinds).model_copy(update=times)
        live.runtime.streams.incidents.started(incident)
        live.runtime.streams.incidents.ended(over(incident, 0.0))
        reviews.change(Seen(name), said)

    happened("drill", {Kind.FALL: 1.3, Kind.RUNNING: 1.2}, ReviewChange(verdict=Verdict.DRILL, kind=Kind.RUNNING))
    happened("real", {Kind.FIGHT: 1.4}, ReviewChange(verdict=Verdict.REAL))
    happened("open", {Kind.FIGHT: 1.4}, ReviewChange(note="who knows"))
    assert live.client.post(ADDRESS, json={"seconds": 235}).status_code == 202
    watch(live, life_with(run, 4))
    done = finished(live)
    assert done["state"] == "done", done
    found = done["versions"][0]["report"]["behaviours"]
    # People run here all day, so one confirmed run cannot be had back.
    assert (found["running"]["confirmed"], found["running"]["missed"], found["running"]["marked"]) == (1, 1, 0)
    assert "1 confirmed incident scores less" in found["running"]["words"]
    assert (found["fight"]["confirmed"], found["fight"]["missed"], found["fight"]["threshold"]) == (1, 0, 1.0)
    assert (found["fall"]["marked"], found["fall"]["confirmed"]) == (1, 0)
    assert found["fall"]["threshold"] > 1.3
