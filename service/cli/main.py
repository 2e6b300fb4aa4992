"""The command ``daflow``. Commands import Torch and the service themselves, so that help is quick."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer
from rich.markup import escape
from rich.table import Table

from service.cli.console import ClipBar, DataDir, complain, err, fail, one_line_for, out, progress_bar
from service.cli.keys import app as keys_app
from service.cli.keys import first_key
from service.cli.videos import is_address, local_video
from service.errors import StartupError
from service.logs import configure_logging
from service.settings import Settings, SettingsError, load_settings, unknown_variables

if TYPE_CHECKING:
    from service.doctor import Finding
    from service.documents.results import ClipResult
    from service.runtime import Runtime

_STARTUP_FAILED: Final = 3
"""Exit status of a server that could not listen, as uvicorn's own."""

app = typer.Typer(
    help="Real-time anomaly detection for people in video.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(keys_app, name="keys")

Device = Annotated[str | None, typer.Option(help="Overrides DAFLOW_DEVICE.", show_default=False)]
PoseWeights = Annotated[str | None, typer.Option(help="Overrides DAFLOW_POSE_WEIGHTS.", show_default=False)]
Layout = Annotated[str, typer.Option(help="Layout of the data set on disk; see docs/datasets.md.")]
FrameRate = Annotated[
    float | None,
    typer.Option(min=0.1, help="Frames per second of the videos; default: that of the data set.", show_default=False),
]
Axes = Annotated[Literal["auto", "xy", "yx"], typer.Option(help="Order of the coordinates of a keypoint in the files.")]


def main() -> None:
    """Entry point of the console script."""
    app()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Overrides DAFLOW_HOST.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Overrides DAFLOW_PORT.", show_default=False)] = None,
    data_dir: DataDir = None,
    device: Device = None,
    pose_weights: PoseWeights = None,
) -> None:
    """Run the service: API and dashboard, until stopped."""
    _serve(_settings(host=host, port=port, data_dir=data_dir, device=device, pose_weights=pose_weights))


@app.command()
def demo(
    host: Annotated[str | None, typer.Option(help="Overrides DAFLOW_HOST.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Overrides DAFLOW_PORT.", show_default=False)] = None,
    data_dir: DataDir = None,
    device: Device = None,
) -> None:
    """Run the service with two simulated cameras; needs no network and no weights."""
    settings = _settings(host=host, port=port, data_dir=data_dir, device=device)

    from service.cli.demo import announce, demo_settings, furnish

    settings = demo_settings(settings)
    _serve(settings, furnish, partial(announce, settings))


def _serve(
    settings: Settings,
    furnish: Callable[[Runtime], None] = lambda _: None,
    on_started: Callable[[tuple[str, int]], None] = lambda _: None,
) -> None:
    """Run the service until stopped.

    Args:
        settings: Settings of the service.
        furnish: Called with the service before it starts.
        on_started: Called with host and port when the service accepts connections.
    """
    configure_logging(settings.log_level, settings.log_format)

    import uvicorn

    from service.app import create_app
    from service.dashboard import mount
    from service.runtime import Runtime
    from service.scoring.loading import ModelUnavailable, resolve_device
    from service.server import PromptProtocol, Server, raise_file_limit

    with one_line_for(StartupError, ModelUnavailable):
        resolve_device(settings.device)
        runtime = Runtime.open(settings)
        furnish(runtime)
    first_key(settings, runtime.keys)
    raise_file_limit()
    application = create_app(runtime)
    mount(application, runtime)
    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        # Fixed, so that the service runs with what the tests run with, whatever else is installed.
        loop="asyncio",
        http=PromptProtocol,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=5,
        ws_max_size=128 * 1024,
        ws_per_message_deflate=False,
    )
    server = Server(config, application.state.closing, on_started)
    # After it has stopped, the server raises the signal that stopped it again.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise typer.Exit(_STARTUP_FAILED)


@app.command()
def score(
    clip: Annotated[str, typer.Argument(help="The video file, or its https or http address.", show_default=False)],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the scores to this file, as JSON.")] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write one row per frame and person to this file, as CSV.")
    ] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="Plot the levels over time into this file, as PNG.")
    ] = None,
    video_file: Annotated[
        Path | None, typer.Option("--video", help="Write the annotated video to this file, as MP4.")
    ] = None,
    keypoints: Annotated[bool, typer.Option(help="Include the joints of all people in the JSON file.")] = True,
    device: Device = None,
    pose_weights: PoseWeights = None,
) -> None:
    """Score one video, without the service."""
    settings = _settings(device=device, pose_weights=pose_weights)
    outputs = [path for path in (json_file, csv_file, plot_file, video_file) if path]
    _check_files(None if is_address(clip) else Path(clip), outputs)

    from service.clips import rendering
    from service.clips.decoding import ClipRejected
    from service.clips.scorer import ClipScorer, clip_limits
    from service.scoring.loading import ModelUnavailable
    from service.storage.writing import atomic_write

    errors = one_line_for(ModelUnavailable, ClipRejected, OSError)
    with local_video(clip, settings) as file, errors, progress_bar() as progress:
        task = progress.add_task("loading models", total=None)
        scorer = ClipScorer.load(settings)
        result = scorer.score(file, ClipBar(progress, task), keypoints=keypoints or video_file is not None)
        if json_file:
            document = result.model_dump_json(exclude=None if keypoints else _JOINTS)
            with atomic_write(json_file) as stream:
                stream.write(document.encode())
        if csv_file:
            with csv_file.open("w", newline="", encoding="utf-8") as text:
                rendering.write_csv(result, text)
        if plot_file:
            plot_file.write_bytes(rendering.timeline_png(result))
        if video_file:
            progress.update(task, description="drawing", completed=0)
            rendering.annotate(
                file,
                result,
                video_file,
                clip_limits(settings),
                lambda done, total: progress.update(task, completed=done, total=total),
            )
    _print_summary(file.name, result)


@app.command()
def extract(
    videos: Annotated[list[Path], typer.Argument(help="Video files, or folders of pictures.", show_default=False)],
    output: Annotated[
        Path, typer.Option(help="Folder for the poses; created if it does not exist.", show_default=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Extract again what exists already.")] = False,
    frame_rate: Annotated[
        float | None,
        typer.Option(min=0.1, help="Frame rate of folders of pictures, in frames per second.", show_default=False),
    ] = None,
    device: Device = None,
    pose_weights: PoseWeights = None,
) -> None:
    """Extract tracked skeletons from videos, into files that train reads."""
    settings = _settings(device=device, pose_weights=pose_weights)
    raise typer.Exit(1 if _extract(settings, videos, output, frame_rate, force=force) else 0)


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of the data set.", show_default=False)],
    output: Annotated[Path, typer.Option(help="The checkpoint to write.", show_default=False)],
    epochs: Annotated[int, typer.Option(help="Number of passes over the training windows.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed for held-out clips, initial weights and the order of windows.")] = 0,
    length: Annotated[
        int, typer.Option(help="Length of a window in frames at 15 per second; the paper uses 24.", min=3)
    ] = 8,
    parts: Annotated[
        bool,
        typer.Option(
            "--parts/--no-parts",
            "--witnesses/--no-witnesses",  # the old name, kept for one release
            help="Fit motion and pairs of people as parts of the score beside the pose.",
        ),
    ] = True,
    layout: Layout = "poselift",
    frame_rate: FrameRate = None,
    axes: Axes = "auto",
    resume: Annotated[
        Path | None,
        typer.Option(help="Save the state to this file after each epoch, and resume from it.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="Device for training: cpu or cuda.")] = "cpu",
) -> None:
    """Train a checkpoint on skeletons of normal life and calibrate it."""
    _check_files(None, [output])

    from model.config import DAFlowConfig
    from model.dataset import DatasetError
    from model.layouts import layout_named
    from model.scorer import DeviceUnavailableError
    from model.training import TrainingError, TrainingSettings
    from model.training import train as run

    with one_line_for(DatasetError, DeviceUnavailableError, TrainingError, ValueError, OSError):
        report = run(
            TrainingSettings(
                data=data,
                layout=layout_named(layout),
                output=output,
                epochs=epochs,
                seed=seed,
                config=DAFlowConfig(length=length),
                parts=parts,
                frame_rate_hz=frame_rate,
                axes=axes,
                resume=resume,
                device=device,
                command=shlex.join(["daflow", *sys.argv[1:]]),
            ),
            console=err,
            extractor=_make_poses,
        )
    table = Table(title=escape(str(report.output)), show_header=False, title_justify="left")
    table.add_row("parameters", str(report.parameters))
    table.add_row("learnt from", f"{report.train_clips} clips, {report.train_windows} windows")
    if report.abnormal_windows:
        table.add_row("abnormal", f"{report.abnormal_windows} of these windows")
    table.add_row("held out", f"{report.heldout_clips} clips, {report.heldout_windows} windows")
    table.add_row("chosen epoch", f"{report.chosen.number} of {len(report.epochs)}")
    table.add_row("held-out likelihood", f"{report.chosen.heldout_nll:.4f} bits per dimension")
    if report.uncalibrated:
        table.add_row("not calibrated", escape(report.uncalibrated))
    out.print(table)


@app.command()
def evaluate(
    data: Annotated[Path | None, typer.Option(help="Folder of the data set.", show_default=False)] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            help="Instead of a data set: folder of videos and skeletons with their events in events.csv; see "
            "docs/cameras.md.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="The checkpoint to evaluate; default: the one that ships with the package, with --events the one of "
            "the settings.",
            show_default=False,
        ),
    ] = None,
    layout: Layout = "poselift",
    frame_rate: FrameRate = None,
    axes: Axes = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all results to this file, as JSON.")] = None,
    seed: Annotated[int, typer.Option(help="Seed for the samples of clips.", min=0)] = 0,
    replicates: Annotated[int, typer.Option(help="Number of samples of clips for each 95 % interval.", min=0)] = 1000,
    device: Annotated[
        str | None,
        typer.Option(
            help="Device for scoring: cpu or cuda; default: cpu, with --events that of the settings.",
            show_default=False,
        ),
    ] = None,
    pose_weights: PoseWeights = None,
) -> None:
    """Evaluate a checkpoint on labelled skeletons, or the whole service on your own labelled footage."""
    _check_files(None, [json_file] if json_file else [])
    if (data is None) == (events is None):
        fail("name either a data set with --data or a folder of footage with --events")
    command = shlex.join(["daflow", *sys.argv[1:]])
    if events is not None:
        settings = _settings(device=device, pose_weights=pose_weights, checkpoint=checkpoint)

        from service.cli.events import evaluate as run_events
        from service.cli.events import grids

        found = run_events(events, settings, replicates=replicates, seed=seed, command=command)
        _write_json(json_file, found.to_dict())
        for grid in grids(found):
            out.print(grid.table())
        for name, why in found.refused.items():
            complain(f"{name}: {why}")
        raise typer.Exit(1 if found.refused else 0)

    from model.checkpoint import DEFAULT_CHECKPOINT, CheckpointError
    from model.dataset import DatasetError
    from model.layouts import layout_named
    from model.scorer import DeviceUnavailableError
    from service.cli.evaluation import evaluate as run
    from service.cli.evaluation import tables

    with one_line_for(CheckpointError, DatasetError, DeviceUnavailableError, ValueError, OSError):
        evaluation = run(
            data or Path(),
            checkpoint or DEFAULT_CHECKPOINT,
            layout=layout_named(layout),
            frame_rate_hz=frame_rate,
            axes=axes,
            extractor=_make_poses,
            device=device or "cpu",
            replicates=replicates,
            seed=seed,
            command=command,
        )
        _write_json(json_file, evaluation.to_dict())
    for table in tables(evaluation):
        out.print(table)


@app.command()
def import_stgnf(
    source: Annotated[Path, typer.Argument(help="A checkpoint (.tar) of STG-NF's public code.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="The checkpoint to write.", show_default=False)],
    frame_rate: Annotated[
        float | None, typer.Option(help="Frame rate that it was trained at: 24, for UBnormal 30.", show_default=False)
    ] = None,
) -> None:
    """Convert STG-NF's published weights, for comparison. They are not calibrated; their licence is CC BY-NC."""
    _check_files(None, [output])

    from model.checkpoint import CheckpointError
    from model.stgnf import load_stgnf

    with one_line_for(CheckpointError, OSError):
        command = shlex.join(["daflow", *sys.argv[1:]])
        checkpoint = load_stgnf(source, rate_hz=frame_rate, command=command)
        checkpoint.save(output)
    out.print(
        f"wrote {escape(str(output))}: windows of {checkpoint.spec.length} frames at {checkpoint.spec.rate_hz} Hz"
    )
    out.print(escape(checkpoint.provenance.note), soft_wrap=True)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
    device: Device = None,
    pose_weights: PoseWeights = None,
) -> None:
    """Check this machine and the settings, and name the setting that fixes each problem."""
    settings = _settings(data_dir=data_dir, device=device, pose_weights=pose_weights)

    from service.doctor import examine

    findings = examine(settings)
    if as_json:
        out.print_json(json.dumps([asdict(finding) for finding in findings]))
    else:
        _print_findings(findings)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


_JOINTS = {"frames": {"__all__": {"people": {"__all__": {"keypoints"}}}}}


def _extract(
    settings: Settings, sources: Sequence[Path], output: Path, rate: float | None, *, force: bool = False
) -> int:
    """Extract poses clip by clip; a clip that fails prints one error, and the others continue.

    Returns:
        Number of clips that failed.
    """
    from service.cli.extraction import ExtractionError, PoseExtractor, check_sources
    from service.clips.decoding import ClipRejected
    from service.scoring.loading import ModelUnavailable

    failed = 0
    with one_line_for(ExtractionError, ModelUnavailable, OSError), progress_bar() as progress:
        check_sources(sources)
        task = progress.add_task("loading models", total=None)
        extractor = PoseExtractor.load(settings, picture_rate_hz=rate)
        for number, source in enumerate(sources, 1):
            progress.reset(task, description=f"{escape(source.name)}, {number} of {len(sources)}", total=None)
            try:
                done = extractor.extract(
                    source,
                    output,
                    force=force,
                    on_progress=lambda frames, total: progress.update(task, completed=frames, total=total),
                )
            except (ClipRejected, ExtractionError, OSError) as error:
                complain(f"{source}: {error}")
                failed += 1
            else:
                what = "unchanged" if done.kept else f"{done.record.frames} frames, {done.record.people} people"
                err.print(f"{escape(str(done.poses))}: {what}", soft_wrap=True, highlight=False)
    return failed


def _write_json(path: Path | None, document: dict[str, object]) -> None:
    from service.storage.writing import atomic_write

    if path is not None:
        with atomic_write(path) as stream:
            stream.write(json.dumps(document, indent=2, allow_nan=False).encode())


def _make_poses(sources: Sequence[Path], folder: Path, rate: float | None) -> None:
    """Extracts missing poses for commands that read data sets; a `model.layouts.Extractor`."""
    if _extract(_settings(), sources, folder, rate):
        raise typer.Exit(1)


def _settings(**overrides: object) -> Settings:
    with one_line_for(SettingsError):
        settings = load_settings(**overrides)
    for name in unknown_variables():
        err.print(f"[yellow]warning:[/] {escape(name)} is not a setting of daflow; is it misspelt?", soft_wrap=True)
    return settings


def _check_files(clip: Path | None, outputs: list[Path]) -> None:
    if clip is not None and not clip.is_file():
        fail(f"there is no file {clip}")
    for output in outputs:
        if not output.parent.is_dir():
            fail(f"there is no folder {output.parent} to write {output.name} into")
        # A hard or symbolic link to the clip is the clip under another name.
        if clip is not None and output.exists() and output.samefile(clip):
            fail(f"{output} is the clip itself and would be overwritten; choose another name")


def _print_summary(clip: str, result: ClipResult) -> None:
    scored = [frame.level for frame in result.frames if frame.level is not None]
    table = Table(title=escape(clip), show_header=False, title_justify="left")
    table.add_row("clip", f"{result.clip.frames} frames, {result.clip.duration_s:.1f} s, {result.clip.fps:.4g} fps")
    table.add_row("people", f"{len(result.tracks)} tracks, {sum(track.windows for track in result.tracks)} windows")
    table.add_row("scored", f"{len(scored)} frames, highest level {max(scored):.4f}" if scored else "no frame")
    table.add_row(
        "threshold",
        f"level {result.threshold.level:.6f}; false alarms per day: {result.threshold.unusual_per_day:.2g}, "
        f"budget {result.threshold.false_alarms_per_day:g}, half of it for unusual movement",
    )
    for anomaly in result.anomalies:
        tracks = ", ".join(map(str, anomaly.tracks))
        span = f"{anomaly.start_s:.2f} to {anomaly.end_s:.2f} s"
        table.add_row("anomaly", escape(f"{anomaly.title}, {span}, track {tracks}: {anomaly.explanation}"))
    for note in result.notes:
        table.add_row("note", escape(note))
    out.print(table)


def _print_findings(findings: list[Finding]) -> None:
    table = Table(show_header=False)
    for finding in findings:
        mark = "[green]ok[/]" if finding.ok else "[red]problem[/]"
        fix = f" [bold](set {finding.setting})[/]" if finding.setting else ""
        table.add_row(mark, finding.name, f"{escape(finding.value)}{fix}")
    out.print(table)
