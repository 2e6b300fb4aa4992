"""Falls, fights and the rest on labelled footage: ``python -m benchmarks.events --data DIR [--json FILE --docs FILE]``.

Scores real footage and the small world with the shipped settings, judges the alarms by the labelled events, prints the
tables, and writes the figures with --json and the page with --docs. Poses are extracted once and kept in the folder of
--cache; after that a run takes seconds for real footage. With --only some of the footage is judged.

The footage is public and lies in the folder of --data as ``events/urfall``, ``events/gmdcsa24``,
``clips/surveillance-fight``, ``clips/intel``, ``clips/ubnormal`` and ``poselift``; see `benchmarks.events.footage`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.events import footage, named, world
from benchmarks.events.footage import Case, FootageError
from benchmarks.events.page import Section, Variant, interval_text, overview, terminal, variants_grid, write_page
from benchmarks.events.recordings import PoseRecording, PoseStore
from model.behaviours import Kind
from model.checkpoint import DEFAULT_CHECKPOINT
from model.events import EventReport, WatchedClip, judge
from model.metrics import MicroAUC, bootstrap_by_clip
from model.training import library_versions
from pose.estimator import sha256
from service.cli.events import watched
from service.clips.scorer import ClipScorer, clip_limits
from service.scoring.loading import LoadedModels
from service.settings import Settings, load_settings

VARIANTS: Final = "variants"
WORLD: Final = "world"
PLACES: Final = "places"

_LOW_RATE_HZ: Final = 5.0
_HALF: Final = 0.5
_HIDDEN: Final = 0.3
_HIDING_SEED: Final = 0

TITLES: Final = {
    "urfall": "UR Fall, falls",
    "daily": "UR Fall, daily activities",
    "gmdcsa24": "GMDCSA24",
    "fights": "Fights in CCTV clips",
    "ordinary": "Ordinary clips",
    "poselift": "Ordinary life in a shop",
    PLACES: "Groups and ways in the small world",
    WORLD: "The small world",
}

ABOUT: Final = {
    "urfall": "The 15 falls with odd numbers, camera 0, colour, 30 frames a second, one person (CC BY-NC-SA 4.0). "
    "An event begins with the first frame labelled as going down and ends when the person lies no longer or the clip "
    "ends. The labels give every fall exactly one second from the start to lying. Nothing is learnt from this footage.",
    "daily": "The 20 daily activities with odd numbers (CC BY-NC-SA 4.0), as skeletons of another pose model (MoveNet, "
    "13 joints, no confidences). Every stretch labelled as lying is an event of the kind *lying*: somebody lies down "
    "on purpose. A *fall* among its names is a confusion.",
    "gmdcsa24": "Falls and daily activities in rooms, one person (MIT). The seconds of the classes *Fall* and "
    "*Falling* are falls; those of *Sleeping* are *lying*.",
    "fights": "75 clips of fights between people and 75 of ordinary life, about two seconds each, from many CCTV "
    "cameras (MIT). A fight lasts as long as its clip, so the delay is at most the clip's length. Rates per hour are "
    "extrapolated from five minutes.",
    "ordinary": "A room that people enter one by one (Intel, CC BY 4.0), and two clips of synthetic people before real "
    "streets (UBnormal, CC BY-NC-ND 4.0). What UBnormal has marked as abnormal has no name here and counts as "
    "*unusual*.",
    "poselift": "The training clips of PoseLift: customers of a shop who steal nothing, as skeletons that the data set "
    "has followed (Apache-2.0). Every alarm is false.",
    PLACES: f"Behaviours that show in where people are: {world.CAMERAS} cameras of the simulation, none "
    f"calibrated. Each sees {world.EVENTS_EACH} events of every such kind, normal life between them. "
    "Only these behaviours are looked for: loitering from 80 s on and groups of four from 20 s on, because people of "
    "this world stay at one place for up to a minute; the wrong way only where there is a right one.",
    WORLD: f"{world.CAMERAS} cameras of the simulation, each calibrated on half an hour of its own normal life with a "
    "budget of 24 false alarms a day, and filmed with OpenVINO as pose runtime. Then each sees "
    f"{world.EVENTS_EACH} events of every kind and {world.NORMAL_S / 60:g} minutes without events. An event without a "
    "behaviour of its own (*throw*) is to be called *unusual*. Unusual movement is judged as a live camera "
    "judges it, named behaviours as in a clip.",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A clip that was scored.

    Attributes:
        clip: What happened and what was reported.
        people: Number of tracks.
        fight: Highest score of a fight; 0 if it never came near firing.
        level: Highest level; 0 if nobody was scored.
    """

    clip: WatchedClip
    people: int
    fight: float
    level: float


class Measurement:
    """Scores and judges the footage that was asked for.

    Args:
        data: Folder of the data.
        cache: Folder of the recordings.
        settings: Of the service.
        console: Where the progress goes.
        named_only: Leave out windows and levels, so that nothing is unusual.
        replicates: Samples of clips for each interval.
        seed: Decides the samples.
    """

    def __init__(
        self,
        data: Path,
        cache: Path,
        settings: Settings,
        console: Console,
        *,
        named_only: bool,
        replicates: int,
        seed: int,
    ) -> None:
        self._data = data
        self._cache = cache
        self._console = console
        self._named_only = named_only
        self._replicates = replicates
        self._seed = seed
        self._settings = settings
        self._models = LoadedModels.load(settings)
        self._limits = clip_limits(settings)
        self._scorer = ClipScorer(self._models, self._limits)
        self.store = PoseStore(cache, settings)

    def section(self, key: str, cases: Sequence[Case]) -> Section:
        """One kind of footage."""
        seen = self._score(TITLES[key], cases)
        notes = (self._fights(seen),) if key == "fights" else ()
        return self._judged(key, [one.clip for one in seen], notes)

    def world(self, count: int, calibration_s: float, processes: int) -> Section:
        """The small world."""
        cameras = world.cameras(count, calibration_s)
        clips = [clip for camera in cameras for clip in (*camera.calibration, *camera.clips)]
        recordings = world.record(clips, self._cache / WORLD, self._settings, processes, self._console)
        by_name = {clip.name: recording for clip, recording in zip(clips, recordings, strict=True)}
        watching = world.watch_all(cameras, by_name, self._settings, processes)
        done = track(watching, TITLES[WORLD], len(cameras), console=self._console, transient=True)
        seen = [clip for of_camera in done for clip in of_camera]
        by_event = {clip.name: clip.event for camera in cameras for clip in camera.clips}
        notes = []
        for event in sorted(event for event, kind in world.KINDS.items() if kind == Kind.UNUSUAL):
            own = judge([clip for clip in seen if by_event[clip.name] == event], replicates=0)
            recall, named = own.whole.recall, own.whole.named
            right = 0 if named is None else named.count
            notes.append(f"{event.capitalize()}: {recall.count:g} of {recall.of:g} found, {right:g} as unusual.")
        return self._judged(WORLD, seen, (" ".join(notes),))

    def places(self, count: int, processes: int) -> Section:
        """Groups and ways in the small world."""
        clips = [clip for camera in world.cameras(count) for clip in camera.clips if clip.event in world.PLACE_EVENTS]
        recordings = world.record(clips, self._cache / WORLD, self._settings, processes, self._console)
        watching = track(
            zip(clips, recordings, strict=True), TITLES[PLACES], len(clips), console=self._console, transient=True
        )
        merge_s = self._models.scorer.calibration.merge_s
        return self._judged(PLACES, [world.watch_places(clip, recording, merge_s) for clip, recording in watching])

    def variants(self) -> list[Variant]:
        """Falls under other conditions."""
        cases = [
            case
            for case in (*footage.urfall_falls(self._data, self.store), *footage.gmdcsa24(self._data, self.store))
            if any(event.kind == Kind.FALL for event in case.events)
        ]
        elsewhere = footage.urfall_falls_elsewhere(self._data)

        def seen(
            title: str,
            change: Callable[[PoseRecording], PoseRecording] = lambda recording: recording,
            scale: float = 1.0,
            of: Sequence[Case] = cases,
        ) -> Variant:
            clips = [one.clip for one in self._score(title, of, change, scale)]
            return Variant(title, self._report(clips))

        return [
            seen("as filmed"),
            seen(f"{_LOW_RATE_HZ:g} frames a second", lambda recording: recording.at_rate(_LOW_RATE_HZ)),
            seen("half resolution", scale=_HALF),
            seen(f"{_HIDDEN:.0%} of the joints hidden", lambda recording: recording.hiding(_HIDDEN, _HIDING_SEED)),
            seen("UR Fall only, as filmed", of=[case for case in cases if case.name.startswith("fall-")]),
            seen("UR Fall only, skeletons of MoveNet", of=elsewhere),
        ]

    def _score(
        self,
        title: str,
        cases: Sequence[Case],
        change: Callable[[PoseRecording], PoseRecording] = lambda recording: recording,
        scale: float = 1.0,
    ) -> list[Seen]:
        seen = []
        for case in track(cases, title, console=self._console, transient=True):
            seen.append(self._watch(case, change(case.record(scale))))
        return seen

    def _watch(self, case: Case, recording: PoseRecording) -> Seen:
        if self._named_only:
            events = case.events_within(recording.duration_s)
            clip, highest = named.watch(case.name, recording, events, self._models.scorer.calibration.merge_s)
            return Seen(clip, 0, highest.get(Kind.FIGHT, 0.0), 0.0)
        result = self._scorer.score_skeletons(recording.sequence(), keypoints=False)
        people = [person for frame in result.frames for person in frame.people]
        return Seen(
            watched(case.name, result, case.events_within(result.clip.duration_s)),
            len(result.tracks),
            max((person.behaviours.get(Kind.FIGHT, 0.0) for person in people), default=0.0),
            max((frame.level for frame in result.frames if frame.level is not None), default=0.0),
        )

    def _report(self, clips: Sequence[WatchedClip]) -> EventReport:
        return judge(clips, replicates=self._replicates, seed=self._seed)

    def _judged(self, key: str, clips: Sequence[WatchedClip], notes: Sequence[str] = ()) -> Section:
        report = self._report(clips)
        wrong = [outcome.clip.name for outcome in report.outcomes if outcome.false_alarms]
        shown = [f"{name}: {footage.SHOWN[name]}" for name in wrong if name in footage.SHOWN]
        about = [f"What is seen where a false alarm was raised: {'; '.join(shown)}."] if shown else []
        return Section(key, TITLES[key], ABOUT[key], report, (*notes, *about))

    def _fights(self, seen: Sequence[Seen]) -> str:
        """How well single numbers of a clip separate fights from no-fights."""
        labels = np.array([any(event.kind == Kind.FIGHT for event in one.clip.events) for one in seen], np.int64)
        fought = [one for one, label in zip(seen, labels.tolist(), strict=True) if label]
        calm = [one for one, label in zip(seen, labels.tolist(), strict=True) if not label]
        named = sum(any(alarm.kind == Kind.FIGHT for alarm in one.clip.alarms) for one in fought)
        alarmed = sum(bool(one.clip.alarms) for one in calm)
        areas = []
        numbers = {"score of the fight": [one.fight for one in seen]}
        if not self._named_only:
            numbers["level"] = [one.level for one in seen]
            numbers["number of tracks"] = [float(one.people) for one in seen]
        for name, values in numbers.items():
            area = MicroAUC([(labels[i : i + 1], np.array([value])) for i, value in enumerate(values)])
            whole = area(np.ones(len(seen), np.int64))
            interval = None
            if self._replicates:
                interval = bootstrap_by_clip(area, len(seen), replicates=self._replicates, seed=self._seed)
            areas.append(f"{name} {whole:.3f}{interval_text(interval)}")
        return (
            f"{named} of {len(fought)} fights were called *fight*; {alarmed} of {len(calm)} clips without a fight had "
            f"an alarm of any kind. Clip AUC of the highest value in a clip: {', '.join(areas)}. Scores of a fight "
            "below 0.5 are not reported and count as equal."
        )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("DAFLOW_TEST_DATA")
    parser.add_argument(
        "--data", type=Path, default=data, required=data is None, help="folder of the data (default: DAFLOW_TEST_DATA)"
    )
    parser.add_argument("--cache", type=Path, help="folder of recordings; by default events/ in the data folder")
    parser.add_argument("--only", help=f"some of {','.join((*TITLES, VARIANTS))}; by default all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--docs", type=Path, help="with --json: write the page here")
    parser.add_argument(
        "--named-only",
        action="store_true",
        help="all but the small world without windows and levels, ten times as fast",
    )
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="scenes rendered at a time")
    parser.add_argument("--cameras", type=int, default=world.CAMERAS, help="of the small world (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=world.CALIBRATION_S / 60, help="each is calibrated on")
    parser.add_argument("--replicates", type=int, default=1000, help="samples of clips for each interval")
    parser.add_argument("--seed", type=int, default=0, help="decides the samples")
    options = parser.parse_args()
    every = [*TITLES, VARIANTS]
    wanted = every if options.only is None else options.only.split(",")
    unknown = sorted(set(wanted) - set(every))
    if unknown:
        parser.error(f"there is no footage {', '.join(unknown)}; there are {', '.join(every)}")
    if options.docs and not options.json:
        parser.error("--docs needs --json, which the page links to")

    settings = load_settings()
    console = Console(stderr=True)
    measurement = Measurement(
        options.data,
        options.cache or settings.data_dir / "events",
        settings,
        console,
        named_only=options.named_only,
        replicates=options.replicates,
        seed=options.seed,
    )
    try:
        sections, variants = _measure(measurement, options, wanted)
    except FootageError as error:
        sys.exit(f"error: {error}")
    wide = Console(width=200)
    for section in sections:
        for grid in terminal(section):
            wide.print(grid.table())
        for note in section.notes:
            wide.print(note)
    if sections:
        wide.print(overview(sections).table())
    if variants:
        wide.print(variants_grid(variants).table())
    provenance = _provenance(settings, measurement.store) | {"left_out": _left_out(wanted, options)}
    if options.json:
        document = {
            "provenance": provenance,
            "footage": {section.key: section.report.to_dict() | {"notes": section.notes} for section in sections},
            "variants": [{"title": one.title, "falls": asdict(one.row)} for one in variants],
        }
        options.json.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if options.docs:
        write_page(options.docs, sections, variants, provenance, options.json)


def _measure(
    measurement: Measurement, options: argparse.Namespace, wanted: Sequence[str]
) -> tuple[list[Section], list[Variant]]:
    data, store = options.data, measurement.store
    cases: dict[str, Callable[[], list[Case]]] = {
        "urfall": lambda: footage.urfall_falls(data, store),
        "daily": lambda: footage.urfall_daily(data),
        "gmdcsa24": lambda: footage.gmdcsa24(data, store),
        "fights": lambda: footage.fights(data, store),
        "ordinary": lambda: footage.ordinary(data, store),
        "poselift": lambda: footage.poselift(data),
    }
    sections = [measurement.section(key, make()) for key, make in cases.items() if key in wanted]
    if PLACES in wanted:
        sections.append(measurement.places(options.cameras, options.jobs))
    if WORLD in wanted:
        sections.append(measurement.world(options.cameras, options.minutes * 60, options.jobs))
    return sections, measurement.variants() if VARIANTS in wanted else []


def _left_out(wanted: Sequence[str], options: argparse.Namespace) -> list[str]:
    """What was not measured, in words."""
    footage_left = [title for key, title in TITLES.items() if key not in wanted]
    conditions = [] if VARIANTS in wanted else ["Falls under other conditions"]
    level = ["The level, except in the small world, so that only named behaviours are judged"]
    return [*footage_left, *conditions, *(level if options.named_only else [])]


def _provenance(settings: Settings, store: PoseStore) -> dict[str, Any]:
    checkpoint = settings.checkpoint or DEFAULT_CHECKPOINT
    return {
        "command": shlex.join(["python", "-m", "benchmarks.events", *_public(sys.argv[1:])]),
        "checkpoint": checkpoint.stem,
        "checkpoint_sha256": sha256(checkpoint),
        "pose_weights": store.estimator.weights.name,
        "pose_weights_sha256": store.weights_sha256,
        "pose_runtime": store.estimator.runtime,
        "false_alarms_per_day": settings.false_alarms_per_day,
        "sum_parts": settings.sum_parts,
        "versions": library_versions() | {name: version(name) for name in ("scipy", "ultralytics")},
    }


def _public(arguments: Sequence[str]) -> list[str]:
    """The arguments without the folders of this machine."""
    shown: list[str] = []
    for argument in arguments:
        after = shown[-1] if shown else ""
        shown.append({"--data": "DIR", "--cache": "CACHE"}.get(after, argument))
    return shown


if __name__ == "__main__":
    main()
