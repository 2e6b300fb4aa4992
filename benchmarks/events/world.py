"""The small world: cameras that are calibrated on their own normal life, and then see events of every kind.

A camera is one place seen from one point; its people and what they do change from scene to scene. Scenes are rendered
and their poses extracted once; a recording is kept for as long as its people move as they did, are drawn as they were
and the pose weights are the same. All models are those of the service's settings: pose weights for people find the
people of the small world, too, and see their limbs better than the demo's small ones. OpenVINO runs them where it
can: there are seven hours to film, which takes it a third of the time.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from benchmarks.assets.small_pose import at_demo_rate
from benchmarks.events import named
from benchmarks.events.recordings import Collector, PoseRecording
from model.adaptation import CameraFit, fit_camera, live_recording
from model.behaviours import Kind
from model.behaviours.calibration import fit_behaviours
from model.budget import share_of
from model.calibration import exceedance_runs
from model.checkpoint import Checkpoint
from model.events import Alarm, Event, WatchedClip
from model.scorer import RawScorer, Scorer
from pose.estimator import sha256
from service.cameras.behaviours import WrongWaySettings
from service.cameras.config import CameraConfig
from service.cli.events import watched
from service.clips.decoding import ClipLimits
from service.clips.scorer import ClipScorer, clip_limits
from service.scoring.loading import LoadedModels, load_checkpoint, load_estimator, threshold_of
from service.settings import PoseRuntime, Settings
from simulation.places import furnish
from simulation.rendering import render
from simulation.scene import EVENT_S, EVENTS, Scene, SceneIncident, normal_scene
from simulation.scene import Event as SceneEvent
from simulation.world import World

KINDS: Final[dict[SceneEvent, Kind]] = {
    "running": Kind.RUNNING,
    "fall": Kind.FALL,
    "fight": Kind.FIGHT,
    "throw": Kind.UNUSUAL,
    "crawl": Kind.CRAWLING,
    "disperse": Kind.DISPERSAL,
    "loiter": Kind.LOITERING,
    "gather": Kind.GATHERING,
    "wrong_way": Kind.WRONG_WAY,
    "hands_up": Kind.HANDS_UP,
}
"""What an event of the small world is to be called; those without a behaviour of their own are unusual."""

SETTINGS: Final = CameraConfig.model_validate(
    {
        "url": "skeletons:",
        "behaviours": {"loitering": "warning", "gathering": "warning"},
        "loitering": {"seconds": 80},
        "gathering": {"people": 4, "seconds": 20},
    }
)
"""Cameras switch on the behaviours that are ordinary elsewhere, for times well beyond those of the small world's normal
life: sitting, standing and talking in turn, its people stay at one place for up to a minute."""

ONE_WAY: Final = SETTINGS.model_copy(
    update={
        "behaviours": {**SETTINGS.behaviours, Kind.WRONG_WAY: "warning"},
        "wrong_way": WrongWaySettings(direction_deg=0),
    }
)

PLACE_EVENTS: Final[tuple[SceneEvent, ...]] = ("disperse", "wrong_way", "loiter", "gather")
"""Events that show in where people are, whatever their limbs do."""

CAMERAS: Final = 8
CALIBRATION_S: Final = 1800.0
EVENTS_EACH: Final = 3
"""Events of each kind on each camera, all in one scene."""

NORMAL_S: Final = 240.0
"""Seconds without events on each camera, beside those it is calibrated on."""

BUDGET_PER_DAY: Final = 24.0
"""False alarms per day of each camera, unusual movement and named behaviours together."""

_FIRST_SEED: Final = 60_000
"""Beyond the seeds of the demo and of `benchmarks.research.simulation`, before those of training."""

_PIECE_S: Final = 120.0
_EVERY_S: Final = 30.0
_PAUSE_S: Final = 15.0
"""Seconds from the beginning of one event to that of the next; from the end of one to the next if they are long."""

_PEOPLE: Final = 4
_PEOPLE_IN: Final[dict[SceneEvent, int]] = {"disperse": 5, "gather": 5, "wrong_way": 6}
"""People in a scene; in those with an event that takes four, somebody looks on."""


@dataclass(frozen=True, slots=True)
class WorldClip:
    """A scene on one camera.

    Attributes:
        name: Its name.
        scene: The scene.
        event: The kind of its events; None if it has none.
    """

    name: str
    scene: Scene
    event: SceneEvent | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """What happens in it."""
        return tuple(Event(KINDS[one.event], one.onset_s, one.end_s) for one in self.scene.schedule())


@dataclass(frozen=True, slots=True)
class WorldCamera:
    """A camera with its scenes.

    Attributes:
        name: Its name.
        calibration: Normal life that it is calibrated on.
        clips: What is judged.
    """

    name: str
    calibration: tuple[WorldClip, ...]
    clips: tuple[WorldClip, ...]


def cameras(count: int = CAMERAS, calibration_s: float = CALIBRATION_S) -> list[WorldCamera]:
    """The cameras.

    Args:
        count: How many.
        calibration_s: Seconds of normal life that each is calibrated on.
    """
    return [_camera(number, calibration_s) for number in range(count)]


def record(
    clips: Sequence[WorldClip], folder: Path, settings: Settings, processes: int, console: Console
) -> list[PoseRecording]:
    """The recordings of scenes, those that are missing rendered now.

    Args:
        clips: The scenes.
        folder: Where recordings are kept.
        settings: Pose weights and device.
        processes: Scenes rendered at a time.
        console: Where the progress goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = settings.model_copy(update={"pose_runtime": PoseRuntime.AUTO, "pose_precision": "auto"})
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        keys = track(
            pool.map(partial(_key, _made_with(settings)), [clip.scene for clip in clips]),
            "looking for what was filmed before",
            total=len(clips),
            console=console,
        )
        paths = [folder / f"{_file_name(clip)}-{key}.npz" for clip, key in zip(clips, keys, strict=True)]
        missing = [(clip.scene, path) for clip, path in zip(clips, paths, strict=True) if not path.exists()]
        if missing:
            done = pool.map(partial(_film, settings), missing)
            for _ in track(done, "filming", total=len(missing), console=console):
                pass
    return [PoseRecording.load(path) for path in paths]


def watch_all(
    cameras: Sequence[WorldCamera], recordings: Mapping[str, PoseRecording], settings: Settings, processes: int
) -> Iterator[list[WatchedClip]]:
    """Calibrate and watch cameras, several at a time; yields the scenes of each, in order.

    Args:
        cameras: The cameras.
        recordings: Of all their scenes, by name.
        settings: Models and limits of the service.
        processes: Cameras at a time.
    """
    work = [(one, {clip.name: recordings[clip.name] for clip in (*one.calibration, *one.clips)}) for one in cameras]
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(partial(_watch, settings), work)


def watch_places(clip: WorldClip, recording: PoseRecording, merge_s: float) -> WatchedClip:
    """Look for the behaviours of `PLACE_EVENTS` alone in a scene, without calibration.

    Args:
        clip: The scene.
        recording: Its poses.
        merge_s: Alarms of a kind that are closer than this many seconds are one.
    """
    kinds = {KINDS[event] for event in PLACE_EVENTS}
    behaviours = [each for each in _settings(clip).looked_for if each.kind in kinds]
    return named.watch(clip.name, recording, clip.events, merge_s, behaviours)[0]


def watch(
    camera: WorldCamera,
    recordings: Mapping[str, PoseRecording],
    models: LoadedModels,
    checkpoint: Checkpoint,
    limits: ClipLimits,
) -> list[WatchedClip]:
    """Calibrate a camera on its normal life and watch its scenes.

    Named behaviours come from the path of clips, with thresholds from the camera's normal life. Unusual movement is
    judged as a live camera judges it: smoothed causally, held for the minimum duration, by the camera's own calibration
    and budget.

    Args:
        camera: The camera.
        recordings: Of all its scenes, by name.
        models: Of the service; its scorer gets the camera's calibration.
        checkpoint: Of the service.
        limits: On clips.

    Raises:
        CalibrationError: There is too little normal life for the budget.
    """
    config = CameraConfig(url="skeletons:")
    normal = [recordings[clip.name].followed() for clip in camera.calibration]
    fit = fit_camera(
        [recording.footage() for recording in normal],
        checkpoint,
        false_alarms_per_day=share_of(Kind.UNUSUAL, BUDGET_PER_DAY),
        merge_s=config.quiet_s,
        min_duration_s=config.min_duration_s,
    )
    calibrated = replace(checkpoint, calibration=fit.calibration)
    scorer = Scorer(calibrated)
    life = named.normal_life(normal, SETTINGS.looked_for)
    usual = fit_behaviours(life, false_alarms_per_day=BUDGET_PER_DAY, merge_s=config.quiet_s)
    threshold = threshold_of(scorer, false_alarms_per_day=BUDGET_PER_DAY)
    scored_with = replace(models, scorer=scorer, threshold=threshold, usual=usual)
    seen = []
    for clip in camera.clips:
        recording = recordings[clip.name].followed()
        result = ClipScorer(scored_with, limits, _settings(clip).looked_for).score_skeletons(
            recording.sequence(), keypoints=False
        )
        told = watched(clip.name, result, clip.events)
        by_name = tuple(alarm for alarm in told.alarms if alarm.kind != Kind.UNUSUAL)
        unusual = _unusual(recording, calibrated, fit, config)
        seen.append(replace(told, alarms=(*by_name, *unusual)))
    return seen


def _settings(clip: WorldClip) -> CameraConfig:
    """What the camera of a scene looks for: only where everybody goes one way is there a wrong one."""
    return ONE_WAY if clip.scene.one_way else SETTINGS


def _camera(number: int, calibration_s: float) -> WorldCamera:
    # The seed of the place; its scenes have seeds of their own, which decide the people.
    base = _FIRST_SEED + 1000 * number
    place = at_demo_rate(normal_scene(base))
    name = f"camera {number + 1}"

    def scene(seed: int, seconds: float) -> Scene:
        return replace(place, seed=base + seed, people=_PEOPLE, duration_s=seconds)

    def eventful(seed: int, event: SceneEvent) -> Scene:
        people, one_way = _PEOPLE_IN.get(event, _PEOPLE), event == "wrong_way"
        if EVENT_S[event] <= _EVERY_S / 2:
            short = scene(seed, EVENTS_EACH * _EVERY_S)
            return replace(short, people=people, incident_every_s=_EVERY_S, events=(event,), one_way=one_way)
        every = EVENT_S[event] + _PAUSE_S
        onsets = [_PAUSE_S + every * number for number in range(EVENTS_EACH)]
        incidents = tuple(SceneIncident(event, onset, onset + EVENT_S[event]) for onset in onsets)
        return replace(scene(seed, _PAUSE_S + EVENTS_EACH * every), people=people, incidents=incidents)

    pieces = max(1, round(calibration_s / _PIECE_S))
    calibration = [
        WorldClip(f"{name}, calibration {piece + 1}", scene(1 + piece, min(_PIECE_S, calibration_s)))
        for piece in range(pieces)
    ]
    events = [WorldClip(f"{name}, {event}", eventful(500 + index, event), event) for index, event in enumerate(EVENTS)]
    normal = [
        WorldClip(f"{name}, ordinary {piece + 1}", scene(600 + piece, _PIECE_S))
        for piece in range(round(NORMAL_S / _PIECE_S))
    ]
    return WorldCamera(name, tuple(calibration), (*events, *normal))


def _unusual(
    recording: PoseRecording, checkpoint: Checkpoint, fit: CameraFit, config: CameraConfig
) -> tuple[Alarm, ...]:
    """Alarms of the level, known once the level has been held for the minimum duration."""
    held, _ = live_recording(
        recording.footage(), RawScorer.of_checkpoint(checkpoint), min_duration_s=config.min_duration_s
    )
    scored = ~np.isnan(held.highest)
    levels = np.full(len(scored), np.nan)
    levels[scored] = fit.calibration.level(held.highest[scored])
    alarms = []
    for first, last in exceedance_runs(held.times, levels, fit.threshold, config.quiet_s + config.min_duration_s):
        known = float(held.times[first])
        peak = float(np.nanmax(levels[first : last + 1]))
        start = max(known - config.min_duration_s, 0.0)
        alarms.append(Alarm(Kind.UNUSUAL, start, float(held.times[last]), known, f"level {peak:.5f}"))
    return tuple(alarms)


def _watch(settings: Settings, work: tuple[WorldCamera, Mapping[str, PoseRecording]]) -> list[WatchedClip]:
    torch.set_num_threads(1)
    return watch(*work, LoadedModels.load(settings), load_checkpoint(settings), clip_limits(settings))


def _film(settings: Settings, work: tuple[Scene, Path]) -> None:
    scene, path = work
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    estimator, collector = load_estimator(settings), Collector()
    for frame in render(scene):
        collector.add(frame.time_s, estimator([frame.image])[0])
    collector.recording((scene.camera.width, scene.camera.height)).save(path)


def _made_with(settings: Settings) -> str:
    """Digest of the pose estimator and of the source that draws people and places."""
    estimator = load_estimator(settings)
    folder = Path(__file__).parents[2] / "simulation"
    source = [folder / f"{name}.py" for name in ("camera", "clothing", "figures", "places", "rendering")]
    digests = "".join(sha256(path) for path in [estimator.weights, *source])
    made_with = (digests, estimator.runtime, estimator.image_size, estimator.confidence)
    return hashlib.sha256(repr(made_with).encode()).hexdigest()


def _key(made_with: str, scene: Scene) -> str:
    """Digest of all that a recording depends on: the camera, the place, and how everybody moves in every frame.

    So a new kind of event does not ask for the normal life of all cameras to be filmed again.
    """
    world = World(scene, furnish(scene))
    digest = hashlib.sha256(f"{made_with} {scene.seed} {scene.place} {scene.camera!r}".encode())
    for number in range(scene.frames or 0):
        if number:
            world.step()
        digest.update(world.joints().round(6).tobytes())
    return digest.hexdigest()[:24]


def _file_name(clip: WorldClip) -> str:
    return clip.name.replace(", ", "-").replace(" ", "")
